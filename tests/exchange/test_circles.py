"""What a request has made is gone when it is over: nothing waits for the garbage collector."""

from __future__ import annotations

import gc
import io
import logging
from contextlib import contextmanager

import anyio
import pytest

from nardis import HTTPError, Limits, Nardis, SkipRoute, wrap
from nardis.middleware import compression
from nardis.testing import Client
from tests.foreign.applications import Through
from tests.peers.driver import Identity, Server, part

pytestmark = pytest.mark.anyio

app = Nardis()
BODY = (part(b'{"a": '), part(b"1}", more=False))


class Held:
    """What the frames of a call hold."""


@contextmanager
def collecting():
    """
    List the types that a block leaves to the garbage collector: those of Nardis, and `Held`.

    What is logged goes to a handler that forgets it, as most do: pytest keeps the errors.
    """
    left = []
    logger, handler = logging.getLogger("nardis"), logging.StreamHandler(io.StringIO())
    logger.addHandler(handler)
    logger.propagate = False
    gc.collect()
    gc.freeze()  # all that was there before
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield left
        gc.collect()
        kinds = [type(each) for each in gc.garbage]
        left += [kind for kind in kinds if kind is Held or kind.__module__[:6] == "nardis"]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
        logger.propagate = True
        logger.removeHandler(handler)


@app.get("/whole")
async def whole(req, res):
    await res.type("text/plain").send("whole")


@app.get("/adorned")
async def adorned(req, res):
    res.headers["x-a"] = "b"
    res.vary("Origin")
    res.on_head(lambda: res.set("x-path", req.headers.get("x", "")))
    await res.send(str(req.query))


@app.get("/streamed")
async def streamed(req, res):
    for _ in range(3):
        await res.write("x")


@app.get("/events")
async def events(req, res):
    async with res.sse(retry=1) as events:
        await events.send("x", id="1")


@app.get("/items")
async def items(req, res):
    res.filter(Identity())
    await res.ndjson([1, 2])


@app.get("/compressed", compression())
async def compressed(req, res):
    await res.type("text").write("x")
    await res.write("y")


@app.post("/lines")
async def lines(req, res):
    await res.ndjson(req.ndjson())


@app.get("/refused")
async def refused(req, res):
    raise HTTPError(418, "no")


@app.get("/failed")
async def failed(req, res):
    raise KeyError("no")


class NotFound(HTTPError):
    def __init__(self):
        super().__init__(404)


async def passes_on(req, res, next):
    await next()


@app.get("/behind", passes_on, passes_on)
async def behind(req, res):
    await res.send(req.path)


@app.post("/gathered")
async def gathered(req, res):
    await res.json(await req.json())


@app.post("/iterated")
async def iterated(req, res):
    async for chunk in req:
        await res.write(chunk)


@app.post("/form")
async def form(req, res):
    await res.send(str(len(await req.form())))


@app.post("/parts")
async def parts(req, res):
    async for each in req.parts():
        await each.bytes()
    await res.end()


@app.post("/first-part")
async def first_part(req, res):
    async for _ in req.parts():
        raise HTTPError(422, "no")


@app.post("/ignored")
async def ignored(req, res):
    await res.send("early")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/whole"),
        ("GET", "/adorned"),
        ("HEAD", "/streamed"),
        ("GET", "/streamed"),
        ("GET", "/events"),
        ("GET", "/items"),
        ("GET", "/compressed"),
        ("POST", "/lines"),
        ("GET", "/refused"),
        ("GET", "/failed"),
        ("GET", "/behind"),
        ("GET", "/missing"),
        ("GET", "/gathered"),
        ("POST", "/gathered"),
        ("POST", "/iterated"),
        ("POST", "/ignored"),
    ],
)
async def test_a_request_leaves_nothing_to_the_garbage_collector(method, path):
    async with Server(app) as server:

        async def answered():
            length = {"content-length": "8"} if method == "POST" else {}
            options = {"headers": {**length, "accept-encoding": "gzip"}}
            messages = BODY if method == "POST" else ()
            call = await server.finished(path, *messages, method=method, **options)
            assert call.status
            server.calls.clear()

        await answered()  # what is kept for all requests is made by the first
        with collecting() as left:
            await answered()

    assert left == []


