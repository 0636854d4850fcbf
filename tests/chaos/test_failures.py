"""
A BaseException at each place that runs users' code: it is the failure of that call, and reaches
nothing else.
"""

from __future__ import annotations

import asyncio
import contextvars
from contextlib import aclosing

import anyio
import pytest

from nardis import HTTPError, Nardis, Router, wrap
from nardis.errors import ResponseAborted
from nardis.testing import Client
from tests.peers.driver import Identity, Server, part, rest

pytestmark = pytest.mark.anyio


class OfItsOwn(BaseException):
    """What no `except Exception` catches."""


def closed_group():
    """Make what a task group makes of the GeneratorExit that closes its generator."""
    return BaseExceptionGroup("unhandled errors in a TaskGroup", [GeneratorExit()])


FAULTS = {
    "SystemExit": lambda: SystemExit(2),
    "BaseException": lambda: OfItsOwn("own"),
    "group of GeneratorExit": closed_group,
    "group with SystemExit": lambda: BaseExceptionGroup("", [SystemExit(3), ValueError("v")]),
    "Exception": lambda: RuntimeError("r"),
}

every_fault = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)


async def in_a_handler(app, fault):
    @app.get("/")
    async def handler(req, res):
        raise fault()


async def in_a_handler_of_a_router(app, fault):
    router = Router()

    @router.get("/")
    async def handler(req, res):
        await anyio.lowlevel.checkpoint()
        raise fault()

    app.use("/", router)


async def in_a_middleware(app, fault):
    @app.use
    async def middleware(req, res, next):
        await next()
        raise fault()

    app.get("/", nothing)


async def in_an_error_handler(app, fault):
    @app.error(KeyError)
    async def fails(err, req, res):
        raise fault()

    @app.get("/")
    async def handler(req, res):
        raise KeyError("k")


async def in_a_hook(app, fault):
    def hook():
        raise fault()

    @app.get("/")
    async def handler(req, res):
        res.on_head(hook)
        await res.send("x")


async def in_a_filter(app, fault):
    class Fails(Identity):
        def feed(self, data):
            raise fault()

    @app.get("/")
    async def handler(req, res):
        await res.filter(Fails()).send("x")


async def in_a_thread(app, fault):
    def work():
        raise fault()

    @app.get("/")
    async def handler(req, res):
        await anyio.to_thread.run_sync(work)


async def in_a_mounted_application(app, fault):
    async def mounted(scope, receive, send):
        raise fault()

    app.mount("/", mounted)


async def behind_a_wrapped_middleware(app, fault):
    class Through:
        def __init__(self, inner):
            self.inner = inner

        async def __call__(self, scope, receive, send):
            await self.inner(scope, receive, send)

    app.use(wrap(Through))
    await in_a_handler(app, fault)


async def behind_a_middleware_that_runs_it_in_a_task(app, fault):
    """
    As Starlette's BaseHTTPMiddleware does: on asyncio a SystemExit that leaves a task ends the
    event loop.
    """

    class Tasks:
        def __init__(self, inner):
            self.inner = inner

        async def __call__(self, scope, receive, send):
            async with anyio.create_task_group() as group:
                group.start_soon(self.inner, scope, receive, send)

    app.use(wrap(Tasks))
    await in_a_handler(app, fault)


async def nothing(req, res):
    pass


PLACES = [
    in_a_handler,
    in_a_handler_of_a_router,
    in_a_middleware,
    in_an_error_handler,
    in_a_hook,
    in_a_filter,
    in_a_thread,
    in_a_mounted_application,
    behind_a_wrapped_middleware,
    behind_a_middleware_that_runs_it_in_a_task,
]


@every_fault
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
async def test_what_leaves_users_code_is_logged_once_and_answered_with_a_500(place, fault, caplog):
    """And the application goes on."""
    app = Nardis()
    app.get("/other", other)
    await place(app, fault)

    async with Server(app) as server:
        call = await server.finished("/")
        another = await server.finished("/other")

    assert (call.status, call.final, call.error) == (500, True, None)
    assert (
        len([each for each in caplog.records if each.levelname == "ERROR" and each.exc_info]) == 1
    )
    assert "shutdown" not in caplog.text
    assert another.body == b"other"


async def other(req, res):
    await res.send("other")


