"""
From a scope to an honest end: one request, or the opening of one WebSocket.

The chain runs in the exchange's cancel scope. What it leaves open is brought to an end here: an
answer, silence towards a client that left, or a visible cut.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from typing import Any, Final, Protocol, cast

import anyio

from ._asgi.extensions import CLIENT, Cancels, Client, extension
from ._exchange.exchange import ENDED, IDLE, Exchange
from ._exchange.handshake import Handshake
from ._exchange.socket import Socket
from ._exchange.sweeper import Sweeper
from ._failures import (
    as_exception,
    described,
    exc_info_of,
    explained,
    failure_of,
    message_of,
    one_line,
    parted,
    reduced,
)
from ._http.hosts import HostPatterns
from ._http.request_head import check_fields, check_head, path_of
from ._reports import asked, log_cut, log_late, note, report
from ._untagged import untag
from .errors import ClientDisconnected, HTTPError, ResponseAborted, SkipRoute
from .handlers import ErrorHandler
from .request import Request
from .response import Response
from .routing.fallbacks import answer_problem
from .routing.layer import Plan
from .routing.straight import first_next, is_alone, layer_at, match_lone
from .routing.walk import (
    OVER,
    Root,
    Table,
    advance,
    answer_error,
    end_trail,
    look_back,
    run_error_handler,
)
from .types import App, Receive, Scope, Send

__all__ = ["serve", "serve_alone", "serve_websocket"]

logger: logging.Logger = logging.getLogger("nardis")


_NONE: Final[Mapping[str, Any]] = {}  # no extensions


class Lives(Protocol):
    """What lives as long as an application: its sweeper, None where no lifespan runs."""

    sweeper: Sweeper | None


class Served(App, Table, Protocol):
    """
    An application, as it is served: its options, and its table of routes.

    Attributes:
        cancel_on_disconnect: Whether a handler is cancelled when its client leaves.
        hosts: Those it answers for; None is any.
        error_handlers: By exception type or status.
        known: Raw paths of which all is known that matches them.
        etag: Whether an answer in one piece is given an ETag.
        is_plain: It answers for any host and gives ETags, so that no request has to be prepared.
    """

    cancel_on_disconnect: bool
    hosts: HostPatterns | None
    error_handlers: dict[type[BaseException] | int, ErrorHandler]
    known: dict[bytes, Plan | None]
    etag: bool
    is_plain: bool

    def begin_trail(self, req: Request, /) -> Root:
        """Return the trail of a request, which begins with the first call."""
        ...

    @property
    def life(self) -> Lives:
        """What lives as long as the application."""
        ...

    async def serve_otherwise(
        self, scope: Scope, receive: Receive, send: Send, sweeper: Sweeper | None, /
    ) -> None:
        """Serve what is no request, or a request without a lifespan."""
        ...


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
    try:
        if failure is not None:
            raise failure
    finally:
        del failure  # a circle: its traceback has this frame


async def serve(
    app: Served, scope: Scope, receive: Receive, send: Send, sweeper: Sweeper | None = None
) -> None:
    """Serve one ASGI scope, a request to its honest end; *sweeper* is for Nardis itself."""
    sweeper = sweeper or app.life.sweeper
    if sweeper is None or scope["type"] != "http":
        return await app.serve_otherwise(scope, receive, send, sweeper)
    exchange = Exchange().begin(scope, receive, send, sweeper, app.limits)
    req = Request().begin(scope, exchange, app)
    exchange.head = res = Response().begin(req, exchange)
    exchange.cancels = app.cancel_on_disconnect
    client: Client | None = (scope.get("extensions") or _NONE).get(CLIENT)  # without a call
    lent = None if client is None else _meet(client, exchange)
    raw: bytes = scope.get("raw_path") or b""
    plan = None if scope.get("root_path") else app.known.get(raw)
    own: anyio.CancelScope | None = None
    if lent is None and (exchange.cancels or not is_alone(plan, exchange)):
        # A `with`, written out: where none is needed, one that does nothing would cost 2 percent.
        new_scope = sweeper.new_scope  # as in Lifetime.begin_life()
        own = exchange.cancel_scope = new_scope().__enter__()
    sweeper.exchanges.add(exchange)
    error: BaseException | None = None
    first: Callable[..., Awaitable[object]] | None = None
    try:
        try:
            # The same as _run(), without one more coroutine around the whole request.
            try:
                first = _first_handler(app, req, exchange, raw, plan)
                if first is None:
                    await advance(req.way)
                else:
                    lone = req.found[2] is not None
                    got = await (first(req, res) if lone else first(req, res, first_next(req)))
                    if exchange.state != ENDED or res.unawaited is not None:
                        look_back(req, res, first, got, layer_at(req) == 1)
                    first = None
                if exchange.state != ENDED and not exchange.closing:
                    await exchange.finish(None if req.way is None else req.way.silent)
            except BaseException as exc:
                error = failure_of(exc)
            if error is not None:
                error = await _answered(app, error, req, exchange, first is not None)
            if own is not None:
                left, own = own, None  # once: a second time would hide what is wrong with it
                left.__exit__(None, None, None)
        except BaseException as exc:
            error = _error_of(exc if own is None else _past(own, exc), req, exchange, lent)
        if exchange.state != ENDED or error is not None:
            await _settle(app, req, exchange, error)
    finally:
        error = None  # a circle: its traceback has this frame
        sweeper.exchanges.discard(exchange)
        if exchange.close_reason is not None:
            note(scope, exchange.close_reason)
        if exchange.intake is not None or exchange.pulse is not None:
            exchange.let_go()
        if exchange.deferred or exchange.pulse is not None:
            if client is not None:
                client.answered()
            await exchange.run_deferred()
        _part(req, exchange)


def _meet(client: Client, exchange: Exchange) -> Cancels | None:
    """Let exchange and client know each other; return the scope that was lent."""
    exchange.client, client.listener, client.claimed = client, exchange, True
    exchange.cancel_scope = getattr(client, "scope", None)  # absent and None are the same
    return exchange.cancel_scope


def _part(req: Request, exchange: Exchange) -> None:
    """Learn from the request, and open the circles, which are the garbage collector's work."""
    if exchange.operations is not None and req.found is not None:
        req.found[1][0][0][0].streams = True  # the first layer
    # Not `del`, which costs ten times as much.
    exchange.head = exchange.intake = exchange.pulse = exchange.failure = None  # type: ignore[assignment]  # over
    exchange.gone = True  # for who reads on: the server is not asked again
    exchange.cancel_scope = None  # a scope that was lent is another call's from now on
    if exchange.client is not None:
        exchange.client.listener = None
    req.at = OVER
    if req.way is not None:
        end_trail(req.way)


