"""
The head of a request: its fields, the client behind the proxies, negotiation, and preconditions.

Source: RFC 9110 §8.3 (types), §12.5 (negotiation), §13 (preconditions), §14 (ranges); RFC 7239
(Forwarded); the ASGI HTTP specification.
"""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import Any, Final, TypeAlias, TypeVar, overload

from .._asgi.extensions import ACCESS, ORIGIN, extension
from .._exchange.exchange import Exchange
from .._http import conditional, dates, forwarded, hosts, media_types, negotiation, ranges
from ..datastructures import Cookies, Headers
from ..errors import HTTPError, MissingKey, NotModified
from ..types import App, Scope

__all__ = ["RequestHead"]

T = TypeVar("T")

Range: TypeAlias = range  # inside RequestHead the name belongs to a method

# The fields of preconditions (RFC 9110 §13.1), and the one that asks caches to leave them out.
_CONDITIONS: Final = (
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "cache-control",
)


class RequestHead:
    """
    What stands in the head of a request.

    Attributes:
        method: In capitals, as received: `"GET"`.
        scope: The ASGI scope; treat it as read-only.
        app: The application that serves the request.
        exchange: For Nardis itself: the exchange that this request is a part of.
    """

    # `__dict__` is for the cached properties; what is read for each request is in slots.
    __slots__ = ("__dict__", "app", "exchange", "method", "scope")

    # Set by the request's constructor: one of their own would cost one percent of a plain request.
    app: App
    exchange: Exchange
    method: str
    scope: Scope

    @property
    def http_version(self) -> str:
        """`"1.0"`, `"1.1"`, `"2"` or `"3"`."""
        version: str = self.scope["http_version"]
        return version

    @property
    def scheme(self) -> str:
        """`"http"` or `"https"`, as the server saw it."""
        scheme: str = self.scope.get("scheme", "http")
        return scheme

    @property
    def client(self) -> tuple[str, int] | None:
        """Host and port of the peer, as the server saw them; behind a proxy `ip` is the client."""
        client: tuple[str, int] | None = self.scope.get("client")
        return client

    @property
    def server(self) -> tuple[str, int | None] | None:
        """Host and port the request came in at; the port is None for a Unix socket's path."""
        server: tuple[str, int | None] | None = self.scope.get("server")
        return server

    @cached_property
    def access_fields(self) -> dict[str, Any]:
        """
        Fields for this request's line in the access log of `nardis serve`.

            req.access_fields["user"] = user.id

        Values are what JSON has. A mounted application adds to the same fields. Without an access
        log they are kept for the request, and nobody writes them.
        """
        notes: dict[str, Any] | None = extension(self.scope, ACCESS)
        # Apart from what Nardis itself notes there, so that no name of a program's is one of those.
        fields: dict[str, Any] = {} if notes is None else notes.setdefault("fields", {})
        return fields

    # --- the client, through the proxies that `Nardis(trust_proxy=...)` trusts --------------------

    @cached_property
    def _seen(self) -> forwarded.ClientSide:
        known: forwarded.ClientSide | None = extension(self.scope, ORIGIN)
        if known is not None:
            return known
        return forwarded.seen_through(
            self.app.trust,
            forwarded.peer_of(self.scope),
            self.scope["headers"],
            "https" if self.scheme in ("https", "wss") else "http",
            self.headers.get("host"),
        )

    @property
    def ip(self) -> str | None:
        """The address of the client: of the socket, or what the last trusted proxy says it is."""
        return self._seen.ip

    @property
    def ips(self) -> list[str]:
        """The addresses from the client to the last proxy before ours; empty if none is trusted."""
        return list(self._seen.ips)

    @property
    def protocol(self) -> str:
        """`"http"` or `"https"`, as the client used it."""
        return self._seen.scheme

    @property
    def secure(self) -> bool:
        """Whether the client used TLS."""
        return self._seen.scheme == "https"

    @property
    def host(self) -> str | None:
        """The Host that the client asked for, with its port; None if it named none."""
        return self._seen.host

    @property
    def hostname(self) -> str:
        """`host` without the port, in small letters; `""` if the client named none."""
        return hosts.host_name(self._seen.host)

    @property
    def subdomains(self) -> list[str]:
        """The labels of `hostname` below its last two, from right to left; none of an address."""
        return hosts.subdomains(self.hostname)

    @property
    def xhr(self) -> bool:
        """Whether a script says that it asks: `X-Requested-With: XMLHttpRequest`."""
        return (self.get("x-requested-with") or "").lower() == "xmlhttprequest"

    # --- the fields -------------------------------------------------------------------------------

    @cached_property
    def headers(self) -> Headers:
        """The header fields, case-insensitive and read-only."""
        return Headers(self.scope["headers"])

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: T) -> str | T: ...
    def get(self, name: str, default: object = None) -> object:
        """Return the value of a header field; `referer` and `referrer` are one."""
        name = name.lower()
        if name in ("referer", "referrer"):
            return self.headers.get("referer", self.headers.get("referrer", default))
        return self.headers.get(name, default)

    @property
    def last_event_id(self) -> str:
        """
        The last id of server-sent events that the client got, when it comes back; "" for none.

        It is what the client says, in UTF-8; what is no UTF-8 becomes U+FFFD.

        Source: WHATWG HTML §9.2.4, "the `Last-Event-ID` header".
        """
        value = self.headers.get("last-event-id", "")
        return value.encode("latin-1").decode("utf-8", "replace")  # `headers` has it as Latin-1

    @cached_property
    def cookies(self) -> Cookies:
        """The cookies; the first of a name wins, and more than `limits.cookies` are a 431."""
        return Cookies(self.headers.get("cookie", ""), max_cookies=self.exchange.limits.cookies)

    @cached_property
    def signed_cookies(self) -> dict[str, str]:
        """
        The cookies that `res.cookie(..., signed=True)` made, by name; those of others are left out.

        Raises:
            UsageError: The application has no `secret_keys`.
            MissingKey: 400, of `req.signed_cookies["sid"]` where that is not among them.
        """
        unsign = self.app.signer.unsign
        values = ((name, unsign(value, name)) for name, value in self.cookies.items())
        return _SignedCookies((name, value) for name, value in values if value is not None)

    @property
    def content_type(self) -> str | None:
        """The media type of the body, in small letters; None without a (valid) Content-Type."""
        return self._media_type()[0] or None

    @property
    def charset(self) -> str | None:
        """The `charset` parameter of the Content-Type, in small letters."""
        charset = self._media_type()[1].get("charset")
        return charset.lower() if charset else None

    def _media_type(self) -> tuple[str, dict[str, str]]:
        value = self.headers.get("content-type")
        try:
            return media_types.parse_media_type(value) if value else ("", {})
        except HTTPError:
            return "", {}

    @property
    def content_length(self) -> int | None:
        """The Content-Length of the body, in bytes; None if the length is not known beforehand."""
        return self.exchange.declared_body_bytes

    # --- negotiation (RFC 9110 §12.5) -------------------------------------------------------------

    @overload
    def accepts(self) -> list[str]: ...
    @overload
    def accepts(self, first: str, /, *types: str) -> str | None: ...
    def accepts(self, *types: str) -> str | list[str] | None:
        """
        Return the client's first choice among *types* (`"json"`, `"text/html"`).

        None if it takes none of them; the client's list without *types*.
        """
        return negotiation.accepts_types(self.headers.get("accept"), types)

    @overload
    def accepts_encodings(self) -> list[str]: ...
    @overload
    def accepts_encodings(self, first: str, /, *encodings: str) -> str | None: ...
    def accepts_encodings(self, *encodings: str) -> str | list[str] | None:
        """Return the client's first choice among content codings; see `accepts()`."""
        return negotiation.accepts_encodings(self.headers.get("accept-encoding"), encodings)

    @overload
    def accepts_charsets(self) -> list[str]: ...
    @overload
    def accepts_charsets(self, first: str, /, *charsets: str) -> str | None: ...
    def accepts_charsets(self, *charsets: str) -> str | list[str] | None:
        """Return the client's first choice among charsets; see `accepts()`."""
        return negotiation.accepts_charsets(self.headers.get("accept-charset"), charsets)

    @overload
    def accepts_languages(self) -> list[str]: ...
    @overload
    def accepts_languages(self, first: str, /, *languages: str) -> str | None: ...
    def accepts_languages(self, *languages: str) -> str | list[str] | None:
        """Return the client's first choice among languages, such as `"de-CH"`; see `accepts()`."""
        return negotiation.accepts_languages(self.headers.get("accept-language"), languages)

    def is_type(self, *types: str) -> str | None:
        """Return the first of *types* that the body's Content-Type fits, None without a body."""
        if not self.exchange.expects_body:
            return None
        return media_types.type_is(self.headers.get("content-type"), types)

    # --- preconditions and ranges (RFC 9110 §13 and §14) ------------------------------------------

    def check_preconditions(
        self, *, etag: str | None = None, last_modified: datetime | float | None = None
    ) -> None:
        """
        Compare If-Match and its like with what there is, before anything is done.

        A PUT or DELETE that names an older version must not overwrite a newer one; a GET for a copy
        that is still good need not be answered again.

        Args:
            etag: The entity tag of the current representation, as `res.etag()` takes it. If-Match
                is never met by a weak one.
            last_modified: When that was changed, as an aware datetime or in Unix seconds. With
                neither of both there is no representation: a PUT would create one.

        Raises:
            HTTPError: 412, a precondition fails.
            NotModified: The client's copy is still good. Let it pass: the answer is a 304.

        Source: RFC 9110 §13.2.2.
        """
        changed = None if last_modified is None else dates.format_date(last_modified)
        tag = None if etag is None else conditional.check_etag(etag)
        outcome = conditional.check_preconditions(
            self.method,
            self.conditions(),
            tag,
            None if changed is None else dates.parse_date(changed),  # whole seconds, as sent
        )
        if outcome == 412:
            raise HTTPError(412, "the representation is not the one that the request names")
        if outcome == 304:
            validators = {"etag": tag, "last-modified": changed}
            raise NotModified({name: value for name, value in validators.items() if value})

    def conditions(self) -> dict[bytes, bytes]:
        """For Nardis itself: return the combined fields that preconditions are made of."""
        values = ((name, self.headers.get(name)) for name in _CONDITIONS)
        return {name.encode(): value.encode("latin-1") for name, value in values if value}

    def range(self, size: int, *, combine: bool = False) -> list[Range] | None:
        """
        Return what the Range field asks for, of a representation of *size* bytes.

        None if there is no such field, or one to ignore: serve everything.

        Args:
            size: Length of the whole representation, in bytes.
            combine: Merge ranges that overlap or touch.

        Raises:
            RangeNotSatisfiable: Nothing that it asks for is there; the answer is a 416.

        Source: RFC 9110 §14.2: for GET only.
        """
        value = self.headers.get("range") if self.method == "GET" else None
        if value is None:
            return None
        return ranges.parse_range(value, size, combine=combine, most=self.exchange.limits.ranges)


class _SignedCookies(dict[str, str]):
    def __missing__(self, name: str) -> str:
        raise MissingKey("there is no signed cookie", name)