@every_fault
async def test_a_handler_of_500_answers_it(fault):
    app, seen = Nardis(), []

    @app.error(500)
    async def answer(err, req, res):
        seen.append(err)
        await res.status(500).send("sorry")

    await in_a_handler(app, fault)
    async with Server(app) as server:
        call = await server.finished("/")

    assert call.body == b"sorry"
    assert len(seen) == 1


async def test_a_handler_of_its_type_answers_it():
    app = Nardis()

    @app.error(SystemExit)
    async def answer(err, req, res):
        await res.status(400).send(f"bad arguments: {err.code}")

    await in_a_handler(app, FAULTS["SystemExit"])
    async with Client(app) as client:
        response = await client.get("/")

    assert (response.status_code, response.text) == (400, "bad arguments: 2")


@every_fault
async def test_past_the_head_the_response_is_cut_by_an_exception_that_ends_no_server(fault, caplog):
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        await res.write("half")
        raise fault()

    async with Server(app) as server:
        call = await server.finished("/")

    assert call.aborted
    assert isinstance(call.error, Exception)
    assert caplog.text.count("truncated=True") == 1


async def test_a_generator_with_a_task_group_that_is_left_by_break_is_a_visible_failure():
    """`aclose()` raises, so what stood behind the loop has not run."""
    app = Nardis()

    async def merged():
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            yield b"x"

    @app.get("/")
    async def handler(req, res):
        async with aclosing(merged()) as source:
            async for piece in source:
                await res.write(piece)
                break
        await res.end("whole")  # pragma: no cover  # never reached: that is the claim

    async with Server(app) as server:
        call = await server.finished("/")

    assert call.aborted
    assert isinstance(call.error, ResponseAborted)


@pytest.mark.parametrize(
    "anyio_backend",
    [("asyncio", {"debug": True}), ("asyncio", {"use_uvloop": True})],
    ids=["asyncio", "uvloop"],
)
async def test_a_cancellation_of_what_a_handler_awaits_is_a_failure_of_it_and_no_shutdown(caplog):
    app = Nardis()
    work = {}

    @app.get("/shared")
    async def shared(req, res):
        work["task"] = asyncio.create_task(anyio.sleep_forever())
        await work["task"]

    async with Server(app) as server:
        call = server.call("/shared")
        await rest()
        work["task"].cancel()  # as the end of another handler would
        await call.wait()

    assert (call.status, call.final) == (500, True)
    assert "shutdown" not in caplog.text
    assert "CancelledError" in caplog.text


async def test_ctrl_c_goes_on():
    app = Nardis()
    await in_a_handler(app, KeyboardInterrupt)
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "headers": [],
    }
    with pytest.raises(
        BaseExceptionGroup
    ) as caught:  # of the task group that a request without a lifespan has
        await app(scope, None, None)
    assert caught.group_contains(KeyboardInterrupt)


@pytest.mark.parametrize("grouped", [False, True])
async def test_a_failure_beside_the_cancellation_by_a_server_is_logged(grouped, caplog):
    app = Nardis()

    async def fails():
        try:
            await anyio.sleep_forever()
        finally:
            raise OfItsOwn("beside")

    @app.get("/")
    async def handler(req, res):
        if not grouped:
            await fails()
        async with anyio.create_task_group() as group:
            group.start_soon(fails)
            await anyio.sleep_forever()

    async with Server(app) as server:
        call = server.call("/")
        await rest()
        call.cancel_scope.cancel()
        await call.wait()

    assert "beside" in caplog.text


@every_fault
async def test_a_deferred_call_that_fails_is_logged_and_the_others_run(fault, caplog):
    app, done = Nardis(), []

    async def fails():
        raise fault()

    async def works():
        done.append(True)

    @app.get("/")
    async def handler(req, res):
        req.defer(works)
        req.defer(fails)
        await res.send("x")

    async with Server(app) as server:
        call = await server.finished("/")

    assert (call.final, call.error, done) == (True, None, [True])
    assert caplog.text.count("GET /: a deferred clean-up failed") == 1


async def test_a_deferred_call_finds_the_context_variables_of_its_caller():
    """Also those that a middleware has reset by then."""
    app, found = Nardis(), []
    variable = contextvars.ContextVar("variable", default="nothing")

    async def later():
        found.append(variable.get())

    @app.use
    async def middleware(req, res, next):
        token = variable.set("of the request")
        try:
            await next()
        finally:
            variable.reset(token)
        req.defer(later)

    @app.get("/")
    async def handler(req, res):
        req.defer(later)
        await res.send("x")

    async with Client(app) as client:
        await client.get("/")

    assert found == ["nothing", "of the request"]
    assert variable.get() == "nothing"


