"""The other way round: a Nardis application mounted inside a Starlette one."""

from contextlib import asynccontextmanager

import anyio
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from nardis import Nardis, static
from nardis.errors import LifespanRequired
from nardis.testing import Client

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def passed_on(inner):
    """Run the lifespan of *inner* as a parent that passes it on does."""
    heard, said = (
        anyio.create_memory_object_stream[str](5),
        anyio.create_memory_object_stream[str](5),
    )

    async def receive():
        return {"type": await heard[1].receive()}

    async def send(message):
        await said[0].send(message["type"])

    async with anyio.create_task_group() as group:
        group.start_soon(inner, {"type": "lifespan", "state": {}}, receive, send)
        await heard[0].send("lifespan.startup")
        assert await said[1].receive() == "lifespan.startup.complete"
        yield
        await heard[0].send("lifespan.shutdown")
        assert await said[1].receive() == "lifespan.shutdown.complete"
    for stream in (*heard, *said):
        stream.close()


def parent(inner, passes):
    @asynccontextmanager
    async def lifespan(app):
        async with passed_on(inner):
            yield

    return Starlette(routes=[Mount("/in", app=inner)], lifespan=lifespan if passes else None)


async def test_what_it_builds_leads_back_below_its_prefix(tmp_path):
    """In an application of Starlette's, and in one of Nardis' inside that."""
    (tmp_path / "sub").mkdir()
    inner, around = Nardis(), Nardis()

    @inner.get("/hello/:name")
    async def hello(req, res):
        await res.redirect(req.url_for("hello", name="you"))

    inner.use("/files", static(tmp_path))
    around.mount("/deep", inner)
    async with Client(parent(around, passes=False)) as client:
        hello_me = await client.get("/in/deep/hello/me")
        folder = await client.get("/in/deep/files/sub?a=b")

    assert hello_me.headers["location"] == "/in/deep/hello/you"
    assert folder.headers["location"] == "/in/deep/files/sub/?a=b"


@pytest.fixture(params=[True, False], ids=["with-lifespan", "without"])
def both(request):
    """A Nardis app, the Starlette app around it, and whether the lifespan is passed on."""
    inner = Nardis()
    inner.left = anyio.Event()

    @inner.get("/hello/:name")
    async def hello(req, res):
        await res.send(f"{req.params['name']} {req.path} {req.original_url}")

    @inner.get("/ticks")
    async def ticks(req, res):
        try:
            await res.write("tick")
            await anyio.sleep_forever()
        finally:
            inner.left.set()

    @inner.post("/echo")
    async def echo(req, res):
        async for chunk in req:
            await res.write(chunk)

    @inner.get("/broken")
    async def broken(req, res):
        await res.write("half")
        raise KeyError("k")

    @inner.get("/task")
    async def task(req, res):
        inner.tasks.start_soon(anyio.sleep, 0)
        await res.send("started")

    return inner, parent(inner, request.param), request.param


async def test_routes_are_relative_to_the_mount(both):
    async with Client(both[1]) as client:
        assert (await client.get("/in/hello/you")).text == "you /hello/you /in/hello/you"
        assert (await client.get("/in/nothing")).status_code == 404


async def test_streams_flow_both_ways(both):
    async with Client(both[1]) as client, client.stream("POST", "/in/echo") as response:
        for chunk in (b"one", b"two"):
            await response.send(chunk)
            assert await response.read(3) == chunk
        await response.end()
        assert await response.read() == b""


async def test_a_client_that_leaves_cancels_the_handler(both):
    async with Client(both[1]) as client:
        async with client.stream("GET", "/in/ticks") as response:
            assert await anext(response) == b"tick"
        with anyio.fail_after(20):
            await both[0].left.wait()


async def test_a_failure_is_cut(both, caplog):
    async with Client(both[1], raise_app_errors=False) as client:
        response = await client.get("/in/broken")
    assert (response.content, response.complete) == (b"half", False)


async def test_background_tasks_need_the_lifespan(both, caplog):
    """The error names what to do."""
    async with Client(both[1], raise_app_errors=False) as client:
        response = await client.get("/in/task")
    if both[2]:
        assert response.text == "started"
    else:
        assert response.status_code == 500
        assert LifespanRequired.__name__ in caplog.text
        assert "needs its parent to pass lifespan on" in caplog.text
