"""From the pair outside a foreign middleware to the pair inside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn

import anyio

from .._exchange.exchange import ABORTED, ENDED, STARTED, Exchange
from .._exchange.handshake import Handshake
from .._exchange.intake import Intake, UnwatchedIntake
from .._failures import Carried, failure_of, parted, reduced
from ..errors import ClientDisconnected, NextCalledTwice, ResponseAborted
from ..request import Request
from ..response import Response
from ..routing.walk import is_open
from ..types import Message, Next, Receive, Scope, Send
from .doorway import Gate

if TYPE_CHECKING:
    from ..limits import Limits
    from ..routing.walk import Walk

__all__ = ["InnerExchange", "InnerResponse", "LifespanCrossing"]


# Where the inner application finds what it goes on with; middlewares pass a scope on, or a copy of it.
_KEY: Final = "nardis.crossing"


class LifespanCrossing:
    """
    The way of a lifespan through a middleware, to the application inside.

    Attributes:
        entered: The middleware has come as far as to the application, or will not.
        started: The application has started.
        said: The middleware was told so, or has gone. It need not pass that on: one that keeps all messages back does not.
        leaving: The middleware has passed the shutdown on to the application, or will not.
        stopped: The application has stopped.
    """

    def __init__(self) -> None:
        self.entered, self.started, self.said = anyio.Event(), anyio.Event(), anyio.Event()
        self.leaving, self.stopped = anyio.Event(), anyio.Event()

    def scope(self, outer: Scope) -> dict[str, Any]:
        """Make the scope for the middleware, with the state that requests will find."""
        return {**outer, _KEY: self}

    async def cross(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Be the application that the middleware starts and stops."""
        await receive()
        self.entered.set()
        await self.started.wait()
        await send({"type": "lifespan.startup.complete"})
        self.said.set()
        await receive()
        self.leaving.set()
        await self.stopped.wait()
        await send({"type": "lifespan.shutdown.complete"})


class InnerExchange(Exchange):
    """An exchange on the `receive` and `send` of a middleware; the one around it watches and keeps the time."""

    __slots__ = ("_gate", "_outer")

    intake_type: ClassVar[type[Intake]] = UnwatchedIntake

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, outer: Exchange, gate: Gate
    ) -> None:
        super().__init__(scope, receive, send, outer.sweeper, outer.limits)
        if outer.deferred is None:
            outer.deferred = []
        self.deferred = outer.deferred
        self.cancels = outer.cancels
        self._outer = outer
        self._gate = gate

    def set_limits(self, limits: Limits) -> None:
        """Apply them here, to what the handler reads, and outside, where time is kept."""
        super().set_limits(limits)
        self._outer.set_limits(limits)

    def set_cancels(self, cancels: bool) -> None:
        """Apply it outside too, where the client is watched."""
        self.cancels = cancels
        self._outer.set_cancels(cancels)

    def fail(self, error: BaseException) -> None:
        """Tell the gate, past the middleware, which may swallow the error."""
        super().fail(error)
        if self.failure is not None:
            self._gate.fail(self.failure)

    def server_failed(self, exc: BaseException) -> NoReturn:
        """Let an error of the middleware be one: nobody left."""
        raise exc


class InnerResponse(Response):
    """The response behind a middleware."""

    __slots__ = ("_crossing",)

    def __init__(self, req: Request, exchange: Exchange, crossing: _Crossing) -> None:
        super().__init__(req, exchange)
        self._crossing = crossing

    def compose(self, size: int | None, close: bool, /) -> tuple[Message, int | None, bool]:
        """Close the head; hooks outside may want to know the route."""
        self._crossing.tell(self.req)
        return super().compose(size, False)

    def reset(self, error: BaseException | None = None) -> None:
        """Make room for an error answer, outside too: what was said there of the body is as wrong now."""
        super().reset(error)
        outer = self._crossing.res
        if not outer._sealed:
            outer.reset()


