"""
Content codings: gzip, deflate, br and zstd, decoded in steps, with a bound on each step.

A kilobyte may stand for a gigabyte. So a decoder gives 64 KiB at most, and keeps its input until it
is asked again. The caller counts how much there is in all.

Source: RFC 9110 §8.4 (codings) and §15.5.16 (those that are not taken); RFC 1950 (zlib), RFC 1951
(deflate), RFC 1952 (gzip), RFC 7932 (br), RFC 8878 and RFC 9659 (zstd).
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Final, Protocol

from ..errors import HTTPError
from .grammar import MAX_MEMBERS, split

__all__ = ["STEP_BYTES", "Decoder", "decodable", "decoder", "still_coded"]

# Most bytes that a step gives. All but br make them in a few hundred microseconds.
STEP_BYTES: Final = 64 * 1024

# Most bytes that a step takes. zlib copies the input that it did not use, at each step: with a
# large piece that would be quadratic.
SLICE_BYTES: Final = 16 * 1024

# brotli allocates output in blocks, of 32 KiB and then 64 KiB, and stops once it has this much: so
# it gives one block (1.2).
BROTLI_BYTES: Final = 16 * 1024

# A larger window must not be asked for (RFC 9659 §3); the format has 3.75 TiB (RFC 8878
# §3.1.1.1.2). The window of br is 16 MiB at most (RFC 7932 §9.1), that of deflate 32 KiB.
ZSTD_WINDOW_BYTES: Final = 8 * 1024 * 1024

# RFC 8878 §3.1.1 and §3.1.2. The last four bits of the second are free.
ZSTD_MAGIC: Final = 0xFD2FB528
SKIPPABLE_MAGIC: Final = 0x184D2A50

# The `wbits` of zlib for each format.
ZLIB: Final = zlib.MAX_WBITS
RAW: Final = -zlib.MAX_WBITS
GZIP: Final = 16 + zlib.MAX_WBITS

# RFC 9110 §8.4.1.3.
_ALIASES: Final = {"x-gzip": "gzip"}

# The word for no coding (RFC 9110 §12.5.3), and the empty member of a list (§5.6.1).
_NO_CODINGS: Final = ("identity", "")

# The packages that codings need; the extra `compression` installs both.
_PACKAGES: Final = {"br": "brotli", "zstd": "zstandard"}


@cache
def decodable() -> tuple[str, ...]:
    """
    Return the content codings that can be decoded here.

    br and zstd are there where their packages are installed. This imports neither.

    Source: RFC 9110 §8.4.1.
    >>> decodable()[:2]
    ('gzip', 'deflate')
    """
    return tuple(name for name in _DECODERS if name not in _PACKAGES or find_spec(_PACKAGES[name]))


def decoder(content_encoding: str | None) -> Decoder | None:
    """
    Make a decoder for the content coding that a Content-Encoding field names.

    Args:
        content_encoding: The field value as received; `None` if there is no such field.

    Returns:
        A decoder, or `None` if there is nothing to decode: no field, or nothing but `identity`.

    Raises:
        HTTPError: 415, the coding is not supported, or there are several, one on top of the other.
            Its Accept-Encoding field names those that are taken.

    Source: RFC 9110 §8.4, §12.5.3 and §15.5.16.
    >>> decoder("Identity") is None
    True
    >>> import gzip
    >>> decoder("x-gzip").feed(gzip.compress(b"text"))
    b'text'
    """
    if content_encoding is None:
        return None
    names, is_whole = _names(content_encoding)
    if len(names) > 1 or not is_whole:
        raise _not_taken("only one content coding is taken")
    if not names:
        return None
    name = _ALIASES.get(names[0], names[0])
    if name not in decodable():
        raise _not_taken(f"the content coding {name[:64]!r} is not supported")
    return _DECODERS[name]()


def still_coded(content_encoding: str | None) -> HTTPError | None:
    """
    Return the error for a body that makes no sense because its content coding was left on.

    Its Accept-Encoding field says that none is taken.

    Args:
        content_encoding: As for `decoder`.

    Returns:
        A 415, or `None` if the body has no coding.

    Source: RFC 9110 §12.5.3 and §15.5.16.
    >>> still_coded("gzip, br").detail
    "the request body is in the coding 'gzip, br', which nobody decodes here: ..."
    """
    names = _names(content_encoding or "")[0]
    if not names:
        return None
    return HTTPError(
        415,
        f"the request body is in the coding {', '.join(names)[:64]!r}, which nobody decodes here: "
        "send it without. A handler that calls req.decode_content() first can read it",
        headers={"accept-encoding": "identity"},
    )


def _names(content_encoding: str) -> tuple[list[str], bool]:
    """Return the names of codings, and whether these are all of them."""
    members = split(content_encoding, ",")
    names = [name for each in members if (name := each.strip(" \t").lower()) not in _NO_CODINGS]
    return names, len(members) < MAX_MEMBERS  # `split` drops the rest of a longer list


def _not_taken(why: str) -> HTTPError:
    taken = ", ".join(decodable())
    return HTTPError(415, f"{why}: send one of {taken}", headers={"accept-encoding": taken})


class Decoder(ABC):
    """
    One content coding, decoded in steps.

    Each call of `feed()` is a step. While `hungry` is false there is more to come of what was fed
    before:

        piece = decoder.feed(data)
        while not decoder.hungry:
            piece = decoder.feed()

    Attributes:
        name: The coding, for messages.
        is_slow: A step may take milliseconds, whatever it gives: make it in a thread.
    """

    __slots__ = ("_at", "_begun", "_error", "_full", "_input", "_output", "is_slow", "name")

    def __init__(self, name: str, error: type[Exception], *, is_slow: bool = False) -> None:
        self.name: str = name
        self.is_slow: bool = is_slow
        self._error: type[Exception] = error  # the library's, for corrupt data
        self._input: bytes = b""
        self._at: int = 0  # where the input goes on
        self._output: bytes = b""  # of the last step, beyond STEP_BYTES
        self._full: bool = False  # the library may hold more output
        self._begun: bool = False

    @property
    def hungry(self) -> bool:
        """Whether it needs more input to go on."""
        return not (self._output or self._full or self._at < len(self._input))

    def feed(self, data: bytes = b"") -> bytes:
        """
        Make one step: take some of the input, and return the piece of the body that it stands for.

        Args:
            data: More of the coded body. What the step does not take is kept for the next one. Feed
                a decoder that is hungry: for another, what was kept is copied.

        Returns:
            `STEP_BYTES` at most. It may be empty, also where the decoder is not hungry.

        Raises:
            HTTPError: 400, the data are corrupt, or go on behind the end of the coding.

        Source: RFC 9110 §8.4.
        >>> import zlib
        >>> half = decoder("deflate")
        >>> half.feed(zlib.compress(b"text")[:4]), half.hungry
        (b't', True)
        """
        if data:
            self._begun = True
            self._input = self._input[self._at :] + data
            self._at = 0
        if not self._output:
            try:
                self._output = self._step()
            except self._error as exc:
                raise self._corrupt() from exc
        piece, self._output = self._output[:STEP_BYTES], self._output[STEP_BYTES:]
        return piece

    def finish(self) -> None:
        """
        Check that the body may end here, where the decoder is hungry.

        A body without a single byte may end: nothing of it is missing.

        Raises:
            HTTPError: 400, the body is cut short.

        Source: RFC 1952 §2.3.1 and its like: each coding says where it ends.
        """
        if self._begun and not self._is_whole():
            raise HTTPError(400, f"the request body is cut short: its {self.name} goes on")

    @abstractmethod
    def _step(self) -> bytes:
        """Take a slice of the input, and return what it stands for."""

    @abstractmethod
    def _is_whole(self) -> bool:
        """Whether what was fed may be all."""

    def _take(self, most: int) -> bytes:
        data = self._input[self._at : self._at + most]
        self._at += len(data)
        return data

    def _corrupt(self) -> HTTPError:
        return HTTPError(400, f"the request body is not valid {self.name}")

    def _behind_the_end(self) -> HTTPError:
        return HTTPError(400, f"the request body goes on behind the end of its {self.name}")


# --- gzip and deflate -----------------------------------------------------------------------------


class _Inflater(Protocol):
    """The decompressor of zlib, whose class has no public name."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Zlib(Decoder):
    """
    gzip: members, one behind the other (RFC 1952 §2.2). deflate: the zlib format, once.

    Some clients send deflate without the zlib format (RFC 9110 §8.4.1.2), and the first byte shows
    it. The lower half of zlib's is an 8 (RFC 1950 §2.2). In deflate that is a stored block with a
    bit set that encoders leave alone (RFC 1951 §3.2.4).
    """

    __slots__ = ("_zlib",)

    def __init__(self, name: str) -> None:
        super().__init__(name, zlib.error)
        self._zlib: _Inflater | None = None  # made at the first byte

    def _step(self) -> bytes:
        data = self._take(SLICE_BYTES)
        if self._zlib is None or self._zlib.eof:
            if not data:
                return b""
            if self.name == "gzip":
                self._zlib = zlib.decompressobj(GZIP)
            elif self._zlib is None:
                self._zlib = zlib.decompressobj(ZLIB if data[0] & 0x0F == 8 else RAW)
            else:
                raise self._behind_the_end()
        output = self._zlib.decompress(data, STEP_BYTES)
        ended = self._zlib.eof
        self._at -= len(self._zlib.unused_data if ended else self._zlib.unconsumed_tail)
        self._full = not ended and len(output) == STEP_BYTES
        return output

    def _is_whole(self) -> bool:
        return self._zlib is not None and self._zlib.eof


