"""
Ordered multi-maps over raw bytes: header fields, the query, and cookies.

All of them are mappings of str to str with one value for each name, and keep every value beside it:
`get_all(name)` returns those of one name, `pairs()` everything in order. Nothing is decoded before
it is asked for.

Source: RFC 9110 §5 (fields), WHATWG URL §5.1 (queries), RFC 6265 §5.4 (cookies).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
    ValuesView,
)
from typing import ClassVar, Protocol, TypeVar, cast, overload

from ._http.cookies import MAX_COOKIES, parse_cookies
from ._http.fields import check_name, check_value
from ._http.urlencoded import MAX_PAIRS, parse_urlencoded
from .errors import MissingKey

__all__ = ["Cookies", "Headers", "MutableHeaders", "Query"]

T = TypeVar("T")

# Their values are credentials: a repr ends up in logs and tracebacks.
_SECRET = frozenset({b"authorization", b"cookie", b"proxy-authorization", b"set-cookie"})


class Headers(Mapping[str, str]):
    """
    Show the fields of a message as a mapping, case-insensitively.

    A name that comes on several lines has the combined value of RFC 9110 §5.2, joined with `", "`.
    Two names are special: `cookie` is joined with `"; "` (RFC 9113 §8.2.3), and `set-cookie`, which
    cannot be joined, is its first line. `_` and `-` are different characters: `x_forwarded_for` is
    never `x-forwarded-for`.

    Args:
        raw: Lines as ASGI has them: pairs of bytes, names in lower case. A list is shown and not
            copied.

    >>> headers = Headers([(b"accept", b"text/html"), (b"cookie", b"sid=1"), (b"accept", b"*/*")])
    >>> headers["Accept"], headers.get_all("accept")
    ('text/html, */*', ['text/html', '*/*'])
    >>> headers
    Headers([('accept', 'text/html'), ('cookie', '...'), ('accept', '*/*')])
    """

    __slots__ = ("raw",)

    raw: list[tuple[bytes, bytes]]

    def __init__(self, raw: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.raw = raw if isinstance(raw, list) else list(raw)

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    @overload
    def get(self, name: str, default: T) -> str | T: ...
    def get(self, name: str, default: T | None = None) -> str | T | None:
        """Return the combined value of a field, or *default*; without the cost of an exception."""
        # A plain scan: it beats a comprehension, and building a dict pays only from the third
        # look-up on.
        key = _key(name)
        found: bytes | None = None
        for field, value in self.raw:
            if field == key:
                if found is not None:
                    return _combine(field, [value for field, value in self.raw if field == key])
                found = value
        return default if found is None else found.decode("latin-1")

    def get_all(self, name: str) -> list[str]:
        """Return the value of each line of that name, in order; no line is an empty list."""
        key = _key(name)
        return [value.decode("latin-1") for field, value in self.raw if field == key]

    def pairs(self) -> list[tuple[str, str]]:
        """Return every line as a pair of name and value, in order."""
        return [(field.decode("latin-1"), value.decode("latin-1")) for field, value in self.raw]

    def items(self) -> ItemsView[str, str]:
        """Return the combined values by name, as they are now: later changes do not show."""
        return self._combined().items()

    def values(self) -> ValuesView[str]:
        """Return the combined values, as they are now: later changes do not show."""
        return self._combined().values()

    def __contains__(self, name: object) -> bool:
        key = _key(name)
        for field, _ in self.raw:
            if field == key:
                break
        else:
            return False
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(
            [field.decode("latin-1") for field in dict.fromkeys(field for field, _ in self.raw)]
        )

    def __len__(self) -> int:
        return len({field for field, _ in self.raw})

    def __eq__(self, other: object) -> bool:
        """
        Compare lines with those of other `Headers`, combined values with another mapping.

        The order of names does not matter.
        """
        if isinstance(other, Headers):
            return self._lines() == other._lines()
        if isinstance(other, Mapping):
            theirs = cast("Mapping[object, object]", other)
            return self._combined() == {
                name.lower() if isinstance(name, str) else name: theirs[name] for name in theirs
            }
        return NotImplemented

    # Two mappings with an `__eq__` of their own are not hashable, and this one may change under its
    # owner's hands.
    __hash__ = None  # type: ignore[assignment]  # mypy: object declares a method

    def __repr__(self) -> str:
        pairs = [
            (field.decode("latin-1"), "..." if field in _SECRET else value.decode("latin-1"))
            for field, value in self.raw
        ]
        return f"{type(self).__name__}({pairs!r})"

    def _lines(self) -> dict[bytes, list[bytes]]:
        lines: dict[bytes, list[bytes]] = {}
        for field, value in self.raw:
            lines.setdefault(field, []).append(value)
        return lines

    def _combined(self) -> dict[str, str]:
        return {
            field.decode("latin-1"): _combine(field, values)
            for field, values in self._lines().items()
        }


def _key(name: object) -> bytes | None:
    """Return a name as ASGI writes it; None for an object that cannot be a name."""
    if isinstance(name, str) and name.isascii():
        return name.encode().lower()
    return None


def _combine(key: bytes, lines: Sequence[bytes]) -> str:
    if len(lines) == 1 or key == b"set-cookie":
        return lines[0].decode("latin-1")
    return (b"; " if key == b"cookie" else b", ").join(lines).decode("latin-1")


class MutableHeaders(Headers, MutableMapping[str, str]):
    """
    Hold the fields of a message that is still to be sent.

    Setting a name replaces all its lines, at the place of the first; `append` adds a line. Names
    and values are checked (`FieldError`), names are written in lower case, ints become text.

    Args:
        raw: Lines to begin with, names in lower case; they are trusted. A list is changed in place
            and not copied.
        guard: Called before any change, with a description such as `"set header 'x-a'"`; it refuses
            by raising. It may also be assigned later: changes cost a little less as long as there
            is none.

    >>> headers = MutableHeaders()
    >>> headers["X-Total"] = 42
    >>> headers.append("vary", "accept")
    >>> headers.raw
    [(b'x-total', b'42'), (b'vary', b'accept')]
    """

    __slots__ = ("guard",)

    guard: Callable[[str], None] | None

    def __init__(
        self, raw: Iterable[tuple[bytes, bytes]] = (), *, guard: Callable[[str], None] | None = None
    ) -> None:
        super().__init__(raw)
        self.guard = guard

    def __copy__(self) -> MutableHeaders:
        """Copy the lines, as of a dict; what changes the copy asks no guard."""
        return MutableHeaders(list(self.raw))

    def __setitem__(self, name: str, value: str | int) -> None:
        if self.guard is not None:
            self.guard(f"set header {name!r}")
        key = check_name(name)
        line = (key, check_value(name, value))
        raw = self.raw
        place = -1
        for index, (field, _) in enumerate(raw):
            if field == key:
                if place >= 0:
                    self._replace({key: [line]})
                    return
                place = index
        if place < 0:
            raw.append(line)
        else:
            raw[place] = line

    def __delitem__(self, name: str) -> None:
        if self.guard is not None:
            self.guard(f"remove header {name!r}")
        key = _key(name)
        kept = [line for line in self.raw if line[0] != key]
        if len(kept) == len(self.raw):
            raise KeyError(name)
        self.raw[:] = kept

    def append(self, name: str, value: str | int) -> None:
        """
        Add a line, whether or not the name is there already.

        Raises:
            FieldError: The name or the value must not be sent.
        """
        if self.guard is not None:
            self.guard(f"append header {name!r}")
        self.raw.append((check_name(name), check_value(name, value)))

    def clear(self) -> None:
        """Remove every line."""
        if self.guard is not None:
            self.guard("remove all headers")
        self.raw.clear()

    def update(
        self,
        other: _Keyed | Iterable[tuple[str, str]] = (),
        /,
        **fields: str,
    ) -> None:
        """
        Set each field of *other*, as item assignment does; of other `Headers`, all lines of a name.

        Raises:
            FieldError: A name or a value must not be sent. From `Headers` nothing is set then, from
                anything else the fields before it.
        """
        if isinstance(other, Headers):
            lines: dict[bytes, list[tuple[bytes, bytes]]] = {}
            for name, value in other.pairs():
                key = check_name(name)
                lines.setdefault(key, []).append((key, check_value(name, value)))
            if self.guard is not None:
                for key in lines:
                    self.guard(f"set header {key.decode()!r}")
            self._replace(lines)
            other = ()
        super().update(other, **fields)

    def _replace(self, lines: dict[bytes, list[tuple[bytes, bytes]]]) -> None:
        """Put the lines of each name where its first one is, or at the end, all in one pass."""
        merged: list[tuple[bytes, bytes]] = []
        for line in self.raw:
            key = line[0]
            if key in lines:
                merged += lines[key]
                lines[key] = []
            else:
                merged.append(line)
        for rest in lines.values():
            merged += rest
        self.raw[:] = merged


class _Keyed(Protocol):
    """What has keys and an item for each, which is all that `update` wants of a mapping."""

    def keys(self) -> Iterable[str]: ...

    def __getitem__(self, key: str, /) -> str: ...


class _Pairs(Mapping[str, str]):
    """Pairs parsed when first looked at; the value of a name is its first one."""

    __slots__ = ("_index", "_parsed")

    _lacks: ClassVar[str]  # how a sentence about a missing name begins

    def __init__(self) -> None:
        self._parsed: list[tuple[str, str]] | None = None
        self._index: dict[str, list[str]] = {}

    @abstractmethod
    def _parse(self) -> list[tuple[str, str]]: ...

    def _load(self) -> dict[str, list[str]]:
        if self._parsed is None:
            pairs = self._parse()
            for name, value in pairs:
                self._index.setdefault(name, []).append(value)
            self._parsed = pairs
        return self._index

    def __getitem__(self, name: str) -> str:
        values = self._load().get(name)
        if values is None:
            raise MissingKey(self._lacks, name)
        return values[0]

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    @overload
    def get(self, name: str, default: T) -> str | T: ...
    def get(self, name: str, default: T | None = None) -> str | T | None:
        """Return the first value of that name, or *default*."""
        values = self._load().get(name)
        return default if values is None else values[0]

    def get_all(self, name: str) -> list[str]:
        """Return each value of that name, in order; no value is an empty list."""
        return list(self._load().get(name, ()))

    def pairs(self) -> list[tuple[str, str]]:
        """Return every pair of name and value, in order."""
        self._load()
        return list(self._parsed or ())

    def __contains__(self, name: object) -> bool:
        return name in self._load()

    def __iter__(self) -> Iterator[str]:
        return iter(self._load())

    def __len__(self) -> int:
        return len(self._load())

    def __eq__(self, other: object) -> bool:
        """Compare pairs in order with those of the same kind, first values with another mapping."""
        if isinstance(other, type(self)):
            return self.pairs() == other.pairs()
        return super().__eq__(other)

    __hash__ = None  # type: ignore[assignment]  # mypy: object declares a method


class Query(_Pairs):
    """
    Show a query string as a mapping; a name that comes twice has its first value.

    Pairs are separated by `&` only, `+` is a blank, percent-encoding is UTF-8 with U+FFFD for bytes
    that are not. Brackets in names mean nothing: there is no nesting.

    Args:
        raw: The query without its `?`.
        max_pairs: How many pairs may come.

    Raises:
        HTTPError: 400 at the first look, there are more than *max_pairs* pairs.
        MissingKey: 400, of `query["page"]` where that did not come. `get("page")` is None then.

    Source: WHATWG URL §5.1.
    >>> query = Query(b"q=caf%C3%A9+noir&tag=a&tag=b")
    >>> query["q"], query["tag"], query.get_all("tag")
    ('café noir', 'a', ['a', 'b'])
    """

    __slots__ = ("max_pairs", "raw")

    _lacks = "the query has no"

    def __init__(self, raw: bytes | str = b"", *, max_pairs: int = MAX_PAIRS) -> None:
        super().__init__()
        # Lone surrogates become bytes that are no UTF-8, and then U+FFFD, as in a browser.
        self.raw: bytes = (
            raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else bytes(raw)
        )
        self.max_pairs: int = max_pairs

    def _parse(self) -> list[tuple[str, str]]:
        return parse_urlencoded(self.raw, self.max_pairs)

    def as_(self, type: type[T]) -> T:
        """
        Read the pairs into *type*, and validate them: `page = req.query.as_(Page)`.

        It has the name of what it gives, with the underscore of a keyword. Texts become numbers,
        dates and enums as the type wants; a name that comes several times fills a list; a name that
        does not come takes its default; unknown names are left out.

        Args:
            type: A dataclass, TypedDict, msgspec Struct or pydantic model, or a dict.

        Raises:
            HTTPError: 422, with every fault and the name of its parameter; 400, there are more than
                *max_pairs* pairs.
            UsageError: The type has a member that no text can be.
        """
        from ._models.pairs import convert_pairs  # for programs that validate queries

        return cast("T", convert_pairs(self.pairs(), type))

    def __repr__(self) -> str:
        return f"Query({self.raw!r})"


class Cookies(_Pairs):
    """
    Show a Cookie field as a mapping; a name that comes twice has its first value.

    Args:
        value: The combined field value, `headers.get("cookie", "")`.
        max_cookies: How many cookies may come.

    Raises:
        HTTPError: 431 at the first look, there are more than *max_cookies*.
        MissingKey: 400, of `cookies["sid"]` where that did not come. `get("sid")` is None then.

    Source: RFC 6265 §5.4; `nardis._http.cookies.parse_cookies` has the rules.
    >>> cookies = Cookies("sid=31d4; theme=dark; sid=evil")
    >>> cookies["sid"], cookies.get_all("sid")
    ('31d4', ['31d4', 'evil'])
    """

    __slots__ = ("_value", "max_cookies")

    _lacks = "there is no cookie"

    def __init__(self, value: str = "", *, max_cookies: int = MAX_COOKIES) -> None:
        super().__init__()
        self._value = value
        self.max_cookies: int = max_cookies

    def _parse(self) -> list[tuple[str, str]]:
        return parse_cookies(self._value, self.max_cookies)

    def __repr__(self) -> str:
        # No names either: reading them may raise, and a repr must not.
        return f"Cookies(<{len(self._value)} characters>)"
