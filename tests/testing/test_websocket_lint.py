"""The rules of ASGI for WebSockets that `strict` watches over."""

import anyio
import pytest

from nardis.testing import ASGIViolation, Client, WebSocketClosed, WebSocketDenied

pytestmark = pytest.mark.anyio

ACCEPT, CLOSE = {"type": "websocket.accept"}, {"type": "websocket.close"}
START, BODY = "websocket.http.response.start", "websocket.http.response.body"
DENIAL = {"type": START, "status": 401}
END = {"type": BODY}


def accept(*headers, **more):
    return {**ACCEPT, "headers": headers, **more}


def says(**payload):
    return {"type": "websocket.send", **payload}


def closes(code=1000, **more):
    return {**CLOSE, "code": code, **more}


class Sends:
    """An application that sends these, and keeps what its `send` raised."""

    def __init__(self, *messages):
        self.messages, self.raised = messages, []

    async def __call__(self, scope, receive, send):
        await receive()
        for message in self.messages:
            try:
                await send(message)
            except ASGIViolation as exc:
                self.raised.append(exc)
        assert (await receive())["type"] == "websocket.disconnect"


BROKEN = {
    "send first": ([says(text="a")], "websocket.send where websocket.accept or websocket.close or"),
    "accept twice": ([ACCEPT, ACCEPT], "websocket.accept where websocket.send or websocket.close"),
    "send after close": ([ACCEPT, CLOSE, says(text="a")], "websocket.send after the end"),
    "close twice": ([ACCEPT, CLOSE, CLOSE], "websocket.close after the end"),
    "accept after close": ([CLOSE, ACCEPT], "websocket.accept after the end"),
    "a denial of what was accepted": ([ACCEPT, DENIAL], f"{START} where websocket.send"),
    "accept after a denial": ([DENIAL, ACCEPT], f"websocket.accept where {BODY} was due"),
    "a denial without a start": ([END], f"{BODY} where websocket.accept"),
    "a denial after its end": ([DENIAL, END, END], f"{BODY} after the end"),
    "a denial with a wrong status": ([{**DENIAL, "status": 101}], "101 is not the status"),
    "a denial with wrong fields": ([{**DENIAL, "headers": [(b"A", b"")]}], "lower-case token"),
    "a denial with a str": ([DENIAL, {"type": BODY, "body": "a"}], "body is str, not bytes"),
    "a response": ([{"type": "http.response.start", "status": 200}], "unknown message type"),
    "no type": ([{}], "unknown message type None"),
    "no payload": ([ACCEPT, says()], "neither text nor bytes"),
    "two payloads": ([ACCEPT, says(text="", bytes=b"")], "both text and bytes"),
    "text is bytes": ([ACCEPT, says(text=b"a")], "text is bytes, not str"),
    "bytes is bytearray": ([ACCEPT, says(bytes=bytearray())], "bytes is bytearray, not bytes"),
    "half a pair": ([ACCEPT, says(text="\udc00")], "text that UTF-8 cannot encode"),
    "not offered": ([accept(subprotocol="v3")], "subprotocol 'v3' was not offered"),
    "no header": ([{**ACCEPT, "headers": None}], "not an iterable of pairs"),
    "upper case": ([accept((b"X-A", b"1"))], "not a lower-case token"),
    "LF in a value": ([accept((b"x-a", b"1\n"))], "has CR, LF or NUL"),
    "the server's": ([accept((b"sec-websocket-protocol", b"v1"))], "where it is the server's"),
    "a length": ([accept((b"content-length", b"0"))], "where it is the server's"),
    "never sent": ([ACCEPT, closes(1006)], "1006 is not a code that may be sent"),
    "no code": ([ACCEPT, closes(None)], "None is not a code"),
    "no number": ([closes("1000")], "'1000' is not a code"),
    "no reason": ([ACCEPT, closes(reason=b"a")], "reason is bytes, not str"),
    "long reason": ([ACCEPT, closes(reason="é" * 62)], "a reason of more than 123 bytes"),
}


