"""
The body of a request: as a stream, or gathered; as it was sent, or decoded.

Source: RFC 9110 §8.4 (content codings).
"""

from __future__ import annotations

import encodings
import re
from collections.abc import Coroutine
from contextlib import suppress
from encodings.aliases import aliases
from functools import cache
from threading import Lock
from typing import Any, Final, Protocol

import anyio
from anyio import to_thread
from anyio.abc import ByteReceiveStream
from anyio.lowlevel import checkpoint

from ._exchange.intake import too_large
from ._exchange.lifetime import Lifetime
from ._exchange.pace import add_piece
from ._exchange.turns import TURN_S
from ._failures import copied
from ._http.codings import Decoder
from .errors import BodyAlreadyRead, HTTPError

__all__ = [
    "Body",
    "Decoded",
    "Kept",
    "Source",
    "codec_of_lines",
    "decode_text",
    "gather",
    "not_as_sent",
]

# Modules of `encodings` that no peer may choose: they are no charsets, or fail in ways of their
# own.
_NO_CHARSETS: Final = frozenset(
    {
        "aliases",
        "base64_codec",
        "bz2_codec",
        "charmap",
        "hex_codec",
        "idna",
        "mbcs",
        "oem",
        "punycode",
        "quopri_codec",
        "raw_unicode_escape",
        "rot_13",
        "undefined",
        "unicode_escape",
        "uu_codec",
        "zlib_codec",
    }
)

# mime-charset of RFC 2978 §2.3, with the `.`, `:`, `(` and `)` that registered names have all the
# same. IANA says up to 40 characters and has a name of 45.
MAX_CHARSET_CHARS: Final = 64
_CHARSET = re.compile(r"[-!#$%&'()+.:0-9A-Z^_`a-z{}~]+")

# What Python ignores in the name of a codec.
_PUNCTUATION = re.compile(r"[^.0-9a-z]+")

# How the names of codecs begin in which a byte depends on the lines before, or an escape may hide
# the end of a line.
_STATEFUL: Final = ("hz", "iso2022_", "utf_7")

# Up to here a body may be as much larger than what came as it likes: so little does no harm.
FREE_BYTES: Final = 1024 * 1024


class Source(Protocol):
    """
    Where the bytes of a body come from: the exchange's intake, or a decoder over it.

    Attributes:
        complete: The reader took the last piece.
        received: Bytes given to the reader.
    """

    complete: bool
    received: int

    @property
    def limit(self) -> int | None:
        """Most bytes for the reader; None is no bound."""
        ...

    @limit.setter
    def limit(self, limit: int | None) -> None: ...

    async def next_chunk(self) -> bytes:
        """Return the next non-empty piece; raise `StopAsyncIteration` at the end."""
        ...


class Body(ByteReceiveStream):
    """
    The request body as an anyio byte stream and as an async iterator of `bytes`.

    Chunks come as the server delivers them, never empty, and are asked for one by one: what is not
    read is not taken from the client. After `req.decode_content()` they are what comes of those. It
    has one reader at a time and is read once.

    Cancellation: a cancelled read loses nothing; the next one goes on where it was.

    Attributes:
        source: For Nardis itself: where the chunks come from.
    """

    def __init__(self, source: Source) -> None:
        self.source: Source = source
        self._rest = b""
        self._closed = False

    def __aiter__(self) -> Body:
        if self.source.complete and self.source.received and not self._rest:
            raise BodyAlreadyRead(
                "the request body was read to its end before, and it is not kept: read it once, or "
                "use `await req.bytes()`"
            )
        return self

    # One coroutine for each chunk: the source's own, which ends with StopAsyncIteration.
    def __anext__(self) -> Coroutine[Any, Any, bytes]:  # pyright: ignore[reportIncompatibleMethodOverride]  # it is awaited all the same
        if self._rest or self._closed:
            return self._leftover()
        return self.source.next_chunk()

    async def _leftover(self) -> bytes:
        if self._closed:
            raise StopAsyncIteration
        rest, self._rest = self._rest, b""
        return rest

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """
        Return at least one and at most *max_bytes* bytes.

        Raises:
            anyio.EndOfStream: The body is complete.
            anyio.ClosedResourceError: This stream was closed.
            ClientDisconnected: The client left, and the handler is not cancelled for it.
            HTTPError: 413 when the body is over its limit, 408 when it stopped arriving, 400 when
                `req.decode_content()` was called and it cannot be decoded.
        """
        if self._closed:
            raise anyio.ClosedResourceError
        try:
            chunk = self._rest or await self.source.next_chunk()
        except StopAsyncIteration:
            raise anyio.EndOfStream from None
        self._rest = chunk[max_bytes:]
        return chunk[:max_bytes]

    def is_closed(self) -> bool:
        """Whether the stream was closed."""
        return self._closed

    async def take(self) -> tuple[bytes, bool]:
        """
        Return the next piece as it was sent, and whether more may come.

        It is for a reader that goes on from here and has the Content-Encoding field.

        Raises:
            BodyAlreadyRead: Some of the body was decoded already.
        """
        source = self.source
        if isinstance(source, Decoded):
            source = source.undecoded()
        if self._rest:
            piece, self._rest = self._rest, b""
        else:
            try:
                piece = await source.next_chunk()
            except StopAsyncIteration:
                piece = b""
        return piece, not source.complete

    async def aclose(self) -> None:
        """Read no more. The rest of the body is left to the end of the exchange."""
        self._closed = True
        await checkpoint()


