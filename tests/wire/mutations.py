"""The streams of the fuzz: legal requests, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from random import Random

__all__ = ["Case", "cases"]


@dataclass(frozen=True, slots=True)
class Case:
    """
    What a client sends on one connection.

    Attributes:
        data: All of it.
        cuts: Where one piece ends and the next one begins.
        half_closes: The client closes its half after the last byte, without waiting.
        requests: How many requests it was made of.
    """

    data: bytes
    cuts: tuple[int, ...]
    half_closes: bool
    requests: int

    def pieces(self) -> list[bytes]:
        """Return the data in its pieces; none is empty."""
        places = (0, *self.cuts, len(self.data))
        return [self.data[a:b] for a, b in pairwise(places)]


# --- legal requests -------------------------------------------------------------------------------

# What to do with a request, and how often; see `fuzz_app`.
ROUTES = {"/": 60, "/pieces": 25, "/early": 12, "/raise": 1, "/raise-late": 1}

POST = "POST {} HTTP/1.1\r\nHost: a\r\n"
CODED = POST + "Transfer-Encoding: chunked\r\n"

# {} is the target.
SHAPES = [
    "GET {} HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET {}?a=b&c=%20d HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nUser-Agent: fuzz\r\n\r\n",
    "GET {} HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nCookie: a=b; c=d\r\n\r\n",
    "HEAD {} HTTP/1.1\r\nHost: a\r\n\r\n",
    POST + "Content-Length: 5\r\n\r\nhello",
    POST + "Content-Length: 0\r\n\r\n",
    POST + "Content-Type: text/plain\r\nContent-Length: 12\r\nX-A: 1\r\n\r\na\r\n\r\nb: c\r\n\0",
    POST + "Content-Length: 3000\r\n\r\n" + "x" * 3000,
    POST + "Content-Length: 36\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n"[:-2],
    CODED + "\r\n5\r\nhello\r\n0\r\n\r\n",
    CODED + "\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    CODED + '\r\n5;a=b;c="d e"\r\nhello\r\n0;last\r\n\r\n',
    CODED + "Trailer: X-Sum\r\n\r\nA\r\n0123456789\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n",
    CODED + "Expect: 100-continue\r\n\r\n0b\r\nhello\r\n\r\n..\r\n1\r\n\n\r\n0\r\n\r\n",
    CODED + "\r\n28\r\nGET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\nxx\r\n0\r\n\r\n",
    CODED + "\r\n" + "1\r\nx\r\n" * 40 + "0\r\n\r\n",
    POST + "Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    'PUT {} HTTP/1.1\r\nHost: a:80\r\nContent-Length: 2\r\nIf-Match: "x"\r\n\r\n{{}}',
    "GET http://a{} HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST http://a:80{}?q HTTP/1.1\r\nHost: a:80\r\nContent-Length: 1\r\n\r\nx",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "OPTIONS {} HTTP/1.1\r\nHost: a\r\nOrigin: http://b\r\n\r\n",
    'M-SEARCH {} HTTP/1.1\r\nHost: a\r\nMan: "x"\r\n\r\n',
    "DELETE {} HTTP/1.1\r\nHost:\r\n\r\n",
    "\r\nGET {} HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET {} HTTP/1.1\r\nHost: a\r\n" + "".join(f"X-{n}: {n}\r\n" for n in range(30)) + "\r\n",
    "GET {} HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX-Blank: \t \r\nX-High: \xe9\xff\r\n\r\n",
]
CLOSING_SHAPES = [
    "GET {} HTTP/1.0\r\n\r\n",
    "GET {} HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
    "POST {} HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello",
    "HEAD {} HTTP/1.0\r\n\r\n",
    "GET {} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    POST + "Connection: close, x\r\nContent-Length: 5\r\n\r\nhello",
    CODED + "Connection: x\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
]


def filled(shapes: list[str]) -> list[list[bytes]]:
    """Return all requests of these shapes, by route."""
    return [[shape.format(route).encode("latin-1") for shape in shapes] for route in ROUTES]


OPEN = filled(SHAPES)
CLOSING = filled(CLOSING_SHAPES)
WEIGHTS = list(ROUTES.values())

# --- mutations ------------------------------------------------------------------------------------

TOKENS = [
    *(
        bytes([code])
        for code in b"\r\n\0 \t\v\f\x07\x1b\x7f\x80\xff:;,.=\"'()/\\?#%&*+-_0123456789"
    ),
    *(b"\r\n", b"\n\n", b"\r\n\r\n", b"\r\r\n", b"\r\n ", b"\r\n\t", b"\n\r", b"  ", b" \r\n"),
    *(b"a", b"F", b"x", b"0x", b"00", b"1_0", b"1e3", b"%0d%0a", b"%00", b"%", b"%zz", b"%c3%28"),
    *(b"0\r\n\r\n", b"0\r\n", b"5\r\nhello\r\n", b";a", b';a="', b"ffffffffffffffff\r\n", b"../"),
    *(b"HTTP/1.1", b"HTTP/1.0", b" HTTP/0.9", b"HTTP/2.0", b"HTTP/1.10", b"http/1.1", b"PRI"),
    *(b"close", b"chunked", b"keep-alive", b"upgrade", b"100-continue", b"identity", b"gzip,"),
    *(
        b"http://b",
        b"http://a@b:1",
        b"//",
        b"*",
        b"CONNECT ",
        b"GET ",
        b"HEAD ",
        b"TRACE ",
        b"get ",
    ),
    *(b"/early", b"/pieces", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
]
NUMBERS = [
    *(b"0", b"1", b"4", b"6", b"7", b"10", b"05", b"+5", b"-5", b"5 ", b"5,5", b"5.0", b"0x5", b""),
    *(b"65535", b"65536", b"65537", b"2147483648", b"4294967296", b"4294967301", b"f", b"FFFFFFFF"),
    *(b"9223372036854775807", b"9223372036854775808", b"18446744073709551615"),
    *(b"18446744073709551616", b"18446744073709551621", b"9" * 30, b"9" * 400, b"0" * 30 + b"5"),
    *(b"7fffffffffffffff", b"ffffffffffffffff", b"10000000000000005", b"0" * 20 + b"5", b"\xb2"),
]
NAMES = [
    *(b"Content-Length", b"Transfer-Encoding", b"Connection", b"Host", b"Expect", b"Upgrade"),
    *(b"Trailer", b"TE", b"Keep-Alive", b"Content_Length", b"content-length ", b" Host", b"X"),
    *(b"Proxy-Connection", b"Transfer-Encoding\0", b"Transfer-Encodin", b"HTTP2-Settings", b""),
]
VALUES = [
    *(b"5", b"0", b"a", b"b, c", b"chunked", b"Chunked", b"chunked, chunked", b"gzip, chunked"),
    *(b"identity", b"chunked\t", b"\vchunked", b"xchunked", b"close", b"keep-alive", b"upgrade"),
    *(b"Upgrade, close", b"websocket", b"h2c", b"100-continue", b"100-Continue", b"200-ok", b""),
    *(b"a:80", b"a b", b"a/b", b"[::1]", b"trailers", b"a\r\n b", b"\xc3\xa9", b"a" * 5000),
]
DIGITS = b"0123456789"


def place(rng: Random, data: bytes) -> int:
    """Return a place in *data*: the first bytes are the dearest."""
    return int(rng.random() ** 1.5 * len(data))


def span(rng: Random, data: bytes) -> tuple[int, int]:
    """Return the ends of a short part of *data*."""
    at = place(rng, data)
    return at, at + rng.choice((1, 1, 1, 2, 3, 5, 9, 20, 60))


def flip(rng: Random, data: bytes) -> bytes:
    at = place(rng, data)
    flipped = data[at : at + 1].translate(
        bytes(code ^ 1 << rng.randrange(8) for code in range(256))
    )
    return data[:at] + flipped + data[at + 1 :]


def delete(rng: Random, data: bytes) -> bytes:
    start, stop = span(rng, data)
    return data[:start] + data[stop:]


def insert(rng: Random, data: bytes) -> bytes:
    at = place(rng, data)
    return data[:at] + rng.choice(TOKENS) + data[at:]


def replace(rng: Random, data: bytes) -> bytes:
    at = place(rng, data)
    return data[:at] + rng.choice(TOKENS) + data[at + 1 :]


def duplicate(rng: Random, data: bytes) -> bytes:
    start, stop = span(rng, data)
    at = rng.choice((stop, place(rng, data)))
    return data[:at] + data[start:stop] + data[at:]


def swap(rng: Random, data: bytes) -> bytes:
    a, b, c = sorted(place(rng, data) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def cut_off(rng: Random, data: bytes) -> bytes:
    return data[: place(rng, data)]


def renumber(rng: Random, data: bytes) -> bytes:
    """Put another number in the place of one."""
    start = place(rng, data)
    while start < len(data) and data[start] not in DIGITS:
        start += 1
    stop = start
    while stop < len(data) and data[stop] in DIGITS:
        stop += 1
    return data[:start] + rng.choice(NUMBERS) + data[stop:]


def add_field(rng: Random, data: bytes) -> bytes:
    """Put a field that matters between two lines."""
    lines = data.split(b"\r\n")
    colon = rng.choice((b": ", b": ", b":", b" : ", b":\t", b""))
    line = rng.choice(NAMES) + colon + rng.choice(VALUES)
    lines.insert(min(rng.randint(1, 4), len(lines)), line)
    return b"\r\n".join(lines)


def change_lines(rng: Random, data: bytes) -> bytes:
    """Delete, double or swap lines, or end one otherwise."""
    lines = data.split(b"\r\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(4):
        case 0:
            del lines[at]
        case 1:
            lines.insert(other, lines[at])
        case 2:
            lines[at], lines[other] = lines[other], lines[at]
        case _:
            end = rng.choice((b"\n", b"\r", b"\r\r\n", b" \r\n", b"\0\r\n", b"\r\n "))
            return b"\r\n".join(lines[: at + 1]) + end + b"\r\n".join(lines[at + 1 :])
    return b"\r\n".join(lines)


def change_case(rng: Random, data: bytes) -> bytes:
    start, stop = span(rng, data)
    return data[:start] + data[start:stop].swapcase() + data[stop:]


def swell(rng: Random, data: bytes) -> bytes:
    """Make it larger than a head, or than what is dropped, may be."""
    start, stop = span(rng, data)
    return data[:stop] + data[start:stop] * rng.choice((400, 4000, 33_000)) + data[stop:]


MUTATIONS: dict[Callable[[Random, bytes], bytes], float] = {
    flip: 8,
    delete: 8,
    insert: 16,
    replace: 12,
    duplicate: 6,
    swap: 3,
    cut_off: 3,
    renumber: 10,
    add_field: 14,
    change_lines: 10,
    change_case: 3,
    swell: 0.3,
}
KINDS = list(MUTATIONS)
KIND_WEIGHTS = list(MUTATIONS.values())


# --- cases ----------------------------------------------------------------------------------------


def cases(rng: Random, count: int) -> list[Case]:
    """Return *count* cases; the same state of *rng* gives the same ones."""
    return [case(rng) for _ in range(count)]


def case(rng: Random) -> Case:
    requests = list(pipeline(rng, rng.choice((1, 2, 3, 4, 6, 8))))
    # The last one in half of the cases, so that the ones before it are answered.
    for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3, 5))):
        at = -1 if rng.random() < 0.7 else rng.randrange(len(requests))
        (mutate,) = rng.choices(KINDS, KIND_WEIGHTS)
        requests[at] = mutate(rng, requests[at]) or b"\0"
    data = b"".join(requests)
    cuts = {
        rng.randrange(1, len(data)) for _ in range(rng.choice((0, 0, 0, 1, 2, 6))) if len(data) > 1
    }
    return Case(data, tuple(sorted(cuts)), rng.random() < 0.4, len(requests))


def pipeline(rng: Random, length: int) -> Iterator[bytes]:
    """Give *length* legal requests; one that closes is among them here and there."""
    for left in range(length, 0, -1):
        closes = rng.random() < (0.4 if left == 1 else 0.02)
        (route,) = rng.choices(CLOSING if closes else OPEN, WEIGHTS)
        yield rng.choice(route)
