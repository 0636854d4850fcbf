"""
Header fields: what may be sent, how long a body is, and which messages and fields are special.

Source: RFC 9110 §5.1 and §5.5 (names and values), §8.6 (Content-Length), §9.3 and §15 (messages
without a body); RFC 9113 §8.2.2 (fields of a connection).
"""

from __future__ import annotations

from typing import Final

from ..errors import FieldError, HTTPError
from .grammar import CONTROL, TOKEN

__all__ = [
    "BODILESS_METHODS",
    "BODILESS_STATUSES",
    "CONNECTION_SPECIFIC",
    "RESET_CONTENT",
    "check_name",
    "check_trailer",
    "check_value",
    "content_length",
    "declared_length",
]

# Statuses whose messages have no body, and no length either (RFC 9110 §8.6, §15.3.5, §15.4.5).
BODILESS_STATUSES: Final = frozenset({204, 304})

# Its message has no body either, but says so by a length of 0 (RFC 9110 §15.3.6).
RESET_CONTENT: Final = 205

# Methods whose requests carry a body only if they say so (RFC 9110 §9.3).
BODILESS_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "CONNECT"})

# RFC 9113 §8.2.2: an HTTP/2 message with one of these is malformed.
CONNECTION_SPECIFIC: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)

# What a client needs before the body: framing, routing, what the body is, what may be done with it,
# and who asks (RFC 9110 §6.5.1).
NO_TRAILERS: Final = frozenset(
    {
        *CONNECTION_SPECIFIC,
        b"age",
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"date",
        b"expires",
        b"host",
        b"location",
        b"proxy-authenticate",
        b"retry-after",
        b"set-cookie",
        b"te",
        b"trailer",
        b"vary",
        b"www-authenticate",
    }
)

# The names that an application sets come from its source code. An application that makes up names
# must not grow this cache without bound.
CACHED_NAMES: Final = 1024
CACHED_NAME_CHARS: Final = 64

# No disk is larger than 10**18 bytes, and int() refuses numbers of 4,301 digits with an error of
# its own.
MAX_LENGTH_DIGITS: Final = 18

_names: dict[str, bytes] = {}


# --- what may be sent -----------------------------------------------------------------------------


def check_name(name: str) -> bytes:
    """
    Check a field name, and return its bytes for the wire, in lower case as ASGI wants them.

    Raises:
        FieldError: The name is no str or no token.

    Source: RFC 9110 §5.1 and §5.6.2.
    >>> check_name("Content-Type")
    b'content-type'
    """
    try:
        known = _names.get(name)
    except TypeError:  # a list or another unhashable thing: the slow path says what is wrong
        known = None
    return known if known is not None else _check_new_name(name)


def check_value(name: str, value: str | int) -> bytes:
    r"""
    Check a field value, and return its bytes for the wire, without blanks around it.

    Args:
        name: The field's name, for the message of an error.
        value: Latin-1 text, or an int, which is written in decimal.

    Raises:
        FieldError: The value is neither a str nor an int, holds CR, LF, NUL or another control
            character than HTAB, or cannot be encoded. The message never holds the value, which may
            be a secret.

    Source: RFC 9110 §5.5.
    >>> check_value("x-total", 42), check_value("x-name", " café ")
    (b'42', b'caf\xe9')
    """
    # Printable ASCII is exactly SP and VCHAR, and asking for it costs less than a regular
    # expression.
    if type(value) is str and value.isascii() and value.isprintable():
        return value.strip(" ").encode()
    return _check_odd_value(name, value)


def check_trailer(name: str, value: str | int) -> tuple[bytes, bytes]:
    """
    Check a field that is to stand behind the body, and return its name and value for the wire.

    Raises:
        FieldError: As for `check_name` and `check_value`, and for a field that a client needs
            before the body.

    Source: RFC 9110 §6.5.1.
    >>> check_trailer("X-Checksum", "9e10")
    (b'x-checksum', b'9e10')
    """
    key = check_name(name)
    if key in NO_TRAILERS:
        raise FieldError(
            f"{name!r} cannot be a trailer: the client needs it before the body, so use res.set()"
        )
    return key, check_value(name, value)


# --- how long a body is ---------------------------------------------------------------------------


def content_length(value: bytes | None) -> int | None:
    """
    Read a Content-Length field; `None` when there is no such field.

    Only digits: no sign, no blank, no list, not even of equal numbers, which the RFC lets a server
    refuse. `declared_length` reads the same without an error.

    Raises:
        HTTPError: 400, it is no number, or one of 10**18 or more.

    Source: RFC 9110 §8.6.
    >>> content_length(b"0042")
    42
    """
    length = declared_length(value)
    if length is None and value is not None:
        raise HTTPError(400, "malformed Content-Length")
    return length


def declared_length(value: bytes | None) -> int | None:
    """
    Read a Content-Length field as `content_length` does; `None` also when it cannot be read.

    It is for a field that was checked before, and for code that has an error of its own.

    Source: RFC 9110 §8.6.
    >>> declared_length(b"42"), declared_length(b"+42"), declared_length(None)
    (42, None, None)
    """
    if value is None or not value.isdigit():
        return None
    if len(value) <= MAX_LENGTH_DIGITS:  # the short way
        return int(value)
    digits = value.lstrip(b"0")
    return int(digits or b"0") if len(digits) <= MAX_LENGTH_DIGITS else None


# --- the slow paths -------------------------------------------------------------------------------


def _check_new_name(name: object) -> bytes:
    if not isinstance(name, str):
        raise FieldError(f"a header name is a str, not {type(name).__name__}")
    if not TOKEN.fullmatch(name):
        raise FieldError(
            f"{name[:64]!r} cannot be a header name: "
            "use ASCII letters, digits and any of !#$%&'*+-.^_`|~"
        )
    encoded = name.lower().encode("ascii")
    if len(name) <= CACHED_NAME_CHARS:
        if len(_names) >= CACHED_NAMES:
            _names.clear()
        _names[name] = encoded
    return encoded


def _check_odd_value(name: str, value: object) -> bytes:
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return b"%d" % value
        except ValueError as exc:  # int to str conversion is limited to 4,300 digits
            raise FieldError(f"the value of header {name!r} has too many digits") from exc
    if not isinstance(value, str):
        raise FieldError(
            f"the value of header {name!r} is a str or an int, not {type(value).__name__}: "
            "convert it first"
        )
    text = value.strip(" \t")
    if found := CONTROL.search(text):
        raise FieldError(
            f"the value of header {name!r} has the control character {found[0]!r} at position "
            f"{found.start()}: remove or encode it, a field is one line of text"
        )
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as exc:
        raise FieldError(
            f"the value of header {name!r} has {text[exc.start]!r} at position {exc.start}, which "
            "Latin-1 lacks: percent-encode it (a URL) or write the parameter as name*=UTF-8''... "
            "(RFC 8187)"
        ) from None
