"""
Pass a request body through a child process, here `gzip`, and its output back.

Both flow at once, and neither is gathered:

    nardis serve examples/relay.py:app
    COMMAND="xz -c" nardis serve examples/relay.py:app

    curl -N -T large.txt http://127.0.0.1:3000/relay > large.txt.gz
"""

import os
import shlex
from contextlib import suppress

import anyio
from anyio.abc import ByteSendStream

from nardis import HTTPError, Limits, Nardis, Request, Response

COMMAND = shlex.split(os.environ.get("COMMAND", "gzip -c"))

# However it goes, no child lives longer than ten minutes.
app = Nardis(
    limits=Limits(streamed_body_bytes=1024**3, body_idle_s=15, write_stall_s=15, handler_s=600)
)


@app.put("/relay")
async def relay(req: Request, res: Response) -> None:
    """
    Feed the child and read from it at the same time.

    One after the other would stop as soon as its pipes are full.
    """
    res.type("application/octet-stream")
    # `async with` closes the pipes and waits for the child, and kills it when the client leaves or
    # a limit ends this handler. Its errors go to our own stderr: a pipe that is not read would
    # fill up and stop it.
    async with await anyio.open_process(COMMAND, stderr=None) as child:
        assert child.stdin is not None
        assert child.stdout is not None  # both are pipes, unless told otherwise
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(feed, req, child.stdin)
                async for piece in child.stdout:
                    await res.write(piece)
                if await child.wait():
                    # With the head sent this cuts the response, and the client sees that it is not
                    # whole. Before, it is a 502.
                    raise HTTPError(502, f"{COMMAND[0]} failed with status {child.returncode}")
                # A child that ended well wants no more, whatever the client still sends.
                group.cancel_scope.cancel()
        except Exception:
            if child.returncode is None:
                child.kill()  # nobody wants its output: the body was too large, for one
            raise


async def feed(req: Request, stdin: ByteSendStream) -> None:
    """Feed the child the request body; its end is the end of its input."""
    with suppress(anyio.BrokenResourceError):  # the child stopped reading: its status will say why
        async for chunk in req:
            await stdin.send(chunk)
    await stdin.aclose()


if __name__ == "__main__":
    app.listen()