@pytest.mark.parametrize(
    ("path", "body", "fields"),
    [
        ("/gathered", b"{", {}),
        ("/coded", b"\xff" * 9, {"content-encoding": "br"}),
        ("/file", b"", {}),
    ],
    ids=["json", "brotli", "file"],
)
async def test_what_the_client_got_wrong_leaves_nothing_to_the_garbage_collector(
    path, body, fields
):
    """A body that is no JSON, or no brotli, and a file that is not there: anybody can do that."""
    asking = Nardis()
    asking.post("/gathered", gathered)

    @asking.post("/coded")
    async def coded(req, res):
        await req.decode_content().bytes()

    @asking.all("/file")
    async def handler(req, res):
        await res.send_file("/there/is/no/such/file")

    async with Server(asking) as server:

        async def answered():
            headers = {"content-length": str(len(body)), **fields}
            messages = (part(body, more=False),)
            call = await server.finished(path, *messages, method="POST", headers=headers)
            assert call.status in (400, 404)
            server.calls.clear()

        await answered()
        with collecting() as left:
            await answered()

    assert left == []


@pytest.mark.parametrize("path", ["/answered", "/refused", "/failed", "/passed-on", "/missing/x"])
async def test_middlewares_around_everything_leave_nothing_to_the_garbage_collector(path):
    around, kinds = Nardis(), {"refused": NotFound, "failed": KeyError, "passed-on": SkipRoute}
    around.use(passes_on)
    around.use(passes_on)

    @around.get("/:what")
    async def handler(req, res):
        if req.params["what"] in kinds:
            raise kinds[req.params["what"]]
        await res.send("x")

    async with Server(around) as server:

        async def answered():
            assert (await server.finished(path)).status
            server.calls.clear()

        await answered()
        with collecting() as left:
            await answered()

    assert left == []


HEAD = b'--B\r\nContent-Disposition: form-data; name="a"'
FORM = HEAD + b"\r\n\r\n1\r\n" + HEAD + b'; filename="f"\r\n\r\n2\r\n'


@pytest.mark.parametrize("path", ["/form", "/parts", "/first-part"])
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data; boundary=B", FORM + b"--B--"),
        ("multipart/form-data; boundary=B", FORM),
        ("multipart/form-data; boundary=B", FORM[:-9]),
        ("multipart/form-data; boundary=B", FORM + b"--B\r\nbad\r\n\r\n--B--"),
        ("multipart/form-data; boundary=B", FORM + b"--B\r\nX: \n"),
        ("multipart/form-data; boundary=B", FORM + b"--B x"),
        ("application/x-www-form-urlencoded", b"a=1"),
        ("application/x-www-form-urlencoded", b"&" * 2000),
        ("text/plain", b"a=1"),
    ],
)
async def test_a_form_leaves_nothing_to_the_garbage_collector(path, kind, body):
    """Neither a good one, nor one that fails: it may hold megabytes."""
    headers = {"content-type": kind, "content-length": str(len(body))}
    pieces = (part(body[:90]), part(body[90:], more=False))
    async with Server(app) as server:

        async def answered():
            call = await server.finished(path, *pieces, method="POST", headers=headers)
            assert call.status
            server.calls.clear()

        await answered()
        with collecting() as left:
            await answered()

    assert left == []


async def fails(req, res):
    raise KeyError("no")


async def fails_late(req, res):
    await res.write("x")
    raise KeyError("no")


async def fails_in_a_group(req, res):
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fails, req, res)


async def refuses_in_a_group(req, res):
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(refused, req, res)


async def skips_in_a_group(req, res):
    async with anyio.create_task_group():
        raise SkipRoute


async def fails_around_a_task(req, res):
    async with anyio.create_task_group():
        raise KeyError("no")


async def fails_beside_its_body(req, res):
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fails, req, res)
        await anyio.sleep_forever()


async def fails_two_groups_deep(req, res):
    async with anyio.create_task_group(), anyio.create_task_group():
        raise KeyError("no")


async def fails_as_a_source(req, res):
    async def items():
        yield "x"
        raise KeyError("no")

    await res.pipe(items())


async def fails_in_a_thread(req, res):
    def items():
        yield req.path
        raise KeyError("no")

    await res.json_array(items())


