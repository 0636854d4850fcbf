"""WebSockets, with applications that are nothing but ASGI."""

from functools import partial

import anyio
import pytest

from nardis.errors import ClientDisconnected, UsageError
from nardis.testing import AppError, Client, WebSocketClosed, WebSocketDenied

pytestmark = pytest.mark.anyio

CONNECT, ACCEPT = {"type": "websocket.connect"}, {"type": "websocket.accept"}
START, BODY = "websocket.http.response.start", "websocket.http.response.body"


def text(said):
    return {"type": "websocket.send", "text": said}


def close(code=1000, reason=""):
    return {"type": "websocket.close", "code": code, "reason": reason}


class Echo:
    """An application that says back what it hears, and keeps what it received and sent."""

    def __init__(self):
        self.heard, self.sent, self.scope = [], [], None

    async def __call__(self, scope, receive, send):
        self.scope = scope
        self.heard.append(await receive())
        await send(ACCEPT)
        while True:
            message = await receive()
            self.heard.append(message)
            if message["type"] == "websocket.disconnect":
                return
            payload = {name: value for name, value in message.items() if name != "type"}
            await send({"type": "websocket.send", **payload})
            self.sent.append(message)


def says(*messages, then=None):
    """Make an application that sends these, and then runs *then*, if anything."""

    async def app(scope, receive, send):
        assert await receive() == CONNECT
        for message in messages:
            await send(message)
        if then is not None:
            await then(receive, send)

    return app


async def waits(receive, send):
    """Hear of the end, and end."""
    assert (await receive())["type"] == "websocket.disconnect"


async def fails(receive, send):
    raise KeyError("mine")


# --- the handshake --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "url", "scheme", "fields"),
    [
        (
            "1.1",
            "/chat/1?a=b",
            "ws",
            [
                (b"host", b"testserver"),
                (b"connection", b"Upgrade"),
                (b"upgrade", b"websocket"),
                (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
                (b"sec-websocket-version", b"13"),
                (b"sec-websocket-protocol", b"v2, v1"),
            ],
        ),
        (
            "2",
            "wss://testserver/chat/1?a=b",
            "wss",
            [
                (b"host", b"testserver"),
                (b"sec-websocket-version", b"13"),
                (b"sec-websocket-protocol", b"v2, v1"),
            ],
        ),
    ],
    ids=["HTTP/1.1", "HTTP/2"],
)
async def test_the_scope_is_that_of_a_server(version, url, scheme, fields):
    """RFC 6455 §4.1, and RFC 8441 §5. What HTTP alone has is not offered."""
    app = Echo()
    offered = {"http.response.trailers": {}, "mine": 1}
    async with Client(app, lifespan=False, http_version=version, extensions=offered) as client:
        async with client.websocket(url, ["v2", "v1"], headers={"x-a": "1"}, params={"c": "d"}):
            pass

    assert app.scope == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": version,
        "scheme": scheme,
        "server": ("testserver", 443 if scheme == "wss" else 80),
        "client": ("127.0.0.1", 50000),
        "root_path": "",
        "path": "/chat/1",
        "raw_path": b"/chat/1",
        "query_string": b"a=b&c=d",
        "headers": [*fields, (b"x-a", b"1")],
        "subprotocols": ["v2", "v1"],
        "extensions": {"websocket.http.response": {}, "mine": 1, "nardis.errors": []},
    }


async def test_what_was_accepted_can_be_read():
    """The subprotocol, and the fields of the application alone."""
    accept = {**ACCEPT, "subprotocol": "v1", "headers": [(b"x-b", b"2")]}
    async with Client(says(accept, then=waits), lifespan=False) as client:
        async with client.websocket("/", ("v2", "v1")) as ws:
            assert (ws.subprotocol, list(ws.headers.items())) == ("v1", [("x-b", "2")])
            assert (ws.close_code, ws.close_reason) == (None, "")


