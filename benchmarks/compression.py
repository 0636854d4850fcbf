"""
What compressing an answer costs beside the compressor: `compression()` beside zlib in a loop.

    python -m benchmarks.compression

An application in this process sends 8 MiB of JSON lines as gzip at level 6, in pieces of 64 KiB by
`res.write`, and as a whole by `res.send`, which compresses in a thread. The figures are the CPU
time, user and system, of an answer, and its ratio to zlib alone in the very same round: medians
over the rounds, of which each takes them in another order. A third table has what a process grows
by for each compressor, of 200 that are in use.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from typing import Any, Final

import anyio

from nardis import Nardis, Request, Response
from nardis._http.compressors import LEVELS, compressor, usual_level
from nardis.middleware import compression

from .report import markdown

ROUNDS: Final = 15
PIECE_BYTES: Final = 64 * 1024
BODY_BYTES: Final = 8 * 1024 * 1024
COMPRESSORS: Final = 200
FED_BYTES: Final = 300_000
EVENT_BYTES: Final = 250

SCOPE: Final = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "query_string": b"",
    "root_path": "",
    "headers": [(b"host", b"a"), (b"accept-encoding", b"gzip")],
    "client": ("127.0.0.1", 50000),
    "server": ("127.0.0.1", 80),
}


def json_lines(size: int) -> bytes:
    """Return lines as a service exports them: words repeat, and numbers do not."""
    chosen = random.Random(1)
    words = [f"w{chosen.getrandbits(24):x}" for _ in range(3000)]
    lines = bytearray()
    while len(lines) < size:
        row = {"id": len(lines), "name": chosen.choice(words), "text": chosen.choices(words, k=12)}
        lines += json.dumps(row).encode() + b"\n"
    return bytes(lines[:size])


def application(body: bytes) -> Nardis:
    app = Nardis()
    app.use(compression(level=6))

    @app.get("/write")
    async def write(req: Request, res: Response) -> None:
        res.type("text")
        for at in range(0, len(body), PIECE_BYTES):
            await res.write(body[at : at + PIECE_BYTES])

    @app.get("/send")
    async def send(req: Request, res: Response) -> None:
        await res.type("text").set("etag", '"1"').send(body)  # a checksum is no compression

    return app


async def ask(app: Nardis, path: str) -> bytes:
    """Return the body of an answer."""
    came: list[bytes] = []

    async def receive() -> Any:
        await anyio.sleep_forever()

    async def send(message: Any) -> None:
        came.append(message.get("body", b""))

    await app({**SCOPE, "path": path, "raw_path": path.encode(), "state": {}}, receive, send)
    return b"".join(came)


def alone(body: bytes, piece: int) -> bytes:
    codec = zlib.compressobj(6, zlib.DEFLATED, 31)
    pieces = [codec.compress(body[at : at + piece]) for at in range(0, len(body), piece)]
    return b"".join([*pieces, codec.flush()])


async def speeds() -> list[list[str]]:
    body = json_lines(BODY_BYTES)
    app = application(body)
    ways: dict[str, Callable[[], Any]] = {
        "zlib, 64 KiB": lambda: alone(body, PIECE_BYTES),
        "`res.write`, 64 KiB": lambda: ask(app, "/write"),
        "zlib, whole": lambda: alone(body, len(body)),
        "`res.send`": lambda: ask(app, "/send"),
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(ROUNDS + 1):
        for name in ways if turn % 2 else reversed(ways):
            before = time.process_time()
            given = ways[name]()
            coded: bytes = given if isinstance(given, bytes) else await given
            taken = time.process_time() - before
            if zlib.decompress(coded, 31) != body:
                raise AssertionError(f"{name}: another body")
            if turn:  # the first round warms up
                spent[name].append(taken)
    rows = []
    for base, name in (("zlib, 64 KiB", "`res.write`, 64 KiB"), ("zlib, whole", "`res.send`")):
        ratio = statistics.median(
            ours / theirs for ours, theirs in zip(spent[name], spent[base], strict=True)
        )
        middle = [f"{statistics.median(spent[each]) * 1000:.0f}" for each in (base, name)]
        rows.append([name, *middle, f"{ratio:.3f}"])
    return rows


def memory(coding: str, is_live: bool) -> int:
    """Return what this process grows by for a compressor, in KiB."""
    import psutil

    data = json_lines(FED_BYTES + EVENT_BYTES * COMPRESSORS)
    level, size = usual_level(coding), EVENT_BYTES if is_live else FED_BYTES
    compressor(coding, level)  # so that its library is there
    before, kept = psutil.Process().memory_info().rss, []
    for number in range(COMPRESSORS):
        codec = compressor(coding, level, is_live=is_live)
        kept.append(codec)
        first = number * EVENT_BYTES
        for at in range(first, first + FED_BYTES, size):
            codec.feed(data[at : at + size])
            codec.flush()
    grown: int = psutil.Process().memory_info().rss - before
    return grown // COMPRESSORS // 1024


def main() -> None:
    if sys.argv[1:]:
        sys.stdout.write(f"{memory(sys.argv[1], sys.argv[2] == 'live')}\n")
        return
    for backend in ("asyncio", "trio"):
        head = [backend, "zlib alone (ms)", "Nardis (ms)", "ratio"]
        sys.stdout.write(markdown(head, anyio.run(speeds, backend=backend)) + "\n\n")
    command = [sys.executable, "-m", "benchmarks.compression"]
    rows = [
        [
            name,
            *(
                subprocess.check_output([*command, name, kind], text=True).strip()
                for kind in ("body", "live")
            ),
        ]
        for name in LEVELS
    ]
    sys.stdout.write(markdown(["coding", "a body (KiB)", "live (KiB)"], rows) + "\n")


if __name__ == "__main__":
    main()
