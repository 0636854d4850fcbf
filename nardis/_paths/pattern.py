"""A pattern: compiled from its text, matched against a path, and built into one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast
from urllib.parse import quote

from ..errors import PatternError, UsageError
from .segments import Segments, folded
from .shapes import Params, Shape, names_of, shape_of
from .syntax import Capture, Form, PatternSegment, Token, parse, segmented

__all__ = ["Pattern", "compile_pattern"]

# What encodeURIComponent leaves alone, for captures; for texts all of pchar (RFC 3986 §3.3).
_CAPTURE_SAFE = "!~*'()"
_TEXT_SAFE = "!$&'()*+,;=:@"


class Pattern:
    """
    A compiled path pattern, or a list of them: the first that fits counts.

    Attributes:
        source: The pattern as written; those of a list joined by `, `.
        names: Names of all captures, in order of appearance.
        literals: The segments of a pattern that is one fixed text, such as `/api/v1`; None for any
            other.
        routes: The shapes for `match`, in order of preference; for the routing index.
        prefixes: The shapes for `match_prefix`, likewise.
    """

    __slots__ = ("_case_sensitive", "_forms", "literals", "names", "prefixes", "routes", "source")

    def __init__(self, sources: Sequence[str], *, case_sensitive: bool, strict: bool) -> None:
        self.source: str = ", ".join(sources)
        self._case_sensitive = case_sensitive
        self._forms: list[Form] = []
        routes: dict[tuple[PatternSegment, ...], Shape] = {}
        prefixes: dict[tuple[PatternSegment, ...], Shape] = {}
        for source in sources:
            forms, trailing = parse(source)
            for form in forms:
                # A path may have one slash more than the pattern, so that many can be built.
                self._forms.append(form if strict else form[: len(form) - max(trailing - 1, 0)])
                stem = form[: len(form) - trailing]
                segments = segmented(form if strict else stem, case_sensitive=case_sensitive)
                routes.setdefault(segments, shape_of(segments, loose=not strict))
                segments = segmented(stem, case_sensitive=case_sensitive) if stem else ()
                prefixes.setdefault(segments, shape_of(segments, prefix=True))
        self.routes: tuple[Shape, ...] = tuple(routes.values())
        self.prefixes: tuple[Shape, ...] = tuple(prefixes.values())
        self.names: tuple[str, ...] = tuple(
            dict.fromkeys(name for shape in routes.values() for name in names_of(shape.segments))
        )
        texts = [segment for segment in self.routes[0].segments if isinstance(segment, str)]
        self.literals: tuple[str, ...] | None = (
            tuple(texts)
            if len(self.routes) == 1 and len(texts) == len(self.routes[0].segments)
            else None
        )

    def __repr__(self) -> str:
        return f"<Pattern {self.source}>"

    def match(self, segments: Segments) -> Params | None:
        """
        Match the whole path.

        Returns:
            The captures by name; None when the path does not fit. Names of optional groups left out
            are absent.

        Raises:
            HTTPError: 400, a capture would take (a part of) a broken segment. Against mere text
                that is no match.

        >>> compile_pattern("/:file{.:ext}").match(["archive.tar.gz"])
        {'file': 'archive.tar', 'ext': 'gz'}
        """
        compared = segments if self._case_sensitive else folded(segments)
        for shape in self.routes:
            params = shape.match(segments, compared)
            if params is not None:
                return params
        return None

    def match_prefix(self, segments: Segments) -> tuple[Params, int] | None:
        """
        Match the beginning of the path, up to the end of a segment, as `use()` does; never strict.

        Returns:
            The captures and the number *n* of segments used; None when the path does not fit. The
            rest is `segments[n:]`, and an empty rest is the path `/`.

        Raises:
            HTTPError: 400, as `match`.

        >>> compile_pattern("/:tenant/api/").match_prefix(["acme", "api", "users", "7"])
        ({'tenant': 'acme'}, 2)
        """
        compared = segments if self._case_sensitive else folded(segments)
        for shape in self.prefixes:
            found = shape.take_prefix(segments, compared)
            if found is not None:
                return found
        return None

    def build(self, params: Mapping[str, object]) -> str:
        """
        Build the path that has these captures, percent-encoded, with slashes as the pattern has.

        Args:
            params: Values by name; None counts as absent, unknown names are ignored. A wildcard
                takes an iterable of segments, or one text in which `/` separates them; anything
                else is converted by `str`.

        Raises:
            UsageError: A value is missing, or empty where the pattern asks for a character.

        Source: RFC 3986 §2.1.
        >>> pattern = compile_pattern("/:owner/*path{.:ext}")
        >>> pattern.build({"owner": "a/b", "path": ["docs", "über uns"]})
        '/a%2Fb/docs/%C3%BCber%20uns'
        """
        lacking: list[list[str]] = []
        for form in self._forms:
            missing = [
                token.name
                for token in form
                if isinstance(token, Capture) and params.get(token.name) is None
            ]
            if not missing:
                path = "".join([self._encoded(token, params) for token in form])
                return path if form[:1] == [None] else f"/{path}"
            lacking.append(missing)
        names = ", ".join(repr(name) for name in min(lacking, key=len))
        raise UsageError(
            f"cannot build a path for {self.source!r} without {names}: pass a value for each"
        )

    def _encoded(self, token: Token, params: Mapping[str, object]) -> str:
        if token is None:
            return "/"
        if isinstance(token, str):
            return quote(token, safe=_TEXT_SAFE)
        value = params[token.name]
        if token.wild and isinstance(value, Iterable) and not isinstance(value, str):
            segments = cast("Iterable[object]", value)
            text = "/".join([quote(str(segment), safe=_CAPTURE_SAFE) for segment in segments])
        else:
            text = quote(str(value), safe=_CAPTURE_SAFE + "/" if token.wild else _CAPTURE_SAFE)
        if not text:
            raise UsageError(
                f"cannot build a path for {self.source!r}: {token.name!r} is empty and takes at "
                "least one character"
            )
        return text


def compile_pattern(
    source: str | Sequence[str], *, case_sensitive: bool = True, strict: bool = False
) -> Pattern:
    """
    Compile a pattern, or a list of them.

    Args:
        source: The pattern; without a slash at its beginning it is read as if it had one. Each of a
            list has its own names.
        case_sensitive: Whether `/Users` and `/users` differ. Captures keep their case either way.
        strict: Whether `/users` and `/users/` differ. Otherwise the slashes at the end of the
            pattern do not count, and the path may have one more.

    Raises:
        PatternError: The pattern cannot be read; the message says what to write instead.

    >>> compile_pattern(["/users/:id", "/people/:id"]).match(["people", "7", ""])
    {'id': '7'}
    """
    return Pattern(_sources(source), case_sensitive=case_sensitive, strict=strict)


def _sources(source: object) -> list[str]:
    """Make a list of the pattern or patterns given, and refuse anything else."""
    items: Sequence[object] = ()
    if isinstance(source, str):
        items = [source]
    elif isinstance(source, Sequence):
        items = cast("Sequence[object]", source)
    texts = [item for item in items if isinstance(item, str)]
    if not texts or len(texts) < len(items):
        raise PatternError(f"a path pattern is a str, or a list of at least one, not {source!r}")
    return texts
