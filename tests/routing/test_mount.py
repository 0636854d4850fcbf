"""Foreign applications under a prefix: each is a handler of the outer response."""

import logging

import anyio
import pytest

from nardis import HTTPError, Limits, Nardis, Router
from nardis.errors import (
    ContentLengthMismatch,
    FieldError,
    NoResponse,
    ResponseAborted,
    ResponseAlreadyEnded,
    UsageError,
)
from nardis.testing import AppError, Client
from tests.foreign.peers import body, rest, says, start
from tests.peers.driver import Server, part

pytestmark = pytest.mark.anyio


def mounted(asgi_app, prefix="/legacy", **options):
    app = Nardis(**options)
    app.mount(prefix, asgi_app)
    return app


async def test_it_sees_the_prefix_as_root_path_and_the_whole_path():
    seen = []

    async def shows(scope, receive, send):
        seen.append((scope["root_path"], scope["path"], scope["raw_path"]))
        await says(start(), body())(scope, receive, send)

    app = mounted(shows, "/a b")
    async with Client(app) as client:
        await client.get("/a%20b/c%2Fd?x=1")
        await client.get("/a%20b")
    assert seen == [("/a b", "/a b/c/d", b"/a%20b/c%2Fd"), ("/a b", "/a b", b"/a%20b")]


async def test_prefixes_of_routers_add_up():
    app, router, seen = Nardis(), Router(), []

    async def shows(scope, receive, send):
        seen.append((scope["root_path"], scope["path"]))
        await says(start(), body())(scope, receive, send)

    router.mount("/b", shows)
    app.use("/a", router)
    async with Client(app) as client:
        await client.get("/a/b/c")
    assert seen == [("/a/b", "/a/b/c")]


@pytest.mark.parametrize("path", ["/x/legacy/c", "/legacy/c"])
async def test_the_root_path_of_a_server_comes_first_whether_it_is_in_the_path_or_not(path):
    """Servers do not agree on that; an application that takes the root path off gets the same in both cases."""
    seen, sent = [], []

    async def shows(scope, receive, send):
        seen.append((scope["root_path"], scope["path"], scope["raw_path"]))
        await says(start(), body())(scope, receive, send)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": path,
        "root_path": "/x/",
        "headers": [],
    }
    await mounted(shows)(scope, None, send)
    assert seen == [("/x/legacy", "/x/legacy/c", b"/x/legacy/c")]
    assert len(sent) == 2


async def test_it_is_no_route():
    """It is neither listed nor named."""
    app = mounted(says())
    app.get("/x", handler, name="x")
    assert app.routes() == [("GET", "/x", "x")]
    assert app.url_for("x") == "/x"


async def test_its_404_is_as_it_made_it():
    async with Client(mounted(says(start(404, (b"x-by", b"them")), body(b"not here")))) as client:
        response = await client.get("/legacy/nope")
    assert (response.status_code, response.text, response.headers["x-by"]) == (
        404,
        "not here",
        "them",
    )
    assert "content-type" not in response.headers


async def test_beside_the_prefix_the_table_goes_on():
    app = mounted(says(start(), body(b"them")))

    @app.get("/legacyx")
    async def own(req, res):
        await res.send("own")

    async with Client(app) as client:
        assert (await client.get("/legacyx")).text == "own"
        assert (await client.get("/legacy")).text == "them"


