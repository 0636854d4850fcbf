"""
The life of an application: its lifespan, background tasks, the notice to drain, and the sweeper.

The order at the end is that of the promises. Draining is announced, exchanges end, tasks end, and
the code after the user's `yield` runs. The sweeper goes last, so that limits and disconnects are
seen to as long as anything is in flight.

Source: the ASGI lifespan specification.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, TypeAlias

import anyio

from ._asgi.extensions import RUNNER, Runner, extension
from ._exchange.sweeper import Sweeper, interrupt_all
from ._failures import explained, parted
from ._foreign.guests import guests, surrounded
from ._foreign.wrapped import Wrapped
from .draining import Draining, wind_down
from .routing.router import Router
from .tasks import Tasks
from .types import Receive, Scope, Send

__all__ = ["Life", "LifespanFunction"]

logger: logging.Logger = logging.getLogger("nardis")

LifespanFunction: TypeAlias = Callable[[Any], AsyncIterator[None]]


class Life:
    """
    What lives as long as one application.

    Args:
        owner: The application, which its lifespan function is given.
        clock: Of everything that is swept, in seconds.

    Attributes:
        function: The user's lifespan function.
        tasks: Background tasks; new for each lifespan.
        sweeper: What looks at the exchanges; None while no lifespan runs.
    """

    def __init__(self, owner: object, clock: Callable[[], float] = time.monotonic) -> None:
        self.owner: object = owner
        self.clock: Callable[[], float] = clock
        self.function: LifespanFunction | None = None
        self.tasks: Tasks = Tasks()
        self.sweeper: Sweeper | None = None
        self._draining: Draining | None = None

    @property
    def draining(self) -> Draining:
        """The notice that the server shuts down; new for each lifespan."""
        if self._draining is None:
            self._draining = Draining()
        return self._draining

    def interrupt(self) -> None:
        """End all exchanges in flight: the time of the shutdown is over."""
        interrupt_all(() if self.sweeper is None else self.sweeper.exchanges, "shutdown")

    async def run(
        self,
        router: Router,
        called: object,
        joined: Sequence[Life],
        seconds: float,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """
        Answer the server's lifespan events with the start and the end of everything.

        *router* is the application's table, with the foreign applications and middlewares in it.
        *called* is the application, where nothing of others stands around its call.
        *joined* are the lives of this application and of those joined to it, from the outside in.
        Each part of the end may take *seconds*.
        """
        await receive()
        failure: BaseException | None = None
        started = False
        async with anyio.create_task_group() as watchers:
            sweeper = Sweeper(watchers, self.clock)
            watchers.start_soon(sweeper.run, name="nardis.sweeper")
            self._begin(joined, sweeper)
            runner: Runner | None = extension(scope, RUNNER)
            if runner is not None:
                sweeper.has_runner = True
                runner.tell(self.draining.set, self.interrupt)
                lend_to = getattr(runner, "lend_to", None)  # other runners have nothing to lend
                if lend_to is not None and called is not None:
                    lend_to(called)
            try:
                async with self._lived(router, joined, seconds, scope, sweeper):
                    started = True
                    await send({"type": "lifespan.startup.complete"})
                    await receive()
            except BaseException as exc:
                going, failure = parted(exc)
                if going is not None:
                    raise
            finally:
                self.sweeper = None
                watchers.cancel_scope.cancel()
        await _conclude(started, failure, send)

    def _begin(self, joined: Sequence[Life], sweeper: Sweeper) -> None:
        """Make anew what lives as long, and share it with the applications joined to this one."""
        tasks, draining = Tasks(pending=True), Draining()
        for life in joined:
            life.tasks, life._draining = tasks, draining
        self.sweeper = sweeper

    @asynccontextmanager
    async def _lived(
        self,
        router: Router,
        joined: Sequence[Life],
        seconds: float,
        scope: Scope,
        sweeper: Sweeper,
    ) -> AsyncGenerator[None, None]:
        """Start everything, from the outside in; and at the end stop it, the last first."""
        async with AsyncExitStack() as stack:
            around = await stack.enter_async_context(surrounded(_wrapped(router), scope, seconds))
            for life in joined:
                if life.function is not None:
                    context = asynccontextmanager(life.function)  # pyright: ignore[reportDeprecated]  # any async iterator will do
                    await stack.enter_async_context(context(life.owner))
            await stack.enter_async_context(guests(router.mounts(), seconds, self.draining))
            await stack.enter_async_context(self.tasks.opened(seconds))
            for guest in reversed(around):
                await guest.go_on()
            yield
            begin = partial(self.draining.set, seconds)
            await wind_down(
                begin, lambda: not sweeper.exchanges, self.interrupt, seconds, lambda: seconds
            )
            self.interrupt()
            for guest in around:
                await guest.begin_to_stop(seconds)


async def _conclude(started: bool, failure: BaseException | None, send: Send) -> None:
    """Tell the server how the lifespan ended."""
    if failure is None:
        return await send({"type": "lifespan.shutdown.complete"})
    phase = "shutdown" if started else "startup"
    # The server tells of a failed start, in a line; the traceback is for whoever looks for it.
    level = logging.ERROR if started else logging.DEBUG
    logger.log(level, "lifespan %s failed", phase, exc_info=explained(failure))
    message = f"{type(failure).__name__}: {failure}"
    await send({"type": f"lifespan.{phase}.failed", "message": message})


def _wrapped(router: Router) -> list[Wrapped]:
    """List the foreign middlewares in a table, from the outside in, each once."""
    found = {
        id(handler): handler
        for each in router.below()
        for layer in each.layers
        for handler, _ in layer.steps
        if isinstance(handler, Wrapped)
    }
    return list(found.values())