def _first_handler(
    app: Served, req: Request, exchange: Exchange, raw: bytes, plan: Plan | None
) -> Callable[..., Awaitable[object]] | None:
    """
    Check the head, and find the way through the table; *plan* is that of *raw* if it is known.

    Return the first function on the straight way. For any other way begin a trail.
    """
    scope = exchange.scope
    check_fields(scope["headers"], exchange.fields, app.limits.headers)
    if not app.is_plain:
        _prepare(app, req)
    if plan is None:
        raw = path_of(scope, exchange.fields)
        plan = app.plan(raw, None)
    layers, segments, through = plan
    if layers:
        layer, match = layers[0]
        if layer.only is not None:
            if layer.method == req.method:
                match = match or match_lone(layer, segments)
                if match is not None:
                    req.found = raw, plan, layer, match[0] or {}
                    return layer.only
        elif through[0] is not None and raw != b"*":
            req.found = raw, plan, None, None
            return through[0]
    req.way = Root(app, req, raw, plan)
    if raw == b"*":
        _answer_for_all(req.way)
    return None


def _prepare(app: Served, req: Request) -> None:
    """Refuse a host that the application does not answer for; have no ETags if it wants none."""
    if not app.etag:
        untag(cast("Response", req.exchange.head))
    if app.hosts is not None and not app.hosts.match(req.hostname):
        raise HTTPError(400, "this host is not served here: see Nardis(allowed_hosts=...)")


