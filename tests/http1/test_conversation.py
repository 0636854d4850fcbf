"""A conversation of HTTP/1.1, with a client that is a script: rules H1 to H5."""

from __future__ import annotations

import hashlib
from contextvars import ContextVar
from functools import partial

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from nardis.server.http1.conversation import EMPTY_LINES
from tests.http1.scripted import Wire, conversation, converse, undated

pytestmark = pytest.mark.anyio

GET = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n"


async def body_of(receive):
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message["body"]
        if not message["more_body"]:
            return body


async def answer(send, body=b"", status=200, headers=(), *, more=False):
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def echo(scope, receive, send):
    """Answer with what was asked."""
    body = await body_of(receive)
    if body is not None:
        seen = f"{scope['method']} {scope['raw_path'].decode()} {hashlib.md5(body).hexdigest()}"
        await answer(send, seen.encode())


# --- one request after the other ------------------------------------------------------------------

REQUESTS = {
    "get": GET % b"get",
    "length": b"POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\nGET / H",
    "chunks": b"PUT /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'3\r\nabc\r\n9;x="y"\r\n\r\n\r\n0\r\n\r\n\r\n0\r\nX: y\r\n\r\n',
    "empty chunks": b"PUT /e HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "method": b"BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n",
    "empty lines": b"\r\n\r\n" + GET % b"after",
}
LAST = {
    "nothing": b"",
    "closing": b"GET /closing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + GET % b"late",
    "old": b"GET /old HTTP/1.0\r\n\r\nrubbish",
    "malformed": b"GET / HTTP/1.1\r\nHost : a\r\n\r\n" + GET % b"late",
    "bad chunk": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;\r\nabc\r\n",
    "cut head": b"GET / HTT",
    "cut body": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
    "version": b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
}


