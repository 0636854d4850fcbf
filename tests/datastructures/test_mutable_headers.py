"""`MutableHeaders`: fields still to be sent, checked when they are set."""

from __future__ import annotations

from copy import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis.datastructures import Headers, MutableHeaders
from nardis.errors import FieldError, HeadersAlreadySent


def test_setting_replaces_all_lines_at_the_place_of_the_first() -> None:
    headers = MutableHeaders([(b"a", b"1"), (b"b", b"2"), (b"c", b"3"), (b"b", b"4")])
    headers["B"] = "5"
    assert headers.raw == [(b"a", b"1"), (b"b", b"5"), (b"c", b"3")]
    headers["b"] = "5"
    assert headers.raw == [(b"a", b"1"), (b"b", b"5"), (b"c", b"3")]
    headers["d"] = 6
    assert headers.raw == [(b"a", b"1"), (b"b", b"5"), (b"c", b"3"), (b"d", b"6")]


def test_changes_are_made_in_the_list_that_was_given() -> None:
    """The response sends that very list."""
    raw = [(b"a", b"1"), (b"b", b"2")]
    headers = MutableHeaders(raw)
    headers["a"] = "3"
    headers.append("c", "4")
    del headers["b"]
    assert raw == [(b"a", b"3"), (b"c", b"4")]
    headers.clear()
    assert raw == []


def test_append_adds_a_line() -> None:
    headers = MutableHeaders()
    headers.append("Set-Cookie", "a=1")
    headers.append("set-cookie", " b=2 ")
    headers.append("x-n", 1)
    assert headers.raw == [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"x-n", b"1")]


def test_deleting_removes_all_lines_or_is_a_key_error() -> None:
    headers = MutableHeaders([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")])
    del headers["A"]
    assert headers.raw == [(b"b", b"2")]
    with pytest.raises(KeyError):
        del headers["a"]
    assert headers.pop("b") == "2"
    assert headers.pop("b", None) is None


def test_setdefault_sets_only_what_is_missing() -> None:
    headers = MutableHeaders([(b"a", b"1")])
    assert headers.setdefault("A", "2") == "1"
    assert headers.setdefault("b", "3") == "3"
    assert headers == {"a": "1", "b": "3"}


def test_update_sets_each_field() -> None:
    headers = MutableHeaders([(b"a", b"1"), (b"b", b"2")])
    headers.update({"B": "3", "x-c": "4"})
    headers.update([("a", "5")])
    headers.update(d="6")
    assert headers.raw == [(b"a", b"5"), (b"b", b"3"), (b"x-c", b"4"), (b"d", b"6")]


def test_update_from_headers_takes_over_every_line() -> None:
    """As a plain mapping they would show one Set-Cookie only."""
    headers = MutableHeaders([(b"set-cookie", b"old=1"), (b"a", b"1"), (b"set-cookie", b"old=2")])
    headers.update(Headers([(b"set-cookie", b"a=1"), (b"b", b"2"), (b"set-cookie", b"b=2")]), c="3")
    assert headers.raw == [
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
        (b"a", b"1"),
        (b"b", b"2"),
        (b"c", b"3"),
    ]
    headers.update(headers)
    assert len(headers.raw) == 5


@pytest.mark.parametrize(
    ("name", "value"),
    [("x a", "1"), ("x-a", "1\n"), ("x-a", "€"), ("x-a", None), ("x-a", b"1"), (1, "1")],
)
def test_what_must_not_be_sent_is_refused_and_changes_nothing(name: str, value: str) -> None:
    headers = MutableHeaders([(b"x-a", b"0")])
    with pytest.raises(FieldError):
        headers[name] = value
    with pytest.raises(FieldError):
        headers.append(name, value)
    with pytest.raises(FieldError):
        headers.update({name: value})
    assert headers.raw == [(b"x-a", b"0")]


def test_update_checks_what_other_headers_hold() -> None:
    """All or nothing: what came from another server's head is not half taken over."""
    headers = MutableHeaders()
    with pytest.raises(FieldError):
        headers.update(Headers([(b"b", b"1"), (b"a", b"1\n2")]))
    assert headers.raw == []


def test_update_from_many_headers_is_one_pass() -> None:
    """Were each name looked for on its own, this would take minutes."""
    raw = [(b"x-%d" % number, b"1") for number in range(50_000)]
    headers = MutableHeaders(raw[::-1])
    headers.update(Headers(raw))
    assert headers.raw == raw[::-1]


def test_the_guard_is_asked_before_each_change() -> None:
    asked: list[str] = []
    headers = MutableHeaders([(b"b", b"1")], guard=asked.append)
    headers["X-A"] = "1"
    headers.append("x-a", "2")
    del headers["x-a"]
    headers.update(Headers([(b"c", b"1")]))
    headers.setdefault("c", "2")
    headers.clear()
    assert asked == [
        "set header 'X-A'",
        "append header 'x-a'",
        "remove header 'x-a'",
        "set header 'c'",
        "remove all headers",
    ]


def test_a_guard_that_raises_keeps_everything_as_it_was() -> None:
    def sent(action: str) -> None:
        raise HeadersAlreadySent(action, 200)

    headers = MutableHeaders([(b"a", b"1")])
    headers["b"] = "2"
    headers.guard = sent
    with pytest.raises(HeadersAlreadySent, match="cannot set header 'a'"):
        headers["a"] = "2"
    with pytest.raises(HeadersAlreadySent):
        headers.append("a", "2")
    with pytest.raises(HeadersAlreadySent):
        del headers["a"]
    with pytest.raises(HeadersAlreadySent):
        headers.clear()
    with pytest.raises(HeadersAlreadySent):
        headers.update(Headers([(b"a", b"2")]))
    assert headers.raw == [(b"a", b"1"), (b"b", b"2")]


@given(st.lists(st.tuples(st.text("ab-_A", max_size=2), st.text(max_size=3), st.booleans())))
def test_no_history_of_changes_lets_cr_lf_or_nul_in(changes: list[tuple[str, str, bool]]) -> None:
    headers = MutableHeaders()
    for name, value, appended in changes:
        try:
            headers.append(name, value) if appended else headers.__setitem__(name, value)
        except FieldError:
            continue
        assert headers.get_all(name)[-1] == value.strip(" \t")
        assert appended or len(headers.get_all(name)) == 1
    assert not {byte for name, value in headers.raw for byte in name + value} & {0, 10, 13}
    assert all(name == name.lower() for name, _ in headers.raw)


def test_a_copy_has_lines_of_its_own() -> None:
    """`copy.copy(res.headers)` can be changed, before the head is sent and after."""

    def refuse(action: str) -> None:
        raise HeadersAlreadySent(action, 200)

    headers = MutableHeaders([(b"a", b"1")], guard=refuse)
    copied = copy(headers)
    copied["b"] = "2"

    assert (headers.raw, copied.raw) == ([(b"a", b"1")], [(b"a", b"1"), (b"b", b"2")])
    with pytest.raises(HeadersAlreadySent):
        headers["b"] = "2"
