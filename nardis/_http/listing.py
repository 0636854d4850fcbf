"""Options that are lists of texts, as each middleware takes them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import cast

from ..errors import UsageError

__all__ = ["listed"]


def listed(option: str, given: object) -> list[str]:
    """
    Return the texts of a list.

    Args:
        option: What it was given to, for the message: `"cors(methods=...)"`.
        given: Anything that can be iterated, but no text: one would be taken for a list of its
            letters.

    Raises:
        UsageError: It is no list, or has something else than texts in it.

    >>> listed("cors(methods=...)", ("GET", "PUT"))
    ['GET', 'PUT']
    """
    texts = None
    if not isinstance(given, (str, bytes)):
        with suppress(TypeError):
            texts = list(cast("Iterable[object]", given))
    if texts is None or not all(isinstance(each, str) for each in texts):
        example = f", such as [{given!r}]" if isinstance(given, str) else ""
        raise UsageError(f"{option} takes a list of texts{example}, not {given!r}")
    return cast("list[str]", texts)
