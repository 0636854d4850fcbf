"""
Send a large file, and a body that is made while it is sent.

Neither runs ahead of the client, and neither is held in memory.

    FILE=large.iso nardis serve examples/download.py:app

    curl -o copy.iso http://127.0.0.1:3000/file
    curl -N --limit-rate 100k http://127.0.0.1:3000/squares > /dev/null

Press Ctrl-C during the second one, and the server prints how far the work got.
"""

import os
from pathlib import Path

from anyio import to_thread

from nardis import HTTPError, Limits, Nardis, Request, Response

FILE = Path(os.environ.get("FILE", __file__))

# A client that has taken nothing for 20 s is cut off, so that it cannot hold a file open for ever.
app = Nardis(limits=Limits(write_stall_s=20))


@app.get("/file")
async def file(req: Request, res: Response) -> None:
    """Send a file with its length, so that the client can show progress, and notice a cut."""
    try:
        # A disk may be slow: never open files in the event loop.
        source = await to_thread.run_sync(open, FILE, "rb")
    except FileNotFoundError as exc:
        raise HTTPError(404, "there is no such file") from exc
    res.type("application/octet-stream").set("content-length", os.fstat(source.fileno()).st_size)
    # This reads in worker threads, a piece at a time, and closes the file whatever happens.
    await res.pipe(source)


@app.get("/squares")
async def squares(req: Request, res: Response) -> None:
    """Make two million lines: a slow client slows this loop down, and one that leaves ends it."""
    req.defer(report, req, res)
    res.type("text/plain")
    for start in range(0, 2_000_000, 1_000):
        # One write for a thousand lines: each write goes out as it is, and tiny ones would cost
        # more than they carry.
        await res.write("".join(f"{n * n}\n" for n in range(start, start + 1_000)))


async def report(req: Request, res: Response) -> None:
    """Say how it ended; deferred, so that it runs in any case and may await."""
    print(f"{req.path}: {res.bytes_sent} bytes, {req.close_reason or 'complete'}", flush=True)


if __name__ == "__main__":
    app.listen()