def _answer_for_all(trail: Root) -> None:
    """Let the walk answer `OPTIONS *`, which no route can match (RFC 9110 §9.3.7)."""
    trail.layers, trail.onward = [], lambda: trail.res.status(204).send()


def _past(scope: anyio.CancelScope, exc: BaseException) -> BaseException | None:
    """Leave *scope* as `with` does; return what of *exc* is left outside."""
    try:
        return None if scope.__exit__(type(exc), exc, exc.__traceback__) else exc
    except BaseException as left:  # a part of a group
        return left
    finally:
        del exc  # a circle: its traceback has this frame


def _error_of(
    exc: BaseException | None, req: Request, exchange: Exchange, lent: Cancels | None
) -> BaseException | None:
    """Return what failed beside the cancellation of our own scope; one from outside goes on."""
    if exc is None:
        return None
    going, failure = parted(exc)
    try:
        if going is not None and lent is not None and exchange.closing and lent.cancel_called:
            # As a scope of our own would do it.
            return None if failure is None else reduced(failure)
        if going is not None:
            if failure is not None:
                log_late(req, failure, "in its clean-up")
            if exchange.close_reason is None:
                exchange.close_reason = "shutdown"  # a server cancels a handler for nothing else
            raise going
        # Of a cancelled task group, whose cancellation our scope has kept.
        return reduced(failure or exc)
    finally:
        del exc, going, failure  # a circle: its traceback has this frame


async def serve_websocket(
    app: Served, scope: Scope, receive: Receive, send: Send, sweeper: Sweeper
) -> None:
    """
    Serve a WebSocket to its honest end: its opening, as a request, and its conversation.

    The chain may also hand the connection over, to an application that is mounted.
    """
    exchange = Handshake(scope, receive, send, sweeper, app.limits)
    exchange.meet(extension(scope, CLIENT))
    req = Request().begin(exchange.scope, exchange, app)
    exchange.head = Response().begin(req, exchange)
    exchange.cancels = app.cancel_on_disconnect
    sweeper.exchanges.add(exchange)
    error: BaseException | None = None
    try:
        try:
            with sweeper.new_scope() as exchange.cancel_scope:
                error = await _run(app, req, exchange)
        except BaseException as exc:
            error = _error_of(exc, req, exchange, None)
        if exchange.socket is not None:
            await _conclude(req, exchange.socket, error)
        elif exchange.is_handed_over:
            if error is not None and not isinstance(error, ClientDisconnected):
                raise as_exception(error)
        elif exchange.state != ENDED or error is not None:
            await _settle(app, req, exchange, error)
    finally:
        error = None  # a circle, as above
        note(scope, exchange.close_reason, exchange.close_code)
        exchange.leave()
        await exchange.run_deferred()
        _part(req, exchange)


async def _conclude(req: Request, socket: Socket, error: BaseException | None) -> None:
    """Close a WebSocket whose handler has ended, and log what it raised."""
    error = await socket.finish(error or socket.failure)
    said = None
    is_foreseen = isinstance(error, HTTPError) and error.status < 500  # the client's fault
    if is_foreseen or isinstance(error, ResponseAborted):
        said = one_line(message_of(error))  # it may have in it what the client said
    elif error is not None:
        log_late(req, error, "after it was accepted")
    elif socket.close_reason == "deadline":
        said = "the handler took too long"
    if said is not None:
        logger.warning("%s %s was closed with %s: %s", *asked(req), socket.close_code, said)
    if socket.close_reason == "stalled":
        raise ResponseAborted("the WebSocket was cut: its client takes nothing")


async def _run(app: Served, req: Request, exchange: Exchange) -> BaseException | None:
    """Run the chain and end the response it began; return an error that came too late."""
    try:
        raw = check_head(exchange.scope, exchange.fields, app.limits.headers)
        if not app.is_plain:
            _prepare(app, req)
        req.way = Root(app, req, raw, app.plan(raw, None))
        await advance(req.way)
        if exchange.state != ENDED and not exchange.closing:
            await exchange.finish(req.trail.silent)
        return None
    except BaseException as exc:
        error = failure_of(exc)
    try:
        return await _answered(app, error, req, exchange, False)
    finally:
        del error  # a circle: its traceback has this frame


