"""
The cookies of the test client: which ones it keeps, and which a request gets.

It does what browsers do, with three exceptions. There is no list of public suffixes: only a domain
of one label is refused. A cookie without a name is ignored, as in RFC 6265. SameSite and
Partitioned mean nothing, since the client shows no page of another site.

Source: RFC 6265 §5; RFC 6265bis (draft 22) §5.4 (prefixes), §5.6 (lengths) and §5.7 (Secure).
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

from .._http.cookies import MAX_ATTRIBUTE_BYTES, MAX_COOKIE_BYTES
from .._http.grammar import CONTROL
from .._http.hosts import subdomains
from ..errors import FieldError

__all__ = ["CookieJar", "Place"]

_MAX_AGE = re.compile(r"-?[0-9]+")

# A date falls into pieces at these. Each pattern reads one kind of piece, from its beginning, with
# anything behind the digits (RFC 6265 §5.1.1).
_DELIMITERS = re.compile(r"[\t -/;-@\[-`{-~]+")
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?![0-9])")
_DAY = re.compile(r"([0-9]{1,2})(?![0-9])")
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_MONTH = re.compile(rf"({'|'.join(_MONTHS)})", re.IGNORECASE)
_YEAR = re.compile(r"([0-9]{2,4})(?![0-9])")

# What comes before is no date (RFC 6265 §5.1.1, step 5).
_FIRST_YEAR: Final = 1601

# Beside control characters: the end of a cookie, and half of a surrogate pair, but for those that
# stand for bytes that are no UTF-8.
_UNSENDABLE = re.compile(r"[;\ud800-\udc7f\udd00-\udfff]")

# Longer than any test, and a number that can still be added to a time.
_LONGEST_S: Final = 10**12


@dataclass(frozen=True, slots=True)
class Place:
    """
    Where a request goes, as far as its cookies depend on it.

    Attributes:
        host: In lower case, without a port.
        path: As it goes over the wire, without the query.
        secure: Whether the scheme is https.
    """

    host: str
    path: str
    secure: bool


class _Key(NamedTuple):
    """What makes two cookies one (RFC 6265bis §5.7)."""

    name: str
    domain: str
    host_only: bool
    path: str

    def is_for(self, host: str) -> bool:
        """Return whether *host* gets it (RFC 6265 §5.4, step 1)."""
        return host == self.domain if self.host_only else _covers(self.domain, host)

    def shadows(self, other: _Key) -> bool:
        """Return whether a request could get it in the place of *other* (RFC 6265bis §5.7)."""
        return (
            self.name == other.name
            and _is_below(self.path, other.path)
            and (_covers(self.domain, other.domain) or _covers(other.domain, self.domain))
        )


class _Cookie(NamedTuple):
    value: str
    secure: bool
    expires: float


class CookieJar(MutableMapping[str, str]):
    """
    The cookies of a client: what responses set is sent back where it belongs.

    As a mapping it has the cookies of the client's own host, names to values as they go over the
    wire. It has them whatever their path, and with Secure too. Where several have one name, it has
    the value of the longest path.

    An assignment replaces them all by one cookie for that host, for each path and scheme, and until
    the end of the client. It is made by hand, so prefixes of its name demand nothing. What a Cookie
    field cannot hold, or a server would read otherwise, is a `FieldError`; to send that, give the
    request a Cookie field among its headers.

    A deletion deletes them all. `clear()` empties the jar, other hosts included.

    Args:
        host: The client's own host.
        clock: What time it is, in unix seconds.

    Attributes:
        clock: The clock above. A test sets another one to let cookies expire:
            `client.cookies.clock = lambda: time.time() + 3600`.

    Source: RFC 6265 §5.3 and §5.4.
    >>> jar = CookieJar()
    >>> jar.keep([b"a=1; Path=/x", b"b=2; Max-Age=0"], Place("testserver", "/", secure=False))
    >>> jar == {"a": "1"}, jar.matching(Place("testserver", "/y", secure=False))
    (True, [])
    """

    def __init__(self, host: str = "testserver", *, clock: Callable[[], float] = time.time) -> None:
        self.clock: Callable[[], float] = clock
        self._host = host
        # A cookie that is set again keeps its place, which is its age (RFC 6265 §5.3, step 11).
        self._kept: dict[_Key, _Cookie] = {}

    # --- of the client ---

    def keep(self, lines: Iterable[bytes], place: Place) -> None:
        """
        Keep what the Set-Cookie fields *lines* of a response from *place* say.

        Source: RFC 6265 §5.3; RFC 6265bis §5.7.
        """
        now = self.clock()
        self._kept = dict(self._alive())
        # What comes in the clear leaves Secure cookies alone, so these stay the same.
        secure = [] if place.secure else [key for key, old in self._kept.items() if old.secure]
        for line in lines:
            found = _read(line, place, now)
            if found is None or any(found[0].shadows(key) for key in secure):
                continue
            key, cookie = found
            if cookie.expires > now:
                self._kept[key] = cookie
            else:
                self._kept.pop(key, None)

    def matching(self, place: Place) -> list[tuple[str, str]]:
        """
        Return what a request to *place* sends: longer paths first, then older cookies.

        Source: RFC 6265 §5.4.
        """
        return [
            (key.name, cookie.value)
            for key, cookie in self._at(place.host)
            if _is_below(place.path, key.path) and (place.secure or not cookie.secure)
        ]

    def _alive(self) -> list[tuple[_Key, _Cookie]]:
        now = self.clock()
        return [item for item in self._kept.items() if item[1].expires > now]

    def _at(self, host: str) -> list[tuple[_Key, _Cookie]]:
        """Return the cookies of *host* in the order of sending."""
        found = [item for item in self._alive() if item[0].is_for(host)]
        return sorted(found, key=lambda item: -len(item[0].path))

    # --- of the test ---

    def __getitem__(self, name: str) -> str:
        return self._shown()[name]

    def __setitem__(self, name: str, value: str) -> None:
        _check("name", name)
        _check("value", value)
        if not name or "=" in name:
            raise FieldError(f"{name[:64]!r} is no name of a cookie: it is empty, or has a '='")
        self._drop(name)
        self._kept[_Key(name, self._host, True, "/")] = _Cookie(value, False, math.inf)

    def __delitem__(self, name: str) -> None:
        if not self._drop(name):
            raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shown())

    def __len__(self) -> int:
        return len(self._shown())

    def __repr__(self) -> str:
        return f"CookieJar({self._shown()!r})"

    def clear(self) -> None:
        """Forget all cookies, those of other hosts too."""
        self._kept.clear()

    def _shown(self) -> dict[str, str]:
        shown: dict[str, str] = {}
        for key, cookie in self._at(self._host):
            shown.setdefault(key.name, cookie.value)
        return shown

    def _drop(self, name: str) -> bool:
        keys = [key for key, _ in self._at(self._host) if key.name == name]
        for key in keys:
            del self._kept[key]
        return bool(keys)


def _check(what: str, text: object) -> None:
    """Refuse what would not come back as it is; *what* of a cookie it is stands in the message."""
    if not isinstance(text, str):
        raise FieldError(f"the {what} of a cookie is a str, not {type(text).__name__}")
    if found := CONTROL.search(text) or _UNSENDABLE.search(text):
        raise FieldError(
            f"the {what} of a cookie has {found[0]!r} at position {found.start()}, which no Cookie "
            "field can hold"
        )
    if text != text.strip(" \t"):
        raise FieldError(f"the {what} of a cookie has a blank around it, which servers drop")


# --- Set-Cookie -----------------------------------------------------------------------------------


def _read(line: bytes, place: Place, now: float) -> tuple[_Key, _Cookie] | None:
    """Read a Set-Cookie field; None when browsers refuse the cookie."""
    text = line.decode("latin-1")  # so that characters are bytes
    pair, *attributes = text.split(";")
    name, equals, value = (piece.strip(" \t") for piece in pair.partition("="))
    if not (name and equals) or CONTROL.search(text) or len(name + value) > MAX_COOKIE_BYTES:
        return None
    known = _known(attributes)
    domain = known.get("domain", "").removeprefix(".").lower()
    secure = "secure" in known
    if not _may_have(domain, place.host) or (secure and not place.secure):
        return None
    prefix = name.lower()
    if prefix.startswith(("__secure-", "__host-")) and not secure:
        return None
    if prefix.startswith("__host-") and (domain or known.get("path") != "/"):
        return None
    # A host of one label, or one that is an address, has nothing below it.
    host_only = not domain or not _is_dotted_name(domain)
    path = known.get("path", "")
    key = _Key(
        _text(name),
        place.host if host_only else domain,
        host_only,
        path if path.startswith("/") else _folder(place.path),
    )
    return key, _Cookie(_text(value), secure, _end(known, now))


def _known(attributes: list[str]) -> dict[str, str]:
    """Return the attributes by name; the last of a name counts, but for one that is malformed."""
    known: dict[str, str] = {}
    for attribute in attributes:
        name, _, value = (piece.strip(" \t") for piece in attribute.partition("="))
        name = name.lower()
        is_malformed = (
            len(value) > MAX_ATTRIBUTE_BYTES
            or (name == "max-age" and not _MAX_AGE.fullmatch(value))
            or (name == "expires" and _moment(value) is None)
        )
        if not is_malformed:
            known[name] = value
    return known


def _text(octets: str) -> str:
    # As the client writes the Cookie field: what is not UTF-8 comes back as it was.
    return octets.encode("latin-1").decode("utf-8", "surrogateescape")


def _end(known: dict[str, str], now: float) -> float:
    """Return when the cookie expires; Max-Age wins (RFC 6265 §5.3, step 3)."""
    if (max_age := known.get("max-age")) is not None:
        seconds = int(max_age)
        return now + min(seconds, _LONGEST_S) if seconds > 0 else -math.inf
    moment = _moment(known["expires"]) if "expires" in known else None
    return math.inf if moment is None else moment


def _moment(date: str) -> int | None:
    """
    Read a date in any of the forms that cookies have, whose zone never counts.

    Source: RFC 6265 §5.1.1.
    """
    wanted = [_TIME, _DAY, _MONTH, _YEAR]
    found: dict[re.Pattern[str], tuple[str, ...]] = {}
    for piece in _DELIMITERS.split(date):
        for pattern in wanted:
            if match := pattern.match(piece):
                found[pattern] = match.groups()
                wanted.remove(pattern)
                break
    if wanted:
        return None
    hour, minute, second = map(int, found[_TIME])
    day, month = int(found[_DAY][0]), _MONTHS.index(found[_MONTH][0].lower()) + 1
    year = int(found[_YEAR][0])
    if year < 100:
        year += 1900 if year >= 70 else 2000
    if year < _FIRST_YEAR:
        return None
    try:
        return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp())
    except ValueError:  # a day that the month does not have, or an hour 24
        return None


# --- domains and paths ----------------------------------------------------------------------------


def _may_have(domain: str, host: str) -> bool:
    """Return whether a cookie from *host* may have this Domain (RFC 6265 §5.3, steps 5 and 6)."""
    return domain in ("", host) or ("." in domain.strip(".") and _covers(domain, host))


def _covers(domain: str, host: str) -> bool:
    """Return whether *host* is *domain* or below it (RFC 6265 §5.1.3)."""
    return host == domain or (host.endswith(f".{domain}") and _is_dotted_name(host))


def _is_dotted_name(host: str) -> bool:
    """Return whether a host is a name of two labels or more; an address is no name."""
    return len(subdomains(host, 0)) > 1


def _folder(path: str) -> str:
    """Return the path that a cookie has without one (RFC 6265 §5.1.4)."""
    return path[: path.rfind("/")] or "/"


def _is_below(path: str, folder: str) -> bool:
    """Return whether *path* is *folder* or below it (RFC 6265 §5.1.4)."""
    return path == folder or path.startswith(folder if folder.endswith("/") else f"{folder}/")
