"""One call over HTTP/1.1: what the application receives, what becomes of what it sends."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from nardis.server.http1.call import LARGE_BYTES
from nardis.server.http1.inbound import SMALL_REST_BYTES
from tests.http1.scripted import Wire, conversation, converse, undated
from tests.http1.test_conversation import GET, answer, body_of

pytestmark = pytest.mark.anyio

POST = b"POST /%b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b"POST /%b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


async def start(send, *headers, status=200):
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def write(send, body=b"", *, more=True):
    await send({"type": "http.response.body", "body": body, "more_body": more})


# --- what is received -----------------------------------------------------------------------------


async def test_a_body_comes_in_the_pieces_in_which_it_arrives():
    """What was read with the head is not asked for again."""
    messages = []

    async def app(scope, receive, send):
        while not messages or messages[-1]["more_body"]:
            messages.append(await receive())
        await answer(send)

    await converse(app, [POST % (b"", 7) + b"abc", b"de", b"fg"])

    assert messages == [
        {"type": "http.request", "body": b"abc", "more_body": True},
        {"type": "http.request", "body": b"de", "more_body": True},
        {"type": "http.request", "body": b"fg", "more_body": False},
    ]


async def test_pieces_of_a_body_in_chunks_without_a_byte_of_it_are_no_messages():
    messages = []

    async def app(scope, receive, send):
        while not messages or messages[-1]["more_body"]:
            messages.append(await receive())
        await answer(send)

    await converse(app, [CHUNKED % b"", b"3", b"\r\nab", b"c\r", b"\n0\r\n", b"\r\n"])

    assert [each["body"] for each in messages] == [b"ab", b"c", b""]


async def test_what_is_not_asked_for_is_not_read():
    """Of a body of three pieces the application takes one."""
    wire = Wire([POST % (b"", 3 * SMALL_REST_BYTES), b"1", b"2", b"3"])

    async def app(scope, receive, send):
        await receive()
        asked.append(wire.asked)
        await answer(send)

    asked = []
    await conversation(app, wire).attend()

    assert asked == [2]


@pytest.mark.parametrize("head", [GET % b"", POST % (b"", 3) + b"abc"])
async def test_after_the_body_a_receive_waits_for_the_client_to_leave(head):
    messages = []

    async def app(scope, receive, send):
        assert await body_of(receive) is not None
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await wire.parked.wait()
            wire.leave()

    async def wait():
        messages.append(await receive_of[0]())
        messages.append(await receive_of[0]())

    receive_of = []

    async def outer(scope, receive, send):
        receive_of.append(receive)
        await app(scope, receive, send)

    wire = Wire([head], ends=False)
    await conversation(outer, wire).attend()

    assert messages == [{"type": "http.disconnect"}] * 2
    assert wire.sent == b""


async def test_a_receive_ends_with_the_response_and_takes_nothing_of_the_next_request():
    """Also where the next request came while it waited, and where it came with the end."""
    paths, messages = [], []

    async def app(scope, receive, send):
        paths.append(scope["path"])
        await receive()
        async with anyio.create_task_group() as group:
            group.start_soon(hear, receive)
            await anyio.wait_all_tasks_blocked()
            if scope["path"] == "/1":
                wire.say(GET % b"2")
                await anyio.wait_all_tasks_blocked()
            else:
                wire.say(GET % b"3") if scope["path"] == "/2" else wire.leave()
            await answer(send, scope["path"].encode())

    async def hear(receive):
        messages.append((await receive())["type"])

    wire = Wire([GET % b"1"], ends=False)
    with anyio.fail_after(20):
        await conversation(app, wire).attend()

    assert paths == ["/1", "/2", "/3"]
    assert messages == ["http.disconnect"] * 3


async def test_a_receive_that_nobody_waits_for_any_more_leaves_the_next_request_alone():
    """It is cancelled, or has just been woken, when the next head is read."""
    paths = []

    async def app(scope, receive, send):
        paths.append(scope["path"])
        await receive()
        if scope["path"] == "/1":
            group.start_soon(receive)
            await wire.parked.wait()
            wire.say(GET % b"2")  # wakes the reader, which runs when the answer is out
        await answer(send)

    wire = Wire([GET % b"1"], ends=False)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(conversation(app, wire).attend)
            while len(paths) < 2:
                await checkpoint()
            wire.leave()

    assert paths == ["/1", "/2"]
    assert wire.statuses() == [200, 200]


async def test_two_tasks_that_receive_get_a_message_each():
    messages = []

    async def take(receive):
        messages.append((await receive())["body"])

    async def app(scope, receive, send):
        async with anyio.create_task_group() as group:
            group.start_soon(take, receive)
            group.start_soon(take, receive)
            await anyio.wait_all_tasks_blocked()
            wire.say(b"a")
            await anyio.wait_all_tasks_blocked()
            wire.say(b"b")
        await answer(send)
        wire.leave()

    wire = Wire([POST % (b"", 2)], ends=False)
    await conversation(app, wire).attend()

    assert sorted(messages) == [b"a", b"b"]


async def test_a_client_that_leaves_in_its_body_is_gone():
    async def app(scope, receive, send):
        assert (await receive())["body"] == b"a"
        messages.append(await receive())
        messages.append(await receive())
        await answer(send, b"nobody hears this")

    messages = []
    wire = await converse(app, [POST % (b"", 2) + b"a"])

    assert messages == [{"type": "http.disconnect"}] * 2
    assert wire.sent == b""


@pytest.mark.parametrize(
    ("begun", "statuses", "ending"), [(False, [400], ["whole"]), (True, None, [])]
)
async def test_a_body_that_cannot_be_read_is_refused_where_nothing_was_answered(
    begun, statuses, ending
):
    """Else the answer is cut; the application hears that the client is gone."""

    async def app(scope, receive, send):
        if begun:
            await start(send)
            await write(send, b"begun")
        assert await body_of(receive) is None
        await write(send, b"late", more=False) if begun else await answer(send)

    wire = await converse(app, [CHUNKED % b"", b"3\nabc\r\n"])

    assert wire.log == ending
    assert b"late" not in wire.sent
    assert wire.closed
    if statuses:
        assert wire.statuses() == statuses


# --- 100 Continue ---------------------------------------------------------------------------------

EXPECTING = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


async def test_a_client_is_invited_when_the_application_first_asks_for_the_body():
    async def app(scope, receive, send):
        assert wire.sent == b""
        assert (await receive())["more_body"]
        assert wire.sent == CONTINUE
        assert not (await receive())["more_body"]
        await answer(send)

    wire = Wire([EXPECTING, b"ab", b"c"])
    await conversation(app, wire).attend()

    assert wire.statuses() == [100, 200]


async def test_nobody_is_invited_who_did_not_wait_or_has_the_answer_already():
    async def app(scope, receive, send):
        await start(send)
        await write(send, b"first")
        assert await body_of(receive) == b"abc"
        await write(send, more=False)

    wire = await converse(app, [EXPECTING, b"abc"])
    assert CONTINUE not in wire.sent

    async def echo(scope, receive, send):
        await answer(send, await body_of(receive))

    wire = await converse(echo, [EXPECTING + b"abc"])
    assert CONTINUE not in wire.sent


async def test_a_body_that_was_not_asked_for_costs_the_connection():
    """It may come, or not: nobody knows what the next bytes are (RFC 9110 §10.1.1)."""

    async def app(scope, receive, send):
        await answer(send, b"no", 413)

    wire = await converse(app, [EXPECTING, GET % b"body or request"])

    [(status, fields, _)] = wire.answers()
    assert (status, fields[b"connection"]) == (413, b"close")
    assert wire.log == ["whole"]


# --- what is sent ---------------------------------------------------------------------------------


async def test_the_head_leaves_with_the_first_piece_of_the_body():
    """In one segment (H3)."""

    async def app(scope, receive, send):
        await start(send, (b"x", b"y"))
        sent.append(wire.sent)
        await write(send, b"first")
        sent.append(wire.sent)
        await write(send, more=False)

    sent = []
    wire = Wire([GET % b""])
    await conversation(app, wire).attend()

    assert sent[0] == b""
    assert sent[1].startswith(b"HTTP/1.1 200 OK\r\nx: y\r\n")
    assert sent[1].endswith(b"\r\n\r\n5\r\nfirst\r\n")


async def test_an_empty_piece_lets_the_head_go():
    async def app(scope, receive, send):
        await start(send)
        await write(send)
        sent.append(wire.sent)
        await write(send, b"", more=False)

    sent = []
    wire = Wire([GET % b""])
    await conversation(app, wire).attend()

    assert b"transfer-encoding: chunked\r\n" in sent[0]
    assert sent[0].endswith(b"\r\n\r\n")
    assert [body for _, _, body in wire.answers()] == [b""]


@pytest.mark.parametrize("size", [1, LARGE_BYTES - 1, LARGE_BYTES, 5 * LARGE_BYTES])
@pytest.mark.parametrize("length", [True, False], ids=["declared", "in chunks"])
@pytest.mark.parametrize("pieces", [1, 2, 3])
async def test_pieces_of_any_size_come_out_whole(size, length, pieces):
    data = bytes(range(251)) * (size // 251 + 1)
    parts = [data[:size]] * pieces

    async def app(scope, receive, send):
        await start(send, *[(b"content-length", b"%d" % (size * pieces))] * length)
        for number, part in enumerate(parts, 1):
            await write(send, part, more=number < pieces)

    wire = await converse(app, [GET % b"1" + GET % b"2"])

    assert [(status, body) for status, _, body in wire.answers()] == [(200, b"".join(parts))] * 2


async def test_an_answer_in_one_piece_says_how_long_it_is():
    async def app(scope, receive, send):
        await answer(send, b"hello")

    [(_, fields, _)] = (await converse(app, [GET % b""])).answers()

    assert fields[b"content-length"] == b"5"
    assert b"transfer-encoding" not in fields


async def test_http_1_0_is_answered_without_chunks_and_closed():
    async def app(scope, receive, send):
        await start(send)
        await write(send, b"one ")
        await write(send, b"two", more=False)

    wire = await converse(app, [b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + GET % b""])

    [(status, fields, body)] = wire.answers()
    assert (status, fields[b"connection"], body) == (200, b"close", b"one two")
    assert b"transfer-encoding" not in fields
    assert wire.log == ["whole"]


@pytest.mark.parametrize(
    ("method", "status", "headers"),
    [
        ("HEAD", 200, [(b"content-length", b"5")]),
        ("HEAD", 200, []),
        ("GET", 204, []),
        ("GET", 304, [(b"content-length", b"5")]),
    ],
)
@pytest.mark.parametrize("pieces", [1, 2])
async def test_what_has_no_body_has_none_whatever_is_sent(method, status, headers, pieces):
    async def app(scope, receive, send):
        await start(send, *headers, status=status)
        for number in range(1, pieces + 1):
            await write(send, b"hello", more=number < pieces)

    request = method.encode() + b" / HTTP/1.1\r\nHost: a\r\n\r\n"
    wire = await converse(app, [request * 2])

    answers = wire.answers(method, method)
    assert [each[0] for each in answers] == [status] * 2
    assert answers[0][1].get(b"content-length") == dict(headers).get(b"content-length")
    assert b"transfer-encoding" not in answers[0][1]


@pytest.mark.parametrize(
    ("declared", "parts", "statuses", "ending"),
    [
        (3, [b"hello"], [500], ["whole"]),
        (9, [b"hello"], [500], ["whole"]),
        (7, [b"hello", b"hello"], None, ["cut short"]),
        (11, [b"hello", b"hello"], None, ["cut short"]),
    ],
)
async def test_a_body_that_is_not_as_long_as_declared_never_looks_whole(
    declared, parts, statuses, ending
):
    """Where nothing has left yet it is a 500."""

    async def app(scope, receive, send):
        await start(send, (b"content-length", b"%d" % declared))
        for part in parts[:-1]:
            await write(send, part)
        await write(send, parts[-1], more=False)

    wire = await converse(app, [GET % b"1" + GET % b"2"])

    assert wire.log == ending
    if statuses:
        assert wire.statuses() == statuses
    else:
        assert wire.sent.endswith(b"\r\n\r\nhello")


async def test_after_the_end_nothing_is_sent_any_more():
    """Not by a task that is late either: it would be read as the next answer (H5)."""
    errors = []

    async def app(scope, receive, send):
        await answer(send, scope["path"].encode())
        sends.append(send)
        for kind in ("start", "body", "trailers"):
            try:
                await sends[0]({"type": f"http.response.{kind}", "status": 200, "headers": []})
            except Exception as exc:
                errors.append(type(exc).__name__)

    sends = []
    wire = await converse(app, [GET % b"1" + GET % b"2"])

    assert errors == ["UsageError"] * 6
    assert [body for _, _, body in wire.answers()] == [b"/1", b"/2"]


async def test_a_last_message_that_waits_lets_no_other_pass():
    async def app(scope, receive, send):
        await start(send)
        await write(send, b"first")
        wire.blocked = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(last, send)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(Exception, match=r"http\.response\.body"):
                await write(send, b"late")
            wire.blocked.set()

    async def last(send):
        await write(send, b"last", more=False)

    wire = Wire([GET % b""])
    await conversation(app, wire).attend()

    assert [body for _, _, body in wire.answers()] == [b"firstlast"]


@pytest.mark.parametrize("kind", ["http.response.body", "http.response.push", "websocket.accept"])
async def test_what_cannot_be_sent_before_the_head_is_an_error_of_the_application(kind, caplog):
    async def app(scope, receive, send):
        await send({"type": kind})

    wire = await converse(app, [GET % b""])

    assert wire.statuses() == [500]
    assert f"'{kind}' cannot be sent now" in caplog.text


@pytest.mark.parametrize("started", [False, True])
async def test_an_application_that_sends_no_body_is_answered_by_a_500(started):
    async def app(scope, receive, send):
        if started:
            await start(send)

    wire = await converse(app, [GET % b"1" + GET % b"2"])

    assert wire.statuses() == [500]
    assert wire.log == ["whole"]


@pytest.mark.parametrize(
    ("request_head", "ending"),
    [(GET % b"", ["cut short"]), (b"GET / HTTP/1.0\r\n\r\n", ["reset"])],
    ids=["1.1", "1.0"],
)
async def test_a_response_that_was_not_ended_looks_cut(request_head, ending):
    async def app(scope, receive, send):
        await start(send)
        await write(send, b"half")

    wire = await converse(app, [request_head + GET % b"2"])

    assert wire.log == ending
    assert wire.sent.endswith(b"half\r\n" if ending == ["cut short"] else b"half")


async def test_a_last_message_that_was_interrupted_looks_cut():
    """Half of it may be on the wire."""

    async def app(scope, receive, send):
        wire.blocked = anyio.Event()
        with anyio.move_on_after(0):
            await answer(send, b"hello")

    wire = Wire([GET % b""])
    await conversation(app, wire).attend()

    assert set(wire.log) == {"reset"}


async def test_a_client_that_cannot_be_written_to_is_gone():
    heard, sent = [], 0

    class Listener:
        def left(self):
            heard.append("left")

    async def app(scope, receive, send):
        nonlocal sent
        client = scope["extensions"]["nardis.client"]
        client.listener = Listener()
        await start(send)
        wire.broken = True
        for _ in range(5):
            await write(send, b"nobody")
            sent += 1
        assert client.has_left()
        await write(send, more=False)

    wire = Wire([GET % b""])
    await conversation(app, wire).attend()

    assert (heard, sent) == (["left"], 5)
    assert wire.closed


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_the_socket_of_a_client_that_left_is_closed_while_its_application_runs_on(version):
    """What would look whole is reset: the body of HTTP/1.0 ends with the connection (H4)."""
    closed = []

    async def app(scope, receive, send):
        await start(send)
        await write(send, b"begun")
        connection.hung_up()
        closed.append((wire.closed, list(wire.log)))
        await write(send, more=False)

    wire = Wire([GET.replace(b"1.1", version) % b""])
    connection = conversation(app, wire)
    await connection.attend()

    assert closed == [(True, ["reset"] if version == b"1.0" else [])]


async def test_a_client_whose_end_is_read_gets_the_last_message_that_is_on_its_way():
    heard = []

    async def listen(receive):
        heard.append((await receive())["type"])
        heard.append((await receive())["type"])
        wire.blocked.set()

    async def app(scope, receive, send):
        async with anyio.create_task_group() as group:
            group.start_soon(listen, receive)
            await wire.parked.wait()
            wire.blocked = anyio.Event()
            wire.leave()
            await answer(send, b"whole")

    wire = Wire([GET % b""], ends=False)
    await conversation(app, wire).attend()

    assert heard == ["http.request", "http.disconnect"]
    assert [body for _, _, body in wire.answers()] == [b"whole"]


async def test_what_a_client_sent_that_left_during_the_last_message_is_read_to_its_end():
    """It may have closed its half only: a socket that is closed over unread bytes is reset."""

    async def app(scope, receive, send):
        async with anyio.create_task_group() as group:
            wire.blocked = anyio.Event()
            group.start_soon(answer, send, b"whole")
            await anyio.wait_all_tasks_blocked()
            connection.hung_up()
            wire.blocked.set()

    wire = Wire([POST % (b"", 9) + b"half", b"rest"])
    connection = conversation(app, wire)
    await connection.attend()

    assert [body for _, _, body in wire.answers()] == [b"whole"]
    assert (wire.log, len(wire.pieces)) == (["whole"], 0)


async def test_a_socket_is_not_closed_over_unread_bytes_where_the_client_left():
    """That would be a reset, and cost answers that are on their way."""

    async def app(scope, receive, send):
        connection.hung_up()
        left.append((wire.closed, len(wire.pieces)))

    left = []
    wire = Wire([POST % (b"", 9) + b"half", b"rest"])
    connection = conversation(app, wire)
    await connection.attend()

    assert left == [(True, 0)]


async def test_the_socket_of_a_client_that_could_not_be_sent_the_last_message_is_closed():
    closed = []

    async def app(scope, receive, send):
        wire.broken = True
        await answer(send, b"lost")
        closed.append(wire.closed)

    wire = Wire([GET % b""])
    await conversation(app, wire).attend()

    assert closed == [True]


async def test_waits_for_a_body_add_up_until_something_arrives(monkeypatch):
    """An application may ask with a timeout of its own, again and again."""
    now, since = 100.0, []
    monkeypatch.setattr("nardis.server.http1.inbound.clock", lambda: now)

    async def app(scope, receive, send):
        nonlocal now
        client = scope["extensions"]["nardis.client"]
        async with anyio.create_task_group() as group:
            for waited in (5, 7):
                with anyio.CancelScope() as asking:
                    group.start_soon(look, client, asking, waited)
                    await receive()
            wire.say(b"ab")
            await receive()
            group.start_soon(look, client, group.cancel_scope, 0)
            await receive()

    async def look(client, asking, waited):
        nonlocal now
        await anyio.wait_all_tasks_blocked()
        since.append(now - client.waits_since)
        now += waited
        asking.cancel()

    wire = Wire([POST % (b"", 9)], ends=False)
    await conversation(app, wire).attend()

    assert since == [0, 5, 0]


async def test_an_application_that_the_shutdown_ended_before_its_answer_is_answered_by_a_503():
    async def app(scope, receive, send):
        connection.service.interrupt()
        await anyio.sleep_forever()

    wire = Wire([GET % b""])
    connection = conversation(app, wire)
    await connection.attend()

    assert wire.statuses() == [503]


async def test_a_writer_gives_others_their_turn(monkeypatch):
    """Unless an exchange does it: it claims its call."""
    monkeypatch.setattr("nardis.server.http1.call.TURN_S", -1)
    turns = []

    async def other():
        while True:
            turns.append("other")
            await checkpoint()

    async def app(scope, receive, send):
        scope["extensions"]["nardis.client"].claimed = scope["path"] == "/claimed"
        await start(send)
        async with anyio.create_task_group() as group:
            group.start_soon(other)
            await checkpoint()
            for _ in range(5):
                turns.append("write")
                await write(send, b"x")
            group.cancel_scope.cancel()
        await write(send, more=False)

    await converse(app, [GET % b"claimed"])
    assert 5 * "write," in ",".join([*turns, ""])

    turns.clear()
    await converse(app, [GET % b"raw"])
    assert 3 * "write," not in ",".join([*turns, ""])


# --- the next request -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_data", "answers", "says_so"),
    [
        (POST % (b"", 5) + b"hello", 2, False),
        (POST % (b"", SMALL_REST_BYTES) + bytes(SMALL_REST_BYTES), 2, False),
        (POST % (b"", 2 * SMALL_REST_BYTES) + bytes(2 * SMALL_REST_BYTES), 1, True),
        (CHUNKED % b"" + b"3\r\nabc\r\n0\r\n\r\n", 2, False),
        (CHUNKED % b"" + b"3;\r\nabc\r\n0\r\n\r\n", 1, False),
        (CHUNKED % b"" + b"20000\r\n" + bytes(0x20000) + b"\r\n0\r\n\r\n", 1, False),
    ],
    ids=["small", "just small", "large", "chunks", "bad chunks", "many chunks"],
)
async def test_the_rest_of_a_request_is_dropped_if_it_is_small(request_data, answers, says_so):
    async def app(scope, receive, send):
        await answer(send, b"early")

    data = request_data + GET % b"next"
    wire = await converse(app, [data[at : at + 65536] for at in range(0, len(data), 65536)])

    told = wire.answers()
    assert [body for _, _, body in told] == [b"early"] * answers
    assert (told[0][1].get(b"connection") == b"close") is says_so
    assert wire.log == (["whole"] if answers == 1 else [])


@pytest.mark.parametrize("size", [3, SMALL_REST_BYTES, SMALL_REST_BYTES + 1, 10**6])
@pytest.mark.parametrize("chunked", [True, False])
async def test_how_much_of_the_rest_is_here_makes_no_difference(size, chunked):
    async def app(scope, receive, send):
        await answer(send, b"early")

    body = b"%x\r\n%b\r\n0\r\n\r\n" % (size, bytes(size)) if chunked else bytes(size)
    head = CHUNKED % b"" if chunked else POST % (b"", size)
    data = body + GET % b"next"
    pieces = [data[at : at + 65536] for at in range(0, len(data), 65536)]
    apart = await converse(app, [head, *pieces])
    together = await converse(app, [head + pieces[0], *pieces[1:]])

    assert undated(apart.sent) == undated(together.sent)
    assert len(apart.answers()) == (1 if size > SMALL_REST_BYTES else 2)


async def test_the_rest_that_does_not_come_is_not_waited_for(monkeypatch):
    monkeypatch.setattr("nardis.server.http1.inbound.LINGER_S", 0)

    async def app(scope, receive, send):
        await answer(send, b"early")

    wire = Wire([POST % (b"", 5) + b"he"], ends=False)
    with anyio.fail_after(20):
        await conversation(app, wire).attend()

    assert wire.log == ["whole"]


async def test_a_client_that_leaves_in_the_rest_ends_the_connection():
    async def app(scope, receive, send):
        await answer(send, b"early")

    wire = await converse(app, [POST % (b"", 5) + b"he"])

    assert wire.log == ["whole"]


@pytest.mark.parametrize(
    ("headers", "draining"), [([(b"Connection", b"Close")], False), ([], True)]
)
async def test_an_answer_may_close_the_connection(headers, draining):
    async def app(scope, receive, send):
        connection.service.draining = 1.0 if draining else 0.0
        await answer(send, headers=headers)

    wire = Wire([GET % b"1" + GET % b"2"])
    connection = conversation(app, wire)
    await connection.attend()

    assert [fields[b"connection"] for _, fields, _ in wire.answers()] == [b"close"]
    assert wire.log == ["whole"]


# --- for the runner -------------------------------------------------------------------------------


@pytest.mark.parametrize("claimed", [True, False])
async def test_a_call_that_waits_for_a_body_is_known_unless_somebody_looks_after_it(claimed):
    waits = []

    async def app(scope, receive, send):
        client = scope["extensions"]["nardis.client"]
        client.claimed = claimed
        waits.append(bool(client.waits_since))
        async with anyio.create_task_group() as group:
            group.start_soon(body_of, receive)
            await wire.parked.wait()
            waits.append(bool(client.waits_since))
            wire.say(b"abc")
        waits.append(bool(client.waits_since))
        await answer(send)
        wire.leave()

    wire = Wire([POST % (b"", 3)], ends=False)
    await conversation(app, wire).attend()

    assert waits == [False, not claimed, False]


async def test_a_call_hears_that_its_client_stalls_and_when_it_goes_on():
    heard = []

    class Listener:
        def stalled(self):
            heard.append("stalled")

    async def app(scope, receive, send):
        client = scope["extensions"]["nardis.client"]
        for listener in (None, Listener()):
            client.listener = listener
            client.stall()
        connection.talk.progressed(7.0)
        heard.append((client.stalled, client.progressed))
        await answer(send)

    wire = Wire([GET % b""])
    connection = conversation(app, wire)
    await connection.attend()

    assert heard == ["stalled", (True, 7.0)]


async def test_a_piece_that_was_given_up_is_missing_and_the_answer_is_cut():
    """It was counted, and did not leave."""

    async def app(scope, receive, send):
        await start(send, (b"content-length", b"10"))
        await write(send, b"12345")
        wire.blocked = anyio.Event()
        with anyio.move_on_after(0):
            await write(send, b"67890")
        wire.blocked = None
        await write(send, more=False)

    wire = Wire([GET % b"1" + GET % b"2"])
    await conversation(app, wire).attend()

    assert wire.sent.endswith(b"\r\n\r\n12345")
    assert wire.log == ["reset"]


async def test_a_reader_that_is_left_over_holds_up_nobody_and_takes_nothing():
    """Also where the application returns without an answer."""
    messages = []

    async def hear(receive):
        messages.append((await receive())["type"])

    async def app(scope, receive, send):
        group.start_soon(hear, receive)
        await anyio.wait_all_tasks_blocked()

    wire = Wire([POST % (b"", 5)], ends=False)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            await conversation(app, wire).attend()

    assert messages == ["http.disconnect"]
    assert wire.statuses() == [500]


@pytest.mark.parametrize("body", [b"", b"3\nabc\r\n"], ids=["no answer", "a bad chunk"])
async def test_what_the_server_answers_by_itself_to_head_has_no_body(body):
    async def app(scope, receive, send):
        if body:
            await receive()

    head = CHUNKED.replace(b"POST", b"HEAD") % b"" if body else GET.replace(b"GET", b"HEAD") % b""
    wire = await converse(app, [head + body])

    assert wire.statuses_of("HEAD") == [400 if body else 500]
    assert wire.sent.endswith(b"\r\n\r\n")


async def test_no_answer_begins_while_a_body_is_being_refused():
    async def app(scope, receive, send):
        async with anyio.create_task_group() as group:
            group.start_soon(receive)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(Exception, match="cannot be sent now"):
                await answer(send, b"late")
            wire.blocked.set()

    wire = Wire([CHUNKED % b"" + b"3\nabc\r\n"])
    wire.blocked = anyio.Event()
    await conversation(app, wire).attend()

    assert wire.statuses() == [400]
