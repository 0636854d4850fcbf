"""`list_directory` and `listing_page`: what lies in a folder and may be asked for."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable, Generator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis import UsageError
from nardis._files import listing, opening
from nardis._files.listing import (
    POLICY,
    Entry,
    Listing,
    list_directory,
    listing_page,
)
from nardis._files.names import Names, check_names, is_hidden, is_lawful

DESCRIPTORS = Path("/proc/self/fd")
MTIME = 1_000_000_000

OF_SITE = [
    Entry("<b>&'\".txt", False, 1, MTIME),
    Entry("hello.txt", False, 5, MTIME),
    Entry("link-in.txt", False, 5, MTIME),
    Entry("linkdir-in", True, 0, MTIME),
    Entry("sub", True, 0, MTIME),
    Entry("日本", False, 1, MTIME),
]


@pytest.fixture(params=[True, False], ids=["by descriptor", "by path"])
def site(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Generator[Path, None, None]:
    """Return a folder in which much must not be listed."""
    monkeypatch.setattr(opening, "_BY_DESCRIPTOR", request.param)
    (tmp_path / "secret.txt").write_text("SECRET")
    (tmp_path / "outside").mkdir()
    site = tmp_path / "site"
    (site / "sub" / ".git").mkdir(parents=True)
    (site / "hello.txt").write_text("HELLO")
    for name in ("<b>&'\".txt", "日本", ".env", "back\\slash", "a:b", "aux.txt", "end.", "a\nb"):
        (site / name).write_text("x")
    (site / os.fsdecode(b"not-utf8-\xff")).write_text("x")
    os.mkfifo(site / "pipe")
    for name, target in [
        ("link-in.txt", "hello.txt"),
        ("linkdir-in", "sub"),
        ("link-out.txt", "../secret.txt"),
        ("linkdir-out", "../outside"),
        ("link-up", ".."),
        ("loop", "loop"),
        ("dangling", "nothing"),
    ]:
        (site / name).symlink_to(target)
    for path in (site / "hello.txt", site / "<b>&'\".txt", site / "日本", site / "sub"):
        os.utime(path, (MTIME, MTIME))
    before = count_open()
    yield site
    assert count_open() == before


def count_open() -> int:
    return len(os.listdir(DESCRIPTORS)) if DESCRIPTORS.exists() else 0


def listed(found: Listing | None) -> list[Entry]:
    """Return the entries in order; how large a folder is, is the file system's affair."""
    assert found is not None
    entries = [
        Entry(each.name, each.is_folder, 0 if each.is_folder else each.size, each.modified)
        for each in found.entries
    ]
    return sorted(entries, key=lambda entry: entry.name)


# --- list_directory -------------------------------------------------------------------------------


def test_only_what_can_be_asked_for_is_listed(site: Path) -> None:
    found = list_directory(site, [])
    assert listed(found) == OF_SITE
    assert found is not None
    assert found.is_complete


def test_a_folder_below_is_listed_also_through_a_link(site: Path) -> None:
    for name in ("sub", "linkdir-in"):
        assert list_directory(site, [name]) == Listing([], True)


@pytest.mark.parametrize(
    "path", ["nope", "hello.txt", "link-up", "linkdir-out", "loop", "pipe", "..", "../outside", "."]
)
def test_what_is_no_folder_below_the_root_is_not_listed(path: str, site: Path) -> None:
    assert list_directory(site, [path]) is None
    assert list_directory(site, path.split("/")) is None


