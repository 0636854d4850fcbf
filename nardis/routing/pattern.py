"""Patterns of matchers: what a `pattern_cls` is, and the regular expressions of Nardis 0.0.7."""

from __future__ import annotations

import re
from typing import Any, Protocol

__all__ = ["PathMatcher", "RegexPattern"]


class PathMatcher(Protocol):
    """
    What a class given as `pattern_cls` makes of a pattern's text.

    It must say the same of the same path each time: answers may be remembered.
    """

    def match(self, path: str, /) -> bool:
        """Whether a decoded path matches."""
        ...

    def parse(self, path: str, /) -> dict[str, Any]:
        """Return the parameters of a path that matches."""
        ...


class RegexPattern:
    r"""
    A regular expression, searched for in the decoded path. Its named groups are the parameters.

    It matches anywhere unless it is anchored. Some regular expressions take time that grows
    exponentially with a path made for it, and the client chooses the path: prefer `/hello/:name`,
    which cannot.

    >>> pattern = RegexPattern(r"^/hello/(?P<name>\w+)/?$")
    >>> pattern.match("/hello"), pattern.parse("/hello/you")
    (False, {'name': 'you'})
    """

    def __init__(self, pattern: str) -> None:
        self.pattern: str = pattern
        self._regex = re.compile(pattern)

    def match(self, path: str) -> bool:
        """Whether the expression is found in *path*."""
        return self._regex.search(path) is not None

    def parse(self, path: str) -> dict[str, Any]:
        """Return the named groups, None for one that took no part; empty without a match."""
        found = self._regex.search(path)
        return found.groupdict() if found is not None else {}
