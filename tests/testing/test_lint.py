"""The rules of ASGI that `strict` watches over."""

from http import HTTPStatus

import anyio
import pytest

from nardis.testing import ASGIViolation, Client

pytestmark = pytest.mark.anyio

START, BODY, TRAILERS = "http.response.start", "http.response.body", "http.response.trailers"
OK = {"type": START, "status": 200}
END = {"type": BODY}


def head(*headers, **more):
    return {**OK, "headers": headers, **more}


def sends(*messages):
    async def app(scope, receive, send):
        for message in messages:
            await send(message)

    return app


BROKEN = {
    "body before start": ([END], "http.response.body where http.response.start was due"),
    "start twice": ([OK, OK], "http.response.start where http.response.body was due"),
    "body after the end": ([OK, END, END], "http.response.body after the final message"),
    "start after the end": ([OK, END, OK], "http.response.start after the final message"),
    "header is str": ([head(("x-a", b"1")), END], "'x-a': b'1' is not bytes"),
    "header value is str": ([head((b"x-a", "1")), END], "is not bytes"),
    "headers are none": ([{**OK, "headers": None}, END], "not an iterable of pairs"),
    "headers are no pairs": ([head((b"x-a",)), END], "not an iterable of pairs"),
    "upper case": ([head((b"X-A", b"1")), END], "b'X-A' is not a lower-case token"),
    "empty name": ([head((b"", b"1")), END], "not a lower-case token"),
    "CR in a name": ([head((b"x\r", b"1")), END], "not a lower-case token"),
    "LF at the end of a name": ([head((b"x\n", b"1")), END], "not a lower-case token"),
    "CR in a value": ([head((b"x", b"1\r\ny: 2")), END], "has CR, LF or NUL"),
    "LF in a value": ([head((b"x", b"1\n")), END], "has CR, LF or NUL"),
    "NUL in a value": ([head((b"x", b"\0")), END], "has CR, LF or NUL"),
    "length is no number": ([head((b"content-length", b"-1")), END], "b'-1' is not a number"),
    "status too low": ([{"type": START, "status": 199}, END], "199 is not the status"),
    "status too high": ([{"type": START, "status": 600}, END], "600 is not the status"),
    "status is str": ([{"type": START, "status": "200"}, END], "'200' is not the status"),
    "no status": ([{"type": START}, END], "None is not the status"),
    "body is str": ([OK, {"type": BODY, "body": "x"}], "body is str, not bytes"),
    "body is bytearray": (
        [OK, {"type": BODY, "body": bytearray(b"x")}],
        "body is bytearray, not bytes",
    ),
    "too much body": (
        [head((b"content-length", b"1")), {"type": BODY, "body": b"xy"}],
        "2 body bytes where Content-Length says 1",
    ),
    "body with 204": (
        [{"type": START, "status": 204}, {"type": BODY, "body": b"x"}],
        "a body with status 204",
    ),
    "unknown type": (
        [{"type": "http.response.boddy"}],
        "unknown message type 'http.response.boddy'",
    ),
    "no type": ([{}], "unknown message type None"),
    "push without the extension": ([{"type": "http.response.push"}], "unknown message type"),
    "trailers without the extension": ([OK, END, {"type": TRAILERS}], "without the extension"),
    "announced without the extension": ([head(trailers=True), END], "announced without"),
}


@pytest.mark.parametrize(("messages", "rule"), BROKEN.values(), ids=BROKEN)
async def test_a_broken_rule_is_raised_to_both_sides(messages, rule):
    """Into the application's send, and in the test, with the one as the cause of the other."""
    raised = []

    async def app(scope, receive, send):
        try:
            await sends(*messages)(scope, receive, send)
        except ASGIViolation as exc:
            raised.append(exc)
            raise

    async with Client(app, lifespan=False) as client:
        with pytest.raises(ASGIViolation) as caught:
            await client.get("/x")

    assert rule in str(caught.value)
    assert str(caught.value).startswith("GET /x: ")
    assert caught.value.__cause__ is raised[0]


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ((), {"type": TRAILERS, "headers": [(b"X", b"1")]}),
        ((), {"type": START, "status": 200}),
    ],
)
async def test_trailers_are_watched_too(headers, message):
    """Their fields, and their place."""
    async with Client(
        sends(head(trailers=True), END, message), lifespan=False, extensions={TRAILERS: {}}
    ) as client:
        with pytest.raises(ASGIViolation, match=r"token|trailers was due"):
            await client.get("/")


async def test_trailers_must_be_announced():
    """The server has sent a head without them."""
    async with Client(
        sends(OK, END, {"type": TRAILERS}), lifespan=False, extensions={TRAILERS: {}}
    ) as client:
        with pytest.raises(ASGIViolation, match="after the final message"):
            await client.get("/")