def test_a_folder_that_may_not_be_read_is_not_listed(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError(13, "not for you")

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        assert list_directory(site, ["sub"]) is None


def test_a_relative_root_is_refused() -> None:
    with pytest.raises(UsageError, match="absolute"):
        list_directory("site", [])


@pytest.mark.parametrize(
    ("most", "count", "is_complete"), [(21, 21, True), (20, 20, False), (0, 0, False)]
)
def test_no_more_names_are_looked_at_than_allowed(
    most: int, count: int, is_complete: bool, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(21):
        (site / "sub" / f"{number}.txt").touch()
    (site / "sub" / ".git").rmdir()
    monkeypatch.setattr(listing, "MAX_ENTRIES", most)
    found = list_directory(site, ["sub"])
    assert found is not None
    assert (len(found.entries), found.is_complete) == (count, is_complete)


# --- listing_page ---------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a browser makes of a page: its tags, its text, and where its links lead."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.cells: list[str] = []
        self.text: str = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name == "href"]
        if tag == "td":
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.cells:
            self.cells[-1] += data.strip("\n")


TAGS = {
    *("html", "head", "meta", "title", "style", "body", "h1", "p", "a"),
    *("table", "thead", "tbody", "tr", "th", "td", "time"),
}


def test_the_page_shows_folders_first_with_sizes_and_times_of_utc() -> None:
    entries = [
        Entry("b.txt", False, 1536, MTIME),
        Entry("z", True, 4096, 0.0),
        Entry("a.txt", False, 7, -1.5),
        Entry("A", True, 4096, 1e300),
    ]
    page = Page(listing_page("/x/", entries))

    assert page.links == ["../", "./A/", "./z/", "./a.txt", "./b.txt"]
    assert page.cells == [
        *("A/", "", ""),
        *("z/", "", "1970-01-01 00:00"),
        *("a.txt", "7 B", "1969-12-31 23:59"),
        *("b.txt", "1.5 KiB", "2001-09-09 01:46"),
    ]
    assert "Index of /x/" in page.text
    assert page.tags == TAGS


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (2**20 - 1, "1024.0 KiB"),
        (2**20, "1.0 MiB"),
        (5 * 2**30 // 2, "2.5 GiB"),
        (2**40, "1.0 TiB"),
        (2**50, "1.0 PiB"),
        (2**63 - 1, "8.0 EiB"),
    ],
)
def test_a_size_has_a_unit(size: int, expected: str) -> None:
    assert Page(listing_page("/", [Entry("a", False, size, 0)])).cells[1] == expected


def test_only_the_root_has_no_link_upwards() -> None:
    assert [Page(listing_page(path, [])).links for path in ("/", "/a/", "/a/b/")] == [
        [],
        ["../"],
        ["../"],
    ]


def test_a_page_that_is_not_complete_says_so() -> None:
    entries = [Entry("a", False, 1, 0), Entry(".b", False, 1, 0)]
    assert "There is more: 1 are listed." in listing_page("/", entries, is_complete=False)
    assert "There is more" not in listing_page("/", entries)


@pytest.mark.parametrize("name", [".env", "..", "", "a:b", "javascript:alert(1)", "a/b", "\udcff"])
def test_a_name_that_cannot_be_asked_for_is_not_shown(name: str) -> None:
    assert listing_page("/", [Entry(name, False, 1, 0)]) == listing_page("/", [])


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "a' onclick='x",
        '" onclick="x',
        "</a>",
        "&lt;",
        "%2e%2e",
        "#?",
        "é",
    ],
)
def test_a_name_is_text_and_its_link_leads_to_it(name: str) -> None:
    name = name.replace("/", "")
    page = Page(listing_page(f"/{name}/", [Entry(name, False, 1, 0)]))

    assert page.tags == TAGS
    assert page.cells[0] == name
    assert f"Index of /{name}/" in page.text
    path = urljoin("http://host/files/", page.links[1]).removeprefix("http://host/files")
    assert check_names(path) == Names((name,), False)


@given(st.lists(st.text(max_size=20), max_size=5, unique=True), st.booleans())
def test_whatever_names_come_the_page_is_the_same_but_for_its_rows(
    names: list[str], is_folder: bool
) -> None:
    page = listing_page("/", [Entry(name, is_folder, 1, 0) for name in names])
    shown = sorted(name for name in names if is_lawful(name) and not is_hidden(name))

    assert Page(page).tags <= TAGS
    links = Page(page).links
    assert [check_names(link.removeprefix(".")) for link in links] == [
        Names((name,), is_folder) for name in shown
    ]
    assert all(re.fullmatch(r"\./[-%.~\w]+/?", link, re.ASCII) for link in links)
    page.encode()


def test_the_policy_allows_the_style_of_the_page() -> None:
    page = listing_page("/", [])
    style = page[page.index("<style>") + 7 : page.index("</style>")]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    name, value = POLICY
    assert name == b"content-security-policy"
    assert value.decode().startswith("default-src 'none';")
    assert f"style-src 'sha256-{digest}'" in value.decode()


def test_twice_the_entries_are_twice_the_work(count_calls: Callable[..., int]) -> None:
    def write(count: int) -> str:
        return listing_page("/", [Entry(f"<{each}>", False, each, each) for each in range(count)])

    assert count_calls(write, 4_000) <= 2.2 * count_calls(write, 2_000)
