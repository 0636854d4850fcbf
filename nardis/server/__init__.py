"""
Run a Nardis application, or any ASGI application, on hypercorn's trio or asyncio worker.

This package is the only place that names a server or an event loop.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, Final, Literal, cast

import anyio
from anyio.abc import TaskStatus
from anyio.lowlevel import current_token
from hypercorn.config import Config as HypercornConfig
from hypercorn.config import Sockets
from hypercorn.utils import (
    LifespanFailureError,
    repr_socket_addr,  # pyright: ignore[reportUnknownVariableType]  # partly annotated
    wrap_app,  # pyright: ignore[reportUnknownVariableType]
)

from .._types import ASGIApp, Message, Receive, Scope, Send
from ..app import Nardis
from ..errors import StartFailed, UsageError

__all__ = ["Config", "load", "run", "serve"]


# hypercorn's own limit comes this much later than ours: it cancels without saying why.
LAST_RESORT_S: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """
    How to serve.

    Attributes:
        bind: `host:port` addresses; port 0 takes a free one.
        backend: hypercorn's `trio` worker, or its `asyncio` one.
        drain_s: From the signal, how long streams that listen to `app.draining` may take to end by themselves.
        graceful_s: From the signal, how long everything may take; after that handlers are cancelled. Includes `drain_s`.
    """

    bind: Sequence[str] = ("127.0.0.1:3000",)
    backend: Literal["trio", "asyncio"] = "trio"
    drain_s: float = 3
    graceful_s: float = 10

    def __post_init__(self) -> None:
        if (
            isinstance(self.bind, str)
            or not self.bind
            or not all(isinstance(each, str) for each in cast("Sequence[Any]", self.bind))
        ):
            raise UsageError(f'bind is a list of addresses such as ["127.0.0.1:3000"], not {self.bind!r}')
        if self.backend not in ("trio", "asyncio"):
            raise UsageError(f"backend is 'trio' or 'asyncio', not {self.backend!r}")
        if not 0 <= self.drain_s <= self.graceful_s < inf:
            raise UsageError(f"graceful_s={self.graceful_s} includes drain_s={self.drain_s}, so it cannot be less")


def load(target: str) -> ASGIApp:
    """
    Import an application by name: `module:app`, or `path/to/file.py:app`; the name `app` is the default.

    Raises:
        UsageError: There is no such module or attribute.
    """
    place, _, name = target.rpartition(":") if ":" in target else (target, "", "")
    if not place or place.startswith("."):
        raise UsageError(f"cannot serve {target!r}: name a module or a file, and the application in it: module:app")
    path = Path(place)
    if path.suffix == ".py":
        sys.path.insert(0, str(path.resolve().parent))
        place = path.stem
    try:
        app: Any = importlib.import_module(place)
    except ModuleNotFoundError as exc:
        if exc.name is not None and not f"{place}.".startswith(f"{exc.name}."):
            raise  # the module is there; one that it imports is not
        raise UsageError(f"cannot serve {target!r}: there is no module {place!r} here") from exc
    for part in (name or "app").split("."):
        if not hasattr(app, part):
            raise UsageError(f"cannot serve {target!r}: {place!r} has no {part!r}; name the application: {place}:NAME")
        app = getattr(app, part)
    if not callable(app):
        raise UsageError(f"cannot serve {target!r}: it is no application but {type(app).__name__!r}")
    return cast(ASGIApp, app)


def run(target: str | ASGIApp, config: Config | None = None, *, announce: str = "Nardis serves on {url} with {backend}") -> None:
    """
    Serve *target*, an application or its name, until SIGINT or SIGTERM.

    *announce* is printed for each address once the server listens there.
    """
    config = config or Config()
    app = load(target) if isinstance(target, str) else target
    anyio.run(partial(_run, app, config, announce), backend=config.backend)


async def _run(app: ASGIApp, config: Config, announce: str) -> None:
    stop = anyio.Event()
    failure: Exception | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(_wait_for_signals, stop)
        try:
            await serve(app, config, shutdown=stop.wait, task_status=_Announcement(announce, config.backend))
        except Exception as exc:
            failure = _first_leaf(exc)  # past the group, which would wrap it
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _wait_for_signals(stop: anyio.Event) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for received in signals:
            if stop.is_set():
                os._exit(128 + received)  # pragma: no cover  # whoever asks twice means at once; nothing can be measured after it
            stop.set()


class _Announcement:
    """Prints where the server listens, once it does."""

    def __init__(self, text: str, backend: str) -> None:
        self._text = text
        self._backend = backend

    def started(self, value: list[str] | None = None) -> None:
        for url in value or ():
            print(self._text.format(url=url, backend=self._backend), file=sys.stderr, flush=True)  # noqa: T201


async def serve(
    app: ASGIApp,
    config: Config | None = None,
    *,
    shutdown: Callable[[], Awaitable[object]] = anyio.sleep_forever,
    task_status: TaskStatus[list[str]] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """
    Serve *app* inside a running event loop, on the worker of its backend, until *shutdown* returns.

    `await group.start(serve, app, config)` gives the addresses once the lifespan has started and the sockets listen.

    At the end `app.draining` is set first; connections close when the streams that listen to it ended, at most `drain_s` later.

    Cancellation: connections are cut at once, and the lifespan is cancelled.
    """
    config = config or Config()
    running = current_token().backend_class.__module__
    if not running.endswith(config.backend):
        raise UsageError(
            f"this config is for {config.backend!r}, and another event loop is running: Config(backend=...) says which"
        )
    settings = HypercornConfig()
    settings.loglevel = "WARNING"
    listening, stopping = anyio.Event(), anyio.Event()
    failures: list[Exception] = []
    failed = False

    def observed(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Hand a scope on; the trio worker begins to listen before it looks whether the lifespan failed."""
        if scope["type"] != "lifespan":
            return app(scope, receive, send)

        async def noted(message: Message) -> None:
            nonlocal failed
            failed = failed or message["type"] == "lifespan.startup.failed"
            await send(message)

        return app(scope, receive, noted)

    wrapped = wrap_app(observed, settings.wsgi_max_body_size, "asgi")  # type: ignore[arg-type]  # its scopes are TypedDicts

    async def trigger() -> None:
        # Both workers begin to wait for it when they have begun to listen.
        listening.set()
        await stopping.wait()

    async def work() -> None:
        try:
            await worker(config.backend)(wrapped, settings, sockets=Sockets([], listeners, []), shutdown_trigger=trigger)
        except Exception as exc:
            failures.append(_first_leaf(exc))  # past the group, which would wrap it
        group.cancel_scope.cancel()

    with _listening(config.bind, settings.backlog) as listeners:
        # In a task of its own: the asyncio worker leaves its task with a cancellation that nobody takes back (hypercorn 0.18).
        async with anyio.create_task_group() as group:
            group.start_soon(work, name="nardis.server")
            try:
                await listening.wait()
                if failed:
                    await anyio.sleep_forever()  # the worker is about to say so
                task_status.started([f"http://{repr_socket_addr(each.family, each.getsockname())}" for each in listeners])
                await shutdown()
                end = anyio.current_time() + config.graceful_s
                if isinstance(app, Nardis):
                    app.draining.set()
                    await app._idle(config.drain_s)
                settings.graceful_timeout = end - anyio.current_time() + LAST_RESORT_S
                stopping.set()
                await anyio.sleep_until(end)
            finally:
                # Also when we are cancelled: the asyncio worker then leaves connections running (hypercorn 0.18, Python 3.12).
                if isinstance(app, Nardis):
                    app._interrupt()
                    with anyio.CancelScope(shield=True):
                        await app._idle(LAST_RESORT_S)
    for failure in failures:
        if isinstance(failure, LifespanFailureError):
            raise StartFailed(str(failure)) from failure
        raise failure


