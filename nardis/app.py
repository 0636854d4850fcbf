"""
The application: the outermost router, and the ASGI entry.

Here one request becomes an exchange, a `req` and a `res`; the chain runs in the exchange's cancel scope, and what comes of it is
brought to an honest end.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from threading import current_thread, main_thread
from types import SimpleNamespace
from typing import Any, Literal, Protocol, TypeVar

import anyio

from ._asgi.extensions import ACCESS, CLIENT, ERRORS, Client, extension
from ._exchange.exchange import ENDED, IDLE, Exchange
from ._exchange.handshake import Handshake
from ._exchange.sweeper import Sweeper, interrupt_all
from ._failures import as_exception, explained, failure_of, name_of, parted, reduced
from ._http.request_head import checked_path
from .draining import Draining
from .errors import ClientDisconnected, HTTPError, ResponseAborted, StartFailed, UsageError
from .lifespan import run_lifespan
from .limits import Limits
from .request import Request
from .response import Response
from .routing import Router
from .routing.fallbacks import answer_problem
from .routing.walk import Walk, advance, answer_error, is_open, run_error_handler
from .tasks import Tasks
from .types import Receive, Scope, Send

__all__ = ["JSONCodec", "Nardis"]

logger: logging.Logger = logging.getLogger("nardis")


class JSONCodec(Protocol):
    """What encodes and decodes JSON: the `json` module's shape, which orjson and others share."""

    def dumps(self, obj: Any, /) -> str | bytes:
        """Encode."""
        ...

    def loads(self, data: bytes, /) -> Any:
        """Decode; anything that is not JSON is a ValueError."""
        ...


LifespanFunction = Callable[["Nardis"], AsyncIterator[None]]
L = TypeVar("L", bound=Callable[["Nardis"], AsyncIterator[None]])