async def test_cookies_are_sent_and_kept():
    """Those of the client and of the call; those that come with an accept, or a denial."""

    async def app(scope, receive, send):
        seen.append(dict(scope["headers"]).get(b"cookie"))
        fields = {"headers": [(b"set-cookie", b"from=" + scope["raw_path"][1:])]}
        if scope["path"] == "/accept":
            await send({**ACCEPT, **fields})
        else:
            await send({"type": START, "status": 401, **fields})
            await send({"type": BODY})

    seen = []
    async with Client(app, lifespan=False) as client:
        async with client.websocket("/accept"):
            assert client.cookies["from"] == "accept"
        with pytest.raises(WebSocketDenied):
            async with client.websocket("/deny", cookies={"own": "1"}):
                pytest.fail("it was accepted")  # pragma: no cover - must not happen
        assert client.cookies["from"] == "deny"

    assert seen == [None, b"from=accept; own=1"]


async def test_the_state_of_the_lifespan_is_there():
    """A copy for each call, as requests have it."""

    async def app(scope, receive, send):
        await receive()
        if scope["type"] == "lifespan":
            scope["state"]["pool"] = 1
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        else:
            assert scope["state"] == {"pool": 1}
            await send(ACCEPT)

    async with Client(app) as client, client.websocket("/"):
        pass


@pytest.mark.parametrize("names", ["chat", ["a b"], ["a", "a"]])
async def test_subprotocols_are_different_tokens(names):
    """RFC 6455 §4.1; a str would be taken for its letters."""
    async with Client(Echo(), lifespan=False) as client:
        with pytest.raises(UsageError, match="different tokens"):
            async with client.websocket("/", names):
                pytest.fail("it was opened")  # pragma: no cover - must not happen


async def test_http_1_0_has_no_websockets():
    """It has no Upgrade."""
    async with Client(Echo(), lifespan=False, http_version="1.0") as client:
        with pytest.raises(UsageError, match=r"HTTP/1\.0"):
            async with client.websocket("/"):
                pytest.fail("it was opened")  # pragma: no cover - must not happen


# --- denials --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("app", "status", "content", "complete"),
    [
        (says(close(4001, "no")), 403, b"", True),
        (
            says(
                {"type": START, "status": 401, "headers": [(b"content-length", b"4")]},
                {"type": BODY, "body": b"wh", "more_body": True},
                {"type": BODY, "body": b"o?"},
                then=waits,
            ),
            401,
            b"who?",
            True,
        ),
        (says({"type": START, "status": 401}), 401, b"", False),
        (says(), 500, b"", False),
        (says(then=fails), 500, b"", False),
        (
            says({"type": START, "status": 401}, {"type": BODY, "body": b"who?"}, then=fails),
            401,
            b"who?",
            False,
        ),
    ],
    ids=["close", "an answer", "half an answer", "no word", "a failure", "a failure behind it"],
)
async def test_a_denial_raises_with_its_answer(app, status, content, complete):
    """The application hears of the end of what it denied, and ends."""
    async with Client(app, lifespan=False, raise_app_errors=False) as client:
        with pytest.raises(WebSocketDenied, match=f"got a {status}") as caught:
            async with client.websocket("/"):
                pytest.fail("it was accepted")  # pragma: no cover - must not happen

    response = caught.value.response
    assert (response.status_code, response.content, response.complete) == (
        status,
        content,
        complete,
    )


async def test_entering_waits_for_the_answer_as_long_as_that_takes():
    """The test bounds it; then the client vanishes, and the application is heard out."""
    app = says(then=lambda receive, send: hears(receive))
    heard = []

    async def hears(receive):
        heard.append(await receive())
        await anyio.lowlevel.checkpoint()
        heard.append("end")

    async with Client(app, lifespan=False) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.websocket("/").__aenter__)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()

        assert heard == [{"type": "websocket.disconnect", "code": 1006}, "end"]


async def test_a_client_that_is_closed_meanwhile_says_so():
    """There is no answer that a denial could have."""

    async def opens(client):
        with pytest.raises(UsageError, match="the client was closed"):
            async with client.websocket("/"):
                pytest.fail("it was accepted")  # pragma: no cover - must not happen

    async def late(receive, send):
        await waits(receive, send)
        await send(ACCEPT)

    async with anyio.create_task_group() as tasks:
        async with Client(says(then=late), lifespan=False, strict=False) as client:
            tasks.start_soon(opens, client)
            await anyio.wait_all_tasks_blocked()


