"""`Spool`: the files of a form, in memory while that is little, else in one file without a name."""

from __future__ import annotations

import errno
import gc
import os
import tempfile
import threading
import warnings
from collections.abc import Generator
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from nardis import UsageError
from nardis._files.saving import BLOCK_BYTES, close_in_thread
from nardis._files.spooling import CHUNK_BYTES, Chunks, Spool, Stored
from tests.files.disks import count_writes, fail_writes, hold_writes, open_below

pytestmark = pytest.mark.anyio


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path, None, None]:
    """Return the folder of temporary files; check that nothing is left in it, and nothing open."""
    path = tmp_path / "temporary"
    path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    yield path
    assert open_below(path) == []
    assert os.listdir(path) == []


async def store(spool: Spool, content: bytes, size: int = 64 * 1024) -> Stored:
    """Let *spool* keep a file that comes in pieces of *size* bytes."""
    for start in range(0, len(content), size):
        if spool.add(content[start : start + size]):
            await spool.flush()
    return await spool.seal()


def some(size: int, seed: int = 0) -> bytes:
    """Return bytes that show where they come from."""
    pattern = bytes((seed + number) % 251 for number in range(251))
    return (pattern * (size // 251 + 1))[:size]


# --- in memory, on the disk -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "on_disk"),
    [
        ([100], [False]),
        ([101], [True]),
        ([0, 60, 40, 0], [False, False, False, False]),
        ([60, 41, 40, 1], [False, True, False, True]),
        ([200, 100], [True, False]),
    ],
)
async def test_files_stay_in_memory_up_to_a_size_of_all_of_them_together(
    folder: Path, sizes: list[int], on_disk: list[bool]
) -> None:
    spool = Spool(100)
    files = [await store(spool, some(size, size), 7) for size in sizes]

    assert [stored.data is None for stored in files] == on_disk
    assert [stored.size for stored in files] == sizes
    assert [await stored.read(0, 1000) for stored in files] == [some(size, size) for size in sizes]
    await close_in_thread(spool)


@pytest.mark.parametrize("most", [0, 1000])
async def test_empty_files_cost_nothing(folder: Path, most: int) -> None:
    """A thousand of them have been a way to use up all descriptors (CVE-2022-41725)."""
    spool = Spool(most)
    files = [await store(spool, b"") for _ in range(1001)]

    assert {stored.size for stored in files} == {0}
    assert not spool.opened
    spool.close()


async def test_all_files_share_one_temporary_file(folder: Path) -> None:
    """It has no name, and one descriptor is all that it takes."""
    spool = Spool(0)
    files = [await store(spool, some(3000, seed)) for seed in range(100)]

    assert (spool.opened, len(open_below(folder))) == (True, 1)
    assert os.listdir(folder) == []
    assert [await stored.read(0, 9999) for stored in files] == [
        some(3000, seed) for seed in range(100)
    ]
    spool.close()


async def test_pieces_are_gathered_into_blocks(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for the disk is a block at most, and what stays in memory."""
    sizes = count_writes(monkeypatch)
    spool = Spool(1024 * 1024)

    await store(spool, bytes(3 * 1024 * 1024))

    assert sizes == [1024 * 1024 + 64 * 1024, *[BLOCK_BYTES] * 3, 448 * 1024]
    spool.close()


# --- read -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [0, 100_000])
@pytest.mark.parametrize("system", ["this one", "short reads", "no pread"])
async def test_any_stretch_can_be_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch, most: int, system: str
) -> None:
    pread = os.pread

    def short(file: int, count: int, offset: int) -> bytes:
        return pread(file, min(count, 1000), offset)

    if system == "short reads":
        monkeypatch.setattr(os, "pread", short)
    elif system == "no pread":
        monkeypatch.delattr(os, "pread")
    spool, content = Spool(most), some(5000)
    files = [await store(spool, content), await store(spool, some(5000, 1))]

    for offset, count in [(0, 5000), (0, 0), (17, 1), (4999, 9), (5000, 9), (9999, 9), (1, 4998)]:
        assert await files[0].read(offset, count) == content[offset : offset + count]
    spool.close()


@pytest.mark.parametrize("most", [0, 10_000_000])
async def test_chunks_begin_at_the_beginning_each_time(folder: Path, most: int) -> None:
    spool, content = Spool(most), some(CHUNK_BYTES * 2 + 1)
    stored = await store(spool, content)

    for _ in range(2):
        chunks = [chunk async for chunk in Chunks(stored)]
        assert [len(chunk) for chunk in chunks] == [CHUNK_BYTES, CHUNK_BYTES, 1]
        assert b"".join(chunks) == content
    spool.close()


@pytest.mark.parametrize("most", [0, 10_000_000])
@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES, BLOCK_BYTES * 2 + 7])
async def test_a_file_is_saved_whole(folder: Path, tmp_path: Path, most: int, size: int) -> None:
    spool = Spool(most)
    files = [await store(spool, some(size, seed)) for seed in (1, 2)]

    for seed, stored in enumerate(files, 1):
        assert await stored.save(tmp_path / "saved") == size
        assert (tmp_path / "saved").read_bytes() == some(size, seed)
    spool.close()


@pytest.mark.parametrize("most", [0, 100])
async def test_what_was_closed_cannot_be_read_or_saved(
    folder: Path, tmp_path: Path, most: int
) -> None:
    """Be it in memory or not: an application must not come to rely on one of them."""
    spool = Spool(most)
    stored = await store(spool, b"content")
    for _ in range(2):
        await close_in_thread(spool)

        with pytest.raises(UsageError, match="gone when the request has ended: save"):
            await stored.read(0, 1)
        with pytest.raises(UsageError):
            await stored.save(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize("in_circle", [False, True])
async def test_a_spool_that_nobody_closed_closes_itself_quietly(
    folder: Path, in_circle: bool
) -> None:
    """When nobody has it any more, be it by the garbage collector."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        kept: list[object] = [await store(Spool(0), b"content")]
        if in_circle:
            kept.append(kept)
        assert len(open_below(folder)) == 1
        del kept
        gc.collect()

    assert open_below(folder) == []
    assert told == []


async def test_a_spool_stays_open_as_long_as_somebody_has_a_file_of_it(folder: Path) -> None:
    stored = await store(Spool(0), b"content")
    gc.collect()

    assert await stored.read(0, 7) == b"content"
    stored.spool.close()


# --- failures -------------------------------------------------------------------------------------


async def test_a_full_disk_is_an_error_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_writes(monkeypatch, 1)
    spool = Spool(0)

    with pytest.raises(OSError, match="No space left") as caught:
        await store(spool, bytes(BLOCK_BYTES * 2))
    assert caught.value.errno == errno.ENOSPC
    spool.close()


async def test_a_copy_that_fails_leaves_nothing_behind(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(0)
    stored = await store(spool, bytes(BLOCK_BYTES * 2))
    fail_writes(monkeypatch, 1)

    with pytest.raises(OSError, match="No space left"):
        await stored.save(tmp_path / "saved")
    assert os.listdir(tmp_path) == ["temporary"]
    spool.close()


async def test_a_spool_is_closed_under_a_thread_when_that_is_done(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for it, and the thread does not write to what is another file by then."""
    writing, go = threading.Event(), threading.Event()

    def hold() -> None:
        writing.set()
        go.wait(20)

    hold_writes(monkeypatch, hold)
    spool = Spool(0)
    async with anyio.create_task_group() as group:
        group.start_soon(store, spool, b"content")
        await to_thread.run_sync(writing.wait)
        spool.close()
        assert len(open_below(folder)) == 1
        go.set()

    assert open_below(folder) == []


async def test_what_was_closed_before_it_was_opened_stays_closed(folder: Path) -> None:
    """A thread that comes late must not open a file that nobody closes."""
    spool = Spool(0)
    spool.add(b"content")
    spool.close()

    with pytest.raises(UsageError):
        await spool.flush()
    assert not spool.opened
