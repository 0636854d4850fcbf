"""
Serving, inside a running event loop: from the first lifespan event to the last.

The order at the end is that of the promises: nothing new is taken, what runs may end, the rest is
cancelled and cleans up, what then is left is cut, the lifespan ends.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from socket import socket
from ssl import SSLContext
from typing import Any, Final, cast

import anyio
from anyio.abc import TaskStatus
from anyio.lowlevel import current_token

from .._http.forwarded import compile_trust
from ..draining import until, wind_down
from ..errors import StartFailed
from ..types import ASGIApp
from .access_log import with_access_log
from .config import Config
from .failures import unwrapped
from .lifespan import Lifespan
from .overload import with_limit
from .proxies import behind_proxies
from .service import Service
from .signals import need_posix
from .sockets import Doors, listening, urls_of
from .stream import clock

__all__ = ["serve", "serve_on", "tell"]

logger: logging.Logger = logging.getLogger("nardis.server")

# What the end of the lifespan has at least, also where draining has taken all of `graceful_s`; and
# a cancelled handler's clean-up where serving was cancelled.
LAST_S: Final = 0.5


async def serve(
    app: ASGIApp,
    config: Config | None = None,
    *,
    shutdown: Callable[[], Awaitable[object]] = anyio.sleep_forever,
    task_status: TaskStatus[list[str]] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """
    Serve *app* inside a running event loop, on the worker of its backend, until *shutdown* returns.

    `await group.start(serve, app, config)` gives the addresses once the lifespan has started and
    the sockets listen.

    At the end nothing new is taken, `app.draining` is set, and what runs may end; after `drain_s`
    it is cancelled, after `graceful_s` cut. The settings for processes have no effect here:
    `backend`, as the event loop runs already, `workers`, `max_requests` and its jitter.

    Raises:
        StartFailed: An address cannot be listened on, or the application's lifespan says that it
            cannot start.
        UsageError: The system is not POSIX.

    Cancellation: connections are cut at once, and the lifespan is cancelled.
    """
    need_posix()
    backend = current_token().backend_class.__module__.rpartition("_")[2]
    config = replace(config or Config(), backend=cast(Any, backend))
    with listening(config) as doors:
        service = Service(app, config)
        await serve_on(doors, service, partial(_end_of, shutdown, service), task_status)


async def serve_on(
    doors: Doors,
    service: Service,
    shutdown: Callable[[], Awaitable[object]],
    task_status: TaskStatus[list[str]],
) -> int:
    """Serve on listening sockets; return how many requests the end of draining cancelled."""
    config = service.config
    urls, cancelled = urls_of(doors, config), 0
    try:
        tls = service.settings.create_ssl_context()
    except OSError as exc:  # SSLError among them
        files = f"{config.certfile} or its key {config.keyfile}"
        raise StartFailed(f"cannot read the certificate {files}: {exc}") from exc
    service.call = with_limit(service.call, config.max_in_flight, service)
    if config.access_log is not None:
        as_json = config.access_log == "json"
        service.call = with_access_log(service.call, as_json=as_json, shutdown=service)
    if config.trust_proxy:
        service.call = behind_proxies(service.call, compile_trust(config.trust_proxy))
    with unwrapped():
        async with _lifespan(service), anyio.create_task_group() as group:
            group.start_soon(service.sweep, name="nardis.server.sweep")
            async with _accepting(config.backend)(service, doors.sockets, tls) as close_door:
                try:
                    task_status.started(urls)
                    tell(config, ready=True)
                    await shutdown()
                    tell(config, ready=False)
                    close_door()
                    doors.close()
                    cancelled = await _drain(service)
                finally:
                    with anyio.CancelScope(shield=True):
                        await _cut(service)
            group.cancel_scope.cancel()
    return cancelled


@asynccontextmanager
async def _lifespan(service: Service) -> AsyncGenerator[None, None]:
    """Run the lifespan around the block; it has the rest of `graceful_s` to end."""
    lifespan = Lifespan(service.app, service.state, service)
    async with anyio.create_task_group() as group:
        group.start_soon(lifespan.run, name="nardis.server.lifespan")
        await lifespan.startup()
        yield
        left = service.draining + service.config.graceful_s - clock()
        with anyio.move_on_after(max(left, LAST_S)) as scope:
            await lifespan.stop()
        if scope.cancelled_caught:
            logger.error("the end of the lifespan took too long and was cancelled")
        group.cancel_scope.cancel()


async def _end_of(shutdown: Callable[[], Awaitable[object]], service: Service) -> None:
    """Wait for *shutdown*, or until the application cannot go on."""
    async with anyio.create_task_group() as group:

        async def see_to_application() -> None:
            await service.stopped.wait()
            group.cancel_scope.cancel()

        group.start_soon(see_to_application, name="nardis.server.application")
        await shutdown()
        group.cancel_scope.cancel()


async def _drain(service: Service) -> int:
    """Let what runs end; cancel and count the rest when its time is up, and let it clean up."""
    config = service.config
    late = 0

    def interrupt() -> None:
        nonlocal late
        late = service.calls
        service.interrupt()

    def rest_s() -> float:
        return service.draining + config.graceful_s - clock()

    await wind_down(service.drain, _is_idle(service), interrupt, config.drain_s, rest_s)
    return late


async def _cut(service: Service) -> None:
    """Cut what is left; also where serving was cancelled."""
    if service.admitted:
        service.cut()
        await until(_is_idle(service), LAST_S)


def _is_idle(service: Service) -> Callable[[], bool]:
    """
    Return a function that says whether no connection is left.

    At the first look it never says so: a connection accepted just now is not counted yet.
    """
    looks = iter((False,))
    return lambda: next(looks, True) and not service.admitted


def tell(config: Config, *, ready: bool) -> None:
    """Call `config.ready` with whether requests are welcome."""
    if config.ready is not None:
        config.ready(ready)


Accepting = Callable[
    [Service, Sequence[socket], SSLContext | None], AbstractAsyncContextManager[Callable[[], None]]
]


def _accepting(backend: str) -> Accepting:
    """Import the worker of a backend; the other one's event loop stays unloaded."""
    return cast(Accepting, importlib.import_module(f".{backend}_worker", __package__).accepting)