# --- messages -------------------------------------------------------------------------------------


async def test_messages_go_both_ways():
    """A str is text and all that is like bytes is bytes, empty or not."""
    app = Echo()
    async with Client(app, lifespan=False) as client, client.websocket("/") as ws:
        for message in ["hé", "", b"\xff", b"", bytearray(b"a"), memoryview(b"b")]:
            await ws.send(message)
            back = await ws.receive()
            assert (back, type(back)) == (message, str if isinstance(message, str) else bytes)
        await ws.send_json({"é": [1]})
        assert await ws.receive_text() == '{"é":[1]}'
        await ws.send(b"[2]")
        assert await ws.receive_json() == [2]
        await ws.send(b"c")
        assert await ws.receive_bytes() == b"c"

    assert app.heard[1] == {"type": "websocket.receive", "text": "hé"}
    assert app.heard[3] == {"type": "websocket.receive", "bytes": b"\xff"}


async def test_what_is_not_as_expected_is_an_error():
    """On receiving, with the message in it; and on sending."""
    async with Client(Echo(), lifespan=False) as client, client.websocket("/") as ws:
        await ws.send("words")
        with pytest.raises(TypeError, match="'words'"):
            await ws.receive_bytes()
        await ws.send(b"octets")
        with pytest.raises(TypeError, match="b'octets'"):
            await ws.receive_text()
        with pytest.raises(TypeError):
            await ws.send(1)
        with pytest.raises(UnicodeEncodeError):
            await ws.send("\ud800")


async def test_a_message_waits_for_its_reader():
    """The application is never more than one ahead, and no faster than the test."""
    written = []

    async def app(scope, receive, send):
        await send(ACCEPT)
        for n in range(3):
            await send(text(str(n)))
            written.append(n)
        await send(close())

    async with Client(app, lifespan=False) as client, client.websocket("/") as ws:
        await anyio.wait_all_tasks_blocked()
        assert written == []
        assert await ws.receive() == "0"
        await anyio.wait_all_tasks_blocked()
        assert written == [0]
        assert [message async for message in ws] == ["1", "2"]


async def test_a_sender_waits_for_the_application():
    """And a message whose sending is cancelled before is not sent."""
    go, sent = anyio.Event(), []

    async def asks(receive, send):
        await go.wait()
        sent.append((await receive())["text"])
        await waits(receive, send)

    async with Client(says(ACCEPT, then=asks), lifespan=False) as client:
        async with client.websocket("/") as ws, anyio.create_task_group() as tasks:
            with anyio.move_on_after(0.001) as scope:
                await ws.send("never")
            tasks.start_soon(ws.send, "then")
            await anyio.wait_all_tasks_blocked()
            assert sent == []
            go.set()
    assert scope.cancelled_caught
    assert sent == ["then"]


async def test_what_is_cancelled_is_not_lost():
    """A receive of the test takes nothing; a send and a receive of the application, neither."""

    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        for late in (0, 0.001):
            with anyio.move_on_after(late):
                await send(text("never"))
            with anyio.move_on_after(late):
                await receive()
        ready.set()
        heard.append((await receive())["text"])
        await send(text("then"))

    heard, ready = [], anyio.Event()
    async with Client(app, lifespan=False) as client, client.websocket("/") as ws:
        with anyio.move_on_after(0):
            await ws.receive()
        await ready.wait()
        await ws.send("first")
        assert [message async for message in ws] == ["then"]
    assert heard == ["first"]


async def test_sends_of_several_tasks_keep_their_order():
    """A close of the application does not overtake them."""

    async def app(scope, receive, send):
        await send(ACCEPT)
        async with anyio.create_task_group() as tasks:
            for message in [text("a"), text("b"), close(4000)]:
                tasks.start_soon(send, message)
                await anyio.lowlevel.checkpoint()  # it has begun; trio shuffles who is first
            queued.set()

    queued = anyio.Event()
    async with Client(app, lifespan=False) as client, client.websocket("/") as ws:
        await queued.wait()
        assert [message async for message in ws] == ["a", "b"]
        assert ws.close_code == 4000