async def test_its_head_is_merged_into_the_response():
    """The status is replaced, a field by name; Set-Cookie and Vary are added; framing is the server's."""
    head = start(
        203, (b"X-B", b"theirs"), (b"set-cookie", b"b=2"), (b"vary", b"Cookie"), (b"x-c", b"1"), (b"x-c", b"2"),
        (b"transfer-encoding", b"chunked"),
    )  # fmt: skip
    app = Nardis()

    @app.use
    async def around(req, res, next):
        res.set({"x-a": "ours", "x-b": "ours", "vary": "Accept"}).append(
            "set-cookie", "a=1"
        ).append("x-c", "0")
        await next()

    app.mount("/", says(head, body(b"!")))
    async with Client(app) as client:
        response = await client.get("/")
    lines = sorted(
        (name, value) for name, value in response.headers.items() if name != "content-length"
    )
    assert response.status_code == 203
    assert sorted(response.headers.get_all("set-cookie")) == ["a=1", "b=2"]
    assert ("x-a", "ours") in lines
    assert response.headers.get_all("x-b") == ["theirs"]
    assert response.headers.get_all("x-c") == ["1", "2"]
    assert response.headers.get_all("vary") == ["Accept, Cookie"]
    assert "transfer-encoding" not in response.headers


async def test_hooks_and_filters_see_its_answer():
    app = Nardis()

    class Loud:
        def feed(self, data):
            return data.upper()

        def flush(self):
            raise AssertionError  # pragma: no cover - nobody flushes

        def finish(self):
            return b"!"

    @app.use
    async def around(req, res, next):
        res.on_head(lambda: res.set("x-status", res.status_code).filter(Loud()))
        await next()
        res.req.state.sent = (res.finished, res.bytes_sent)
        seen.append(res.req.state.sent)

    seen = []
    head = start(201, (b"content-length", b"4"), (b"etag", b'"1"'))
    app.mount("/", says(head, body(b"ab", True), body(b"", True), body(b"cd")))
    async with Client(app) as client:
        response = await client.get("/")
    assert (response.content, response.headers["x-status"], response.headers["etag"]) == (
        b"ABCD!",
        "201",
        'W/"1"',
    )
    assert "content-length" not in response.headers
    assert seen == [(True, 4)]


async def test_a_body_in_one_piece_gets_its_length():
    async with Client(mounted(says(start(), body(b"four")))) as client:
        assert (await client.get("/legacy")).headers["content-length"] == "4"


async def test_the_head_goes_with_the_first_body_message():
    """As ASGI has servers do: what fails between the two can still be answered."""

    async def fails(scope, receive, send):
        await send(start(200, (b"content-type", b"text/x")))
        raise HTTPError(503, "not today")

    async with Client(mounted(fails)) as client:
        response = await client.get("/legacy")
    assert (response.status_code, "not today" in response.text) == (503, True)


async def test_an_empty_first_piece_sends_the_head():
    go = anyio.Event()

    async def waits(scope, receive, send):
        await send(start())
        await send(body(b"", True))
        await go.wait()
        await send(body(b"late"))

    async with Client(mounted(waits)) as client, client.stream("GET", "/legacy") as response:
        assert response.status_code == 200
        go.set()
        assert await response.read() == b"late"


async def test_chunks_pass_one_by_one():
    """The first is read before the second is written."""
    written = []

    async def counts(scope, receive, send):
        await send(start())
        for n in range(100):
            await send(body(b"%d" % n, True))
            written.append(n)
        await send(body())

    async with Client(mounted(counts)) as client, client.stream("GET", "/legacy") as response:
        assert await anext(response) == b"0"
        await rest()
        assert len(written) <= 2


async def test_the_request_body_comes_message_by_message():
    """The last one says so; after it `receive` waits, and then says that the client left, for ever."""
    seen = []

    async def reads(scope, receive, send):
        while True:
            message = await receive()
            seen.append((message.get("body"), message.get("more_body")))
            if not message["more_body"]:
                break
        await says(start(), body(b"ok"))(scope, receive, send)
        seen.extend([(await receive())["type"], (await receive())["type"]])

    async with Client(mounted(reads), lifespan=False) as client:

        async def chunks():
            yield b"a"
            yield b"b"

        assert (await client.post("/legacy", content=chunks())).text == "ok"
        assert (await client.post("/legacy", content=b"c")).text == "ok"
        assert (await client.get("/legacy")).text == "ok"
    gone = ["http.disconnect"] * 2
    assert seen == [
        (b"a", True),
        (b"b", True),
        (b"", False),
        *gone,
        (b"c", False),
        *gone,
        (b"", False),
        *gone,
    ]