@contextmanager
def _listening(addresses: Sequence[str], backlog: int) -> Generator[list[socket.socket], None, None]:
    """Listen on all *addresses*, or on none."""
    with ExitStack() as stack:
        listeners: list[socket.socket] = []
        for address in addresses:
            host, _, port = address.rpartition(":")
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            try:
                if not 0 <= int(port) <= 65535:
                    raise ValueError("a port is a number from 0 to 65535")
                listener = socket.create_server((host.strip("[]"), int(port)), family=family, backlog=backlog)
            except (OSError, ValueError) as exc:
                raise StartFailed(f"cannot listen on {address}: {getattr(exc, 'strerror', None) or exc}") from exc
            listener.setblocking(False)
            listeners.append(stack.enter_context(listener))
        yield listeners


def _first_leaf(exc: Exception) -> Exception:
    """Find the reason in the groups that the trio worker wraps it in."""
    while isinstance(exc, ExceptionGroup):
        exc = cast("ExceptionGroup[Exception]", exc).exceptions[0]
    return exc


def worker(backend: str) -> Callable[..., Awaitable[None]]:
    """Import the worker of a backend; the other one's event loop stays unloaded."""
    return cast(Callable[..., Awaitable[None]], importlib.import_module(f"hypercorn.{backend}.run").worker_serve)
