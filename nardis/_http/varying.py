"""
The Vary field: what an answer depends on.

Source: RFC 9110 §12.5.5.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import FieldError
from .fields import check_name

__all__ = ["merge_vary"]


def merge_vary(current: str, names: Iterable[str]) -> str:
    """
    Add field names to a Vary field, each once; `*` stands for everything and wins.

    Names are compared without regard to case and written as they came first, in the order in which
    they came. One of *names* may hold several, separated by commas.

    Args:
        current: The field value so far, several lines joined by `", "`; it is not checked.
        names: What the answer depends on as well.

    Returns:
        The field value; empty for no names at all, where no field should be sent.

    Raises:
        FieldError: One of *names* is no str, or has a name in it that is no token.

    Source: RFC 9110 §12.5.5.
    >>> merge_vary("Accept, origin", ["Origin", "Accept-Encoding"])
    'Accept, origin, Accept-Encoding'
    >>> merge_vary("Accept", ["*"])
    '*'
    """
    listed: dict[str, str] = {}
    for piece in current.split(","):
        name = piece.strip(" \t")
        listed.setdefault(name.lower(), name)
    for each in names:
        try:
            pieces = each.split(",")
        except AttributeError:
            raise FieldError(f"vary() takes header names, not {type(each).__name__}") from None
        for piece in pieces:
            name = piece.strip(" \t")
            if name:
                check_name(name)  # `*` is a token like another
                listed.setdefault(name.lower(), name)
    listed.pop("", None)
    return "*" if "*" in listed else ", ".join(listed.values())