async def test_what_was_read_before_is_given_once_more():
    """A middleware that has gathered the body, or taken a few bytes of it, leaves it whole for those behind."""
    app, seen = Nardis(), []

    @app.use("/gathered")
    async def gathers(req, res, next):
        await req.bytes()
        await next()

    @app.use("/peeked")
    async def peeks(req, res, next):
        seen.append(await req.body.receive(1))
        await next()

    async def echo(scope, receive, send):
        assert scope["type"] == "http"
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            seen.append(message["body"])
        await says(start(), body())(scope, receive, send)

    app.mount("/", echo)
    async with Client(app) as client:
        await client.post("/gathered", content=b"abc")
        await client.post("/peeked", content=b"abc")
    assert seen == [b"abc", b"a", b"bc"]


async def test_callers_of_receive_take_turns():
    """Two tasks of an application may wait for the next message; a server has one caller."""
    app, seen = Nardis(), []

    async def two(scope, receive, send):
        async def take():
            seen.append((await receive()).get("body"))

        async with anyio.create_task_group() as group:
            group.start_soon(take)
            group.start_soon(take)
        await says(start(), body())(scope, receive, send)

    app.mount("/", two)
    async with Server(app) as server:
        call = server.call("/", method="POST", headers={"transfer-encoding": "chunked"})
        await rest()
        call.push(part(b"a"), part(b"b", more=False))
        await call.wait()
    assert sorted(seen) == [b"a", b"b"]
    assert call.status == 200


async def test_both_directions_at_once():
    async def echo(scope, receive, send):
        await send(start())
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send(body(message["body"], True))
        await send(body())

    async with Client(mounted(echo)) as client, client.stream("POST", "/legacy") as response:
        for chunk in (b"one", b"two"):
            await response.send(chunk)
            assert await response.read(3) == chunk
        await response.end()
        assert await response.read() == b""
        assert response.complete


@pytest.mark.parametrize("cancels", [True, False])
async def test_it_learns_that_the_client_left(cancels):
    """One that waits for it is told, and ends by itself: it may have tasks that no cancellation of ours reaches."""
    app, seen = Nardis(cancel_on_disconnect=cancels), []

    async def waits(scope, receive, send):
        await receive()
        seen.append((await receive())["type"])
        await anyio.lowlevel.checkpoint()
        seen.append((await receive())["type"])

    app.mount("/", waits)
    async with Server(app) as server:
        call = server.call("/")
        await server.tick()
        await server.tick()
        call.disconnect()
        await call.wait()
    assert seen == ["http.disconnect", "http.disconnect"]
    assert call.untouched


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("told", ["listens", "ignores", "busy"])
async def test_one_that_does_not_end_by_itself_is_cancelled(told, begun):
    """At once where it does not listen, else within a tick."""
    app, seen = Nardis(), []

    async def stays(scope, receive, send):
        await receive()
        if begun:
            await send(start())
            await send(body(b"half", True))
        try:
            if told == "busy":
                await anyio.sleep_forever()
            seen.append((await receive())["type"])
            if told == "ignores":
                await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            seen.append("cancelled")
            raise

    app.mount("/", stays)
    async with Server(app) as server:
        call = server.call("/")
        await server.tick()
        await server.tick()
        call.disconnect()
        await rest()
        assert call.ended.is_set() == (told != "ignores")
        await server.tick()
        await call.wait()
    assert (
        seen
        == {
            "listens": ["http.disconnect"],
            "ignores": ["http.disconnect", "cancelled"],
            "busy": ["cancelled"],
        }[told]
    )
    assert call.error is None
    assert not call.final_begun


