"""`Headers`: the fields of a message as a mapping (RFC 9110 §5.2)."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis.datastructures import Headers, MutableHeaders

RAW = [
    (b"host", b"example.com"),
    (b"accept", b"text/html"),
    (b"cookie", b"a=1"),
    (b"accept", b"*/*"),
    (b"set-cookie", b"b=2"),
    (b"cookie", b"c=3"),
    (b"set-cookie", b"d=4"),
    (b"x_a", b"caf\xe9"),
]

LINES = st.lists(
    st.tuples(st.sampled_from([b"a", b"b", b"cookie", b"set-cookie"]), st.binary(max_size=3))
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("host", "example.com"),
        ("HOST", "example.com"),
        ("accept", "text/html, */*"),
        ("cookie", "a=1; c=3"),
        ("set-cookie", "b=2"),
        ("x_a", "café"),
    ],
)
def test_a_name_gives_its_combined_value(name: str, value: str) -> None:
    headers = Headers(RAW)
    assert headers[name] == value
    assert headers.get(name) == value
    assert headers.get(name, 1) == value
    assert name in headers


@pytest.mark.parametrize("name", ["x-a", "missing", "", "é", "hos\u212a"])
def test_a_name_that_is_not_there_is_a_key_error(name: str) -> None:
    """`x-a` is not `x_a` (CVE-2026-3902), and no other letter is folded into one of ASCII."""
    headers = Headers(RAW)
    with pytest.raises(KeyError) as caught:
        headers[name]
    assert caught.value.args == (name,)
    assert headers.get(name) is None
    assert headers.get(name, default="x") == "x"
    assert headers.get_all(name) == []
    assert name not in headers


def test_what_is_no_str_is_not_there() -> None:
    names: list[object] = [b"host", None, 1, ["host"]]
    assert not any(name in Headers(RAW) for name in names)


def test_the_kelvin_sign_is_not_a_k() -> None:
    assert "coo\u212aie" not in Headers(RAW)


def test_every_line_can_be_had_in_order() -> None:
    headers = Headers(RAW)
    assert headers.get_all("set-cookie") == ["b=2", "d=4"]
    assert headers.get_all("Accept") == ["text/html", "*/*"]
    assert headers.pairs()[-2:] == [("set-cookie", "d=4"), ("x_a", "café")]


def test_iteration_gives_each_name_once_in_order() -> None:
    headers = Headers(RAW)
    assert list(headers) == ["host", "accept", "cookie", "set-cookie", "x_a"]
    assert len(headers) == 5
    assert dict(headers.items()) == {name: headers[name] for name in headers} == dict(headers)
    assert list(headers.values()) == [headers[name] for name in headers]


def test_no_fields_are_an_empty_mapping() -> None:
    assert not Headers()
    assert list(Headers()) == []


def test_raw_is_the_list_that_was_given() -> None:
    assert Headers(RAW).raw is RAW
    assert Headers(iter(RAW)).raw == RAW


def test_equality_compares_lines_and_not_the_order_of_names() -> None:
    assert Headers(RAW) == Headers(sorted(RAW, key=lambda line: line[0]))
    assert Headers(RAW) == MutableHeaders(RAW)
    assert Headers(RAW) != Headers(RAW[::-1])
    assert Headers([(b"a", b"1"), (b"a", b"2")]) != Headers([(b"a", b"1, 2")])


def test_equality_with_a_mapping_compares_combined_values() -> None:
    headers = Headers([(b"a", b"1"), (b"a", b"2"), (b"b", b"3")])
    assert headers == {"A": "1, 2", "b": "3"}
    assert headers != {"a": "1, 2"}
    assert headers != {"a": "1, 2", 1: "3"}
    assert headers != "a"


def test_headers_are_not_hashable() -> None:
    with pytest.raises(TypeError):
        hash(Headers())


def test_a_repr_hides_credentials() -> None:
    """It ends up in logs."""
    names = ["authorization", "cookie", "proxy-authorization", "set-cookie"]
    text = repr(Headers([(b"host", b"x"), *((name.encode(), b"hunter2") for name in names)]))
    assert text.startswith("Headers([('host', 'x'), ('authorization', '...')")
    assert "hunter2" not in text
    assert all(name in text for name in names)


def test_many_equal_names_are_joined_once() -> None:
    """CVE-2025-14550: joining one by one is quadratic, and would take minutes here."""
    headers = Headers([(b"a", b"x" * 10)] * 100_000)
    assert len(headers["a"]) == 100_000 * 12 - 2
    assert len(dict(headers.items())) == 1


def test_listing_many_names_looks_at_each_line_once() -> None:
    headers = Headers([(b"%d" % number, b"") for number in range(50_000)])
    assert len(headers.items()) == len(headers.values()) == len(headers) == 50_000
    assert headers == dict(headers.items())


def test_headers_are_a_mapping() -> None:
    assert isinstance(Headers(), Mapping)


@given(LINES)
def test_a_combined_value_holds_each_line(lines: list[tuple[bytes, bytes]]) -> None:
    headers = Headers(lines)
    for name in headers:
        values = headers.get_all(name)
        separator = {"cookie": "; "}.get(name, ", ")
        assert headers[name] == (values[0] if name == "set-cookie" else separator.join(values))
