"""What applications do, each in a small program whose right answer is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from nardis import Limits, Nardis, Router, shielded
from tests.peers.driver import Identity, part

CHUNKED = {"transfer-encoding": "chunked"}


class World:
    """
    What a scenario opens and must have closed at the end: sources, files, clean-ups that began.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.open: list[str] = []
        self.files: list[Any] = []

    def opened(self, name: str) -> None:
        self.open.append(name)

    async def closed(self, name: str) -> None:
        """Close with an await, which only works behind a shield."""
        await checkpoint()
        self.open.remove(name)

    def leaks(self) -> list[str]:
        return self.open + [f"file {file.name}" for file in self.files if not file.closed]


@dataclass(frozen=True)
class Scenario:
    """
    A program, a request for it, and the answers that are whole; the first is the one without any
    trouble.
    """

    build: Callable[[World], Nardis]
    answers: list[tuple[int, bytes]]
    method: str = "GET"
    messages: list[dict[str, Any]] = field(default_factory=lambda: [part(b"", more=False)])
    headers: dict[str, str] = field(default_factory=dict)
    lifespan: bool = True
    waits: bool = False  # for time to pass

    @property
    def name(self) -> str:
        return self.build.__name__


FILE = b"0123456789" * 60_000  # three reads of 256 KiB


def plain(world: World) -> Nardis:
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        await res.send("plain")

    return app


def json_post(world: World) -> Nardis:
    app = Nardis()

    @app.post("/")
    async def handler(req, res):
        await res.status(201).json(await req.json())

    return app


def streamed_download(world: World) -> Nardis:
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        for n in range(5):
            await res.write(b"%d," % n)
        await res.flush()
        await res.end(".")

    return app


def upload_loop(world: World) -> Nardis:
    app = Nardis()

    @app.post("/")
    async def handler(req, res):
        size = 0
        async for chunk in req:
            size += len(chunk)
            await checkpoint()
        await res.send({"bytes": size})

    return app


def duplex_echo(world: World) -> Nardis:
    app = Nardis()

    @app.post("/")
    async def handler(req, res):
        async for chunk in req:
            await res.write(chunk)

    return app


def pipe_of_a_generator(world: World) -> Nardis:
    app = Nardis()

    async def source():
        world.opened("generator")
        try:
            for n in range(4):
                await checkpoint()
                yield b"%d" % n
        finally:
            with shielded(5):
                await world.closed("generator")

    @app.get("/")
    async def handler(req, res):
        await res.pipe(source())

    return app


def pipe_of_a_generator_with_a_task_group(world: World) -> Nardis:
    app = Nardis()

    async def source():
        world.opened("generator")
        try:
            give, take = anyio.create_memory_object_stream[bytes](0)
            async with anyio.create_task_group() as tasks, take:
                tasks.start_soon(produce, give)
                async for item in take:
                    yield item
        finally:
            with shielded(5):
                await world.closed("generator")

    async def produce(give):
        with give:
            for n in range(3):
                await give.send(b"%d" % n)

    @app.get("/")
    async def handler(req, res):
        await res.pipe(source())

    return app


def pipe_of_a_sync_generator(world: World) -> Nardis:
    app = Nardis()

    def source():
        world.opened("generator")
        try:
            for n in range(3):
                yield b"%d" % n
        finally:
            world.open.remove("generator")

    @app.get("/")
    async def handler(req, res):
        await res.pipe(source())

    return app


def pipe_of_a_file(world: World) -> Nardis:
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        file = open(world.path, "rb")  # noqa: ASYNC230, SIM115 - pipe() closes it
        world.files.append(file)
        await res.pipe(file)

    return app


def task_group_around_a_response(world: World) -> Nardis:
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        give, take = anyio.create_memory_object_stream[bytes](0)

        async def produce():
            world.opened("producer")
            try:
                with give:
                    for n in range(3):
                        await give.send(b"%d" % n)
            finally:
                with shielded(5):
                    await world.closed("producer")

        async def write():
            with take:
                async for item in take:
                    await res.write(item)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(produce)
            tasks.start_soon(write)
        await res.end("!")

    return app


def several_writers(world: World) -> Nardis:
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        await res.flush()
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(res.write, "x")

    return app


def onion_with_clean_up(world: World) -> Nardis:
    app, router = Nardis(), Router()

    async def layer(req, res, next):
        world.opened("layer")
        try:
            await checkpoint()
            await next()
            await checkpoint()
        finally:
            with shielded(5):
                await world.closed("layer")

    app.use(layer)
    app.use("/", router)
    router.use(layer)

    @router.get("/", layer)
    async def handler(req, res):
        await res.write("on")
        await res.write("ion")

    return app


def error_handler(world: World) -> Nardis:
    app = Nardis()

    @app.error(KeyError)
    async def answer(err, req, res):
        await checkpoint()
        await res.status(404).send("missing")

    @app.use
    async def middleware(req, res, next):
        await next()
        await checkpoint()

    @app.get("/")
    async def handler(req, res):
        await checkpoint()
        raise KeyError("x")

    return app


def head_of_a_stream(world: World) -> Nardis:
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        world.opened("cursor")
        try:
            await checkpoint()
            while True:
                await res.write("row")
        finally:
            with shielded(5):
                await world.closed("cursor")

    return app


