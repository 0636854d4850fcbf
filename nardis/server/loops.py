"""
The event loop of asyncio that we serve on: uvloop's if installed, and one that no task stops.

Fault (asyncio, uvloop): a SystemExit or KeyboardInterrupt that leaves a task stops the loop, and
with it the server. So argparse in a task group of one handler ends all others. A task that
awaits it gets the exception as well.

Cure: the loop goes on. Ctrl-C is heard by a handler of signals here and is never such an exception.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from importlib.util import find_spec
from typing import Any, cast

__all__ = ["steady_loop"]

logger: logging.Logger = logging.getLogger("nardis.server")


def steady_loop() -> asyncio.AbstractEventLoop:
    """Make an event loop that only its own end ends."""
    base: Any = asyncio.SelectorEventLoop
    # Not in another thread: that one may still run when the process ends, and uvloop (0.23) then
    # crashes in the interpreter's end now and then (11 of 300 runs on a busy machine).
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and find_spec("uvloop") is not None:
        import uvloop

        base = uvloop.Loop

    class Steady(base):  # type: ignore[misc]  # which of the two is known when it runs
        def run_forever(self) -> None:
            while True:
                try:
                    return cast(None, super().run_forever())  # pyright: ignore[reportUnknownMemberType]  # as above
                except (SystemExit, KeyboardInterrupt) as exc:
                    logger.debug("a task ended with %r; the event loop goes on", exc)

    return cast(asyncio.AbstractEventLoop, Steady())
