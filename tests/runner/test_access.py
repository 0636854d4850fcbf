"""The line of the access log, made of what passes between a server and an application."""

import json
import logging
import math
import re
from types import SimpleNamespace

import anyio
import pytest

from nardis._asgi.extensions import ACCESS, FILE, ORIGIN, PATH
from nardis._http.forwarded import ClientSide
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
HINT = {"type": "http.response.early_hint", "links": []}
PROXIED = ClientSide(ip=None, ips=[], scheme="https", host="example.com")


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

        given = {
            **(scope if scope and "type" in scope else {**SCOPE, **(scope or {})}),
            "extensions": dict((scope or {}).get("extensions", {})),
        }
        if raises is None:
            await logged(given, receive, nothing)
        else:
            with pytest.raises(raises):
                await logged(given, receive, nothing)
        [record] = caplog.records
        caplog.clear()
        return Said(record.message) if form == "json" else record.message

    return call


async def logged(app):
    """Call an application once, with a log of lines of text."""
    logs = with_access_log(app, as_json=False, shutdown=SimpleNamespace(draining=0.0))
    await logs({**SCOPE, "extensions": {}}, anyio.sleep_forever, nothing)


class Said(dict):
    """
    A line of JSON.

    Attributes:
        raw: As it was written.
    """

    def __init__(self, raw):
        super().__init__(json.loads(raw))
        self.raw = raw


async def nothing(message):
    """Take a message."""


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
            [START, body(b"", more=True), ValueError()],
            ValueError,
            {},
            (200, True, None),
            id="failed after it",
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


@pytest.mark.parametrize(
    ("version", "told"), [("1.1", (500, False, None)), ("2", (200, True, 0.0))]
)
async def test_a_head_that_has_not_left_tells_no_status(log, monkeypatch, version, told):
    """HTTP/1 sends it with the first piece of the body, and an error before that is a 500."""
    monkeypatch.setattr("time.monotonic", lambda: 100.0)
    scope = {"http_version": version}
    said = await log(answering(START, ValueError()), raises=ValueError, scope=scope)

    assert (said["status"], said["aborted"], said["first_byte_ms"]) == told


async def test_a_client_that_left_before_the_head_got_none(log):
    said = await log(answering(START, None), {"type": "http.disconnect"})

    assert (said["status"], said["aborted"], said["close_reason"]) == (None, True, "gone")


@pytest.mark.parametrize(("before", "told"), [([], 500), ([HINT], 0)], ids=["head", "early hints"])
async def test_the_first_byte_is_that_of_the_body_that_brings_the_head(
    log, monkeypatch, before, told
):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])

    async def app(scope, receive, send):
        for message in (*before, START):
            await send(message)
        clock[0] += 0.5
        await send(body(b"x"))

    assert (await log(app))["first_byte_ms"] == told


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


@pytest.mark.parametrize("kind", [FILE, PATH])
async def test_a_file_that_the_system_sends_counts(log, kind):
    """Also one of which only the head says how long it is."""
    start = {**START, "headers": [(b"content-length", b"9")]}
    pieces = [{"type": FILE, "count": 4, "more_body": True}] if kind == FILE else []
    said = await log(answering(start, *pieces, {"type": kind}))

    assert (said["bytes"], said["aborted"]) == (9, False)


async def test_a_file_of_which_nobody_says_how_long_it_is(log):
    said = await log(answering(START, {"type": PATH, "path": "/x"}))

    assert (said["bytes"], said["aborted"]) == (0, False)


# --- who asked, and how long the client took ------------------------------------------------------


async def test_it_says_when_the_request_began(log, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1764358200.0042)
    said = await log(answering(START, body(b"")))

    assert said["time"] == "2025-11-28T19:30:00.004Z"


async def test_what_the_client_names(log):
    headers = [(b"host", b"example.com"), (b"user-agent", b"caf\xe9/1\n{}")]
    said = await log(answering(START, body(b"")), scope={"headers": headers})

    assert (said["host"], said["user_agent"]) == ("example.com", "café/1\n{}")


async def test_what_the_client_does_not_name(log):
    said = await log(answering(START, body(b"")))

    assert (said["host"], said["user_agent"], said["request_id"]) == (None, None, None)


async def test_the_host_is_the_one_that_a_trusted_proxy_names(log):
    scope = {"headers": [(b"host", b"10.0.0.1")], "extensions": {ORIGIN: PROXIED}}
    said = await log(answering(START, body(b"")), scope=scope)

    assert said["host"] == "example.com"


