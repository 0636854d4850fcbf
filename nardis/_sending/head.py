"""
The head of a response: status, fields, hooks and filters. Setters are sync and chain.

Source: RFC 9110 (semantics), RFC 9113 §8.2.2 (fields that HTTP/2 forbids).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from inspect import iscoroutinefunction
from itertools import starmap
from typing import Final, NoReturn, Self, Unpack, cast, overload

from .._http import cache_control, conditional, dates, fields
from .._http.conditional import weakened
from .._http.disposition import content_disposition
from .._http.fields import BODILESS_STATUSES, CONNECTION_SPECIFIC, RESET_CONTENT
from .._http.grammar import Known
from .._http.links import format_links
from .._http.location import encode_location
from .._http.media_types import in_utf8, mime_type, type_by_extension
from .._http.varying import merge_vary
from ..datastructures import MutableHeaders
from ..errors import FieldError, HeadersAlreadySent, HTTPError, UsageError
from ..types import Composed, Filter, Message
from .whole import ETAG, LENGTH, LENGTHS, LINES, TYPE

__all__ = ["GET", "HEAD", "HTML", "JSON", "OCTETS", "OTHER", "ResponseHead"]

HTML: Final = b"text/html; charset=utf-8"
JSON: Final = b"application/json; charset=utf-8"
OCTETS: Final = b"application/octet-stream"

# Statuses that let no body follow, whatever the handler sends.
_EMPTY: Final = BODILESS_STATUSES | {RESET_CONTENT}

# Fields of a message with a body; a status without one has none of them.
_LENGTHS_OF_A_BODY: Final = frozenset({b"content-length", b"transfer-encoding"})
_OF_A_BODY: Final = _LENGTHS_OF_A_BODY | {b"content-type"}

# What describes the body that an error answer replaces.
_OF_THE_BODY: Final = frozenset(
    {b"accept-ranges", b"cache-control", b"etag", b"expires", b"last-modified", b"trailer"}
)

# Of a foreign head: several lines of these stand beside each other; of any other field the foreign
# one wins.
_ADDED: Final = frozenset({b"set-cookie", b"vary"})

# Framing is the server's affair; the ASGI specification has it ignore this field too.
_FRAMING: Final = b"transfer-encoding"

# Whether answers to a method have an ETag, and may be a 304.
GET: Final = 1
HEAD: Final = 2
OTHER: Final = 0


class ResponseHead:
    """
    Status, header fields, hooks and filters of one response.

    Attributes:
        sealed: The head was composed: nothing of it can change any more.
        trailers: The message of the fields behind the body; None where none were announced.
        spared: It became a 304 because its client has it.
    """

    __slots__ = ("__dict__", "_fields", "_filters", "_hooks", "_reads", "_status", "sealed")

    # Set by the response's constructor: one of their own would cost one percent of a plain request.
    _fields: list[tuple[bytes, bytes]]
    _filters: tuple[Filter, ...]
    _hooks: list[Callable[[], object]] | None
    _reads: int  # GET, HEAD or OTHER
    _status: int
    sealed: bool
    trailers: Message | None = None  # on the class, as the next: few responses have any
    spared: bool = False

    @property
    def status_code(self) -> int:
        """The status, 200 unless set."""
        return self._status

    @status_code.setter
    def status_code(self, code: int) -> None:
        self.status(code)

    def status(self, code: int) -> Self:
        """Set the status, an integer from 200 to 999 (RFC 9110 §15)."""
        if self.sealed:
            self._refuse(f"set status {code}")
        if not (isinstance(code, int) and 200 <= code <= 999):  # type: ignore[redundant-expr]  # for untyped callers
            raise UsageError(f"status() takes an integer from 200 to 999, not {code!r}")
        self._status = code
        return self

    @property
    def headers(self) -> MutableHeaders:
        """The header fields, case-insensitive; they can change until the head is sent."""
        # A view, made anew: kept, it would be a circle.
        return MutableHeaders(self._fields, guard=self._guard)

    def _guard(self, action: str) -> None:
        if self.sealed:
            self._refuse(action)

    def _refuse(self, action: str) -> NoReturn:
        raise HeadersAlreadySent(action, self._status)

    @overload
    def set(self, name: str, value: str | int, /) -> Self: ...
    @overload
    def set(self, name: Mapping[str, str | int], /) -> Self: ...
    def set(self, name: str | Mapping[str, str | int], value: str | int | None = None, /) -> Self:
        """
        Set one header field, or several from a mapping; a field set before is replaced.

        A Content-Type without a slash is an extension, as for `type()`, if there is such a one.

        Raises:
            FieldError: The name is no token, or the value has CR, LF or NUL in it (RFC 9110 §5.5).
            HeadersAlreadySent: The head was sent.
        """
        if isinstance(name, Mapping):
            for key, item in name.items():
                self.set(key, item)
            return self
        if self.sealed:
            self._refuse(f"set header {name!r}")
        key_bytes = fields.check_name(name)
        if value is None:
            raise FieldError(
                f"set({name!r}) needs a value; to take a field away use res.remove({name!r})"
            )
        checked = fields.check_value(name, value)
        if key_bytes == b"content-type" and b"/" not in checked:
            extension = checked.decode("latin-1")
            if type_by_extension(extension) is not None:
                return self.type(extension)
        self.put(key_bytes, checked)
        return self

    def get(self, name: str) -> str | None:
        """Return the value of a header field of the response, None if it is not set."""
        return self.headers.get(name)

    def append(self, name: str, value: str | int) -> Self:
        """Add a line to a header field, keeping those it has."""
        self.headers.append(name, value)
        return self

    def remove(self, name: str) -> Self:
        """Take a header field away; nothing happens if it is not set."""
        self._guard(f"remove header {name!r}")
        self.headers.pop(name, None)
        return self

    def type(self, t: str) -> Self:
        """
        Set the Content-Type from a media type (`"text/plain"`) or an extension (`"json"`).

        Text gets UTF-8.

        Raises:
            FieldError: It has CR, LF or NUL in it (RFC 9110 §5.5).
        """
        if self.sealed:
            self._refuse(f"set type {t!r}")
        line = _TYPE_LINES[t]
        if self._fields:
            self.put(*line)
        else:
            self._fields.append(line)
        return self

    def vary(self, *names: str) -> Self:
        """Add *names* to Vary, each once; `*` stands for everything (RFC 9110 §12.5.5)."""
        merged = merge_vary(self.headers.get("vary", ""), names)
        if merged:
            self.headers["vary"] = merged
        return self

    def location(self, url: str) -> Self:
        """
        Set Location; characters that a URL may not hold are percent-encoded.

        So is a backslash, which browsers read as a slash.
        """
        return self.set("location", encode_location(url))

    def links(self, links: Mapping[str, str | Sequence[str]]) -> Self:
        """
        Add to Link: `res.links({"next": "/users?page=2", "last": "/users?page=5"})`.

        Args:
            links: By relation, the URL or URLs; they are encoded as `location()` does.

        Source: RFC 8288 §3.
        """
        more = format_links(links)
        if more:
            self._guard("set header 'link'")
            known = self.headers.get("link")
            self.put(b"link", fields.check_value("link", f"{known}, {more}" if known else more))
        return self

    def attachment(self, filename: str | None = None) -> Self:
        """
        Have the client offer to save the answer, under *filename* if that is given.

        Only the last component of a path is sent. The type follows from its extension.

        Source: RFC 6266; RFC 8187 for what is not ASCII.
        """
        name = None if filename is None else filename.replace("\\", "/").rpartition("/")[2]
        if name is not None and "." in name:
            self.type(type_by_extension(name) or "application/octet-stream")
        return self.set("content-disposition", content_disposition(name))

    def etag(self, value: str | bytes, *, weak: bool = False) -> Self:
        """
        Set the ETag: a text that you made for this version, or one made from the bytes themselves.

        `send()` and `json()` make a weak one by themselves for the 200 of a GET or HEAD that has
        none. It answers If-None-Match, and never If-Match: a resource that clients change under
        that condition needs a strong one.

        Args:
            value: A text, quoted or not; `W/"v1"` is weak. Of bytes a checksum is taken.
            weak: It stands for the meaning, and not for each byte.

        Raises:
            FieldError: The text has a character that an entity tag may not have.

        Source: RFC 9110 §8.8.3.
        """
        if isinstance(value, str):
            return self.set("etag", conditional.check_etag(value, weak=weak))
        return self.set("etag", conditional.make_etag(value, weak=weak))

    def last_modified(self, when: datetime | float) -> Self:
        """
        Set Last-Modified, from an aware datetime or from Unix seconds.

        Source: RFC 9110 §8.8.2.
        """
        return self.set("last-modified", dates.format_date(when))

    def cache(self, **directives: Unpack[cache_control.Directives]) -> Self:
        """
        Set Cache-Control: `res.cache(public=True, max_age=3600)`; seconds, or a timedelta.

        Raises:
            UsageError: Directives that contradict each other.

        Source: RFC 9111 §5.2.2; RFC 5861; RFC 8246.
        """
        return self.set("cache-control", cache_control.cache_control(**directives))

    def on_head(self, hook: Callable[[], object]) -> Self:
        """
        Call *hook* just before the head is composed, last registered first.

        It is sync, may still set fields and filters, and runs for every head: errors, HEAD and 304
        too. Of a whole answer it sees the Content-Length. If it raises, the answer is a 500 without
        hooks.
        """
        self._guard("add an on_head hook")
        if iscoroutinefunction(hook):
            raise UsageError(
                f"on_head() hooks are sync, and {hook!r} is async: do what awaits before the head "
                "is sent"
            )
        if self._hooks is None:
            self._hooks = []
        self._hooks.append(hook)
        return self

    def filter(self, codec: Filter) -> Self:
        """
        Let the body pass through *codec*, which has `feed(bytes)`, `flush()` and `finish()`.

        Each returns bytes, or an awaitable of bytes. The first filter added comes first.
        Content-Length goes, and an ETag becomes weak. Nothing is fed for HEAD, 204 and 304;
        `finish` is never called after a failure. What a filter holds back is flushed within half a
        second.
        """
        self._guard("add a filter")
        self._filters = (*self._filters, codec)
        return self

    # --- for Nardis itself ----------------------------------------------------------------------

    def default_type(self, default: bytes) -> None:
        """Set the Content-Type if there is none; what is no bytes is sent as UTF-8, and says so."""
        for at, (name, value) in enumerate(self._fields):
            if name == b"content-type":
                if default is not OCTETS:
                    self._fields[at] = (name, in_utf8(value))
                return
        self._fields.append((b"content-type", default))

    def add(self, lines: Sequence[tuple[bytes, bytes]], kept: Iterable[str]) -> None:
        """Set fields known to be valid, except those *kept*; the names of Vary are added."""
        if not self._fields:
            self._fields.extend(lines)
            return
        names = {name.lower().encode() for name in kept}
        for name, value in lines:
            if name == b"vary":
                self.vary(value.decode())
            elif name not in names:
                self.put(name, value)

    def put(self, name: bytes, value: bytes) -> None:
        """Set a field that is known to be valid."""
        lines = self._fields
        for at, line in enumerate(lines):
            if line[0] == name:
                others = [other for other in lines[at + 1 :] if other[0] != name]
                lines[at:] = [(name, value), *others]
                return
        lines.append((name, value))

    def forget_whole(self) -> None:
        """Take back what a whole answer was given whose verb was cancelled, or never awaited."""
        if self.sealed:
            return
        lines = self._fields
        lines[:] = [each for each in lines if each[0] is not ETAG and each[0] is not LENGTH]
        if self.spared:
            self.spared = False
            if self._status == 304:
                self._status = 200

    def put_etag(self, body: bytes) -> None:
        """Set the ETag of a whole body, unless the application has set one."""
        lines = self._fields
        for name, _ in lines:
            if name == b"etag":
                return
        lines.append(LINES[body][0])

    def peek(self, name: bytes) -> bytes | None:
        """Return the first line of a field."""
        for key, value in self._fields:
            if key == name:
                return value
        return None

    def merge(self, message: Message) -> None:
        """
        Take over the head of a foreign application.

        The status is replaced, and each field; lines of Set-Cookie and names of Vary are added.

        Raises:
            FieldError: A field that HTTP does not allow, or more than one length.
        """
        self.status(message["status"])
        lines = cast("Iterable[tuple[bytes, bytes]]", message.get("headers", ()))
        given = [line for line in starmap(_checked, lines) if line[0] != _FRAMING]
        lengths = {value for name, value in given if name == b"content-length"}
        replaced = {name for name, _ in given} - _ADDED
        self._fields[:] = [line for line in self._fields if line[0] not in replaced]
        _check_lengths(lengths)
        for name, value in given:
            if name == b"vary":
                self.vary(value.decode("latin-1"))
            elif name != b"content-length":
                self._fields.append((name, value))
        self._fields.extend((b"content-length", value) for value in lengths)

    def switch(self) -> None:
        """Note that a WebSocket was accepted: see `Composes`."""
        self._status = 101

    def compose(self, size: int | None, http1: bool, close: bool, /) -> Composed:
        """Close the head: see `Composes`."""
        if self._hooks is not None:
            return self._compose_hooked(size, http1, close)
        if size is None:
            self.forget_whole()
        self.sealed = True
        lines = self._fields
        status = self._status
        bodiless = status != 200 and status in _EMPTY
        if size is not None and not bodiless and not self._filters:
            declared: int | None = size
            length = LENGTHS[size]
            if lines and lines[-1] is length:
                pass  # it came with the ETag
            else:
                for line in lines:
                    if line[0] == b"content-length":
                        # A handler of HEAD may know the length and not the body.
                        if size or self._reads != HEAD:
                            self.put(*length)
                        break
                else:
                    lines.append(length)
        else:
            declared = self._compose_open(bodiless)
        if not http1:
            if any(line[0] in CONNECTION_SPECIFIC for line in lines):
                lines[:] = [line for line in lines if line[0] not in CONNECTION_SPECIFIC]
        elif close:
            self.put(b"connection", b"close")
        start: Message = {"type": "http.response.start", "status": status, "headers": lines}
        return start, declared, not (bodiless or self._reads == HEAD), self._filters

    def _compose_open(self, bodiless: bool) -> int | None:
        """Fix length and fields of the head when the body is streamed, filtered, or not allowed."""
        lines = self._fields
        try:
            declared = fields.content_length(self.peek(b"content-length"))
        except HTTPError as exc:
            raise FieldError("Content-Length takes a number of bytes") from exc
        if self._filters:
            lines[:] = [weakened(line) for line in lines if line[0] != b"content-length"]
            if bodiless or self._reads == HEAD:
                self._filters = ()
        if bodiless:
            resets = self._status == RESET_CONTENT
            gone = _LENGTHS_OF_A_BODY if resets else _OF_A_BODY
            lines[:] = [line for line in lines if line[0] not in gone]
            if resets:
                lines.append(LENGTHS[0])
        return declared

    def _compose_hooked(self, size: int | None, http1: bool, close: bool) -> Composed:
        """Run the hooks, close the head, and announce trailers."""
        hooks, self._hooks = self._hooks, None
        if size or (size == 0 and self._reads != HEAD):  # a compression may want to know it
            self.put(*LENGTHS[size])
        for hook in reversed(hooks or ()):
            hook()
        composed = self.compose(size, http1, close)
        if self.trailers is not None and composed[2]:
            composed[0]["trailers"] = True
        return composed

    def reset(self, error: BaseException | None = None) -> None:
        """
        Make room for the answer to *error*.

        What described the body goes, and the filters; the rest (CORS, request id) stays. The status
        and the fields of an HTTPError are set, for a handler to keep or change; other errors begin
        as a 500.
        """
        self.sealed = False
        self._filters = ()
        if self._status == 304:
            self.spared = False
        self._status = 500
        if self.trailers is not None:
            self.trailers = None
        if self._fields:
            self._fields[:] = [line for line in self._fields if not _describes_body(line[0])]
        if isinstance(error, HTTPError):
            self._status = error.status
            if error.headers:
                self.set(error.headers)


def _describes_body(name: bytes) -> bool:
    return name.startswith(b"content-") or name in _OF_THE_BODY


def _checked(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """Check a line of a foreign head, and return it with its name in small letters."""
    checked = fields.check_name(name.decode("latin-1"))
    return checked, fields.check_value(checked.decode(), value.decode("latin-1"))


def _check_lengths(lengths: set[bytes]) -> None:
    """Refuse more than one length in a foreign head, and one that is no number."""
    try:
        if len(lengths) > 1 or any(fields.content_length(value) is None for value in lengths):
            raise FieldError("an ASGI application sent more than one Content-Length")
    except HTTPError as exc:
        raise FieldError(
            "an ASGI application sent a Content-Length that is no number of bytes"
        ) from exc


def _type_line(t: str) -> tuple[bytes, bytes]:
    value = fields.check_value("content-type", mime_type(t))
    return TYPE if in_utf8(value) == value else b"content-type", value


_TYPE_LINES: Final = Known(_type_line, most=128)
