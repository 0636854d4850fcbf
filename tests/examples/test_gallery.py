"""examples/gallery.py: pictures from a form, all of them or none, by curl and in a browser."""

from __future__ import annotations

import os
import struct
import time
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.examples.chromium import needs_chromium, started
from tests.peers.client import eventually

TARGET = "examples/gallery.py:app"
STATUS = ("--output", os.devnull, "--write-out", "%{http_code}")
MIB = 1024 * 1024
SIGNATURE = b"\x89PNG\r\n\x1a\n"
TYPE = {"content-type": "multipart/form-data; boundary=B"}
HEAD = (
    b'--B\r\ncontent-disposition: form-data; name="picture"; filename="%b"\r\n'
    b"content-type: image/png\r\n\r\n"
)
END = b"--B--\r\n"

Serve = Callable[..., Any]
StartCurl = Callable[..., Any]

pytestmark = pytest.mark.timeout(120)


def png(side: int) -> bytes:
    """Make a picture that is not compressed, of three bytes a pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    lines = (b"\0" + b"\x20\x60\xa0" * side) * side
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = zlib.compress(lines, level=0)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Give a folder with two pictures, and something else."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "small.png").write_bytes(png(4))
    (folder / "large.png").write_bytes(png(700))
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Give the folder of the gallery, two levels down, so that `../..` has somewhere to lead."""
    return tmp_path / "srv" / "pictures"


def kept(pictures: Path) -> list[bytes]:
    """Return what is in the gallery, drafts included, the latest upload last."""
    return [path.read_bytes() for path in sorted(pictures.glob("*/*.*")) if path.suffix != ".json"]


class Page(HTMLParser):
    """The pictures and captions of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.pictures: list[str] = []
        self.captions: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "img":
            self.pictures.append(dict(attrs)["src"] or "")
        elif tag == "bdi":
            self.captions.append("")

    def handle_data(self, data: str) -> None:
        if self.captions and self.lasttag == "bdi" and data.strip():
            self.captions[-1] += data


def page_of(server: Any, curl: StartCurl) -> Page:
    text, _ = curl(f"{server.url}/").communicate()
    return Page(text.decode())


def connected(server: Any) -> HTTPConnection:
    url: str = server.url
    return HTTPConnection(urlsplit(url).netloc, timeout=30)


def begin(connection: HTTPConnection, length: int) -> None:
    """Send the head of a request with a form of *length* bytes."""
    connection.putrequest("POST", "/pictures")
    for name, value in {**TYPE, "content-length": str(length)}.items():
        connection.putheader(name, value)
    connection.endheaders()


def test_several_pictures_are_taken_and_shown_with_their_names(
    serve: Serve, curl: StartCurl, files: Path, pictures: Path
) -> None:
    """The latest form is the first on the page."""
    with serve(TARGET, PICTURES=str(pictures)) as server:
        for names in (["small.png"], ["large.png", "small.png"]):
            form = [each for name in names for each in ("-F", f"picture=@{files / name}")]
            answer, _ = curl(*form, "-i", f"{server.url}/pictures").communicate()
            assert b"303 See Other\r\nlocation: /\r\n" in answer

        page = page_of(server, curl)
        assert page.captions == ["large.png", "small.png", "small.png"]
        for path, name in zip(page.pictures, page.captions, strict=True):
            answer, _ = curl("-i", f"{server.url}{path}").communicate()
            head, _, body = answer.partition(b"\r\n\r\n")
            assert body == (files / name).read_bytes()
            for line in (
                b"content-type: image/png",
                b"x-content-type-options: nosniff",
                b"cache-control: public, max-age=31536000, immutable",
            ):
                assert line in head.split(b"\r\n")


@pytest.mark.parametrize(
    ("beginning", "kind", "extension"),
    [
        (SIGNATURE, "image/png", ".png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg", ".jpg"),
        (b"GIF87a", "image/gif", ".gif"),
        (b"GIF89a", "image/gif; charset=binary", ".gif"),
        (b"RIFF\n\n\n\nWEBP", "IMAGE/WEBP", ".webp"),
    ],
)
def test_each_type_gets_its_extension(
    serve: Serve,
    curl: StartCurl,
    files: Path,
    pictures: Path,
    beginning: bytes,
    kind: str,
    extension: str,
) -> None:
    """The one in the client's name counts for nothing."""
    (files / "a.html").write_bytes(beginning)
    with serve(TARGET, PICTURES=str(pictures)) as server:
        form = f"picture=@{files}/a.html;type={kind}"
        status, _ = curl("-F", form, *STATUS, f"{server.url}/pictures").communicate()

        assert (status, kept(pictures)) == (b"303", [beginning])
        [path] = page_of(server, curl).pictures
        assert path.endswith(f"/0{extension}")


