"""
Cookies: the Cookie field is read as servers must, Set-Cookie is written as browsers want it.

The reader is forgiving, piece by piece, in linear time. The writer forgives nothing: browsers drop
a cookie, or one of its attributes, without a word, and the program that set it is where the mistake
can be found.

Source: RFC 6265 §4.1 and §5.4; RFC 6265bis (draft 22) §4.1, §5.4, §5.6, §5.7 and §5.8.3.
"""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias, TypedDict
from urllib.parse import quote, unquote

from ..errors import FieldError, HTTPError
from .dates import format_date
from .grammar import TOKEN

__all__ = [
    "MAX_COOKIES",
    "MAX_COOKIE_BYTES",
    "Clearing",
    "SameSite",
    "format_cookie",
    "is_same_cookie",
    "parse_cookies",
]

# As many as browsers keep for one site, more or less: RFC 6265 §6.1 asks for 50 or more.
MAX_COOKIES: Final = 100

# Name and value together, without the `=`. Browsers drop a longer cookie (RFC 6265bis §5.6).
MAX_COOKIE_BYTES: Final = 4096

# The value of one attribute. Browsers ignore a longer one (RFC 6265bis §5.6).
MAX_ATTRIBUTE_BYTES: Final = 1024

# A longer name has no place in DNS (RFC 1035 §2.3.4: 255 octets on the wire).
MAX_DOMAIN_CHARS: Final = 253

# Spelled as browsers' documentation does, or in lower case; other spellings are accepted too.
SameSite: TypeAlias = Literal["lax", "strict", "none", "Lax", "Strict", "None"]

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")

# What encodeURIComponent leaves alone and `quote` would not. Only cookie-octets (RFC 6265 §4.1.1)
# remain, and `_decode` reads the escapes back.
_KEPT = "!'()*"

# av-octets (RFC 6265bis §4.1.1) but for SP, which no request has in its path, so that the cookie
# would never come back, and `<`, which Express refuses.
_PATH = re.compile(r"/[!-:=-~]*")

# <subdomain> of RFC 1034 §3.5, whose labels may begin with a digit (RFC 1123 §2.1). The dot in
# front means nothing any more (RFC 6265 §5.2.3), and old programs write it.
_LABEL = "[0-9A-Za-z](?:[-0-9A-Za-z]{0,61}[0-9A-Za-z])?"
_DOMAIN = re.compile(rf"\.?{_LABEL}(?:\.{_LABEL})*")

_SAME_SITES = {"lax": "Lax", "strict": "Strict", "none": "None"}

# Browsers compare them in any case (RFC 6265bis §5.4). The first two: §4.1.3; the others:
# layered-cookies (draft 02) §4.1.3.3 and §4.1.3.4.
_PREFIX = re.compile(r"__(?:secure|(host)(?:-(http))?|(http))-", re.IGNORECASE)


# --- Cookie ---------------------------------------------------------------------------------------


def parse_cookies(value: str, max_cookies: int = MAX_COOKIES) -> list[tuple[str, str]]:
    """
    Read a Cookie field into its pairs, in the order sent, duplicates included.

    A piece without `=` or without a name is skipped and never costs the others (a nameless
    `=__Host-sid=x` must not become a name). Only SP and HTAB are trimmed. Double quotes belong to
    the value and stay, as in RFC 6265bis §4.1.1 and in Express's `cookie` since 1.0 (its 0.7 strips
    them); nothing is decoded octally. Values are percent-decoded as UTF-8; one with an invalid
    escape stays as sent. Names are never decoded.

    Args:
        value: The combined field value; several lines are joined by `"; "` (RFC 9113 §8.2.3).
        max_cookies: How many pairs may come.

    Raises:
        HTTPError: 431, there are more than *max_cookies* pairs.

    Source: RFC 6265 §5.4; RFC 6265bis §4.1.1 and §5.8.3; RFC 6585 §5.
    >>> parse_cookies('a=1; foo; sid="x y"; c=%20; a=2')
    [('a', '1'), ('sid', '"x y"'), ('c', ' '), ('a', '2')]
    """
    pairs: list[tuple[str, str]] = []
    for piece in value.split(";"):
        name, equals, text = piece.partition("=")
        if equals and (name := name.strip(" \t")):
            if len(pairs) >= max_cookies:
                raise HTTPError(431, f"more than {max_cookies} cookies")
            pairs.append((name, _decode(text.strip(" \t"))))
    return pairs


