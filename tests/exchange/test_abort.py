"""R3: nothing leaves after `res.abort()`, which cuts on purpose and never returns."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest

from nardis import Nardis, shielded
from nardis.errors import NardisError, ResponseAborted
from tests.peers.driver import Gate, Server, rest

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[True, False], ids=["cancelling", "opted out"])
def app(request):
    return Nardis(cancel_on_disconnect=request.param)


async def answered(app, **options):
    async with Server(app) as server:
        return await server.finished("/", **options)


async def test_after_the_head_it_cuts_the_response(app, caplog):
    log = []

    @app.get("/")
    async def handler(req, res):
        await res.write("half")
        log.append(await res.abort())

    call = await answered(app)

    assert log == []
    assert call.aborted
    assert call.body == b"half"
    assert isinstance(call.error, ResponseAborted)
    assert not caplog.records


@pytest.mark.parametrize("version", ["1.1", "2"])
async def test_before_the_head_it_is_an_empty_500_with_close(app, version, caplog):
    log = []

    @app.get("/")
    async def handler(req, res):
        res.set("x-secret", "1")
        log.append(await res.abort())

    call = await answered(app, http_version=version)

    assert log == []
    assert (call.status, call.body, call.final, call.error) == (500, b"", True, None)
    assert call.headers.get(b"connection") == (b"close" if version == "1.1" else None)
    assert b"x-secret" not in call.headers
    assert not caplog.records


@pytest.mark.parametrize("started", [False, True], ids=["before the head", "after the head"])
async def test_swallowing_it_does_not_undo_it(app, started):
    log = []

    @app.get("/")
    async def handler(req, res):
        if started:
            await res.write("half")
        try:
            with shielded(5):
                await res.abort()
        except Exception as exc:
            log.append(type(exc))
        with shielded(5):
            for verb in (res.write, res.end, res.send):
                with pytest.raises(NardisError) as caught:
                    await verb("more")
                log.append(isinstance(caught.value, NardisError))

    call = await answered(app)

    assert log == [ResponseAborted, True, True, True]
    if started:
        assert call.aborted
        assert call.chunks == [b"half"]
    else:
        assert (call.status, call.chunks) == (500, [b""])


async def test_a_middleware_that_swallows_it_does_not_undo_it(app):
    @app.use
    async def swallow(req, res, next):
        with suppress(Exception):
            await next()

    @app.get("/")
    async def handler(req, res):
        await res.write("half")
        await res.abort()

    call = await answered(app)

    assert call.aborted


async def test_error_handlers_are_not_asked(app):
    asked = []

    @app.error(Exception)
    async def answer(err, req, res):
        asked.append(req.path)
        await res.send("sorry")

    @app.get("/fail")
    async def fail(req, res):
        raise ZeroDivisionError

    @app.get("/abort")
    async def abort(req, res):
        await res.abort()

    async with Server(app) as server:
        failed = await server.finished("/fail")
        cut = await server.finished("/abort")

    assert asked == ["/fail"]
    assert [failed.body, cut.body] == [b"sorry", b""]


async def test_the_clean_up_of_the_handler_runs(app):
    log = []

    @app.get("/")
    async def handler(req, res):
        await res.write("half")
        try:
            await res.abort()
        finally:
            with shielded(5):
                await anyio.lowlevel.checkpoint()
                log.append("cleaned up")

    call = await answered(app)

    assert log == ["cleaned up"]
    assert call.aborted


@pytest.mark.parametrize("ending", ["send", "end"])
async def test_after_the_end_it_changes_nothing_of_the_response(app, ending):
    log = []

    @app.get("/")
    async def handler(req, res):
        await getattr(res, ending)("whole")
        log.append(await res.abort())

    call = await answered(app)

    assert log == []
    assert (call.body, call.final) == (b"whole", True)


async def test_it_does_not_wait_for_a_writer(app):
    """A client that does not read is a reason to abort."""
    gate, stuck = Gate(), anyio.Event()

    @app.get("/")
    async def handler(req, res):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(res.write, "stuck")
            await stuck.wait()
            await res.abort()

    async with Server(app) as server:
        call = server.call("/", on_send=gate)
        await gate.let(1)
        stuck.set()
        await call.wait()

    assert call.aborted
    assert call.chunks == []


async def test_nobody_writes_into_the_500_of_an_abort(app):
    gate, late, refused = Gate(), anyio.Event(), []

    @app.get("/")
    async def handler(req, res):
        async def write_late():
            await late.wait()
            with shielded(5), pytest.raises(NardisError) as caught:
                await res.write("late")
            refused.append(caught.type)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write_late)
            await rest()
            await res.abort()

    async with Server(app) as server:
        call = server.call("/", on_send=gate)
        await gate.reached()
        late.set()
        await rest()
        while gate.held:
            await gate.let(1)
        await call.wait()

    assert len(refused) == 1
    assert (call.status, call.chunks) == (500, [b""])
