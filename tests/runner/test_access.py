"""The line of the access log, made of what passes between a server and an application."""

import json
import logging
import re
from types import SimpleNamespace

import anyio
import pytest

from nardis._asgi.extensions import ACCESS
from nardis.server.access_log import with_access_log

pytestmark = pytest.mark.anyio

SCOPE = {
    "type": "http",
    "method": "GET",
    "path": "/",
    "http_version": "1.1",
    "client": ("192.0.2.1", 1234),
}
START = {"type": "http.response.start", "status": 200, "headers": []}


@pytest.fixture
def log(caplog):
    """Return a function that calls an application once and returns its line of the log."""
    caplog.set_level(logging.INFO, "nardis.access")

    async def call(app, *incoming, scope=None, form="json", draining=0.0, raises=None):
        logged = with_access_log(
            app, as_json=form == "json", shutdown=SimpleNamespace(draining=draining)
        )
        messages = iter(incoming)

        async def receive():
            return next(messages)

        async def send(message):
            """Take it."""

        given = {
            **(scope if scope and "type" in scope else {**SCOPE, **(scope or {})}),
            "extensions": {},
        }
        if raises is None:
            await logged(given, receive, send)
        else:
            with pytest.raises(raises):
                await logged(given, receive, send)
        [record] = caplog.records
        caplog.clear()
        return json.loads(record.message) if form == "json" else record.message

    return call


def answering(*messages, notes=None):
    """Make an application that sends *messages* and notes a reason for the log."""

    async def app(scope, receive, send):
        scope["extensions"][ACCESS].update(notes or {})
        for message in messages:
            if isinstance(message, Exception):
                raise message
            await (receive() if message is None else send(message))

    return app


def body(data, *, more=False):
    return {"type": "http.response.body", "body": data, "more_body": more}


async def test_an_answer(log):
    said = await log(
        answering(START, body(b"one", more=True), body(b"two"), {"type": "http.response.trailers"})
    )

    assert {
        name: said[name] for name in ("client", "method", "path", "http_version", "status", "bytes")
    } == {
        "client": "192.0.2.1:1234",
        "method": "GET",
        "path": "/",
        "http_version": "1.1",
        "status": 200,
        "bytes": 6,
    }
    assert (said["aborted"], said["close_reason"]) == (False, None)
    assert 0 <= said["first_byte_ms"] <= said["duration_ms"]


async def test_a_body_may_be_left_out_of_the_last_message(log):
    said = await log(answering(START, {"type": "http.response.body"}))

    assert (said["bytes"], said["aborted"]) == (0, False)


@pytest.mark.parametrize(
    ("messages", "raises", "options", "told"),
    [
        pytest.param(
            [ValueError()], ValueError, {}, (500, False, None), id="failed before the head"
        ),
        pytest.param(
            [START, ValueError()], ValueError, {}, (200, True, None), id="failed after it"
        ),
        pytest.param(
            [START, body(b"x", more=True)], None, {}, (200, True, None), id="returned too early"
        ),
        pytest.param(
            [START, body(b"x", more=True)],
            None,
            {"draining": 1.0},
            (200, True, "shutdown"),
            id="shutdown",
        ),
        pytest.param(
            [START, body(b"x")],
            None,
            {"draining": 1.0},
            (200, False, None),
            id="whole, during the shutdown",
        ),
        pytest.param([], None, {}, (None, True, None), id="nothing at all"),
    ],
)
async def test_how_it_ended(log, messages, raises, options, told):
    said = await log(answering(*messages), raises=raises, **options)

    assert (said["status"], said["aborted"], said["close_reason"]) == told


async def test_a_client_that_left_is_the_reason(log):
    said = await log(
        answering(START, None, ValueError()), {"type": "http.disconnect"}, raises=ValueError
    )

    assert (said["aborted"], said["close_reason"]) == (True, "gone")