def _decode(text: str) -> str:
    """Percent-decode a value; what ECMAScript's decodeURIComponent refuses stays as it is."""
    if "%" not in text or _BAD_ESCAPE.search(text):
        return text
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        return text


# --- Set-Cookie -----------------------------------------------------------------------------------


def format_cookie(
    name: str,
    value: str,
    *,
    max_age: int | float | timedelta | None = None,
    expires: datetime | float | None = None,
    path: str | None = "/",
    domain: str | None = None,
    secure: bool,
    http_only: bool = True,
    same_site: SameSite | None = "lax",
    partitioned: bool = False,
) -> str:
    """
    Write the value of a Set-Cookie field; its attributes stand in Express's order.

    Args:
        name: A token; its case matters.
        value: Any text. What ECMAScript's encodeURIComponent would escape is percent-encoded as
            UTF-8, so that `parse_cookies` returns the same text.
        max_age: Seconds to live, without their fraction. 0 or less removes the cookie. It wins over
            *expires*; with neither, the cookie ends with the browser's session.
        expires: The end, as `format_date` takes it.
        path: Where the cookie is sent; `None` is the directory of the request's path.
        domain: The domain whose subdomains get it too; `None` is this host alone.
        secure: Only over TLS.
        http_only: Hidden from scripts.
        same_site: `"lax"`, `"strict"` or `"none"`, in any case; `None` leaves it to the browser.
        partitioned: A jar of its own for each site that embeds this one (CHIPS).

    Raises:
        FieldError: Something in it is malformed or too long, or browsers would refuse the
            combination. The message never holds the value, which may be a secret.
        UsageError: `format_date` refuses *expires*.

    Source: RFC 6265bis §4.1 (the form), §5.6 (lengths), §5.4 and §5.7 (combinations).
    >>> format_cookie("sid", "a b", max_age=60, secure=True)
    'sid=a%20b; Max-Age=60; Path=/; HttpOnly; Secure; SameSite=Lax'
    """
    _check_name(name)
    pieces = [f"{name}={_encode(name, value)}"]
    if max_age is not None:
        pieces.append(f"Max-Age={_seconds(name, max_age)}")
    if domain is not None:
        pieces.append(f"Domain={_checked_domain(name, domain)}")
    if path is not None:
        pieces.append(f"Path={_checked_path(name, path)}")
    if expires is not None:
        pieces.append(f"Expires={_date(name, expires)}")
    flags = {"HttpOnly": http_only, "Secure": secure, "Partitioned": partitioned}
    pieces += [flag for flag, wanted in flags.items() if wanted]
    site = None if same_site is None else _checked_site(name, same_site)
    if site is not None:
        pieces.append(f"SameSite={site}")
    if not secure and (partitioned or site == "None"):
        which = "partitioned" if partitioned else "same_site='none'"
        raise _wrong(name, f"browsers refuse {which} without secure=True")
    _check_prefix(name, secure, http_only, everywhere=path == "/" and domain is None)
    return "; ".join(pieces)


class Clearing(TypedDict, total=False):
    """What of a cookie has to be said again when it is cleared, beside its place."""

    secure: bool | None
    same_site: SameSite | None
    partitioned: bool


def is_same_cookie(one: bytes, other: bytes) -> bool:
    """
    Return whether two Set-Cookie lines are for one cookie: one name, domain, path and partition.

    Source: RFC 6265 §5.3, step 11.
    >>> is_same_cookie(b"a=1; Path=/", b"a=2; Max-Age=0; Path=/")
    True
    """
    return _identity(one) == _identity(other)


def _identity(line: bytes) -> tuple[bytes, bytes, bytes, bool]:
    pair, *attributes = line.split(b"; ")
    known = {key: value for key, _, value in (each.partition(b"=") for each in attributes)}
    domain = known.get(b"Domain", b"").lower().removeprefix(b".")
    partitioned = b"Partitioned" in known
    return pair.partition(b"=")[0], domain, known.get(b"Path", b""), partitioned