@pytest.mark.parametrize("fails", [False, True])
async def test_the_time_in_which_the_client_takes_nothing_is_said(caplog, monkeypatch, fails):
    """Also of a piece that was never taken."""
    caplog.set_level(logging.INFO, "nardis.access")
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])

    async def app(scope, receive, send):
        clock[0] += 0.5  # the application's own
        await send(START)
        await send(body(b"x"))

    async def send(message):
        clock[0] += 0.25
        if fails and message["type"] == "http.response.body":
            raise ConnectionError

    lines = []
    for form in ("json", "text"):
        logged = with_access_log(
            app, as_json=form == "json", shutdown=SimpleNamespace(draining=0.0)
        )
        if fails:
            with pytest.raises(ConnectionError):
                await logged({**SCOPE, "extensions": {}}, anyio.sleep_forever, send)
        else:
            await logged({**SCOPE, "extensions": {}}, anyio.sleep_forever, send)
        lines.append(caplog.records[-1].message)

    said = json.loads(lines[0])
    assert (said["first_byte_ms"], said["blocked_ms"], said["duration_ms"]) == (750, 500, 1000)
    assert " total=1000.0ms blocked=500.0ms" in lines[1]


async def test_a_line_of_text_leaves_out_what_nobody_would_notice(log, monkeypatch):
    clock = iter(n / 10_000 for n in range(100))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))

    assert "blocked" not in await log(answering(START, body(b"")), form="text")


# --- what the application adds --------------------------------------------------------------------


async def test_fields_of_the_application_stand_behind_ours(log):
    notes = {"fields": {"user": 7, "tags": ["a"], "request_id": "abc"}}
    said = await log(answering(START, body(b""), notes=notes))

    assert (said["user"], said["tags"], said["request_id"]) == (7, ["a"], "abc")
    assert list(said)[-2:] == ["user", "tags"]


async def test_a_field_of_the_application_is_never_one_of_ours(log):
    notes = {"fields": {"status": 599, "path": "/else", "close_reason": "lunch"}}
    said = await log(answering(START, body(b""), notes=notes))

    assert (said["status"], said["path"], said["close_reason"]) == (200, "/", None)


class Mute:
    def __str__(self):
        raise ValueError


CIRCLE = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("key", "value", "key_said", "value_said"),
    [
        pytest.param("x", {1}, "x", "{1}", id="no JSON"),
        pytest.param("x", math.nan, "x", "nan", id="NaN"),
        pytest.param("x", CIRCLE, "x", "[[...]]", id="a circle"),
        pytest.param("x", Mute(), "x", "<Mute that fails to say more>", id="mute"),
        pytest.param((1, 2), None, "(1, 2)", None, id="a key that is no text"),
        pytest.param("x", "a\ud800😀\\ud800", "x", "a\ufffd😀\\ud800", id="half a character"),
    ],
)
async def test_no_value_costs_the_line(log, key, value, key_said, value_said):
    said = await log(answering(START, body(b""), notes={"fields": {key: value, "y": [0.5]}}))

    assert said[key_said] == value_said
    assert (said["status"], said["y"]) == (200, [0.5])
    assert isinstance(said["duration_ms"], float)


async def test_a_value_costs_no_other_one_its_form(log):
    """NaN is no JSON, and what holds it is a text; a set within another field is one by itself."""
    notes = {"fields": {"x": [math.nan], "y": {"tags": [{1}, "a"]}}}
    said = await log(answering(START, body(b""), notes=notes))

    assert (said["x"], said["y"]) == ("[nan]", {"tags": ["{1}", "a"]})


@pytest.mark.parametrize("value", [0.5, math.nan])
async def test_no_name_comes_twice(log, value):
    class Status:
        def __str__(self):
            return "status"

    notes = {"fields": {1: 2, "1": value, Status(): 599}}
    said = await log(answering(START, body(b""), notes=notes))

    assert said["status"] == 200
    assert str(said["1"]) == str(value)
    assert len(said) == len(json.loads(said.raw, object_pairs_hook=list))


async def test_a_record_factory_may_set_what_a_record_has(caplog):
    """A recipe of the logging cookbook puts the id of the request on each record."""
    caplog.set_level(logging.INFO, "nardis.access")
    usual = logging.getLogRecordFactory()

    def factory(*args, **kwargs):
        record = usual(*args, **kwargs)
        record.request_id, record.exchange = "-", None
        return record

    logging.setLogRecordFactory(factory)
    try:
        for fields in ({"request_id": "abc"}, {}):
            await logged(answering(START, body(b""), notes={"fields": fields}))
    finally:
        logging.setLogRecordFactory(usual)

    assert [record.request_id for record in caplog.records] == ["abc", "-"]
    assert [record.exchange["status"] for record in caplog.records] == [200, 200]


@pytest.mark.parametrize("keeps_failing", [False, True])
async def test_a_log_that_fails_costs_the_line_and_not_the_request(caplog, keeps_failing):
    caplog.set_level(logging.INFO, "nardis")

    def fail(record):
        if keeps_failing or record.name == "nardis.access":
            raise LookupError("the disk is full")
        return True

    caplog.handler.addFilter(fail)
    try:
        await logged(answering(START, body(b"")))
    finally:
        caplog.handler.removeFilter(fail)

    assert [record.getMessage() for record in caplog.records] == [
        "a line of the access log is lost: the disk is full"
    ] * (not keeps_failing)


async def test_without_readers_no_line_is_made(caplog, monkeypatch):
    caplog.set_level(logging.WARNING, "nardis.access")
    monkeypatch.delattr("nardis.server.access_log._log")

    await logged(answering(START, body(b"")))


