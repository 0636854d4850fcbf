"""
Compressed messages of WebSockets: permessage-deflate (RFC 7692).

Each message stands alone, in both directions: nothing is kept between two of them, neither a window
of 32 KiB nor a compressor of 256 KiB for each of ten thousand clients. What a message inflates to
comes in pieces, so a bound is met before there is more.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Final

__all__ = ["SLOW_BYTES", "SMALL_BYTES", "Corrupt", "Inflating", "agree", "deflated"]

# Below this nothing is compressed: it takes 5 us at least, and saves less than a packet.
SMALL_BYTES: Final = 256

# From this on a message is compressed in a thread: text of 128 KiB takes 0.3 to 4 ms.
SLOW_BYTES: Final = 128 * 1024

# Our window unless the client wants a smaller one; all of the format, for what it sends.
WINDOW_BITS: Final = 15

# Read at once of what is inflated.
PIECE_BYTES: Final = 64 * 1024

# Left out at the end of each message (§7.2.1): an empty block.
TAIL: Final = b"\x00\x00\xff\xff"

# What may stand behind a block that says that it is the last (§7.2.3.4).
BEHIND_LAST: Final = b"\x00" + TAIL

_NAME: Final = "permessage-deflate"
_PARAMETER: Final = re.compile(r"([a-z_]+)(?:\s*=\s*(\"?)([0-9]+)\2)?")
_SWITCHES: Final = ("server_no_context_takeover", "client_no_context_takeover")
_OUR_WINDOW: Final = "server_max_window_bits"


class Corrupt(Exception):
    """It is no compressed message."""


def agree(offers: Iterable[str]) -> tuple[str, int] | None:
    """
    Take the first offer of compression that can be kept; None declines all of them (§5.1).

    Args:
        offers: The extensions that a client offers, in its order.

    Returns:
        What is answered, and the bits of the window to compress with.

    >>> agree(["permessage-deflate; client_max_window_bits"])
    ('permessage-deflate; server_no_context_takeover; client_no_context_takeover', 15)
    >>> agree(["permessage-deflate; server_max_window_bits=8"])
    """
    for offer in offers:
        parameters = _parameters(offer)
        if parameters is not None:
            answer = "; ".join((_NAME, *_SWITCHES))
            bits = parameters.get(_OUR_WINDOW)
            if bits is None:
                return answer, WINDOW_BITS
            # Said again, all of it too: that is how such an offer is taken (§7.1.2.1).
            return f"{answer}; {_OUR_WINDOW}={bits}", int(bits)
    return None


def _parameters(offer: str) -> dict[str, str | None] | None:
    """Return what an offer asks for; None is an offer that is declined."""
    name, *parameters = (each.strip() for each in offer.split(";"))
    if name.lower() != _NAME:
        return None
    found: dict[str, str | None] = {}
    for each in parameters:
        match = _PARAMETER.fullmatch(each)
        if match is None or match[1] in found or not _may_be(match[1], match[3]):
            return None
        found[match[1]] = match[3]
    return found


def _may_be(name: str, value: str | None) -> bool:
    """Whether a parameter has a value that it may have, and that zlib can do."""
    if name in _SWITCHES:
        return value is None
    sizes = {str(bits) for bits in range(8, WINDOW_BITS + 1)}
    if name == "client_max_window_bits":  # all windows can be read with the largest
        return value is None or value in sizes
    # zlib refuses to compress with 8 bits, without a head of its own.
    return name == _OUR_WINDOW and value in sizes - {"8"}


class Inflating:
    """One message that is being inflated."""

    __slots__ = ("_zlib",)

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(-WINDOW_BITS)

    def pieces(self, data: bytes, *, ends: bool) -> Iterator[bytes]:
        """
        Go through what *data* inflates to; *ends* says that nothing follows.

        Raises:
            Corrupt: It cannot be inflated.
        """
        yield from self._inflate(data)
        if ends:
            yield from self._inflate(TAIL)
        behind = self._zlib.unused_data
        if len(behind) > len(BEHIND_LAST) or (ends and not BEHIND_LAST.endswith(behind)):
            raise Corrupt("a message goes on behind its last block")

    def _inflate(self, data: bytes) -> Iterator[bytes]:
        inflator = self._zlib
        while True:
            try:
                piece = inflator.decompress(data, PIECE_BYTES)
            except zlib.error as exc:
                raise Corrupt("a message cannot be inflated") from exc
            yield piece
            data = inflator.unconsumed_tail
            if len(piece) < PIECE_BYTES:
                return


def deflated(payload: bytes, bits: int) -> bytes:
    """
    Compress a message, with a window of *bits* (§7.2.1).

    >>> inflating = Inflating()
    >>> b"".join(inflating.pieces(deflated(b"hello", 15), ends=True))
    b'hello'
    """
    deflator = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -bits)
    return (deflator.compress(payload) + deflator.flush(zlib.Z_SYNC_FLUSH))[: -len(TAIL)]
