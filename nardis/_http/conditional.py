"""
Entity tags and preconditions: whether the client's copy is still good, and whether it may write.

A tag is opaque text in double quotes, without escapes; `W/` before it makes it weak. A strong tag
stands for these very bytes, a weak one for anything that is as good.

Source: RFC 9110 §8.8 (validators) and §13 (preconditions); RFC 9111 §5.2.1.4 (`no-cache`).
"""

from __future__ import annotations

import hashlib
import re
from binascii import b2a_base64
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Literal

from ..errors import FieldError
from .dates import parse_date
from .grammar import MAX_MEMBERS, split

__all__ = [
    "check_etag",
    "check_preconditions",
    "is_fresh",
    "make_etag",
    "parse_etags",
    "strong_match",
    "weak_match",
    "weakened",
]

# etagc = %x21 / %x23-7E / obs-text, RFC 9110 §8.8.3.
_ETAGC = r"\x21\x23-\x7e\x80-\xff"
_NOT_ETAGC = re.compile(f"[^{_ETAGC}]")
_ENTITY_TAG = re.compile(f'(?:W/)?"[{_ETAGC}]*"')

# What is meant as an entity-tag, valid or not.
_QUOTED = re.compile(r'(W/)?"(.*)"', re.DOTALL)

# A member of a list of entity-tags, valid or not. Not by `split`, for which a backslash would keep
# the quote behind it from closing. Nothing can fail behind a branch that has begun, and what was
# taken is never given back (`++`): the text is scanned once.
_MEMBER = re.compile(r'(?:[^",]++|"[^"]*+"?+)++')

# These neither select a representation nor change one: a server must ignore preconditions
# (RFC 9110 §13.2.1).
_UNCONDITIONAL_METHODS = frozenset({"CONNECT", "OPTIONS", "TRACE"})


# --- entity tags that we send ---------------------------------------------------------------------


def make_etag(body: bytes, *, weak: bool = True) -> str:
    """
    Make the entity-tag of a body: its length and its checksum, in the form that Express has.

    Args:
        body: The whole body, as it was before any content coding.
        weak: `False` when exactly these bytes will be sent.

    Source: RFC 9110 §8.8.3; the package `etag` 1.8.
    >>> make_etag(b"hello"), make_etag(b"hello", weak=False)
    ('W/"5-qvTGHdzF6KLavt4PO0gs2a6pQ00"', '"5-qvTGHdzF6KLavt4PO0gs2a6pQ00"')
    """
    # 20 bytes are 27 characters and a `=`, which is left out. Nobody relies on it against an
    # attacker, so that a Python built for FIPS may have it too.
    checksum = b2a_base64(hashlib.sha1(body, usedforsecurity=False).digest())[:27].decode()
    return f'{"W/" if weak else ""}"{len(body):x}-{checksum}"'


def check_etag(value: str, *, weak: bool = False) -> str:
    """
    Check an entity-tag that the application made, and quote it if it is not quoted yet.

    Args:
        value: Opaque text such as a revision, or a whole entity-tag, which stays as it is.
        weak: Whether to make it weak.

    Raises:
        FieldError: The value is no str, or has a blank, a double quote, a control character, or
            one that Latin-1 lacks.

    Source: RFC 9110 §8.8.3.
    >>> check_etag("v1"), check_etag('W/"v1"'), check_etag('"v1"', weak=True)
    ('"v1"', 'W/"v1"', 'W/"v1"')
    """
    try:
        quoted = _QUOTED.fullmatch(value)
    except TypeError as exc:
        raise FieldError(
            f"an entity-tag is a str, not {type(value).__name__}: convert it with str() first"
        ) from exc
    opaque = quoted[2] if quoted else value
    if found := _NOT_ETAGC.search(opaque):
        raise FieldError(
            f"an entity-tag cannot have {found[0]!r}, nor any other blank, double quote, control "
            "character or character that Latin-1 lacks: percent-encode the value, or hash it"
        )
    return f'{"W/" if weak or (quoted and quoted[1]) else ""}"{opaque}"'