@every_fault
async def test_a_background_task_that_fails_takes_nothing_down(fault, caplog):
    app = Nardis()

    async def fails():
        raise fault()

    @app.get("/")
    async def handler(req, res):
        app.tasks.start_soon(fails)
        await res.send("x")

    async with Client(app) as client:
        for _ in range(2):
            assert (await client.get("/")).text == "x"
        await rest()

    assert caplog.text.count("a background task failed") == 2


@pytest.mark.parametrize("where", ["receive", "send"])
@every_fault
async def test_a_server_that_fails_counts_as_a_client_that_left(where, fault, caplog):
    app = Nardis()

    @app.post("/")
    async def handler(req, res):
        await req.bytes()
        await res.send("x")

    async def fail(message):
        raise fault()

    async with Server(app) as server:
        if where == "receive":
            call = server.call(
                "/", fault(), method="POST", headers={"transfer-encoding": "chunked"}
            )
        else:
            call = server.call("/", part(b"", more=False), method="POST", on_send=fail)
        await call.wait()

    assert call.error is None
    assert caplog.text.count("the server failed; its client counts as gone") == 1


@every_fault
async def test_a_fault_in_looking_after_one_exchange_is_its_own(fault, monkeypatch, caplog):
    """The sweeper looks at the others, and goes on looking."""
    from nardis._exchange.exchange import Exchange

    app = Nardis()

    @app.get("/:name")
    async def handler(req, res):
        await anyio.sleep_forever()

    look = Exchange.look

    def fails(exchange, now):
        if exchange.scope["path"] == "/faulty":
            raise fault()
        look(exchange, now)

    monkeypatch.setattr(Exchange, "look", fails)
    async with Server(app) as server:
        faulty, sound = server.call("/faulty"), server.call("/sound")
        await server.tick()
        await faulty.wait()
        await server.tick()
        assert not sound.ended.is_set()
        assert sound.receiving == 1  # it is watched
        sound.disconnect()
        await sound.wait()

    assert (faulty.status, faulty.final, faulty.error) == (500, True, None)
    assert caplog.text.count("ERROR") == 1


@every_fault
async def test_a_fault_in_giving_an_exchange_up_is_its_own(fault, monkeypatch, caplog):
    """The sweeper leaves it to itself, and looks at the others."""
    from nardis._exchange.exchange import Exchange

    app = Nardis()

    @app.get("/:name")
    async def handler(req, res):
        await anyio.sleep_forever()

    def failing(method):
        def fails(exchange, *args):
            if exchange.scope["path"] == "/faulty":
                raise fault()
            return method(exchange, *args)

        return fails

    with monkeypatch.context() as patched:
        patched.setattr(Exchange, "look", failing(Exchange.look))
        patched.setattr(Exchange, "give_up", failing(Exchange.give_up))
        async with Server(app) as server:
            faulty, sound = server.call("/faulty"), server.call("/sound")
            await server.lose(sound)
            await sound.wait()
            assert not faulty.ended.is_set()
            patched.undo()
            await server.lose(faulty)
            await faulty.wait()

    assert "cannot be looked after" in caplog.text


async def test_extensions_may_be_none():
    """asgiref's types allow it; nothing may fall over it, the sweeper least of all."""
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        await anyio.sleep_forever()

    async with Server(app) as server:
        call = server.call("/")
        call.scope["extensions"] = None
        await server.lose(call)
        await call.wait()
        other = await server.finished("/nothing")

    assert call.error is None
    assert other.status == 404


class Says(Exception):
    """An exception that says which answer it wants."""

    def __init__(self, status_code, detail=None, headers=None):
        super().__init__(detail)
        self.status_code, self.detail, self.headers = status_code, detail, headers


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (Says(404, "no such file", {"x-why": "gone"}), 404, "no such file"),
        (Says(405), 405, "405"),
        (Says(200), 500, "500"),
        (Says("404"), 500, "500"),
        (HTTPError(409, "taken"), 409, "taken"),
    ],
    ids=repr,
)
async def test_an_exception_of_a_mounted_application_that_has_a_status_is_answered_with_it(
    error, status, text
):
    """Starlette's HTTPException, out of its bare StaticFiles."""
    app = Nardis()

    async def mounted(scope, receive, send):
        raise error

    app.mount("/", mounted)
    async with Client(app, raise_app_errors=False) as client:
        response = await client.get("/")

    assert response.status_code == status
    assert text in response.text
    assert response.headers.get("x-why") == (error.headers or {}).get("x-why")