async def test_a_record_has_all_of_it_as_well(caplog):
    """For a formatter of the application's own."""
    caplog.set_level(logging.INFO, "nardis.access")
    app = answering(START, body(b""), notes={"fields": {"request_id": "abc", "status": 599}})
    for each in (app, answering(START, body(b""))):
        await logged(each)
    record, plain = caplog.records

    assert (record.request_id, record.exchange["status"]) == ("abc", 200)
    assert not hasattr(plain, "request_id")


async def test_a_line_of_text_has_the_request_id_and_no_other_field(log):
    notes = {"fields": {"request_id": "abc", "user": 7}}
    line = await log(answering(START, body(b""), notes=notes), form="text")

    assert line.endswith("ms id=abc")


async def test_a_request_id_ends_no_line_and_no_word(log):
    notes = {"fields": {"request_id": 'a b\n"'}}
    line = await log(answering(START, body(b""), notes=notes), form="text")

    assert line.endswith(r" id=a_b\n\"")


async def test_a_cancelled_exchange_has_a_line(caplog):
    caplog.set_level(logging.INFO, "nardis.access")

    async def app(scope, receive, send):
        await send(START)
        await send(body(b"", more=True))
        await anyio.sleep_forever()

    async def send(message):
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        logged = with_access_log(app, as_json=True, shutdown=SimpleNamespace(draining=1.0))
        await logged({**SCOPE, "extensions": {}}, anyio.sleep_forever, send)
    [record] = caplog.records
    said = json.loads(record.message)
    assert (said["status"], said["aborted"], said["close_reason"]) == (200, True, "shutdown")


LEFT = {"type": "websocket.disconnect", "code": 4001}
VANISHED = {"type": "websocket.disconnect", "code": 1006}


@pytest.mark.parametrize(
    ("messages", "incoming", "told"),
    [
        (["accept", "text", "bytes", "close"], [], (101, 6, False, None, 1011)),
        (["accept", None], [{"type": "websocket.disconnect"}], (101, 0, False, None, None)),
        (["accept", None], [LEFT], (101, 0, False, None, 4001)),
        (["accept", None, "close"], [LEFT], (101, 0, False, None, 4001)),
        (["accept", "text"], [], (101, 4, True, None, None)),
        (["start", "body"], [], (403, 2, False, None, None)),
        (["accept", None], [VANISHED], (101, 0, True, "gone", 1006)),
        (["close"], [], (403, 0, False, None, None)),
        ([None, "close"], [VANISHED], (None, 0, True, "gone", 1006)),
    ],
)
async def test_websockets(log, messages, incoming, told):
    """A client that leaves ends it, and so does one that closes."""
    known = {
        "accept": {"type": "websocket.accept"},
        "text": {"type": "websocket.send", "text": "té!", "bytes": None},
        "bytes": {"type": "websocket.send", "bytes": b"\0\1"},
        "close": {"type": "websocket.close", "code": 1011},
        "start": {"type": "websocket.http.response.start", "status": 403, "headers": []},
        "body": {"type": "websocket.http.response.body", "body": b"no"},
    }
    scope = {"type": "websocket", "path": "/", "http_version": "1.1", "client": None}
    app = answering(*(message and known[message] for message in messages))
    said = await log(app, *incoming, scope=scope)

    assert said["method"] in ("GET", "WEBSOCKET")
    assert said["client"] is None
    seen = (said["status"], said["bytes"], said["aborted"], said["close_reason"])
    assert (*seen, said.get("close_code")) == told
    line = await log(app, *incoming, scope=scope, form="text")
    assert ("close_code=" in line) is (told[-1] is not None)


@pytest.mark.parametrize(("code", "is_cut"), [(1000, False), (1006, True)])
async def test_a_websocket_whose_application_did_not_hear_its_end(log, code, is_cut):
    """A Nardis application knows of it all the same: its handler was cancelled."""

    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})
        scope["extensions"]["nardis.access"] |= {"close_code": code, "close_reason": "gone"}

    said = await log(app, scope={"type": "websocket", "path": "/", "client": None})

    assert (said["close_code"], said["aborted"]) == (code, is_cut)


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


@pytest.mark.parametrize("sent", ['/" 200 9999B', "/a b", "/\\", '/\\"', "\x1b[2J"])
@pytest.mark.parametrize("what", ["path", "method", "client"])
async def test_the_fields_of_a_line_of_text_can_be_told_apart(log, what, sent):
    """
    Whatever a client sends, the quotes around the request are ours.

    A proxy may name any client, and servers other than ours let other methods through.
    """
    scope = {what: (sent, 0) if what == "client" else sent}
    line = await log(answering(START, body(b"")), scope=scope, form="text")

    request, behind = re.match(r'[!#-~]\S* "((?:[^"\\]|\\.)*)" (.*)', line).groups()
    assert line.isprintable()
    assert request.endswith(" HTTP/1.1")
    assert behind.split()[:2] == ["200", "0B"]
