"""From the pair outside a foreign middleware to the pair inside it."""

from __future__ import annotations

from typing import Any, ClassVar, Final, NoReturn, Self

import anyio

from .._exchange.exchange import ABORTED, ENDED, STARTED, Exchange
from .._exchange.handshake import Handshake
from .._exchange.intake import Intake, UnwatchedIntake
from .._failures import Carried, failure_of, parted, reduced
from .._sending.head import GET, OTHER
from .._untagged import UntaggedResponse
from ..errors import ClientDisconnected, HeadersAlreadySent, NextCalledTwice, ResponseAborted
from ..limits import Limits
from ..request import Request
from ..response import Response
from ..types import Composed, Next, Receive, Scope, Send
from .doorway import Doorway

__all__ = ["KEY", "HTTPCrossing", "LifespanCrossing", "WebSocketCrossing"]

# Where the inner application finds its crossing; middlewares pass a scope on, or a copy of it.
KEY: Final = "nardis.crossing"


class LifespanCrossing:
    """
    The way of a lifespan through a middleware, to the application inside.

    Attributes:
        entered: The middleware has come as far as to the application, or will not.
        started: The application has started.
        said: The middleware was told so, or has gone. It need not pass that on: one that keeps all
            messages back does not.
        leaving: The middleware has passed the shutdown on to the application, or will not.
        stopped: The application has stopped.
    """

    def __init__(self) -> None:
        self.entered, self.started, self.said = anyio.Event(), anyio.Event(), anyio.Event()
        self.leaving, self.stopped = anyio.Event(), anyio.Event()

    def scope(self, outer: Scope) -> dict[str, Any]:
        """Make the scope for the middleware, with the state that requests will find."""
        return {**outer, KEY: self}

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
    """An exchange on a middleware's `receive` and `send`; the one around it watches the client."""

    __slots__ = ("_doorway", "_outer")

    intake_type: ClassVar[type[Intake]] = UnwatchedIntake

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, outer: Exchange, doorway: Doorway
    ) -> None:
        self.begin(scope, receive, send, outer.sweeper, outer.limits)
        self._outer = outer
        self._doorway = doorway

    def set_limits(self, limits: Limits) -> None:
        """Apply them here, to the body that the handler reads, and outside, where time is kept."""
        super().set_limits(limits)
        self._outer.set_limits(limits)

    def set_cancels(self, cancels: bool) -> None:
        """Apply it outside too, where the client is watched."""
        self.cancels = cancels
        self._outer.set_cancels(cancels)

    def fail(self, error: BaseException) -> None:
        """Tell the doorway, past the middleware, which may swallow the error."""
        super().fail(error)
        if self.failure is not None:
            self._doorway.fail(self.failure)

    def server_failed(self, exc: BaseException) -> NoReturn:
        """Let an error of the middleware be one: nobody left."""
        raise exc


class InnerResponse(Response):
    """The response behind a middleware."""

    __slots__ = ("_doorway", "_outer")

    def __init__(self, req: Request, exchange: Exchange, outer: Response, doorway: Doorway) -> None:
        self.begin(req, exchange)
        self._outer = outer
        self._doorway = doorway
        if self._reads == GET and outer.peek(b"etag") is not None:
            self._reads: int = OTHER  # it has one, and needs no other

    def compose(self, size: int | None, http1: bool, close: bool, /) -> Composed:
        """Close the head; the outer response may want the body, and owns the connection."""
        self._outer.req.share_body(self.req)
        return super().compose(size, http1, False)

    def trailer(self, name: str, value: str | int) -> Self:
        """Send it past the middleware, which may know none; the head that it sees names it."""
        announced = (self.get("trailer") or "").split(", ")
        if self.finished or (self.sealed and name.lower() not in announced):
            self._refuse(f"add trailer {name!r}")
        try:
            self._outer.trailer(name, value)
        except HeadersAlreadySent:
            if not self.sealed:
                raise
            # The middleware has let another head go out, and nobody waits for it any more.
        if not self.sealed:
            self._doorway.has_trailers = True
            self.set("trailer", self._outer.get("trailer") or "")
        return self

    def reset(self, error: BaseException | None = None) -> None:
        """Make room for an error answer, outside too: fields of the body there are as wrong now."""
        super().reset(error)
        if not self._outer.sealed:
            self._outer.reset()


class UntaggedInnerResponse(UntaggedResponse, InnerResponse):
    """The response behind a middleware, in an application that makes no ETags."""

    __slots__ = ()


