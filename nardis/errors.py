"""
Everything Nardis raises.

    NardisError
    ├── UsageError                 you misused Nardis: a bug, answered with 500 and logged
    │   ├── BodyAlreadyRead        the request body has, or had, another reader
    │   ├── ContentLengthMismatch  more or fewer bytes than the declared Content-Length
    │   ├── FieldError             a header field that HTTP does not allow (also a ValueError)
    │   ├── ForgottenAwait         a verb was called and never awaited
    │   ├── HeadersAlreadySent     status or fields were changed after the head left
    │   ├── LifespanRequired       something that only a running lifespan offers
    │   ├── NextCalledTwice        a middleware called `next()` more than once
    │   ├── NoResponse             every handler returned and nobody answered
    │   ├── PatternError           a path pattern that cannot be compiled (also a ValueError)
    │   └── ResponseAlreadyEnded   something was sent after the end of the response
    │       └── ResponseAlreadyStarted  a whole answer was sent after a first piece
    ├── StartFailed                the application or its server could not start
    ├── HTTPError                  the peer sent something wrong: carries the status of the answer
    │   ├── FolderFound            404: where a file was asked for there is a folder
    │   ├── MissingKey             400: a query, a form or the cookies lack it (also a KeyError)
    │   └── RangeNotSatisfiable    416: nothing of what a Range field asks for is there
    ├── ClientDisconnected         the peer left: nobody's fault, never logged as an error
    └── ResponseAborted            the response was cut on purpose, so that it cannot look whole

`SkipRoute` and `NotModified` stand apart: they are signals and not errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, Self

__all__ = [
    "BodyAlreadyRead",
    "ClientDisconnected",
    "ContentLengthMismatch",
    "FieldError",
    "FolderFound",
    "ForgottenAwait",
    "HTTPError",
    "HeadersAlreadySent",
    "LifespanRequired",
    "MissingKey",
    "NardisError",
    "NextCalledTwice",
    "NoResponse",
    "NotModified",
    "PatternError",
    "RangeNotSatisfiable",
    "ResponseAborted",
    "ResponseAlreadyEnded",
    "ResponseAlreadyStarted",
    "SkipRoute",
    "StartFailed",
    "UsageError",
    "reason_phrase",
]


# Before 3.13, Python has the names of RFC 7231 and RFC 4918 for these.
_RENAMED: Final = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}


@lru_cache(maxsize=64)
def reason_phrase(status: int) -> str:
    """
    Return the name that RFC 9110 §15 gives a status; of an unregistered one, its number.

    >>> reason_phrase(422), reason_phrase(299)
    ('Unprocessable Content', '299')
    """
    from http import HTTPStatus

    try:
        return _RENAMED.get(status) or HTTPStatus(status).phrase
    except ValueError:
        return str(status)


class NardisError(Exception):
    """The root of all errors that Nardis raises."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy it, or hand it to another process, without its `__init__`, which made the text."""
        return _remade, (type(self), *self.args), self.__dict__


def _remade(kind: type[NardisError], *args: object) -> NardisError:
    return kind.__new__(kind, *args)


class UsageError(NardisError):
    """Nardis was used in a way that cannot work; the message says what to do instead."""


class BodyAlreadyRead(UsageError):
    """The request body has another reader, or was consumed by one."""


class ContentLengthMismatch(UsageError):
    """The bytes written do not add up to the Content-Length that was declared (RFC 9110 §8.6)."""

    @classmethod
    def short(cls, declared: int, written: int) -> Self:
        """Make the error of a response that ended after fewer bytes than it declared."""
        return cls(
            f"the response declared a Content-Length of {declared} bytes and ended after "
            f"{written}: it is aborted, so that it does not look whole. Write as much as you "
            "declare, or leave the length out."
        )

    @classmethod
    def beyond(cls, declared: int, written: int, size: int) -> Self:
        """Make the error of a piece of *size* bytes that would be more than was declared."""
        return cls(
            f"{size} bytes more after {written} would exceed the declared Content-Length of "
            f"{declared}: none of them was sent. Write as much as you declare, or leave the length "
            "out."
        )


class FieldError(UsageError, ValueError):
    """A field name or value that must not go on the wire (RFC 9110 §5.1 and §5.5)."""


class ForgottenAwait(UsageError):
    """A verb such as `res.send()` was called without `await`, so it never ran."""

    def __init__(self, verb: str, handler: str) -> None:
        call = verb if "." in verb else f"res.{verb}"
        super().__init__(
            f"{handler} called {call}() without awaiting it, so nothing was sent: "
            f"write `await {call}(...)`"
        )


class HeadersAlreadySent(UsageError):
    """Status or header fields were changed after the response started."""

    def __init__(self, action: str, status: int) -> None:
        super().__init__(
            f"cannot {action}: the response already started with status {status}. "
            "Set status and headers before the first write()."
        )