class _Crossing:
    """The way of one request through one middleware, from the pair outside to the pair inside."""

    def __init__(self, req: Request, res: Response, next: Next) -> None:
        self.req = req
        self.res = res
        self.next = next
        self._walks: list[Walk] = []

    def enter(self, req: Request, res: Response) -> None:
        """Let the walk go on with the pair inside."""
        outer = self.req
        req.__dict__["state"] = outer.state
        req.params = outer.params
        req.route = outer.route
        req._raw = outer._raw
        req._place = outer._place
        req._walk = walk = outer._walk
        req._allowed = outer._allowed
        req._served = outer._served
        while walk is not None:
            self._walks.append(walk)
            walk.req, walk.res = req, res
            walk = walk.parent

    def leave(self) -> None:
        """Put the walk back to the pair outside."""
        for walk in self._walks:
            walk.req, walk.res = self.req, self.res
        self._walks.clear()

    def tell(self, req: Request) -> None:
        """Let the request outside know what was found inside."""
        outer = self.req
        outer.params = req.params
        outer.route = req.route
        outer._allowed = req._allowed
        outer._served = req._served
        if outer._gathered is None:
            outer._gathered = req._gathered


class _HTTPCrossing(_Crossing):
    def __init__(self, req: Request, res: Response, next: Next, gate: Gate) -> None:
        super().__init__(req, res, next)
        self._gate = gate

    async def cross(self, scope: Scope, receive: Receive, send: Send) -> None:
        gate = self._gate
        if gate.inner is not None:
            raise NextCalledTwice(
                "a wrapped middleware called its application twice: the rest of the chain runs once"
            )
        outer = self.req._exchange
        exchange = InnerExchange(scope, receive, send, outer, gate)
        req = Request(scope, exchange, self.req.app)
        res = InnerResponse(req, exchange, self)
        gate.inner = exchange
        self.enter(req, res)
        error: BaseException | None = None
        try:
            with exchange.sweeper.new_scope() as exchange.cancel_scope:
                try:
                    await self.next()
                    if not exchange.closing and is_open(exchange):
                        await exchange.conclude()
                except BaseException as exc:
                    error = failure_of(exc)
        except BaseException as exc:
            going, failure = parted(exc)
            if going is not None:
                if exchange.state in (STARTED, ABORTED) and not outer.closing:
                    gate.fail(ResponseAborted("a middleware cancelled the handler half-way"))
                raise
            error = reduced(
                failure or exc
            )  # of a cancelled task group, whose cancellation our scope has kept
        finally:
            self.tell(req)
            self.leave()
            del exchange.head
            req._walk = None
        if error is None and (exchange.state == ENDED or gate.ended):
            return
        if error is None:
            error = exchange.failure or self._end_of(exchange)
        if exchange.state in (STARTED, ABORTED):
            gate.fail(error)
        elif exchange.offered is error:
            outer.offered = error
        raise error if isinstance(error, Exception) else Carried(error)

    def _end_of(self, exchange: Exchange) -> Exception:
        reason = exchange.close_reason
        return (
            ClientDisconnected("the client left")
            if reason == "gone"
            else ResponseAborted(f"the response was cut: {reason}")
        )

    def close(self) -> None:
        """End what a middleware has left running, in a task of its own."""
        inner, self._gate.inner = (
            self._gate.inner,
            None,
        )  # a circle, which would leave the request to the garbage collector
        if inner is not None and self._walks:
            self.leave()
            inner.disconnected()


class _WebSocketCrossing(_Crossing):
    async def cross(self, scope: Scope, receive: Receive, send: Send) -> None:
        outer = self.req._exchange
        exchange = Handshake(scope, receive, send, outer.sweeper, outer.limits)
        exchange.deferred = outer.deferred = outer.deferred or []
        req = Request(exchange.scope, exchange, self.req.app)
        res = Response(req, exchange)
        self.enter(req, res)
        try:
            await self.next()
            if is_open(exchange):
                await exchange.conclude()
        finally:
            self.leave()
            exchange.sweeper.exchanges.discard(exchange)  # a long denial puts it there
            del exchange.head
            req._walk = None