# --- br -------------------------------------------------------------------------------------------


class _BrotliDecompressor(Protocol):
    """The decompressor of brotli, which has no annotations."""

    def process(self, data: bytes, output_buffer_limit: int) -> bytes: ...
    def is_finished(self) -> bool: ...


class _Brotli(Decoder):
    """
    One stream. The library leaves "large windows" off, which RFC 7932 does not have.

    It decodes until its window is full, and then gives that in pieces. A few bytes may fill 16 MiB
    at once: 28 ms, in which it lets go of the interpreter's lock (1.2).
    """

    __slots__ = ("_brotli",)

    def __init__(self) -> None:
        brotli = import_module("brotli")
        super().__init__("br", brotli.error, is_slow=True)
        self._brotli: _BrotliDecompressor = brotli.Decompressor()

    def _step(self) -> bytes:
        data = b"" if self._full else self._take(SLICE_BYTES)
        if data and self._brotli.is_finished():
            raise self._behind_the_end()
        # Where it stops at the limit it keeps the rest of the input, and refuses more before that
        # is used up.
        output = self._brotli.process(data, output_buffer_limit=BROTLI_BYTES)
        self._full = len(output) >= BROTLI_BYTES
        return output

    def _is_whole(self) -> bool:
        return self._brotli.is_finished()