@pytest.mark.parametrize("begun", [False, True])
async def test_a_limit_tells_it_the_same(begun):
    """Before the head it is a 503 all the same, past it a cut."""
    app, seen = Nardis(limits=Limits(handler_s=3)), []

    async def listens(scope, receive, send):
        await receive()
        if begun:
            await send(start())
            await send(body(b"half", True))
        seen.append((await receive())["type"])

    app.mount("/", listens)
    async with Server(app) as server:
        call = server.call("/")
        await server.tick(4)
        await server.tick()
        call.disconnect()
        await call.wait()
    assert seen == ["http.disconnect"]
    assert call.aborted if begun else (call.status, call.final) == (503, True)


async def test_a_client_that_left_during_the_body_is_told_where_nothing_is_cancelled():
    app, seen = Nardis(cancel_on_disconnect=False), []

    async def waits(scope, receive, send):
        seen.extend(
            [(await receive())["type"], (await receive())["type"], (await receive())["type"]]
        )

    app.mount("/", waits)
    async with Server(app) as server:
        call = server.call("/", part(b"a"), {"type": "http.disconnect"}, method="POST")
        await call.wait()
    assert seen == ["http.request", "http.disconnect", "http.disconnect"]


async def test_one_that_is_entered_after_the_client_left_hears_that_first():
    app, seen = Nardis(cancel_on_disconnect=False), []

    @app.use
    async def reads(req, res, next):
        with pytest.raises(Exception, match="no longer served"):
            await req.bytes()
        await next()

    async def asks(scope, receive, send):
        seen.append((await receive())["type"])

    app.mount("/", asks)
    async with Server(app) as server:
        await server.finished("/", {"type": "http.disconnect"}, method="POST")
    assert seen == ["http.disconnect"]


async def test_limits_hold_for_it():
    async def reads(scope, receive, send):
        while (await receive())["more_body"]:
            pass  # pragma: no cover - the first one is too large

    async with Client(mounted(reads, limits=Limits(streamed_body_bytes=3))) as client:
        assert (await client.post("/legacy", content=b"four")).status_code == 413


async def test_a_stalled_body_ends_it():
    app = Nardis(limits=Limits(body_idle_s=3))

    async def reads(scope, receive, send):
        await receive()
        await receive()

    app.mount("/", reads)
    async with Server(app) as server:
        call = server.call("/", part(b"a"), method="POST")
        await server.tick(4)
        await call.wait()
    assert call.status == 408


async def test_an_error_is_answered_like_that_of_a_handler():
    app = Nardis()

    async def fails(scope, receive, send):
        raise KeyError("k")

    @app.error(KeyError)
    async def missing(err, req, res):
        await res.status(404).send(f"{err}")

    app.mount("/", fails)
    async with Client(app) as client:
        response = await client.get("/")
    assert (response.status_code, response.text) == (404, "'k'")


async def test_an_error_past_the_head_cuts_the_response(caplog):
    async def fails(scope, receive, send):
        await send(start())
        await send(body(b"half", True))
        raise KeyError("k")

    async with Client(mounted(fails), raise_app_errors=False) as client:
        response = await client.get("/legacy")
    assert (response.content, response.complete) == (b"half", False)
    assert "truncated=True" in caplog.text


async def test_ending_in_a_finally_does_not_make_a_failure_whole(caplog):
    async def fails(scope, receive, send):
        await send(start())
        try:
            await send(body(b"half", True))
            raise KeyError("k")
        finally:
            await send(body())

    async with Client(mounted(fails), raise_app_errors=False) as client:
        response = await client.get("/legacy")
    assert (response.content, response.complete) == (b"half", False)


async def test_ending_in_an_except_counts_when_the_application_returns():
    async def recovers(scope, receive, send):
        await send(start())
        await send(body(b"half", True))
        try:
            raise KeyError("k")
        except KeyError:
            await send(body(b" and half"))

    async with Client(mounted(recovers)) as client:
        response = await client.get("/legacy")
    assert (response.content, response.complete) == (b"half and half", True)


