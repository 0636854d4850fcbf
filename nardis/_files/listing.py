"""
What lies in a folder, and a page that shows it.

Only what can be asked for is listed: regular files and folders with lawful names, no dotfiles, and
links only if they lead to such a thing below the root. Whether the process may read a file is not
looked at.

Source: HTML (WHATWG) §4.10; RFC 3986 §4.2 (a relative reference whose first segment has a colon).
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from html import escape
from stat import S_ISDIR
from typing import Final
from urllib.parse import quote

from .names import is_hidden, is_lawful
from .opening import Folder, open_below

__all__ = ["MAX_ENTRIES", "POLICY", "Entry", "Listing", "list_directory", "listing_page"]

# Names of a folder that are looked at. A page of them has some 2 MiB.
MAX_ENTRIES: Final = 10_000

_STYLE: Final = """
:root{color-scheme:light dark;font:15px/1.5 system-ui,sans-serif}
td,th{padding:0 2rem 0 0;text-align:left;overflow-wrap:anywhere}
"""

# Nothing is loaded and nothing runs; the page's own style alone counts, by its hash (CSP 3 §2.3.1).
POLICY: Final = (
    b"content-security-policy",
    b"default-src 'none'; base-uri 'none'; form-action 'none'; "
    b"style-src 'sha256-" + b64encode(sha256(_STYLE.encode()).digest()) + b"'",
)

# 1,024 bytes, and so on by 1,024.
_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Entry:
    """
    A file or a folder in a folder.

    Attributes:
        name: Its name.
        is_folder: Whether it is a folder.
        size: Of a file, in bytes.
        modified: When its content changed last, in seconds since 1970.
    """

    name: str
    is_folder: bool
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class Listing:
    """
    What lies in a folder.

    Attributes:
        entries: In no order.
        is_complete: Whether all names were looked at, and not only `MAX_ENTRIES` of them.
    """

    entries: list[Entry]
    is_complete: bool


def list_directory(root: str | os.PathLike[str], names: Sequence[str]) -> Listing | None:
    """
    List the folder to which *names* lead from *root*; for worker threads.

    Args:
        root: As for `open_below`.
        names: As for `open_below`.

    Returns:
        None if there is no such folder below the root that may be read.

    Raises:
        OSError: As for `open_below`.
        UsageError: *root* is relative.
    """
    found = open_below(root, names)
    if found is None:
        return None
    try:
        return _listed(found) if isinstance(found, Folder) else None
    finally:
        found.close()


def listing_page(title_path: str, entries: Iterable[Entry], *, is_complete: bool = True) -> str:
    """
    Write a page that lists *entries*, folders first, as HTML.

    Its links are relative, so it belongs to a URL that ends in a slash. It is sent as
    `text/html; charset=utf-8`, with `POLICY`.

    Args:
        title_path: The path of the folder below the root, decoded. `"/"` is the root, whose page
            has no link upwards.
        entries: What to list. One whose name is not lawful, or is that of a dotfile, is left out.
        is_complete: Whether these are all that there are.

    >>> page = listing_page("/a/", [Entry("b?<c>", False, 2048, 0.0)])
    >>> print(page[page.index("<a href='./b") : page.index("<time")])
    <a href='./b%3F%3Cc%3E'>b?&lt;c&gt;</a></td><td>2.0 KiB</td><td>
    """
    title = f"Index of {escape(title_path)}"
    listed = sorted(
        (entry for entry in entries if _is_listed(entry.name)),
        key=lambda entry: (not entry.is_folder, entry.name),
    )
    up = "" if title_path == "/" else '<p><a href="../">Up</a></p>\n'
    more = "" if is_complete else f"<p>There is more: {len(listed)} are listed.</p>\n"
    rows = "".join(map(_row, listed))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{up}"
        "<table>\n<thead><tr><th>Name</th><th>Size</th><th>Modified (UTC)</th></tr></thead>\n"
        f"<tbody>\n{rows}</tbody>\n</table>\n{more}</body>\n</html>\n"
    )


def _listed(folder: Folder) -> Listing | None:
    names = folder.names(MAX_ENTRIES + 1)
    if names is None:
        return None
    entries: list[Entry] = []
    for name in filter(_is_listed, names[:MAX_ENTRIES]):
        found = folder.status(name)
        if found is not None:
            is_folder = S_ISDIR(found.st_mode)
            entries.append(Entry(name, is_folder, found.st_size, found.st_mtime))
    return Listing(entries, len(names) <= MAX_ENTRIES)


def _is_listed(name: str) -> bool:
    return is_lawful(name) and not is_hidden(name)


def _row(entry: Entry) -> str:
    slash = "/" if entry.is_folder else ""
    # With "./" in front no name is read as a scheme; nothing but unreserved characters is left.
    href = f"./{quote(entry.name, safe='')}{slash}"
    name = escape(entry.name) + slash
    size = "" if entry.is_folder else _size(entry.size)
    time = _time(entry.modified)
    return f"<tr><td><a href='{href}'>{name}</a></td><td>{size}</td><td>{time}</td></tr>\n"


def _size(count: int) -> str:
    if count < 1024:
        return f"{count} B"
    # A size is below 2**63, which is 8.0 EiB.
    unit = (count.bit_length() - 1) // 10
    return f"{count / 1024**unit:.1f} {_UNITS[unit - 1]}"


def _time(seconds: float) -> str:
    try:
        moment = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:  # file systems have dates that calendars have not
        return ""
    return f'<time datetime="{moment.isoformat()}">{moment.isoformat(" ")[:16]}</time>'
