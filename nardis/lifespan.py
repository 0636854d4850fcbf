"""
The life of an application: its lifespan, background tasks, the notice to drain, and the sweeper.

The order at the end is that of the promises. Draining is announced, exchanges end, tasks end, and
the code after the user's `yield` runs. The sweeper goes last, so that limits and disconnects are
seen to as long as anything is in flight.

Source: the ASGI lifespan specification.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Sequence,
)
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final, TypeAlias, cast

import anyio
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from ._asgi.extensions import ERRORS, RUNNER, Runner, extension
from ._exchange.sweeper import Sweeper, interrupt_all
from ._failures import explained, failure_of, name_of, parted, place_of, reduced
from ._foreign.guests import guests, surrounded
from ._foreign.wrapped import Wrapped
from .draining import Draining, wind_down
from .errors import UsageError
from .routing.router import Router
from .tasks import Tasks
from .types import Receive, Scope, Send

__all__ = ["Life", "LifespanFunction", "check_lifespan", "refuse"]

logger: logging.Logger = logging.getLogger("nardis")

LifespanFunction: TypeAlias = Callable[[Any], AsyncIterator[None]]


_NOT_ASYNC: Final = "is not async: write `async def`"

_REFUSAL: Final = b"503 Service Unavailable: the lifespan of the application has ended\n"


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
        is_over: The lifespan has ended by itself, and its server goes on.
    """

    def __init__(self, owner: object, clock: Callable[[], float] = time.monotonic) -> None:
        self.owner: object = owner
        self.clock: Callable[[], float] = clock
        self.function: LifespanFunction | None = None
        self.tasks: Tasks = Tasks()
        self.sweeper: Sweeper | None = None
        self.is_over: bool = False
        self._draining: Draining | None = None
        # What runs now, the latest last: tests may have a client in another's block.
        self._running: list[tuple[Sweeper, Tasks, Draining]] = []

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
                    try:
                        await receive()
                    except anyio.get_cancelled_exc_class():
                        # By whoever runs us, or by a task group of the application's own.
                        if await _outside(watchers, checkpoint):
                            stop: Callable[[], object] | None = getattr(runner, "stop", None)
                            end = partial(self._wind_down, sweeper, seconds)
                            await _outside(watchers, partial(self._give_up, stop, receive, end))
                        raise
            except BaseException as exc:
                going, failure = parted(exc)
                if going is not None:
                    raise
            finally:
                self._end(joined, sweeper)
                watchers.cancel_scope.cancel()
        await _conclude(started, failure, scope, send)

    async def _give_up(
        self,
        stop: Callable[[], object] | None,
        receive: Receive,
        end: Callable[[], Awaitable[None]],
    ) -> None:
        """
        Bring what runs to its end, because the lifespan was cancelled from inside.

        A runner is asked to *stop*, and tells of the shutdown as it always does. Any other server
        goes on: what it still asks for is refused. Where the shutdown has begun, it is at its end.
        """
        if not self.draining.is_set():
            rest = "no request is served any more" if stop is None else "the server stops"
            logger.error("a task group or a scope around the lifespan's `yield` failed: %s", rest)
            if stop is None:
                self.sweeper, self.is_over = None, True
                return await end()
            stop()
        await receive()
        await end()

    async def _wind_down(self, sweeper: Sweeper, seconds: float) -> None:
        """Announce the end, and wait for the exchanges; each half may take *seconds*."""
        interrupt = partial(interrupt_all, sweeper.exchanges, "shutdown")
        begin = partial(self.draining.set, seconds)
        await wind_down(begin, lambda: not sweeper.exchanges, interrupt, seconds, lambda: seconds)
        interrupt()

    def _begin(self, joined: Sequence[Life], sweeper: Sweeper) -> None:
        """Make anew what lives as long."""
        self._running.append((sweeper, Tasks(pending=True), Draining()))
        self._share(joined)
        self.is_over = False

    def _end(self, joined: Sequence[Life], sweeper: Sweeper) -> None:
        """Go back to the lifespan around this one, if there is one."""
        self._running = [each for each in self._running if each[0] is not sweeper]
        self.sweeper = None
        if self._running:
            self._share(joined)

    def _share(self, joined: Sequence[Life]) -> None:
        """Let this application, and those joined to it, use what the latest lifespan made."""
        self.sweeper, tasks, draining = self._running[-1]
        for life in joined:
            life.tasks, life._draining = tasks, draining

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
        outer: tuple[object, ...] = getattr(extension(scope, RUNNER), "around", ())
        if self in outer:
            raise UsageError(
                "an application is mounted inside itself, by way of others: its lifespan would "
                "begin again and again"
            )
        async with AsyncExitStack() as stack:
            around = await stack.enter_async_context(surrounded(_wrapped(router), scope, seconds))
            for life in joined:
                if life.function is not None:
                    await _enter(life.function, life.owner, stack)
            await stack.enter_async_context(
                guests(router.mounts(), seconds, self.draining, (*outer, self))
            )
            await stack.enter_async_context(self.tasks.opened(seconds))
            for guest in reversed(around):
                await guest.go_on()
            yield
            await self._wind_down(sweeper, seconds)
            for guest in around:
                await guest.begin_to_stop(seconds)