class LifespanRequired(UsageError):
    """Something that lives as long as the application was used while no lifespan was running."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} needs a running lifespan, and none is. Serve the app with `nardis serve` or "
            "another ASGI server that supports lifespan, in tests use `async with Client(app)`; a "
            "mounted app needs its parent to pass lifespan on."
        )


class NextCalledTwice(UsageError):
    """A middleware called its `next()` more than once."""


_HOW_TO_ANSWER = "call `await res.send(...)` or another verb, or `await next()` to pass on"


class NoResponse(UsageError):
    """The handlers returned, and none of them sent an answer."""

    def __init__(
        self, handler: str, how: str = _HOW_TO_ANSWER, returned: str = "without answering"
    ) -> None:
        super().__init__(f"{handler} returned {returned}: {how}")


class PatternError(UsageError, ValueError):
    """A path pattern that cannot be compiled."""


_ENDED = (
    "the response has already ended. Each request gets one answer; use write() for one in pieces."
)
_STARTED = "the response already started. Go on with write(), or end() with a last piece."


class ResponseAlreadyEnded(UsageError):
    """Something was sent after the response had ended."""

    def __init__(self, action: str, state: str = _ENDED) -> None:
        super().__init__(f"cannot {action}: {state}")


class ResponseAlreadyStarted(ResponseAlreadyEnded):
    """
    A whole answer was sent after the response had started, for example by `write()`.

    It is caught as a `ResponseAlreadyEnded`, which it was before it had a name of its own.
    """

    def __init__(self, action: str) -> None:
        super().__init__(action, _STARTED)


class StartFailed(NardisError):
    """The application or its server could not start; the message says why, in a line."""


class HTTPError(NardisError):
    """
    The request cannot be answered as asked; carries the status to answer with.

    Raise it anywhere below a handler. The innermost router with a matching `error` handler answers,
    else the application, in the form the client prefers: HTML, problem details (RFC 9457) or plain
    text.

    Args:
        status: 400 to 599.
        detail: One sentence for the client. Never put secrets in it.
        headers: Fields of the answer; they win over those already set.
        extensions: Further members of the problem details, such as `limit=1048576`. `type`,
            `title` and `instance` may be set as RFC 9457 has them; status and detail are always
            the error's own.

    Attributes:
        status: As given; an error handler may answer with another one.
        detail: As given.
        headers: Fields of the answer, by name.
        extensions: Further members of the problem details, by name.
    """

    def __init__(
        self,
        status: int,
        detail: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        **extensions: Any,
    ) -> None:
        try:
            is_error = 400 <= status <= 599
        except TypeError:  # the slip of other frameworks' users; a look beforehand costs each 404
            raise UsageError(
                f"HTTPError takes a status first: HTTPError(404, {status!r})"
            ) from None
        if not is_error:
            raise UsageError(
                f"HTTPError takes a status from 400 to 599, not {status}: "
                "send other answers with res.status()"
            )
        if type(self) is not HTTPError:  # it may have other bases; its own have nothing to do
            super().__init__(status, detail)
        self.status = status
        self.detail = detail
        self.headers: dict[str, str] = dict(headers) if headers else {}
        self.extensions: dict[str, Any] = extensions

    def __str__(self) -> str:
        title = f"{self.status} {reason_phrase(self.status)}"
        return f"{title}: {self.detail}" if self.detail else title


class FolderFound(HTTPError):
    """Where `res.send_file()` was to send a file there is a folder: 404."""

    def __init__(self) -> None:
        super().__init__(404, "there is no such file")


class MissingKey(HTTPError, KeyError):
    """
    What the client sent lacks a name that was looked up, as in `req.query["tag"]`: 400.

    It is a KeyError, as of any mapping, with the name in its `args`. Where the client may leave it
    out, use `get()`.

    Args:
        what: What was looked into, as a sentence begins: `"the query has no"`.
        name: The name that is not there.
    """

    def __init__(self, what: str, name: object) -> None:
        super().__init__(400, f"{what} {name!r}")
        self.args: tuple[Any, ...] = (name,)


class RangeNotSatisfiable(HTTPError):
    """
    Nothing of what a Range field asks for is there: 416, with the size in Content-Range.

    Args:
        size: Length of the whole representation, in bytes.

    Source: RFC 9110 §14.4 and §15.5.17.
    """

    def __init__(self, size: int) -> None:
        super().__init__(
            416,
            f"the range asked for lies outside of the {size} bytes there are",
            headers={"content-range": f"bytes */{size}"},
        )


class ClientDisconnected(NardisError):
    """
    The client left while something was still being read or written for it.

    Args:
        message: What happened.
        code: Of a WebSocket, how it ended: the code of the first Close frame (RFC 6455 §7.4), 1005
            if that had none, 1006 if there was none. None for a request.

    Attributes:
        code: As given.
    """

    def __init__(self, message: str = "the client left", *, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class ResponseAborted(NardisError):
    """The response was cut before its end: its connection is closed, or its stream reset."""


class SkipRoute(Exception):
    """
    Leave the current route without an answer; the next matching one goes on.

    Raised in a task group, it leaves that as a group of one error, and means the same.
    """


class NotModified(Exception):
    """
    The client's copy is still good: the answer is a 304 without a body.

    Args:
        headers: Fields of the answer, such as its ETag; those already set win.

    Source: RFC 9110 §13.2.2 and §15.4.5.
    """

    def __init__(self, headers: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.headers: dict[str, str] = dict(headers) if headers else {}