class _Crossing:
    """The way of one request through one middleware, from the pair outside to the pair inside."""

    def __init__(self, req: Request, res: Response, next: Next) -> None:
        self.req = req
        self.res = res
        self.next = next
        self._is_inside = False

    def enter(self, exchange: Exchange, req: Request, res: Response) -> None:
        """Let the walk go on with the pair inside."""
        exchange.inside(self.req.exchange)
        exchange.head = res
        req.state = self.req.state
        trail = self.req.trail
        trail.req, trail.res = req, res
        self._is_inside = True

    def leave(self) -> None:
        """Put the walk back to the pair outside."""
        if self._is_inside:
            trail = self.req.trail
            trail.req, trail.res = self.req, self.res
            self._is_inside = False

    async def _run(self, exchange: Exchange) -> BaseException | None:
        """Run the rest of the chain in its own scope, and return what failed."""
        error: BaseException | None = None
        try:
            with exchange.sweeper.new_scope() as exchange.cancel_scope:
                try:
                    await self.next()
                    if not exchange.closing:
                        await exchange.finish(self.req.trail.silent)
                except BaseException as exc:
                    error = failure_of(exc)
        except BaseException as exc:
            going, failure = parted(exc)
            try:
                if going is not None:
                    raise
                # Of a cancelled task group, whose cancellation our scope has kept.
                error = reduced(failure or exc)
            finally:
                del going, failure  # a circle, as below
        try:
            return error
        finally:
            del error  # a circle: its traceback has this frame


class HTTPCrossing(_Crossing):
    """The crossing of an HTTP request."""

    def __init__(self, req: Request, res: Response, next: Next, doorway: Doorway) -> None:
        super().__init__(req, res, next)
        self._doorway = doorway

    async def cross(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Be the application that the middleware calls."""
        doorway = self._doorway
        if doorway.inner is not None:
            raise NextCalledTwice(
                "a wrapped middleware called its application twice: the rest of the chain runs once"
            )
        outer = self.req
        exchange = InnerExchange(scope, receive, send, outer.exchange, doorway)
        req = Request().begin(scope, exchange, outer.app, outer.trail)
        outer.share_form(req)
        is_untagged = isinstance(self.res, UntaggedResponse)
        kind = UntaggedInnerResponse if is_untagged else InnerResponse
        res = kind(req, exchange, self.res, doorway)
        doorway.inner = exchange
        self.enter(exchange, req, res)
        try:
            error = await self._run(exchange)
        except BaseException:
            if exchange.state in (STARTED, ABORTED) and not outer.exchange.closing:
                doorway.fail(ResponseAborted("a middleware cancelled the handler half-way"))
            raise
        finally:
            outer.share_body(req)
            self.leave()
            if exchange.pulse is not None:
                exchange.let_go()
                await exchange.pulse_ended()
                exchange.pulse = None  # a circle
            del exchange.head
        if error is None and (exchange.state == ENDED or doorway.ended):
            return
        if error is None:
            error = exchange.failure or _end_of(exchange)
        if exchange.state in (STARTED, ABORTED):
            doorway.fail(error)
        try:
            raise error if isinstance(error, Exception) else Carried(error)
        finally:
            del error  # a circle: its traceback has this frame

    def close(self) -> None:
        """End what a middleware has left running, in a task of its own."""
        # Circles, which would leave the request to the garbage collector.
        inner, self._doorway.inner = self._doorway.inner, None
        if inner is not None:
            inner.failure = None
            if self._is_inside:
                self.leave()
                inner.disconnected()


def _end_of(exchange: Exchange) -> Exception:
    if exchange.close_reason == "gone":
        return ClientDisconnected("the client left")
    return ResponseAborted(f"the response was cut: {exchange.close_reason}")


class WebSocketCrossing(_Crossing):
    """The crossing of the opening of a WebSocket, and of its conversation."""

    async def cross(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Be the application that the middleware calls."""
        outer = self.req
        exchange = Handshake(scope, receive, send, outer.exchange.sweeper, outer.exchange.limits)
        req = Request().begin(exchange.scope, exchange, outer.app, outer.trail)
        self.enter(exchange, req, Response().begin(req, exchange))
        exchange.sweeper.exchanges.add(exchange)
        try:
            error = await self._run(exchange)
            if exchange.socket is not None:
                error = await exchange.socket.finish(error)
        except BaseException:
            if exchange.socket is not None and not outer.exchange.closing:
                what = "a middleware cancelled the handler of a WebSocket half-way"
                exchange.socket.fail(ResponseAborted(what))
            raise
        else:
            if error is not None:  # past the middleware, which may swallow it
                (exchange.socket or outer.exchange).note_failure(error)
        finally:
            self.leave()
            exchange.leave()
            del exchange.head
        if error is None and exchange.state != ENDED:
            error = _end_of(exchange)
        try:
            if error is not None:
                raise error if isinstance(error, Exception) else Carried(error)
        finally:
            del error  # a circle, as above