def test_a_hostile_name_is_shown_and_nothing_else(
    serve: Serve, curl: StartCurl, files: Path, pictures: Path, tmp_path: Path
) -> None:
    """No file bears it, in the folder or elsewhere, and the page has no element of it."""
    before = sorted(tmp_path.rglob("*"))
    name = '../../x"<b>.png'
    quoted = name.replace('"', '\\"')
    with serve(TARGET, PICTURES=str(pictures)) as server:
        form = f'picture=@{files}/small.png;filename="{quoted}"'
        curl("-F", form, f"{server.url}/pictures").communicate()
        page = page_of(server, curl)

        # A browser writes a quote in a name as %22 (WHATWG HTML §4.10.21.8), and so does curl.
        assert page.captions in ([name], [name.replace('"', "%22")])
        assert "b" not in page.tags
        new = [path for path in sorted(tmp_path.rglob("*")) if path not in before]
        assert {path.name for path in new if path.is_file()} == {"0.png", ".names.json"}
        assert all(path.is_relative_to(tmp_path / "srv") for path in new)


@pytest.mark.parametrize(
    "form",
    [
        ["picture=@{}/notes.txt"],
        ["picture=@{}/small.png;type=image/svg+xml"],
        ["picture=@{}/notes.txt;type=image/png"],
        ["picture=@{}/small.png;type=image/jpeg"],
        ["picture=@{}/small.png", "picture=@{}/notes.txt"],
    ],
)
def test_another_type_is_refused_with_the_whole_form(
    serve: Serve, curl: StartCurl, files: Path, pictures: Path, form: list[str]
) -> None:
    """The client says so, or the first bytes do."""
    fields = [each for field in form for each in ("-F", field.format(files))]
    with serve(TARGET, PICTURES=str(pictures)) as server:
        status, _ = curl(*fields, *STATUS, f"{server.url}/pictures").communicate()

        assert (status, list(pictures.iterdir())) == (b"415", [])


def test_a_form_without_a_picture_is_refused(serve: Serve, pictures: Path) -> None:
    """An input that was left empty is a part all the same."""
    with serve(TARGET, PICTURES=str(pictures)) as server:
        note = b'--B\r\ncontent-disposition: form-data; name="note"\r\n\r\ntext\r\n'
        connection = connected(server)
        connection.request("POST", "/pictures", note + HEAD % b"" + b"\r\n" + END, TYPE)

        assert (connection.getresponse().status, list(pictures.iterdir())) == (400, [])
        connection.close()


def test_a_picture_that_is_too_large_is_refused_with_the_whole_form(
    serve: Serve, curl: StartCurl, files: Path, pictures: Path
) -> None:
    with (files / "huge.png").open("wb") as file:
        file.write(SIGNATURE)
        file.truncate(64 * MIB + 1)
    form = [each for name in ("small", "huge") for each in ("-F", f"picture=@{files}/{name}.png")]
    with serve(TARGET, PICTURES=str(pictures)) as server:
        status, _ = curl(*form, *STATUS, f"{server.url}/pictures").communicate()

        assert (status, list(pictures.iterdir())) == (b"413", [])


