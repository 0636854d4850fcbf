"""`h2_honesty`: a response that failed, or is not what it declared, is reset."""

from __future__ import annotations

from contextlib import suppress

import h2.exceptions
import pytest
from h2.errors import ErrorCodes

from tests.peers.h2client import H2Client, Stream, pseudo
from tests.wire.cures.scenes import beside_another
from tests.wire.cures.stock import CAN_GO, FAULT_S
from tests.wire.servers import Server


def test_h2_honesty_resets_a_failed_response(server: Server, key: str):
    with beside_another(server, key) as client:
        assert client.ask("GET", "/fail") == Stream(
            200, client.streams[3].headers, b"half", False, ErrorCodes.INTERNAL_ERROR
        )


@pytest.mark.parametrize("size", [0, 7, 9])
def test_h2_honesty_resets_a_body_that_is_not_as_long_as_declared(
    server: Server, key: str, size: int
):
    with beside_another(server, key) as client:
        answer = client.ask("GET", f"/declared/{size}")

        assert answer.reset == ErrorCodes.INTERNAL_ERROR
        assert not answer.ended


def test_h2_honesty_sends_no_field_with_a_line_end(server: Server, key: str):
    with beside_another(server, key) as client:
        answer = client.ask("GET", "/line-end")

        assert (answer.status, answer.body, answer.ended) == (500, b"", True)
        assert "x-injected" not in str(answer.headers)


def test_h2_honesty_tells_a_client_to_stop_uploading_after_a_whole_answer(server: Server, key: str):
    with beside_another(server, key) as client:
        stream_id = client.request("POST", "/early", end=False)
        answer = client.streams[stream_id]
        client.until(lambda: answer.reset is not None)

        assert (answer.status, answer.body, answer.ended, answer.reset) == (
            200,
            b"early",
            True,
            ErrorCodes.NO_ERROR,
        )


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("HEAD", "/declared/8", 200),
        ("HEAD", "/declared/0", 200),
        ("GET", "/status/204", 204),
        ("GET", "/declared/8", 200),
        ("GET", "/status/304", 304),
        ("POST", "/hello", 200),
    ],
)
def test_h2_honesty_leaves_honest_responses_alone(
    server: Server, key: str, method: str, path: str, status: int
):
    with beside_another(server, key) as client:
        answer = client.ask(method, path)
        client.ping()

        assert (answer.status, answer.ended, answer.reset) == (status, True, None)


def test_h2_honesty_says_nothing_of_a_response_to_a_stream_that_was_reset(server: Server):
    with server.silent(), H2Client(server.port) as client:
        for _ in range(10):
            stream_id = client.h2.get_next_available_stream_id()
            client.h2.send_headers(stream_id, pseudo("HEAD", "/hello"), end_stream=True)
            client.h2.reset_stream(stream_id)
        client.ping()
        assert client.ask("GET", "/hello").body == b"hello"


def test_h2_honesty_of_stock_leaves_a_failed_response_open(stock_trio: Server):
    answer = None
    with H2Client(stock_trio.port, timeout_s=FAULT_S) as client, suppress(TimeoutError):
        answer = client.ask("GET", "/fail")
    assert answer is None, CAN_GO + "h2_honesty"


@pytest.mark.parametrize("path", ["/declared/7", "/declared/9", "/line-end"])
def test_h2_honesty_of_stock_sends_what_is_no_response(stock_trio: Server, path: str):
    answer = None
    with H2Client(stock_trio.port) as client, suppress(h2.exceptions.ProtocolError):
        answer = client.ask("GET", path)
    assert answer is None, CAN_GO + "h2_honesty"


def test_h2_honesty_of_stock_does_not_stop_an_upload(stock_trio: Server):
    with H2Client(stock_trio.port) as client:
        stream_id = client.request("POST", "/early", end=False)
        client.answer(stream_id)
        client.ping()

        assert client.streams[stream_id].reset is None, CAN_GO + "h2_honesty"
