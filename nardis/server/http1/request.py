"""
The head of a request, and the framing of its body, from bytes to values.

httptools (llhttp, strict) parses both. It is given exactly the bytes of a head, or of a body in
chunks: where one ends is found first. So it never sees what comes after, and the same bytes mean
the same in whatever pieces they come.

Source: RFC 9112 §2 to §7; RFC 9110 §9.1 and §15.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from ..._http.request_head import valid_host

__all__ = [
    "END_OF_HEAD",
    "Chunks",
    "Refused",
    "RequestHead",
    "check_begun",
    "read_head",
    "too_large",
]

END_OF_HEAD: Final = b"\r\n\r\n"

# The methods of applications, as text; others are looked at more closely.
METHODS: Final = {
    name.encode(): name
    for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "QUERY")
}

# token, RFC 9110 §5.6.2.
TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

# One half of a line's end without the other (RFC 9112 §2.2).
HALF_OF_END: Final = re.compile(rb"\r(?!\n|\Z)|(?<!\r)\n")

# The first line of HTTP/2's preface: what comes behind it says whether it is that (RFC 9113 §3.4).
PREFACE_LINE: Final = b"PRI * HTTP/2.0"

VERSION: Final = re.compile(rb"HTTP/[0-9]\.[0-9]")
VERSIONS: Final = {b"HTTP/1.1": "1.1", b"HTTP/1.0": "1.0"}

# The fields that say something of the message itself.
SPECIAL: Final = frozenset(
    {b"host", b"connection", b"content-length", b"transfer-encoding", b"expect", b"upgrade"}
)

# What lets the parser expect a body in chunks.
CHUNKED: Final = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"

# Each byte of a body pays for so many bytes of sizes and extensions around it: a chunk of one byte
# needs five. What is beyond that comes out of the allowance for a head (RFC 9112 §7.1.1 wants a
# limit; Go's CVE-2023-39326 had none).
FRAMING_BYTES: Final = 16


class Refused(Exception):
    """
    A request that cannot be served.

    Attributes:
        status: Of the answer.
        reason: For the client: what is wrong.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class RequestHead:
    """
    The head of one request; the parser puts its fields here.

    Attributes:
        method: As text.
        target: As it came.
        version: "1.1" or "1.0".
        headers: In their order, with names in lower case.
        length: Of the body, in bytes; None for one in chunks.
        close: The connection ends with the answer.
        expects: The client wants to be asked for the body (RFC 9110 §10.1.1).
        upgrade: What it would rather speak, in lower case; nothing unless it says so twice, and in
            HTTP/1.1 (RFC 9110 §7.8).
    """

    __slots__ = (
        "_special",
        "close",
        "expects",
        "headers",
        "length",
        "method",
        "target",
        "upgrade",
        "version",
    )

    def __init__(self, method: str, target: bytes, version: str) -> None:
        self.method: str = method
        self.target: bytes = target
        self.version: str = version
        self.headers: list[tuple[bytes, bytes]] = []
        self.length: int | None = 0
        self.close: bool = version == "1.0"
        self.expects: bool = False
        self.upgrade: bytes = b""
        self._special: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field from the parser, which leaves blanks behind a value."""
        name = name.lower()
        field = name, value.rstrip(b" \t")
        self.headers.append(field)
        if name in SPECIAL:
            self._special.append(field)

    def takes_trailers(self) -> bool:
        """Whether the client wants trailers (RFC 9110 §6.5.1 and §10.1.4)."""
        asked = b",".join(value for name, value in self.headers if name == b"te")
        members = {each.partition(b";")[0].strip(b" \t") for each in asked.lower().split(b",")}
        return self.version == "1.1" and b"trailers" in members

    def check_coding(self) -> None:
        """
        Refuse a transfer coding other than chunked (RFC 9112 §6.1).

        Raises:
            Refused: 501.
        """
        for name, value in self._special:
            if name == b"transfer-encoding" and value.lower() != b"chunked":
                raise Refused(501, "a transfer coding other than chunked")

    def understand(self) -> None:
        """
        Read what the fields say of the message itself.

        Raises:
            Refused: They contradict each other, or ask for what cannot be done.
        """
        special = self._special
        if len(special) == 1 and special[0][0] == b"host" and valid_host(special[0][1]):
            return  # nearly all
        hosts = codings = 0
        malformed = False
        tokens: list[bytes] = []
        for name, value in special:
            if name == b"host":
                hosts += 1
                malformed = not valid_host(value)
            elif name == b"connection":
                tokens += _tokens(value)
            elif name == b"content-length":
                self.length = int(value)
            elif name == b"transfer-encoding":
                codings += 1
                self.length = None
            elif name == b"expect":
                self.expects = self.expects or b"100-continue" in _tokens(value)
            else:
                self.upgrade = value.lower()
        self.check_coding()
        self.close = self.close or b"close" in tokens
        if self.version == "1.0":
            self.expects = False
        if b"upgrade" not in tokens or self.version == "1.0" or not self._is_for_us(tokens):
            self.upgrade = b""
        if hosts != 1 and (hosts or self.version == "1.1"):
            raise Refused(400, "one Host field is needed" if not hosts else "several Host fields")
        if malformed:
            raise Refused(400, "malformed Host field")
        if codings > 1 or (codings and self.version == "1.0"):
            raise Refused(400, "a Transfer-Encoding that may mean two things")

    def _is_for_us(self, tokens: list[bytes]) -> bool:
        """
        Whether an upgrade is asked of this connection; HTTP/2 says so once more (RFC 7540 §3.2.1).

        A proxy that knows nothing of it, and speaks HTTP/1.1 with us, passes on what Connection
        does not name.
        """
        if self.upgrade != b"h2c":
            return True
        names = [name for name, _ in self.headers]
        return b"http2-settings" in tokens and names.count(b"http2-settings") == 1


def read_head(head: bytes) -> RequestHead:
    r"""
    Read *head*: the bytes of one head, to the empty line at its end.

    Raises:
        Refused: It is malformed or ambiguous, or cannot be served.

    >>> head = read_head(b"GET /a HTTP/1.1\r\nHost: b\r\n\r\n")
    >>> head.method, head.target, head.headers
    ('GET', b'/a', [(b'host', b'b')])
    """
    try:
        method, target, version = head[: head.index(b"\r\n")].split(b" ")
    except ValueError:
        raise Refused(400, "the first line is not METHOD TARGET HTTP/1.1") from None
    if version not in VERSIONS:
        raise _wrong_version(version)
    if b"\n" in target:  # which llhttp would take for the end of a line without a version
        raise Refused(400, "the first line is not METHOD TARGET HTTP/1.1")
    known = METHODS.get(method)
    request = RequestHead(known or _odd_method(method), target, VERSIONS[version])
    # llhttp has a list of methods, and applications may have others (RFC 9110 §9.1).
    readable = head if known else b"POST" + head[len(method) :]
    parser = HttpRequestParser(request)
    try:
        parser.feed_data(readable)
    except HttpParserUpgrade:
        pass  # it stops where the head ends
    except HttpParserError as exc:
        request.check_coding()  # a coding that is not ours is no malformed one
        raise Refused(400, f"malformed request: {exc}") from None
    request.understand()
    return request


def check_begun(begun: bytes, at: int = 0) -> None:
    r"""
    Refuse what begins no head, however it goes on: its client need not wait for an answer.

    The first fault counts, whatever has arrived behind it. All before *at* was checked already.

    Raises:
        Refused: As `read_head`, for the first line; or a line does not end with CRLF.

    >>> check_begun(b"GET / HT"), check_begun(b"GET / HTTP/1.1\r\nHost: a\r\nX-")
    (None, None)
    """
    if not (TOKEN.match(begun) or begun[:1] in b"\r\n"):
        raise Refused(400, "malformed method")
    half = None
    # Counting costs an eighth of the search.
    if not begun.count(b"\r\n", at) == begun.count(b"\n", at) == begun.count(b"\r", at):
        half = HALF_OF_END.search(begun, at)
    end = begun.find(b"\r\n")
    if end >= at and not (half and half.start() < end):
        _check_line(begun[:end])
    if half:
        raise Refused(400, "a line of the head does not end with CRLF")


def _check_line(line: bytes) -> None:
    """Refuse a first line that is none; of a plain one the target is left to the parser."""
    words = line.split(b" ")
    is_plain = len(words) == 3 and words[0] in METHODS and words[2] in VERSIONS
    if not (is_plain or line == PREFACE_LINE):
        read_head(line + b"\r\nhost: a\r\n\r\n")


def too_large(begun: bytes) -> Refused:
    """Say what of a head is too large that has begun with all that is allowed (RFC 9112 §3)."""
    line, ends, _ = begun.partition(b"\r\n")
    if ends:
        return Refused(431, "the head of the request is too large")
    if b" " in line:
        return Refused(414, "the target of the request is too long")
    return Refused(501, "a method that is not served here")


def _odd_method(method: bytes) -> str:
    if not TOKEN.fullmatch(method):
        raise Refused(400, "malformed method")
    if method in (b"CONNECT", b"PRI"):
        # An application cannot be a tunnel; PRI is no method of anybody's (RFC 9113 §11.6).
        raise Refused(501, "a method that is not served here")
    return method.decode()


def _wrong_version(version: bytes) -> Refused:
    if VERSION.fullmatch(version):
        return Refused(505, "HTTP/1.1 and HTTP/1.0 are spoken here")
    return Refused(400, "the first line is not METHOD TARGET HTTP/1.1")


def _tokens(value: bytes) -> list[bytes]:
    return [token.strip() for token in value.lower().split(b",")]


class Chunks:
    """
    A body in chunks (RFC 9112 §7.1); trailers are read and dropped.

    Args:
        most: How many bytes the trailers may have, and what else stands around the chunks. Bytes of
            the body pay for more, once they are there.

    Attributes:
        complete: It has ended.
    """

    __slots__ = ("_fed", "_most", "_parser", "_pieces", "_received", "_tail", "complete")

    def __init__(self, most: int) -> None:
        self.complete: bool = False
        self._most = most
        self._fed = self._received = 0
        self._tail = b""
        self._pieces: list[bytes] = []
        self._parser = HttpRequestParser(self)
        self._parser.feed_data(CHUNKED)

    def on_body(self, data: bytes) -> None:
        """Take a piece from the parser."""
        self._pieces.append(data)

    def on_message_complete(self) -> None:
        """Take the end from the parser."""
        self.complete = True

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """
        Take what arrived; return the piece of the body in it, and what comes after its end.

        Raises:
            Refused: It is malformed, or more stands around the chunks than is allowed.
        """
        rest = b""
        try:
            at = 0
            for end in _ends(self._tail, data):
                self._parser.feed_data(memoryview(data)[at:end])
                at = end
                if self.complete:
                    rest = data[at:]
                    break
            else:
                self._parser.feed_data(memoryview(data)[at:] if at else data)
        except HttpParserError as exc:
            raise Refused(400, f"malformed chunk: {exc}") from None
        pieces, self._pieces = self._pieces, []
        piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._tail = data[-3:] if len(data) > 2 else (self._tail + data)[-3:]
        self._fed += len(data) - len(rest)
        self._received += len(piece)
        if self._fed - self._received - FRAMING_BYTES * self._received > self._most:
            raise Refused(400, "too many bytes around the chunks")
        return piece, rest


def _ends(tail: bytes, data: bytes) -> Iterator[int]:
    r"""
    Go through the places in *data* where a message may end, given the *tail* of what was before.

    >>> list(_ends(b"\r\n\r", b"\n0\r\n\r\n"))
    [1, 6]
    """
    border = tail + data[:3]
    at = border.find(END_OF_HEAD)
    while at >= 0:
        yield at + len(END_OF_HEAD) - len(tail)
        at = border.find(END_OF_HEAD, at + 1)
    at = data.find(END_OF_HEAD)
    while at >= 0:
        yield at + len(END_OF_HEAD)
        at = data.find(END_OF_HEAD, at + 1)
