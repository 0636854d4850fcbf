"""examples/tar.py: an archive that is made while it is sent is whole, or visibly not."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import tarfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from examples import tar as example

TARGET = "examples/tar.py:app"
KIB, MIB, GIB = 1024, 1024**2, 1024**3
BLOCK_BYTES = 256 * KIB
PARTIAL_FILE = 18  # curl's exit status for a body that was cut
SOON_S = 20

Serve = Callable[..., Any]
Start = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "some photos"
    path.mkdir()
    return path


def fill(folder: Path) -> dict[str, bytes | None]:
    """Fill *folder* with files of many names and sizes; return them, and None for a folder."""
    long = "/".join(["a folder of a name that is rather long"] * 8)
    undecodable = os.fsdecode(b"\xff\xfe.bin")
    content: dict[str, bytes | None] = {
        "empty.bin": b"",
        "one byte.bin": b"1",
        "block.bin": bytes(range(256)) * 2,  # of tar: there is no padding
        "more.bin": bytes(513),
        "read at once.bin": os.urandom(BLOCK_BYTES),
        "read twice.bin": os.urandom(BLOCK_BYTES + 1),
        "été/Straße – 東京.txt": "é".encode(),
        "-rf": b"-rf",
        'a "quoted" name\\': b"\\",
        "a\nline": b"\n",
        undecodable: b"\xff",
        ".hidden/.file": b"hidden",
        f"{long}/file": b"deep",
    }
    for name, data in content.items():
        assert data is not None
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "no files").mkdir()
    folders = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_dir()]
    return content | dict.fromkeys(folders)


def members(folder: Path, data: bytes) -> dict[str, bytes | None]:
    """Return what an archive of *folder* has, in the form of `fill`."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        infos = archive.getmembers()
        names = [info.name for info in infos]
        assert len(set(names)) == len(names)
        assert names[0] == folder.name
        return {
            info.name.removeprefix(f"{folder.name}/"): None
            if info.isdir()
            else archive.extractfile(info).read()  # type: ignore[union-attr]  # it is a file
            for info in infos[1:]
        }


def fetch(curl: Start, server: Any) -> bytes:
    client = curl(f"{server.url}/folder.tar")
    data, complaint = client.communicate()
    assert client.returncode == 0, complaint
    body: bytes = data
    return body


def beginning(client: Any) -> bytes:
    """Return a mebibyte of what a client got; the server is in a large file then."""
    data = b""
    while len(data) < MIB:
        data += client.stdout.read(MIB - len(data))
    return data


def has_open(server: Any, path: Path) -> bool:
    """Whether the server has a file open."""
    found: list[str] = []
    for each in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed just now
            found.append(os.readlink(each))
    return str(path) in found


def wait_for(condition: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.01)


def peak_bytes(server: Any) -> int:
    """Return the most memory that the server ever had."""
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", text, re.MULTILINE)
    assert found
    return int(found[1]) * KIB


def test_tar_lists_what_is_in_the_folder(serve: Serve, curl: Start, folder: Path) -> None:
    """As the docstring has it: tar reads what curl writes."""
    (folder / "sub").mkdir()
    for name in ("b.txt", "a name.txt", "é.txt", "sub/c.txt"):
        (folder / name).write_bytes(b"content")
    with serve(TARGET, FOLDER=str(folder)) as server:
        client = curl(f"{server.url}/folder.tar")
        listing = subprocess.run(
            ["tar", "t", "--quoting-style=literal"],
            stdin=client.stdout,
            capture_output=True,
            check=True,
        )

        assert listing.stderr == b""
        assert listing.stdout.decode().splitlines() == [
            "some photos/",
            "some photos/a name.txt",
            "some photos/b.txt",
            "some photos/é.txt",
            "some photos/sub/",
            "some photos/sub/c.txt",
        ]
        assert client.wait() == 0


