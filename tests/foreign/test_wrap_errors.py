"""Errors behind, in and outside of a foreign ASGI middleware."""

import anyio
import pytest

from nardis import HTTPError, Nardis, wrap
from nardis.errors import FieldError, HeadersAlreadySent, NextCalledTwice, NoResponse, UsageError
from nardis.testing import AppError, Client
from tests.foreign.applications import Through, greet
from tests.peers.asgi import START
from tests.peers.driver import Server, rest

pytestmark = pytest.mark.anyio


async def test_an_error_is_answered_where_it_arises():
    """By a handler that knows it, inside; the middleware sees an answer and no exception."""
    app, log = Nardis(), []
    app.use(wrap(Through, log=log))

    @app.error(KeyError)
    async def missing(err, req, res):
        await res.status(404).send("missing")

    @app.get("/key")
    async def key(req, res):
        raise KeyError("k")

    @app.get("/http")
    async def http(req, res):
        raise HTTPError(409, "taken")

    async with Client(app) as client:
        for path, status in (("/key", 404), ("/http", 409)):
            response = await client.get(path)
            assert (response.status_code, response.headers["x-through"]) == (status, "1")
    assert log == ["enter http"] * 2


async def test_an_error_that_nobody_knows_passes_through_it():
    app, log = Nardis(), []
    asked = []
    app.use(wrap(Through, log=log))

    @app.error(KeyError)
    async def passes(err, req, res):
        asked.append(err)
        raise err

    @app.get("/")
    async def handler(req, res):
        raise KeyError("k")

    async with Client(app) as client:
        with pytest.raises(AppError, match="KeyError"):
            await client.get("/")
    assert log == ["enter http", "KeyError"]
    assert len(asked) == 1


async def test_an_error_answer_drops_what_was_said_of_the_body_outside_as_well():
    app = Nardis()

    @app.use
    async def outside(req, res, next):
        res.set({"cache-control": "max-age=3600", "x-id": "7"})
        await next()

    app.use(wrap(Through))
    async with Client(app) as client:
        response = await client.get("/nothing")
    assert (response.headers.get("cache-control"), response.headers["x-id"]) == (None, "7")


async def test_silence_behind_it_is_a_loud_500():
    app = Nardis()
    app.use(wrap(Through))

    @app.get("/")
    async def silent(req, res):
        pass

    async with Client(app) as client:
        with pytest.raises(AppError) as raised:
            await client.get("/")
    assert isinstance(raised.value.__cause__, NoResponse)
    assert "silent()" in str(raised.value)


async def test_a_scope_of_its_own_is_an_error_that_says_so():
    class Forgets:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            await self.app({"type": "http"}, receive, send)

    app = Nardis()
    app.use(wrap(Forgets))
    async with Client(app) as client:
        with pytest.raises(AppError) as raised:
            await client.get("/")
    assert isinstance(raised.value.__cause__, UsageError)


async def test_to_call_the_application_twice_is_an_error():
    class Twice(Through):
        async def __call__(self, scope, receive, send):
            await self.app(scope, receive, send)
            with pytest.raises(NextCalledTwice):
                await self.app(scope, receive, send)

    app = Nardis()
    app.use(wrap(Twice))
    app.get("/", greet)
    async with Client(app) as client:
        assert (await client.get("/")).status_code == 200


async def test_an_error_of_its_own_send_is_one_in_the_handler():
    """And no sign of a client that left."""

    class Refuses(Through):
        async def __call__(self, scope, receive, send):
            async def refusing(message):
                raise OSError("disk full")

            await self.app(scope, receive, refusing)

    app = Nardis()
    app.use(wrap(Refuses))

    @app.get("/")
    async def handler(req, res):
        with pytest.raises(OSError, match="disk full"):
            await res.write("x")
        raise KeyError("seen")

    async with Client(app) as client:
        with pytest.raises(AppError, match="seen"):
            await client.get("/")


async def test_an_error_past_the_head_that_it_has_kept_back_can_still_be_answered():
    """The client has seen nothing yet, so handlers outside are asked."""

    class Buffers(Through):
        async def __call__(self, scope, receive, send):
            async def kept(message):
                messages.append(message)

            messages = []
            await self.app(scope, receive, kept)

    app = Nardis()
    app.use(wrap(Buffers))

    @app.error(KeyError)
    async def missing(err, req, res):
        await res.status(404).send("missing")

    @app.get("/")
    async def handler(req, res):
        await res.write("half")
        raise KeyError("k")

    async with Client(app) as client:
        response = await client.get("/")
    assert (response.status_code, response.text) == (404, "missing")


async def test_a_group_of_tasks_behind_it_costs_nobody_his_errors():
    app = Nardis()
    app.use(wrap(Through))

    @app.get("/")
    async def handler(req, res):
        async with anyio.create_task_group():
            raise HTTPError(409)

    async with Client(app) as client:
        assert (await client.get("/")).status_code == 409


async def test_a_failed_clean_up_after_the_client_left_is_logged_once(caplog):
    app = Nardis()
    app.use(wrap(Through))

    @app.get("/")
    async def handler(req, res):
        async with anyio.create_task_group() as group:

            async def fails():
                try:
                    await anyio.sleep_forever()
                finally:
                    raise KeyError("k")

            group.start_soon(fails)
            group.start_soon(anyio.sleep_forever)
            await res.write("x")
            await anyio.sleep_forever()

    async with Server(app) as server:
        call = server.call("/")
        await server.lose(call)
        await call.wait()
    assert caplog.text.count("failed after its end") == 1


async def test_a_failed_clean_up_after_it_said_that_the_client_left_is_the_error():
    class Lies(Through):
        async def __call__(self, scope, receive, send):
            async def gone():
                return {"type": "http.disconnect"}

            await self.app(scope, gone, send)

    app = Nardis()
    app.use(wrap(Lies))

    async def fails():
        try:
            await anyio.sleep_forever()
        finally:
            raise KeyError("k")

    @app.get("/")
    async def handler(req, res):
        async with anyio.create_task_group() as group:
            group.start_soon(fails)
            group.start_soon(anyio.sleep_forever)
            await rest()
            await req.bytes()

    async with Client(app) as client:
        with pytest.raises(AppError, match="KeyError"):
            await client.get("/")


async def test_an_answer_outside_that_has_begun_is_not_begun_again():
    app = Nardis()

    @app.use
    async def begins(req, res, next):
        await res.write("begun")
        await next()

    app.use(wrap(Through))
    async with Client(app) as client:
        with pytest.raises(AppError) as raised:
            await client.get("/")
    assert isinstance(raised.value.__cause__, HeadersAlreadySent)


async def test_an_error_behind_it_after_the_end_is_logged(caplog):
    app = Nardis()
    app.use(wrap(Through))

    @app.get("/")
    async def handler(req, res):
        await res.send("whole")
        raise KeyError("k")

    async with Client(app, raise_app_errors=False) as client:
        response = await client.get("/")
    assert (response.text, response.complete) == ("whole", True)
    assert "failed after its end" in caplog.text


async def test_a_field_that_http_does_not_allow_is_refused_at_its_head():
    class Splits(Through):
        async def __call__(self, scope, receive, send):
            async def split(message):
                assert message["type"] == START
                message["headers"].append((b"x", b"1\r\nset-cookie: a=1"))
                await send(message)

            await self.app(scope, receive, split)

    app = Nardis()
    app.use(wrap(Splits))
    app.get("/", greet)
    async with Client(app) as client:
        with pytest.raises(AppError) as raised:
            await client.get("/")
    assert isinstance(raised.value.__cause__, FieldError)
