"""examples/media.py: sounds and videos in which a player can seek, and a download that goes on."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import wave
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.examples.chromium import needs_chromium, started
from tests.peers.client import eventually

TARGET = "examples/media.py:app"
MIB = 1024 * 1024
SECONDS = 1000  # of the sound

Serve = Callable[..., Any]
StartCurl = Callable[..., Any]

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give an empty folder for media."""
    folder = tmp_path / "media"
    folder.mkdir()
    return folder


@pytest.fixture
def film(folder: Path) -> Path:
    """Give a file that no player would play."""
    path = folder / "film.mp4"
    path.write_bytes(random.Random(0).randbytes(6 * MIB))
    return path


@pytest.fixture
def sound(folder: Path) -> Path:
    """Give a sound of 8 MB and SECONDS seconds: a byte is an eight thousandth of a second."""
    path = folder / "sound.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(bytes(range(64, 192)) * 62 * SECONDS + bytes([128]) * 64 * SECONDS)
    return path


class Page(HTMLParser):
    """The players of a page, as `(kind, path)`, its captions, and all its elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.players: list[tuple[str, str]] = []
        self.captions: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag in ("audio", "video"):
            self.players.append((tag, dict(attrs)["src"] or ""))
        elif tag == "bdi":
            self.captions.append("")

    def handle_data(self, data: str) -> None:
        if self.lasttag == "bdi":
            self.captions[-1] += data


def test_the_page_has_a_player_for_each_file(serve: Serve, curl: StartCurl, folder: Path) -> None:
    """Each can be had by the URL in the page, whatever its name; a name makes no element."""
    expected = {
        "A Film.MP4": "video",
        'a "b" <i>&amp;\'.mp3': "audio",
        "über #1?%41.webm": "video",
        "wave.wav": "audio",
    }
    for name in expected:
        (folder / name).write_text(name)
    for name in ("notes.txt", ".hidden.mp3", "wav"):
        (folder / name).touch()
    (folder / "folder.mp4").mkdir()
    (folder / os.fsdecode(b"\xff.mp3")).touch()
    with serve(TARGET, MEDIA=str(folder)) as server:
        answer, _ = curl("-i", f"{server.url}/").communicate()
        head, _, body = answer.partition(b"\r\n\r\n")
        page = Page(body.decode())

        assert page.captions == sorted(expected)
        assert [kind for kind, _ in page.players] == [expected[name] for name in sorted(expected)]
        assert "i" not in page.tags
        assert b"content-security-policy: default-src 'none'; media-src 'self'; " in head
        for name, (_, path) in zip(page.captions, page.players, strict=True):
            output, _ = curl(f"{server.url}{path}").communicate()
            assert output.decode() == name


def test_a_file_can_be_kept_by_caches(serve: Serve, curl: StartCurl, film: Path) -> None:
    with serve(TARGET, MEDIA=str(film.parent)) as server:
        output, _ = curl("--head", f"{server.url}/media/film.mp4").communicate()

        lines = output.decode().lower().splitlines()
        for line in (
            "content-type: video/mp4",
            "cache-control: public, max-age=3600",
            "accept-ranges: bytes",
            f"content-length: {6 * MIB}",
            "x-content-type-options: nosniff",
        ):
            assert line in lines


def test_a_page_among_the_files_can_do_nothing(serve: Serve, curl: StartCurl, folder: Path) -> None:
    (folder / "page.html").write_text("<script>alert(1)</script>")
    with serve(TARGET, MEDIA=str(folder)) as server:
        head, _ = curl("--head", f"{server.url}/media/page.html").communicate()

        assert b"content-security-policy: default-src 'none'; " in head


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("0-99", slice(0, 100)),
        ("1000000-1999999", slice(1_000_000, 2_000_000)),
        ("-100", slice(-100, None)),
        ("6291000-", slice(6_291_000, None)),
    ],
)
def test_curl_gets_a_range(
    serve: Serve, curl: StartCurl, film: Path, asked: str, part: slice
) -> None:
    with serve(TARGET, MEDIA=str(film.parent)) as server:
        answer, _ = curl("-i", "-r", asked, f"{server.url}/media/film.mp4").communicate()
        head, _, body = answer.partition(b"\r\n\r\n")

        assert head.startswith(b"HTTP/1.1 206 ")
        assert body == film.read_bytes()[part]


def test_curl_goes_on_with_a_download_that_was_cut(
    serve: Serve, curl: StartCurl, film: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.mp4"
    with serve(TARGET, MEDIA=str(film.parent)) as server:
        url = f"{server.url}/media/film.mp4"
        first, there = curl(url), 0
        with copy.open("wb") as file:  # curl waits for us when the pipe is full
            while there < MIB:
                there += file.write(first.stdout.read(MIB))
        first.kill()
        first.wait()

        second = curl("-C", "-", "-o", str(copy), "-w", "%{http_code} %{size_download}", url)
        said, _ = second.communicate()
        assert said.decode() == f"206 {6 * MIB - there}"
        assert copy.read_bytes() == film.read_bytes()
        # asyncio's own transport warns of writes between the loss of the connection and the news of
        # it.
        server.logs = r"(socket\.send\(\) raised exception\.\s*)*"


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="there is no ffprobe here")
def test_ffprobe_reads_a_sound(serve: Serve, sound: Path) -> None:
    with serve(TARGET, MEDIA=str(sound.parent)) as server:
        command = ["ffprobe", "-v", "error", "-of", "csv=p=0", "-show_entries", "format=duration"]
        found = subprocess.check_output([*command, f"{server.url}/media/sound.wav"], text=True)

        assert float(found) == SECONDS


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with started(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@needs_chromium
def test_a_browser_plays_a_sound_and_seeks_in_it(
    serve: Serve, browser: Any, sound: Path, tmp_path: Path
) -> None:
    """The seek asks for the end alone, which had not been sent; then it plays to the end."""
    seen = tmp_path / "seen"

    def asked() -> list[int]:
        """Return where the ranges began that were answered by a 206."""
        starts: list[int] = []
        for line in seen.read_text().splitlines():
            path, asked, status = json.loads(line)
            if path == "/media/sound.wav":
                match = re.fullmatch(r"bytes=(\d+)-\d*", asked)
                assert match, asked
                assert status == 206
                starts.append(int(match[1]))
        return starts

    with serve(
        "tests/examples/watched_media.py:app", MEDIA=str(sound.parent), SEEN=str(seen)
    ) as server:
        browser.get(server.url)
        script = browser.execute_script
        script("window.sound = document.querySelector('audio'); sound.play()")
        eventually(lambda: script("return sound.currentTime") > 0.2, 20)
        assert script("return [sound.error, sound.duration]") == [None, SECONDS]
        end = 44 + 8000 * (SECONDS - 2)
        assert all(start < end - MIB for start in asked())

        script(f"sound.currentTime = {SECONDS - 1}")
        eventually(lambda: script("return sound.ended"), 20)
        assert max(asked()) > end - MIB // 8
        assert script("return sound.error") is None
        assert browser.get_log("browser") == []
