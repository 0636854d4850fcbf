"""`format_links` and `format_hints`: the Link field (RFC 8288), and a 103 (RFC 8297)."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nardis._http.fields import CONNECTION_SPECIFIC, check_value
from nardis._http.links import format_hints, format_links
from nardis.errors import FieldError

URL = "https://example.com/rels/more?x=[1]&y='%41'#z"


def test_express_agrees() -> None:
    """Its row `links` calls `res.links` for two relations, and then for two targets of one."""
    lines = [format_links({"next": "/p2", "last": "/p5"}), format_links({"a": ["/x", "/y"]})]
    expected = '</p2>; rel="next", </p5>; rel="last", </x>; rel="a", </y>; rel="a"'
    assert ", ".join(lines) == expected


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ({}, ""),
        ({"next": []}, ""),
        ({"next": ""}, '<>; rel="next"'),
        ({"next": ("/a", "/b")}, '</a>; rel="next", </b>; rel="next"'),
        ({"b": "/1", "a": "/2"}, '</1>; rel="b", </2>; rel="a"'),
        ({"next last": "/a"}, '</a>; rel="next last"'),
        ({"  next   last ": "/a"}, '</a>; rel="next last"'),
        ({"Next": "/a"}, '</a>; rel="Next"'),
        ({URL: "/a"}, f'</a>; rel="{URL}"'),
        ({f"next {URL} urn:x:y": "/a"}, f'</a>; rel="next {URL} urn:x:y"'),
        ({"next": '/a>; rel="evil'}, '</a%3E;%20rel=%22evil>; rel="next"'),
        ({"next": "<\r\n\\é%20%"}, '<%3C%0D%0A%5C%C3%A9%20%25>; rel="next"'),
        ({"next": "/a,b;c='d'"}, "</a,b;c='d'>; rel=\"next\""),
    ],
)
def test_each_target_stands_in_brackets_with_its_relation(
    links: dict[str, Any], expected: str
) -> None:
    assert format_links(links) == expected


@pytest.mark.parametrize(
    "relation",
    [
        "",
        " ",
        None,
        1,
        'a"b',
        "a\\b",
        "a;b",
        "a,b",
        "next\tlast",
        "next\n",
        "é",
        "urn:",
        ":a",
        "1a:b",
        'https://example.com/"',
        "https://example.com/é",
        "https://example.com/%4",
        "https://example.com/<>",
        "next https://example.com/%zz",
    ],
)
@pytest.mark.parametrize("targets", ["/a", []])
def test_a_relation_is_a_name_or_a_uri(relation: Any, targets: Any) -> None:
    """Even where no target has it."""
    with pytest.raises(FieldError, match="link relation"):
        format_links({"next": "/", relation: targets})


@pytest.mark.parametrize("target", [None, 1, b"/a", bytearray(b"/a"), {"/a"}, [b"/a"], [1], [None]])
def test_a_target_is_a_str_or_a_list_of_them(target: Any) -> None:
    with pytest.raises(FieldError, match=r"is a str"):
        format_links({"next": target})


WHOLE = re.compile(r'<[!#-;=?-Z\[\]^-_a-z|~]*>; rel="[^"\\]+"(?:, (?=<)|\Z)')


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z.\-]*( [a-z]+:[a-z/%4]+)?", fullmatch=True).filter(
            lambda relation: not re.search("%(?!44)", relation)
        ),
        st.text() | st.lists(st.text("<>\"';, a%\\\r\n\ud800é")),
    )
)
def test_any_target_stays_inside_its_brackets(links: dict[str, Any]) -> None:
    value = format_links(links)
    count = sum(1 if isinstance(each, str) else len(each) for each in links.values())
    assert check_value("link", value) == value.encode("ascii")
    assert len(WHOLE.findall(value)) == count
    assert WHOLE.sub("", value) == ""


@given(st.text(), st.text())
def test_any_relation_is_written_or_refused(relation: str, target: str) -> None:
    try:
        value = format_links({relation: target})
    except FieldError:
        return
    assert WHOLE.fullmatch(value)


@pytest.mark.parametrize("relation", ["a", "a:", "a:b", "%", "a:%41", "-:", " ", "a ", "é", "a: "])
def test_a_long_relation_is_checked_in_one_pass(relation: str) -> None:
    """A million repetitions would take hours if anything were read twice."""
    for end in ("", '"', "%", ":"):
        with suppress(FieldError):
            assert format_links({relation * 300_000 + end: "/"}).startswith("</>")


@pytest.mark.parametrize("key", ["next", "a b:c"])
def test_twice_the_links_are_twice_the_work(key: str, count_calls: Callable[..., int]) -> None:
    def work(size: int) -> int:
        many = count_calls(format_links, {key: ["/é<"] * size})
        return many + count_calls(format_links, {f"{key}{n}": "/" for n in range(size)})

    work(10)
    assert work(2_000) <= 2.6 * work(1_000)


@pytest.mark.parametrize(
    ("hints", "lines"),
    [
        ({}, []),
        ({"link": []}, []),
        (
            {"link": "</style.css>; rel=preload; as=style"},
            [(b"link", b"</style.css>; rel=preload; as=style")],
        ),
        ({"Link": ["</a>; rel=x", " <b> "]}, [(b"link", b"</a>; rel=x"), (b"link", b"<b>")]),
        (
            {"link": "<>", "X-Trace": ("1", "2"), "content-type": "text/html"},
            [
                (b"link", b"<>"),
                (b"x-trace", b"1"),
                (b"x-trace", b"2"),
                (b"content-type", b"text/html"),
            ],
        ),
    ],
)
def test_hints_become_lines(hints: dict[str, Any], lines: list[tuple[bytes, bytes]]) -> None:
    """RFC 8297 §2: they are those of the answer, its type too."""
    assert format_hints(hints) == lines


@pytest.mark.parametrize(
    ("hints", "message"),
    [
        ({"a b": "x"}, "cannot be a header name"),
        ({"": []}, "cannot be a header name"),
        ({"x-a": "1\r\nx-b: 2"}, "control character"),
        ({"x-a": ["1", None]}, "is a str or an int"),
        ({"x-a": None}, "is a str or a list of str, not NoneType"),
        ({"x-a": b"1"}, "is a str or a list of str, not bytes"),
        ({"link": "/style.css"}, "stands in <>"),
        ({"Link": ["</a>", '"</b>"']}, "stands in <>"),
        ({"link": "</a"}, "stands in <>"),
        ({"link": ""}, "stands in <>"),
    ],
)
def test_what_must_not_be_sent_is_refused(hints: dict[str, Any], message: str) -> None:
    with pytest.raises(FieldError, match=message):
        format_hints(hints)


@pytest.mark.parametrize(
    "name", ["Content-Length", "trailer", *sorted(each.decode() for each in CONNECTION_SPECIFIC)]
)
def test_a_hint_frames_nothing(name: str) -> None:
    """A 103 has no body (RFC 9110 §8.6, RFC 9112 §6.1), whatever the list of values holds."""
    hints: list[dict[str, str | list[str]]] = [{name: "1"}, {name: []}]
    for each in hints:
        with pytest.raises(FieldError, match="cannot be an early hint"):
            format_hints(each)


@given(st.dictionaries(st.text(), st.text() | st.lists(st.text())))
@example({"Link": ["<a>; rel=preload", "<b>"], "x-a": "1"})
def test_any_hints_are_clean_lines_or_refused(hints: dict[str, Any]) -> None:
    try:
        lines = format_hints(hints)
    except FieldError:
        return
    for name, value in lines:
        assert (name, value) == (name.lower().strip(), value.strip())
        assert not set(name + value) & set(b"\r\n\x00")


def test_twice_the_hints_are_twice_the_work(count_calls: Callable[..., int]) -> None:
    def work(size: int) -> int:
        return count_calls(format_hints, {"link": ["<a>"] * size})

    work(10)
    assert work(2_000) <= 2.6 * work(1_000)
