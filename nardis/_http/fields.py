"""
Header fields: what may be sent, what a few of them mean, and which offer a client prefers.

Grammar: RFC 9110 §5.5 and §5.6. Media types: RFC 9110 §8.3. Host: RFC 9112 §3.2 and RFC 3986 §3.2.2. Content-Length:
RFC 9110 §8.6. Content negotiation: RFC 9110 §12.4 and §12.5; where the RFC leaves a choice, Express's answer.
"""

from __future__ import annotations

from ..errors import FieldError, HTTPError
from .grammar import _CONTROL, _TOKEN

__all__ = ["check_name", "check_value", "content_length"]


# Names an application sets come from its source code. One that makes them up must not grow this without bound.
CACHED_NAMES = 1024
CACHED_NAME_CHARS = 64

# No disk is larger than 10**18 bytes, and int() refuses numbers of 4,301 digits with an error of its own.
MAX_LENGTH_DIGITS = 18

# Beside text/*. RFC 8259 §11 gives JSON no charset parameter, but says nothing is lost by it, and Express sends it.
_TYPES_IN_UTF8 = frozenset(
    {"application/javascript", "application/json", "application/manifest+json"}
)

# What may be sent -----------------------------------------------------------------------------------------------------
_names: dict[str, bytes] = {}


def check_name(name: str) -> bytes:
    """
    Check a field name and give its bytes for the wire, in lower case as ASGI wants them.

    Raises:
        FieldError: The name is no str or no token.

    Source: RFC 9110 §5.1 and §5.6.2.
    >>> check_name("Content-Type")
    b'content-type'
    """
    try:
        known = _names.get(name)
    except (
        TypeError
    ):  # A list or another unhashable thing: the slow path says what is wrong with it.
        known = None
    return known if known is not None else _check_new_name(name)


def _check_new_name(name: object) -> bytes:
    if not isinstance(name, str):
        raise FieldError(f"a header name is a str, not {type(name).__name__}")
    if not _TOKEN.fullmatch(name):
        raise FieldError(
            f"{name[:64]!r} cannot be a header name: use ASCII letters, digits and any of !#$%&'*+-.^_`|~"
        )
    encoded = name.lower().encode("ascii")
    if len(name) <= CACHED_NAME_CHARS:
        if len(_names) >= CACHED_NAMES:
            _names.clear()
        _names[name] = encoded
    return encoded


def check_value(name: str, value: str | int) -> bytes:
    r"""
    Check a field value and give its bytes for the wire, without blanks around it.

    Args:
        name: The field's name, for the message of an error.
        value: Latin-1 text, or an int, which is written in decimal.

    Raises:
        FieldError: The value is neither a str nor an int, holds CR, LF, NUL or another control character than HTAB, or
            cannot be encoded. The message never holds the value, which may be a secret.

    Source: RFC 9110 §5.5.
    >>> check_value("x-total", 42), check_value("x-name", " café ")
    (b'42', b'caf\xe9')
    """
    # Printable ASCII is exactly SP and VCHAR, and asking for it costs less than a regular expression.
    if type(value) is str and value.isascii() and value.isprintable():
        return value.strip(" ").encode()
    return _check_odd_value(name, value)


def _check_odd_value(name: str, value: object) -> bytes:
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return b"%d" % value
        except ValueError as exc:  # int to str conversion is limited to 4,300 digits.
            raise FieldError(f"the value of header {name!r} has too many digits") from exc
    if not isinstance(value, str):
        raise FieldError(
            f"the value of header {name!r} is a str or an int, not {type(value).__name__}: convert it first"
        )
    text = value.strip(" \t")
    if found := _CONTROL.search(text):
        raise FieldError(
            f"the value of header {name!r} has the control character {found[0]!r} at position {found.start()}: "
            "remove or encode it, a field is one line of text"
        )
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as exc:
        raise FieldError(
            f"the value of header {name!r} has {text[exc.start]!r} at position {exc.start}, which Latin-1 lacks: "
            "percent-encode it (a URL) or write the parameter as name*=UTF-8''... (RFC 8187)"
        ) from None


# Single fields --------------------------------------------------------------------------------------------------------
def content_length(value: bytes | None) -> int | None:
    """
    Read a Content-Length field in bytes; `None` when there is no such field.

    Only digits: no sign, no blank, no list, not even of equal numbers, which the RFC lets a server refuse.

    Raises:
        HTTPError: 400, it is no number, or one beyond 10**18.

    Source: RFC 9110 §8.6.
    >>> content_length(b"0042")
    42
    """
    if value is None:
        return None
    digits = value.lstrip(b"0")
    if not value.isdigit() or len(digits) > MAX_LENGTH_DIGITS:
        raise HTTPError(400, "malformed Content-Length")
    return int(digits or b"0")