@pytest.mark.parametrize(("messages", "rule"), BROKEN.values(), ids=BROKEN)
async def test_a_broken_rule_is_raised_to_both_sides(messages, rule):
    """And the application sees a client that vanished."""
    app = Sends(*messages)
    async with Client(app, lifespan=False) as client:
        with pytest.raises(ASGIViolation) as caught:
            async with client.websocket("/x", ["v1", "v2"]) as ws:
                await ws.receive()

    assert rule in str(caught.value)
    assert str(caught.value).startswith("WebSocket /x: ")
    assert caught.value.__cause__ is app.raised[0]


async def test_a_denial_needs_its_extension():
    """A server need not have it, and a client that has not says so."""
    app = Sends(DENIAL)
    missing = {"websocket.http.response": None}
    async with Client(app, lifespan=False, extensions=missing) as client:
        with pytest.raises(ASGIViolation, match="without the extension"):
            async with client.websocket("/"):
                pytest.fail("it was accepted")  # pragma: no cover - must not happen


async def test_a_denial_with_200_is_one_in_http_1_alone():
    """RFC 8441 §5: there any 2xx accepts."""
    app = Sends({**DENIAL, "status": 200}, END)
    async with Client(app, lifespan=False) as client:
        with pytest.raises(WebSocketDenied, match="got a 200"):
            async with client.websocket("/"):
                pytest.fail("it was accepted")  # pragma: no cover - must not happen
    async with Client(app, lifespan=False, http_version="2") as client:
        with pytest.raises(ASGIViolation, match="status 200, which accepts"):
            async with client.websocket("/"):
                pytest.fail("it was accepted")  # pragma: no cover - must not happen


async def test_what_is_legal_passes():
    """None for what is absent, headers from an iterator, a reason as long as it may be."""
    app = Sends(
        {**ACCEPT, "subprotocol": None, "headers": iter([[b"x-a", b"1"]])},
        says(text="", bytes=None),
        closes(4999, reason="é" * 61 + "e"),
    )
    async with Client(app, lifespan=False) as client, client.websocket("/") as ws:
        assert ws.headers["x-a"] == "1"
        assert await ws.receive() == ""
        with pytest.raises(WebSocketClosed, match="4999"):
            await ws.receive()


async def test_two_receive_calls_at_once():
    """One of them would lose a message."""

    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            tasks.start_soon(receive)

    async with Client(app, lifespan=False) as client:
        with pytest.raises(ASGIViolation, match=r"two receive\(\) calls at once"):
            async with client.websocket("/") as ws:
                await ws.receive()


@pytest.mark.parametrize("call", ["receive", "send"])
async def test_nothing_is_called_after_a_disconnect_was_received(call):
    """As it is for requests."""

    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        assert await receive() == {"type": "websocket.disconnect", "code": 1000}
        await (receive() if call == "receive" else send(says(text="a")))

    async with Client(app, lifespan=False) as client:
        with pytest.raises(ASGIViolation, match=rf"{call}\(\) after .* websocket\.disconnect"):
            async with client.websocket("/"):
                pass


async def test_without_strict_it_passes():
    """As on a real server: what cannot be placed is ignored, the rest goes out."""

    async def app(scope, receive, send):
        await receive()
        for message in [
            says(text="early"),
            {**ACCEPT, "subprotocol": "v3"},
            ACCEPT,
            DENIAL,
            says(),
            says(text=1),
            says(bytes=bytearray(b"a")),
            {**CLOSE, "code": None, "reason": None},
            says(text="late"),
        ]:
            await send(message)
        assert await receive() == await receive() == {"type": "websocket.disconnect", "code": 1000}

    async with Client(app, lifespan=False, strict=False) as client:
        async with client.websocket("/") as ws:
            assert ws.subprotocol == "v3"
            assert [message async for message in ws] == [b"a"]
            assert ws.close_code == 1000
