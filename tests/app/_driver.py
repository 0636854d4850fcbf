"""
A server's side of ASGI, step by step: a lifespan that is started and stopped by hand, and a scope
to change.
"""

from __future__ import annotations

from typing import Any

import anyio


class Lifespan:
    """
    Send lifespan events to *app* when told to, as a server does.

    `lifespan = await group.start(Lifespan(app).run)` starts it, `await lifespan.stop()` ends it.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        self.sent: list[dict[str, Any]] = []
        self.answered, self.stopping, self.done = anyio.Event(), anyio.Event(), anyio.Event()
        self._started = False

    async def run(self, *, task_status: Any = anyio.TASK_STATUS_IGNORED) -> None:
        self._status = task_status
        await self.app({"type": "lifespan", "asgi": {"version": "3.0"}}, self._receive, self._send)
        self.done.set()

    async def stop(self) -> None:
        """Announce the shutdown, and wait until the application is done with it."""
        self.stopping.set()
        await self.done.wait()

    async def _receive(self) -> dict[str, Any]:
        if not self._started:
            self._started = True
            return {"type": "lifespan.startup"}
        await self.stopping.wait()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Any) -> None:
        self.sent.append(dict(message))
        if len(self.sent) == 1:
            self._status.started(self)


def with_scope(app: Any, **changes: Any) -> Any:
    """Let *app* see HTTP scopes with *changes*; a value of None takes a key out."""

    async def changed(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope = {**scope, **changes}
            scope = {key: value for key, value in scope.items() if value is not None}
        await app(scope, receive, send)

    return changed
