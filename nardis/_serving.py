"""
From a scope to an honest end: one request, or the opening of one WebSocket.

The chain runs in the exchange's cancel scope. What it leaves open is brought to an end here: an
answer, silence towards a client that left, or a visible cut.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol

import anyio

from ._asgi.extensions import ACCESS, CLIENT, ERRORS, Client, extension
from ._exchange.exchange import ENDED, IDLE, Exchange
from ._exchange.handshake import Handshake
from ._exchange.sweeper import Sweeper
from ._failures import as_exception, explained, failure_of, parted, reduced
from ._http.request_head import check_head
from .errors import ClientDisconnected, HTTPError, ResponseAborted
from .handlers import ErrorHandler
from .request import Request
from .response import Response
from .routing.fallbacks import answer_problem
from .routing.walk import OVER, Root, Table, advance, answer_error, run_error_handler
from .types import App, Receive, Scope, Send

__all__ = ["serve_alone", "serve_http", "serve_websocket"]

logger: logging.Logger = logging.getLogger("nardis")

# Where the scope of the handler is there already, around the whole connection.
AROUND: Final[AbstractContextManager[None]] = nullcontext()


class Served(App, Table, Protocol):
    """
    An application, as it is served: its options, and its table of routes.

    Attributes:
        cancel_on_disconnect: Whether a handler is cancelled when its client leaves.
        error_handlers: By exception type or status.
    """

    cancel_on_disconnect: bool
    error_handlers: dict[type[BaseException] | int, ErrorHandler]


async def serve_alone(
    serve: Callable[[Sweeper], Awaitable[None]], clock: Callable[[], float]
) -> None:
    """Serve a request without a lifespan: it brings its own sweeper."""
    failure: Exception | None = None
    async with anyio.create_task_group() as group:
        sweeper = Sweeper(group, clock)
        group.start_soon(sweeper.run, name="nardis.sweeper")
        try:
            await serve(sweeper)
        except Exception as exc:
            failure = exc  # past the group, which would wrap it
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def serve_http(
    app: Served, scope: Scope, receive: Receive, send: Send, sweeper: Sweeper
) -> None:
    """Run the chain for one request, end the response it began, and see to what it left open."""
    exchange = Exchange(scope, receive, send, sweeper, app.limits)
    trail = Root(app)
    trail.req = req = Request(scope, exchange, app, trail)
    trail.res = exchange.head = Response(req, exchange)
    # As extension() does; a call would cost one percent of a plain request.
    extensions = scope.get("extensions")
    client: Client | None = extensions.get(CLIENT) if extensions else None
    if client is not None:
        exchange.client, client.listener, client.claimed = client, exchange, True
    exchange.cancels = app.cancel_on_disconnect
    lent: anyio.CancelScope | None = getattr(client, "scope", None)  # absent and None are the same
    exchange.cancel_scope = sweeper.new_scope() if lent is None else lent
    sweeper.exchanges.add(exchange)
    error: BaseException | None = None
    try:
        try:
            with exchange.cancel_scope if lent is None else AROUND:
                # The same as _run(), without one more coroutine around the whole request.
                try:
                    trail.raw = path = check_head(scope, exchange.fields, app.limits.headers)
                    trail.layers, trail.segments = app.plan(path, None)
                    trail.walk = trail
                    if path == b"*":
                        _answer_for_all(trail)
                    await advance(trail)
                    if exchange.state != ENDED and not exchange.closing:
                        await exchange.finish(trail.silent)
                except BaseException as exc:
                    error = failure_of(exc)
                if error is not None:
                    error = await _answered(app, error, trail, exchange)
        except BaseException as exc:
            error = _error_of(exc, req, exchange, lent)
        if exchange.state != ENDED or error is not None:
            await _settle(app, trail, exchange, error)
    finally:
        sweeper.exchanges.discard(exchange)
        if exchange.close_reason is not None:
            _note(scope, exchange.close_reason)
        if exchange.intake is not None:
            exchange.close_body()
        if exchange.deferred:
            if client is not None:
                client.answered()
            await exchange.run_deferred()
        # These close circles, which would leave every request to the garbage collector. Not `del`,
        # which costs ten times as much.
        exchange.head = trail.req = trail.res = trail.trail = None  # type: ignore[assignment]  # it is over
        trail.walk = trail.onward = None
        trail.ticket = OVER
        exchange.cancel_scope = None  # a scope that was lent is another call's from now on
        if client is not None:
            client.listener = None


def _error_of(
    exc: BaseException, req: Request, exchange: Exchange, lent: anyio.CancelScope | None
) -> BaseException | None:
    """Return what failed beside the cancellation of our own scope; one from outside goes on."""
    going, failure = parted(exc)
    if going is not None and lent is not None and exchange.closing and lent.cancel_called:
        return None if failure is None else reduced(failure)  # as a scope of our own would do it
    if going is not None:
        if failure is not None:
            _log_late(req, failure, "in its clean-up")
        if exchange.close_reason is None:
            exchange.close_reason = "shutdown"  # a server cancels a handler for nothing else
        raise going
    return reduced(
        failure or exc
    )  # of a cancelled task group, whose cancellation our scope has kept


async def serve_websocket(
    app: Served, scope: Scope, receive: Receive, send: Send, sweeper: Sweeper
) -> None:
    """Run the chain for the opening of a WebSocket: it denies the connection, or hands it over."""
    exchange = Handshake(scope, receive, send, sweeper, app.limits)
    trail = Root(app)
    trail.req = req = Request(exchange.scope, exchange, app, trail)
    trail.res = exchange.head = Response(req, exchange)
    try:
        error = await _run(app, trail, exchange)
        if error is not None:
            raise as_exception(error)
    finally:
        sweeper.exchanges.discard(exchange)
        exchange.close_body()
        await exchange.run_deferred()
        exchange.head = trail.req = trail.res = trail.trail = None  # type: ignore[assignment]  # as above
        trail.walk = trail.onward = None
        trail.ticket = OVER


async def _run(app: Served, trail: Root, exchange: Exchange) -> BaseException | None:
    """Run the chain and end the response it began; return an error that came too late."""
    try:
        trail.raw = path = check_head(exchange.scope, exchange.fields, app.limits.headers)
        trail.layers, trail.segments = app.plan(path, None)
        trail.walk = trail
        await advance(trail)
        if exchange.state != ENDED and not exchange.closing:
            await exchange.finish(trail.silent)
        return None
    except BaseException as exc:
        error = failure_of(exc)
    return await _answered(app, error, trail, exchange)


def _answer_for_all(trail: Root) -> None:
    """Let the walk answer `OPTIONS *`, which no route can match (RFC 9110 §9.3.7)."""
    trail.layers, trail.onward = [], lambda: trail.res.status(204).send()


async def _answered(
    app: Served, error: BaseException, trail: Root, exchange: Exchange
) -> BaseException | None:
    """Answer *error* if that is still possible; else return it."""
    if exchange.state != IDLE or exchange.closing:
        return error
    return await _answer_error(app, error, trail)


async def _answer_error(app: Served, error: BaseException, trail: Root) -> BaseException | None:
    """Answer what came out of the chain; return what cannot be answered: the client left."""
    if isinstance(error, ClientDisconnected):
        return error
    try:
        if isinstance(error, HTTPError):  # of the head: no router was entered
            await answer_problem(error, trail.req, trail.res)
        else:
            await _answer_500(app, error, trail)
    except BaseException as exc:
        return failure_of(exc)
    return None


async def _answer_500(app: Served, error: BaseException, trail: Root) -> None:
    """Answer an error that nobody registered, outside of all middlewares."""
    req, res = trail.req, trail.res
    explained(error)
    logger.error("%s %s failed: %s", req.method, req.original_url, error, exc_info=error)
    _report(req, error)
    handler = app.error_handlers.get(500)
    if handler is not None:
        again = await run_error_handler(handler, error, req, res)
        if again is None or res.started:
            return
        logger.error("the handler of status 500 failed too: %s", again, exc_info=again)
    await answer_problem(HTTPError(500), req, res, error if app.debug else None)


async def _settle(
    app: Served, trail: Root, exchange: Exchange, error: BaseException | None
) -> None:
    """Bring what did not end by itself to an honest end: an answer, silence, or a cut."""
    req = trail.req
    reason = exchange.close_reason
    error = error or exchange.failure
    known = error is None or isinstance(error, (ClientDisconnected, ResponseAborted))
    if exchange.gone or exchange.state == ENDED:
        if error is not None and not known:
            _log_late(req, error, "after its end")
    elif exchange.state == IDLE and (known or reason is not None):
        if error is not None and not known:
            _log_late(req, error, "in its clean-up")
        if reason is not None:
            status = exchange.timeout_status
            stopped = "the request body stopped arriving"
            detail = stopped if status == 408 else f"the handler was ended: {reason}"
            await _answer_anew(app, HTTPError(status, detail), trail, exchange)
    elif exchange.state == IDLE and error is not None:
        await _answer_anew(app, error, trail, exchange)
    else:
        if not known or reason is not None:
            _log_cut(req, error, reason, exchange.written)
        if error is not None:
            raise as_exception(error)
        raise ResponseAborted(f"the response was cut: {reason or 'res.abort()'}")


async def _answer_anew(app: Served, error: BaseException, trail: Root, exchange: Exchange) -> None:
    """
    Answer in a fresh scope.

    A limit, the shutdown or a fault ended the handler before the head left. A scope that was lent
    stays cancelled around it.
    """
    exchange.closing = False
    exchange.cancel_scope = None
    exchange.since = exchange.sweeper.clock()
    lent = getattr(exchange.client, "scope", None) is not None
    with exchange.own_scope(shield=lent):
        try:
            await answer_error(trail.walk or trail, error)
        except BaseException as exc:
            await _answer_500(app, failure_of(exc), trail)
    if exchange.state != ENDED and not exchange.gone:
        raise ResponseAborted(f"the response was cut: {exchange.close_reason}")


def _log_late(req: Request, error: BaseException, when: str) -> None:
    """Log an error that comes too late to be answered."""
    logger.error(
        "%s %s failed %s: %s", req.method, req.original_url, when, error, exc_info=explained(error)
    )
    _report(req, error)


def _log_cut(req: Request, error: BaseException | None, reason: str | None, size: int) -> None:
    """
    Log that a response was cut.

    By the shutdown it is nobody's fault; by a limit or a request it may be the client's.
    """
    level, exc_info = logging.ERROR, error
    if error is None or isinstance(error, (ClientDisconnected, ResponseAborted)):
        level = logging.INFO if reason == "shutdown" else logging.WARNING
    elif isinstance(error, HTTPError) and error.status < 500:
        level, exc_info = logging.WARNING, None
    else:
        explained(error)
    text = "%s %s failed after %d body bytes, truncated=True: %s"
    details = (req.method, req.original_url, size, error or reason)
    logger.log(level, text, *details, exc_info=exc_info, extra={"truncated": True})


def _note(scope: Scope, reason: str) -> None:
    """Tell the access log of `nardis.server` why the exchange was closed."""
    notes = extension(scope, ACCESS)
    if notes is not None:
        notes["close_reason"] = reason


def _report(req: Request, error: BaseException) -> None:
    """Hand an error that was answered with a 500 to a test client that asks for it."""
    errors = extension(req.scope, ERRORS)
    if errors is not None:
        errors.append(error)
