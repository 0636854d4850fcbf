"""The application: the outermost router, with options, state and a lifespan; and the ASGI entry."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from functools import partial
from threading import current_thread, main_thread
from types import SimpleNamespace
from typing import Any, Literal, TypeVar, cast

from ._exchange.sweeper import Sweeper
from ._failures import name_of
from ._http.forwarded import Trust, TrustProxy, compile_trust
from ._http.hosts import HostPatterns, compile_hosts
from ._http.origins import check_origins
from ._http.signing import Signer
from ._models import as_codec
from ._serving import serve, serve_alone, serve_websocket
from .draining import Draining
from .errors import StartFailed, UsageError
from .lifespan import Life, check_lifespan, refuse
from .limits import Limits, check_limits
from .request import Request
from .routing.router import Router
from .routing.walk import OVER, Root, end_trail
from .tasks import Tasks
from .types import JSONCodec, Receive, Scope, Send

__all__ = ["Nardis"]

L = TypeVar("L", bound=Callable[["Nardis"], AsyncIterator[None]])


class Nardis(Router):
    """
    A web application: an ASGI 3 callable, and a Router.

    Args:
        debug: Show tracebacks in answers to errors. Never in production.
        limits: What one request may cost.
        trust_proxy: Which proxies are believed when they say who the client is: how many stand in
            front of the server (`1`), or their addresses, networks or names (`"loopback"`,
            `"10.0.0.0/8"`), in a list or separated by commas. True believes everybody.
        allowed_hosts: The hosts that this application answers for: `["example.com",
            "*.example.com"]`. Any other is a 400. None answers for all.
        secret_keys: What signs cookies: the first of them; all verify, so that a new one can be put
            before the old. Each has 32 bytes or more.
        json: What encodes and decodes JSON: msgspec, orjson, or anything with `dumps` and `loads`.
        errors: The form of answers to errors. It follows the client's Accept; where that takes
            anything, as `*/*`, `"auto"` gives plain text, and `"problem"` problem details (RFC
            9457), as an API should. A client that asks for HTML gets HTML.
        websocket_origins: The pages that may open WebSockets beside those of the same origin:
            `["https://app.example.com"]`, or `"*"` for all. A route may say otherwise. What is no
            browser sends no Origin, and is let in.
        etag: Give each 200 that `res.send()` and `res.json()` send for a GET or HEAD a weak ETag,
            and answer a client that has it with a 304. `res.etag()` and files have theirs anyway.
        case_sensitive: Whether `/Users` and `/users` differ.
        strict: Whether `/users` and `/users/` differ.
        method_not_allowed: Answer 405 where only other methods match, else 404.
        cancel_on_disconnect: Cancel a handler when its client leaves. A route may say otherwise.

    Attributes:
        state: A place for what handlers share: `app.state.pool`.
        life: For Nardis itself: what lives as long as the application.
        is_plain: For Nardis itself: no request has to be prepared.
    """

    def __init__(
        self,
        *,
        debug: bool = False,
        limits: Limits | None = None,
        trust_proxy: TrustProxy = 0,
        allowed_hosts: Iterable[str] | None = None,
        secret_keys: Sequence[str | bytes] = (),
        json: object | None = None,
        errors: Literal["auto", "problem"] = "auto",
        websocket_origins: str | Iterable[str] | None = None,
        etag: bool = True,
        case_sensitive: bool = True,
        strict: bool = False,
        method_not_allowed: bool = True,
        cancel_on_disconnect: bool = True,
    ) -> None:
        super().__init__(case_sensitive=case_sensitive, strict=strict)
        if errors not in ("auto", "problem"):
            raise UsageError(f'errors is "auto" or "problem", not {errors!r}')
        check_limits(limits)
        self.errors: Literal["auto", "problem"] = errors
        self.debug = debug
        self.limits: Limits = Limits() if limits is None else limits
        self.json_codec: JSONCodec | None = None if json is None else as_codec(json)
        self.trust: Trust = compile_trust(trust_proxy)
        self.hosts: HostPatterns | None = (
            None if allowed_hosts is None else compile_hosts(allowed_hosts)
        )
        self.signer: Signer = Signer(secret_keys)
        self.websocket_origins: frozenset[str] = check_origins(
            "Nardis(websocket_origins=...)", websocket_origins or ()
        )
        self.etag = etag
        self.is_plain: bool = etag and self.hosts is None
        self.method_not_allowed = method_not_allowed
        self.cancel_on_disconnect = cancel_on_disconnect
        self.given: Mapping[str, object] | None = _other_than_default(
            ("debug", debug, False),
            ("limits", self.limits, Limits()),
            ("trust_proxy", self.trust, compile_trust(0)),
            ("allowed_hosts", self.hosts, None),
            ("secret_keys", self.signer.keys, ()),
            ("json", json, None),
            ("errors", errors, "auto"),
            ("websocket_origins", self.websocket_origins or None, None),
            ("etag", etag, True),
            ("method_not_allowed", method_not_allowed, True),
            ("cancel_on_disconnect", cancel_on_disconnect, True),
        )
        self.state: SimpleNamespace = SimpleNamespace()
        self.life: Life = Life(self)

    # --- what outlives requests -------------------------------------------------------------------

    def lifespan(self, generator: L) -> L:
        """
        Run an async generator function around the application's life.

        It goes up to its `yield` before the first request, and on from there after the last one.

        A task group may stand around the `yield`. If a task of it fails, the lifespan is over, and
        the application cannot go on: our server drains and stops, and on another one requests get
        503. What may fail alone is for `tasks`.

        Raises:
            UsageError: It is no async generator function. Or there is one already; use a second
                application with its own, joined by `use()`.
        """
        check_lifespan(generator)
        if self.life.function is not None:
            raise UsageError(
                f"this application has a lifespan already: {name_of(self.life.function)}"
            )
        self.life.function = generator
        return generator

    @property
    def tasks(self) -> Tasks:
        """Background tasks that end with the application."""
        return self.life.tasks

    @property
    def draining(self) -> Draining:
        """
        The notice that the server shuts down.

        Streams that have no end of their own can say goodbye then.

        A download, or any stream that comes to its end, need not look at it: the shutdown waits for
        those as long as it can. New for each lifespan.
        """
        return self.life.draining

    def listen(
        self,
        port: int = 3000,
        host: str = "127.0.0.1",
        *,
        backend: Literal["trio", "asyncio"] = "trio",
        **options: Any,
    ) -> None:
        """
        Serve this application until SIGINT or SIGTERM, on trio unless *backend* says asyncio.

        *options* are those of `nardis.server.Config`. If the server cannot start, it prints one
        line, and the program ends with status 1.

        Outside of the main thread, as in `Thread(target=app.listen)`, there are no signals, and a
        start that fails is raised: it serves until the process ends. `nardis.server.serve()` can be
        stopped in a thread, too.
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

    # --- ASGI -----------------------------------------------------------------------------------

    __call__ = serve

    def begin_trail(self, req: Request, /) -> Root:
        """For Nardis itself: return the trail of a request, which begins with the first call."""
        if req.way is not None:
            begun: Root = req.way
            return begun
        if req.found is None:
            req.way = trail = Root(self, req, b"/", ([], [], []))
        else:
            raw, plan, route, params = req.found
            req.way = trail = Root(self, req, raw, plan)
            trail.ticket, req.at = req.at, OVER
            if route is not None:
                trail.route, trail.params, trail.served = route, params, True
        if cast("object", req.exchange.head) is None:  # the request is over
            end_trail(trail)
        return trail

    async def serve_otherwise(
        self, scope: Scope, receive: Receive, send: Send, sweeper: Sweeper | None, /
    ) -> None:
        """For Nardis itself: serve what is no request, or a request without a lifespan."""
        kind = scope["type"]
        if kind == "lifespan":
            joined = [each.life for each in self.below() if isinstance(each, Nardis)]
            called = self if type(self).__call__ is Nardis.__call__ else None
            await self.life.run(self, called, joined, self.limits.cleanup_s, scope, receive, send)
        elif kind not in ("http", "websocket"):
            raise UsageError(f"this ASGI scope is not supported: {kind!r}")
        elif sweeper is None and self.life.is_over:
            await refuse(scope, receive, send)
        elif sweeper is None:
            await serve_alone(partial(serve, self, scope, receive, send), self.life.clock)
        else:
            await serve_websocket(self, scope, receive, send, sweeper)


def _other_than_default(*options: tuple[str, object, object]) -> dict[str, object]:
    """Return what was given of *options*, each of which is a name, a value, and its default."""
    return {name: value for name, value, default in options if value != default}