class Decoded:
    """
    A body that is decoded on its way to the reader: a source over another one.

    Its pieces are of 64 KiB at most, and the client is asked for more only when there is nothing
    left to decode. The limit holds for the bytes that came, and for those that come of them.

    Cancellation of a read loses nothing. After a 400 or a 413 every further read raises it again.

    Args:
        source: The coded bytes. Nobody else reads them.
        decoder: For their coding.
        lifetime: The call that the body belongs to.

    Attributes:
        complete: The reader came to the end.
        received: Decoded bytes given to the reader.
    """

    __slots__ = (
        "_data",
        "_decoder",
        "_ended",
        "_failure",
        "_is_slow",
        "_lifetime",
        "_lock",
        "_piece",
        "_source",
        "_taken",
        "_yields_at",
        "complete",
        "received",
    )

    def __init__(self, source: Source, decoder: Decoder, lifetime: Lifetime) -> None:
        self._source: Source = source
        self._decoder: Decoder | None = decoder  # its window goes as soon as it is not needed
        self._is_slow: bool = decoder.is_slow
        self._lifetime: Lifetime = lifetime
        self.complete: bool = False
        self.received: int = 0
        self._taken: int = 0  # coded bytes
        self._data: bytes = b""  # for the next step
        self._ended: bool = False  # there will be no more
        self._piece: bytes = b""  # of the last step
        self._failure: HTTPError | None = None
        # Where asyncio itself cancels the reader (`asyncio.timeout`), a step in a thread goes on
        # without it.
        self._lock: Lock = Lock()
        self._yields_at: float = lifetime.sweeper.clock() + TURN_S

    @property
    def limit(self) -> int | None:
        """Most bytes that may come, and most that may come of them; None is no bound."""
        return self._source.limit

    @limit.setter
    def limit(self, limit: int | None) -> None:
        self._source.limit = limit

    async def next_chunk(self) -> bytes:
        """
        Return the next non-empty piece; raise `StopAsyncIteration` at the end.

        Raises:
            BodyAlreadyRead: Somebody else read some of the coded bytes.
            HTTPError: 400 when the body cannot be decoded, 413 when it is over a limit.
        """
        clock = self._lifetime.sweeper.clock
        while not self.complete:
            if clock() > self._yields_at:  # what is here may be decoded without awaiting anything
                await checkpoint()
                self._yields_at = clock() + TURN_S
            if self._failure is not None:
                raise copied(self._failure)
            if self._is_hungry():
                await self._pull()
            if self._is_slow and not self._ended:
                await to_thread.run_sync(self._try_step)
            else:
                self._step()
            if piece := self._give():
                return piece
        raise StopAsyncIteration

    def undecoded(self) -> Source:
        """
        Return the source of the coded bytes, for a reader that has their Content-Encoding field.

        Raises:
            BodyAlreadyRead: Some of them are decoded already.
        """
        if self._taken:
            raise not_as_sent()
        return self._source

    def _is_hungry(self) -> bool:
        if not self._lock.acquire(blocking=False):
            return False  # a step goes on that nobody waits for: the next one waits for its end
        try:
            waits = self._data or self._ended or self._piece
            return not waits and self._decoder is not None and self._decoder.hungry
        finally:
            self._lock.release()

    async def _pull(self) -> None:
        """Take the next piece from the client, or note that there is none."""
        source = self._source
        if source.received != self._taken:
            raise BodyAlreadyRead(
                "the request body was read as it was sent, by a foreign application: what is left "
                "cannot be decoded"
            )
        try:
            self._data = await source.next_chunk()
        except StopAsyncIteration:
            self._ended = True
        except HTTPError as exc:
            if source.received != self._taken:  # a piece is lost: the rest cannot be decoded
                self._fail(exc)
            raise
        finally:
            self._taken = source.received

    def _step(self) -> None:
        with self._lock:
            decoder = self._decoder
            if decoder is None or self._piece:
                return  # done, in a step that nobody waited for
            data, self._data = self._data, b""
            try:
                if self._ended:
                    decoder.finish()
                    self.complete = True
                    self._decoder = None
                else:
                    self._piece = decoder.feed(data)
            except HTTPError as exc:
                self._fail(exc)
                raise

    def _try_step(self) -> None:
        """Do `_step` in a thread: an error out of there would hold the request (anyio 4.14)."""
        with suppress(HTTPError):  # what failed is kept, and raised by the task
            self._step()

    def _give(self) -> bytes:
        """Count the piece that the last step made, and return it; empty if it made none."""
        if not (piece := self._piece):
            return b""
        self._piece = b""
        self.received += len(piece)
        limit, ratio = self.limit, self._lifetime.limits.decoded_ratio
        if limit is not None and self.received > limit:
            raise self._fail(too_large(limit))
        if self.received > max(FREE_BYTES, ratio * self._taken):
            raise self._fail(
                HTTPError(
                    413,
                    f"the request body becomes more than {ratio:,} times larger when it is decoded",
                    decoded_ratio=ratio,
                )
            )
        return piece

    def _fail(self, error: HTTPError) -> HTTPError:
        """Keep a copy of *error* for later reads: with its traceback it would hold this object."""
        self._failure = copied(error)
        self._decoder = None
        return error


