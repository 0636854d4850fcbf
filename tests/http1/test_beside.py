"""What stands before the head and behind the body: early hints and trailers, over HTTP/1.1."""

from __future__ import annotations

import anyio
import pytest

from nardis.errors import FieldError, UsageError
from nardis.server.http1.response import early_hints, trailer_section
from tests.http1.scripted import Wire, conversation, undated
from tests.http1.scripted import converse as wire_of

pytestmark = pytest.mark.anyio

ASKING = b"GET / HTTP/1.1\r\nHost: a\r\nTE: %b\r\n\r\n"
WANTS = ASKING % b"trailers"
PLAIN = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\nHost: a\r\nTE: trailers\r\nConnection: keep-alive\r\n\r\n"
HINT = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload", b"</b.js>"]}
FIELDS = [(b"x-sum", b"9e10"), (b"x-b", b"2")]


async def converse(app, pieces):
    """Return what the client was sent."""
    return (await wire_of(app, pieces)).sent


def trailing(*pieces, headers=(), fields=FIELDS, split=False):
    """Make an application that sends *pieces*, and then trailers."""

    async def app(scope, receive, send):
        start = {"type": "http.response.start", "status": 200, "headers": list(headers)}
        await send({**start, "trailers": True})
        for piece in pieces[:-1]:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": pieces[-1]})
        kind = "http.response.trailers"
        if split:
            for field in fields:
                await send({"type": kind, "headers": [field], "more_trailers": True})
            fields_left = []
        else:
            fields_left = fields
        await send({"type": kind, "headers": fields_left})

    return app


# --- trailers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("te", [b"trailers", b"deflate;q=0.5, Trailers", b"gzip,trailers;q=1"])
@pytest.mark.parametrize("split", [False, True])
async def test_they_stand_behind_the_last_chunk(te, split):
    sent = await converse(trailing(b"ab", b"c", split=split), [ASKING % te])
    head, _, body = undated(sent).partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    assert body == b"2\r\nab\r\n1\r\nc\r\n0\r\nx-sum: 9e10\r\nx-b: 2\r\n\r\n"


async def test_a_receive_ends_with_them():
    """They are the end of the response, and the client has not left."""
    heard = []

    async def app(scope, receive, send):
        await receive()
        async with anyio.create_task_group() as group:
            group.start_soon(hear, receive)
            await anyio.wait_all_tasks_blocked()
            await trailing(b"ab")(scope, receive, send)
        wire.leave()

    async def hear(receive):
        heard.append((await receive())["type"])

    wire = Wire([WANTS], ends=False)
    with anyio.fail_after(20):
        await conversation(app, wire).attend()

    assert heard == ["http.disconnect"]


@pytest.mark.parametrize("pieces", [(b"abc",), (b"",), (b"a", b"bc"), (b"abc", b"")])
async def test_a_declared_length_gives_way_to_chunks(pieces):
    """There is no other place for them (RFC 9112 §6.2)."""
    size = len(b"".join(pieces))
    app = trailing(*pieces, headers=[(b"content-length", b"%d" % size)])
    head, _, body = undated(await converse(app, [WANTS])).partition(b"\r\n\r\n")
    assert b"content-length" not in head
    assert body.endswith(b"0\r\nx-sum: 9e10\r\nx-b: 2\r\n\r\n")


@pytest.mark.parametrize("request_", [PLAIN, ASKING % b"deflate", ASKING % b"trailersx", OLD])
async def test_a_client_that_does_not_ask_for_them_gets_none(request_):
    app = trailing(b"ab", b"c", headers=[(b"content-length", b"3")])
    head, _, body = undated(await converse(app, [request_])).partition(b"\r\n\r\n")
    assert b"content-length: 3" in head
    assert body == b"abc"


async def test_the_next_request_follows():
    sent = await converse(trailing(b"a"), [WANTS + WANTS])
    assert sent.count(b"x-sum: 9e10\r\nx-b: 2\r\n\r\n") == 2


async def test_a_response_to_head_has_none():
    head = WANTS.replace(b"GET", b"HEAD")
    sent = await converse(trailing(b"abc"), [head + head])
    assert sent.count(b"HTTP/1.1 200") == 2
    assert b"x-sum" not in sent


async def test_without_them_a_response_that_announced_them_is_not_whole():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "trailers": True})
        await send({"type": "http.response.body", "body": b"abc"})

    sent = await converse(app, [WANTS])
    assert sent.endswith(b"3\r\nabc\r\n")


@pytest.mark.parametrize("request_", [WANTS, PLAIN])
async def test_nothing_follows_the_last_body_but_them(request_):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "trailers": True})
        await send({"type": "http.response.body", "body": b"abc"})
        with pytest.raises(UsageError):
            await send({"type": "http.response.body", "body": b"d"})
        await send({"type": "http.response.trailers", "headers": FIELDS})
        refused.append(True)

    refused = []
    sent = await converse(app, [request_])
    assert refused == [True]
    assert b"d\r\n" not in undated(sent).partition(b"\r\n\r\n")[2].replace(b"x-sum: 9e10", b"")