@given(
    names=st.lists(st.sampled_from(sorted(REQUESTS)), max_size=6),
    last=st.sampled_from(sorted(LAST)),
    cuts=st.lists(st.integers(0, 600), max_size=12),
)
async def test_any_split_of_any_input_gives_the_same_answers_in_order(names, last, cuts):
    data = b"".join(REQUESTS[name] for name in names) + LAST[last]
    ends = sorted({min(each, len(data)) for each in (*cuts, len(data))})
    pieces = [data[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]

    whole = await converse(echo, [data])
    split = await converse(echo, pieces)

    assert undated(split.sent) == undated(whole.sent)
    assert split.log == whole.log
    assert split.statuses()[: len(names)] == [200] * len(names)


@pytest.mark.parametrize(
    ("last", "statuses", "ending"),
    [
        ("nothing", [200], []),
        ("closing", [200, 200], ["whole"]),
        ("old", [200, 200], ["whole"]),
        ("malformed", [200, 400], ["whole"]),
        ("bad chunk", [200, 400], ["whole"]),
        ("cut head", [200, 400], ["whole"]),
        ("cut body", [200], []),
        ("version", [200, 505], ["whole"]),
    ],
)
async def test_a_fault_behind_a_request_comes_after_its_answer(last, statuses, ending):
    """And what stands behind a request that closes concerns nobody (H1; RFC 9112 §9.6)."""
    wire = await converse(echo, [REQUESTS["length"] + LAST[last]])

    assert wire.statuses() == statuses
    assert wire.log == ending


async def test_what_a_refusal_says_is_what_is_wrong():
    wire = await converse(echo, [LAST["malformed"]])

    [(status, fields, body)] = wire.answers()
    assert (status, fields[b"connection"]) == (400, b"close")
    assert b"Invalid header token" in body


@pytest.mark.parametrize("client", [("192.0.2.1", 1234), None], ids=["tcp", "unix"])
@pytest.mark.parametrize(
    ("last", "said"),
    [("malformed", "400 malformed request: "), ("bad chunk", "400 malformed chunk: ")],
)
async def test_what_the_server_refuses_by_itself_is_in_the_log(
    monkeypatch, caplog, client, last, said
):
    """No application hears of it."""
    monkeypatch.setattr(Wire, "client", client)
    with caplog.at_level("INFO", "nardis.server"):
        await converse(echo, [LAST[last]])

    [line] = [each.getMessage() for each in caplog.records if each.name == "nardis.server"]
    by = "192.0.2.1" if client else "a client"
    assert line.startswith(f"a request of {by} is refused: {said}")


async def test_a_request_is_read_when_the_one_before_it_was_answered(anyio_backend_name):
    """While one is under way, at most one piece beyond it is read (H2)."""
    told = []

    async def app(scope, receive, send):
        told.append((scope["path"], wire.asked))
        assert (await receive())["more_body"] is False
        if scope["path"] == "/1":
            async with anyio.create_task_group() as group:
                group.start_soon(receive)
                await anyio.wait_all_tasks_blocked()
                told.append(("waits", wire.asked))
                group.cancel_scope.cancel()
        await answer(send)

    wire = Wire([GET % b"1", GET % b"2", GET % b"3", GET % b"4"])
    await conversation(app, wire).attend()

    assert told == [("/1", 1), ("waits", 2), ("/2", 2), ("/3", 3), ("/4", 4)]


async def test_a_connection_gives_others_a_turn_between_pipelined_requests(monkeypatch):
    monkeypatch.setattr("nardis.server.http1.conversation.TURN_S", -1)
    turns = []

    async def app(scope, receive, send):
        turns.append("request")
        await answer(send)

    async def other():
        turns.append("other")

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        await converse(app, [GET % b"1" + GET % b"2"])

    assert turns[0] == "request" or turns.index("other") < len(turns) - 1


@pytest.mark.parametrize(("lines", "status"), [(EMPTY_LINES, 200), (EMPTY_LINES + 1, 400)])
async def test_a_bounded_number_of_empty_lines_is_skipped(lines, status):
    """Also if they come one by one (RFC 9112 §2.2)."""
    for pieces in ([b"\r\n" * lines + GET % b""], [*[b"\r", b"\n"] * lines, GET % b""]):
        wire = await converse(echo, pieces)
        assert wire.statuses() == [status]


@pytest.mark.parametrize("size", [2000, 70_000])
@pytest.mark.parametrize("ends", [b"\r\n\r\n", b""], ids=["whole", "without an end"])
async def test_a_head_that_is_too_large_is_refused(size, ends):
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + size * b"x" + ends
    wire = await converse(echo, [head], head_bytes=1024)

    assert wire.statuses() == [431]
    assert wire.log == ["whole"]


@pytest.mark.parametrize(
    ("method", "target", "path"),
    [
        ("GET", "http://a/b%20c?d", "/b c"),
        ("GET", "http://a", "/"),
        ("GET", "/http://a", "/http://a"),
        ("OPTIONS", "*", "*"),
    ],
)
async def test_the_path_of_a_whole_url_is_that_behind_its_host(method, target, path):
    """The target itself stands in `raw_path`, where an application may compare its host."""
    seen = []

    async def app(scope, receive, send):
        seen.append((scope["path"], scope["raw_path"]))
        await answer(send)

    await converse(app, [f"{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()])

    assert seen == [(path, target.partition("?")[0].encode())]


async def test_what_the_client_asks_that_is_not_ours_is_handed_over_with_all_that_was_read():
    taken = []

    class Other:
        async def converse(self):
            taken.append("converses")

    def hand_over(request, read):
        taken.append((request and request.upgrade, read))
        return Other() if request is None or request.upgrade == b"websocket" else None

    upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n"
    data = upgrade % b"other" + upgrade % b"WebSocket" + b"glued"
    wire = await converse(echo, [data], hand_over=hand_over)
    assert taken == [
        (b"other", data),
        (b"websocket", upgrade % b"WebSocket" + b"glued"),
        "converses",
    ]
    assert wire.statuses() == [200]

    taken.clear()
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    await converse(echo, [preface], hand_over=hand_over)
    assert taken == [(None, preface), "converses"]

    wire = await converse(echo, [GET % b"", preface], hand_over=hand_over)
    assert wire.statuses() == [200, 505]  # it is the first thing, or none (RFC 9113 §3.4)

    wire = await converse(echo, [preface], hand_over=hand_over, http2=False)
    assert wire.statuses() == [505]


# --- the scope that is lent -----------------------------------------------------------------------


@pytest.mark.parametrize("lends", [True, False])
async def test_a_scope_is_lent_where_the_runner_may(lends):
    scopes = []

    async def app(scope, receive, send):
        scopes.append(scope["extensions"]["nardis.client"].scope)
        await answer(send)

    await converse(app, [GET % b"1", GET % b"2"], lends=lends)

    assert len(set(scopes)) == 1
    assert (scopes[0] is not None) is lends


async def test_the_next_request_knows_nothing_of_a_scope_that_was_cancelled():
    scopes = []

    async def app(scope, receive, send):
        lent = scope["extensions"]["nardis.client"].scope
        scopes.append(lent)
        if scope["path"] == "/1":
            lent.cancel()
            with anyio.CancelScope(shield=True):
                await answer(send, b"cancelled")
        else:
            await checkpoint()
            await answer(send, b"went on")

    wire = await converse(app, [GET % b"1" + GET % b"2"], lends=True)

    assert [body for _, _, body in wire.answers()] == [b"cancelled", b"went on"]
    assert scopes[0] is not scopes[1]


@pytest.mark.parametrize(
    ("version", "begun", "told", "ending"),
    [
        (b"1.1", False, [500], ["whole"]),
        (b"1.1", True, [], ["cut short"]),
        (b"1.0", True, [], ["reset"]),
    ],
)
async def test_a_call_that_is_cancelled_by_the_server_does_not_look_whole(
    version, begun, told, ending
):
    """Where nothing was sent it is an answer (H4)."""
    waits = anyio.Event()

    async def app(scope, receive, send):
        if begun:
            await answer(send, b"begun", more=True)
        waits.set()
        await anyio.sleep_forever()

    wire = Wire([b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % version])
    connection = conversation(app, wire)
    async with anyio.create_task_group() as group:
        group.start_soon(connection.attend)
        await waits.wait()
        connection.interrupt()

    assert wire.log == ending
    assert b"0\r\n\r\n" not in wire.sent
    if told:
        assert wire.statuses() == told


async def test_an_idle_connection_that_is_cancelled_ends():
    wire = Wire([], ends=False)
    connection = conversation(echo, wire)
    async with anyio.create_task_group() as group:
        group.start_soon(connection.attend)
        await wire.parked.wait()
        connection.cancel()

    assert wire.closed
    assert wire.sent == b""


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_a_connection_that_is_cancelled_from_outside_does_not_look_whole(version):
    waits = anyio.Event()

    async def app(scope, receive, send):
        await answer(send, b"begun", more=True)
        waits.set()
        await anyio.sleep_forever()

    wire = Wire([b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % version])
    async with anyio.create_task_group() as group:
        group.start_soon(conversation(app, wire).attend)
        await waits.wait()
        group.cancel_scope.cancel()

    assert wire.closed
    assert wire.log == (["reset"] if version == b"1.0" else [])


# --- a call that goes on after its last message ---------------------------------------------------


async def test_a_call_that_goes_on_after_its_last_message_keeps_nobody_waiting():
    """Another task takes the connection, and the client's next request is answered."""
    answered, again, ended = anyio.Event(), anyio.Event(), []

    async def app(scope, receive, send):
        await answer(send, scope["path"].encode())
        if scope["path"] == "/1":
            answered.set()
            await again.wait()
            ended.append(scope["path"])
        else:
            again.set()

    wire = Wire([GET % b"1"], ends=False)
    connection = conversation(app, wire)
    async with anyio.create_task_group() as group:
        connection.service.start = lambda serving: group.start_soon(lambda: serving)
        group.start_soon(connection.attend)
        await answered.wait()
        assert connection.look(1.0) is False
        wire.say(GET % b"2")
        await again.wait()
        await anyio.wait_all_tasks_blocked()
        assert not wire.closed
        wire.leave()

    assert [body for _, _, body in wire.answers()] == [b"/1", b"/2"]
    assert ended == ["/1"]
    assert wire.closed


async def test_a_call_that_goes_on_is_relieved_once():
    started = []
    wire = Wire([GET % b"1"], ends=False)
    over = anyio.Event()

    async def app(scope, receive, send):
        await answer(send)
        over.set()
        await anyio.sleep_forever()

    connection = conversation(app, wire)
    async with anyio.create_task_group() as group:
        connection.service.start = started.append
        group.start_soon(connection.attend)
        await over.wait()
        for now in range(5):
            connection.look(now)
        group.cancel_scope.cancel()

    assert len(started) == 1
    started[0].close()


async def test_a_call_that_lasts_is_asked_about_where_nobody_reads():
    at = anyio.Event()

    async def app(scope, receive, send):
        async with anyio.create_task_group() as group:
            at.set()
            await anyio.wait_all_tasks_blocked()
            looks.append([connection.look(1.0), connection.look(2.0)])
            group.start_soon(partial(body_of, receive))
            await wire.parked.wait()
            looks.append([connection.look(3.0), connection.look(4.0)])
            wire.may_miss_reset = True
            looks.append([connection.look(5.0)])
            wire.ends = True
            connection.hung_up()
        left.append(scope["extensions"]["nardis.client"].has_left())

    looks, left = [], []
    wire = Wire([b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"], ends=False)
    connection = conversation(app, wire)
    await connection.attend()

    assert looks == [[False, True], [False, False], [True]]
    assert left == [True]


async def test_nobody_is_asked_about_between_two_requests():
    wire = Wire([GET % b""], ends=False)
    connection = conversation(echo, wire)
    async with anyio.create_task_group() as group:
        group.start_soon(connection.attend)
        await wire.parked.wait()
        talk = connection.talk
        assert (talk.calls(), talk.look(1.0), talk.look(2.0)) == ((), False, False)
        assert (talk.goodbye(), talk.close_websockets()) == (False, False)
        talk.hung_up()
        talk.progressed(1.0)
        wire.leave()


async def test_what_a_request_sets_in_its_context_is_not_seen_by_the_next():
    """They may be two people's, behind a proxy."""
    user = ContextVar("user", default="nobody")

    async def app(scope, receive, send):
        before = user.get()
        user.set(scope["path"])
        await answer(send, before.encode())

    wire = Wire([GET % b"alice" + GET % b"bob", GET % b"carol"])
    connection = conversation(app, wire)
    async with anyio.create_task_group() as group:
        connection.service.start = lambda serving: group.start_soon(lambda: serving)
        group.start_soon(connection.attend)

    assert [body for _, _, body in wire.answers()] == [b"nobody"] * 3
    assert wire.closed


async def test_the_next_request_goes_to_another_task_where_a_call_says_that_it_goes_on():
    """So does an exchange that has deferred functions."""
    other = anyio.Event()

    async def app(scope, receive, send):
        client = scope["extensions"]["nardis.client"]
        client.answered()  # too early: nothing comes of it
        await answer(send, scope["path"].encode())
        if scope["path"] == "/1":
            client.answered()
            client.answered()
            await other.wait()
        other.set()

    wire = Wire([GET % b"1" + GET % b"2"])
    connection, started = conversation(app, wire), []
    async with anyio.create_task_group() as group:

        def start(serving):
            started.append(serving)
            group.start_soon(lambda: serving)

        connection.service.start = start
        with anyio.fail_after(20):
            await connection.attend()

    assert [body for _, _, body in wire.answers()] == [b"/1", b"/2"]
    assert len(started) == 1


async def test_deferred_work_of_one_client_takes_one_task_beside_its_connection():
    """Each takes a place among the connections, and a client can ask for a great many at once."""
    answered, go_on = [], anyio.Event()

    async def app(scope, receive, send):
        await answer(send, scope["path"].encode())
        answered.append(scope["path"])
        scope["extensions"]["nardis.client"].answered()
        await go_on.wait()

    wire = Wire([GET % b"1" + GET % b"2" + GET % b"3"])
    connection = conversation(app, wire)
    async with anyio.create_task_group() as group:
        connection.service.start = lambda serving: group.start_soon(lambda: serving)
        group.start_soon(connection.attend)
        await anyio.wait_all_tasks_blocked()
        assert (answered, connection.behind) == (["/1", "/2"], 1)
        go_on.set()

    assert [body for _, _, body in wire.answers()] == [b"/1", b"/2", b"/3"]
    assert connection.behind == 0
