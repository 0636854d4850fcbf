"""R3 and C2 for clean-up, by `req.defer` and in `shielded`."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from nardis import ClientDisconnected, Limits, Nardis, shielded
from nardis.errors import ResponseAlreadyEnded
from tests.peers.driver import Server

pytestmark = pytest.mark.anyio


async def test_deferred_calls_run_after_the_final_message_last_first():
    app, log = Nardis(), []

    async def note(name):
        await checkpoint()
        log.append((name, server.calls[0].final))

    @app.get("/")
    async def handler(req, res):
        for name in "abc":
            req.defer(note, name)
        await res.send("x")
        log.append("the handler returned")

    async with Server(app) as server:
        await server.finished("/")

    assert log == ["the handler returned", ("c", True), ("b", True), ("a", True)]


async def test_a_streamed_response_is_ended_before_the_deferred_calls():
    app, log = Nardis(), []

    async def note():
        log.append(server.calls[0].final)

    @app.get("/")
    async def handler(req, res):
        req.defer(note)
        await res.write("x")

    async with Server(app) as server:
        await server.finished("/")

    assert log == [True]


async def test_a_deferred_call_may_defer_another():
    app, log = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        async def outer():
            log.append("outer")
            req.defer(inner)

        async def inner():
            log.append("inner")

        req.defer(outer)
        await res.send()

    async with Server(app) as server:
        await server.finished("/")

    assert log == ["outer", "inner"]


async def test_a_failing_deferred_call_is_logged_and_the_others_still_run(caplog):
    app, log = Nardis(), []

    async def note(name):
        log.append(name)

    async def fail():
        raise ZeroDivisionError

    @app.get("/")
    async def handler(req, res):
        req.defer(note, "first")
        req.defer(fail)
        req.defer(note, "last")
        await res.send("x")

    async with Server(app) as server:
        call = await server.finished("/")

    assert log == ["last", "first"]
    assert (call.body, call.error) == (b"x", None)
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]


async def test_deferred_calls_have_a_bounded_time_together(caplog):
    app, log = Nardis(limits=Limits(cleanup_s=0)), []

    async def hang():
        try:
            await anyio.sleep_forever()
        finally:
            log.append("cut")

    @app.get("/")
    async def handler(req, res):
        req.defer(hang)
        await res.send("x")

    async with Server(app) as server:
        call = await server.finished("/")

    assert log == ["cut"]
    assert (call.body, call.error) == (b"x", None)
    assert "cleanup_s" in caplog.text


@pytest.mark.parametrize(
    "how", ["fails", "fails after the head", "is cancelled", "is cut", "takes too long"]
)
async def test_deferred_calls_run_whatever_happened(how):
    app, log = Nardis(limits=Limits(handler_s=10)), []

    async def note(req):
        await checkpoint()
        log.append(req.close_reason)

    @app.get("/")
    async def handler(req, res):
        req.defer(note, req)
        if how == "fails":
            raise ZeroDivisionError
        await res.write("x")
        if how == "fails after the head":
            raise ZeroDivisionError
        if how == "is cut":
            await res.abort()
        await anyio.sleep_forever()

    async with Server(app) as server:
        call = server.call("/")
        if how == "is cancelled":
            await server.lose(call)
        elif how == "takes too long":
            await server.tick(11)
        await call.wait()

    assert log == [{"is cancelled": "gone", "takes too long": "deadline"}.get(how)]


async def test_a_deferred_call_cannot_add_to_the_response():
    app, log = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        async def late():
            with pytest.raises(ResponseAlreadyEnded):
                await res.write("more")
            log.append("refused")

        req.defer(late)
        await res.write("x")

    async with Server(app) as server:
        call = await server.finished("/")

    assert log == ["refused"]
    assert call.body == b"x"


async def test_a_deferred_call_after_the_client_left_sends_nothing():
    app, log = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        async def late():
            with pytest.raises(ClientDisconnected):
                await res.write("more")
            log.append("refused")

        req.defer(late)
        await anyio.sleep_forever()

    async with Server(app) as server:
        call = server.call("/")
        await server.lose(call)

    assert log == ["refused"]
    assert call.untouched


async def test_awaits_in_the_clean_up_of_a_cancelled_handler_fail_at_once_without_a_shield():
    """Level cancellation, the same on both backends."""
    app, log = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        try:
            await anyio.sleep_forever()
        finally:
            for _ in range(2):
                try:
                    await checkpoint()
                except anyio.get_cancelled_exc_class():
                    log.append("cancelled")
            with shielded(5):
                await checkpoint()
                log.append("shielded")

    async with Server(app) as server:
        call = server.call("/")
        await server.lose(call)
        await call.wait()

    assert log == ["cancelled", "cancelled", "shielded"]


@pytest.mark.parametrize("errors", [1, 0], ids=["failing", "cancelled"])
async def test_of_a_group_with_a_cancellation_in_it_only_the_errors_are_told(errors, caplog):
    """The scope keeps its own part of what leaves a handler whose client left."""
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class() as exc:
            raise BaseExceptionGroup("all", [exc, *[KeyError("clean-up")] * errors]) from None

    async with Server(app) as server:
        call = server.call("/")
        await server.lose(call)
        await call.wait()

    assert call.untouched
    assert [record.levelname for record in caplog.records] == ["ERROR"] * errors


async def test_a_shield_holds_for_a_bounded_time_and_is_left_quietly():
    log = []

    with shielded(0) as scope:
        await anyio.sleep_forever()
    log.append(scope.cancelled_caught)

    with shielded(5) as scope:
        await checkpoint()
    log.append(scope.cancelled_caught)

    assert log == [True, False]
