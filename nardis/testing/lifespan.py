"""The lifespan of the application under test."""

from __future__ import annotations

from typing import Any

import anyio.to_thread
from anyio.abc import TaskGroup

from ..types import ASGIApp, Message
from .call import _ends
from .rules import AppError, ASGIViolation

__all__: list[str] = []


class _Lifespan:
    """The lifespan of the application, in a task of its own."""

    def __init__(self, app: ASGIApp, strict: bool) -> None:
        self.state: dict[str, Any] = {}
        self.running = False
        self._app, self._strict = app, strict
        self._started, self._stopping, self._done = anyio.Event(), anyio.Event(), anyio.Event()
        self._scope = anyio.CancelScope()
        self._said: str | None = None
        self._allowed: tuple[str, ...] = ("lifespan.startup.complete", "lifespan.startup.failed")
        self._failed: str | None = None
        self._error: Exception | None = None

    async def _run(self) -> None:
        asgi = {"version": "3.0", "spec_version": "2.0"}
        with self._scope:
            try:
                await self._app(
                    {"type": "lifespan", "asgi": asgi, "state": self.state},
                    self._receive,
                    self._send,
                )
            except Exception as exc:
                self._error = self._error or exc
            finally:
                self._started.set()
                self._done.set()

    async def _receive(self) -> Message:
        if self._said is None:
            self._said = "lifespan.startup"
        else:
            await self._stopping.wait()
            if self._said == "lifespan.shutdown":
                await anyio.sleep_forever()  # as servers do: nothing comes after the shutdown
            self._said = "lifespan.shutdown"
        return {"type": self._said}

    async def _send(self, message: Message) -> None:
        kind = message.get("type")
        if kind not in self._allowed:
            if self._strict:
                self._error = ASGIViolation(
                    f"lifespan: {kind!r} where one of {self._allowed} was due"
                )
                raise self._error
            return
        self._allowed = (
            ()
            if kind != "lifespan.startup.complete"
            else ("lifespan.shutdown.complete", "lifespan.shutdown.failed")
        )
        self.running = kind == "lifespan.startup.complete"
        if kind.endswith("failed"):
            self._failed = f"{kind}: {message.get('message', '')}"
        self._started.set()

    async def start(self, tasks: TaskGroup, close_s: float) -> None:
        tasks.start_soon(self._run, name="lifespan")
        await self._started.wait()
        if self._failed is not None:
            await _ends(self._done, self._scope, close_s)
        if self._failed is not None or isinstance(self._error, ASGIViolation):
            self.settle()
        if not self.running:
            self._error = (
                None  # raised before the startup was complete: an application without lifespan
            )

    async def stop(self, close_s: float) -> None:
        self._stopping.set()
        if not await _ends(self._done, self._scope, close_s):
            self._failed = f"the lifespan did not end within {close_s} s of lifespan.shutdown and was cancelled"

    def settle(self) -> None:
        if isinstance(self._error, ASGIViolation):
            raise ASGIViolation(*self._error.args) from self._error
        if self._failed is not None or self._error is not None:
            raise AppError(self._failed or f"the lifespan raised {self._error!r}") from self._error