def test_a_form_that_is_too_large_is_refused_before_it_is_sent(
    serve: Serve, pictures: Path
) -> None:
    with serve(TARGET, PICTURES=str(pictures)) as server:
        connection = connected(server)
        begin(connection, 2 * 1024**3 + 1)

        assert (connection.getresponse().status, list(pictures.iterdir())) == (413, [])
        connection.close()


def test_a_form_of_too_many_parts_is_refused(serve: Serve, pictures: Path) -> None:
    part = HEAD % b"a.png" + SIGNATURE + b"\r\n"
    with serve(TARGET, PICTURES=str(pictures)) as server:
        for count, status in ((201, 413), (200, 303)):
            connection = connected(server)
            connection.request("POST", "/pictures", part * count + END, TYPE)
            assert connection.getresponse().status == status
            connection.close()

        assert len(kept(pictures)) == 200


def test_a_form_that_is_cut_leaves_none_of_its_pictures(
    serve: Serve, curl: StartCurl, pictures: Path
) -> None:
    """The first one was complete, and nobody could see it yet."""
    with serve(TARGET, PICTURES=str(pictures)) as server:
        connection = connected(server)
        begin(connection, 10 * MIB)
        connection.send(HEAD % b"a.png" + SIGNATURE + b"\r\n")
        connection.send(HEAD % b"b.png" + SIGNATURE + bytes(2 * MIB))
        eventually(lambda: kept(pictures) == [SIGNATURE])
        [draft] = pictures.iterdir()
        status, _ = curl(*STATUS, f"{server.url}/pictures/{draft.name}/0.png").communicate()
        assert (status, page_of(server, curl).pictures) == (b"404", [])
        connection.close()

        eventually(lambda: not list(pictures.iterdir()))


def test_a_draft_cannot_be_had_nor_the_list_of_names(
    serve: Serve, curl: StartCurl, files: Path, pictures: Path
) -> None:
    (pictures / ".draft").mkdir(parents=True)
    (pictures / ".draft" / "0.png").write_bytes(SIGNATURE)
    with serve(TARGET, PICTURES=str(pictures)) as server:
        curl("-F", f"picture=@{files}/small.png", f"{server.url}/pictures").communicate()
        [path] = page_of(server, curl).pictures
        folder = path.rpartition("/")[0]

        for wanted in (
            "/pictures/.draft/0.png",
            f"{folder}/.names.json",
            f"{folder}/..%2f..%2f..%2ffiles%2fsmall.png",
        ):
            status, _ = curl("--path-as-is", *STATUS, f"{server.url}{wanted}").communicate()
            assert status == b"404"


def test_a_start_removes_what_a_killed_server_has_left(serve: Serve, pictures: Path) -> None:
    """What is not old may be another server's, which is at it."""
    for name in (".old", ".new"):
        (pictures / name).mkdir(parents=True)
    three_hours_ago = time.time() - 3 * 60 * 60
    os.utime(pictures / ".old", (three_hours_ago, three_hours_ago))
    with serve(TARGET, PICTURES=str(pictures)):
        assert [path.name for path in pictures.iterdir()] == [".new"]


def peak_kib(pid: int) -> int:
    """Return the most memory that a process has had at once: proc(5)."""
    [line] = [
        line
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    ]
    return int(line.split()[1])


