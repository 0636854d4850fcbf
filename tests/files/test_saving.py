"""`save`: a file is there when all of it is, and until then nothing is."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from types import coroutine
from typing import Any

import anyio
import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint

from nardis import UsageError
from nardis._files import saving
from nardis._files.saving import (
    BLOCK_BYTES,
    Guarded,
    Pull,
    close_in_thread,
    discard,
    save,
    save_copy,
    write_all,
)
from tests.files.disks import count_writes, eventually, fail_writes, hold_writes, open_below

pytestmark = pytest.mark.anyio

# More than a block: something is on the disk before the end.
LARGE = bytes(range(256)) * 2048 + b"and more"


def gives(*pieces: bytes, then: Callable[[], Awaitable[object]] | None = None) -> Pull:
    """Make a pull function of *pieces*; *then* is awaited behind them."""
    rest = iter(pieces)

    async def pull() -> bytes:
        await checkpoint()
        for piece in rest:
            return piece
        if then is not None:
            await then()
        raise StopAsyncIteration

    return pull


def contents(folder: Path) -> dict[str, bytes | None]:
    """Return what every file in *folder* holds; None for a folder."""
    return {each.name: None if each.is_dir() else each.read_bytes() for each in folder.iterdir()}


def cancels(scope: anyio.CancelScope, pull: Pull, turn: int, *, late: bool) -> Pull:
    """Cancel *scope* at one of the turns: while one waits for a piece, or when it has come."""

    async def pull_or_cancel() -> bytes:
        nonlocal turn
        turn -= 1
        if turn == -1 and not late:
            scope.cancel()
        try:
            return await pull()
        finally:
            if turn == -1:
                scope.cancel()

    return pull_or_cancel


def refuse_nameless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a file system such as NFS."""
    open_file, nameless = os.open, os.O_TMPFILE

    def refuses(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & nameless == nameless:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return open_file(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refuses)
    monkeypatch.setattr(os, "supports_dir_fd", {refuses})


SYSTEMS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "no O_TMPFILE": lambda monkeypatch: monkeypatch.delattr(os, "O_TMPFILE"),
    "no O_TMPFILE in that folder": refuse_nameless,
    "no proc": lambda monkeypatch: monkeypatch.setattr(saving, "DESCRIPTORS", "/no/such/folder"),
    "no dir_fd": lambda monkeypatch: monkeypatch.setattr(os, "supports_dir_fd", set[object]()),
    "no O_PATH": lambda monkeypatch: monkeypatch.delattr(os, "O_PATH"),
}


@pytest.fixture(params=["this one", *SYSTEMS])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Be a system on which something is missing."""
    name: str = request.param
    if name in SYSTEMS:
        SYSTEMS[name](monkeypatch)
    return name


@pytest.fixture
def folder(tmp_path: Path) -> Generator[Path, None, None]:
    """Return an empty folder; check that nothing temporary is left in it, and nothing open."""
    path = tmp_path / "folder"
    path.mkdir()
    yield path
    assert [name for name in contents(path) if name.endswith(".tmp")] == []
    assert open_below(path) == []


# --- whole ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("pieces", [[], [b"a"], [b"a", b"bc"], [LARGE], [LARGE, b"1", LARGE * 2]])
async def test_all_pieces_are_saved_in_order(folder: Path, pieces: list[bytes]) -> None:
    content = b"".join(pieces)

    assert await save(folder / "name", gives(*pieces)) == len(content)

    assert contents(folder) == {"name": content}


@pytest.mark.usefixtures("system")
async def test_a_file_that_was_there_is_replaced_at_the_end(folder: Path) -> None:
    """Until then everybody sees the old one."""
    path = folder / "name"
    path.write_bytes(b"old")

    async def look() -> None:
        assert path.read_bytes() == b"old"

    await save(path, gives(LARGE, then=look))

    assert path.read_bytes() == LARGE


async def test_nobody_sees_a_file_that_is_only_begun(folder: Path) -> None:
    """It has no name at all, so nothing could stay behind."""

    async def look() -> None:
        assert contents(folder) == {}
        assert len(open_below(folder)) == 2

    await save(folder / "name", gives(LARGE, then=look))


@pytest.mark.parametrize("name", ["name", "é" * 127, "x" * 255])
async def test_where_it_needs_a_name_that_is_a_hidden_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It shows what it belongs to, and is never longer than names may be."""
    monkeypatch.delattr(os, "O_TMPFILE")

    async def look() -> None:
        (temporary,) = contents(folder)
        assert temporary.startswith(f".{name[:40]}.")
        assert temporary.endswith(".tmp")

    await save(folder / name, gives(LARGE, then=look))

    assert contents(folder) == {name: LARGE}