async def _answered(
    app: Served, error: BaseException, req: Request, exchange: Exchange, is_new: bool
) -> BaseException | None:
    """
    Answer *error* if that is still possible; else return it.

    A new one was offered to nobody yet: the first function on the straight way raised it.
    """
    try:
        if is_new:
            try:
                await _offer(app.begin_trail(req), error, exchange)
            except BaseException as exc:
                error = failure_of(exc)
            else:
                return None
        if exchange.state != IDLE or exchange.closing:
            return error
        return await _answer_error(app, error, req)
    finally:
        del error  # a circle: its traceback has this frame


async def _offer(trail: Root, error: BaseException, exchange: Exchange) -> None:
    """Let the routers answer what was raised on the straight way; else raise it."""
    try:
        if not isinstance(error, SkipRoute):
            await answer_error(trail, error)
        elif trail.ticket == 1:  # not after its next(): the rest has run
            has_scope = exchange.cancel_scope is not None
            with nullcontext() if has_scope else exchange.own_scope():
                await advance(trail, 1, 1)
        if exchange.state != ENDED and not exchange.closing:
            await exchange.finish(trail.silent)
    finally:
        del error  # a circle, as above


async def _answer_error(app: Served, error: BaseException, req: Request) -> BaseException | None:
    """Answer what came out of the chain; return what cannot be answered: the client left."""
    if isinstance(error, ClientDisconnected):
        return error
    try:
        if isinstance(error, HTTPError):  # of the head: no router was entered
            await answer_problem(error, req, app.begin_trail(req).res)
        else:
            await _answer_500(app, error, app.begin_trail(req))
    except BaseException as exc:
        return failure_of(exc)
    return None


async def _answer_500(app: Served, error: BaseException, trail: Root) -> None:
    """Answer an error that nobody registered, outside of all middlewares."""
    req, res = trail.req, trail.res
    explained(error)
    details = (*asked(req), described(error))
    logger.error("%s %s failed: %s", *details, exc_info=exc_info_of(error))
    report(req, error)
    handler = app.error_handlers.get(500)
    if handler is not None:
        again = await run_error_handler(handler, error, req, res)
        if again is None or res.started:
            return
        said = described(again)
        logger.error("the handler of status 500 failed too: %s", said, exc_info=exc_info_of(again))
    await answer_problem(HTTPError(500), req, res, error if app.debug else None)


async def _settle(
    app: Served, req: Request, exchange: Exchange, error: BaseException | None
) -> None:
    """Bring what did not end by itself to an honest end: an answer, silence, or a cut."""
    reason = exchange.close_reason
    failed = exchange.failure is not None  # also where a middleware has kept quiet about it
    if error is None or isinstance(error, ResponseAborted):
        error = exchange.failure or error  # a write behind a failure says only that it was cut
    known = error is None or isinstance(error, (ClientDisconnected, ResponseAborted))
    if exchange.gone or exchange.state == ENDED:
        if error is not None and not known:
            log_late(req, error, "after its end")
    elif exchange.state == IDLE and (known or reason is not None):
        if error is not None and not known:
            log_late(req, error, "in its clean-up")
        if reason is not None:
            status = exchange.timeout_status
            stopped = "the request body stopped arriving"
            detail = stopped if status == 408 else f"the handler was ended: {reason}"
            await _answer_anew(app, HTTPError(status, detail), req, exchange)
    elif exchange.state == IDLE and error is not None:
        await _answer_anew(app, error, req, exchange)
    else:
        if failed or not known or reason is not None:
            log_cut(req, error, reason, exchange.written)
        try:
            if error is not None:
                raise as_exception(error)
        finally:
            del error  # a circle, as in _answered()
        raise ResponseAborted(f"the response was cut: {reason or 'res.abort()'}")


async def _answer_anew(app: Served, error: BaseException, req: Request, exchange: Exchange) -> None:
    """
    Answer in a fresh scope.

    A limit, the shutdown or a fault ended the handler before the head left. A scope that was lent
    stays cancelled around it.
    """
    trail = app.begin_trail(req)
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