def form_of(count: int, mebibytes: int) -> Iterator[bytes]:
    """Make a form of *count* pictures, a piece at a time."""
    for _ in range(count):
        yield HEAD % b"a.png" + SIGNATURE
        for _ in range(mebibytes * 16):
            yield bytes(MIB // 16)
        yield b"\r\n"
    yield END


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the memory is read in /proc")
def test_300_mib_of_pictures_take_no_more_memory_than_a_small_one(
    serve: Serve, pictures: Path
) -> None:
    """The first form is there to load what a form needs at all."""

    def send(count: int, mebibytes: int) -> None:
        connection = connected(server)
        length = sum(map(len, form_of(count, mebibytes)))
        begin(connection, length)
        for piece in form_of(count, mebibytes):
            connection.send(piece)
        assert connection.getresponse().status == 303
        connection.close()

    with serve(TARGET, PICTURES=str(pictures)) as server:
        send(1, 1)
        before = peak_kib(server.process.pid)
        send(5, 60)

        assert peak_kib(server.process.pid) - before <= 8 * 1024
        sizes = sorted(path.stat().st_size for path in pictures.glob("*/*.png"))
        assert sizes == [MIB + len(SIGNATURE)] + 5 * [60 * MIB + len(SIGNATURE)]


# --- in a browser ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with started(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


def choose(browser: Any, *paths: Path) -> None:
    """Choose files, and send them."""
    chosen = "\n".join(map(str, paths))
    browser.find_element("css selector", "[type=file]").send_keys(chosen)
    browser.find_element("css selector", "button").click()


def captions(browser: Any) -> list[str]:
    return [each.text for each in browser.find_elements("css selector", "main bdi")]


def widths(browser: Any) -> list[int]:
    """Return how wide the pictures are in truth; 0 is one that was not loaded."""
    script = "return [...document.images].map(each => each.naturalWidth)"
    return list(browser.execute_script(script))


@contextmanager
def slowed_down(browser: Any, rate: int) -> Generator[None]:
    """Let the browser send no more than *rate* bytes a second."""
    network = {"offline": False, "latency": 0, "downloadThroughput": -1}
    slow, fast = ({**network, "uploadThroughput": each} for each in (rate, -1))
    browser.execute_cdp_cmd("Network.enable", {})  # without it nothing is slowed down
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", slow)
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Network.emulateNetworkConditions", fast)
        browser.execute_cdp_cmd("Network.disable", {})


def complaints(browser: Any) -> list[str]:
    """Return what the browser complained of; that the page has no icon is none of it."""
    messages = [entry["message"] for entry in browser.get_log("browser")]
    return [message for message in messages if "/favicon.ico" not in message]


@needs_chromium
def test_a_browser_shows_how_far_the_upload_is_and_then_the_pictures(
    serve: Serve, browser: Any, files: Path, pictures: Path
) -> None:
    with serve(TARGET, PICTURES=str(pictures)) as server:
        browser.get(server.url)
        browser.execute_script(
            "const bar = document.querySelector('progress');"
            "window.seen = [];"
            "new MutationObserver(() => seen.push(bar.value)).observe(bar, {attributes: true});"
        )
        with slowed_down(browser, MIB):
            choose(browser, files / "large.png", files / "small.png")
            eventually(lambda: captions(browser) == ["large.png", "small.png"], 20)

        seen = browser.execute_script("return seen")
        end, visible = browser.execute_script("return [bar.max, !bar.hidden]")
        assert visible
        assert seen == sorted(seen)
        assert any(0 < value < end for value in seen)
        assert seen[-1] == end > 700 * 700 * 3
        eventually(lambda: widths(browser) == [700, 4])
        assert browser.execute_script("return 'seen' in window")  # the page was never left
        assert complaints(browser) == []


@needs_chromium
def test_a_browser_shows_why_a_form_was_refused(
    serve: Serve, browser: Any, files: Path, pictures: Path
) -> None:
    with serve(TARGET, PICTURES=str(pictures)) as server:
        browser.get(server.url)
        choose(browser, files / "small.png", files / "notes.txt")

        said = browser.find_element("css selector", "output")
        eventually(lambda: said.text == "notes.txt is no picture of a type that is taken here")
        assert browser.find_element("css selector", "button").is_enabled()
        assert captions(browser) == []


@needs_chromium
def test_the_form_works_without_a_script(
    serve: Serve, browser: Any, files: Path, pictures: Path
) -> None:
    with serve(TARGET, PICTURES=str(pictures)) as server:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        try:
            browser.get(server.url)
            choose(browser, files / "large.png", files / "small.png")
            eventually(lambda: captions(browser) == ["large.png", "small.png"], 20)
        finally:
            browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
        assert browser.current_url == f"{server.url}/"