@pytest.mark.parametrize(
    ("messages", "error", "status"),
    [
        ([], NoResponse, 500),
        ([start()], NoResponse, 500),
        ([body()], UsageError, 500),
        ([start(), start()], UsageError, 500),
        ([start(), {"type": "http.response.trailers"}], UsageError, 500),
        ([start(100)], UsageError, 500),
        ([start(200, (b"x y", b"1"))], FieldError, 500),
        ([start(200, (b"x", b"1\r\ny: 2"))], FieldError, 500),
        ([start(200, (b"content-length", b"x"))], FieldError, 500),
        ([start(200, (b"content-length", b"1"), (b"content-length", b"2"))], FieldError, 500),
        ([start(200, (b"content-length", b"5")), body(b"four")], ContentLengthMismatch, 500),
        ([start(200, (b"content-length", b"3")), body(b"four", True)], ContentLengthMismatch, 500),
        ([start(), body({}, True)], UsageError, 500),
        ([start(), body(b"half", True)], UsageError, 200),
        (
            [start(200, (b"content-length", b"5")), body(b"four", True), body()],
            ContentLengthMismatch,
            200,
        ),
        (
            [start(200, (b"content-length", b"5")), body(b"four", True), body(b"four", True)],
            ContentLengthMismatch,
            200,
        ),
        ([start(), body(b"whole"), body(b"more")], ResponseAlreadyEnded, 200),
    ],
)
async def test_a_fault_is_an_error_where_it_is_made_and_never_looks_whole(messages, error, status):
    """ASGI's order, HTTP's fields and the length are looked after: before the head it is a 500, past it a cut."""
    async with Client(mounted(says(*messages))) as client:
        with pytest.raises(AppError) as raised:
            await client.get("/legacy")
        assert isinstance(raised.value.__cause__, error), raised.value.__cause__
    async with Client(mounted(says(*messages)), raise_app_errors=False) as client:
        response = await client.get("/legacy")
        assert response.status_code == status
        assert response.complete == (status == 500 or error is ResponseAlreadyEnded)


async def test_a_length_that_is_said_twice_the_same_is_said_once():
    head = start(200, (b"content-length", b"4"), (b"content-length", b"4"))
    async with Client(mounted(says(head, body(b"four", True), body()))) as client:
        assert (await client.get("/legacy")).headers.get_all("content-length") == ["4"]


async def test_a_fault_that_is_swallowed_cuts_all_the_same():
    """A piece was refused, so what would follow it has a gap before it."""

    async def swallows(scope, receive, send):
        await send(start(200, (b"content-length", b"5")))
        await send(body(b"1234", True))
        for message in (body(b"56", True), body(b"5")):
            try:
                await send(message)
            except UsageError:
                errors.append("usage")
            except ResponseAborted:
                errors.append("aborted")

    errors = []
    async with Client(mounted(swallows), raise_app_errors=False) as client:
        response = await client.get("/legacy")
    assert errors == ["usage", "aborted"]
    assert (response.content, response.complete) == (b"1234", False)


async def test_a_fault_in_the_head_can_be_made_good():
    async def recovers(scope, receive, send):
        with pytest.raises(FieldError):
            await send(start(200, (b"x y", b"1")))
        await says(start(500), body(b"sorry"))(scope, receive, send)

    async with Client(mounted(recovers)) as client:
        response = await client.get("/legacy")
    assert (response.status_code, response.text) == (500, "sorry")


async def test_an_error_after_the_end_is_logged(caplog):
    async def fails(scope, receive, send):
        await says(start(), body(b"whole"))(scope, receive, send)
        raise KeyError("k")

    async with Client(mounted(fails), raise_app_errors=False) as client:
        response = await client.get("/legacy")
    assert (response.text, response.complete) == ("whole", True)
    assert "failed after its end" in caplog.text


