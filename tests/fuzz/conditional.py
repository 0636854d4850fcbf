"""
`check_preconditions`, `is_fresh`, `parse_etags` and `check_etag`: the order and the bounds.

Input, all optional but the method: the method; entity-tag and date of the representation; then the
fields, in the order of `FIELDS`.
"""

from __future__ import annotations

from collections.abc import Iterator

from nardis._http import conditional, dates
from nardis._http.grammar import MAX_MEMBERS
from nardis.errors import FieldError

from .inputs import join, optional, pieces, vectors

__all__ = ["check", "seeds"]

FIELDS = (
    b"if-match",
    b"if-unmodified-since",
    b"if-none-match",
    b"if-modified-since",
    b"cache-control",
)
CONDITIONS = FIELDS[:4]


def check(data: bytes) -> None:
    method, tag, date, *values = pieces(data, 3 + len(FIELDS))
    etag = etag_of(optional(tag))
    sent_date = optional(date)
    modified = None if sent_date is None else dates.parse_date(sent_date.decode("latin-1"))
    present = zip(FIELDS, map(optional, values), strict=True)
    fields = {name: value for name, value in present if value is not None}
    check_status(method.decode("latin-1"), fields, etag, modified)
    check_freshness(fields, etag, sent_date, modified)
    for name in (b"if-match", b"if-none-match"):
        check_list(fields.get(name, b"").decode("latin-1"))


def etag_of(opaque: bytes | None) -> str | None:
    """Quote an entity-tag as an application does; the one that comes out can be read."""
    if opaque is None:
        return None
    try:
        etag = conditional.check_etag(opaque.decode("latin-1"))
    except FieldError:
        return None
    assert conditional.parse_etags(etag) == [etag]
    assert conditional.check_etag(etag) == etag
    return etag


def check_status(
    method: str, fields: dict[bytes, bytes], etag: str | None, modified: int | None
) -> None:
    def status_with(present: dict[bytes, bytes]) -> int | None:
        return conditional.check_preconditions(method, present, etag, modified)

    def status_without(*names: bytes) -> int | None:
        return status_with({name: fields[name] for name in fields if name not in names})

    status = status_with(fields)
    assert status in (None, 304, 412)
    assert status != 304 or method in ("GET", "HEAD")
    assert status_without(*CONDITIONS) is None
    # RFC 9110 §13.2.2: where the tag is asked for, the date is not.
    if b"if-match" in fields:
        assert status == status_without(b"if-unmodified-since")
    if b"if-none-match" in fields:
        assert status == status_without(b"if-modified-since")
    if method in ("CONNECT", "OPTIONS", "TRACE"):
        assert status is None
    elif etag is not None:
        expected = 304 if method in ("GET", "HEAD") else 412
        assert status_with({b"if-none-match": etag.encode("latin-1")}) == expected
        weak = etag.startswith("W/")
        assert status_with({b"if-match": etag.encode("latin-1")}) == (412 if weak else None)


def check_freshness(
    fields: dict[bytes, bytes], etag: str | None, date: bytes | None, modified: int | None
) -> None:
    tag = None if etag is None else etag.encode("latin-1")
    fresh = conditional.is_fresh(fields, tag, date)
    assert not fresh or {b"if-none-match", b"if-modified-since"} & fields.keys()
    assert not conditional.is_fresh({**fields, b"cache-control": b"a, No-Cache"}, tag, date)
    if etag is not None or modified is not None:
        # An answer is a representation; a resource without tag and date may have none.
        names = (b"if-none-match", b"if-modified-since")
        asked = {name: fields[name] for name in names if name in fields}
        status = conditional.check_preconditions("GET", asked, etag, modified)
        assert conditional.is_fresh(asked, tag, date) == (status == 304)


def check_list(value: str) -> None:
    tags = conditional.parse_etags(value)
    if isinstance(tags, str):
        assert value.strip(" \t") == tags == "*"
        return
    assert len(tags) <= MAX_MEMBERS
    end = 0
    for tag in tags:
        start = value.index(tag, end)  # they stand there in this order, and apart
        end = start + len(tag)
        opaque = tag.removeprefix("W/")
        assert len(opaque) > 1
        assert opaque[0] == opaque[-1] == '"'
        assert all(char > " " and char not in '"\x7f' for char in opaque[1:-1])
    assert conditional.parse_etags(", ".join(tags)) == tags


def seeds() -> Iterator[bytes]:
    tag, date = '"v1"', "Wed, 01 Jan 2025 00:00:00 GMT"
    for row in vectors("conditional_requests", "cases"):
        weak = "W/" if row["path"].endswith("weak") else ""
        yield seed(row["method"], weak + tag, date, row["headers"])
    for row in vectors("fresh_vectors", "vectors"):
        answer = row["response"]
        yield seed("GET", answer.get("etag"), answer.get("last-modified"), row["request"])
    yield seed("OPTIONS", "v1", None, {"If-None-Match": "*"})
    yield seed("PUT", "a b", date, {"If-Unmodified-Since": "Wednesday, 01-Jan-25 00:00:00 GMT"})
    yield seed("GET", "é,é", date, {"If-None-Match": '"a,b", W/"é,é", c, "d', "If-Match": ',"'})


def seed(method: str, etag: str | None, date: str | None, headers: dict[str, str]) -> bytes:
    fields = {name.lower().encode(): value for name, value in headers.items()}
    return method.encode() + b"\0" + join(etag, date, *(fields.get(name) for name in FIELDS))