def test_what_is_unpacked_is_what_was_packed(
    serve: Serve, curl: Start, folder: Path, tmp_path: Path
) -> None:
    content = fill(folder)
    program = folder / "one byte.bin"
    program.chmod(0o750)
    os.utime(program, (0, 1_000_000_000.75))
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    with serve(TARGET, FOLDER=str(folder)) as server:
        data = fetch(curl, server)
    subprocess.run(["tar", "x", "-p", "-C", str(unpacked)], input=data, check=True)

    assert members(folder, data) == content
    for name, expected in content.items():
        found = unpacked / folder.name / name
        assert (None if found.is_dir() else found.read_bytes()) == expected
    status = (unpacked / folder.name / program.name).stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o750, 1_000_000_000)


def test_the_archive_tells_nothing_of_owners(serve: Serve, curl: Start, folder: Path) -> None:
    fill(folder)
    with serve(TARGET, FOLDER=str(folder)) as server:
        data = fetch(curl, server)

    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for info in archive:
            assert (info.uid, info.gid, info.uname, info.gname) == (0, 0, "", "")


def test_an_empty_folder_is_an_archive_too(serve: Serve, curl: Start, folder: Path) -> None:
    with serve(TARGET, FOLDER=str(folder)) as server:
        assert members(folder, fetch(curl, server)) == {}


def test_a_folder_may_be_named_as_the_shell_does(serve: Serve, curl: Start, folder: Path) -> None:
    """No name in the archive leads out of the folder that it is unpacked in."""
    (folder / "sub").mkdir()
    (folder / "file").write_bytes(b"content")
    with serve(TARGET, FOLDER=f"{folder}/sub/..") as server:
        assert members(folder, fetch(curl, server)) == {"file": b"content", "sub": None}


def test_the_archive_is_for_the_client_to_save(serve: Serve, curl: Start, folder: Path) -> None:
    """HEAD tells it, and reads nothing."""
    with serve(TARGET, FOLDER=str(folder)) as server:
        head, _ = curl("--head", f"{server.url}/folder.tar").communicate()

        fields = head.decode().lower()
        assert fields.startswith("http/1.1 200 ")
        assert "\r\ncontent-type: application/x-tar\r\n" in fields
        assert '\r\ncontent-disposition: attachment; filename="some photos.tar"\r\n' in fields


def test_a_folder_that_is_not_there_is_a_404(serve: Serve, curl: Start, folder: Path) -> None:
    (folder / "file").write_bytes(b"content")
    for path in (folder / "missing", folder / "file"):
        with serve(TARGET, FOLDER=str(path)) as server:
            status, _ = curl(
                "--output", os.devnull, "--write-out", "%{http_code}", f"{server.url}/folder.tar"
            ).communicate()

            assert status == b"404"


