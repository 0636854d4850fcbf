"""
The pairs of a query, or of a form.

Source: WHATWG URL §5.1.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import ClassVar, Final, TypeVar, overload
from urllib.parse import unquote_to_bytes

from ..errors import HTTPError, MissingKey
from .media_types import parse_media_type

__all__ = [
    "MAX_PAIRS",
    "STEP_BYTES",
    "Pairs",
    "check_charset",
    "iter_urlencoded",
    "parse_urlencoded",
]

# A query line of 64 KiB holds 20,000 pairs; no form a person fills in has more than a few hundred.
MAX_PAIRS: Final = 1000

# Decoded in one step, and what `unquote_to_bytes` takes for it is gone behind each one: nothing but
# `%` takes 0.3 us and 130 bytes of memory a byte. So a step is 0.6 ms at most.
STEP_BYTES: Final = 2 * 1024

T = TypeVar("T")
D = TypeVar("D")

# Characters of a charset that the client sent, in a message.
SHOWN_CHARS: Final = 64

_UTF8 = getincrementaldecoder("utf-8")


def check_charset(content_type: str) -> None:
    """
    Refuse a form that says it is not UTF-8. To read it so all the same would lose letters.

    Raises:
        HTTPError: 415 for another charset, 400 when *content_type* is malformed.

    Source: WHATWG URL §5.1, which knows no other.
    """
    charset = parse_media_type(content_type)[1].get("charset", "utf-8")
    if charset.lower() not in ("utf-8", "utf8", "us-ascii"):
        raise HTTPError(415, f"a urlencoded form is UTF-8, not {charset[:SHOWN_CHARS]}")


def parse_urlencoded(raw: bytes, max_pairs: int = MAX_PAIRS) -> list[tuple[str, str]]:
    """
    Read `application/x-www-form-urlencoded` bytes, a query or a form, into pairs in order.

    Any bytes can be read: invalid escapes stay as they are, invalid UTF-8 becomes U+FFFD, a piece
    without `=` is a name with an empty value, empty pieces are skipped.

    Raises:
        HTTPError: 400, there are more than *max_pairs* pairs.

    Source: WHATWG URL §5.1.
    >>> parse_urlencoded(b"a=1&b&=c&&d=%zz%ff")
    [('a', '1'), ('b', ''), ('', 'c'), ('d', '%zz\ufffd')]
    """
    pieces = [piece for piece in raw.replace(b"+", b" ").split(b"&") if piece]
    if len(pieces) > max_pairs:
        raise HTTPError(400, f"more than {max_pairs} pairs of names and values")
    pairs: list[tuple[str, str]] = []
    for piece in pieces:
        name, _, value = piece.partition(b"=")
        pairs.append((_decode(name), _decode(value)))
    return pairs


def iter_urlencoded(raw: bytes, max_pairs: int, longest: int) -> Iterator[tuple[str, str] | None]:
    """
    Read a form as `parse_urlencoded` does, in steps: it may have megabytes.

    A step is little work, whatever the form holds. The caller lets others work in between.

    Args:
        raw: The whole form.
        max_pairs: Most pairs. As many separators may come, so that they are bounded too.
        longest: Most bytes of a name, and of a value, as they were sent.

    Returns:
        For each step a pair; or None, where one takes several steps and is not complete.

    Raises:
        HTTPError: 413, over a limit. It is raised by this call, and by no step.

    Source: WHATWG URL §5.1; RFC 9110 §15.5.14.
    >>> list(iter_urlencoded(b"a=1&b=%C3%A9", max_pairs=2, longest=6))
    [('a', '1'), ('b', 'é')]
    """
    # One more than may come, and no more: a form of nothing else would be a list of 8 million.
    pieces = raw.split(b"&", max_pairs + 1)
    if len(pieces) <= max_pairs + 1:
        pieces = [piece for piece in pieces if piece]
    if len(pieces) > max_pairs:
        raise HTTPError(413, f"the form has more than {max_pairs:,} fields", limit=max_pairs)
    pairs: list[tuple[bytes, bytes]] = []
    for piece in pieces:
        name, _, value = piece.partition(b"=")
        if len(value) > longest or len(name) > longest:
            what = "a field of the form is" if len(value) > longest else "the name of a field is"
            text = f"{what} larger than the {longest:,} bytes allowed here"
            raise HTTPError(413, text, limit=longest)
        pairs.append((name, value))
    return _steps(pairs)


def _steps(pairs: list[tuple[bytes, bytes]]) -> Iterator[tuple[str, str] | None]:
    for name, value in pairs:
        if len(name) + len(value) <= STEP_BYTES:
            yield _decode(name.replace(b"+", b" ")), _decode(value.replace(b"+", b" "))
        else:
            decoded = yield from _decode_in_steps(name)
            yield decoded, (yield from _decode_in_steps(value))


def _decode_in_steps(text: bytes) -> Generator[None, None, str]:
    decoder = _UTF8("replace")  # a character may end in the next step
    pieces: list[str] = []
    start = 0
    while start < len(text):
        end = start + STEP_BYTES
        # Never through an escape: `%` is no hexadecimal digit, so none goes on behind one.
        escape = text.rfind(b"%", end - 2, end)
        if escape >= 0 and end < len(text):
            end = escape
        pieces.append(decoder.decode(_unescape(text[start:end].replace(b"+", b" "))))
        start = end
        yield None
    pieces.append(decoder.decode(b"", final=True))
    return "".join(pieces)


def _decode(text: bytes) -> str:
    return _unescape(text).decode("utf-8", "replace")


def _unescape(text: bytes) -> bytes:
    return unquote_to_bytes(text) if b"%" in text else text


class Pairs(Mapping[str, T]):
    """Pairs in order; the value of a name is its first one."""

    __slots__ = ("_index", "_pairs")

    _lacks: ClassVar[str] = "the form has no"  # how a sentence about a missing name begins

    def __init__(self, pairs: Iterable[tuple[str, T]]) -> None:
        self._pairs = list(pairs)
        self._index: dict[str, list[T]] = {}
        for name, value in self._pairs:
            self._index.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> T:
        values = self._index.get(name)
        if values is None:
            raise MissingKey(self._lacks, name)
        return values[0]

    @overload
    def get(self, name: str) -> T | None: ...
    @overload
    def get(self, name: str, default: T) -> T: ...
    @overload
    def get(self, name: str, default: D) -> T | D: ...
    def get(self, name: str, default: T | D | None = None) -> T | D | None:
        """Return the first value of that name, or *default*."""
        values = self._index.get(name)
        return default if values is None else values[0]

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def __repr__(self) -> str:
        # No values, which may be secrets, and no names, which may be 8 MiB of anything.
        return f"<{type(self).__name__}: {len(self._pairs)}>"

    def get_all(self, name: str) -> list[T]:
        """Return each value of that name, in order; no value is an empty list."""
        return list(self._index.get(name, ()))

    def pairs(self) -> list[tuple[str, T]]:
        """Return every pair of name and value, in order."""
        return list(self._pairs)

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)
