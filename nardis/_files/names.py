"""
Names of files, from the path of a request: what may be looked for at all.

The text alone decides, before the file system is asked. What is refused looks like a file that is
not there, so that nobody learns what lies outside. The rules are the same on every system: a
program that is safe where it was written is safe where it runs.

Source: RFC 3986 §2.4 (decoding) and §3.3 (segments); Microsoft, "Naming Files, Paths, and
Namespaces" (names that Windows reads as something else).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from ..errors import HTTPError

__all__ = [
    "MAX_NAMES",
    "MAX_NAME_BYTES",
    "Names",
    "check_names",
    "check_text",
    "is_hidden",
    "is_lawful",
]

# Folders below each other that a path may name. A client decides its length, and no site is deeper.
MAX_NAMES: Final = 100

# NAME_MAX of nearly all file systems, in UTF-8. Windows and macOS count 255 UTF-16 units, which are
# never more than the bytes.
MAX_NAME_BYTES: Final = 255

# What is in no name: controls, both separators, and the colon, behind which Windows has drives
# (`C:x`) and streams (`x.txt::$DATA`).
_REFUSED = re.compile(r"[\x00-\x1f\x7f-\x9f/\\:]")

# Devices of Windows, in every folder and with any extension: `aux.html` opens a serial port, and
# `con` waits for the keyboard (CVE-2025-66221, CVE-2024-49766). Blanks before the dot are ignored.
_DEVICE = re.compile(
    r"(?:aux|con|nul|prn|(?:com|lpt)[0-9¹²³]|conin\$|conout\$|clock\$) *+(?:\.|\Z)", re.IGNORECASE
)

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")

# What HFS+ does not see in a name, so that it opens `.git` when one of these stands before it
# (CVE-2014-9390).
_UNSEEN: Final = (
    "\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e"
    "\u206a\u206b\u206c\u206d\u206e\u206f\ufeff"
)

# What stands in a segment of a path as it is (RFC 3986 §3.3, pchar).
_PCHARS: Final = "!$&'()*+,;=:@"


@dataclass(frozen=True, slots=True)
class Names:
    """
    Where a file is looked for, below some root.

    Attributes:
        segments: The names of the folders and, last, of the file. None of them leads out of the
            folder that it is looked up in. The root itself has none.
        wants_folder: The path ends in a slash, so that a file is no answer to it.
    """

    segments: tuple[str, ...]
    wants_folder: bool

    @property
    def is_hidden(self) -> bool:
        """Whether one of the names is that of a dotfile; `.well-known` (RFC 8615) is one too."""
        return any(map(is_hidden, self.segments))

    @property
    def folder_path(self) -> str:
        """
        The path to redirect to when a folder was asked for without its slash.

        It is relative to the root, percent-encoded, and has single slashes only: `//sub`, sent back
        with one more at its end, would be a host.

        >>> Names(("sub", "a b"), False).folder_path
        '/sub/a%20b/'
        """
        return "".join(["/", *(f"{quote(name, safe=_PCHARS)}/" for name in self.segments)])


def check_names(path: str) -> Names | None:
    """
    Read the path of a request, below the prefix of the files, into names.

    It is split at slashes first, and each segment is decoded once. Empty segments are skipped, as
    Express does.

    Args:
        path: As received, without the query, as Latin-1 text: `"/sub/hello%20you.txt"`. What is
            beyond ASCII counts as if it were percent-encoded.

    Returns:
        None if there can be no such file, for one of these reasons:

        - a name is `.` or `..`, has a slash, a backslash, a colon or a control in it, or ends in a
          dot or a blank;
        - a name is a device of Windows, with any extension, in any case;
        - a name has more than `MAX_NAME_BYTES` bytes, or there are more than `MAX_NAMES` names.

    Raises:
        HTTPError: 400, an escape is broken, or a segment is not UTF-8.

    Source: RFC 3986 §2.4 and §3.3.
    >>> check_names("/sub//hello%20you.txt")
    Names(segments=('sub', 'hello you.txt'), wants_folder=False)
    >>> check_names("/%252e%252e/"), check_names("/%2e%2e/secret.txt"), check_names("/..%2fx")
    (Names(segments=('%2e%2e',), wants_folder=True), None, None)
    """
    is_plain = "%" not in path and path.isascii()
    return _read(path, str if is_plain else _decoded)


def check_text(path: str) -> Names | None:
    """
    Read a path that is not percent-encoded, such as a parameter of a route, into names.

    Args:
        path: Names with slashes between them.

    Returns:
        As `check_names`. None also for text that UTF-8 cannot hold.

    >>> check_text("reports/100%.txt"), check_text("../secret.txt")
    (Names(segments=('reports', '100%.txt'), wants_folder=False), None)
    """
    return _read(path, str)


def is_lawful(name: str) -> bool:
    """
    Whether a name can be that of a file which is handed out; see `check_names`.

    >>> is_lawful("..data"), is_lawful("a..b.txt"), is_lawful("aux.html.txt"), is_lawful("..")
    (True, True, False, False)
    """
    return (
        name[-1:] not in ("", ".", " ")
        and len(name) <= MAX_NAME_BYTES
        and not _REFUSED.search(name)
        and not _DEVICE.match(name)
        and (name.isascii() or _fits(name))
    )


def is_hidden(name: str) -> bool:
    r"""
    Whether a name is that of a dotfile, also to a file system that does not see what precedes it.

    >>> is_hidden(".env"), is_hidden("\u200c.git"), is_hidden("a.b")
    (True, True, False)
    """
    return name.lstrip(_UNSEEN).startswith(".")


def _read(path: str, decode: Callable[[str], str]) -> Names | None:
    pieces = [piece for piece in path.split("/") if piece]
    if len(pieces) > MAX_NAMES:
        return None
    # All are decoded before the first is judged, so that the answer is the same wherever the broken
    # one stands.
    names = [decode(piece) for piece in pieces]
    return Names(tuple(names), path.endswith("/")) if all(map(is_lawful, names)) else None


def _decoded(piece: str) -> str:
    try:
        if not _BAD_ESCAPE.search(piece):
            return unquote_to_bytes(piece.encode("latin-1")).decode()
    except UnicodeError:  # not UTF-8; or no Latin-1, which no server sends
        pass
    raise HTTPError(400, "The path is not percent-encoded UTF-8.")


def _fits(name: str) -> bool:
    try:
        return len(name.encode()) <= MAX_NAME_BYTES
    except UnicodeEncodeError:  # half a surrogate pair, or a name on the disk that is not UTF-8
        return False
