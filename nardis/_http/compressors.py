"""
Content codings: gzip, deflate, br and zstd, made piece by piece.

What a client is to read at once is flushed: all that was fed can be decoded then. `codings` has the
way back.

What one compressor holds is bounded, whatever it is fed. Each figure is what a process grows by for
one, of 200 that were fed 300 kB: at once, and as events of 250 bytes, each flushed
(`python -m benchmarks.compression`).

| coding | level | a body | live: a stream that may last for days |
|---|---|---|---|
| gzip, deflate | 6 | 264 KiB | 64 KiB |
| br | 5 | 1.0 MiB | 0.7 MiB |
| zstd | 3 | 1.1 MiB | 120 KiB, at level 1 |

Higher levels of gzip and deflate take no more. br takes 2.4 MiB at most, and zstd 5.3 MiB.

Source: RFC 9110 §8.4.1; RFC 1950 (zlib), RFC 1952 (gzip), RFC 7932 (br), RFC 8878 (zstd).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, Final, NamedTuple, TypeAlias

__all__ = ["LEVELS", "Compressor", "compressor", "is_slow", "usual_level"]

Data: TypeAlias = "bytes | memoryview"

# Lowest, usual and highest level. 0 of zlib stores without compressing, and zstd above 19 is for
# archives. The usual ones make 35 MB of JSON a second (gzip), 65 (br) and 270 (zstd).
LEVELS: Final = {"zstd": (1, 3, 19), "br": (0, 5, 11), "gzip": (1, 6, 9), "deflate": (1, 6, 9)}

# Levels from which on it is less than 50 MB a second of zstd, and less than 4 of br.
_SLOW_FROM: Final = {"zstd": 10, "br": 10}

# Higher ones take more memory for a stream of small pieces, and hardly make it smaller.
_LIVE_MOST: Final = {"zstd": 1, "br": 5}

# The `wbits` and the memory level of zlib: together 256 KiB and 64 KiB.
_ZLIB_BODY: Final = (15, 8)
_ZLIB_LIVE: Final = (13, 6)
_GZIP: Final = 16  # is added to `wbits`

# Windows of br and zstd. Twice the window of br makes 4 % less of JSON, and takes 2.6 MiB.
_BR_WINDOW_BITS: Final = 16
_ZSTD_BODY_BYTES: Final = 256 * 1024
_ZSTD_LIVE_BYTES: Final = 32 * 1024


class Compressor(NamedTuple):
    """
    What makes one body of a content coding; one call is made after the other.

    Attributes:
        feed: Takes a piece, and returns what is ready of the coded body.
        flush: Returns what was held back, so that all that was fed can be decoded.
        finish: Returns the end.
    """

    feed: Callable[[Data], bytes]
    flush: Callable[[], bytes]
    finish: Callable[[], bytes]


def usual_level(coding: str, level: int | None = None) -> int:
    """
    Return *level* within the bounds of a coding; None is the usual one.

    >>> usual_level("gzip"), usual_level("gzip", 11), usual_level("br", 11)
    (6, 9, 11)
    """
    lowest, usual, highest = LEVELS[coding]
    return usual if level is None else max(lowest, min(level, highest))


def is_slow(coding: str, level: int) -> bool:
    """
    Whether a few KiB take milliseconds.

    >>> is_slow("zstd", 3), is_slow("br", 11)
    (False, True)
    """
    return level >= _SLOW_FROM.get(coding, level + 1)


def compressor(coding: str, level: int, *, is_live: bool = False) -> Compressor:
    """
    Make a compressor.

    Args:
        coding: One of `LEVELS` that `decodable()` names too, so that its package is there.
        level: Within its bounds.
        is_live: Made for a stream that lasts, of which there may be thousands: it takes less
            memory, and does not compress as well.

    Source: RFC 9110 §8.4.1.
    >>> codec = compressor("deflate", 6)
    >>> zlib.decompress(codec.feed(b"text") + codec.flush() + codec.finish())
    b'text'
    """
    if is_live:
        level = min(level, _LIVE_MOST.get(coding, level))
    return _MAKERS[coding](level, is_live)


def _zlib(level: int, is_live: bool, *, extra: int = 0) -> Compressor:
    wbits, memory_level = _ZLIB_LIVE if is_live else _ZLIB_BODY
    codec = zlib.compressobj(level, zlib.DEFLATED, wbits + extra, memory_level)
    return Compressor(codec.compress, partial(codec.flush, zlib.Z_SYNC_FLUSH), codec.flush)


def _br(level: int, is_live: bool) -> Compressor:  # it has one window for both
    brotli: Any = import_module("brotli")
    codec = brotli.Compressor(quality=level, lgwin=_BR_WINDOW_BITS)
    return Compressor(codec.process, codec.flush, codec.finish)


def _zstd(level: int, is_live: bool) -> Compressor:
    zstandard: Any = import_module("zstandard")
    # The size is a hint: window and tables are made for bodies of that size.
    size = _ZSTD_LIVE_BYTES if is_live else _ZSTD_BODY_BYTES
    parameters = zstandard.ZstdCompressionParameters.from_level(level, source_size=size)
    codec = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    flush = partial(codec.flush, zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    return Compressor(codec.compress, flush, codec.flush)


_MAKERS: Final[dict[str, Callable[[int, bool], Compressor]]] = {
    "zstd": _zstd,
    "br": _br,
    "gzip": partial(_zlib, extra=_GZIP),
    "deflate": _zlib,
}
