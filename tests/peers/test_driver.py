"""The driver judges applications: it keeps the rules, and its clock and its client do as told."""

from __future__ import annotations

import anyio
import pytest

from nardis import Nardis
from tests.peers.driver import Gate, Server, part, rest, tick_once
from tests.peers.handlers import waits_and_notes

pytestmark = pytest.mark.anyio

START = {"type": "http.response.start", "status": 200, "headers": []}
PIECE = {"type": "http.response.body", "body": b"piece", "more_body": True}
FINAL = {"type": "http.response.body", "body": b"final", "more_body": False}


async def receives_twice_at_once(scope, receive, send):
    await receive()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        tasks.start_soon(receive)


async def receives_after_the_disconnect(scope, receive, send):
    while (await receive())["type"] != "http.disconnect":
        pass
    await receive()


async def sends_twice_at_once(scope, receive, send):
    await send(START)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send, PIECE)
        tasks.start_soon(send, PIECE)


async def sends_after_the_disconnect(scope, receive, send):
    while (await receive())["type"] != "http.disconnect":
        pass
    await send(START)


async def sends_no_head(scope, receive, send):
    await send(PIECE)


async def sends_two_heads(scope, receive, send):
    await send(START)
    await send(START)


async def sends_after_the_end(scope, receive, send):
    for message in (START, FINAL, PIECE):
        await send(message)


async def keeps_the_rules(scope, receive, send):
    await receive()
    for message in (START, PIECE, FINAL):
        await send(message)


BREACHES = {
    receives_twice_at_once: "two tasks in receive()",
    receives_after_the_disconnect: "receive() after http.disconnect",
    sends_twice_at_once: "two tasks in send()",
    sends_after_the_disconnect: "send() after http.disconnect",
    sends_no_head: "http.response.body out of order",
    sends_two_heads: "http.response.start out of order",
    sends_after_the_end: "send() after the final message",
}


@pytest.mark.parametrize(("app", "rule"), BREACHES.items(), ids=[app.__name__ for app in BREACHES])
async def test_a_breach_of_a_rule_fails_the_test(app, rule):
    gate = Gate()

    with pytest.raises(AssertionError) as caught:
        async with Server(app, sweeping=False) as server:
            call = server.call("/path", part(b"", more=False), on_send=gate)
            await rest()
            call.disconnect()
            while gate.held:
                await gate.let()
            await rest()

    assert "/path" in str(caught.value)
    assert rule in call.violations


async def test_the_error_of_a_test_is_not_hidden_by_a_breach():
    with pytest.raises(ZeroDivisionError):
        async with Server(sends_no_head, sweeping=False) as server:
            await server.finished("/")
            raise ZeroDivisionError


async def test_an_application_that_keeps_the_rules_passes():
    async with Server(keeps_the_rules, sweeping=False) as server:
        call = await server.finished("/")

    assert (call.status, call.chunks, call.final, call.error) == (
        200,
        [b"piece", b"final"],
        True,
        None,
    )
    assert not call.aborted
    assert not call.untouched


async def test_a_gate_holds_each_message_until_it_is_let_through():
    gate = Gate()

    async with Server(keeps_the_rules, sweeping=False) as server:
        call = server.call("/", on_send=gate)
        await rest()
        assert (len(call.begun), len(call.sent)) == (1, 0)
        await gate.let(2)
        assert (len(call.begun), len(call.sent)) == (3, 2)
        call.cancel_scope.cancel()
        await call.wait()

    assert not gate.held
    assert len(call.sent) == 2


async def test_time_passes_by_ticks_alone():
    app = Nardis()

    async with Server(app) as server:
        before = server.clock()
        await anyio.sleep(0.01)
        assert server.clock() == before
        await server.tick(5)
        assert server.clock() == before + 5


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_client_that_is_lost_ends_its_own_call_alone(method):
    app, reasons = Nardis(), []
    app.all("/", waits_and_notes(reasons))

    async with Server(app) as server:
        call = server.call("/", method=method)
        other = server.call("/", method=method)
        await server.lose(call)

        assert call.untouched
        assert reasons == ["gone"]
        assert not other.ended.is_set()
        assert len(server.exchanges) == 1


async def test_a_shutdown_ends_all_calls():
    app, reasons = Nardis(), []
    app.get("/", waits_and_notes(reasons))

    async with Server(app) as server:
        calls = [server.call("/") for _ in range(2)]
        await rest()
        server.shut_down()
        for call in calls:
            await call.wait()

        assert not server.exchanges

    assert reasons == ["shutdown"] * 2


async def test_the_sweeper_of_a_test_client_can_be_hurried():
    app, reasons = Nardis(), []
    app.get("/", waits_and_notes(reasons))

    async with Server(app) as server:
        call = server.call("/")
        await rest()
        assert call.receives == 0
        tick_once(app)
        await rest()

        assert call.receives > 0
