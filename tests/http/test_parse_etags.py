"""`parse_etags`, `strong_match` and `weak_match`: tags that clients send (RFC 9110 §8.8.3)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http.conditional import parse_etags, strong_match, weak_match

OPAQUE = st.text([chr(code) for code in range(0x21, 0x100) if chr(code) not in '"\x7f'])
TAGS = st.builds('{}"{}"'.format, st.sampled_from(["", "W/"]), OPAQUE)
MALFORMED = st.sampled_from(
    ["", " ", "x", "*", "W/x", 'w/"x"', 'W/ "x"', '"a b"', '"x"y', '"a""b"']
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # RFC 9110 §13.1.1 and §13.1.2, the examples.
        ('"xyzzy"', ['"xyzzy"']),
        ('"xyzzy", "r2d2xxxx", "c3piozzzz"', ['"xyzzy"', '"r2d2xxxx"', '"c3piozzzz"']),
        ('W/"xyzzy", W/"r2d2xxxx"', ['W/"xyzzy"', 'W/"r2d2xxxx"']),
        ('""', ['""']),
        ("*", "*"),
        (" *\t", "*"),
        # Blanks, empty members and duplicates.
        ("", []),
        (", ,\t,", []),
        ('"a","b"', ['"a"', '"b"']),
        (' ,"a"\t , ,W/"b", ', ['"a"', 'W/"b"']),
        ('"a", "a"', ['"a"', '"a"']),
        # What is within the quotes is one tag; nothing is an escape.
        ('"a,b"', ['"a,b"']),
        ('W/",", ","', ['W/","', '","']),
        ('"a\\", "b"', ['"a\\"', '"b"']),
        ('"*"', ['"*"']),
        ('"caf\xe9\x80\xff!#~\'"', ['"caf\xe9\x80\xff!#~\'"']),
        # Malformed members cost only themselves.
        ('*, "a"', ['"a"']),
        ("*, *", []),
        ('a, "b"', ['"b"']),
        ('w/"a", W/ "b", W/c, "d"', ['"d"']),
        ('W/W/"a"', []),
        ('"a b", "c, d", "e"', ['"e"']),
        ('"a"b, c"d", "e""f", "g"', ['"g"']),
        ('"\x7f", "\x00", "\n", "\u0100", "a"', ['"a"']),
        ('"\x85", "\xa0"', ['"\x85"', '"\xa0"']),
        ('\xa0"a"', []),
        # A quote that is never closed: nobody can know what is within.
        ('"a", "b', ['"a"']),
        ('"a, "b", "c"', []),
        ('"a""b', []),
        ('"', []),
    ],
)
def test_a_malformed_member_costs_only_itself(value: str, expected: list[str] | str) -> None:
    assert parse_etags(value) == expected


@given(st.lists(TAGS | MALFORMED, max_size=99))
def test_each_valid_tag_is_found_in_its_place(members: list[str]) -> None:
    expected = [member for member in members if parse_etags(member) == [member]]
    assert parse_etags(",".join(["", *members])) == expected
    assert parse_etags(" , ".join([*members, ""])) == expected


@given(TAGS)
def test_a_valid_tag_is_a_list_of_one(tag: str) -> None:
    assert parse_etags(tag) == [tag]


@given(
    st.text() | st.text('W/"*, a\\\xff\x7f') | st.binary().map(lambda raw: raw.decode("latin-1"))
)
def test_any_text_is_read(value: str) -> None:
    tags = parse_etags(value)
    assert tags == "*" or all(parse_etags(tag) == [tag] and tag in value for tag in tags)


@pytest.mark.parametrize("member", ['"a",', "a,", '"a b" ,'])
def test_the_member_after_a_hundred_is_ignored(member: str) -> None:
    assert '"last"' in parse_etags(member * 99 + '"last"')
    assert '"last"' not in parse_etags(member * 100 + '"last"')


@pytest.mark.parametrize("member", ['"a",', "a,", ",", '"', '""', 'W/"a', '"a\\", '])
def test_a_longer_list_makes_no_more_work(member: str, count_calls: Callable[..., int]) -> None:
    short = count_calls(parse_etags, member * 5_000)
    assert count_calls(parse_etags, member * 50_000) <= short
    assert short < 1_000


@pytest.mark.parametrize(
    "hostile",
    [
        '"' * 1_000_001,
        '""' * 500_000 + '"',
        'a"' * 500_001,
        '"a' * 500_001,
        "a" * 1_000_000,
        'W/"' + "a" * 1_000_000,
        " " * 1_000_000 + "a",
        "," * 1_000_000,
        ", " * 500_000,
        '"a" ' * 250_000,
    ],
    ids=lambda hostile: repr(hostile[:8]),
)
def test_a_hostile_value_is_read_in_one_pass(hostile: str) -> None:
    """Were anything scanned twice, one of these would take hours."""
    assert parse_etags(hostile) == []


@pytest.mark.parametrize(
    ("a", "b", "strong", "weak"),
    [
        # RFC 9110 §8.8.3.2, table 3.
        ('W/"1"', 'W/"1"', False, True),
        ('W/"1"', 'W/"2"', False, False),
        ('W/"1"', '"1"', False, True),
        ('"1"', '"1"', True, True),
        # Tags are opaque: neither case nor another spelling is the same.
        ('"a"', '"A"', False, False),
        ('"W/1"', 'W/"1"', False, False),
        ('""', '""', True, True),
        ('""', 'W/""', False, True),
        # Not a tag of ours, and so not one of whose bytes anything is known.
        ("1", "1", False, True),
    ],
)
def test_the_table_of_the_rfc_holds_both_ways(a: str, b: str, strong: bool, weak: bool) -> None:
    assert strong_match(a, b) == strong_match(b, a) == strong
    assert weak_match(a, b) == weak_match(b, a) == weak


@given(TAGS, TAGS)
def test_a_strong_match_is_a_weak_one_too(a: str, b: str) -> None:
    assert weak_match(a, a)
    assert strong_match(a, a) == (not a.startswith("W/"))
    assert weak_match(a, b) or not strong_match(a, b)
