"""
Which names in a path may be those of files: nothing that means something else to some system.

Windows reads names in ways of its own: `aux.txt` is a device, `a.txt:b` a stream of `a.txt`, and
`a.txt.` is `a.txt`. These are refused everywhere, so that a folder has the same files on each
system.

Source: RFC 3986 §3.3 (dot segments); Microsoft, "Naming Files, Paths, and Namespaces".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

from ..errors import HTTPError

__all__ = ["Dotfiles", "check_names", "is_lawful"]

Dotfiles: TypeAlias = Literal["ignore", "deny", "allow"]

# The longest name of most file systems, in bytes.
MOST_BYTES: Final = 255

# Devices of Windows, with any extension and blanks before that; superscript digits count as digits.
_DEVICE = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|clock\$|(?:com|lpt)[0-9¹²³])\s*(?:[.:].*)?",
    re.IGNORECASE | re.DOTALL,
)

# What ends a name or begins another one on some system, and what no name should have.
_SEPARATORS = re.compile(r"[\x00-\x1f\x7f/\\:]")


def check_names(names: Iterable[str], dotfiles: Dotfiles) -> list[str] | None:
    """
    Return the names that lead to a file, without empty ones; None if there can be no such file.

    Args:
        names: The segments of a path, each decoded once.
        dotfiles: What to do about names that begin with a dot; `.` and `..` are never allowed.

    Raises:
        HTTPError: 403, a name begins with a dot and *dotfiles* is `"deny"`.

    >>> check_names(["", "css", "a.css"], "ignore"), check_names(["..", "a"], "allow")
    (['css', 'a.css'], None)
    """
    lawful: list[str] = []
    for name in names:
        if not name:
            continue
        if not is_lawful(name):
            return None
        if name.startswith(".") and dotfiles != "allow":
            if dotfiles == "deny":
                raise HTTPError(403, "names that begin with a dot are not for clients")
            return None
        lawful.append(name)
    return lawful


def is_lawful(name: str) -> bool:
    """
    Whether a name can be one of a file, on any system.

    >>> [is_lawful(name) for name in ("a b.txt", "..", "a/b", "Aux.html", "a.txt.", "..data")]
    [True, False, False, False, False, True]
    """
    if name in {".", ".."} or name[-1] in ". " or _SEPARATORS.search(name):
        return False
    try:
        size = len(name.encode())
    except UnicodeEncodeError:  # half of a surrogate pair: what some file systems make of bytes
        return False
    return size <= MOST_BYTES and not _DEVICE.fullmatch(name)