@pytest.mark.parametrize(
    ("messages", "length"),
    [
        ([start(200, (b"content-length", b"9")), body()], "9"),
        ([start(), body()], None),
        ([start(), body(b"four")], "4"),
        ([start(200, (b"content-length", b"9")), body(b"four", True), body(b"more!")], "9"),
        ([start(204), body()], None),
    ],
)
async def test_head_has_the_fields_and_no_body(messages, length):
    ran = []

    async def counted(scope, receive, send):
        await says(*messages)(scope, receive, send)
        ran.append(True)

    async with Client(mounted(counted)) as client:
        response = await client.head("/legacy")
    assert (response.content, response.headers.get("content-length"), response.complete) == (
        b"",
        length,
        True,
    )
    assert bool(ran) == (len(messages) == 2)  # what would stream is left at its first piece


async def test_a_204_has_no_body_and_no_length():
    async with Client(mounted(says(start(204, (b"content-length", b"0")), body()))) as client:
        response = await client.get("/legacy")
    assert (response.status_code, response.headers.get("content-length")) == (204, None)


async def test_extensions_that_change_what_can_be_sent_are_not_offered():
    seen = []

    async def shows(scope, receive, send):
        seen.append(set(scope["extensions"]))
        await says(start(), body())(scope, receive, send)

    async with Client(
        mounted(shows), extensions={"http.response.trailers": {}, "tls": {}}
    ) as client:
        await client.get("/legacy")
    assert seen == [{"tls", "nardis.errors"}]


class Two:
    """An application of ASGI 2, as a class."""

    def __init__(self, scope):
        self.scope = scope

    async def __call__(self, receive, send):
        message = await receive()
        await says(start(), body(self.scope["path"].encode() + message["body"]))(
            self.scope, receive, send
        )


def two(scope):
    """An application of ASGI 2, as a function."""

    async def inner(receive, send):
        await Two(scope)(receive, send)

    return inner


class Three:
    async def __call__(self, scope, receive, send):
        await says(start(), body(scope["path"].encode()))(scope, receive, send)


async def three(greeting, scope, receive, send):
    await says(start(), body(greeting + scope["path"].encode()))(scope, receive, send)


@pytest.mark.parametrize(
    "app", [Two, two, Three(), lambda *args: Three()(*args)], ids=["class", "function", "3", "args"]
)
async def test_asgi_2_and_3_are_told_apart(app):
    async with Client(mounted(app)) as client:
        assert (await client.get("/legacy/x")).text == "/legacy/x"


async def test_a_partial_is_looked_through():
    from functools import partial

    async with Client(mounted(partial(three, b"!"))) as client:
        assert (await client.get("/legacy/x")).text == "!/legacy/x"


async def handler(req, res):
    """A handler, which is no ASGI application."""


@pytest.mark.parametrize("thing", [None, "app", handler, Router(), Three, object()])
async def test_what_is_no_asgi_application_is_refused_with_a_hint(thing):
    with pytest.raises(TypeError, match=r"mount\(\) takes .*Router goes to use\(\)"):
        Nardis().mount("/x", thing)


async def test_a_builtin_without_a_signature_is_taken_at_its_word():
    """Compiled applications have none."""

    class Compiled:
        __signature__ = "none"

        async def __call__(self, scope, receive, send):
            await says(start(), body(b"compiled"))(scope, receive, send)

    async with Client(mounted(Compiled())) as client:
        assert (await client.get("/legacy")).text == "compiled"


async def test_a_nardis_app_can_be_mounted_too():
    """Then it is a foreign one: its errors and its 404 are its own."""
    inner = Nardis()

    @inner.get("/:name")
    async def hello(req, res):
        await res.send(f"{req.params['name']} {req.base_url}")

    async with Client(mounted(inner)) as client:
        assert (await client.get("/legacy/x")).text == "x "
        assert (await client.get("/legacy/x/y")).status_code == 404


async def test_the_logger_is_quiet_about_clients_that_leave(caplog):
    caplog.set_level(logging.INFO)

    async def floods(scope, receive, send):
        await send(start())
        while True:
            await send(body(bytes(1000), True))

    async with Client(mounted(floods)) as client, client.stream("GET", "/legacy") as response:
        await anext(response)
    assert "failed" not in caplog.text