@pytest.mark.parametrize("before", [[], [{"type": "http.response.start", "status": 200}]])
async def test_trailers_out_of_their_place_are_refused(before):
    async def app(scope, receive, send):
        for message in before:
            await send(message)
        with pytest.raises(UsageError):
            await send({"type": "http.response.trailers", "headers": FIELDS})
        if not before:
            await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"x"})
        with pytest.raises(UsageError, match="announced"):
            await send({"type": "http.response.trailers", "headers": FIELDS})

    assert undated(await converse(app, [WANTS])).endswith(b"\r\n\r\nx")


@pytest.mark.parametrize("field", [(b"a b", b"1"), (b"a", b"1\r\nb: 2"), (b"", b""), (b"a", b"\0")])
async def test_a_field_that_would_break_out_is_refused(field):
    with pytest.raises(FieldError):
        trailer_section([field])


@pytest.mark.parametrize("name", [b"content-length", b"Transfer-Encoding", b"Set-Cookie"])
async def test_what_a_client_needs_before_the_body_is_no_trailer(name):
    """Of an application that sends it so late the response is cut (RFC 9110 §6.5.1)."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "trailers": True})
        await send({"type": "http.response.body", "body": b"abc"})
        await send({"type": "http.response.trailers", "headers": [(name, b"3")]})

    assert undated(await converse(app, [WANTS])).endswith(b"\r\n\r\n3\r\nabc\r\n")


async def test_a_client_that_left_before_them_is_told_of():
    """The write of the last chunk fails: the application hears of it as of any other."""
    seen = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "trailers": True})
        await send({"type": "http.response.body", "body": b"abc"})
        wire.broken = True
        await send({"type": "http.response.trailers", "headers": FIELDS})
        seen.append(await receive())
        seen.append(await receive())

    wire = Wire([WANTS], ends=False)
    await conversation(app, wire).attend()
    assert seen[-1] == {"type": "http.disconnect"}


async def test_an_application_that_is_cancelled_in_them_resets_the_connection():
    """Half of a last chunk may be on the wire."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "trailers": True})
        await send({"type": "http.response.body", "body": b"abc"})
        wire.blocked = anyio.Event()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await send({"type": "http.response.trailers", "headers": FIELDS})

    wire = Wire([WANTS], ends=False)
    await conversation(app, wire).attend()
    assert "reset" in wire.log
    assert b"x-sum" not in wire.sent


# --- early hints ----------------------------------------------------------------------------------


def hinting(*messages):
    async def app(scope, receive, send):
        for message in messages:
            await send(message)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"x"})

    return app


async def test_hints_leave_before_the_head_and_as_often_as_they_are_given():
    sent = await converse(hinting(HINT, HINT), [PLAIN])
    hints = b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nlink: </b.js>\r\n\r\n"
    assert sent.startswith(hints + hints + b"HTTP/1.1 200 OK\r\n")


async def test_a_client_of_http_1_0_gets_none():
    sent = await converse(hinting(HINT), [OLD])
    assert sent.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_they_leave_at_once():
    """And not with the head, which may take its time."""

    async def app(scope, receive, send):
        await send(HINT)
        seen.append(wire.sent)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"x"})

    seen, wire = [], Wire([PLAIN])
    await conversation(app, wire).attend()
    assert seen == [early_hints(HINT["links"])]


async def test_after_the_head_they_are_refused():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        with pytest.raises(UsageError):
            await send(HINT)
        await send({"type": "http.response.body", "body": b"x"})

    assert undated(await converse(app, [PLAIN])).endswith(b"\r\n\r\nx")


async def test_a_link_that_would_break_out_is_refused():
    async def app(scope, receive, send):
        with pytest.raises(FieldError):
            await send({**HINT, "links": [b"</a>\r\nset-cookie: a=1"]})
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"x"})

    assert b"set-cookie" not in await converse(app, [PLAIN])


async def test_a_client_that_left_is_noticed_at_a_hint():
    async def app(scope, receive, send):
        wire.broken = True
        await send(HINT)
        seen.append(await receive())
        seen.append(await receive())
        await anyio.lowlevel.checkpoint()

    seen, wire = [], Wire([PLAIN], ends=False)
    await conversation(app, wire).attend()
    assert seen[-1] == {"type": "http.disconnect"}


async def test_an_application_that_is_cancelled_in_a_hint_resets_the_connection():
    """What it sends afterwards would follow the half of one."""

    async def app(scope, receive, send):
        wire.blocked = anyio.Event()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await send(HINT)
        wire.blocked = None
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"x"})

    wire = Wire([PLAIN], ends=False)
    await conversation(app, wire).attend()
    assert "reset" in wire.log
    assert wire.sent == b""
