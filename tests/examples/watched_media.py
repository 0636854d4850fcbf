"""The application of examples/media.py, which notes in the file $SEEN what was asked of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from examples import media
from nardis.types import Message, Receive, Scope, Send

__all__ = ["app"]

SEEN = Path(os.environ.get("SEEN", os.devnull))


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Note each response when it begins: its path, the range that was asked for, its status."""

    async def noted(message: Message) -> None:
        if message["type"] == "http.response.start":
            asked = dict(scope["headers"]).get(b"range", b"").decode()
            note([scope["path"], asked, message["status"]])
        await send(message)

    await media.app(scope, receive, noted)


def note(facts: list[object]) -> None:
    with SEEN.open("a") as file:
        file.write(json.dumps(facts) + "\n")