# --- zstd -----------------------------------------------------------------------------------------


class _ZstdFrame(Protocol):
    """The decompressor of one frame."""

    def decompress(self, data: bytes) -> bytes: ...


class _ZstdDecompressor(Protocol):
    """What makes them, in one memory."""

    def decompressobj(self) -> _ZstdFrame: ...


class _Zstd(Decoder):
    """
    Frames, one behind the other (RFC 8878 §3.1).

    zstandard bounds the window, and not its output: four bytes may stand for 128 KiB. So we find
    the heads of the blocks, and let it have one block at a time. It sees to it that a block is not
    larger than 128 KiB, and does not stand for more (§3.1.1.2.4).
    """

    __slots__ = ("_checksum_bytes", "_frame", "_head", "_left", "_read", "_size", "_zstd")

    def __init__(self) -> None:
        zstandard = import_module("zstandard")
        super().__init__("zstd", zstandard.ZstdError)
        self._zstd: _ZstdDecompressor = zstandard.ZstdDecompressor(
            max_window_size=ZSTD_WINDOW_BYTES
        )
        self._frame: _ZstdFrame | None = None  # what comes is skipped
        self._left: int = 0  # bytes before the next head
        self._checksum_bytes: int = 0
        # The next head: what is here of it, its size, and what reads it. That is no bound method,
        # which would be a circle: the window would be left to the garbage collector.
        self._head: bytes = b""
        self._size: int = 4
        self._read: Callable[[_Zstd, bytes], None] = _Zstd._read_magic

    def _step(self) -> bytes:
        if self._left:
            data = self._take(min(self._left, SLICE_BYTES))
            self._left -= len(data)
        else:
            self._head += self._take(self._size - len(self._head))
            if len(self._head) < self._size:
                return b""
            data, self._head = self._head, b""
            self._read(self, data)
        return b"" if self._frame is None else self._frame.decompress(data)

    def _is_whole(self) -> bool:
        return self._read == _Zstd._read_magic and not (self._left or self._head)

    def _expect(self, size: int, read: Callable[[_Zstd, bytes], None]) -> None:
        self._size, self._read = size, read

    def _read_magic(self, head: bytes) -> None:
        """Begin a frame."""
        magic = int.from_bytes(head, "little")
        if magic == ZSTD_MAGIC:
            self._frame = self._zstd.decompressobj()
            self._expect(1, _Zstd._read_descriptor)
        elif magic & ~0x0F == SKIPPABLE_MAGIC:
            self._frame = None
            self._expect(4, _Zstd._read_frame_size)
        else:
            raise self._corrupt()

    def _read_frame_size(self, head: bytes) -> None:
        """Find the end of a skippable frame (RFC 8878 §3.1.2)."""
        self._left = int.from_bytes(head, "little")
        self._expect(4, _Zstd._read_magic)

    def _read_descriptor(self, head: bytes) -> None:
        """Find the end of a frame's header: the first byte has the sizes (§3.1.1.1.1)."""
        bits = head[0]
        is_single = bits >> 5 & 1
        window_bytes = 1 - is_single
        dictionary_bytes = (0, 1, 2, 4)[bits & 3]
        content_size_bytes = (is_single, 2, 4, 8)[bits >> 6]
        self._checksum_bytes = 4 * (bits >> 2 & 1)
        self._left = window_bytes + dictionary_bytes + content_size_bytes
        self._expect(3, _Zstd._read_block)

    def _read_block(self, head: bytes) -> None:
        """Find the end of a block: one bit for the last one, two for the type (§3.1.1.2)."""
        bits = int.from_bytes(head, "little")
        is_last, is_repeated, size = bits & 1, bits >> 1 & 3 == 1, bits >> 3
        self._left = 1 if is_repeated else size
        if is_last:
            self._left += self._checksum_bytes
            self._expect(4, _Zstd._read_magic)

    def _corrupt(self) -> HTTPError:
        return HTTPError(
            400,
            "the request body is not valid zstd, or needs a dictionary or more than 8 MiB of "
            "window",
        )


# In the order of the Accept-Encoding field of browsers.
_DECODERS: Final[dict[str, Callable[[], Decoder]]] = {
    "gzip": lambda: _Zlib("gzip"),
    "deflate": lambda: _Zlib("deflate"),
    "br": _Brotli,
    "zstd": _Zstd,
}