@pytest.mark.usefixtures("system")
async def test_it_has_the_permissions_of_any_new_file(folder: Path) -> None:
    path = folder / "name"
    path.write_bytes(b"old")
    path.chmod(0o600)
    before = os.umask(0o002)
    try:
        await save(path, gives(b"new"))
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o664


@pytest.mark.usefixtures("system")
async def test_a_link_is_replaced_and_not_what_it_points_to(folder: Path) -> None:
    (folder / "target").write_bytes(b"old")
    (folder / "link").symlink_to("target")

    await save(folder / "link", gives(b"new"))

    assert ((folder / "target").read_bytes(), (folder / "link").read_bytes()) == (b"old", b"new")
    assert not (folder / "link").is_symlink()


@pytest.mark.usefixtures("system")
async def test_a_path_may_be_relative(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is relative to where the program was when the first block was written."""
    monkeypatch.chdir(folder)

    async def go_elsewhere() -> None:
        monkeypatch.chdir("/")

    assert await save("a", gives(LARGE, then=go_elsewhere)) == len(LARGE)
    assert (folder / "a").read_bytes() == LARGE


async def test_of_two_that_save_at_once_one_wins_whole(folder: Path) -> None:
    contents = [bytes([number]) * BLOCK_BYTES * 2 for number in range(4)]
    async with anyio.create_task_group() as group:
        for content in contents:
            pieces = [content[:99], content[99:]]
            group.start_soon(save, folder / "name", gives(*pieces))

    assert (folder / "name").read_bytes() in contents


# --- in blocks, in threads ------------------------------------------------------------------------


async def test_pieces_are_gathered_into_blocks(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hop to a worker thread for each piece would cost more than the writing."""
    sizes = count_writes(monkeypatch)
    hops = count_hops(monkeypatch)

    await save(folder / "name", gives(*[bytes(64 * 1024)] * 20))

    assert sizes == [BLOCK_BYTES, BLOCK_BYTES, 4 * 64 * 1024]
    assert hops == ["write", "write", "publish"]


async def test_a_small_file_takes_one_hop(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hops = count_hops(monkeypatch)

    await save(folder / "name", gives(b"a", b"b"))

    assert hops == ["publish"]


def count_hops(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the name of each function that is run in a worker thread."""
    run_sync, hops = to_thread.run_sync, list[str]()

    async def count(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        hops.append(function.__name__)
        return await run_sync(function, *args, **options)

    monkeypatch.setattr(to_thread, "run_sync", count)
    return hops


async def test_a_write_that_takes_less_is_gone_on_with(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = count_writes(monkeypatch, most=100_000)

    await save(folder / "name", gives(LARGE))

    assert (folder / "name").read_bytes() == LARGE
    assert sizes == [*[100_000] * 5, len(LARGE) - 500_000]


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 20])
async def test_a_copy_is_made_in_steps(
    folder: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Between two of them it looks whether it is cancelled."""
    monkeypatch.setattr(saving, "COPY_BYTES", 8)
    content = bytes(range(size))
    steps: list[tuple[int, int]] = []

    def copy(offset: int, count: int, file: int) -> None:
        steps.append((offset, count))
        write_all(content[offset : offset + count], file)

    assert await save_copy(folder / "name", size, copy) == size
    assert (folder / "name").read_bytes() == content
    assert steps == [(start, min(8, size - start)) for start in range(0, max(size, 1), 8)]


# --- or not at all --------------------------------------------------------------------------------


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize(
    ("path", "error"),
    [
        (".", IsADirectoryError),
        ("sub", IsADirectoryError),
        ("sub/", IsADirectoryError),
        ("fifo", FileExistsError),
        ("new/", IsADirectoryError),
        ("missing/name", FileNotFoundError),
        ("file/name", NotADirectoryError),
        ("x" * 256, OSError),
        ("a\0b", OSError),
        ("a\ud800b", OSError),
    ],
)
@pytest.mark.parametrize("content", [b"a", LARGE])
async def test_what_the_system_says_comes_out_as_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch, path: str, error: type[Exception], content: bytes
) -> None:
    (folder / "sub").mkdir()
    (folder / "file").touch()
    os.mkfifo(folder / "fifo")
    monkeypatch.chdir(folder)

    with pytest.raises(error) as caught:
        await save(path, gives(content, content))

    assert type(caught.value) is error
    assert sorted(os.listdir(folder)) == ["fifo", "file", "sub"]
    assert os.listdir("sub") == []
    (folder / "fifo").unlink()


async def test_a_folder_is_refused_before_the_second_block(folder: Path) -> None:
    """And not when 10 GiB have come."""
    asked = 0

    async def pull() -> bytes:
        nonlocal asked
        asked += 1
        return LARGE

    with pytest.raises(IsADirectoryError, match=str(folder)):
        await save(folder, pull)
    assert asked == 1


@pytest.mark.usefixtures("system")
async def test_a_folder_that_was_made_meanwhile_is_left_alone(folder: Path) -> None:
    async def make() -> None:
        (folder / "name").mkdir()

    with pytest.raises(IsADirectoryError):
        await save(folder / "name", gives(LARGE, then=make))

    assert (folder / "name").is_dir()


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("after", [0, 1, 2])
async def test_a_full_disk_leaves_nothing_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    (folder / "name").write_bytes(b"old")
    fail_writes(monkeypatch, after)

    with pytest.raises(OSError, match="No space left") as caught:
        await save(folder / "name", gives(LARGE, LARGE, b"last"))

    assert caught.value.errno == errno.ENOSPC
    assert contents(folder) == {"name": b"old"}


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("pieces", [[], [LARGE], [LARGE, LARGE]])
async def test_a_source_that_fails_leaves_nothing_behind(folder: Path, pieces: list[bytes]) -> None:
    async def fail() -> None:
        raise KeyError("the body was cut")

    with pytest.raises(KeyError, match="cut"):
        await save(folder / "name", gives(*pieces, then=fail))

    assert contents(folder) == {}


async def test_a_file_system_that_fails_at_closing_fails_the_save(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS may report only there that there was no room."""
    close = os.close

    def fails(file: int) -> None:
        close(file)
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", fails)
        with pytest.raises(OSError, match="quota") as caught:
            await save(folder / "name", gives(b"a"))

    assert caught.value.errno == errno.EDQUOT
    assert contents(folder) == {}


# --- cancelled, killed ----------------------------------------------------------------------------


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("late", [False, True])
async def test_wherever_it_is_cancelled_nothing_is_left_behind(folder: Path, late: bool) -> None:
    """While it waits for a piece; or *late*, in the hop to a worker thread that follows."""
    pieces = [LARGE, b"1", LARGE, b"2"]
    for turn in range(len(pieces) + 1):
        scope = anyio.CancelScope()
        with scope:
            await save(folder / "name", cancels(scope, gives(*pieces), turn, late=late))

        assert scope.cancelled_caught
        assert contents(folder) == {}
        assert open_below(folder) == []


@pytest.mark.usefixtures("system")
async def test_a_cancelled_save_waits_for_the_thread_that_writes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, go = threading.Event(), threading.Event()

    def hold() -> None:
        writing.set()
        go.wait(20)

    hold_writes(monkeypatch, hold)
    async with anyio.create_task_group() as group:
        group.start_soon(save, folder / "name", gives(LARGE, LARGE))
        await to_thread.run_sync(writing.wait)
        group.cancel_scope.cancel()
        go.set()

    assert contents(folder) == {}
    assert open_below(folder) == []


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_that_asyncio_cancels_leaves_the_file_to_its_thread(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No shield of anyio's holds there; the number of what is closed may be another file's soon."""
    writing, go = threading.Event(), threading.Event()
    failures: list[OSError] = []
    write = os.write

    def slow(file: int, data: bytes) -> int:
        writing.set()
        go.wait(20)
        try:
            return write(file, data)
        except OSError as exc:  # pragma: no cover  # the file was closed under the thread
            failures.append(exc)
            raise

    monkeypatch.setattr(os, "write", slow)
    task = asyncio.create_task(save(folder / "name", gives(LARGE, LARGE)))
    await to_thread.run_sync(writing.wait)
    for _ in range(2):  # the second one while it cleans up
        task.cancel()
        await asyncio.sleep(0.01)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    await eventually(lambda: not open_below(folder))
    assert failures == []
    assert contents(folder) == {}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("verb", ["save", "save_copy"])
@pytest.mark.parametrize("slow", ["write", "close"])
@pytest.mark.parametrize("in_time", [True, False])
async def test_after_asyncio_cancelled_the_last_write_no_file_appears(
    folder: Path, monkeypatch: pytest.MonkeyPatch, verb: str, slow: str, in_time: bool
) -> None:
    """`asyncio.timeout` leaves a thread; it is waited for, and then left alone."""
    (folder / "name").write_bytes(b"old")
    waiting, go, main = threading.Event(), threading.Event(), threading.get_ident()
    call: Callable[..., Any] = getattr(os, slow)

    def hold(*args: Any) -> Any:
        if not waiting.is_set() and threading.get_ident() != main:
            waiting.set()
            go.wait(20)
        return call(*args)

    def copy(offset: int, count: int, file: int) -> None:
        write_all(b"new", file)

    monkeypatch.setattr(saving, "CLOSE_S", 5 if in_time else 0.05)
    monkeypatch.setattr(os, slow, hold)
    path = folder / "name"
    coroutine = save(path, gives(b"new")) if verb == "save" else save_copy(path, 3, copy)
    task = asyncio.create_task(coroutine)
    await to_thread.run_sync(waiting.wait)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=0.1 if in_time else 5)
    assert bool(done) is not in_time
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert path.read_bytes() == b"old"
    await eventually(lambda: not open_below(folder))
    assert contents(folder) == {"name": b"old"}


def test_a_save_that_is_thrown_away_leaves_nothing_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event loop that ends under it lets nobody await any more."""

    async def at_once(function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)

    @coroutine
    def wait() -> Generator[None, None, None]:
        yield

    monkeypatch.delattr(os, "O_TMPFILE")
    monkeypatch.setattr(to_thread, "run_sync", at_once)
    pieces = iter([LARGE])

    async def pull() -> bytes:
        for piece in pieces:
            return piece
        await wait()
        raise AssertionError  # pragma: no cover  # it is thrown away while it waits

    call = save(folder / "name", pull)
    call.send(None)
    assert len(contents(folder)) == 1
    call.close()

    assert contents(folder) == {}


def test_a_process_that_is_killed_leaves_nothing_behind(folder: Path) -> None:
    program = textwrap.dedent("""
        import sys

        import anyio

        from nardis._files.saving import save


        async def pull(asked=[]):
            asked.append(1)
            if len(asked) < 4:
                return bytes(2**20)
            print("3 MiB", flush=True)
            await anyio.sleep_forever()


        anyio.run(save, sys.argv[1], pull)
    """)
    command = [sys.executable, "-c", program, str(folder / "name")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"3 MiB\n"
        process.kill()

    assert contents(folder) == {}


# --- what threads use -----------------------------------------------------------------------------


class Thing(Guarded):
    """Counts how often it is given back."""

    GONE = "the thing is gone"

    def __init__(self, hold: Callable[[], object] = int) -> None:
        super().__init__()
        self.opened = True
        self.released = 0
        self._hold = hold

    def release(self) -> None:
        self._hold()
        self.released += 1


def test_what_is_closed_cannot_be_used() -> None:
    thing = Thing()
    with thing.in_use():
        pass
    thing.close()

    with pytest.raises(UsageError, match="the thing is gone"), thing.in_use():
        raise AssertionError  # pragma: no cover  # as the test says
    with pytest.raises(UsageError):
        thing.check_open()


def test_what_is_used_is_closed_afterwards() -> None:
    """Whoever closes it does not wait for that."""
    thing = Thing()
    with thing.in_use():
        thing.close()
        assert (thing.closed, thing.released) == (True, 0)

    assert thing.released == 1


def test_a_close_may_wait_for_the_thread_that_uses_it() -> None:
    """For a while; then the thread closes it after all."""
    thing = Thing()
    using, done = threading.Event(), threading.Event()

    def use() -> None:
        with thing.in_use():
            using.set()
            done.wait(20)

    thread = threading.Thread(target=use)
    thread.start()
    using.wait(20)
    thing.close(0.01)
    assert thing.released == 0
    threading.Timer(0.01, done.set).start()
    thing.close(5)
    assert thing.released > 0
    thread.join()


async def test_a_close_that_hangs_does_not_hold_up_the_clean_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(saving, "CLOSE_S", 0.05)
    go = threading.Event()
    thing = Thing(lambda: go.wait(20))

    await discard(thing, ValueError())
    assert (thing.closed, thing.released) == (True, 0)
    go.set()
    await eventually(lambda: thing.released)


async def test_what_fails_is_closed_in_a_thread_also_when_it_is_cancelled() -> None:
    """To remove a large file takes the disk a while."""
    threads: list[int] = []
    thing = Thing(lambda: threads.append(threading.get_ident()))
    with anyio.CancelScope() as scope:
        scope.cancel()
        await discard(thing, ValueError())

    assert threads[0] != threading.get_ident()


async def test_it_is_closed_when_there_is_no_time_for_a_thread() -> None:
    thing = Thing()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await close_in_thread(thing)

    assert thing.released > 0


async def test_nothing_takes_no_thread_to_close(monkeypatch: pytest.MonkeyPatch) -> None:
    hops = count_hops(monkeypatch)
    thing = Thing()
    thing.opened = False

    await close_in_thread(thing)

    assert (hops, thing.closed) == ([], True)
