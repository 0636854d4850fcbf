"""
Limits in seconds, with servers' clocks: each is a third of a second here, and is enforced a tick
later at most.
"""

from __future__ import annotations

import time

from tests.wire.servers import Server, on, on_each_worker

ENFORCED_S = 0.6 + 5  # a limit, a tick, and what a busy machine may add


@on_each_worker
def test_a_body_that_stalls_gets_a_408(server: Server, key: str) -> None:
    with server.connect() as connection:
        connection.request("POST", f"/impatient/{key}", content_length=1000)
        connection.send(b"half")
        asked = time.monotonic()
        answer = connection.answer()

        assert (answer.status, answer.complete) == (408, True)
        assert time.monotonic() - asked < ENFORCED_S
        assert server.event(key, "cancelled")["reason"] == "stalled"
        server.event(key, "deferred")
        assert server.ask("GET", f"/progress/{key}").json() == 4


@on_each_worker
def test_a_slow_body_that_keeps_coming_is_no_stall(server: Server, key: str) -> None:
    with server.connect() as connection:
        connection.request("POST", f"/impatient/{key}", content_length=6)
        for _ in range(6):
            time.sleep(
                0.1
            )  # what is tested is a client that is slow, twice as long as one wait may take
            connection.send(b"x")

        assert connection.answer().body == b"whole"


@on(
    "hypercorn-asyncio", "uvicorn-h11"
)  # hypercorn 0.18's trio worker shields its write to the socket
def test_a_client_that_does_not_read_is_cut(server: Server, key: str) -> None:
    with server.connect(receive_buffer=64 * 1024) as connection:
        connection.request("GET", f"/stalling-flood/{key}")
        assert server.event(key, "cancelled")["reason"] == "stalled"
        server.event(key, "deferred")
        answer = connection.answer()

        assert (answer.status, answer.complete) == (200, False)


@on_each_worker
def test_a_handler_that_takes_too_long_gets_a_503(server: Server, key: str) -> None:
    with server.connect() as connection:
        asked = time.monotonic()
        answer = connection.ask("GET", f"/hurried/{key}")

        assert (answer.status, answer.complete) == (503, True)
        assert time.monotonic() - asked < ENFORCED_S
        assert server.event(key, "cancelled")["reason"] == "deadline"
        assert connection.ask("GET", "/hello").body == b"hello"


@on_each_worker
def test_a_handler_that_takes_too_long_after_the_head_is_cut(server: Server, key: str) -> None:
    with server.connect() as connection:
        answer = connection.ask("GET", f"/hurried-idle/{key}")

        assert (answer.status, answer.body, answer.complete) == (200, b"first", False)
        assert connection.at_end()
        assert server.event(key, "cancelled")["reason"] == "deadline"


@on_each_worker
def test_nothing_is_left_of_those_whose_time_was_up(server: Server, key: str) -> None:
    server.ask("GET", f"/hurried/{key}")

    assert server.comes_to_rest()