def weakened(line: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """
    Make the strong ETag of a header line weak; return any other line as it is.

    A filter changes the bytes that a strong ETag stands for.

    Source: RFC 9110 §8.8.1 and §8.8.3.
    >>> weakened((b"etag", b'"1"')), weakened((b"vary", b"accept"))
    ((b'etag', b'W/"1"'), (b'vary', b'accept'))
    """
    name, value = line
    return (name, b"W/" + value) if name == b"etag" and not value.startswith(b"W/") else line


# --- entity tags that clients send ----------------------------------------------------------------


def parse_etags(value: str) -> list[str] | Literal["*"]:
    """
    Read an If-Match or If-None-Match field.

    A comma within quotes belongs to the tag. Malformed members are skipped, among them a tag
    without quotes, and a `*` beside others. At most 100 members are looked at.

    Args:
        value: The combined field value.

    Returns:
        The tags with their quotes, in the order sent; `"*"` for any.

    Source: RFC 9110 §8.8.3, §13.1.1 and §13.1.2.
    >>> parse_etags('"a,b", W/"c", d'), parse_etags("*")
    (['"a,b"', 'W/"c"'], '*')
    """
    if value.strip(" \t") == "*":
        return "*"
    members = (found[0].strip(" \t") for found in islice(_MEMBER.finditer(value), MAX_MEMBERS))
    return [member for member in members if _ENTITY_TAG.fullmatch(member)]


def strong_match(a: str, b: str) -> bool:
    """
    Whether two entity-tags are the same, and both strong: so are the bytes they stand for.

    Source: RFC 9110 §8.8.3.2.
    >>> strong_match('"1"', '"1"'), strong_match('W/"1"', 'W/"1"')
    (True, False)
    """
    return a == b and a.startswith('"')


def weak_match(a: str, b: str) -> bool:
    """
    Whether two entity-tags have the same opaque text, weak or not: one copy is as good.

    Source: RFC 9110 §8.8.3.2.
    >>> weak_match('W/"1"', '"1"'), weak_match('W/"1"', 'W/"2"')
    (True, False)
    """
    return a.removeprefix("W/") == b.removeprefix("W/")


# --- preconditions --------------------------------------------------------------------------------


def is_fresh(
    fields: Mapping[bytes, bytes], etag: bytes | None, last_modified: bytes | None
) -> bool:
    """
    Whether the client's copy is still good, so that a 200 for its GET or HEAD can be a 304.

    If-None-Match wins over If-Modified-Since, even when it is empty or cannot be read. With
    `Cache-Control: no-cache` the client asks for the whole answer, as in Express.

    Args:
        fields: The combined fields of the request, by lower-case name.
        etag: ETag of the answer, as it would go out.
        last_modified: Last-Modified of the answer, as it would go out.

    Source: RFC 9110 §13.1.2 and §13.1.3; RFC 9111 §5.2.1.4.
    >>> is_fresh({b"if-none-match": b'"1", "2"'}, b'W/"2"', None)
    True
    """
    control = fields.get(b"cache-control")
    if control is not None and _has_no_cache(control):
        return False
    known = fields.get(b"if-none-match")
    if known is None:
        return _is_unmodified(fields, _seconds(last_modified))
    known = known.strip(b" \t")
    if etag and known.removeprefix(b"W/") == etag.removeprefix(b"W/"):
        # The short way. An ETag that the application wrote without its quotes matches only here.
        return True
    return _lists(known, etag.decode("latin-1") if etag else None, weak_match, exists=True)


def check_preconditions(
    method: str, fields: Mapping[bytes, bytes], etag: str | None, last_modified: int | None
) -> Literal[304, 412] | None:
    """
    Evaluate the preconditions of a request against the state of the resource it is for.

    A date that cannot be read is no condition, nor is one of a resource without a modification
    date. CONNECT, OPTIONS and TRACE have no conditions. If-Range is not looked at. Unlike for
    `is_fresh` Cache-Control means nothing.

    Args:
        method: The request's method.
        fields: The combined fields of the request, by lower-case name.
        etag: The current entity-tag, as `check_etag` returns it; `None` if there is none.
        last_modified: When it was last changed, in unix seconds; `None` if that is unknown. With
            neither, the resource has no current representation: a PUT would create it.

    Returns:
        The status to answer with, or `None` when the request may go on.

    Source: RFC 9110 §13.2.2; §13.1.1 to §13.1.4 for each field; §13.2.1 for the methods.
    >>> check_preconditions("PUT", {b"if-match": b'"1"'}, '"2"', None)
    412
    >>> check_preconditions("GET", {b"if-none-match": b'"2"'}, '"2"', None)
    304
    """
    if method in _UNCONDITIONAL_METHODS:
        return None
    exists = etag is not None or last_modified is not None
    expected = fields.get(b"if-match")
    if expected is not None:
        if not _lists(expected, etag, strong_match, exists=exists):
            return 412
    elif last_modified is not None:
        limit = _seconds(fields.get(b"if-unmodified-since"))
        if limit is not None and last_modified > limit:
            return 412
    reads = method in ("GET", "HEAD")
    known = fields.get(b"if-none-match")
    if known is not None:
        if _lists(known, etag, weak_match, exists=exists):
            return 304 if reads else 412
    elif reads and _is_unmodified(fields, last_modified):
        return 304
    return None


def _lists(
    value: bytes, etag: str | None, match: Callable[[str, str], bool], *, exists: bool
) -> bool:
    """Whether a list names the current representation; `*` names any that exists."""
    tags = parse_etags(value.decode("latin-1"))
    if isinstance(tags, str):
        return exists
    return etag is not None and any(match(tag, etag) for tag in tags)


def _is_unmodified(fields: Mapping[bytes, bytes], last_modified: int | None) -> bool:
    """Whether nothing has changed since the date in If-Modified-Since (RFC 9110 §13.1.3)."""
    if last_modified is None:
        return False
    since = _seconds(fields.get(b"if-modified-since"))
    return since is not None and last_modified <= since


def _seconds(value: bytes | None) -> int | None:
    return None if value is None else parse_date(value.decode("latin-1"))


def _has_no_cache(control: bytes) -> bool:
    """Whether a Cache-Control field has the directive `no-cache`, in any case (RFC 9111 §5.2)."""
    text = control.decode("latin-1").lower()
    return "no-cache" in text and any(
        directive.strip(" \t") == "no-cache" for directive in split(text, ",")
    )
