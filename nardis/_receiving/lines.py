"""
The lines of a body as they arrive, each read as a text or as JSON; and messages as JSON.

Source: the NDJSON specification §3 (one JSON text a line, in UTF-8); RFC 8259 (JSON).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from time import monotonic
from typing import Any, Final, Generic, TypeAlias, TypeVar

from .._exchange.pace import FEED_BYTES, Pace, cut
from .._failures import copied
from .._http.lines import LineSplitter
from .._http.strict_json import JSONRefused, decode_json
from .._models import decode_typed, typed_decoder
from ..body import Source, codec_of_lines
from ..errors import BodyAlreadyRead, HTTPError

__all__ = ["NDJSON_TYPES", "Lines", "json_of_message", "json_reader", "text_reader"]

T = TypeVar("T")

Explain: TypeAlias = Callable[[HTTPError], HTTPError]

# The first is the specification's; clients send the others as well.
NDJSON_TYPES: Final = (
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonl",
    "application/jsonlines",
    "application/x-jsonlines",
)

# How the errors of a JSON body call it.
_BODY: Final = re.compile("the (?:JSON )?body")

_BLANKS: Final = b" \t\r"  # of JSON (RFC 8259 §2), without LF


class Lines(Generic[T]):
    """
    The lines of a body as they arrive: what `req.lines()` and `req.ndjson()` return.

    Nothing is kept beyond the piece of the body in hand and the beginning of one line. There is
    nothing to close: a loop that was left goes on where it was, by another loop over this object.

    Args:
        source: The body. Nobody else reads it.
        most: Longest line, in bytes without its end.
        read: Makes a value of a line. It gets the number of the line too, from 1.
        skips_blanks: Whether to leave out lines of nothing but blanks. They are counted.

    Cancellation: loses nothing; the next call goes on. After an HTTPError every further call raises
    it again.

    Backpressure: the client is asked for more when the lines that came are taken.
    """

    __slots__ = (
        "_failure",
        "_lines",
        "_number",
        "_over",
        "_pace",
        "_pieces",
        "_read",
        "_skips_blanks",
        "_source",
        "_splitter",
    )

    def __init__(
        self, source: Source, most: int, read: Callable[[bytes, int], T], *, skips_blanks: bool
    ) -> None:
        self._source: Source = source
        self._splitter: LineSplitter = LineSplitter(most)
        self._read: Callable[[bytes, int], T] = read
        self._skips_blanks: bool = skips_blanks
        self._lines: Iterator[bytes] = iter(())  # of the last piece
        self._pieces: Iterator[bytes] = iter(())  # what is not split yet of a large one
        self._number: int = 0
        self._over: bool = False
        self._failure: HTTPError | None = None  # a copy: with its traceback it would hold this
        self._pace: Pace = Pace()

    def __aiter__(self) -> Lines[T]:
        if self._over:
            raise BodyAlreadyRead(
                "the lines of the request body were read to their end before, and they are not "
                "kept: read them once"
            )
        return self

    async def __anext__(self) -> T:
        if self._failure is not None:
            raise copied(self._failure)
        try:
            while True:
                if self._pace.is_due():
                    await self._pace.give_turn()
                line = next(self._lines, None)
                if line is None:
                    await self._feed()
                    continue
                self._number += 1
                if self._skips_blanks and not line.strip(_BLANKS):
                    continue
                try:
                    return self._read(line, self._number)
                except StopAsyncIteration as exc:  # a model's own: here it would be a good end
                    what = f"what reads line {self._number:,} raised StopAsyncIteration"
                    raise RuntimeError(what) from exc
        except HTTPError as exc:
            self._failure = copied(exc)
            raise

    async def _feed(self) -> None:
        """Split the next piece; raise `StopAsyncIteration` at the end."""
        piece = next(self._pieces, b"")
        if not piece:
            since = monotonic()
            try:
                piece = await self._source.next_chunk()
            except StopAsyncIteration:
                last = self._splitter.finish()
                if last is None:
                    self._over = True
                    raise
                self._lines = iter((last,))
                return
            self._pace.is_due_after(since)
            if len(piece) > FEED_BYTES:
                self._pieces = cut(piece)
                piece = next(self._pieces)
        self._lines = self._splitter.feed(piece)


def _unchanged(error: HTTPError) -> HTTPError:
    return error


def text_reader(charset: str, explain: Explain = _unchanged) -> Callable[[bytes, int], str]:
    """
    Return what reads a line as a text.

    Args:
        charset: Of the body.
        explain: Returns the error to raise instead of that of a line.

    Raises:
        HTTPError: 415, text in this charset cannot be read line by line.
    """
    codec = codec_of_lines(charset)

    def read(line: bytes, number: int) -> str:
        try:
            return line.decode(codec)
        except UnicodeError as exc:
            what = f"line {number:,} of the request body is not valid {charset}"
            raise explain(HTTPError(400, what, line=number)) from exc

    return read


def json_reader(
    type: Any, depth: int, codec: Any, explain: Explain = _unchanged
) -> Callable[[bytes, int], Any]:
    """
    Return what reads a line as JSON: into *type*, or as `decode_json` does if that is None.

    *explain* is that of `text_reader`. An HTTPError of the type or the codec stays what it is, but
    for the number of the line in its extensions.
    """
    decode: Callable[[bytes], Any] = (
        partial(decode_json, depth=depth, codec=codec)
        if type is None
        else typed_decoder(type, depth)
    )

    def read(line: bytes, number: int) -> Any:
        try:
            return decode(line)
        except JSONRefused as exc:
            raise explain(_of_line(exc, number)) from exc
        except HTTPError as exc:
            exc.extensions["line"] = number
            raise

    return read


def json_of_message(message: bytes, type: Any, depth: int, codec: Any) -> Any:
    """
    Read a whole message as JSON, as `json_reader` reads a line.

    Raises:
        HTTPError: 400: it is not JSON; 422: it does not fit *type*.
    """
    try:
        if type is None:
            return decode_json(message, depth, codec)
        return decode_typed(message, type, depth)
    except JSONRefused as exc:
        raise _renamed(exc, "the message") from exc


def _of_line(error: JSONRefused, number: int) -> HTTPError:
    """
    Say of a line what was said of a whole JSON body.

    >>> _of_line(JSONRefused(400, "the body is not valid JSON: it ends: line 1 column 2"), 7).detail
    'line 7 is not valid JSON: it ends: column 2'
    """
    refused = _renamed(error, f"line {number:,}")
    refused.detail = refused.detail.replace(": line 1 column ", ": column ", 1)
    refused.extensions["line"] = number
    return refused


def _renamed(error: JSONRefused, what: str) -> HTTPError:
    """Say of *what* it is, instead of the body, that it cannot be read."""
    said = _BODY.sub(what, error.detail, count=1)
    return HTTPError(error.status, said, headers=error.headers, **error.extensions)