def _wrong(name: str, why: str) -> FieldError:
    return FieldError(f"cookie {name[:64]!r}: {why}")


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise FieldError(f"a cookie's name is a str, not {type(name).__name__}")
    found = TOKEN.match(name)
    end = found.end() if found else 0
    if not name or end < len(name):
        # Not the name itself: `sid=secret` may have been meant as a name and its value.
        what = f"has {name[end]!r} at position {end}" if name else "is empty"
        raise FieldError(
            f"a cookie's name {what}: use ASCII letters, digits and any of !#$%&'*+-.^_`|~"
        )


def _check_prefix(name: str, secure: bool, http_only: bool, *, everywhere: bool) -> None:
    """Refuse a name whose prefix promises what the attributes do not keep."""
    if not (found := _PREFIX.match(name)):
        return
    host, host_http, http = found.groups()
    if not secure:
        raise _wrong(name, f"browsers refuse {found[0]} without secure=True")
    if (host_http or http) and not http_only:
        raise _wrong(name, f"browsers refuse {found[0]} without http_only=True")
    if host and not everywhere:
        raise _wrong(name, f"browsers refuse {found[0]} with a domain, or a path other than '/'")


def _encode(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise _wrong(
            name,
            f"the value is a str, not {type(value).__name__}: encode it first, "
            "for example with json.dumps()",
        )
    try:
        encoded = quote(value, safe=_KEPT)
    except UnicodeEncodeError as exc:
        raise _wrong(
            name,
            f"the value has half a surrogate pair at position {exc.start}, which UTF-8 lacks",
        ) from None
    if (size := len(name) + len(encoded)) > MAX_COOKIE_BYTES:
        raise _wrong(
            name,
            f"name and encoded value have {size} bytes, and browsers silently drop a cookie of "
            f"more than {MAX_COOKIE_BYTES}: keep the data on the server, and only its id here",
        )
    return encoded


def _seconds(name: str, max_age: object) -> int:
    if isinstance(max_age, timedelta):
        return max_age // timedelta(seconds=1)
    if not isinstance(max_age, (int, float)) or isinstance(max_age, bool):
        raise _wrong(
            name, f"max_age is a number of seconds or a timedelta, not {type(max_age).__name__}"
        )
    try:
        float(max_age)  # an int beyond all floats: str() refuses the longest of them
        return math.floor(max_age)
    except (OverflowError, ValueError):  # a ValueError is one of `nan`
        raise _wrong(name, "max_age is not finite, or far too large") from None


def _checked_domain(name: str, domain: object) -> str:
    if isinstance(domain, str) and len(domain) <= MAX_DOMAIN_CHARS and _DOMAIN.fullmatch(domain):
        return domain
    shown = repr(domain[:64]) if isinstance(domain, str) else type(domain).__name__
    raise _wrong(
        name,
        f"{shown} is no domain: write its name alone, without scheme, port and final dot, and "
        "outside of ASCII as Punycode (xn--...)",
    )


def _checked_path(name: str, path: object) -> str:
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        shown = repr(path[:64]) if isinstance(path, str) else type(path).__name__
        raise _wrong(
            name,
            f"{shown} is no path: it begins with '/', and what is not printable ASCII, a blank, "
            "';' and '<' are percent-encoded",
        )
    if len(path) > MAX_ATTRIBUTE_BYTES:
        raise _wrong(
            name,
            f"the path has {len(path)} bytes, and browsers ignore one of more than "
            f"{MAX_ATTRIBUTE_BYTES}",
        )
    return path


def _checked_site(name: str, same_site: object) -> str:
    site = _SAME_SITES.get(same_site.lower()) if isinstance(same_site, str) else None
    if site is None:
        raise _wrong(name, "same_site is 'lax', 'strict', 'none' or None")
    return site


def _date(name: str, expires: datetime | float) -> str:
    date = format_date(expires)
    # RFC 6265 §5.1.1: browsers ignore such a date, and keep a cookie that was to be removed.
    if date[12:16] < "1601":
        raise _wrong(name, "expires lies before 1601, which browsers ignore: 0 removes a cookie")
    return date
