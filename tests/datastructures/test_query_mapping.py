"""`Query` and `parse_urlencoded`: names and values as the WHATWG URL standard reads them (§5.1)."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http.urlencoded import parse_urlencoded
from nardis.datastructures import Query
from nardis.errors import HTTPError


@pytest.mark.parametrize(
    ("raw", "pairs"),
    [
        (b"", []),
        (b"a=1&b=2", [("a", "1"), ("b", "2")]),
        (b"a=1&a=2", [("a", "1"), ("a", "2")]),
        (b"a", [("a", "")]),
        (b"=a", [("", "a")]),
        (b"=", [("", "")]),
        (b"&&a=1&&", [("a", "1")]),
        (b"a=b=c", [("a", "b=c")]),
        (b"a=1;b=2", [("a", "1;b=2")]),
        (b"a+b=c+d%2Be", [("a b", "c d+e")]),
        (b"a%26b%3D=%C3%A9", [("a&b=", "é")]),
        (b"a=%ff", [("a", "\ufffd")]),
        (b"a=\xff%C3", [("a", "\ufffd\ufffd")]),
        (b"a=%zz%4", [("a", "%zz%4")]),
        (b"a=%EF%BB%BFx", [("a", "\ufeffx")]),
        (b"a=%00", [("a", "\x00")]),
        (b"a[b]=1&a[]=2", [("a[b]", "1"), ("a[]", "2")]),
        ("ä=ö", [("ä", "ö")]),
        ("a=\ud800", [("a", "\ufffd\ufffd\ufffd")]),
        (bytearray(b"a=1"), [("a", "1")]),
    ],
)
def test_a_query_is_read_as_a_browser_would(raw: bytes | str, pairs: list[tuple[str, str]]) -> None:
    assert Query(raw).pairs() == pairs


def test_a_name_gives_its_first_value() -> None:
    query = Query(b"a=1&b=2&a=3")
    assert query["a"] == "1"
    assert query.get("b") == "2"
    assert query.get("c") is None
    assert query.get_all("a") == ["1", "3"]
    assert query.get_all("c") == []
    assert list(query) == ["a", "b"]
    assert len(query) == 2
    assert "a" in query
    assert "c" not in query
    assert dict(query) == {"a": "1", "b": "2"}
    with pytest.raises(KeyError):
        query["c"]


def test_lists_are_the_callers_own() -> None:
    query = Query(b"a=1")
    query.get_all("a").clear()
    query.pairs().clear()
    assert query.get_all("a") == ["1"]
    assert query.pairs() == [("a", "1")]


def test_more_pairs_than_allowed_are_400_at_each_look() -> None:
    assert len(Query(b"a=&" * 1000).pairs()) == 1000
    assert len(Query(b"&" * 5000 + b"a=1", max_pairs=1)) == 1
    query = Query(b"a=1&b=2&c=3", max_pairs=2)
    for _ in range(2):
        with pytest.raises(HTTPError) as caught:
            query.get("a")
        assert caught.value.status == 400
    with pytest.raises(HTTPError):
        len(Query(b"a=&" * 1001))


def test_nothing_is_read_before_it_is_asked_for() -> None:
    query = Query(b"a=1&b=2", max_pairs=1)
    assert query.raw == b"a=1&b=2"
    assert repr(query) == "Query(b'a=1&b=2')"


def test_equality_compares_pairs_or_first_values() -> None:
    assert Query(b"a=1&a=2") == Query("a=%31&a=2")
    assert Query(b"a=1&a=2") != Query(b"a=2&a=1")
    assert Query(b"a=1&a=2") == {"a": "1"}
    assert Query(b"a=1") != "a"
    with pytest.raises(TypeError):
        hash(Query())


@pytest.mark.parametrize("piece", [b"&", b"%", b"%4", b"+", b"=", b"%41", b"\xff", b";"])
def test_a_megabyte_of_one_kind_is_read_in_one_pass(piece: bytes) -> None:
    """Were anything scanned twice, one of these would take hours."""
    assert len(parse_urlencoded(piece * 1_000_000)) <= 1


def test_many_pairs_are_read_when_asked_for() -> None:
    assert len(parse_urlencoded(b"a=b&" * 100_000, 100_000)) == 100_000


@given(st.lists(st.tuples(st.text(), st.text())))
def test_what_is_written_is_read_back(pairs: list[tuple[str, str]]) -> None:
    assert parse_urlencoded(urlencode(pairs).encode()) == pairs


@given(st.binary() | st.text("a&=%+4").map(str.encode))
def test_any_bytes_are_read(raw: bytes) -> None:
    assert len(Query(raw).pairs()) == sum(map(bool, raw.split(b"&")))