async def test_a_client_that_left_after_the_answer_is_none(log):
    said = await log(answering(START, body(b"x"), None), {"type": "http.disconnect"})

    assert (said["aborted"], said["close_reason"]) == (False, None)


async def test_what_the_application_notes_is_the_reason(log):
    said = await log(answering(START, body(b"x"), notes={"close_reason": "deadline"}))

    assert (said["aborted"], said["close_reason"]) == (False, "deadline")


async def test_a_cancelled_exchange_has_a_line(caplog):
    caplog.set_level(logging.INFO, "nardis.access")

    async def app(scope, receive, send):
        await send(START)
        await anyio.sleep_forever()

    async def send(message):
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        logged = with_access_log(app, as_json=True, shutdown=SimpleNamespace(draining=1.0))
        await logged({**SCOPE, "extensions": {}}, anyio.sleep_forever, send)
    [record] = caplog.records
    said = json.loads(record.message)
    assert (said["status"], said["aborted"], said["close_reason"]) == (200, True, "shutdown")


@pytest.mark.parametrize(
    ("messages", "incoming", "told"),
    [
        (["accept", "text", "bytes", "close"], [], (101, 6, False, None)),
        (["accept", None], [{"type": "websocket.disconnect"}], (101, 0, False, None)),
        (["accept", "text"], [], (101, 4, True, None)),
        (["start", "body"], [], (403, 2, False, None)),
        (["close"], [], (None, 0, False, None)),
    ],
)
async def test_websockets(log, messages, incoming, told):
    """A client that leaves ends it, and so does one that closes."""
    known = {
        "accept": {"type": "websocket.accept"},
        "text": {"type": "websocket.send", "text": "té!", "bytes": None},
        "bytes": {"type": "websocket.send", "bytes": b"\0\1"},
        "close": {"type": "websocket.close"},
        "start": {"type": "websocket.http.response.start", "status": 403, "headers": []},
        "body": {"type": "websocket.http.response.body", "body": b"no"},
    }
    scope = {"type": "websocket", "path": "/", "http_version": "1.1", "client": None}
    app = answering(*(message and known[message] for message in messages))
    said = await log(app, *incoming, scope=scope)

    assert said["method"] in ("GET", "WEBSOCKET")
    assert said["client"] is None
    assert (said["status"], said["bytes"], said["aborted"], said["close_reason"]) == told


async def test_a_line_of_text(log):
    line = await log(answering(START, body(b"four")), form="text")

    words = line.split()
    assert words[:5] == ["192.0.2.1:1234", '"GET', "/", 'HTTP/1.1"', "200"]
    assert words[5] == "4B"
    assert [word.partition("=")[0] for word in words[6:]] == ["first", "total"]


async def test_a_line_of_text_of_an_exchange_that_came_to_nothing(log):
    line = await log(
        answering(None), {"type": "http.disconnect"}, scope={"client": None}, form="text"
    )

    assert line.startswith('- "GET / HTTP/1.1" - 0B first=- total=')
    assert line.endswith(" aborted close_reason=gone")


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\x1b[2J", "\u2028", "\x85", "\0"])
async def test_nobody_writes_lines_of_their_own(log, form, end):
    line = await log(answering(START, body(b"")), scope={"path": f"/{end}forged"}, form=form)

    text = json.dumps(line) if form == "json" else line
    assert len(text.splitlines()) == 1
    assert text.isprintable()


@pytest.mark.parametrize("path", ['/" 200 9999B', "/a b", "/\\", '/\\"'])
async def test_the_fields_of_a_line_of_text_can_be_told_apart(log, path):
    """Whatever a client has in its path, the quotes around the request are ours."""
    line = await log(answering(START, body(b"")), scope={"path": path}, form="text")

    request, behind = re.match(r'192\.0\.2\.1:1234 "((?:[^"\\]|\\.)*)" (.*)', line).groups()
    assert request.endswith(" HTTP/1.1")
    assert behind.split()[:2] == ["200", "0B"]
