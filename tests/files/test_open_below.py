"""`open_below`: regular files below a root, folders, and nothing else, whoever moves them about."""

from __future__ import annotations

import base64
import errno
import json
import os
import socket
import stat
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nardis import HTTPError, UsageError
from nardis._files import opening
from nardis._files.names import check_names
from nardis._files.opening import Folder, Opened, open_below, open_path, read_small

DESCRIPTORS = Path("/proc/self/fd")
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "static_paths.json").read_text())

# The application answers these, and not its files.
NOT_OURS = {
    "mount-enc": "the prefix is matched by the router",
    "head": "a method",
    "trace": "a method",
    "no-lead-slash": "refused before there is a path",
}

# A path that is not percent-encoded UTF-8 is 400 everywhere in Nardis, and not the answer to a
# missing file. It is decided before a file is looked for, so that it tells nothing of any.
DECIDED_BY_THE_TEXT = {"traversal-15", "traversal-42"}


class Answer(NamedTuple):
    status: int
    body: str = ""
    location: str | None = None


# --- the tree -------------------------------------------------------------------------------------


def plant(base: Path) -> None:
    """Make the tree that the vectors are about."""
    for row in VECTORS["contract"]["tree"]:
        path = base / row["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        if row["type"] == "file":
            path.write_text(row["content"], "utf-8")
            path.chmod(int(row.get("mode", "644"), 8))
        elif row["type"] == "symlink":
            path.symlink_to(row["target"].replace("${BASE}", str(base)))
        else:
            os.mkfifo(path)


@pytest.fixture
def base(tmp_path: Path) -> Generator[Path, None, None]:
    """Return the folder of the tree, of which nothing is open in the end."""
    plant(tmp_path)
    yield tmp_path
    assert open_in(tmp_path) == []


@pytest.fixture
def site(base: Path) -> Path:
    return base / "site"


SYSTEMS: dict[str, dict[str, object]] = {
    "this one": {},
    "no O_PATH": {"_FOLDER": os.O_RDONLY | os.O_DIRECTORY},
    "no dir_fd": {"_BY_DESCRIPTOR": False},
}


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Be a system that has less than this one."""
    name: str = request.param
    for constant, value in SYSTEMS[name].items():
        monkeypatch.setattr(opening, constant, value)
    return name


def open_in(folder: Path) -> list[str]:
    """Return what this process has open in *folder*."""
    found: list[str] = []
    for each in DESCRIPTORS.iterdir() if DESCRIPTORS.exists() else ():
        try:
            found.append(os.readlink(each))
        except FileNotFoundError:  # that of the listing itself
            continue
    return [path for path in found if path.startswith(str(folder))]


def content(found: Opened | Folder | None) -> str | None:
    """Return what is in an opened file, `folder/` for a folder, None for nothing; and close it."""
    if found is None:
        return None
    try:
        return os.pread(found.fd, 1000, 0).decode() if isinstance(found, Opened) else "folder/"
    finally:
        found.close()


def look(root: Path, path: str) -> str | None:
    return content(open_below(root, path.split("/") if path else []))


# --- the vectors ----------------------------------------------------------------------------------


def answer(root: Path, prefix: str, path: str) -> Answer:
    """Answer as a folder of static files with an index does, dotfiles ignored."""
    try:
        names = check_names(path)
    except HTTPError as exc:
        return Answer(exc.status)
    found = None if names is None or names.is_hidden else open_below(root, names.segments)
    if names is None or found is None:
        return Answer(404)
    if isinstance(found, Folder) and not names.wants_folder:
        found.close()
        return Answer(301, "", prefix + names.folder_path)
    if isinstance(found, Folder):
        text = content(found.file("index.html"))
        found.close()
        return Answer(404) if text is None else Answer(200, text)
    text = content(found)
    return Answer(404) if names.wants_folder or text is None else Answer(200, text)


def is_expected(given: Answer, expect: dict[str, Any]) -> bool:
    fits = given.status in expect["status"]
    fits = fits and expect.get("body", given.body) == given.body
    return fits and expect.get("location", given.location) == given.location


def vectors() -> Iterator[Any]:
    for case in VECTORS["cases"]:
        marks = [pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")]
        if case["id"] not in NOT_OURS:
            yield pytest.param(case, id=case["id"], marks=marks if case.get("skip_if_root") else [])


@pytest.mark.parametrize("case", list(vectors()))
def test_the_vectors_agree(case: dict[str, Any], site: Path, system: str) -> None:
    target = base64.b64decode(case["target_b64"]).decode("latin-1")
    prefix = case.get("mount", "/static").rstrip("/")
    assert target.startswith(prefix)
    given = answer(site, prefix, target.removeprefix(prefix))
    expect = case["expect"]

    assert "TOP-SECRET" not in given.body
    assert any(is_expected(given, each) for each in expect.get("one_of", [expect]))
    if case["id"] in DECIDED_BY_THE_TEXT:
        assert given == Answer(400)
    elif expect.get("same_as_missing"):
        assert given == answer(site, prefix, "/nope") == Answer(404)
    if expect.get("location_not_protocol_relative"):
        assert given.location is None or given.location == "/sub/"


def test_what_is_not_decided_here_is_among_the_vectors() -> None:
    ids = {case["id"] for case in VECTORS["cases"]}
    assert ids >= {*NOT_OURS, *DECIDED_BY_THE_TEXT}


# --- what is there --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("hello.txt", "HELLO"),
        ("empty.txt", ""),
        ("deep/a/b/c/d.txt", "DEEP"),
        ("%2e%2e.txt", "LITERAL-ESCAPE"),
        ("what?.txt", "QUESTION"),
        ("..data", "DOTDOT-NAME"),
        (".env", "TOP-SECRET-ENV"),  # the caller decides about dotfiles
        ("link-in.txt", "HELLO"),
        ("linkdir-in/page.html", "SUB-PAGE"),
        ("", "folder/"),
        ("sub", "folder/"),
        ("deep/a", "folder/"),
        ("linkdir-in", "folder/"),
        ("nope", None),
        ("nope/nope", None),
        ("hello.txt/x", None),
        ("hello.txt/x/y", None),
        ("link-in.txt/x", None),
        ("link-out.txt", None),
        ("link-abs.txt", None),
        ("linkdir-out", None),
        ("linkdir-out/index.html", None),
        ("link-up", None),
        ("link-up/secret.txt", None),
        ("link-up/site/hello.txt", None),  # outside on the way
        ("loop", None),
        ("loop/x", None),
        ("dangling", None),
        ("dangling/x", None),
        ("pipe", None),
        ("pipe/x", None),
        ("x" * 300, None),
        ("sub/" + "x" * 300, None),
        ("back\\slash.txt", None),
        ("..", None),
        ("../secret.txt", None),
        ("sub/../hello.txt", None),
        ("sub//page.html", None),
        ("hello.txt\0", None),
    ],
)
def test_only_what_lies_below_the_root_is_opened(
    path: str, expected: str | None, site: Path, system: str
) -> None:
    assert look(site, path) == expected


def test_a_name_is_one_segment_whatever_it_holds(site: Path, system: str) -> None:
    for name in ("sub/page.html", "../secret.txt", "/etc/passwd", "..", ".", ""):
        assert open_below(site, [name]) is None
        assert open_below(site, ["sub", name]) is None


def test_a_link_to_a_link_and_to_the_root_are_followed(site: Path, system: str) -> None:
    (site / "second").symlink_to("linkdir-in")
    (site / "third").symlink_to(site / "second" / "page.html")
    (site / "sub" / "home").symlink_to("..")
    (site / "out-and-in").symlink_to("../site/hello.txt")

    assert look(site, "second/page.html") == "SUB-PAGE"
    assert look(site, "third") == "SUB-PAGE"
    assert look(site, "sub/home") == "folder/"
    assert look(site, "sub/home/sub/home/linkdir-in/home/hello.txt") == "HELLO"
    assert look(site, "out-and-in") == "HELLO"


def test_a_neighbour_whose_name_begins_like_the_root_is_outside(site: Path, system: str) -> None:
    """CVE-2023-29159: what is compared are names, not characters."""
    (site / "to-neighbour").symlink_to("../site-secret/index.html")
    (site / "to-file").symlink_to("../site.txt")
    assert [look(site, "to-neighbour"), look(site, "to-file")] == [None, None]


def test_a_socket_and_a_link_to_a_device_are_not_opened(site: Path, system: str) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.open(site, os.O_RDONLY)
        listening.bind(f"/proc/self/fd/{here}/socket")  # a path of 108 bytes at most
        os.close(here)
        (site / "null").symlink_to("/dev/null")
        (site / "to-socket").symlink_to("socket")
        (site / "to-pipe").symlink_to("pipe")
        names = ["socket", "null", "to-socket", "to-pipe"]
        assert [look(site, name) for name in names] == [None] * 4


def test_a_fifo_is_not_even_touched(
    site: Path, system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who waits for a reader would wake up, and then be killed by SIGPIPE."""
    opened = spy(monkeypatch, "open")
    assert look(site, "pipe") is None
    assert not [path for path in opened if str(path).endswith("pipe")]


def test_a_fifo_that_was_a_file_a_moment_ago_does_not_block(
    site: Path, system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    regular = (site / "hello.txt").stat()
    original = os.stat

    def late(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
        return regular if str(path).endswith("pipe") else original(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", late)
        assert look(site, "pipe") is None
        assert open_path(site / "pipe") is None


def test_descriptors_are_not_inherited(site: Path, system: str) -> None:
    found = open_below(site, ["sub", "page.html"])
    assert isinstance(found, Opened)
    held = [int(each.name) for each in DESCRIPTORS.iterdir() if is_in(each, site)]
    assert found.fd in held
    assert not any(map(os.get_inheritable, held))
    found.close()


def is_in(descriptor: Path, folder: Path) -> bool:
    return descriptor.is_symlink() and os.readlink(descriptor).startswith(str(folder))


def test_the_status_is_that_of_the_open_file(site: Path, system: str) -> None:
    found = open_below(site, ["hello.txt"])
    assert isinstance(found, Opened)
    assert found.stat == os.fstat(found.fd)
    assert stat.S_ISREG(found.stat.st_mode)
    found.close()


# --- the root -------------------------------------------------------------------------------------


def test_a_relative_path_is_refused() -> None:
    with pytest.raises(UsageError, match=r"a root is absolute, not 'site'"):
        open_below("site", [])
    with pytest.raises(UsageError, match=r"os\.path\.abspath\(\)"):
        open_path(Path("hello.txt"))


def test_a_root_that_is_no_folder_has_no_files(base: Path, system: str) -> None:
    (base / "sealed").symlink_to("sealed")
    for root in ("nope", "secret.txt", "sealed"):
        assert open_below(base / root, []) is None
        assert open_below(base / root, ["hello.txt"]) is None


def test_a_root_that_is_a_link_may_be_changed_for_the_next_release(base: Path, system: str) -> None:
    for number in ("1", "2"):
        release = base / "releases" / number
        release.mkdir(parents=True)
        (release / "a.txt").write_text(number)
        (release / "b.txt").symlink_to("a.txt")
    current, coming = base / "current", base / "coming"
    current.symlink_to("releases/1")
    assert [look(current, name) for name in ("a.txt", "b.txt")] == ["1", "1"]

    coming.symlink_to("releases/2")
    coming.rename(current)

    assert [look(current, name) for name in ("a.txt", "b.txt")] == ["2", "2"]


def test_the_file_system_itself_can_be_the_root(site: Path, system: str) -> None:
    assert content(open_below("/", (site / "hello.txt").parts[1:])) == "HELLO"
    assert content(open_below("/", (site / "link-out.txt").parts[1:])) == "TOP-SECRET"


# --- races and faults -----------------------------------------------------------------------------

# All that is asked of the system.
CALLS = [(os, "open"), (os, "stat"), (os, "fstat"), (os.path, "realpath")]


@contextmanager
def calls_of_the_system(
    monkeypatch: pytest.MonkeyPatch, before: Callable[[int], object] = lambda number: None
) -> Generator[list[str], None, None]:
    """Give the names of the calls that are made; *before* is called with the number of each."""
    made: list[str] = []

    def watched(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            made.append(name)
            before(len(made))
            return original(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        for place, name in CALLS:
            patch.setattr(place, name, watched(name, getattr(place, name)))
        yield made


def replace_by_link(path: Path, target: Path) -> Callable[[], None]:
    """Make *path* a link to *target*; return what undoes it."""
    aside = path.with_name("aside")
    os.rename(path, aside)
    os.symlink(target, path)

    def undo() -> None:
        os.unlink(path)
        os.rename(aside, path)

    return undo


@pytest.mark.parametrize("system", ["this one", "no O_PATH"], indirect=True)
@pytest.mark.parametrize(
    ("path", "replaced", "target"),
    [
        ("hello.txt", "site/hello.txt", "secret.txt"),
        ("link-in.txt", "site/hello.txt", "secret.txt"),
        ("link-in.txt", "site/link-in.txt", "secret.txt"),
        ("sub/index.html", "site/sub", "site-secret"),
        ("linkdir-in/index.html", "site/sub", "site-secret"),
        ("linkdir-in/index.html", "site/linkdir-in", "site-secret"),
        ("linkdir-in/index.html", "site/sub/index.html", "secret.txt"),
        ("up-and-down", "site/sub", "site-secret"),
        ("link-to-sub", "site/sub", "site-secret"),
    ],
)
def test_no_link_that_appears_at_any_moment_leads_outside(
    path: str,
    replaced: str,
    target: str,
    base: Path,
    system: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It appears before the first call of the system, then before the second, and so on."""
    (base / "site" / "up-and-down").symlink_to("../site/sub/index.html")
    (base / "site" / "link-to-sub").symlink_to("sub/index.html")
    fine = look(base / "site", path)
    seen: set[str | None] = set()

    def attack(moment: int) -> bool:
        undo: list[Callable[[], None]] = []

        def before(number: int) -> None:
            if number == moment:
                undo.append(replace_by_link(base / replaced, base / target))

        with calls_of_the_system(monkeypatch, before):
            seen.add(look(base / "site", path))
        for each in undo:
            each()
        return bool(undo)

    moments = 1
    while attack(moments):
        moments += 1

    assert moments > 3
    assert seen == {fine, None}


@pytest.mark.parametrize("system", ["this one", "no O_PATH"], indirect=True)
@pytest.mark.parametrize("replaced", ["hello.txt", "link-in.txt"])
def test_no_link_that_appears_shows_the_size_of_what_is_outside(
    replaced: str, base: Path, system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[int | None] = set()
    for moment in range(1, 8):  # there are fewer calls
        undo: list[Callable[[], None]] = []

        def before(number: int, moment: int = moment, undo: list[Any] = undo) -> None:
            if number == moment:
                undo.append(replace_by_link(base / "site" / replaced, base / "secret.txt"))

        folder = Folder(str(base / "site"))
        with calls_of_the_system(monkeypatch, before):
            found = folder.status("link-in.txt")
        seen.add(found and found.st_size)
        folder.close()
        for each in undo:
            each()

    assert seen == {len("HELLO"), None}


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENOMEM])
@pytest.mark.parametrize("path", ["hello.txt", "sub", "link-in.txt", "linkdir-in/page.html"])
def test_a_fault_of_ours_is_no_missing_file(
    path: str, number: int, base: Path, system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever call fails, its error comes out, and nothing stays open."""
    for moment in moments_of(path, base, monkeypatch):
        with pytest.raises(OSError, match=os.strerror(number)) as caught:
            fail_at(moment, number, path, base, monkeypatch)
        # The error holds on to what the functions had that it went through.
        assert (caught.value.errno, open_in(base)) == (number, [])


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP])
@pytest.mark.parametrize("path", ["hello.txt", "sub", "link-in.txt", "linkdir-in/page.html"])
def test_what_may_not_be_had_is_missing(
    path: str, number: int, base: Path, system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But a folder that seems to be a link is looked for once more."""
    fine = look(base / "site", path)
    for moment in moments_of(path, base, monkeypatch):
        assert fail_at(moment, number, path, base, monkeypatch) in {None, fine}
        assert open_in(base) == []
    assert fail_at(1, number, path, base, monkeypatch) is None


def moments_of(path: str, base: Path, monkeypatch: pytest.MonkeyPatch) -> range:
    """Number the calls of the system that it takes to open a file."""
    with calls_of_the_system(monkeypatch) as made:
        look(base / "site", path)
    return range(1, len(made) + 1)


def fail_at(
    moment: int, number: int, path: str, base: Path, monkeypatch: pytest.MonkeyPatch
) -> str | None:
    def before(call: int) -> None:
        if call == moment:
            raise OSError(number, os.strerror(number))

    with calls_of_the_system(monkeypatch, before):
        return look(base / "site", path)


NAMES = ["sub", "hello.txt", "page.html", "linkdir-in", "link-up", "site", "loop", "deep", "pipe"]
OUTSIDE = ["..", "secret.txt", "site-secret", "index.html", "linkdir-out", "link-out.txt", "/", ""]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.sampled_from(NAMES + OUTSIDE) | st.text(max_size=3), max_size=5))
def test_no_names_lead_outside(names: Sequence[str], base: Path, system: str) -> None:
    inside = {"HELLO", "PAGE", "SUB-PAGE", "SUB-INDEX", "ROOT-INDEX", "folder/", None}
    assert content(open_below(base / "site", names)) in inside
    assert open_in(base) == []


# --- folders --------------------------------------------------------------------------------------


def test_a_folder_gives_its_index_and_goes_with_it(site: Path, system: str) -> None:
    folder = open_below(site, ["linkdir-in"])
    assert isinstance(folder, Folder)
    for name in ("nope.html", "..", "../index.html", "x" * 300):
        assert folder.file(name) is None
    index = folder.file("index.html")

    assert content(index) == "SUB-INDEX"
    assert open_in(site) == []


def test_a_folder_is_no_index(site: Path, system: str) -> None:
    root = open_below(site, [])
    assert isinstance(root, Folder)
    assert [root.file(name) for name in ("sub", "linkdir-in", "link-up", "link-out.txt")] == (
        [None] * 4
    )
    assert content(root.file("link-in.txt")) == "HELLO"


def test_a_folder_says_what_is_in_it(site: Path, system: str) -> None:
    root = open_below(site, [])
    assert isinstance(root, Folder)
    assert sorted(root.names(1000) or ()) == sorted(os.listdir(site))
    assert len(root.names(3) or ()) == 3
    assert not open_in(site) or open_in(site) == [str(site)]
    root.close()


def test_a_folder_that_may_not_be_read_shows_nothing(
    site: Path, system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = open_below(site, [])
    assert isinstance(root, Folder)

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EACCES, "not for you")

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        assert root.names(1000) is None
    root.close()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hello.txt", 5),
        ("link-in.txt", 5),
        ("sub", -1),
        ("linkdir-in", -1),
        ("link-out.txt", None),
        ("linkdir-out", None),
        ("link-up", None),
        ("loop", None),
        ("dangling", None),
        ("pipe", None),
        ("nope", None),
        ("..", None),
        ("sub/page.html", None),
    ],
)
def test_a_folder_tells_what_could_be_had(
    name: str, expected: int | None, site: Path, system: str
) -> None:
    root = open_below(site, [])
    assert isinstance(root, Folder)
    found = root.status(name)
    root.close()

    size = found and (-1 if stat.S_ISDIR(found.st_mode) else found.st_size)
    assert size == expected


# --- siblings -------------------------------------------------------------------------------------


@pytest.fixture
def precompressed(site: Path) -> Path:
    """Return the folder in which `page.html` has siblings."""
    sub = site / "sub"
    (sub / "page.html.gz").write_text("GZ")
    (sub / "page.html.br").symlink_to("page.html.gz")
    (sub / "page.html.zst").symlink_to(site.parent / "secret.txt")
    (sub / "page.html.d").mkdir()
    (sub / "page.link").symlink_to("page.html")
    (sub / "page.link.gz").write_text("LINK-GZ")
    return site


@pytest.mark.parametrize(
    ("suffix", "expected"),
    [(".gz", "GZ"), (".br", "GZ"), (".zst", None), (".d", None), (".xz", None), ("/..", None)],
)
def test_a_sibling_is_opened_as_any_file(
    suffix: str, expected: str | None, precompressed: Path, system: str
) -> None:
    for names in (["sub", "page.html"], ["linkdir-in", "page.html"]):
        found = open_below(precompressed, names)
        assert isinstance(found, Opened)
        assert content(found.sibling(suffix)) == expected
        assert content(found.sibling(suffix)) == expected
        assert content(found) == "SUB-PAGE"


def test_a_sibling_outlives_its_file(precompressed: Path, system: str) -> None:
    found = open_below(precompressed, ["sub", "page.html"])
    assert isinstance(found, Opened)
    sibling = found.sibling(".gz")
    found.close()
    assert content(sibling) == "GZ"


def test_the_siblings_of_a_link_are_beside_the_link(precompressed: Path, system: str) -> None:
    found = open_below(precompressed, ["sub", "page.link"])
    assert isinstance(found, Opened)
    assert content(found.sibling(".gz")) == "LINK-GZ"
    assert content(found) == "SUB-PAGE"


def test_an_index_has_siblings(precompressed: Path, system: str) -> None:
    (precompressed / "sub" / "index.html.gz").write_text("INDEX-GZ")
    folder = open_below(precompressed, ["sub"])
    assert isinstance(folder, Folder)
    index = folder.file("index.html")
    assert index is not None
    assert content(index.sibling(".gz")) == "INDEX-GZ"
    assert content(index) == "SUB-INDEX"


def test_to_see_that_there_is_no_sibling_takes_one_call(
    precompressed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = open_below(precompressed, ["sub", "page.html"])
    assert isinstance(found, Opened)
    with calls_of_the_system(monkeypatch) as made:
        assert found.sibling(".xz") is None
    assert made == ["stat"]
    found.close()


def test_a_closed_file_has_no_siblings(precompressed: Path) -> None:
    found = open_below(precompressed, ["sub", "page.html"])
    assert isinstance(found, Opened)
    found.close()
    found.close()
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        found.sibling(".gz")


# --- without a root -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("secret.txt", "TOP-SECRET"),
        ("site/link-out.txt", "TOP-SECRET"),
        ("site/../site/hello.txt", "HELLO"),
        ("site/back\\slash.txt", "BACKSLASH"),
        ("site", None),
        ("site/pipe", None),
        ("site/loop", None),
        ("site/nope", None),
        ("site/hello.txt/x", None),
        ("site/hello.txt\0", None),
        ("site/\ud800", None),
        ("site/" + "x" * 300, None),
    ],
)
def test_a_path_without_a_root_leads_anywhere_but_only_to_a_file(
    path: str, expected: str | None, base: Path
) -> None:
    assert content(open_path(f"{base}/{path}")) == expected


def test_a_path_without_a_root_has_siblings_too(precompressed: Path) -> None:
    found = open_path(precompressed / "sub" / "page.html")
    assert found is not None
    assert content(found.sibling(".gz")) == "GZ"
    assert content(found.sibling(".xz")) is None
    assert content(found) == "SUB-PAGE"


def test_a_fault_of_ours_comes_out_without_a_root(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", fail)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            open_path(base / "secret.txt")


# --- the rest -------------------------------------------------------------------------------------


def test_what_nobody_has_any_more_is_closed(site: Path, system: str) -> None:
    """A task that is cancelled while a thread opens a file never sees it."""
    opened = [open_below(site, ["hello.txt"]), open_below(site, []), open_path(site / "hello.txt")]
    assert None not in opened
    assert len(open_in(site)) >= 2
    opened.clear()
    assert open_in(site) == []


def test_a_short_name_of_windows_is_no_name(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There `GIT~1` is `.git`, which looks like no dotfile."""
    for path in ("GIT~1/config", "a~1.txt"):
        (site / path).parent.mkdir(exist_ok=True)
        (site / path).write_text("SHORT")
    assert [look(site, "GIT~1/config"), look(site, "a~1.txt")] == ["SHORT", "SHORT"]

    monkeypatch.setattr(opening, "_BY_DESCRIPTOR", False)
    assert [look(site, "GIT~1/config"), look(site, "a~1.txt")] == [None, None]


def test_a_small_file_is_read_at_once(site: Path) -> None:
    found = open_below(site, ["hello.txt"])
    assert isinstance(found, Opened)
    assert [read_small(found, most) for most in (4, 5, 1000)] == [None, b"HELLO", b"HELLO"]

    with (site / "hello.txt").open("a") as file:
        file.write(" AND MORE")
    assert read_small(found, 5) == b"HELLO"

    os.truncate(site / "hello.txt", 2)
    with pytest.raises(EOFError, match="5 bytes ends after 2"):
        read_small(found, 5)
    found.close()


def test_an_empty_file_is_read(site: Path) -> None:
    found = open_below(site, ["empty.txt"])
    assert isinstance(found, Opened)
    assert read_small(found, 0) == b""
    found.close()


def spy(monkeypatch: pytest.MonkeyPatch, name: str) -> list[object]:
    """Return a list that gets the first argument of each call of a function of `os`."""
    original, seen = getattr(os, name), list[object]()

    def call(*args: Any, **kwargs: Any) -> Any:
        seen.append(args[0])
        return original(*args, **kwargs)

    monkeypatch.setattr(os, name, call)
    return seen
