"""
What outlives requests: the user's lifespan, background tasks, the notice to drain, and the sweeper.

The order at the end is that of the promises: draining is announced, exchanges end, tasks end, the code after the user's `yield`
runs, and the sweeper goes last, so that limits and disconnects are seen to as long as anything is in flight.

Source: the ASGI lifespan specification.
"""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

import anyio

from ._asgi.extensions import RUNNER, Runner, extension
from ._exchange.sweeper import Sweeper, interrupt_all
from ._failures import explained, parted
from ._foreign.guests import guests, surrounded
from ._foreign.wrapped import Wrapped
from .types import Receive, Scope, Send

if TYPE_CHECKING:
    from .app import Nardis

__all__ = ["run_lifespan", "wait_idle"]

logger: logging.Logger = logging.getLogger("nardis")

# How often the end of the exchanges is looked for at shutdown; servers have usually ended them all before.
POLL_S: Final = 0.02


async def run_lifespan(app: Nardis, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer the server's lifespan events with what the application and those joined to it do at start and end."""
    await receive()
    failure: BaseException | None = None
    started = False
    seconds = app.limits.cleanup_s
    async with anyio.create_task_group() as watchers:
        sweeper = Sweeper(watchers, app._clock)
        watchers.start_soon(sweeper.run, name="nardis.sweeper")
        app._begin(sweeper)
        runner: Runner | None = extension(scope, RUNNER)
        if runner is not None:
            runner.tell(app.draining.set, app._interrupt)
        try:
            async with AsyncExitStack() as stack:
                around = await stack.enter_async_context(surrounded(_wrapped(app), scope, seconds))
                for each in app._joined():
                    if each._lifespan is not None:
                        await stack.enter_async_context(asynccontextmanager(each._lifespan)(each))  # pyright: ignore[reportDeprecated]  # any async iterator will do
                await stack.enter_async_context(guests(app._mounts(), seconds))
                await stack.enter_async_context(app.tasks.opened(seconds))
                for guest in reversed(around):
                    await guest.go_on()
                started = True
                await send({"type": "lifespan.startup.complete"})
                await receive()
                app.draining.set(seconds)
                await _end_exchanges(sweeper, seconds)
                for guest in around:
                    await guest.begin_to_stop(seconds)
        except BaseException as exc:
            going, failure = parted(exc)
            if going is not None:
                raise
        finally:
            app._end()
            watchers.cancel_scope.cancel()
    phase = "shutdown" if started else "startup"
    if failure is None:
        await send({"type": "lifespan.shutdown.complete"})
    else:
        # The server tells of a failed start, in a line; the traceback is for those who look for it.
        logger.log(
            logging.ERROR if started else logging.DEBUG,
            "lifespan %s failed",
            phase,
            exc_info=explained(failure),
        )
        await send(
            {"type": f"lifespan.{phase}.failed", "message": f"{type(failure).__name__}: {failure}"}
        )


def _wrapped(app: Nardis) -> list[Wrapped]:
    """List the foreign middlewares of an application, from the outside in, each once."""
    found = {
        id(handler): handler
        for router in app._below()
        for layer in router._layers
        for handler, _ in layer.steps
        if isinstance(handler, Wrapped)
    }
    return list(found.values())


async def _end_exchanges(sweeper: Sweeper, seconds: float) -> None:
    """Wait for the exchanges in flight; after *seconds* they are cancelled, and get as long for their clean-up."""
    for _ in range(2):
        await wait_idle(sweeper, seconds)
        interrupt_all(sweeper.exchanges, "shutdown")


async def wait_idle(sweeper: Sweeper, seconds: float) -> None:
    """Wait until no exchange is in flight, at most *seconds*."""
    with anyio.move_on_after(seconds):
        while sweeper.exchanges:  # noqa: ASYNC110  # an event would cost each request
            await anyio.sleep(POLL_S)