def early_413(world: World) -> Nardis:
    app = Nardis(limits=Limits(streamed_body_bytes=5))

    @app.error(413)
    async def answer(err, req, res):
        await res.status(413).send("too large")

    @app.post("/")
    async def handler(req, res):
        await req.bytes()

    return app


def early_answer(world: World) -> Nardis:
    app = Nardis()

    @app.post("/")
    async def handler(req, res):
        await res.status(403).send("no")

    return app


def deferred(world: World) -> Nardis:
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        for name in ("a", "b"):
            world.opened(name)
            req.defer(world.closed, name)
        await res.write("deferred")

    return app


def filtered(world: World) -> Nardis:
    class Holding(Identity):
        """Holds everything back, as a compression does."""

        held = b""

        def feed(self, data):
            self.held += data
            return b""

        def flush(self):
            held, self.held = self.held, b""
            return held

        def finish(self):
            return self.held + b"."

    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        res.on_head(lambda: res.filter(Holding()))
        await res.write("fil")
        await res.flush()
        await res.write("tered")

    return app


def filtered_elsewhere(world: World) -> Nardis:
    class Awaited(Identity):
        """Takes its time, in a task or a thread of its own."""

        def feed(self, data):
            return self._later(data)

        async def _later(self, data):
            await checkpoint()
            return data

    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        res.on_head(lambda: res.filter(Awaited()))
        await res.write("else")
        await res.end("where")

    return app


def events(world: World) -> Nardis:
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        world.opened("subscription")
        try:
            async with res.sse(retry=1) as events:
                for n in range(3):
                    await events.send(n, id=str(n))
                await checkpoint()
        finally:
            with shielded(5):
                await world.closed("subscription")

    return app


def array_of_items(world: World) -> Nardis:
    app = Nardis()

    async def items():
        world.opened("cursor")
        try:
            for n in range(3):
                await checkpoint()
                yield n
        finally:
            with shielded(5):
                await world.closed("cursor")

    @app.get("/")
    async def handler(req, res):
        await res.json_array(items())

    return app


def without_a_lifespan(world: World) -> Nardis:
    return duplex_echo(world)


def opted_out(world: World) -> Nardis:
    app = Nardis(cancel_on_disconnect=False)

    @app.post("/")
    async def handler(req, res):
        async for chunk in req:
            await res.write(chunk)
        await checkpoint()

    return app


def declared_length(world: World) -> Nardis:
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        res.set("content-length", 6)
        for piece in ("ab", "cd", "ef"):
            await res.write(piece)

    return app


def timeout_answer(world: World) -> Nardis:
    app = Nardis(limits=Limits(handler_s=1))

    @app.error(503)
    async def answer(err, req, res):
        await checkpoint()
        await res.status(503).send("too slow")

    @app.get("/")
    async def handler(req, res):
        world.opened("query")
        try:
            await anyio.sleep_forever()
        finally:
            with shielded(5):
                await world.closed("query")

    return app


UPLOAD = [part(b"abc"), part(b""), part(b"def"), part(b"", more=False)]

SCENARIOS = [
    Scenario(plain, [(200, b"plain")]),
    Scenario(
        json_post, [(201, b'{"a":1}')], "POST", [part(b'{"a"'), part(b":1}", more=False)], CHUNKED
    ),
    Scenario(streamed_download, [(200, b"0,1,2,3,4,.")]),
    Scenario(upload_loop, [(200, b'{"bytes":6}')], "POST", UPLOAD, CHUNKED),
    Scenario(duplex_echo, [(200, b"abcdef")], "POST", UPLOAD, CHUNKED),
    Scenario(pipe_of_a_generator, [(200, b"0123")]),
    Scenario(pipe_of_a_generator_with_a_task_group, [(200, b"012")]),
    Scenario(pipe_of_a_sync_generator, [(200, b"012")]),
    Scenario(pipe_of_a_file, [(200, FILE)]),
    Scenario(task_group_around_a_response, [(200, b"012!")]),
    Scenario(several_writers, [(200, b"xxx")]),
    Scenario(onion_with_clean_up, [(200, b"onion")]),
    Scenario(error_handler, [(404, b"missing")]),
    Scenario(head_of_a_stream, [(200, b"")], "HEAD"),
    Scenario(early_413, [(413, b"too large")], "POST", UPLOAD, CHUNKED),
    Scenario(early_answer, [(403, b"no")], "POST", UPLOAD, CHUNKED),
    Scenario(deferred, [(200, b"deferred")]),
    Scenario(filtered, [(200, b"filtered.")]),
    Scenario(filtered_elsewhere, [(200, b"elsewhere")]),
    Scenario(
        events,
        [(200, b"retry: 1000\n\n" + b"".join(b"id: %d\ndata: %d\n\n" % (n, n) for n in range(3)))],
    ),
    Scenario(array_of_items, [(200, b"[0,1,2]")]),
    Scenario(without_a_lifespan, [(200, b"abcdef")], "POST", UPLOAD, CHUNKED, lifespan=False),
    Scenario(opted_out, [(200, b"abcdef")], "POST", UPLOAD, CHUNKED),
    Scenario(declared_length, [(200, b"abcdef")]),
    Scenario(timeout_answer, [(503, b"too slow")], waits=True),
]