class Kept:
    """
    A body that was gathered, as a source once more.

    Attributes:
        complete: The reader took it.
        received: Bytes given to the reader.
        limit: Most bytes for the reader; None is no bound.
    """

    __slots__ = ("_data", "complete", "limit", "received")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.complete: bool = False
        self.received: int = 0
        self.limit: int | None = None

    async def next_chunk(self) -> bytes:
        """Return all of it; raise `StopAsyncIteration` at the end."""
        data, self._data, self.complete = self._data, b"", True
        if not data:
            raise StopAsyncIteration
        if self.limit is not None and len(data) > self.limit:
            raise too_large(self.limit)
        self.received = len(data)
        return data


async def gather(source: Source, limit: int) -> bytes:
    """
    Return the whole body; one that came in one piece is that piece.

    However small the pieces are, they take the memory of their bytes and little more.

    Raises:
        HTTPError: 413 when it is larger than *limit* bytes, or than `streamed_body_bytes`.
    """
    streamed = source.limit
    source.limit = limit if streamed is None else min(limit, streamed)
    pieces: list[bytes | bytearray] = []
    try:
        while not source.complete:
            add_piece(pieces, await source.next_chunk())
    except StopAsyncIteration:
        pass  # the last message was empty
    finally:
        source.limit = streamed
    return b"".join(pieces)  # which returns a single one as it is


def decode_text(body: bytes, charset: str) -> str:
    """
    Decode *body*.

    A charset is one of those that come with Python, under any of the names that they have there.

    Raises:
        HTTPError: 400 when the bytes do not fit the charset, 415 when that is unknown.
    """
    try:
        return body.decode(_codec(charset))
    except UnicodeError as exc:
        raise HTTPError(400, f"the request body is not valid {charset}") from exc
    except LookupError as exc:
        raise _unsupported(charset) from exc


def codec_of_lines(charset: str) -> str:
    """
    Return the codec for text that is cut at each LF and decoded line by line.

    Raises:
        HTTPError: 415 when the charset is unknown, or LF and CR are not one byte each in it
            (UTF-16, EBCDIC), or a line depends on those before (ISO-2022-JP).
    """
    try:
        codec = _codec(charset)
    except LookupError as exc:
        raise _unsupported(charset) from exc
    if codec.startswith(_STATEFUL) or "\r\n".encode(codec) != b"\r\n":
        raise HTTPError(
            415, f"text in the charset {charset!r} cannot be read line by line: send it in UTF-8"
        )
    return codec


def _unsupported(charset: str) -> HTTPError:
    return HTTPError(415, f"the charset {charset[:MAX_CHARSET_CHARS]!r} is not supported")


def not_as_sent() -> BodyAlreadyRead:
    """Build the error for a foreign application: Content-Encoding would be wrong for its body."""
    return BodyAlreadyRead(
        "a foreign application cannot have this request body: it was decoded, and the "
        "Content-Encoding field says that it was not. Where one reads the body, leave "
        "req.decode_content() to its own code"
    )


def _codec(charset: str) -> str:
    """
    Return the module of `encodings` that decodes *charset*.

    Python is asked for modules that are there and for nothing else, because it keeps each name that
    it is ever asked for, known or not, in each spelling.

    Raises:
        LookupError: There is none.
    """
    if len(charset) > MAX_CHARSET_CHARS or not _CHARSET.fullmatch(charset):
        raise LookupError(charset)
    name = _PUNCTUATION.sub("_", charset.lower()).strip("_")
    module = aliases.get(name) or aliases.get(name.replace(".", "_"), name)
    if module not in _modules():
        raise LookupError(charset)
    return module


@cache
def _modules() -> frozenset[str]:
    from pkgutil import iter_modules  # only a request with a charset needs it

    # A program that was packed into one file may have no folder to list.
    names = {*aliases.values(), *(module.name for module in iter_modules(encodings.__path__))}
    return frozenset({name for name in names if not name.startswith("_")} - _NO_CHARSETS)