def check_lifespan(function: Callable[[Any], object]) -> None:
    """
    Refuse what cannot be a lifespan function, as far as that shows before it is called.

    Raises:
        UsageError: It is no async generator function, and will not return an async iterator.
    """
    if getattr(function, "__globals__", None) is vars(contextlib):
        wrong = "is a context manager already: leave out @asynccontextmanager"
    elif inspect.iscoroutinefunction(function):
        wrong = "has no `yield`: what stands before it runs at the start, the rest at the end"
    elif inspect.isgeneratorfunction(function):
        wrong = _NOT_ASYNC
    else:
        return
    raise _refused(function, wrong)


def _refused(function: Callable[[Any], object], wrong: str) -> UsageError:
    return UsageError(
        f"lifespan() takes an async generator function, and {name_of(function)} {wrong}"
    )


def _iterated(function: LifespanFunction, owner: object) -> AsyncIterator[None]:
    made = cast("object", function(owner))
    if isinstance(made, AsyncIterator):
        return cast("AsyncIterator[None]", made)
    if isinstance(made, Coroutine):
        made.close()
    raise _refused(function, _NOT_ASYNC)


async def _enter(function: LifespanFunction, owner: object, stack: AsyncExitStack) -> None:
    """Run a lifespan function up to its `yield`, and give *stack* the rest of it."""
    context = asynccontextmanager(_iterated)  # pyright: ignore[reportDeprecated]  # any async iterator will do
    value: object = await stack.enter_async_context(context(function, owner))
    if value is not None:
        raise UsageError(
            f"{name_of(function)} yields a value, which nobody gets: set what handlers share on "
            "app.state, and write `yield` alone"
        )


async def _outside(group: TaskGroup, function: Callable[[], Awaitable[object]]) -> bool:
    """
    Await *function* in a task of *group*, out of reach of the cancel scopes around this one.

    Return whether it came to its end: it did not if the group itself is cancelled.
    """
    over, has_ended = anyio.Event(), False

    async def run() -> None:
        nonlocal has_ended
        try:
            await function()
            has_ended = True
        except BaseException as exc:
            failure = failure_of(exc)
            logger.error("the end of the lifespan failed: %r", failure, exc_info=failure)
        finally:
            over.set()

    group.start_soon(run, name="nardis.lifespan.end")
    with anyio.CancelScope(shield=True):
        await over.wait()
    return has_ended


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer what comes after the lifespan: 503, so that whoever looks restarts the program."""
    if scope["type"] == "websocket":
        await receive()
        return await send({"type": "websocket.close", "code": 1001, "reason": ""})
    length = b"%d" % len(_REFUSAL)
    fields = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", length)]
    await send({"type": "http.response.start", "status": 503, "headers": fields})
    await send({"type": "http.response.body", "body": _REFUSAL})


async def _conclude(started: bool, failure: BaseException | None, scope: Scope, send: Send) -> None:
    """Tell the server how the lifespan ended."""
    if failure is None:
        return await send({"type": "lifespan.shutdown.complete"})
    phase = "shutdown" if started else "startup"
    # The server tells of a failed start, in a line; the traceback is for whoever looks for it.
    level = logging.ERROR if started else logging.DEBUG
    logger.log(level, "lifespan %s failed", phase, exc_info=explained(failure))
    told = reduced(failure)  # of a task group's group with one error the error says more
    errors: list[BaseException] | None = extension(scope, ERRORS)
    if errors is not None:
        errors.append(told)
    message = f"{type(told).__name__}: {told}{place_of(told)}"
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
