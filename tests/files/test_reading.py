"""`read_at`: at once what is in memory, in a worker thread what is on the disk."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Generator
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nardis._files import reading
from nardis._files.reading import is_cached, read_at, read_now

pytestmark = pytest.mark.anyio

# Not a multiple of anything; more than one call of preadv() can ask for in the tests below.
CONTENT = os.urandom(300_001)
SIZE = len(CONTENT)

NOWAIT = 8


@pytest.fixture
def file(tmp_path: Path) -> Generator[int, None, None]:
    (tmp_path / "file").write_bytes(CONTENT)
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    yield fd
    os.close(fd)


class Cache:
    """A page cache that holds the bytes before *end*, of a system that says so."""

    def __init__(self, end: int, most: int = 2**30, error: int = errno.EAGAIN) -> None:
        self.end = end
        self.most = most  # that one call gives
        self.error = error
        self.calls = 0

    def preadv(self, fd: int, buffers: list[bytearray], offset: int, flags: int) -> int:
        assert flags == NOWAIT
        assert len(buffers) <= 1024
        self.calls += 1
        if self.end <= offset < SIZE:
            raise OSError(self.error, os.strerror(self.error))
        wanted = min(sum(map(len, buffers)), self.most)
        return max(min(wanted, self.end - offset, SIZE - offset), 0)


def be_system(monkeypatch: pytest.MonkeyPatch, cache: Cache | None) -> None:
    """Be one that has *cache*, or one that tells nothing of it."""
    monkeypatch.setattr(reading, "_NOWAIT", None if cache is None else NOWAIT)
    if cache is not None:
        monkeypatch.setattr(os, "preadv", cache.preadv, raising=False)


def watch_threads(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return a list that gets, for each read, whether it was made in this thread."""
    here, reads = threading.get_ident(), list[bool]()

    def read(fd: int, offset: int, count: int) -> bytes:
        reads.append(threading.get_ident() == here)
        return read_now(fd, offset, count)

    monkeypatch.setattr(reading, "read_now", read)
    return reads


SPANS = [(0, SIZE), (0, 1), (5, 0), (1000, 262_144), (SIZE - 1, 10), (SIZE, 10), (SIZE + 5, 10)]


@pytest.mark.parametrize(("offset", "count"), SPANS)
async def test_any_span_is_read_on_this_system(offset: int, count: int, file: int) -> None:
    """Whatever its file system answers."""
    expected = CONTENT[offset : offset + count]
    assert await read_at(file, offset, count) == expected
    assert read_now(file, offset, count) == expected


@pytest.mark.parametrize(("offset", "count"), SPANS)
async def test_what_is_in_memory_is_read_at_once(
    offset: int, count: int, file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_system(monkeypatch, Cache(SIZE))
    at_once = watch_threads(monkeypatch)
    assert await read_at(file, offset, count) == CONTENT[offset : offset + count]
    assert at_once == [True]


@pytest.mark.parametrize(
    ("end", "offset", "count"),
    [(0, 0, 100), (0, 0, SIZE), (16_384, 0, 16_385), (16_384, 16_384, 1), (SIZE - 1, 0, SIZE)],
)
@pytest.mark.parametrize("error", [errno.EAGAIN, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM])
async def test_what_is_not_quite_in_memory_is_read_in_a_thread(
    end: int, offset: int, count: int, error: int, file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor what a file system, a kernel or a sandbox tells nothing of."""
    be_system(monkeypatch, Cache(end, error=error))
    at_once = watch_threads(monkeypatch)
    assert await read_at(file, offset, count) == CONTENT[offset : offset + count]
    assert at_once == [False]


async def test_a_system_that_tells_nothing_reads_in_a_thread(
    file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_system(monkeypatch, None)
    at_once = watch_threads(monkeypatch)
    assert await read_at(file, 7, 100) == CONTENT[7:107]
    assert at_once == [False]


async def test_a_cancelled_read_waits_for_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its descriptor can be closed after that, and no thread uses it any more."""
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def read(fd: int, offset: int, count: int) -> bytes:
        begun.set()
        go_on.wait(20)
        ended.set()
        return b""

    async def cancelled() -> None:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            await read_at(-1, 0, 10)
        assert ended.is_set()

    scopes: list[anyio.CancelScope] = []
    monkeypatch.setattr(reading, "read_now", read)
    async with anyio.create_task_group() as tg:
        tg.start_soon(cancelled)
        await to_thread.run_sync(begun.wait, 10)
        scopes[0].cancel()
        await anyio.wait_all_tasks_blocked()
        assert not ended.is_set()
        go_on.set()
    assert scopes[0].cancel_called


async def test_an_error_is_that_of_the_read() -> None:
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        await read_at(-1, 0, 10)


@pytest.mark.parametrize(
    ("end", "offset", "count", "expected"),
    [
        (SIZE, 0, SIZE, True),
        (SIZE, 0, SIZE + 1, True),  # behind the end there is nothing to wait for
        (SIZE, SIZE, 10, True),
        (SIZE, 0, 0, True),
        (20_000, 0, 20_000, True),
        (20_000, 0, 20_001, False),
        (20_000, 19_999, 2, False),
        (20_000, 20_000, 1, False),
        (0, 0, 1, False),
        (0, SIZE, 1, True),
    ],
)
@pytest.mark.parametrize("most", [1000, 2**30])
def test_a_span_is_cached_if_all_of_it_is(
    end: int, offset: int, count: int, expected: bool, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_system(monkeypatch, Cache(end, most))
    assert is_cached(0, offset, count) is expected


def test_a_block_takes_one_question(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(SIZE)
    be_system(monkeypatch, cache)
    assert is_cached(0, 0, 256 * 1024)
    assert cache.calls == 1


def test_a_long_span_is_asked_for_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """No call takes more than 1,024 buffers; there is one small one for all."""
    cache = Cache(2**30)
    be_system(monkeypatch, cache)
    monkeypatch.setattr(reading, "_MOST_BUFFERS", 2)
    assert is_cached(0, 0, SIZE)
    assert cache.calls == -(-SIZE // (2 * 16_384))


def test_what_is_on_the_disk_is_no_error_on_this_system(file: int) -> None:
    """Whether a system can be made to forget a file is its own affair."""
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    assert is_cached(file, 0, SIZE) in (True, False)
    assert read_now(file, 0, SIZE) == CONTENT


@pytest.mark.parametrize("most", [1, 999, 262_144])
def test_a_short_read_is_gone_on_with(
    most: int, file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux never gives more than 2 GiB, and a network file system less."""
    original = os.pread

    def pread(fd: int, count: int, offset: int) -> bytes:
        return original(fd, min(count, most), offset)

    monkeypatch.setattr(os, "pread", pread)
    start = SIZE - 5_000
    assert read_now(file, start, 4_321) == CONTENT[start : start + 4_321]
    assert read_now(file, start, 9_999) == CONTENT[start:]


def test_a_system_without_pread_reads_too(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pread")
    assert read_now(file, 250_000, 1_000) == CONTENT[250_000:251_000]
    assert read_now(file, 0, SIZE + 1) == CONTENT
    assert read_now(file, SIZE, 1) == b""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(offset=st.integers(0, SIZE + 9), count=st.integers(0, SIZE + 9), end=st.integers(0, SIZE))
def test_a_span_is_cached_if_it_ends_in_the_cache(offset: int, count: int, end: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        be_system(patch, Cache(end, 50_000))
        expected = min(offset + count, SIZE) <= end or offset >= SIZE or count == 0
        assert is_cached(0, offset, count) is expected
