"""R1: the head leaves once, and before any body message."""

from __future__ import annotations

import anyio
import pytest

from nardis import Nardis
from tests.peers.driver import Server, rest

pytestmark = pytest.mark.anyio

START, BODY = "http.response.start", "http.response.body"


def kinds(call):
    return [(message["type"], message.get("more_body")) for message in call.sent]


async def test_the_head_leaves_once_and_before_any_body():
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        assert not res.started
        await res.write("a")
        assert res.started
        assert not res.finished
        await res.flush()
        await res.write("b")

    async with Server(app) as server:
        call = await server.finished("/")

    assert kinds(call) == [(START, None), (BODY, True), (BODY, True), (BODY, False)]
    assert (call.status, call.body, call.error) == (200, b"ab", None)


async def test_a_whole_answer_is_one_head_and_one_body_message():
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        await res.send("whole")
        assert res.finished

    async with Server(app) as server:
        call = await server.finished("/")

    assert kinds(call) == [(START, None), (BODY, False)]
    assert call.headers[b"content-length"] == b"5"


async def test_flush_sends_a_head_and_an_empty_piece_that_lets_it_go():
    app, parked = Nardis(), anyio.Event()

    @app.get("/")
    async def handler(req, res):
        await res.flush()
        await parked.wait()

    async with Server(app) as server:
        call = server.call("/")
        await rest()

        assert kinds(call) == [(START, None), (BODY, True)]
        parked.set()
        await call.wait()

    assert kinds(call) == [(START, None), (BODY, True), (BODY, False)]
