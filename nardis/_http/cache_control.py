"""
The Cache-Control field: written for a response, and read from a request.

Source: RFC 9111 §5.2 (directives) and §1.2.2 (seconds); RFC 5861 §3 and §4 (stale answers); RFC
8246 §2 (immutable).
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final, TypeAlias, TypedDict

from ..errors import UsageError
from .grammar import QUOTED_TEXT, TOKEN, split, unescape

__all__ = ["Directives", "cache_control", "parse_cache_control"]

Seconds: TypeAlias = int | float | timedelta

# RFC 9111 §1.2.2: a cache reads anything longer as this, 68 years.
_FOREVER_S: Final = 2**31

_QUOTED = re.compile(f'"({QUOTED_TEXT})"')

# Of two restrictions the stricter one is honored (RFC 9111 §4.2.1), and `no-store, no-cache,
# must-revalidate` is there for old caches. But where one directive grants what the other takes
# back, the author meant something else. Zero seconds grant nothing. No contradiction is s_maxage
# beside an answer used stale: §4.2.4 forbids that to shared caches alone.
_LIFETIMES: Final = ("max_age", "s_maxage")
_STALE: Final = ("stale_while_revalidate", "stale_if_error")
_CONTRADICTIONS: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    "private": (
        ("public", "s_maxage"),
        "no shared cache stores a private answer (RFC 9111 §5.2.2.7)",
    ),
    "no_store": (
        ("public", *_LIFETIMES, "immutable", *_STALE),
        "nobody can use again what is not stored (RFC 9111 §5.2.2.5)",
    ),
    "no_cache": (
        (*_LIFETIMES, "immutable", *_STALE),
        "no_cache has the origin asked each time (RFC 9111 §5.2.2.4)",
    ),
    "must_revalidate": (
        _STALE,
        "must_revalidate lets no cache use a stale answer (RFC 9111 §4.2.4)",
    ),
}


class Directives(TypedDict, total=False):
    """What `cache_control` takes."""

    max_age: Seconds
    s_maxage: Seconds
    public: bool
    private: bool
    no_store: bool
    no_cache: bool
    no_transform: bool
    must_revalidate: bool
    proxy_revalidate: bool
    must_understand: bool
    immutable: bool
    stale_while_revalidate: Seconds
    stale_if_error: Seconds


def cache_control(
    *,
    max_age: Seconds | None = None,
    s_maxage: Seconds | None = None,
    public: bool = False,
    private: bool = False,
    no_store: bool = False,
    no_cache: bool = False,
    no_transform: bool = False,
    must_revalidate: bool = False,
    proxy_revalidate: bool = False,
    must_understand: bool = False,
    immutable: bool = False,
    stale_while_revalidate: Seconds | None = None,
    stale_if_error: Seconds | None = None,
) -> str:
    """
    Write a Cache-Control field for a response.

    Fractions of a second are dropped. More than 2**31 seconds are written as that, which is what
    caches read them as.

    Args:
        max_age: How long it is fresh; as the others, in seconds or a timedelta.
        s_maxage: The same for shared caches, which afterwards must ask the origin.
        public: Any cache may store it, even an answer to a request with Authorization.
        private: No shared cache may store it.
        no_store: No cache may store it.
        no_cache: A cache has to ask the origin each time before it uses it.
        no_transform: Nobody on the way may change the body.
        must_revalidate: Once it is stale, no cache may use it without asking the origin.
        proxy_revalidate: The same for shared caches.
        must_understand: A cache that knows this directive, and what the status asks of caches, is
            to ignore `no_store`, which should stand beside it for the others.
        immutable: It does not change while it is fresh, so that even a reload need not ask.
        stale_while_revalidate: How long after that a cache may use it while it asks anew.
        stale_if_error: How long after that a cache may use it if the origin fails.

    Raises:
        UsageError: No directive at all, or two of which one takes back what the other grants:
            `private` beside `public` or `s_maxage`; `no_store` beside anything that grants storing
            or lifetime, unless `must_understand` lifts it; `no_cache` beside a lifetime; what may
            be used stale beside `no_cache` or `must_revalidate`. Zero seconds grant nothing. Or a
            number of seconds that is below zero, or none.

    Source: RFC 9111 §5.2.2; RFC 5861 §3 and §4; RFC 8246 §2.
    >>> cache_control(public=True, max_age=timedelta(days=365), immutable=True)
    'public, max-age=31536000, immutable'
    """
    flags = {
        "public": public,
        "private": private,
        "no_store": no_store,
        "no_cache": no_cache,
        "no_transform": no_transform,
        "must_understand": must_understand,
        "must_revalidate": must_revalidate,
        "proxy_revalidate": proxy_revalidate,
    }
    times = {
        "max_age": max_age,
        "s_maxage": s_maxage,
        "stale_while_revalidate": stale_while_revalidate,
        "stale_if_error": stale_if_error,
    }
    seconds = {name: _seconds(name, time) for name, time in times.items() if time is not None}
    given = [name for name, is_set in flags.items() if is_set]
    given += [*seconds, *(["immutable"] if immutable else [])]
    if not given:
        raise UsageError("cache() without a directive says nothing: try cache(max_age=60)")
    _check_contradictions({name for name in given if seconds.get(name, 1)})
    return ", ".join(
        name.replace("_", "-") + (f"={seconds[name]}" if name in seconds else "") for name in given
    )


def parse_cache_control(value: str) -> dict[str, str | None]:
    """
    Read a Cache-Control field into its directives, by their names in small letters.

    It is forgiving, as caches are: the first of a name wins (RFC 9111 §4.2.1), what has no name is
    skipped, and an argument that is neither a token nor a quoted string stays as it was sent, for
    the caller to find that it is no number. Directives after the first hundred are ignored.

    Args:
        value: The combined field value.

    Returns:
        The argument of each directive; None for one without.

    Source: RFC 9111 §5.2; RFC 9110 §5.6.
    >>> parse_cache_control('No-Cache, max-age=60, ext="a, b", max-age=1')
    {'no-cache': None, 'max-age': '60', 'ext': 'a, b'}
    """
    directives: dict[str, str | None] = {}
    for piece in split(value, ","):
        name, equals, argument = piece.partition("=")
        name, argument = name.strip(" \t"), argument.strip(" \t")
        if TOKEN.fullmatch(name):
            quoted = _QUOTED.fullmatch(argument)
            text = unescape(quoted[1]) if quoted else argument
            directives.setdefault(name.lower(), text if equals else None)
    return directives


def _seconds(name: str, time: object) -> int:
    """Return whole seconds, as caches can read them."""
    if isinstance(time, timedelta):
        whole: float = time // timedelta(seconds=1)
    elif isinstance(time, (int, float)) and not isinstance(time, bool):
        whole = time
    else:
        raise UsageError(f"{name} takes seconds or a timedelta, not {type(time).__name__}")
    if not whole >= 0:  # nor is NaN
        raise UsageError(f"{name} takes 0 seconds or more; no answer is fresh in the past")
    return int(min(whole, _FOREVER_S))


def _check_contradictions(given: set[str]) -> None:
    """Raise a UsageError for a directive that takes back what another one grants."""
    for stricter, (granting, reason) in _CONTRADICTIONS.items():
        if stricter == "no_store" and "must_understand" in given:
            continue  # RFC 9111 §5.2.2.3: it is for caches that do not know must-understand
        for name in granting:
            if stricter in given and name in given:
                raise UsageError(
                    f"cache() got both {stricter} and {name}, but {reason}: leave one of them out"
                )