async def fails_when_all_is_over(req, res):
    req.defer(fails, req, res)
    await res.send("x")


async def forgets(req, res):
    res.send("x")


async def says(err, req, res):
    await res.send("said")


async def fails_too(err, req, res):
    raise ValueError("again") from err


LATE = [fails_late, fails_as_a_source, fails_in_a_thread]
FAILING = [
    *LATE,
    fails,
    fails_in_a_group,
    fails_around_a_task,
    fails_beside_its_body,
    fails_two_groups_deep,
    fails_when_all_is_over,
    refuses_in_a_group,
    skips_in_a_group,
    forgets,
]


async def failing_app(scope, receive, send):
    if scope["path"] == "/late":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
    raise KeyError("no")


async def check_failure(failing, path, *, late):
    async with Server(failing) as server:

        async def answered():
            call = await server.finished(path)
            assert call.aborted is late
            call.error = None
            server.calls.clear()

        await answered()
        with collecting() as left:
            await answered()

    assert left == []


@pytest.mark.parametrize("handler", FAILING)
@pytest.mark.parametrize(
    "around", [[], [passes_on], [wrap(Through)]], ids=["", "inside", "wrapped"]
)
@pytest.mark.parametrize("answer", [None, says, fails_too])
async def test_a_failure_leaves_nothing_to_the_garbage_collector(handler, around, answer):
    """Its traceback holds frames, and those hold the request: neither may hold the error."""
    failing = Nardis()
    failing.get("/", *around, handler)
    if answer is not None:
        failing.error(KeyError, 418)(answer)
    await check_failure(failing, "/", late=handler in LATE)


@pytest.mark.parametrize("path", ["/", "/late"])
async def test_nor_does_that_of_a_mounted_application(path):
    failing = Nardis()
    failing.mount("/", failing_app)
    await check_failure(failing, path, late=path == "/late")


async def waits(req, res):
    await anyio.sleep_forever()


async def waits_late(req, res):
    await res.write("x")
    await waits(req, res)


async def waits_for_tasks(req, res):
    async with anyio.create_task_group() as tasks:
        # It holds nothing of the request: anyio's group on asyncio leaves its own tasks as circles.
        tasks.start_soon(anyio.sleep_forever)


async def waits_in_a_source(req, res):
    async def items():
        yield "x"
        await anyio.sleep_forever()

    await res.pipe(items())


async def gone(server, call):
    await server.lose(call)


async def overdue(server, call):
    await server.tick(10)


async def shut_down(server, call):
    server.shut_down()


async def cancelled(server, call):
    call.cancel_scope.cancel()


@pytest.mark.parametrize("handler", [waits, waits_late, waits_for_tasks, waits_in_a_source])
@pytest.mark.parametrize(
    "around", [[], [passes_on], [wrap(Through)]], ids=["", "inside", "wrapped"]
)
@pytest.mark.parametrize("end", [gone, overdue, shut_down, cancelled])
async def test_a_handler_that_was_ended_leaves_nothing_to_the_garbage_collector(
    handler, around, end
):
    """Clients leave all the time, and its cancellation has frames of ours as well."""
    ended = Nardis(limits=Limits(handler_s=5))
    ended.get("/", *around, handler)
    async with Server(ended) as server:

        async def answered():
            call = server.call()
            await server.tick()
            await end(server, call)
            await call.wait()
            call.error = None
            server.calls.clear()

        await answered()
        with collecting() as left:
            await answered()

    assert left == []


async def test_a_background_task_that_fails_leaves_nothing_to_the_garbage_collector():
    async def task(held):
        raise KeyError("no")

    async with Client(app):
        with collecting() as left:
            app.tasks.start_soon(task, Held())
            await anyio.wait_all_tasks_blocked()

    assert left == []


async def test_what_is_asked_of_a_request_that_is_over_is_no_circle():
    kept = []
    late = Nardis()

    @late.get("/:name")
    async def keeps(req, res):
        kept.append(req)
        await res.send("x")

    async with Server(late) as server:
        await server.finished("/a")
        server.calls.clear()
        with collecting() as left:
            req = kept.pop()
            assert (req.route.path, req.params, req.base_url) == ("/:name", {"name": "a"}, "")
            del req

    assert left == []
