"""A strict reader of all that a server of HTTP/1.1 said on a connection (RFC 9112 §4 to §7)."""

from __future__ import annotations

import re

__all__ = ["Cut", "Malformed", "statuses"]

STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-9][0-9][0-9]) [^\r\n]*")
FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9a-z]+): ([^\r\n\0]*)")
CHUNK_LINE = re.compile(rb"([0-9a-f]+)\r\n")


class Malformed(Exception):
    """A server sent what is no answer."""


class Cut(Malformed):
    """An answer does not come to its end."""


def statuses(heard: bytes, *, asked: bytes = b"", cut: bool = False) -> list[int]:
    r"""
    Read the answers of a connection strictly; return their statuses.

    Args:
        heard: All that the server sent.
        asked: All that the client sent: where HEAD is in it, the server's own last answer, which
            does not say what it answers, may have no body.
        cut: The last answer may end before its time.

    Raises:
        Malformed: They are none.
        Cut: The last one is cut.

    >>> statuses(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nxHTTP/1.1 204 No Content\r\n\r\n")
    [200, 204]
    """
    found: list[int] = []
    closed, at = False, 0
    while at < len(heard):
        if closed:
            raise Malformed("something follows an answer that closes")
        head_end = heard.find(b"\r\n\r\n", at)
        if head_end < 0:
            raise Malformed("a head does not end")
        first, *lines = heard[at:head_end].split(b"\r\n")
        at = head_end + 4
        line, fields = STATUS_LINE.fullmatch(first), [FIELD.fullmatch(each) for each in lines]
        if line is None or None in fields:
            raise Malformed("a line is no field or no status line")
        pairs = [(each[1], each[2]) for each in fields if each is not None]
        said = dict(pairs)
        if len(said) != len(pairs):
            raise Malformed("a field is there twice")
        status = int(line[1])
        if status != 100:
            found.append(status)
        if status == 101:  # another protocol begins
            return found
        if status in (100, 204, 304) or said.get(b"x-method") == b"HEAD":
            pass
        elif b"content-length" in said:
            to_head = b"HEAD" in asked and b"x-method" not in said and at == len(heard)
            at += 0 if to_head else int(said[b"content-length"])
        elif b"transfer-encoding" in said:
            at = chunks_end(heard, at, cut=cut)
        else:
            closed, at = True, len(heard)
        closed = closed or said.get(b"connection") == b"close"
        if at > len(heard) and not cut:
            raise Cut("an answer is cut")
    return found


def chunks_end(heard: bytes, at: int, *, cut: bool) -> int:
    """Return where a body in chunks ends that begins at *at*."""
    while line := CHUNK_LINE.match(heard, at):
        size = int(line[1], 16)
        at = line.end() + size + 2
        if heard[at - 2 : at] != b"\r\n":
            break
        if not size:
            return at
    if at < len(heard):
        raise Malformed("no chunk where one is due")
    if not cut:
        raise Cut("a body in chunks is cut")
    return at
