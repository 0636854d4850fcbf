"""
What is in a folder, as a page of plain HTML.

Source: WHATWG HTML §13.1.2 (escaping); RFC 3986 §4.2 (a name with a colon as a reference).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from itertools import islice
from typing import Final, NamedTuple
from urllib.parse import quote

from .names import Dotfiles, check_names
from .opening import Opened

__all__ = ["Entry", "entries_of", "listing_page"]

# More entries than this make no page for people.
MOST_ENTRIES: Final = 10_000

UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


class Entry(NamedTuple):
    """
    One file or folder in a folder.

    Attributes:
        name: Its name.
        is_folder: It is a folder.
        size: Length in bytes, of a file.
        changed: When it was last changed, in Unix seconds.
    """

    name: str
    is_folder: bool
    size: int
    changed: float


def entries_of(folder: Opened, dotfiles: Dotfiles) -> tuple[list[Entry], bool]:
    """
    Return what a client may have of a folder, folders first, and whether there is more.

    It reads the disk. Links are left out: whether they lead outside is not looked at here.
    """
    shown: Dotfiles = "allow" if dotfiles == "allow" else "ignore"
    found: list[Entry] = []
    with os.scandir(folder.fd) as scan:
        for each in islice(scan, MOST_ENTRIES):
            if not check_names([each.name], shown):
                continue
            is_folder = each.is_dir(follow_symlinks=False)
            if is_folder or each.is_file(follow_symlinks=False):
                stat = each.stat(follow_symlinks=False)
                found.append(Entry(each.name, is_folder, stat.st_size, stat.st_mtime))
        more = next(scan, None) is not None
    return sorted(found, key=lambda entry: (not entry.is_folder, entry.name)), more


def listing_page(path: str, entries: Sequence[Entry], *, more: bool, has_parent: bool) -> str:
    """
    Write the page.

    Args:
        path: Of the folder, for people.
        entries: What is in it.
        more: There are more than these.
        has_parent: It is not the topmost folder.

    >>> page = listing_page("/a/", [Entry("x:y <b>.txt", False, 5, 0)], more=False, has_parent=True)
    >>> 'href="./x%3Ay%20%3Cb%3E.txt">x:y &lt;b&gt;.txt</a>' in page
    True
    """
    title = f"Index of {escape(path)}"
    rows = ['<tr><td><a href="../">../</a><td><td>'] if has_parent else []
    rows += map(_row, entries)
    if more:
        rows.append(f"<tr><td>… and more than these {len(entries):,}<td><td>")
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{title}</title>\n'
        "<style>td{padding:0 1em 0 0}td+td{text-align:right}</style>\n"
        f"<h1>{title}</h1>\n<table>\n" + "\n".join(rows) + "\n</table>\n"
    )


def _row(entry: Entry) -> str:
    mark = "/" if entry.is_folder else ""
    # `./`, because a name such as `javascript:x` would be a URL of its own.
    target = f"./{quote(entry.name, safe='')}{mark}"
    changed = datetime.fromtimestamp(entry.changed, UTC).strftime("%Y-%m-%d %H:%M")
    size = "" if entry.is_folder else _in_units(entry.size)
    return f'<tr><td><a href="{target}">{escape(entry.name)}{mark}</a><td>{changed}<td>{size}'


def _in_units(size: int) -> str:
    """
    Write a number of bytes for people.

    >>> _in_units(512), _in_units(1536), _in_units(5 * 1024**5)
    ('512 B', '1.5 KiB', '5,120.0 TiB')
    """
    value, unit = float(size), 0
    while value >= 1024 and unit < len(UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:,.1f} {UNITS[unit]}" if unit else f"{size} B"
