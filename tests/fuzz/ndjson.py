"""
`LineSplitter`, and what reads its lines as JSON: the same however a body is cut into pieces.

Input: most bytes of a line, as one byte; the sizes of the pieces, a byte each, which are gone
through again and again; NUL; and the body.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import cycle
from typing import Any

from nardis._http import lines as of_lines
from nardis._receiving.lines import json_reader
from nardis.errors import HTTPError

from .inputs import pieces

__all__ = ["check", "seeds"]

DEPTH = 4

READ = json_reader(None, DEPTH, None)

Outcome = tuple[list[bytes], int | None]


def check(data: bytes) -> None:
    head, body = pieces(data, 2)
    most, sizes = (head[0], head[1:]) if head else (255, b"")
    lines, long = split([body], most)
    assert split(cut(body, sizes), most) == (lines, long)
    *ended, rest = body.split(b"\n")
    all_lines = [line.removesuffix(b"\r") for line in ended] + ([rest] if rest else [])
    too_long = [number for number, line in enumerate(all_lines, 1) if len(line) > most]
    assert long == (too_long[0] if too_long else None)
    assert lines == (all_lines if long is None else all_lines[: long - 1])
    values = [value for number, line in enumerate(lines, 1) for value in read(line, number)]
    # Each value can be written again as a line of its own, and is the same then.
    body = b"\n".join(json.dumps(value).encode() for value in values)
    again, _ = split([body], len(body))
    assert [READ(line, 1) for line in again] == values


def cut(body: bytes, sizes: bytes) -> Iterator[bytes]:
    start, turns = 0, cycle(sizes.strip(b"\0") or b"\1")
    while start < len(body):
        size = next(turns)
        yield body[start : start + size]
        start += size


def split(body: Iterable[bytes], most: int) -> Outcome:
    """Return the lines, and the number of the one that is too long."""
    splitter, lines = of_lines.LineSplitter(most), list[bytes]()
    try:
        for piece in body:
            for line in splitter.feed(piece):
                lines.append(line)  # one by one: those before an error count
        last = splitter.finish()
    except HTTPError as error:
        return lines, error.extensions["line"] if error.status == 413 else -1
    return lines if last is None else [*lines, last], None


def read(line: bytes, number: int) -> list[Any]:
    """Return the value of a line; none of one that is no JSON."""
    try:
        return [READ(line, number)]
    except HTTPError as error:
        found = error
    assert (found.status, found.extensions) == (400, {"line": number})
    return []


def seeds() -> Iterator[bytes]:
    yield from (
        b"\xff\x07\x01\0" + b'{"a": [1]}\r\n\n2\n \t\r\n"\xe2\x82\xac"\nnull',
        b"\x03\x02\0" + b"abc\r\nabc\rabc\r",
        b"\x03\x04\x01\0" + b"100\n1000\n1\n",
        b"\xff\x05\0" + b"\xef\xbb\xbf[]\n[[[[]]]]\n[[[[[]]]]]\n",
        b"\xff\x03\0" + b'1e999\n"\\ud800"\n"\xff"\nNaN\n-0.0\n',
        b"\x02\x01\0" + b"\r\r\n\n\r\n\r",
        b"\xff\x10\0" + b'{"a":\n1}\n"\x0b"\n"\xe2\x80\xa8"\x85\n',
    )
