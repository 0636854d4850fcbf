"""C2 with `cancel_on_disconnect=False`: a disconnect cancels nothing, a limit still does."""

from __future__ import annotations

import contextlib

import anyio
import pytest

from nardis import ClientDisconnected, Limits, Nardis, SkipRoute
from nardis.errors import ResponseAborted
from tests.peers.driver import Gate, Server, part, rest
from tests.peers.handlers import waits, waits_and_notes

pytestmark = pytest.mark.anyio

CHUNKED = {"transfer-encoding": "chunked"}


class Learned(Nardis):
    """An application that knows of each of its routes that it reads or streams."""

    def add(self, layer):
        super().add(layer)
        layer.streams = True


@pytest.fixture(params=["app", "route", "learned"])
def opted_out(request):
    """An application and the options of its routes, where the one or the other says it."""
    if request.param == "route":
        return Nardis(), {"cancel_on_disconnect": False}
    kind = Nardis if request.param == "app" else Learned
    return kind(cancel_on_disconnect=False), {}


async def test_a_disconnect_is_told_to_the_reader(opted_out):
    app, options = opted_out
    log = []

    @app.post("/", **options)
    async def handler(req, res):
        with pytest.raises(ClientDisconnected):
            await req.bytes()
        log.append(req.close_reason)
        await anyio.lowlevel.checkpoint()
        log.append("went on")

    async with Server(app) as server:
        call = await server.finished(
            "/", part(b"half"), {"type": "http.disconnect"}, method="POST", headers=CHUNKED
        )

    assert log == ["gone", "went on"]
    assert call.untouched


async def test_a_disconnect_is_told_to_the_writer(opted_out):
    app, options = opted_out
    parked, log = anyio.Event(), []

    @app.get("/", **options)
    async def handler(req, res):
        await res.write("x")
        await parked.wait()
        log.append(req.close_reason)
        for verb in (res.write, res.send, res.end):
            with pytest.raises(ClientDisconnected):
                await verb("y")
        await anyio.lowlevel.checkpoint()
        log.append("went on")

    async with Server(app) as server:
        call = server.call("/")
        await server.lose(call)
        assert not call.ended.is_set()
        parked.set()
        await call.wait()

    assert log == ["gone", "went on"]
    assert call.aborted
    assert call.error is None


async def test_returning_without_a_word_after_the_client_left_sends_nothing(opted_out):
    app, options = opted_out
    parked = anyio.Event()

    @app.get("/", **options)
    async def handler(req, res):
        await res.write("x")
        await parked.wait()

    async with Server(app) as server:
        call = server.call("/")
        await server.lose(call)
        parked.set()
        await call.wait()

    assert call.aborted
    assert len(call.begun) == 2
    assert call.error is None


async def test_a_send_that_fails_with_oserror_is_told_to_the_writer(opted_out):
    app, options = opted_out
    log = []

    @app.get("/", **options)
    async def handler(req, res):
        with pytest.raises(ClientDisconnected):
            await res.write("x")
        await anyio.lowlevel.checkpoint()
        log.append(req.close_reason)

    async def fail(message):
        raise BrokenPipeError

    async with Server(app) as server:
        call = await server.finished("/", on_send=fail)

    assert log == ["gone"]
    assert len(call.begun) == 1
    assert call.error is None


async def test_a_route_may_be_cancelled_where_the_application_opted_out():
    app, log = Nardis(cancel_on_disconnect=False), []

    @app.use
    async def middleware(req, res, next):
        await next()
        await anyio.lowlevel.checkpoint()
        log.append("the middleware is not cancelled")

    @app.get("/", cancel_on_disconnect=True)
    async def handler(req, res):
        await res.write("x")
        try:
            await anyio.sleep_forever()
        finally:
            log.append(req.close_reason)

    async with Server(app) as server:
        call = server.call("/")
        await server.lose(call)

    assert log == ["gone", "the middleware is not cancelled"]
    assert call.aborted
    assert call.error is None