def test_only_folders_and_regular_files_are_sent(
    serve: Serve, curl: Start, folder: Path, tmp_path: Path
) -> None:
    """Links are not followed, wherever they lead, and nobody waits for a FIFO."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_bytes(b"secret")
    (folder / "sub").mkdir()
    (folder / "file.txt").write_bytes(b"content")
    for name, target in (
        ("to a file", outside / "secret.txt"),
        ("to a folder", outside),
        ("to itself", "to itself"),
        ("to nothing", "nothing"),
        ("to a neighbour", "file.txt"),
        ("sub/to its folder", ".."),
    ):
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(folder / "socket"))  # its path may have 107 bytes
        with serve(TARGET, FOLDER=str(folder)) as server:
            data = fetch(curl, server)

    assert members(folder, data) == {"file.txt": b"content", "sub": None}


def test_what_became_something_else_meanwhile_is_not_followed(folder: Path) -> None:
    """Between the look at a name and its opening somebody may put something else there."""
    (folder / "link").symlink_to(__file__)
    os.mkfifo(folder / "fifo")
    fd = os.open(folder, os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="symbolic links"):
            list(example.member(Path("link"), "link", fd))
        pieces = list(example.member(Path("fifo"), "fifo", fd))
    finally:
        os.close(fd)

    assert sum(map(len, pieces)) == tarfile.BLOCKSIZE


def test_the_order_is_always_the_same(folder: Path) -> None:
    names = [f"{n:02}" for n in range(12)]
    for name in sorted(names, key=lambda name: name[::-1]):
        (folder / name).mkdir()
        for other in reversed(names):
            (folder / name / other).write_bytes(b"content")
    data = b"".join(example.archive(folder))

    expected = [each for name in names for each in (name, *(f"{name}/{other}" for other in names))]
    assert list(members(folder, data)) == expected


def test_names_that_are_linked_hard_are_files_each(serve: Serve, curl: Start, folder: Path) -> None:
    (folder / "a").write_bytes(b"content")
    (folder / "b").hardlink_to(folder / "a")
    with serve(TARGET, FOLDER=str(folder)) as server:
        assert members(folder, fetch(curl, server)) == {"a": b"content", "b": b"content"}


def test_a_file_that_shrinks_while_it_is_sent_cuts_the_archive(
    serve: Serve, curl: Start, folder: Path
) -> None:
    large = folder / "large.bin"
    large.touch()
    os.truncate(large, 256 * MIB)
    with serve(TARGET, FOLDER=str(folder)) as server:
        client = curl(f"{server.url}/folder.tar")
        begin = beginning(client)
        os.truncate(large, MIB)
        data = begin + client.stdout.read()

        assert client.wait() == PARTIAL_FILE
        assert MIB < len(data) < 256 * MIB
        with pytest.raises(tarfile.ReadError, match="unexpected end of data"):
            members(folder, data)
        server.logs = ".*some photos/large.bin shrank while it was sent.*"


def test_a_file_that_grows_while_it_is_sent_is_sent_as_it_was(
    serve: Serve, curl: Start, folder: Path
) -> None:
    large = folder / "large.bin"
    large.touch()
    os.truncate(large, 64 * MIB)
    (folder / "next.bin").write_bytes(b"next")
    with serve(TARGET, FOLDER=str(folder)) as server:
        client = curl(f"{server.url}/folder.tar")
        begin = beginning(client)
        with large.open("ab") as file:
            file.write(b"more")
        data = begin + client.stdout.read()

        assert client.wait() == 0
        assert members(folder, data) == {"large.bin": bytes(64 * MIB), "next.bin": b"next"}


def test_a_folder_that_cannot_be_read_cuts_the_archive(
    serve: Serve, curl: Start, folder: Path
) -> None:
    """It would be a hole that nobody sees."""
    (folder / "a.bin").touch()
    os.truncate(folder / "a.bin", 256 * MIB)
    (folder / "sub" / "sub").mkdir(parents=True)
    with serve(TARGET, FOLDER=str(folder)) as server:
        client = curl(f"{server.url}/folder.tar")
        beginning(client)
        shutil.rmtree(folder / "sub")  # it is on the list, and root can read everything
        client.stdout.read()

        assert client.wait() == PARTIAL_FILE
        server.logs = ".*FileNotFoundError.*"


def test_a_large_file_is_never_held(serve: Serve, curl: Start, folder: Path) -> None:
    (folder / "small.bin").write_bytes(bytes(8 * MIB))
    with serve(TARGET, FOLDER=str(folder)) as server:
        fetch(curl, server)
        before = peak_bytes(server)
        (folder / "large.bin").touch()
        os.truncate(folder / "large.bin", GIB)
        size, _ = curl(
            "--output", os.devnull, "--write-out", "%{size_download}", f"{server.url}/folder.tar"
        ).communicate()

        assert GIB < int(size) < GIB + 9 * MIB
        assert peak_bytes(server) - before <= 8 * MIB


def test_a_client_that_leaves_ends_it(serve: Serve, curl: Start, folder: Path) -> None:
    """Also one that has stopped to read."""
    large = folder / "large.bin"
    large.touch()
    os.truncate(large, GIB)
    with serve(TARGET, FOLDER=str(folder)) as server:
        client = curl(f"{server.url}/folder.tar")
        beginning(client)
        client.send_signal(signal.SIGSTOP)
        wait_for(lambda: has_open(server, large))
        client.kill()

        wait_for(lambda: not has_open(server, large))
        # asyncio's own transport warns of writes between the loss of the connection and the news of
        # it.
        server.logs = r"(socket\.send\(\) raised exception\.\s*)*"