class Nardis(Router):
    """
    A web application: an ASGI 3 callable, and a Router.

    Args:
        debug: Show tracebacks in answers to errors. Never in production.
        limits: Bounds on what one request may take.
        json: What encodes and decodes JSON; anything with `dumps` and `loads`.
        case_sensitive: Whether `/Users` and `/users` differ.
        strict: Whether `/users` and `/users/` differ.
        method_not_allowed: Answer 405 where only other methods match, else 404.
        cancel_on_disconnect: Cancel a handler when its client leaves. A route may say otherwise.

    Attributes:
        state: A place for what handlers share: `app.state.pool`.
        tasks: Background tasks that end with the application.
    """

    def __init__(
        self,
        *,
        debug: bool = False,
        limits: Limits | None = None,
        json: JSONCodec | None = None,
        case_sensitive: bool = True,
        strict: bool = False,
        method_not_allowed: bool = True,
        cancel_on_disconnect: bool = True,
    ) -> None:
        super().__init__(case_sensitive=case_sensitive, strict=strict)
        self.debug = debug
        self.limits: Limits = Limits() if limits is None else limits
        self.json_codec = json
        self.method_not_allowed = method_not_allowed
        self.cancel_on_disconnect = cancel_on_disconnect
        self.state: SimpleNamespace = SimpleNamespace()
        self.tasks: Tasks = Tasks()
        self._draining: Draining | None = None
        self._clock: Callable[[], float] = (
            time.monotonic
        )  # of everything below; tests have their own
        self._sweeper: Sweeper | None = None
        self._lifespan: LifespanFunction | None = None

    # --- what outlives requests ---------------------------------------------------------------------------------------

    def lifespan(self, generator: L) -> L:
        """
        Run an async generator function around the application's life.

        It goes up to its `yield` before the first request, and on from there after the last one.

        Raises:
            UsageError: There is one already; use a second application with its own, joined by `use()`.
        """
        if self._lifespan is not None:
            raise UsageError(f"this application has a lifespan already: {name_of(self._lifespan)}")
        self._lifespan = generator
        return generator

    @property
    def draining(self) -> Draining:
        """
        The notice that the server shuts down, for streams that have no end of their own: they can say goodbye.

        A download, or any stream that comes to its end, need not look at it: the shutdown waits for those as long as it can. New
        for each lifespan.
        """
        if self._draining is None:
            self._draining = Draining()
        return self._draining

    def _begin(self, sweeper: Sweeper) -> None:
        """Begin a lifespan: what lives as long is new, and shared with the applications joined to this one."""
        tasks, draining = Tasks(pending=True), Draining()
        for app in self._joined():
            app.tasks, app._draining = tasks, draining
        self._sweeper = sweeper

    def _end(self) -> None:
        self._sweeper = None

    def _interrupt(self) -> None:
        interrupt_all(() if self._sweeper is None else self._sweeper.exchanges, "shutdown")

    def _joined(self) -> Iterator[Nardis]:
        """Go through this application and those joined to it by `use()`, from the outside in."""
        return (router for router in self._below() if isinstance(router, Nardis))

    def listen(
        self,
        port: int = 3000,
        host: str = "127.0.0.1",
        *,
        backend: Literal["trio", "asyncio"] = "trio",
        **options: Any,
    ) -> None:
        """
        Serve this application until SIGINT or SIGTERM: hypercorn, on its trio worker unless *backend* says asyncio.

        *options* are those of `nardis.server.Config`. A start that fails ends the program: one line, and status 1.

        Outside of the main thread, as in `Thread(target=app.listen)`, there are no signals, and a start that fails is raised: it
        serves until the process ends. `nardis.server.serve()` can be stopped in a thread, too.
        """
        from .server import Config, run

        config = Config(
            bind=(f"[{host}]:{port}" if ":" in host else f"{host}:{port}",),
            backend=backend,
            **options,
        )
        try:
            run(self, config)
        except StartFailed as exc:
            if current_thread() is not main_thread():  # where nobody would see a SystemExit
                raise
            raise SystemExit(f"nardis: {exc}") from None

    # --- ASGI ---------------------------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope (ASGI 3)."""
        kind = scope["type"]
        if kind == "http":
            if self._sweeper is not None:
                await self._serve(scope, receive, send, self._sweeper)
            else:
                await self._serve_alone(self._serve, scope, receive, send)
        elif kind == "lifespan":
            await run_lifespan(self, scope, receive, send)
        elif kind == "websocket":
            if self._sweeper is not None:
                await self._serve_handshake(scope, receive, send, self._sweeper)
            else:
                await self._serve_alone(self._serve_handshake, scope, receive, send)
        else:
            raise UsageError(f"this ASGI scope is not supported: {kind!r}")

    async def _serve_alone(
        self, serve: Callable[..., Awaitable[None]], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve a request without a lifespan: it brings its own sweeper."""
        failure: Exception | None = None
        async with anyio.create_task_group() as group:
            sweeper = Sweeper(group, self._clock)
            group.start_soon(sweeper.run, name="nardis.sweeper")
            try:
                await serve(scope, receive, send, sweeper)
            except Exception as exc:
                failure = exc  # past the group, which would wrap it
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _serve(self, scope: Scope, receive: Receive, send: Send, sweeper: Sweeper) -> None:
        """Run the chain for one request, end the response it began, and see to what it left open."""
        exchange = Exchange(scope, receive, send, sweeper, self.limits)
        req = Request(scope, exchange, self)
        res = Response(req, exchange)
        client: Client | None = extension(scope, CLIENT)
        if client is not None:
            exchange.client, client.listener, client.claimed = client, exchange, True
        exchange.cancels = self.cancel_on_disconnect
        exchange.cancel_scope = sweeper.new_scope()
        sweeper.exchanges.add(exchange)
        error: BaseException | None = None
        try:
            try:
                with exchange.cancel_scope:
                    error = await self._run(req, res, exchange)
            except BaseException as exc:
                going, failure = parted(exc)
                if going is not None:
                    if failure is not None:
                        _log_late(req, failure, "in its clean-up")
                    if exchange.close_reason is None:
                        exchange.close_reason = (
                            "shutdown"  # a server cancels a handler for nothing else
                        )
                    raise going  # noqa: B904  # it is in *exc*
                error = reduced(
                    failure or exc
                )  # of a cancelled task group, whose cancellation our scope has kept
            if exchange.state != ENDED or error is not None:
                await self._settle(req, res, exchange, error)
        finally:
            sweeper.exchanges.discard(exchange)
            if exchange.close_reason is not None:
                _note(scope, exchange.close_reason)
            if exchange.intake is not None or exchange.deferred is not None:
                await exchange.clean_up()
            # These close circles, which would leave every request to the garbage collector.
            del exchange.head
            req._walk = None
            if client is not None:
                client.listener = None

    async def _serve_handshake(
        self, scope: Scope, receive: Receive, send: Send, sweeper: Sweeper
    ) -> None:
        """Run the chain for the opening of a WebSocket: somebody answers, which denies it, or is handed the connection."""
        exchange = Handshake(scope, receive, send, sweeper, self.limits)
        req = Request(exchange.scope, exchange, self)
        res = Response(req, exchange)
        try:
            error = await self._run(req, res, exchange)
            if error is not None:
                raise as_exception(error)
        finally:
            sweeper.exchanges.discard(exchange)
            await exchange.clean_up()
            del exchange.head
            req._walk = None

    async def _run(self, req: Request, res: Response, exchange: Exchange) -> BaseException | None:
        """Run the chain and end the response it began; give back the error that nobody could answer any more."""
        try:
            req._raw = path = checked_path(req.scope, exchange.fields, self.limits.headers)
            if path == b"*":  # OPTIONS for the server as a whole (RFC 9110 §9.3.7)
                await res.status(204).send()
            else:
                await advance(Walk(self, req, res, path))
            if exchange.state == ENDED or exchange.closing:
                return None
            if is_open(exchange):
                await exchange.conclude()
            return None
        except BaseException as exc:
            error = failure_of(exc)
        return (
            error
            if exchange.state != IDLE or exchange.closing
            else await self._answer_error(error, req, res)
        )

    async def _answer_error(
        self, error: BaseException, req: Request, res: Response
    ) -> BaseException | None:
        """Answer what came out of the chain; give back what is nothing to answer: the client left."""
        if isinstance(error, ClientDisconnected):
            return error
        try:
            if isinstance(error, HTTPError):  # of the front gate: no router was entered
                await answer_problem(error, req, res)
            else:
                await self._answer_500(error, req, res)
        except BaseException as exc:
            return failure_of(exc)
        return None

    async def _answer_500(self, error: BaseException, req: Request, res: Response) -> None:
        """Answer an error that nobody registered, outside of all middlewares."""
        explained(error)
        logger.error("%s %s failed: %s", req.method, req.original_url, error, exc_info=error)
        _report(req, error)
        handler = self._error_handlers.get(500)
        if handler is not None:
            again = await run_error_handler(handler, error, req, res)
            if again is None or res.started:
                return
            logger.error("the handler of status 500 failed too: %s", again, exc_info=again)
        await answer_problem(HTTPError(500), req, res, error if self.debug else None)

    async def _settle(
        self, req: Request, res: Response, exchange: Exchange, error: BaseException | None
    ) -> None:
        """Bring an exchange that did not end by itself to an honest end: an answer, silence, or a visible cut."""
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
                detail = (
                    "the request body stopped arriving"
                    if status == 408
                    else f"the handler was ended: {reason}"
                )
                await self._answer_anew(HTTPError(status, detail), req, res, exchange)
        elif exchange.state == IDLE and error is not None:
            await self._answer_anew(error, req, res, exchange)
        else:
            if not known or reason is not None:
                _log_cut(req, error, reason, res.bytes_sent)
            raise (
                ResponseAborted(f"the response was cut: {reason or 'res.abort()'}")
                if error is None
                else as_exception(error)
            )

    async def _answer_anew(
        self, error: BaseException, req: Request, res: Response, exchange: Exchange
    ) -> None:
        """Answer in a fresh scope, after a limit, the shutdown or a fault ended the handler before the head left."""
        exchange.closing = False
        exchange.cancel_scope = None
        exchange.since = exchange.sweeper.clock()
        with exchange.own_scope():
            try:
                walk = req._walk
                await (
                    self._answer_error(error, req, res)
                    if walk is None
                    else answer_error(walk, error)
                )
            except BaseException as exc:
                await self._answer_500(failure_of(exc), req, res)
        if exchange.state != ENDED and not exchange.gone:
            raise ResponseAborted(f"the response was cut: {exchange.close_reason}")


def _log_late(req: Request, error: BaseException, when: str) -> None:
    """Log an error that comes too late to be answered."""
    logger.error(
        "%s %s failed %s: %s", req.method, req.original_url, when, error, exc_info=explained(error)
    )
    _report(req, error)


def _log_cut(req: Request, error: BaseException | None, reason: str | None, size: int) -> None:
    """Log that a response was cut: by the shutdown it is nobody's fault, by a limit or a request it may be the client's."""
    level, exc_info = logging.ERROR, error
    if error is None or isinstance(error, (ClientDisconnected, ResponseAborted)):
        level = logging.INFO if reason == "shutdown" else logging.WARNING
    elif isinstance(error, HTTPError) and error.status < 500:
        level, exc_info = logging.WARNING, None
    else:
        explained(error)
    logger.log(
        level, "%s %s failed after %d body bytes, truncated=True: %s",
        req.method, req.original_url, size, error or reason, exc_info=exc_info, extra={"truncated": True},
    )  # fmt: skip


def _note(scope: Scope, reason: str) -> None:
    """Tell the access log of `nardis.server` why the exchange was closed."""
    notes = extension(scope, ACCESS)
    if notes is not None:
        notes["close_reason"] = reason


def _report(req: Request, error: BaseException) -> None:
    """Hand an error that was answered with a 500 to a test client, which asks for it in the scope."""
    errors = extension(req.scope, ERRORS)
    if errors is not None:
        errors.append(error)