async def test_a_shutdown_ends_what_stands_around_such_a_route_as_well():
    app, log = Nardis(cancel_on_disconnect=False), []

    @app.use
    async def middleware(req, res, next):
        await next()
        try:
            await anyio.sleep_forever()
        finally:
            log.append("the middleware is cancelled")

    app.get("/", waits_and_notes(log), cancel_on_disconnect=True)

    async with Server(app, runner=True) as server:
        call = server.call("/")
        await rest()
        server.shut_down()
        await call.wait()

    assert log == ["shutdown", "the middleware is cancelled"]
    assert (call.status, call.final) == (503, True)


async def test_a_route_cancelled_before_its_head_where_the_application_opted_out_sends_nothing():
    app = Nardis(cancel_on_disconnect=False)

    app.get("/", waits, cancel_on_disconnect=True)

    async with Server(app) as server:
        call = server.call("/")
        await server.lose(call)

    assert call.untouched
    assert call.error is None


async def test_a_reader_whose_client_stopped_sending_gets_a_408(opted_out):
    app, options = opted_out
    app.limits = Limits(body_idle_s=10)
    log = []

    @app.post("/", **options)
    async def handler(req, res):
        try:
            await req.bytes()
        finally:
            log.append(req.close_reason)

    async with Server(app) as server:
        call = server.call("/", part(b"half"), method="POST", headers=CHUNKED)
        await server.tick(11)
        await call.wait()

    assert log == ["stalled"]
    assert (call.status, call.final, call.error) == (408, True, None)


@pytest.mark.parametrize("answer", ["streamed", "large", "small"])
async def test_a_writer_whose_client_stopped_reading_is_cut(opted_out, answer):
    app, options = opted_out
    app.limits = Limits(write_stall_s=10)
    gate = Gate()

    @app.get("/", **options)
    async def handler(req, res):
        if answer == "streamed":
            await res.write("x")
        else:
            await res.send(b"x" * (100 if answer == "small" else 100_000))

    # On other servers an answer in one piece is theirs to bring home: it has no scope.
    async with Server(app, runner=answer == "small") as server:
        call = server.call("/", on_send=gate)
        await gate.let(1)
        await server.tick(11)
        await call.wait()

    assert call.aborted or (call.final_begun and not call.final)
    assert isinstance(call.error, ResponseAborted | ClientDisconnected)


@pytest.mark.parametrize("started", [False, True], ids=["before the head", "after the head"])
async def test_handler_s_of_a_route_ends_it_where_the_application_opted_out(started):
    app, log = Nardis(cancel_on_disconnect=False), []

    @app.get("/", limits=Limits(handler_s=5))
    async def handler(req, res):
        if started:
            await res.write("half")
        try:
            await anyio.sleep_forever()
        finally:
            log.append(req.close_reason)

    async with Server(app) as server:
        call = server.call("/")
        await server.tick(6)
        await call.wait()

    assert log[0] == "deadline"
    if started:
        assert call.aborted
        assert isinstance(call.error, ResponseAborted)
    else:
        assert (call.status, call.final, call.error) == (503, True, None)


@pytest.mark.parametrize("started", [False, True], ids=["before the head", "after the head"])
async def test_handler_s_of_an_application_that_opted_out(started):
    app = Nardis(cancel_on_disconnect=False, limits=Limits(handler_s=5))

    @app.get("/")
    async def handler(req, res):
        if started:
            await res.write("half")
        await anyio.sleep_forever()

    async with Server(app) as server:
        call = server.call("/")
        await server.tick(6)
        await call.wait()

    if started:
        assert call.aborted
        assert isinstance(call.error, ResponseAborted)
    else:
        assert (call.status, call.final, call.error) == (503, True, None)


async def test_a_client_that_leaves_while_the_head_of_a_whole_answer_is_sent_gets_no_body():
    app, gate, log = Nardis(), Gate(), []

    @app.get("/", cancel_on_disconnect=False)
    async def handler(req, res):
        with pytest.raises(ClientDisconnected):
            await res.send("whole")
        log.append(req.close_reason)

    async with Server(app) as server:
        call = server.call("/", on_send=gate)
        await server.lose(call)
        await gate.let(1)
        await call.wait()

    assert log == ["gone"]
    assert len(call.begun) == 1
    assert call.error is None