async def test_two_readers_share_the_messages():
    """Each message goes to one of them, and both hear of the end."""
    app, got = says(ACCEPT, text("a"), close()), []

    async def read(ws):
        got.extend([message async for message in ws])
        got.append("end")

    async with Client(app, lifespan=False) as client, client.websocket("/") as ws:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read, ws)
            tasks.start_soon(read, ws)
    assert sorted(got) == ["a", "end", "end"]


# --- ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (4000, "bye"), (1005, "")], ids=["usual", "words", "no code"]
)
async def test_a_close_is_received_once_after_what_was_sent_before(code, reason):
    """The application has ended when close() returns, and nothing more can be received or sent."""
    app = Echo()
    async with Client(app, lifespan=False) as client, client.websocket("/") as ws:
        async with anyio.create_task_group() as tasks:
            await ws.send("a")
            tasks.start_soon(ws.send, "b")
            await anyio.wait_all_tasks_blocked()
            await ws.close(code, reason)
        words = {"reason": reason} if reason else {}
        assert app.heard[2:] == [
            {"type": "websocket.receive", "text": "b"},
            {"type": "websocket.disconnect", "code": code, **words},
        ]
        assert (ws.close_code, ws.close_reason) == (code, reason)
        await ws.close()
        assert [message async for message in ws] == []
        for call in (ws.receive, partial(ws.send, "c")):
            with pytest.raises(WebSocketClosed, match=f"/: closed with {code}") as caught:
                await call()
            assert (caught.value.code, caught.value.reason) == (code, reason)


@pytest.mark.parametrize(
    ("code", "reason"), [(1006, ""), (2000, ""), (1005, "x"), (1000, "é" * 62)]
)
async def test_what_no_close_frame_can_say_is_an_error(code, reason):
    """RFC 6455 §7.4 and §5.5."""
    async with Client(Echo(), lifespan=False) as client, client.websocket("/") as ws:
        with pytest.raises(UsageError, match="cannot close"):
            await ws.close(code, reason)


async def test_a_client_can_vanish():
    """What another task was sending is not received, and what is sent to it goes nowhere."""
    go, heard = anyio.Event(), []

    async def late(receive, send):
        await go.wait()
        heard.append(await receive())

    async def sends(ws):
        with pytest.raises(WebSocketClosed):
            await ws.send("a")

    app = says(ACCEPT, then=late)
    async with Client(app, lifespan=False) as client, client.websocket("/") as ws:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sends, ws)
            await anyio.wait_all_tasks_blocked()
            await ws.disconnect()
            go.set()
        assert ws.close_code == 1006
        with pytest.raises(WebSocketClosed, match="1006"):
            await ws.receive()
    assert heard == [{"type": "websocket.disconnect", "code": 1006}]


async def test_leaving_the_block_closes_and_waits():
    """Also where an application was waiting for a reader."""
    heard = []

    async def flood(receive, send):
        for _ in range(2000):
            await send(text("x"))
        heard.append(await receive())
        await anyio.wait_all_tasks_blocked()
        heard.append("end")

    async with Client(says(ACCEPT, then=flood), lifespan=False) as client:
        async with client.websocket("/") as ws:
            assert await ws.receive() == "x"
        assert heard == [{"type": "websocket.disconnect", "code": 1000}, "end"]


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [(close(4001, "enough"), 4001, "enough"), ({"type": "websocket.close"}, 1000, "")],
)
async def test_the_application_closes(message, code, reason):
    """Iterating ends, nobody waits to send, and an application that goes on hears its code."""
    heard, go = [], anyio.Event()

    async def goes_on(receive, send):
        await go.wait()
        await send(message)
        heard.append((await receive())["code"])

    async def sends(ws):
        with pytest.raises(WebSocketClosed, match=f"{code}"):
            await ws.send("b")

    async with Client(says(ACCEPT, text("a"), then=goes_on), lifespan=False) as client:
        async with client.websocket("/") as ws, anyio.create_task_group() as tasks:
            tasks.start_soon(sends, ws)
            await anyio.wait_all_tasks_blocked()
            assert await ws.receive() == "a"
            go.set()
            assert [message async for message in ws] == []
            assert (ws.close_code, ws.close_reason) == (code, reason)
    assert heard == [code]


