"""
The application of examples/events.py, over connections that do not hold.

Each stream of a job is cut in the middle of its event number $CUT_AT, and how the streams were
asked for is noted in the file $SEEN. After a shutdown clients come back within a second.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from examples import events
from nardis._sending import feeds
from nardis.types import Message, Receive, Scope, Send

__all__ = ["app"]

SEEN = Path(os.environ.get("SEEN", os.devnull))
CUT_AT = int(os.environ.get("CUT_AT", "0"))

feeds.RETURN_S = 1.0  # type: ignore[misc]  # it is a constant, but ten seconds are long for a test


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Note each stream of a job when it begins, and cut it."""
    is_job = scope["type"] == "http" and scope["path"].startswith("/jobs/")
    sent = 0

    async def cutting(message: Message) -> None:
        nonlocal sent
        if message["type"] == "http.response.start":
            note([dict(scope["headers"]).get(b"last-event-id", b"").decode(), message["status"]])
        body = message.get("body", b"")
        sent += body.startswith(b"event:")
        if body and 0 < CUT_AT == sent:
            await send({**message, "body": body[: len(body) // 2]})
            raise ConnectionResetError("on purpose")
        await send(message)

    await events.app(scope, receive, cutting if is_job else send)


def note(facts: list[object]) -> None:
    with SEEN.open("a") as file:
        file.write(json.dumps(facts) + "\n")