@pytest.mark.parametrize(
    "name", [b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"]
)
async def test_connection_fields_are_for_http_1(name):
    """RFC 9113 §8.2.2."""
    app = sends(head((name, b"close")), END)
    async with Client(app, lifespan=False) as client:
        assert (await client.get("/")).complete
    async with Client(app, lifespan=False, http_version="2") as client:
        with pytest.raises(ASGIViolation, match=r"connection-specific header .* on HTTP/2"):
            await client.get("/")


async def test_an_enumeration_is_a_status():
    """`HTTPStatus` is an int."""
    async with Client(
        sends({"type": START, "status": HTTPStatus.IM_A_TEAPOT}, END), lifespan=False
    ) as client:
        response = await client.get("/")

    assert repr(response.status_code) == "418"


async def test_two_receive_calls_at_once():
    """One of them would lose a message."""

    async def app(scope, receive, send):
        await receive()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            tasks.start_soon(receive)

    async with Client(app, lifespan=False) as client:
        with pytest.raises(ASGIViolation, match=r"two receive\(\) calls at once"):
            await client.get("/")


@pytest.mark.parametrize("call", ["receive", "send"])
async def test_nothing_is_called_after_a_disconnect_was_received(call):
    """On hypercorn a further receive() blocks for ever, and send() does nothing."""

    async def app(scope, receive, send):
        await receive()
        assert await receive() == {"type": "http.disconnect"}
        await (receive() if call == "receive" else send(OK))

    async with Client(app, lifespan=False) as client:
        with pytest.raises(ASGIViolation, match=rf"{call}\(\) after"):
            async with client.stream("GET", "/") as response:
                await response.disconnect()


async def test_send_after_a_disconnect_that_was_not_received_is_legal():
    """The application could not know; the order of its messages is watched all the same."""

    async def legal(scope, receive, send):
        await send(OK)
        for _ in range(3):
            await send({"type": BODY, "body": b"x", "more_body": True})
        await send(END)
        if scope["path"] == "/twice":
            await send(END)

    async with Client(legal, lifespan=False) as client:
        async with client.stream("GET", "/") as response:
            await response.disconnect()
        with pytest.raises(ASGIViolation, match="after the final message"):
            async with client.stream("GET", "/twice") as response:
                await response.disconnect()


async def test_a_task_that_is_being_cancelled_does_not_break_the_rule():
    """
    One task hears the disconnect and cancels the writer, which was woken by the same disconnect and
    writes on.
    """

    async def app(scope, receive, send):
        async def write():
            await send(OK)
            while True:
                await send({"type": BODY, "body": b"x", "more_body": True})

        await receive()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            await receive()
            tasks.cancel_scope.cancel()

    async with Client(app, lifespan=False) as client:
        for _ in range(20):  # trio shuffles who runs first
            async with client.stream("GET", "/") as response:
                await anyio.wait_all_tasks_blocked()
                await response.disconnect()


async def test_an_app_that_swallows_a_violation_is_cut_off():
    """The test learns it at once, from its read; the application sees a client that left."""
    seen = []

    async def app(scope, receive, send):
        await receive()
        await send(OK)
        for _ in range(2):
            try:
                await send({"type": BODY, "body": "text"})
            except ASGIViolation as exc:
                seen.append(str(exc))
        seen.append((await receive())["type"])

    async with Client(app, lifespan=False, raise_app_errors=False) as client:
        with pytest.raises(ASGIViolation, match="body is str"):
            await client.get("/")

    assert seen == ["GET /: body is str, not bytes"] * 2 + ["http.disconnect"]


async def test_without_strict_it_passes():
    """As on a real server: what cannot be placed is ignored, the rest goes out."""
    messages = [
        END,
        {"type": "unheard.of"},
        head(("X-Str", "1"), (b"content-length", b"1")),
        OK,
        {"type": BODY, "body": bytearray(b"xy"), "more_body": True},
        END,
        END,
        {"type": TRAILERS},
    ]
    async with Client(sends(*messages), lifespan=False, strict=False) as client:
        response = await client.get("/")

    assert response.headers["x-str"] == "1"
    assert (response.status_code, response.content, response.complete) == (200, b"xy", False)


async def test_without_strict_receive_may_be_called_twice():
    """Both wait for the same disconnect."""
    seen = []

    async def app(scope, receive, send):
        async def watch():
            seen.append((await receive())["type"])

        await receive()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            tasks.start_soon(watch)
            await sends(OK, END)(scope, receive, send)

    async with Client(app, lifespan=False, strict=False) as client:
        assert (await client.get("/")).complete

    assert seen == ["http.disconnect"] * 2
