"""
One connection, many requests: each kind of answer leaves it ready for the next, or says that it
closes.
"""

from __future__ import annotations

import pytest

from tests.peers.client import Answer
from tests.wire.servers import Server

JSON = "application/json"


@pytest.mark.parametrize(
    ("method", "target", "body", "fields", "status"),
    [
        pytest.param("GET", "/hello", None, {}, 200, id="whole"),
        pytest.param("GET", "/pieces", None, {}, 200, id="pieces"),
        pytest.param("GET", "/nothing", None, {}, 204, id="empty"),
        pytest.param("HEAD", "/hello", None, {}, 200, id="head"),
        pytest.param("HEAD", "/pieces", None, {}, 200, id="head-pieces"),
        pytest.param("OPTIONS", "/hello", None, {}, 204, id="options"),
        pytest.param("POST", "/json", b'{"a": 1}', {"content_type": JSON}, 200, id="json"),
        pytest.param("POST", "/echo", b"abc", {}, 200, id="echo"),
        pytest.param("POST", "/json", b'{"a": ', {"content_type": JSON}, 400, id="malformed"),
        pytest.param("POST", "/json", b"{}", {"content_type": "text/xml"}, 415, id="media-type"),
        pytest.param("GET", "/%ff", None, {}, 404, id="no-capture"),
        pytest.param("GET", "/progress/%ff", None, {}, 400, id="encoding"),
        pytest.param("GET", "/missing", None, {}, 404, id="missing"),
        pytest.param("DELETE", "/hello", None, {}, 405, id="method"),
        pytest.param("POST", "/hello", b"unread", {}, 405, id="method-with-body"),
    ],
)
def test_a_connection_serves_on_after_an_answer(
    server: Server,
    method: str,
    target: str,
    body: bytes | None,
    fields: dict[str, str],
    status: int,
) -> None:
    with server.connect() as connection:
        for _ in range(2):
            answer = connection.ask(method, target, body, **fields)
            assert (answer.status, answer.complete) == (status, True)
            assert "connection" not in answer.headers
        assert connection.ask("GET", "/hello").body == b"hello"


def test_a_wrong_method_is_told_the_right_ones(server: Server) -> None:
    assert server.ask("DELETE", "/hello").headers["allow"] == "GET, HEAD"
    assert server.ask("GET", "/json").headers["allow"] == "POST"


def test_head_of_a_stream_answers_at_once_and_leaves_the_handler(server: Server, key: str) -> None:
    with server.connect() as connection:
        answer = connection.ask("HEAD", f"/tick/{key}")

        assert (answer.status, answer.body) == (200, b"")
        assert connection.ask("GET", "/hello").body == b"hello"
    assert server.event(key, "cancelled")["reason"] is None
    server.event(key, "deferred")


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    with server.connect() as connection:
        connection.request("GET", "/pieces")
        connection.request("POST", "/echo", b"abc")
        connection.request("GET", "/missing")
        connection.request("GET", "/hello")
        answers = [connection.answer() for _ in range(4)]

        assert [(each.status, each.complete) for each in answers] == [
            (200, True),
            (200, True),
            (404, True),
            (200, True),
        ]
        assert [each.body for each in answers if each.status == 200] == [
            b"one two three",
            b"abc",
            b"hello",
        ]


def test_a_client_that_closes_is_closed(server: Server) -> None:
    with server.connect() as connection:
        answer = connection.ask("GET", "/pieces", connection="close")

        assert answer == Answer(200, answer.headers, b"one two three", True)
        assert connection.at_end()
