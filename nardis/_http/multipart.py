r"""
multipart/form-data: the parts of a form, from the bytes of a body as they come.

The library `multipart` finds the boundaries. The head of each part is read here. The library would
join folded lines, forgive blanks before a colon, take the last of two names, and refuse a file that
is not as long as the Content-Length of its part.

Source: RFC 7578 (forms); RFC 2046 §5.1.1 (boundaries); RFC 9110 §5.5 and §5.6 (fields and their
parameters); WHATWG HTML §4.10.21.8 (how browsers write a name).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from typing import Final

from multipart import (
    MultipartError,
    MultipartSegment,
    ParserError,
    ParserLimitReached,
    PushMultipartParser,
)

from ..errors import HTTPError
from ..limits import Limits
from .grammar import CONTROL, MAX_MEMBERS, TOKEN, TOKEN_TEXT, UNQUOTED_TEXT
from .media_types import parse_media_type

__all__ = ["MultipartReader", "PartHead"]

_FORM: Final = "multipart/form-data"

# 1 to 70 characters, and no blank at the end (RFC 2046 §5.1.1). It has fewer characters than these,
# but `*****` is the boundary of countless Android programs, and nothing is lost by it.
_BOUNDARY = re.compile(r"[ -~]{0,69}[!-~]")

# Where a parameter has to end.
_END = r"(?=[ \t]*+(?:;|\Z))"
_FORM_DATA = re.compile(rf"form-data{_END}", re.IGNORECASE)

# A quoted value ends at a quote behind which the parameter ends. So the backslash of a browser,
# which escapes nothing with it, may be the last character of a name. In front of any other quote a
# backslash escapes it, as aiohttp writes it, and curl before 7.81. Nothing is matched twice.
_QUOTED_TEXT = rf'(?:[^"\\]++|\\\\|\\"(?!{_END})|\\)*+'
_PARAMETER = re.compile(
    rf'[ \t]*+;[ \t]*+(?:({TOKEN_TEXT})=(?:"({_QUOTED_TEXT})"|({UNQUOTED_TEXT})))?{_END}'
)

# What no name may hold: HTAB, which a field value may hold, and C1 too.
_NAME_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class PartHead:
    """
    What stands in front of the content of a part.

    Attributes:
        name: The field's name, which may be empty.
        filename: `None` for a field. A file's name may be empty, or a path: never join it to a
            directory as it is.
        content_type: The Content-Type of the part, as it was sent; `None` if it has none.
        headers: All its header lines, names in lower case, values without blanks around them.
    """

    name: str
    filename: str | None
    content_type: str | None
    headers: tuple[tuple[bytes, bytes], ...]

    @property
    def charset(self) -> str | None:
        """The `charset` parameter of the Content-Type, in small letters; None if it has none."""
        if self.content_type is None:
            return None
        try:
            return parse_media_type(self.content_type)[1].get("charset", "").lower() or None
        except HTTPError:
            return None


class MultipartReader:
    r"""
    Take a form apart while it arrives, within limits.

    However the body is cut into pieces, the parts, their content and the status of an error are the
    same. The first error is the last: `feed` and `finish` go on raising it.

    In a name or file name, `\"` is a double quote. Everything else stays as sent, so that two names
    never become one: percent escapes, among them the `%22`, `%0D` and `%0A` that browsers write for
    a double quote and a line end, and backslashes, which some clients double. No name has a control
    character. `name*` and `filename*` are ignored (RFC 7578 §4.2).

    No content is decoded, whatever Content-Transfer-Encoding says (§4.7). A nested multipart is the
    content of one part. Lines of a head are counted with their ends.

    Args:
        content_type: The Content-Type of the request.
        limits: Those of the request; the ones whose names begin with `form`, `file` and `part`
            count here.

    Attributes:
        complete: Whether the closing delimiter came. What follows it is ignored.
        flows: Whether the last piece was content from its first byte to its last, so that nothing
            of it is kept.

    Raises:
        HTTPError: 415, it is no multipart/form-data. 400, it has no boundary, or two, or one that
            is empty, malformed or longer than 70 characters.

    Source: RFC 7578 §4; RFC 2046 §5.1.1.
    >>> reader = MultipartReader("multipart/form-data; boundary=B", Limits())
    >>> body = b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--B--\r\n'
    >>> [event.name if isinstance(event, PartHead) else event for event in reader.feed(body)]
    ['a', b'1', None]
    >>> reader.complete
    True
    """

    __slots__ = (
        "_delimiter",
        "_error",
        "_fields_left",
        "_in_head",
        "_is_field",
        "_limits",
        "_line",
        "_most",
        "_parser",
        "_parts",
        "_size",
        "_start",
        "complete",
        "flows",
    )

    def __init__(self, content_type: str | None, limits: Limits) -> None:
        boundary = _boundary(content_type)
        self._limits: Limits = limits
        self._delimiter: bytes = f"\r\n--{boundary}".encode()
        self._parser: _Parser = _Parser(boundary, limits)
        self._parts: int = 0
        # The part that is being read, and most bytes that it may have. The preamble is read as the
        # content of a part that nobody sees: of content the parser finds the end however it is cut
        # into pieces, while in its own preamble multipart 2.0.1 forgets what stood in front of a
        # boundary. The CRLF is the one that a delimiter begins with, and a body may lack.
        for _ in self._parser.parse(f"--{boundary}\r\n\r\n\r\n".encode()):
            pass
        # What came of a content that may begin with a boundary; None when it does not.
        self._start: bytes | None = None
        self._size: int = 0
        self._most: int = -1
        self._is_field: bool = False
        self._fields_left: int = limits.form_fields_bytes
        # Whether a head is being read, and if so the line that has no end yet. If not, what the
        # CRLF of a delimiter may have left in an earlier piece.
        self._in_head: bool = False
        self._line: bytes = b"\r"
        # Raised are copies of it. An error that was raised has a traceback, whose frames have this
        # reader: they would wait for the garbage collector, with all that the form was.
        self._error: HTTPError | None = None
        self.complete: bool = False
        self.flows: bool = False

    def feed(self, data: bytes) -> Iterator[PartHead | bytes | None]:
        r"""
        Read the next piece of the body, one event at a time, as the caller asks for them.

        Args:
            data: Any number of bytes.

        Returns:
            For each part its head, its content in pieces that are not empty, and `None` for its
            end. Consume it wholly before the next call.

        Raises:
            HTTPError: 400, the form is malformed. 413, it has too many parts, a field or a file is
                too large, or all fields together are. 431, the head of a part is too large.

        Source: RFC 7578 §4; RFC 2046 §5.1.1; RFC 9110 §15.5.14; RFC 6585 §5.
        >>> reader = MultipartReader("multipart/form-data; boundary=B", Limits())
        >>> list(reader.feed(b"a preamble\r\n--")), list(reader.feed(b"B--")), reader.complete
        ([], [], True)
        """
        if self._error is not None:
            raise copy(self._error)
        # For the parser, an empty piece would be the end of the body.
        return self._events(data) if data and not self.complete else iter(())

    def passes(self, data: bytes) -> bool:
        r"""
        Take the next piece if `flows` and all of it is content, and return whether it is taken.

        So most of a file passes, at the price of one search. What is not taken is for `feed`.

        Source: RFC 2046 §5.1.1.
        >>> reader = MultipartReader("multipart/form-data; boundary=B", Limits())
        >>> head = b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
        >>> [reader.passes(data) or len(list(reader.feed(data))) for data in (head, b"12", b"34")]
        [1, 1, True]
        >>> reader.passes(b"56\r\n--"), list(reader.feed(b"56\r\n--")), reader.flows
        (False, [b'56'], False)
        """
        size, delimiter = self._size + len(data), self._delimiter
        # Not `in`, which takes 130 ns more: it asks first whether the bytes are a number.
        if not self.flows or size > self._most or data.find(delimiter) >= 0:
            return False
        begun = data.rfind(b"\r", 1 - len(delimiter))  # where a delimiter may begin
        if begun >= 0 and delimiter.startswith(data[begun:]):
            return False
        self._size = size
        return True

    def finish(self) -> None:
        """
        Say that the body has ended.

        Raises:
            HTTPError: 400, the closing delimiter never came; or the error that `feed` raised.

        Source: RFC 2046 §5.1.1.
        >>> reader = MultipartReader("multipart/form-data; boundary=B", Limits())
        >>> reader.finish()
        Traceback (most recent call last):
        nardis.errors.HTTPError: 400 Bad Request: the form was cut short: its end is missing
        """
        self.flows = False
        if self._error is None and not self.complete:
            self._error = HTTPError(400, "the form was cut short: its end is missing")
        if self._error is not None:
            raise copy(self._error)

    def _events(self, data: bytes) -> Iterator[PartHead | bytes | None]:
        self.flows = False
        try:
            for event in self._parser.parse(data):
                if isinstance(event, bytes):
                    content = event if self._start is None else self._started(event)
                    # Python has each single byte only once: the same one may be another.
                    self.flows = content is data and len(data) > 1
                    if content and self._size + len(content) <= self._most:
                        self._size += len(content)
                        yield content
                    else:
                        yield from self._within(content)
                elif event is None:
                    if self._start:
                        yield from self._within(self._start)
                    self._end_part()
                    if self._parts:
                        yield None
                else:
                    yield self._begin_part()
            if self._in_head:
                self._rest(data)
        except HTTPError as exc:
            self._error = copy(exc)
            raise
        except MultipartError as exc:
            self._parser.error = None
            self._error = self._translated(exc, data)
            raise copy(self._error) from exc

    def _begin_part(self) -> PartHead:
        self._in_head, self._line = False, b"\r"
        self._parts += 1
        self._start, self._size = b"", 0
        head = _read_head(self._parser.lines)
        self._is_field = head.filename is None
        if self._is_field:
            self._fields_left -= len(head.name.encode())
            if self._fields_left < 0:
                raise self._too_large()
            self._most = min(self._limits.form_field_bytes, self._fields_left)
        else:
            most = self._limits.file_bytes
            self._most = sys.maxsize if most is None else most
        return head

    def _end_part(self) -> None:
        if self._is_field:
            self._fields_left -= self._size
        self._in_head = True
        self._parser.begin_head()

    def _started(self, data: bytes) -> bytes:
        """
        Return what is here of a content as soon as it is known not to begin with a boundary.

        For some readers such a boundary is content, since it has no line end of its own; for others
        it ends a part that has no content (RFC 2046 §5.1.1).
        """
        data = (self._start or b"") + data
        self._start = None
        if data.startswith(b"-"):
            boundary = self._delimiter.removeprefix(b"\r\n")
            if data.startswith(boundary):
                raise HTTPError(400, "the content of a part begins with a boundary")
            if boundary.startswith(data):
                self._start, data = data, b""
        return data

    def _within(self, content: bytes) -> Iterator[bytes]:
        """Count *content*, and return what the part may have of it; of the preamble, nothing."""
        self._size += len(content)
        excess = self._size - self._most
        if self._parts:
            if allowed := content[:-excess] if excess > 0 else content:
                yield allowed
            if excess > 0:
                raise self._too_large()

    def _too_large(self) -> HTTPError:
        limits = self._limits
        if not self._is_field:
            what, most = "a file of the form is", limits.file_bytes
        elif self._fields_left < limits.form_field_bytes:
            what, most = "the fields of the form together are", limits.form_fields_bytes
        else:
            what, most = "a field of the form is", limits.form_field_bytes
        return HTTPError(413, f"{what} larger than the {most:,} bytes allowed here", limit=most)

    def _rest(self, data: bytes) -> None:
        """Look at what the parser keeps of *data*: the last delimiter, or a line without an end."""
        if self._parser.ended():
            self.complete = True
            return
        self._line = self._unended_line(data)
        self._parser.check(self._line.removesuffix(b"\r"))

    def _unended_line(self, data: bytes) -> bytes:
        return (self._line + data).rpartition(b"\r\n")[2]

    def _translated(self, exc: MultipartError, data: bytes) -> HTTPError:
        if isinstance(exc, ParserLimitReached):
            most = self._limits.form_parts
            return HTTPError(413, f"the form has more than {most:,} parts", limit=most)
        try:
            # In a head the parser only refuses an LF without CR in the last line, and has looked
            # for it beyond the limit too.
            if self._in_head:
                self._parser.check(self._unended_line(data))
        except HTTPError as fault:
            return copy(fault)
        return HTTPError(400, "a boundary of the form is not followed by a line end")


class _Parser(PushMultipartParser):
    """
    The library's parser, but the lines of heads are read, counted and kept here.

    It overrides two methods with private names. If a release of the library no longer calls the
    first, no part has a Content-Disposition, and every form is refused.
    """

    def __init__(self, boundary: str, limits: Limits) -> None:
        # The part beyond the limit is that of the preamble.
        super().__init__(
            boundary, max_header_size=sys.maxsize, max_segment_count=limits.form_parts + 1
        )
        self._limits: Limits = limits
        self._head_bytes: int = 0
        self.lines: list[tuple[bytes, bytes]] = []

    def begin_head(self) -> None:
        self._head_bytes = 0
        self.lines = []

    def ended(self) -> bool:
        """Whether the last delimiter came; if so, forget what stands behind it."""
        before = vars(self).copy()
        try:
            self.close()  # type: ignore[no-untyped-call]  # its argument lacks a type
        except ParserError as exc:
            exc.__traceback__ = None  # its frames have the error, and the parser: a circle
            vars(self).update(before)  # what is closed reads no more
            return False
        return True

    def check(self, line: bytes) -> None:
        """
        Refuse the next line, which may lack its end, if it is too long or has an LF.

        Whichever comes first in the line counts, as for a reader that gets single bytes.

        Raises:
            HTTPError: 431 or 400.
        """
        lf = line.find(b"\n")
        length = len(line) if lf < 0 else lf
        most = self._limits.part_header_bytes
        # An empty line is perhaps the end of the head, which is not counted.
        if length and self._head_bytes + length + len(b"\r\n") > most:
            text = f"the head of a part is larger than the {most:,} bytes allowed here"
            raise HTTPError(431, text, limit=most)
        if lf >= 0:
            raise HTTPError(400, "a line in the head of a part ends without CR")

    def _on_segment_headerline(self, line: bytes) -> None:
        self.check(line)
        self._head_bytes += len(line) + len(b"\r\n")
        if len(self.lines) >= (most := self._limits.part_headers):
            raise HTTPError(431, f"the head of a part has more than {most} lines", limit=most)
        self.lines.append(_read_line(line))

    def _create_segment(self, headerlist: list[tuple[str, str]]) -> MultipartSegment:
        return MultipartSegment([])  # without the library's own checks, which are too few


# --- reading --------------------------------------------------------------------------------------


def _boundary(content_type: str | None) -> str:
    if content_type is None or content_type.partition(";")[0].strip(" \t").lower() != _FORM:
        raise HTTPError(415, f"expected a form as {_FORM}")
    boundary = parse_media_type(content_type)[1].get("boundary")
    if boundary is None:
        raise HTTPError(400, f"{_FORM} without a boundary")
    if not _BOUNDARY.fullmatch(boundary):
        raise HTTPError(400, "a boundary is 1 to 70 characters of ASCII, the last of them no blank")
    return boundary


def _read_line(line: bytes) -> tuple[bytes, bytes]:
    """Read one header line into its name, in lower case, and its value (RFC 9110 §5.1 and §5.5)."""
    if line[0] in b" \t":  # RFC 9112 §5.2, and no client of forms ever wrote one
        raise HTTPError(400, "the head of a part has a folded line")
    try:
        text = line.decode()
    except UnicodeDecodeError as exc:
        raise HTTPError(400, "the head of a part is not valid UTF-8") from exc
    name, colon, value = text.partition(":")
    if not colon or not TOKEN.fullmatch(name):
        raise HTTPError(400, "the head of a part has a line that is no header")
    value = value.strip(" \t")
    if CONTROL.search(value):
        raise HTTPError(400, "the head of a part has a control character")
    return name.lower().encode(), value.encode()


def _read_head(lines: list[tuple[bytes, bytes]]) -> PartHead:
    disposition = _single(lines, b"content-disposition")
    if disposition is None:
        raise HTTPError(400, "a part of the form has no Content-Disposition")
    name, filename = _read_disposition(disposition)
    content_type = _single(lines, b"content-type")
    # Whoever reads its parameters looks at each of them, also where they are empty.
    if content_type is not None and content_type.count(";") > MAX_MEMBERS:
        raise HTTPError(400, f"a Content-Type has more than {MAX_MEMBERS} semicolons")
    return PartHead(name, filename, content_type, tuple(lines))


def _single(lines: list[tuple[bytes, bytes]], name: bytes) -> str | None:
    """
    Return the value of a header that must not come twice; `None` if it does not come.

    Two readers that each believe another line are how uploads get past filters.
    """
    found: str | None = None
    for key, value in lines:
        if key == name:
            if found is not None:
                raise HTTPError(400, f"the head of a part has two lines of {name.decode()}")
            found = value.decode()
    return found


def _read_disposition(value: str) -> tuple[str, str | None]:
    """Read a Content-Disposition into the name and file name of a part (RFC 7578 §4.2)."""
    match = _FORM_DATA.match(value)
    if match is None:
        raise HTTPError(400, "the Content-Disposition of a part is not form-data")
    parameters: dict[str, str] = {}
    members = 0  # empty ones included: a head of nothing else has 8,000
    while match.end() < len(value):
        match = _PARAMETER.match(value, match.end())
        if match is None:
            raise HTTPError(400, "the Content-Disposition of a part has a malformed parameter")
        members += 1
        if members > MAX_MEMBERS:
            raise HTTPError(400, f"a Content-Disposition has more than {MAX_MEMBERS} parameters")
        key, quoted, plain = match.groups()
        if key is None:
            continue
        if (key := key.lower()) in parameters:
            raise HTTPError(400, "the Content-Disposition of a part has a parameter twice")
        # No other escape is undone: if `%22` had the same meaning, two names could become one.
        parameters[key] = plain if quoted is None else quoted.replace(r"\"", '"')
    name, filename = parameters.get("name"), parameters.get("filename")
    if name is None:
        raise HTTPError(400, "the Content-Disposition of a part has no name")
    if _NAME_CONTROL.search(name) or (filename and _NAME_CONTROL.search(filename)):
        raise HTTPError(400, "the name of a part or of its file has a control character")
    return name, filename
