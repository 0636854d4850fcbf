"""`check_names`: what of a request's path may be looked for on the disk."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis import HTTPError
from nardis._files.names import (
    MAX_NAME_BYTES,
    MAX_NAMES,
    Names,
    check_names,
    check_text,
    is_hidden,
    is_lawful,
)

LAWFUL = [
    "hello.txt",
    "..data",
    "a..b.txt",
    ".env",
    "%2e%2e.txt",
    "100%.txt",
    "semi;colon.txt",
    "ha#sh.txt",
    "what?.txt",
    "plus+sign.txt",
    "with space.txt",
    " leading.txt",
    "café.txt",
    "日本.txt",
    "\uff0e\uff0e",  # two full-width dots, which no system takes for a dot-dot
    "<b>'\"&|*.txt",
    "~1",
    "a\xa0",
    "console.txt",
    "com.txt",
    "com10",
    "auxiliary",
    "xcon",
    "lpt",
    "nul-x.txt",
    " con",
    "x.con",
    "x" * MAX_NAME_BYTES,
    "é" * 127,
]

DEVICES = [
    *("con", "prn", "aux", "nul", "conin$", "conout$", "clock$"),
    *(f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"),
]

UNLAWFUL = [
    "",
    ".",
    "..",
    "...",
    "a/b",
    "a\\b",
    "\\\\host",
    "C:",
    "hello.txt::$DATA",
    "a\0b",
    "a\nb",
    "a\x7f",
    "a\x9fb",
    "hello.txt.",
    "hello.txt ",
    "con ",
    "COM1 .txt",
    "aux.html.txt",
    "x" * (MAX_NAME_BYTES + 1),
    "é" * 128,
    "\ud800",
    "\udcff.txt",
    *DEVICES,
    *map(str.upper, DEVICES),
    *(f"{name}.txt" for name in DEVICES),
]


@pytest.mark.parametrize("name", LAWFUL)
def test_what_is_lawful_stays_lawful(name: str) -> None:
    assert is_lawful(name)
    assert check_names(f"/{quote(name, safe='')}") == Names((name,), False)
    assert check_text(name) == Names((name,), False)


@pytest.mark.parametrize("name", UNLAWFUL)
def test_what_no_file_may_be_called_is_refused(name: str) -> None:
    assert not is_lawful(name)


@pytest.mark.parametrize("name", [name for name in UNLAWFUL if name and name.isprintable()])
def test_an_unlawful_name_refuses_the_whole_path(name: str) -> None:
    encoded = quote(name, safe="")
    assert [check_names(f"/a/{encoded}"), check_names(f"/{encoded}/b/")] == [None, None]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", Names((), False)),
        ("/", Names((), True)),
        ("//", Names((), True)),
        ("/a.txt", Names(("a.txt",), False)),
        ("a.txt", Names(("a.txt",), False)),
        ("//a.txt", Names(("a.txt",), False)),  # Express serves it
        ("/a//b/", Names(("a", "b"), True)),
        ("/%61/%2562", Names(("a", "%62"), False)),  # decoded once
        ("/caf\xc3\xa9", Names(("café",), False)),  # the bytes of UTF-8, as they came
        ("/a+b", Names(("a+b",), False)),
        ("/.well-known/security.txt", Names((".well-known", "security.txt"), False)),
        ("/../secret.txt", None),
        ("/./a.txt", None),
        ("/a/..", None),
        ("/%2e%2e/secret.txt", None),
        ("/%2e%2e%2fsecret.txt", None),
        ("/..%5csecret.txt", None),
        ("/..;/secret.txt", Names(("..;", "secret.txt"), False)),
        ("/sub%2F", None),
        ("/%5c%5chost%5cshare", None),
        ("/C:/Windows/win.ini", None),
        ("/hello.txt%00", None),
        ("/a" * MAX_NAMES, Names(("a",) * MAX_NAMES, False)),
        ("/a" * (MAX_NAMES + 1), None),
    ],
)
def test_a_path_is_split_and_each_segment_decoded_once(path: str, expected: Names | None) -> None:
    assert check_names(path) == expected


@pytest.mark.parametrize(
    "path",
    ["/%", "/%4", "/%zz", "/%u0041", "/%fe%fe", "/..%c0%af", "/%ed%a0%80", "/\xff", "/日", "/../%"],
)
def test_a_path_that_is_not_percent_encoded_utf8_is_400(path: str) -> None:
    """Also behind a name that is refused, so that the answer does not depend on their order."""
    with pytest.raises(HTTPError) as caught:
        check_names(path)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("reports/100%.txt", Names(("reports", "100%.txt"), False)),
        ("/日本/", Names(("日本",), True)),
        ("%2e%2e/a", Names(("%2e%2e", "a"), False)),
        ("../a", None),
        ("a\0", None),
        ("a\ud800", None),
    ],
)
def test_text_is_not_decoded(path: str, expected: Names | None) -> None:
    assert check_text(path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/.env", True),
        ("/%2eenv", True),
        ("/.git/config", True),
        ("/a/.well-known/b", True),
        ("/..data", True),
        ("/%E2%80%8C.git/config", True),  # a zero-width non-joiner, which HFS+ does not see
        ("/", False),
        ("/a..b.txt", False),
        ("/a/b.c", False),
    ],
)
def test_a_dotfile_is_told_apart(path: str, expected: bool) -> None:
    names = check_names(path)
    assert names is not None
    assert names.is_hidden is expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", "/"),
        ("/sub", "/sub/"),
        ("//sub", "/sub/"),
        ("//evil.test//x", "/evil.test/x/"),
        ("/a%20b/%3Fq;c=1", "/a%20b/%3Fq;c=1/"),
        ("/%25/%C3%A9", "/%25/%C3%A9/"),
    ],
)
def test_a_redirect_stays_on_this_host(path: str, expected: str) -> None:
    names = check_names(path)
    assert names is not None
    assert names.folder_path == expected
    assert check_names(names.folder_path) == Names(names.segments, True)


@given(
    st.text() | st.text("/%.2eEfF5cC:\\ \0aé") | st.lists(st.sampled_from(UNLAWFUL)).map("/".join)
)
def test_any_path_gives_lawful_names_or_none_or_400(path: str) -> None:
    status, names = 400, None
    try:
        names = check_names(path)
    except HTTPError as exc:
        status = exc.status
    assert status == 400
    for name in names.segments if names else ():
        assert name not in (".", "..")
        assert not {*"/\\:\0"} & {*name}
        assert len(name.encode()) <= MAX_NAME_BYTES


@given(st.lists(st.text(min_size=1, max_size=60).filter(is_lawful), max_size=5), st.booleans())
def test_lawful_names_survive_the_way_through_a_url(names: list[str], is_folder: bool) -> None:
    path = "/" + "".join(f"{quote(name, safe='')}/" for name in names)
    path = path if is_folder else path.rstrip("/")
    assert check_names(path) == Names(tuple(names), is_folder)
    assert Names(tuple(names), is_folder).is_hidden is any(map(is_hidden, names))


@pytest.mark.parametrize("piece", ["/%61", "/..", "%61", "/", "//a%2f"])
def test_twice_the_path_is_twice_the_work(piece: str, count_calls: Callable[..., int]) -> None:
    once, twice = count_calls(check_names, piece * 2_000), count_calls(check_names, piece * 4_000)
    assert twice <= 2.2 * once + 20


@pytest.mark.parametrize("name", ["x" * 200_000, "con" + " " * 200_000 + "x", "é" * 200_000])
def test_a_long_name_is_refused_by_its_length(name: str, count_calls: Callable[..., int]) -> None:
    """No pattern and no codec looks at it: these are the calls of `is_lawful` and `len`."""
    assert not is_lawful(name)
    assert count_calls(is_lawful, name) <= count_calls(len, name) + 1