async def test_an_application_that_returns_without_a_close():
    """The code is the one that the client of our server gets."""
    async with Client(says(ACCEPT, text("a")), lifespan=False) as client:
        async with client.websocket("/") as ws:
            assert [message async for message in ws] == ["a"]
            assert ws.close_code == 1011


@pytest.mark.parametrize("call", ["receive", "send", "iterate", "close", "leave"])
async def test_a_failure_is_raised_once_by_the_first_who_meets_it(call):
    """Then the WebSocket has ended with 1011."""

    async def late(receive, send):
        await go.wait()
        raise KeyError("mine")

    go = anyio.Event()
    async with Client(says(ACCEPT, then=late), lifespan=False) as client:
        with pytest.raises(AppError, match="WebSocket /x: the app raised KeyError") as caught:
            async with client.websocket("/x") as ws:
                go.set()
                if call != "leave":
                    await {
                        "receive": ws.receive,
                        "send": partial(ws.send, "a"),
                        "iterate": partial(anext, ws),
                        "close": ws.close,
                    }[call]()
        assert isinstance(caught.value.__cause__, KeyError)
        assert ws.close_code == (1011 if call not in ("close", "leave") else 1000)


async def test_a_failure_can_be_left_to_the_close_code():
    """The test sees what a peer would see."""
    async with Client(says(ACCEPT, then=fails), lifespan=False, raise_app_errors=False) as client:
        async with client.websocket("/") as ws:
            with pytest.raises(WebSocketClosed, match="1011"):
                await ws.receive()


class WebSocketDisconnect(Exception):
    """As Starlette has one."""


@pytest.mark.parametrize("error", [ClientDisconnected(), WebSocketDisconnect()])
async def test_a_departure_is_no_failure(error):
    """Unless the client was there."""

    async def app(scope, receive, send):
        await send(ACCEPT)
        if scope["path"] == "/leave":
            await receive()
            await receive()
        raise error

    async with Client(app, lifespan=False) as client:
        async with client.websocket("/leave"):
            pass
        with pytest.raises(AppError):
            async with client.websocket("/stay") as ws:
                await ws.receive()


@pytest.mark.parametrize("call", ["close", "leave"])
async def test_an_application_that_goes_on_is_cancelled_and_reported(call):
    """The wait for it is bounded by `close_s`."""
    ended = []

    async def app(scope, receive, send):
        try:
            await send(ACCEPT)
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    async with Client(app, lifespan=False) as client:
        client.close_s = 0.01
        with pytest.raises(AppError, match=r"/slow: the app kept running 0\.01 s"):
            async with client.websocket("/slow") as ws:
                if call == "close":
                    await ws.close()
    assert ended == [True]


async def test_a_handler_that_leaves_may_speak_to_others():
    """
    The test waits for it, and reads nothing meanwhile: what it says lies there, and is read later,
    or never.
    """
    members = []

    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        members.append(send)
        while (await receive())["type"] == "websocket.receive":
            await members[0](text("heard"))
        members.remove(send)
        for tell in members:
            await tell(text("left"))
            await tell(text(scope["path"]))

    async with Client(app, lifespan=False) as client:
        async with client.websocket("/a") as a, client.websocket("/b") as b:
            async with client.websocket("/c") as c:
                await c.close()
                assert [await a.receive(), await a.receive()] == ["left", "/c"]
            await b.send("x")  # its handler now waits for a reader of a
            await anyio.wait_all_tasks_blocked()
            assert await b.receive() == "left"


async def test_whoever_has_no_client_waits_for_the_reader():
    """Such as a task of the lifespan, or the test itself."""
    members, told = [], []

    async def app(scope, receive, send):
        await send(ACCEPT)
        members.append(send)
        await receive()
        await receive()

    async def tell():
        await members[0](text("news"))
        told.append(True)

    async with Client(app, lifespan=False) as client, client.websocket("/") as ws:
        async with anyio.create_task_group() as tasks:
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(tell)
            await anyio.wait_all_tasks_blocked()
            assert told == []
            assert await ws.receive() == "news"
    assert told == [True]
