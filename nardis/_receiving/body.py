"""
The body of a request: what reads it, and who may.

Source: RFC 9110 (semantics), RFC 8259 (JSON), RFC 7578 (forms).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextvars import copy_context
from os import PathLike
from typing import Any, Self, TypeAlias, TypeVar, overload

from .._exchange.intake import too_large
from .._files.saving import save
from .._http import media_types
from .._http.codings import decoder, still_coded
from .._http.strict_json import decode_json
from .._models import decode_typed
from ..body import Body, Decoded, Kept, Source, decode_text, gather, not_as_sent
from ..errors import BodyAlreadyRead, HTTPError
from ..forms import FormData, Part, Parts, read_form
from ..limits import Limits
from .head import RequestHead
from .lines import NDJSON_TYPES, Lines, json_reader, text_reader

__all__ = ["RequestBody"]

T = TypeVar("T")

Bytes: TypeAlias = bytes  # inside RequestBody the name belongs to a method


class RequestBody(RequestHead):
    """What reads the body of a request. It has one reader, unless it is gathered and kept."""

    __slots__ = ("_body", "_gathered")

    # Set by the request's constructor, like those of the head.
    _body: Body | None
    _gathered: Bytes | None

    # Whether the body is decoded; None before decode_content() was called. It is no slot, so that
    # other requests do not pay for it; nor is the form.
    _decoded: bool | None = None
    _form: FormData | None = None
    _claimed: str | None = None  # the verb that the body belongs to

    @property
    def body(self) -> Body:
        """The body as a stream; `async for chunk in req` reads the same one."""
        if self._body is None:
            if self._gathered is not None:
                raise BodyAlreadyRead(
                    "the request body was gathered by req.bytes(), text() or json(): call that "
                    "again, it is kept"
                )
            if self._claimed is not None:
                raise _belongs_to(self._claimed)
            self._body = Body(self.exchange.open_body())
        return self._body

    def __aiter__(self) -> AsyncIterator[Bytes]:
        return self.body.__aiter__()

    def decode_content(self) -> Self:
        """
        Read the body decoded from now on, by `bytes()` and `json()` as by `async for`.

        It takes gzip and deflate, and where `nardis[compression]` is installed br and zstd. A body
        without a coding is read as it is, and to call this once more changes nothing. Without this
        a body in a content coding stays in it, and a verb that can make no sense of it answers 415.

            order = await req.decode_content().json()

        The limits of a body hold for what came and for what comes of it. Beyond 1 MiB, that may be
        `limits.decoded_ratio` times larger than what came, and no more. The header fields stay as
        they are: `content_length` is of the coded body. A mounted application gets the body as it
        was sent. So does a wrapped middleware, and the request behind it has a `decode_content()`
        of its own.

        Returns:
            This request.

        Raises:
            HTTPError: 415 for another coding, or several, before the client is asked for the body.
                What reads the body raises 400 when it cannot be decoded, or is cut short, and 413
                over a limit.
            BodyAlreadyRead: Some of the body was read before.

        Source: RFC 9110 §8.4 and §15.5.16.
        """
        if self._decoded is None:
            found = None
            if self.exchange.expects_body:
                found = decoder(self.headers.get("content-encoding"))
                if self._gathered is not None or self.exchange.open_body().received:
                    raise BodyAlreadyRead(
                        "some of the request body was already read: call decode_content() before"
                    )
            self._decoded = found is not None
            if found is not None:
                body = self.body
                body.source = Decoded(body.source, found, self.exchange)
        return self

    async def bytes(self, limit: int | None = None) -> Bytes:
        """
        Gather the whole body and keep it; later calls return the same.

        Args:
            limit: Most bytes to gather; `limits.buffered_body_bytes` (1 MiB) unless given.

        Raises:
            HTTPError: 413 when the body is larger, before reading where it says so itself.
            BodyAlreadyRead: Some of it was read as a stream.
        """
        if limit is None:
            limit = self.exchange.limits.buffered_body_bytes
        if self._gathered is None:
            self._gathered = await gather(self._unread("bytes()"), limit)
        elif len(self._gathered) > limit:
            raise too_large(limit)
        return self._gathered

    async def text(self, limit: int | None = None) -> str:
        """
        Gather the body and decode it by the charset of its Content-Type, UTF-8 if it names none.

        Raises:
            HTTPError: 413 over the limit, 400 when the bytes do not fit the charset, 415 when that
                is unknown, or they are in a content coding: see `decode_content()`.
        """
        body = await self.bytes(limit)
        try:
            return decode_text(body, self.charset or "utf-8")
        except HTTPError as exc:
            raise self._explained(exc) from exc.__cause__

    @overload
    async def json(self, type: None = None, *, limit: int | None = None) -> Any: ...
    @overload
    async def json(self, type: type[T], *, limit: int | None = None) -> T: ...
    async def json(self, type: Any = None, *, limit: int | None = None) -> Any:
        r"""
        Gather and decode a JSON body; with a *type*, validate it as well.

        Args:
            type: A dataclass, TypedDict, msgspec Struct, or pydantic model; or what these have for
                members, such as `list[int]`.
            limit: As in `bytes()`.

        Raises:
            HTTPError: 415 for another media type, or another charset than UTF-8; 413 over the
                limit; 400 for anything that is not JSON (RFC 8259: no NaN, UTF-8 only, nested at
                most `limits.json_depth` deep); 422 when it does not fit the type, with every fault
                and its JSON pointer (RFC 6901) in the member `errors`.

        Two things that RFC 8259 lets a reader refuse are a 400. A number beyond a double, such as
        `1e999`, would be infinity (§6). Half of a surrogate pair, such as `"\ud800"`, has no UTF-8
        (§8.2). The codec of `Nardis(json=...)` says what else is JSON; these two and NaN it cannot
        let in.
        """
        if self.exchange.fields.get(b"content-type", b"application/json") != b"application/json":
            self._check_json()
        body = await self.bytes(limit)
        depth = self.exchange.limits.json_depth
        try:
            return (
                decode_json(body, depth, self.app.json_codec)
                if type is None
                else decode_typed(body, type, depth)
            )
        except HTTPError as exc:
            raise self._explained(exc) from exc.__cause__

    def _check_json(self) -> None:
        """
        Refuse a body that says it is something else than JSON in UTF-8.

        RFC 8259 §11 gives JSON no charset. A filter that believes one reads another text than we.
        """
        if not media_types.is_json(self.content_type or ""):
            what = self.content_type or "an unreadable Content-Type"
            raise HTTPError(415, f"expected a JSON body, not {what}")
        self._check_json_charset()

    def _check_json_charset(self) -> None:
        if self.charset not in (None, "utf-8", "utf8", "us-ascii"):
            raise HTTPError(415, f"a JSON body is UTF-8 (RFC 8259 §8.1), not {self.charset}")

    def lines(self) -> AsyncIterator[str]:
        """
        Go through the lines of a text as they arrive: `async for line in req.lines()`.

        A line ends with LF, and with CR LF. It comes without that end, and may be empty; what
        stands behind the last LF is a line if it is not empty. No other character ends a line.

        The text is decoded line by line, by the charset of its Content-Type, or as UTF-8 if it
        names none. A byte order mark stays in the first line, as it does in `text()`: U+FEFF.

        The loop may be left and gone on with: keep what this returns.

        Raises:
            HTTPError: 415 for a charset that is unknown, or that cannot be read line by line, such
                as UTF-16. The loop raises 413 for a line of more than `limits.line_bytes` (1 MiB),
                and 400 for bytes that do not fit the charset; both have the number of the line,
                as the member `line` too. It raises them again if it is gone on with.
            BodyAlreadyRead: Some of the body was read before.

        Backpressure: the client is asked for more when the lines that came are taken. Kept are a
        piece of the body and one line. Cancellation: loses nothing; the next call goes on.
        """
        read = text_reader(self.charset or "utf-8", self._explained)
        most = self.exchange.limits.line_bytes
        return Lines(self._claim("lines()"), most, read, skips_blanks=False)

    @overload
    def ndjson(self, type: None = None) -> AsyncIterator[Any]: ...
    @overload
    def ndjson(self, type: type[T]) -> AsyncIterator[T]: ...
    def ndjson(self, type: Any = None) -> AsyncIterator[Any]:
        """
        Go through JSON values as they arrive, one in each line: `async for item in req.ndjson()`.

        Lines are those of `lines()`; one of nothing but blanks is left out. The type of the body is
        `application/x-ndjson`, or `ndjson`, `jsonl` and `jsonlines`, each with `x-` or without. It
        may be missing, and JSON of a single line is fine too.

        Args:
            type: As in `json()`, for each line.

        Raises:
            HTTPError: 415 for another media type, or another charset than UTF-8. The loop raises
                413 for a line of more than `limits.line_bytes` (1 MiB), 400 for one that is not
                JSON, and 422 for one that does not fit the type, each as `json()` has it. They have
                the number of the line, as the member `line` too. It raises them again if it is gone
                on with: to leave out lines that are wrong, decode those of `lines()`.
            BodyAlreadyRead: Some of the body was read before.

        Backpressure and cancellation are those of `lines()`.

        Source: the NDJSON specification §3.
        """
        if "content-type" in self.headers:
            self._check_ndjson()
        limits = self.exchange.limits
        read = json_reader(type, limits.json_depth, self.app.json_codec, self._explained)
        return Lines(self._claim("ndjson()"), limits.line_bytes, read, skips_blanks=True)

    def _check_ndjson(self) -> None:
        found = self.content_type or ""
        if found not in NDJSON_TYPES and not media_types.is_json(found):
            what = found or "an unreadable Content-Type"
            hint = ""
            if found == "application/x-www-form-urlencoded":  # what curl says, unless it is told
                hint = f"; for curl: -H 'content-type: {NDJSON_TYPES[0]}'"
            taken = ", ".join(NDJSON_TYPES)
            raise HTTPError(415, f"expected lines of JSON ({taken}), not {what}{hint}")
        self._check_json_charset()

    async def form(self, limit: int | None = None) -> FormData:
        """
        Gather a form, multipart or urlencoded, and keep it; later calls return the same.

        Files are kept in memory up to `limits.spool_bytes`, and then in a temporary file without a
        name. They are gone when the request has ended: `save()` what is to stay.

        Args:
            limit: Most bytes of the whole body, beside the limits of fields and files.

        Raises:
            HTTPError: 415 when it is no form, 413 over a limit, 431 for the head of a part, 400
                when it is malformed or cut short.
            BodyAlreadyRead: Some of it was read as a stream.

        Source: RFC 7578; WHATWG URL §5.1.
        """
        if self._form is None:
            kind, limits = self.headers.get("content-type"), self.exchange.limits
            empty = False if self.exchange.declared_body_bytes else None
            source = self._claim("form()")
            try:
                form = await read_form(source, kind, limits, limit=limit, empty=empty)
            except HTTPError as exc:
                raise self._explained(exc) from exc.__cause__
            if form.files:
                self.exchange.defer(form.close, (), copy_context())
            elif b"content-encoding" in self.exchange.fields:
                self._check_meaning(form)
            self._form = form
        return self._form

    def parts(self, *, limit: int | None = None) -> Parts:
        """
        Go through the parts of a multipart form as they arrive: `async for part in req.parts()`.

        Nothing of it is kept: a part is read, or saved, before the next one is asked for. The form
        is complete when the loop ends.

        Args:
            limit: Most bytes of the whole body; `limits.streamed_body_bytes` holds beside it.

        Raises:
            HTTPError: 415 when it is no multipart/form-data, 400 for a boundary that cannot be one.
                The loop, and what reads a part, raises 413 and 431 over a limit, and 400 when the
                form is malformed or cut short.
            BodyAlreadyRead: Some of the body was read before.

        Backpressure: the client is asked for no more than is read.

        Source: RFC 7578.
        """
        source = self._claim("parts()")
        if limit is not None:
            source.limit = limit if source.limit is None else min(limit, source.limit)
        kind, limits = self.headers.get("content-type"), self.exchange.limits
        if b"content-encoding" in self.exchange.fields:
            return _CodedParts(source, kind, limits, self._explained)
        return Parts(source, kind, limits)

    async def save(self, path: str | PathLike[str], limit: int | None = None) -> int:
        """
        Save the body as the file *path*, and return its size in bytes.

        The file is there when all of the body is, and before that nothing of it. One that was there
        is replaced. Disks are written in worker threads.

        Args:
            path: Where to. It is yours: never make it of what a client sent.
            limit: Most bytes; `limits.streamed_body_bytes` holds beside it.

        Raises:
            OSError: As the system gave it: the folder is missing, *path* is a folder, the disk is
                full.
            HTTPError: 413 over a limit.
            BodyAlreadyRead: Some of it was read as a stream.

        Cancellation: nothing is left behind. Backpressure: no more is asked for than is written, up
        to 512 KiB.
        """
        source = self._claim("save()")
        bound = source.limit
        if limit is not None:
            source.limit = limit if bound is None else min(limit, bound)
        try:
            return await save(path, source.next_chunk)
        finally:
            source.limit = bound

    def _explained(self, error: HTTPError) -> HTTPError:
        """Return what to say instead where a body made no sense because nobody decoded it."""
        if error.status != 400 or self._decoded is not None:
            return error
        return still_coded(self.headers.get("content-encoding")) or error

    def _check_meaning(self, form: FormData) -> None:
        """Refuse what a urlencoded form makes of coded bytes: any are text, with U+FFFD in it."""
        if any("\ufffd" in text for pair in form.pairs() for text in pair):
            error = self._explained(HTTPError(400))
            if error.status != 400:
                raise error

    # --- who may read it --------------------------------------------------------------------------

    def _unread(self, verb: str) -> Source:
        """
        Return the source of the whole body.

        Raises:
            BodyAlreadyRead: Some of it is gone.
        """
        if self._gathered is not None:
            return Kept(self._gathered)
        if self._claimed is not None:
            raise _belongs_to(self._claimed)
        body = self._body
        source: Source = self.exchange.open_body()
        if body is not None and self._decoded:
            source = body.source
        if source.received or (body is not None and body.is_closed()):
            raise BodyAlreadyRead(
                "some of the request body was already read as a stream: use either that or "
                f"{verb}, and only one of them"
            )
        return source

    def _claim(self, verb: str) -> Source:
        """
        Return the source of the whole body, which nobody but *verb* reads from now on.

        Raises:
            BodyAlreadyRead: Some of it is gone.
        """
        source = self._unread(verb)
        if self._gathered is None:
            self._claimed = verb
            if self._body is not None:
                self._body.source = _Claimed(verb)
        return source

    # --- for Nardis itself ----------------------------------------------------------------------

    async def take_body(self) -> tuple[Bytes, bool]:
        """
        Return the next piece of the body, from wherever it is kept, and whether more may come.

        For a foreign application, which goes on where our own handlers stopped. It gets what was
        sent, or a BodyAlreadyRead: its Content-Encoding field is the client's.
        """
        if self._gathered is None:
            if self._claimed is not None:
                raise BodyAlreadyRead(
                    f"a foreign application cannot have this request body: req.{self._claimed} has "
                    "read it. Call `await req.bytes()` before, and both have it"
                )
            return await aiter(self.body).take()
        if self._decoded:
            raise not_as_sent()
        return self._gathered, False

    def share_body(self, inner: RequestBody) -> None:
        """Take over a body, or a form, that was gathered behind a foreign middleware."""
        if self._form is None and inner._form is not None:
            self._form, self._claimed = inner._form, "form()"
        if self._gathered is not None or inner._gathered is None:
            return
        if inner._decoded or not self._decoded:  # else it is coded, and here to be decoded
            self._gathered, self._decoded = inner._gathered, inner._decoded

    def share_form(self, inner: RequestBody) -> None:
        """Let a request behind a foreign middleware have the form that was gathered before it."""
        if self._form is not None:
            inner._form, inner._claimed = self._form, "form()"


class _CodedParts(Parts):
    """The parts of a form in a content coding. Without `decode_content()` it has none."""

    __slots__ = ("_explain",)

    def __init__(
        self,
        source: Source,
        content_type: str | None,
        limits: Limits,
        explain: Callable[[HTTPError], HTTPError],
    ) -> None:
        super().__init__(source, content_type, limits)
        self._explain = explain

    async def __anext__(self) -> Part:
        try:
            return await super().__anext__()
        except HTTPError as exc:
            raise self._explain(exc) from exc.__cause__


class _Claimed:
    """The source of a stream whose body belongs to a verb."""

    complete = False
    received = 0
    limit: int | None = None

    def __init__(self, verb: str) -> None:
        self._verb = verb

    async def next_chunk(self) -> bytes:
        raise _belongs_to(self._verb)


def _belongs_to(verb: str) -> BodyAlreadyRead:
    return BodyAlreadyRead(
        f"the request body belongs to req.{verb}, which was called before: it has one reader"
    )