async def test_a_body_that_is_too_large_past_the_head_is_a_line(caplog):
    app = Nardis()

    @app.post("/")
    async def handler(req, res):
        await res.write("so far")
        raise HTTPError(413, "enough")

    async with Client(app, raise_app_errors=False) as client:
        await client.post("/", content=b"x")

    [record] = [each for each in caplog.records if each.name == "nardis"]
    assert (record.levelname, record.exc_info) == ("WARNING", None)


@pytest.mark.parametrize("raised", [False, True], ids=["seen by its frame", "seen by its words"])
async def test_a_function_of_the_other_event_loop_is_named_with_what_to_use(
    raised, anyio_backend_name, caplog
):
    app = Nardis(debug=True)

    @app.get("/")
    async def handler(req, res):
        if anyio_backend_name == "trio":
            if raised:
                await asyncio.sleep(1)
            await asyncio.Event().wait()
        else:
            import trio

            if raised:
                await trio.sleep(1)
            await trio.lowlevel.wait_task_rescheduled(lambda _: None)

    async with Client(app, raise_app_errors=False) as client:
        response = await client.get("/")

    assert f"This runs on {anyio_backend_name}" in response.text
    assert "anyio.sleep()" in response.text
    assert "--backend" in caplog.text


async def test_a_fault_in_ending_one_exchange_is_its_own(monkeypatch):
    """At the shutdown, the others are ended all the same."""
    from nardis._exchange.exchange import Exchange
    from nardis._exchange.sweeper import interrupt_all

    app, log = Nardis(), []

    @app.get("/:name")
    async def handler(req, res):
        try:
            await anyio.sleep_forever()
        finally:
            log.append((req.params["name"], req.close_reason))

    interrupt = Exchange.interrupt

    def fails(exchange, reason, status=503):
        if exchange.scope["path"] == "/faulty":
            raise OfItsOwn("fault")
        interrupt(exchange, reason, status)

    monkeypatch.setattr(Exchange, "interrupt", fails)
    async with Server(app) as server:
        faulty, sound = server.call("/faulty"), server.call("/sound")
        await rest()
        interrupt_all(app.life.sweeper.exchanges, "shutdown")
        await faulty.wait()
        await sound.wait()

    assert sorted(log) == [("faulty", None), ("sound", "shutdown")]
    assert (faulty.status, sound.status) == (500, 503)


def test_outside_of_an_event_loop_a_coroutine_that_is_thrown_away_goes():
    """Nothing can be awaited there any more."""
    from nardis._failures import parted

    thrown = GeneratorExit()
    assert parted(thrown) == (thrown, None)


async def test_a_group_is_reduced_to_what_there_is_to_answer():
    from nardis import ClientDisconnected
    from nardis._failures import Carried, reduced

    error, left, closed = ValueError("v"), ClientDisconnected("left"), GeneratorExit()
    cancelled = BaseExceptionGroup("", [asyncio.CancelledError()])

    def group(*errors):
        return BaseExceptionGroup("", errors)

    assert reduced(error) is error
    assert reduced(group(error, left)) is error
    assert reduced(group(group(error), closed)) is error
    assert reduced(group(Carried(closed), left)) is closed
    assert reduced(Carried(error)) is error
    assert isinstance(reduced(group(left)), ClientDisconnected)
    only_closed, two = group(closed), group(error, SystemExit(1))
    assert reduced(only_closed) is only_closed
    assert reduced(two) is two
    if "asyncio" in anyio.get_cancelled_exc_class().__module__:
        assert reduced(cancelled) is cancelled


@every_fault
async def test_out_of_a_websocket_comes_nothing_that_ends_a_server(fault):
    """Of a mounted application: before its accept it is answered, and past that the server's."""
    app = Nardis()

    async def chat(scope, receive, send):
        if scope["query_string"]:
            await send({"type": "websocket.accept"})
        raise fault()

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message["type"])

    app.mount("/chat", chat)
    scope = {"type": "websocket", "path": "/chat", "headers": []}
    async with Server(app):
        sent = []
        await app({**scope, "query_string": b""}, receive, send)
        assert sent == ["websocket.close"]
        with pytest.raises(Exception, match=r"\w"):  # that it is one is the claim
            await app({**scope, "query_string": b"accepts"}, receive, send)
