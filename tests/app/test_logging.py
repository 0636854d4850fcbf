"""What is logged: each failure once, and nothing that is nobody's fault."""

import logging
import traceback

import anyio
import pytest

from nardis import HTTPError, Nardis
from nardis.testing import AppError, Client
from tests.peers.driver import tick_once

pytestmark = pytest.mark.anyio


def errors(caplog):
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


async def passes(req, res, next):
    await next()


async def test_a_500_is_one_record(caplog):
    """With the request and the traceback, by the logger `nardis`."""
    app = Nardis()
    app.use(passes, passes)

    @app.get("/x", passes)
    async def fails(req, res):
        raise KeyError("k")

    async with Client(app, raise_app_errors=False) as client:
        await client.get("/x?secret=1")
    [record] = errors(caplog)
    assert (record.name, record.levelno) == ("nardis", logging.ERROR)
    assert record.getMessage() == "GET /x?secret=1 failed: KeyError: 'k'"
    assert record.exc_info[0] is KeyError
    assert not hasattr(record, "truncated")


async def test_a_failure_past_the_head_is_one_record_with_truncated(caplog):
    """How much was sent is in it."""
    app = Nardis()
    app.use(passes)

    @app.get("/x")
    async def fails(req, res):
        await res.write("12345")
        raise KeyError("k")

    async with Client(app, raise_app_errors=False) as client:
        await client.get("/x")
    [record] = errors(caplog)
    assert record.truncated is True
    assert record.exc_info[0] is KeyError
    assert record.getMessage() == "GET /x failed after 5 body bytes, truncated=True: KeyError: 'k'"


async def test_a_failure_past_the_head_goes_on_to_the_server():
    app, bug = Nardis(), KeyError("k")
    raised = []

    @app.get("/x")
    async def fails(req, res):
        await res.write("12345")
        raise bug

    async def server(scope, receive, send):
        try:
            await app(scope, receive, send)
        except KeyError as exc:
            raised.append(exc)

    async with Client(server, raise_app_errors=False) as client:
        response = await client.get("/x")
    assert (response.complete, raised) == (False, [bug])


@pytest.mark.parametrize("sent", ["", "write", "send"])
async def test_no_client_writes_lines_of_the_log(caplog, sent):
    """Servers other than ours may let controls through."""
    app = Nardis()

    @app.all("/x")
    async def fails(req, res):
        if sent:
            await getattr(res, sent)("12345")
        raise KeyError("k")

    async def server(scope, receive, send):
        scope |= {"method": "G\x1b[2J", "query_string": b"a\n2026 ERROR forged\x85"}
        await app(scope, receive, send)

    async with Client(server, raise_app_errors=False) as client:
        await client.get("/x")
    [record] = errors(caplog)
    assert record.getMessage().startswith(r"G\x1b[2J /x?a\n2026 ERROR forged\x85 failed")


@pytest.mark.parametrize("status", [400, 404, 405, 418, 503])
async def test_what_a_client_did_wrong_is_not_logged(status, caplog):
    app = Nardis()

    @app.post("/x")
    @app.get("/raise")
    async def refuses(req, res):
        raise HTTPError(status)

    path = {400: "/%00", 404: "/nothing", 405: "/x"}.get(status, "/raise")
    async with Client(app) as client:
        assert (await client.get(path)).status_code == status
    assert errors(caplog) == []


async def test_an_answered_error_is_not_logged(caplog):
    """The error handler decides what is logged."""
    app = Nardis()

    @app.get("/")
    async def fails(req, res):
        raise KeyError

    @app.error(KeyError)
    async def handler(err, req, res):
        await res.send("answered")

    async with Client(app) as client:
        await client.get("/")
    assert errors(caplog) == []


@pytest.mark.parametrize("begun", [True, False])
async def test_a_client_that_leaves_is_not_logged(begun, caplog):
    app, inside = Nardis(), anyio.Event()

    @app.get("/")
    async def handler(req, res):
        if begun:
            await res.write("begun")
        inside.set()
        await anyio.sleep_forever()

    async with Client(app) as client, client.stream("GET", "/") as response:
        if begun:
            await anext(response)
        await inside.wait()
        tick_once(app)
        await response.disconnect()
    assert errors(caplog) == []


async def test_a_cut_on_purpose_is_not_logged(caplog):
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        await res.write("begun")
        await res.abort()

    async with Client(app, raise_app_errors=False) as client:
        assert not (await client.get("/")).complete
    assert errors(caplog) == []


@pytest.mark.parametrize("begun", [True, False])
async def test_the_frames_of_nardis_between_those_of_the_user_are_left_out(begun, caplog):
    """The error itself keeps them, for servers and test clients."""
    app = Nardis()
    app.use(passes, passes)

    @app.get("/x", passes)
    async def fails(req, res):
        if begun:
            await res.write("begun")
        raise KeyError("k")

    async with Client(app) as client:
        with pytest.raises(AppError) as caught:
            await client.get("/x")
    [record] = errors(caplog)
    shown = [frame.f_code.co_name for frame, _ in traceback.walk_tb(record.exc_info[2])]
    assert shown == ["passes", "passes", "passes", "fails"]
    whole = [
        frame.f_code.co_name for frame, _ in traceback.walk_tb(caught.value.__cause__.__traceback__)
    ]
    assert len(whole) > len(shown)


class Wordless(Exception):
    """An error that cannot say what it is."""

    def __str__(self):
        raise self.args[0]


@pytest.mark.parametrize("wrong", [ValueError, SystemExit, GeneratorExit])
@pytest.mark.parametrize("begun", [True, False])
async def test_an_error_that_fails_to_say_what_it_is_is_logged(begun, wrong, caplog):
    """Whatever its `__str__` raises is a failure of this call, and of no other."""
    app = Nardis()

    @app.get("/x")
    async def fails(req, res):
        if begun:
            await res.write("begun")
        raise Wordless(wrong)

    async with Client(app, raise_app_errors=False) as client:
        response = await client.get("/x")
    assert response.status_code == (200 if begun else 500)
    [record] = errors(caplog)
    assert "<Wordless that fails to say more>" in record.getMessage()