@pytest.fixture
def scopes(monkeypatch):
    """Count the cancel scopes that a request opens."""

    async def count(server, *args, **options):
        opened, sweeper = [], server.app.life.sweeper
        new_scope = sweeper.new_scope
        with monkeypatch.context() as patch:
            patch.setattr(
                sweeper, "new_scope", lambda **options: opened.append(1) or new_scope(**options)
            )
            call = await server.finished(*args, **options)
        assert call.final
        return len(opened)

    return count


async def plain(req, res):
    await res.send("whole")


async def reads(req, res):
    await res.json(len(await req.bytes()))


async def streams(req, res):
    for _ in range(5):
        await res.write("x")


async def passes_on(req, res, next):
    await next()


async def test_an_answer_in_one_piece_opens_no_scope_once_its_path_is_known(scopes):
    app = Nardis(cancel_on_disconnect=False)
    app.get("/", plain)

    async with Server(app) as server:
        assert [await scopes(server) for _ in range(3)] == [1, 0, 0]


async def test_a_lone_handler_that_streamed_has_one_scope_for_all_writes(scopes):
    app = Nardis(cancel_on_disconnect=False)
    app.get("/", streams)

    async with Server(app) as server:
        _, each_write, *others = [await scopes(server) for _ in range(4)]

    assert each_write > 5
    assert others == [1, 1]


async def test_a_lone_handler_that_read_has_one_scope_for_all_reads(scopes):
    app = Nardis(cancel_on_disconnect=False)
    app.post("/", reads)
    body = [part(b"a"), part(b"b"), part(b"", more=False)]

    async with Server(app) as server:
        _, each_read, *others = [
            await scopes(server, "/", *body, method="POST", headers=CHUNKED) for _ in range(4)
        ]

    assert each_read == 3
    assert others == [1, 1]


@pytest.mark.parametrize(
    ("pattern", "handlers"), [("/:name", [streams]), ("/feed", [passes_on, streams])]
)
async def test_what_is_more_than_a_lone_handler_of_a_known_path_has_a_scope(
    scopes, pattern, handlers
):
    app = Nardis(cancel_on_disconnect=False)
    app.get(pattern, *handlers)

    async with Server(app) as server:
        assert [await scopes(server, "/feed") for _ in range(3)] == [1, 1, 1]


async def test_what_a_lone_handler_passes_on_to_has_a_scope():
    app, log = Nardis(cancel_on_disconnect=False, limits=Limits(write_stall_s=10)), []

    @app.get("/")
    async def alone(req, res):
        raise SkipRoute

    @app.use
    async def middleware(req, res, next):
        try:
            await next()
        except BaseException as exc:
            log.append(type(exc))
            raise

    app.get("/", streams)

    async with Server(app) as server:
        for _ in range(2):
            call = server.call("/", on_send=Gate())
            await server.tick(11)
            await call.wait()
            assert not call.final

    assert log == [anyio.get_cancelled_exc_class()] * 2


async def test_a_mounted_application_is_called_once_whatever_ends_it():
    calls = []

    async def foreign(scope, receive, send):
        calls.append(scope["path"])
        await anyio.sleep_forever()

    app = Nardis(cancel_on_disconnect=False)
    app.mount("/", foreign)

    async with Server(app) as server:
        call = server.call("/")
        await rest()
        server.shut_down()
        await call.wait()

    assert calls == ["/"]
    assert call.status == 503


async def test_a_reader_that_goes_on_behind_a_stall_answers_nothing_of_its_own():
    app = Nardis(cancel_on_disconnect=False, limits=Limits(body_idle_s=10))

    @app.post("/")
    async def handler(req, res):
        with contextlib.suppress(ClientDisconnected):
            await req.bytes()
        await res.send("as if it were complete")

    async with Server(app) as server:
        statuses = []
        for _ in range(3):
            call = server.call("/", part(b"half"), method="POST", headers=CHUNKED)
            await server.tick(11)
            await call.wait()
            statuses.append(call.status)

    assert statuses == [408, 408, 408]


async def test_a_mounted_application_has_one_scope_for_all_that_it_does(scopes):
    async def foreign(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        for piece in range(5):
            await send({"type": "http.response.body", "body": b"x", "more_body": piece < 4})

    app = Nardis(cancel_on_disconnect=False)
    app.mount("/", foreign)

    async with Server(app) as server:
        assert await scopes(server) == 1
