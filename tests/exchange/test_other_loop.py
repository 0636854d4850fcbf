"""A request on another event loop than the lifespan's, as fixtures of tests may have it."""

import asyncio
from contextlib import closing

from nardis import Nardis


def test_a_request_is_answered_on_another_loop_than_that_of_the_lifespan():
    """Whether a cancellation is due is asked of the lifespan's loop, which runs no task then."""
    app, sent = Nardis(), []

    @app.get("/")
    async def stream(req, res):
        await res.write(b"a")
        await res.write(b"b")

    async def ask():
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/",
            "raw_path": b"/",
            "query_string": b"",
            "headers": [],
        }

        async def send(message):
            sent.append(message.get("body"))

        await app(scope, asyncio.Event().wait, send)

    loop, opened = asyncio.new_event_loop(), {"type": "lifespan", "asgi": {"version": "3.0"}}
    begun, events = asyncio.Event(), asyncio.Queue()
    events.put_nowait({"type": "lifespan.startup"})

    async def told(message):
        begun.set()

    with closing(loop):
        lifespan = loop.create_task(app(opened, events.get, told))
        loop.run_until_complete(begun.wait())
        asyncio.run(ask())
        assert sent == [None, b"a", b"b", b""]
        events.put_nowait({"type": "lifespan.shutdown"})
        loop.run_until_complete(lifespan)
