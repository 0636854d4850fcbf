"""Endings are honest: a response that failed half-way never looks whole on the wire."""

from __future__ import annotations

import re

import pytest

from tests.peers.client import eventually
from tests.wire.servers import OURS, Server, on


@pytest.mark.parametrize("path", ["/raise", "/abort"])
def test_a_failure_mid_stream_sends_no_last_chunk(server: Server, path: str) -> None:
    with server.connect() as connection:
        answer = connection.ask("GET", path)

        assert (answer.status, answer.body, answer.complete) == (200, b"half", False)
        assert answer.headers["transfer-encoding"] == "chunked"
        assert connection.at_end()


@pytest.mark.parametrize("path", ["/raise-declared", "/short", "/long"])
def test_a_failure_cuts_a_response_of_declared_length(server: Server, path: str) -> None:
    with server.connect() as connection:
        answer = connection.ask("GET", path)

        assert (answer.status, answer.body, answer.complete) == (200, b"half", False)
        assert connection.at_end()


def test_a_first_write_beyond_the_declared_length_is_a_500(server: Server) -> None:
    with server.connect() as connection:
        answer = connection.ask("GET", "/long-first")

        assert (answer.status, answer.complete) == (500, True)
        assert b"half" not in answer.body
        assert connection.ask("GET", "/hello").body == b"hello"


def test_a_failure_before_the_head_is_a_500_that_says_nothing(server: Server) -> None:
    with server.connect() as connection:
        answer = connection.ask("GET", "/raise-first")

        assert (answer.status, answer.complete) == (500, True)
        assert b"secret" not in answer.body
        assert connection.ask("GET", "/hello").body == b"hello"


def test_an_abort_before_the_head_is_an_empty_500_that_closes(server: Server) -> None:
    with server.connect() as connection:
        answer = connection.ask("GET", "/abort-first")

        assert (answer.status, answer.body, answer.complete) == (500, b"", True)
        assert connection.at_end()


def test_a_truncated_response_is_logged_as_such_and_once(server: Server, key: str) -> None:
    assert not server.ask("GET", f"/raise/{key}").complete

    line = rf"GET /raise/{key}\b.*"
    eventually(lambda: re.search(line, server.log()))
    assert server.ask("GET", "/hello").body == b"hello"  # whatever else is said comes before this
    assert re.findall(line, server.log()) == [
        f"GET /raise/{key} failed after 4 body bytes, truncated=True: RuntimeError: on purpose"
    ]


@on(*OURS)
def test_a_stream_whose_time_is_over_ends_whole(server: Server) -> None:
    """The deadline finds it in a write, of which nothing is lost."""
    for _ in range(5):
        answer = server.ask("GET", "/until-a-deadline")
        assert answer.complete
        assert answer.body.endswith(b"tick tock")
