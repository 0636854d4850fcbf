"""
Compress answers on their way out, live.

    app.use(compression())

What a handler writes leaves as it is written: events and lines at once, the rest at `res.flush()`,
within half a second, or when there is enough of it.

Source: RFC 9110 §8.4 (Content-Encoding), §12.5.3 (Accept-Encoding), §12.5.5 (Vary); RFC 9111
§5.2.2.6 (no-transform); RFC 9530 (digests).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Final, NamedTuple

from anyio import to_thread

from .._http.codings import decodable
from .._http.compressors import LEVELS, Compressor, compressor, is_slow, usual_level
from .._http.conditional import parse_etags
from .._http.listing import listed
from .._http.media_types import type_is
from .._http.negotiation import choose_coding
from ..errors import UsageError
from ..handlers import Middleware
from ..request import Request
from ..response import Response
from ..types import Next

__all__ = ["compression"]

# What gets smaller. Pictures, sound, video and archives are compressed already, and WOFF is too.
MEDIA_TYPES: Final = (
    "text/*",
    "*/*+json",
    "*/*+xml",
    "application/json",
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonl",
    "application/jsonlines",
    "application/x-jsonlines",
    "application/json-seq",
    "application/javascript",
    "application/xml",
    "application/yaml",
    "application/toml",
    "application/vnd.apple.mpegurl",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/vnd.microsoft.icon",
)

# Somebody reads each event and each line of these as it comes.
LIVE_TYPES: Final = (
    "text/event-stream",
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonl",
    "application/jsonlines",
    "application/x-jsonlines",
    "application/json-seq",
)

# Made for a part of the body, or over the bytes as they are: a coding would make them wrong.
OF_THESE_BYTES: Final = ("content-range", "content-digest", "repr-digest", "digest", "content-md5")

# A larger piece is compressed in a thread, which costs 0.1 ms: gzip at its usual level makes 35 to
# 50 MB a second, so this much holds up the event loop for 3 ms.
LOOP_BYTES: Final = 128 * 1024

# br at level 11 makes 1.2 MB a second.
SLOW_LOOP_BYTES: Final = 4 * 1024

# A thread takes this many times as much at once: a cancellation waits for it.
STEP: Final = 8

# Shorter ones do not get smaller as a rule, and fill one packet at most.
MIN_BYTES: Final = 1024


class _Coding(NamedTuple):
    """A content coding, at the level that was asked for."""

    name: str
    level: int


def compression(
    *,
    level: int | Mapping[str, int] | None = None,
    min_bytes: int = MIN_BYTES,
    codings: Iterable[str] = ("zstd", "br", "gzip", "deflate"),
    media_types: Iterable[str] = MEDIA_TYPES,
    with_cookies: bool = False,
) -> Middleware:
    """
    Make a middleware that compresses answers for the clients that take that.

        app.use(compression())

    The coding is what Accept-Encoding wants most, and of those wanted equally the first of
    *codings*; event streams and lines take br last, which needs 0.7 MiB for each of them. Events
    and lines leave as they are written. Anything else is flushed by `res.flush()`, and by itself
    after half a second of silence.

    Content-Length and Accept-Ranges go, and the ETag becomes weak. Answers that could be compressed
    have `Vary: Accept-Encoding`, compressed or not. Those stay as they are that are shorter than
    *min_bytes*, are encoded already, are a part (206) or have a digest, or say `Cache-Control:
    no-transform`. A client that refuses even what is not coded, and takes no coding that is here,
    gets it uncoded: RFC 9110 §12.5.3 would allow an error, which helps nobody.

    A response that fails half-way has no end of its coding: each decoder notices.

    Args:
        level: That of each coding, or a mapping by coding. zstd has 1 to 19 and 3 by default, br 0
            to 11 and 5, gzip and deflate 1 to 9 and 6. A number beyond them is the nearest of them.
            Of br and zstd, from 10 on a few KiB take milliseconds: these are compressed in a
            thread. Event streams and lines use 1 of zstd, and of br 5 at most.
        min_bytes: Answers whose length is known, and less, are not compressed.
        codings: What may be used, the best first. br and zstd are left out where their packages are
            not installed: `pip install 'nardis[compression]'`.
        media_types: What is compressed: types, `"text/*"`, or `"*/*+json"` for a suffix.
        with_cookies: Compress also what sets a cookie in answer to a request with a query string,
            or with another method than GET and HEAD. What such a request sends may stand in the
            page beside a secret, and the length then tells about the secret (BREACH). A parameter
            of the path counts as nothing that was sent, and of the cookies those are seen that were
            set inside of this middleware: use it first.

    Raises:
        UsageError: A coding that there is not, a level or a number of bytes that is no number, or a
            text where a list belongs.

    Backpressure: as without it. A piece of more than 128 KiB is compressed in a thread.
    Cancellation: waits for the thread, which takes 1 MiB at a time.

    Source: RFC 9110 §8.4 and §12.5.3.
    """
    if not isinstance(min_bytes, int):  # pyright: ignore[reportUnnecessaryIsInstance]  # for untyped callers
        raise UsageError(f"compression(min_bytes=...) takes a number of bytes, not {min_bytes!r}")
    levels = {name: _level_of(name, level) for name in _checked(codings, level)}
    usable = [_Coding(name, levels[name]) for name in levels if name in decodable()]
    for coding in usable:
        compressor(*coding)  # so that its package is imported before the first request
    kinds = tuple(listed("compression(media_types=...)", media_types))
    return _Compression(usable, kinds, max(min_bytes, 1), with_cookies)


def _checked(codings: Iterable[str], level: int | Mapping[str, int] | None) -> list[str]:
    """Return the names of codings, each of which is one."""
    names = listed("compression(codings=...)", codings)
    for name in [*names, *(level if isinstance(level, Mapping) else ())]:
        if name not in LEVELS:
            raise UsageError(f"compression() has no coding {name!r}, but {', '.join(LEVELS)}")
    return names


def _level_of(coding: str, level: int | Mapping[str, int] | None) -> int:
    wanted = level.get(coding) if isinstance(level, Mapping) else level
    if wanted is not None and not isinstance(wanted, int):  # pyright: ignore[reportUnnecessaryIsInstance]  # for untyped callers
        raise UsageError(
            f"compression(level=...) takes a number, or a mapping by coding, not {wanted!r}"
        )
    return usual_level(coding, wanted)


class _Compression:
    """The middleware that `compression` makes."""

    def __init__(
        self,
        codings: list[_Coding],
        media_types: tuple[str, ...],
        min_bytes: int,
        with_cookies: bool,
    ) -> None:
        self._codings = {coding.name: coding for coding in codings}
        self._offers = (*self._codings, "identity")
        self._live_offers = tuple(sorted(self._offers, key=("br", "identity").__contains__))
        self._media_types = media_types
        self._min_bytes = min_bytes
        self._with_cookies = with_cookies

    async def __call__(self, req: Request, res: Response, next: Next) -> None:
        # The hook of what is around everything runs last, and so sees what the others did.
        if not req.is_websocket:  # what accepts one has no body
            res.on_head(partial(self._look, req, res))
        await next()

    def _look(self, req: Request, res: Response) -> None:
        """Compress the answer, if that is right."""
        fields = dict(res.headers.items())
        if not self._may_vary(res.status_code, fields):
            return
        res.vary("Accept-Encoding")
        if res.status_code != 304 and not self._is_worth_it(req, res.status_code, fields):
            return
        is_live = type_is(fields.get("content-type"), LIVE_TYPES) is not None
        offers = self._live_offers if is_live else self._offers
        coding = self._codings.get(choose_coding(req.get("accept-encoding"), offers) or "")
        if coding is None:
            return
        if res.status_code == 304:
            _weaken(req, res)
        else:
            res.set("content-encoding", coding.name)
            if "accept-ranges" in fields:
                # Else a client that resumes what it has (If-Range with this date) would get bytes
                # of the file as it is, behind coded ones.
                res.remove("accept-ranges").remove("last-modified")
            res.filter(_Coded(partial(compressor, *coding, is_live=is_live), coding, is_live))

    def _may_vary(self, status: int, fields: Mapping[str, str]) -> bool:
        """Whether another request might have the same answer compressed."""
        kind = fields.get("content-type")
        # A 304 need not say what the 200 is, whose Vary it has to repeat (RFC 9110 §15.4.5).
        fits = status == 304 if kind is None else type_is(kind, self._media_types)
        return (
            bool(fits)
            and status != 204
            and "content-encoding" not in fields
            and "no-transform" not in fields.get("cache-control", "").lower()
        )

    def _is_worth_it(self, req: Request, status: int, fields: Mapping[str, str]) -> bool:
        """Whether the body is all of its representation, is long enough, and keeps no secret."""
        length = fields.get("content-length", "")
        trailers = fields.get("trailer", "").lower()
        return not (
            status == 206
            or (length.isdecimal() and int(length) < self._min_bytes)
            or any(name in fields or name in trailers for name in OF_THESE_BYTES)
            or (not self._with_cookies and "set-cookie" in fields and _may_reflect(req))
        )


def _may_reflect(req: Request) -> bool:
    """Whether another site may have chosen what the answer repeats."""
    return bool(req.query_string) or req.method not in ("GET", "HEAD")


def _weaken(req: Request, res: Response) -> None:
    """
    Give a 304 the ETag of the 200 that the client has.

    Whether that was compressed, the 304 cannot know: perhaps it was too short. So the client's word
    counts, and it keeps a strong tag for its If-Match (RFC 9111 §4.3.4 has it take ours instead).
    """
    etag = res.get("etag")
    if etag is not None and not etag.startswith("W/"):
        known = parse_etags(req.get("if-none-match", ""))
        if etag in known and f"W/{etag}" not in known:
            return
        res.set("etag", f"W/{etag}")
    res.remove("accept-ranges")


class _Coded:
    """
    The body of one answer on its way through a compressor.

    That is made for the first byte, and forgotten at the end.
    """

    __slots__ = (
        "_compressor",
        "_held",
        "_is_live",
        "_is_slow",
        "_make",
        "_most",
        "_raw",
        "holds_back",
    )

    def __init__(self, make: Callable[[], Compressor], coding: _Coding, is_live: bool) -> None:
        self._make = make
        self._is_live = is_live
        self.holds_back: bool = not is_live
        self._is_slow = is_slow(*coding)
        self._most = SLOW_LOOP_BYTES if self._is_slow else LOOP_BYTES
        self._held = 0  # bytes fed since all that was fed could be decoded
        self._raw = 0  # those of them that a slow one may have gathered without compressing them
        self._compressor: Compressor | None = None

    def feed(self, data: bytes) -> bytes | Awaitable[bytes]:
        codec = self._compressor
        if codec is None:
            codec = self._compressor = self._make()
        self._held += len(data)
        self._raw = self._raw + len(data) if self._is_slow else len(data)
        if self._raw > self._most:
            return self._feed_in_steps(codec, data)
        given = codec.feed(data)
        if self._is_live:
            self._held = 0
            given += codec.flush()
        return given

    async def _feed_in_steps(self, codec: Compressor, data: bytes) -> bytes:
        view, step = memoryview(data), STEP * self._most
        self._raw = 0
        pieces = [
            await to_thread.run_sync(codec.feed, view[at : at + step])
            for at in range(0, len(view), step)
        ]
        if self._is_live:
            self._held = 0
            pieces.append(await to_thread.run_sync(codec.flush))
        return b"".join(pieces)

    def flush(self) -> bytes | Awaitable[bytes]:
        codec = self._compressor
        return self._rest(codec.flush) if codec is not None and self._held else b""

    def finish(self) -> bytes | Awaitable[bytes]:
        codec = self._compressor or self._make()  # an empty body has an end as well
        self._compressor = None
        return self._rest(codec.finish)

    def _rest(self, take: Callable[[], bytes]) -> bytes | Awaitable[bytes]:
        """Take what is held back, in a thread if that may take long."""
        held, self._held, self._raw = self._held, 0, 0
        return to_thread.run_sync(take) if self._is_slow and held > self._most else take()
