"""
The head of a response to one request: cookies, conditions, trailers. Setters are sync and chain.

Source: RFC 9110 §6.5 (trailers) and §13 (conditions); RFC 6265 (cookies).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Self, Unpack

from .._asgi.extensions import TRAILERS, extension
from .._exchange.exchange import ENDED, IDLE, Exchange
from .._http import fields
from .._http.conditional import is_fresh
from .._http.cookies import Clearing, SameSite, format_cookie, is_same_cookie
from ..errors import UsageError
from ..request import Request
from ..types import Message
from .head import HEAD, ResponseHead
from .whole import LINES

__all__ = ["ReplyHead"]


class ReplyHead(ResponseHead):
    """
    A head that knows the request it belongs to.

    Attributes:
        req: The request it answers.
    """

    __slots__ = ("_exchange", "req")

    req: Request
    _exchange: Exchange

    @property
    def reads(self) -> int:
        """For Nardis itself: whether its request is a GET, a HEAD, or something else."""
        return self._reads

    @property
    def started(self) -> bool:
        """Whether the head was sent: status and fields can no longer change."""
        return self._exchange.state != IDLE

    @property
    def finished(self) -> bool:
        """Whether the final message was sent."""
        return self._exchange.state == ENDED

    @property
    def bytes_sent(self) -> int:
        """Body bytes given so far, before any filter."""
        return self._exchange.written

    def cookie(
        self,
        name: str,
        value: str,
        *,
        max_age: float | timedelta | None = None,
        expires: datetime | float | None = None,
        path: str | None = "/",
        domain: str | None = None,
        secure: bool | None = None,
        http_only: bool = True,
        same_site: SameSite | None = "lax",
        partitioned: bool = False,
        signed: bool = False,
    ) -> Self:
        """
        Set a cookie; one of the same name, domain and path that was set before is replaced.

        Args:
            name: A token. `__Host-` and `__Secure-` make browsers keep to their rules.
            value: Any text; what a cookie may not hold is percent-encoded.
            max_age: Seconds, or a timedelta, until the browser forgets it. Without that and
                *expires* it goes when the browser is closed.
            expires: When that is, as an aware datetime or in Unix seconds.
            path: Below which the browser sends it back.
            domain: For subdomains as well; without it, for this host alone.
            secure: Over TLS only; None is so if this request came over TLS.
            http_only: No script of a page may see it.
            same_site: Whether pages of other sites send it along; `"none"` needs *secure*.
            partitioned: One for each site that embeds this one (CHIPS); needs *secure*.
            signed: Sign it with `Nardis(secret_keys=...)`, to be read by `req.signed_cookies`. The
                client can still read it.

        Raises:
            FieldError: A name, value or attribute that browsers refuse.
            UsageError: *signed*, and the application has no `secret_keys`.

        Source: RFC 6265 §4.1; RFC 6265bis §4.1.
        """
        line = format_cookie(
            name,
            self.req.app.signer.sign(value, name) if signed else value,
            max_age=max_age,
            expires=expires,
            path=path,
            domain=domain,
            secure=self.req.secure if secure is None else secure,
            http_only=http_only,
            same_site=same_site,
            partitioned=partitioned,
        ).encode()
        self._guard(f"set cookie {name!r}")
        self._fields[:] = [
            each
            for each in self._fields
            if each[0] != b"set-cookie" or not is_same_cookie(each[1], line)
        ]
        self._fields.append((b"set-cookie", line))
        return self

    def clear_cookie(
        self, name: str, *, path: str = "/", domain: str | None = None, **options: Unpack[Clearing]
    ) -> Self:
        """
        Have the client forget a cookie of that *path* and *domain*.

        *options* are `same_site`, `secure` and `partitioned`, where it was set with them.
        """
        if name.lower().startswith(("__secure-", "__host-", "__http-")):
            options.setdefault("secure", True)
        return self.cookie(name, "", expires=0, path=path, domain=domain, **options)

    @property
    def fresh(self) -> bool:
        """
        Whether the client's copy is still good: the answer as it stands would be a 304.

        For a handler that can save itself work: `send()` and `json()` look by themselves (RFC 9110
        §13.2.2).
        """
        if not self._reads or not (200 <= self._status < 300 or self._status == 304):
            return False
        etag, modified = self.peek(b"etag"), self.peek(b"last-modified")
        return is_fresh(self.req.conditions(), etag, modified)

    @property
    def stale(self) -> bool:
        """The opposite of `fresh`."""
        return not self.fresh

    def trailer(self, name: str, value: str | int) -> Self:
        """
        Send a field behind the body, such as a checksum of it.

        Call it before the head is sent, which announces the name. A value that is known only at the
        end can replace the first one. On HTTP/1.1 only clients that say `TE: trailers` get any.

        Raises:
            FieldError: A field that must not be a trailer, because the client needs it before the
                body.
            HeadersAlreadySent: The head has left, and did not announce *name*.
            UsageError: The server has no trailers.

        Source: RFC 9110 §6.5 and §6.6.2; the ASGI extension `http.response.trailers`.
        """
        key, text = fields.check_trailer(name, value)
        if extension(self._exchange.scope, TRAILERS) is None:
            raise UsageError(
                f"cannot send trailer {name!r}: this server has no trailers (the ASGI extension "
                "http.response.trailers). Send it as a field, or serve with `nardis serve`"
            )
        known: list[tuple[bytes, bytes]] = self.trailers["headers"] if self.trailers else []
        others = [each for each in known if each[0] != key]
        if self.finished or (self.sealed and len(others) == len(known)):
            self._refuse(f"add trailer {name!r}")
        lines = [*others, (key, text)]
        if not self.sealed:
            self.set("trailer", ", ".join(each.decode() for each, _ in lines))
        if self._hooks is None:
            self._hooks = []  # so that the head is composed with them
        self.trailers: Message | None = {"type": TRAILERS, "headers": lines, "more_trailers": False}
        return self

    # --- for the verbs ----------------------------------------------------------------------------

    def _tag(self, data: bytes) -> None:
        """Add the ETag of a whole answer; make it a 304 if that is what the client has."""
        if data and len(self._fields) == 1:
            self._fields += LINES[data]
        elif data or self._reads != HEAD:  # what has no body may stand for what GET would have
            self.put_etag(data)
        asked = self._exchange.fields
        if b"if-none-match" in asked or b"if-modified-since" in asked:
            self._spare()

    def _spare(self) -> None:
        """Make it a 304 if the client has it."""
        if self.fresh:
            self._status = 304
            self.spared: bool = True
