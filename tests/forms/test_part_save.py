"""`await part.save(path)`: to a file while it arrives, whole or not at all."""

from __future__ import annotations

import errno
import random
import subprocess
import sys
import textwrap
import threading
from collections.abc import Generator
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from nardis import HTTPError, Limits
from nardis.errors import BodyAlreadyRead
from nardis.forms import Parts
from tests.files.disks import fail_writes, hold_writes, open_below
from tests.forms.bodies import CONTENT_TYPE, Canceller, Field, Script, cut, encoded

pytestmark = pytest.mark.anyio

# More than one block of 512 KiB: some of it is on the disk before the end.
LARGE = bytes(range(256)) * 2500
FORM = (Field("a", LARGE, "../../a"), Field("b", b"2", "b"))


@pytest.fixture
def folder(tmp_path: Path) -> Generator[Path, None, None]:
    """Return an empty folder; check that nothing is left open in it."""
    yield tmp_path
    assert open_below(tmp_path) == []


def contents(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def parts_of(*pieces: bytes, limits: Limits | None = None) -> Parts:
    return Parts(Script(pieces), CONTENT_TYPE, limits or Limits())


async def save_all(parts: Parts, folder: Path) -> list[int]:
    return [await part.save(folder / part.name) async for part in parts]


async def test_parts_are_saved_where_the_application_says(folder: Path) -> None:
    """The client's name is none of the names that are written."""
    sizes = await save_all(parts_of(*cut(encoded(*FORM), 65536)), folder)

    assert sizes == [len(LARGE), 1]
    assert contents(folder) == {"a": LARGE, "b": b"2"}


async def test_an_empty_part_is_an_empty_file(folder: Path) -> None:
    assert await save_all(parts_of(encoded(Field("a", b"", "a"))), folder) == [0]
    assert contents(folder) == {"a": b""}


async def test_a_part_is_not_there_before_all_of_it_is(folder: Path) -> None:
    seen: list[dict[str, bytes]] = []

    async def look() -> None:
        seen.append(contents(folder))

    script = Script(cut(encoded(FORM[0]), 65536), look)
    await save_all(Parts(script, CONTENT_TYPE, Limits()), folder)

    assert seen[:-1] == [{}] * (len(seen) - 1)
    assert len(seen) > 10


async def test_what_cannot_be_saved_does_not_stop_the_form(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler may answer 507, or go on with the next part."""
    parts = parts_of(*cut(encoded(*FORM), 65536))
    with monkeypatch.context() as patch:
        fail_writes(patch, 1)
        with pytest.raises(OSError, match="No space left") as caught:
            await (await anext(parts)).save(folder / "a")
    assert caught.value.errno == errno.ENOSPC

    part = await anext(parts)
    with pytest.raises(FileNotFoundError):
        await part.save(folder / "missing" / "b")
    assert contents(folder) == {}
    assert await anext(parts, None) is None


async def test_a_part_that_is_too_large_leaves_nothing_behind(folder: Path) -> None:
    parts = parts_of(*cut(encoded(*FORM), 65536), limits=Limits(file_bytes=len(LARGE) - 1))

    with pytest.raises(HTTPError) as caught:
        await save_all(parts, folder)
    assert (caught.value.status, contents(folder)) == (413, {})


async def test_a_hundred_uploads_that_are_cut_leave_no_part_of_a_file(folder: Path) -> None:
    body = encoded(FORM[0], Field("b", LARGE, "b"), epilogue=b"")
    places = random.Random(7)
    wholes = 0

    for _ in range(100):
        end = places.randrange(len(body))
        with pytest.raises(HTTPError, match="cut short"):
            await save_all(parts_of(*cut(body[:end], 65536)), folder)

        assert contents(folder) in ({}, {"a": LARGE})
        assert open_below(folder) == []
        wholes += len(contents(folder))
        (folder / "a").unlink(missing_ok=True)
    assert 20 < wholes < 80


@pytest.mark.parametrize("late", [False, True])
async def test_a_cancelled_save_leaves_nothing_behind(folder: Path, late: bool) -> None:
    """Wherever it is cancelled; the part is spent, the next one can be read."""
    pieces = cut(encoded(*FORM), 65536)
    for turn in range(1, len(pieces) - 1):
        canceller = Canceller(turn, late=late)
        parts = Parts(Script(pieces, canceller.wait), CONTENT_TYPE, Limits())
        part = await anext(parts)
        with canceller.scope:
            await part.save(folder / "a")

        assert canceller.scope.cancelled_caught
        assert contents(folder) == {}
        assert open_below(folder) == []
        with pytest.raises(BodyAlreadyRead):
            await part.save(folder / "a")
        assert await (await anext(parts)).bytes() == b"2"


async def test_a_save_whose_part_was_dropped_meanwhile_does_not_look_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another task asks for the next part while a block is written."""
    writing, go = threading.Event(), threading.Event()

    def hold() -> None:
        writing.set()
        go.wait(20)

    parts = parts_of(*cut(encoded(*FORM), 65536))
    part = await anext(parts)
    hold_writes(monkeypatch, hold)
    errors: list[BodyAlreadyRead] = []

    async def save() -> None:
        with pytest.raises(BodyAlreadyRead) as caught:
            await part.save(folder / "a")
        errors.append(caught.value)

    async with anyio.create_task_group() as group:
        group.start_soon(save)
        await to_thread.run_sync(writing.wait)
        assert await (await anext(parts)).bytes() == b"2"
        go.set()

    assert (len(errors), contents(folder)) == (1, {})


def test_a_killed_upload_leaves_nothing_behind(folder: Path) -> None:
    program = textwrap.dedent("""
        import sys

        import anyio

        from nardis import Limits
        from nardis.forms import Parts
        from tests.forms.bodies import CONTENT_TYPE, Field, Script, cut, encoded

        async def main():
            body = encoded(Field("a", bytes(2**21), "a"))
            waits = len(body) // 65536

            async def wait():
                nonlocal waits
                waits -= 1
                if not waits:
                    print("nearly all", flush=True)
                    await anyio.sleep_forever()

            async for part in Parts(Script(cut(body, 65536), wait), CONTENT_TYPE, Limits()):
                await part.save(sys.argv[1])

        anyio.run(main)
    """)
    command = [sys.executable, "-c", program, str(folder / "a")]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"nearly all\n"
        process.kill()

    assert contents(folder) == {}
