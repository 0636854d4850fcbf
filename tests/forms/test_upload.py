"""`form.files[name]`: a file that was gathered, in memory or on the disk."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest

from nardis import Limits, UsageError
from nardis._files.spooling import Stored
from nardis.forms import FormData, Upload, read_form
from tests.files.disks import fail_writes, open_below
from tests.forms.bodies import CONTENT_TYPE, Field, Script, encoded

pytestmark = pytest.mark.anyio

CONTENT = bytes(range(256)) * 4000


@pytest.fixture(params=[0, 2**30], ids=["on the disk", "in memory"])
async def form(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[FormData, None]:
    """Return a form with a file; check that nothing is left open."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    body = encoded(Field("first", b"of all", "1"), Field("file", CONTENT, "../a.bin", "image/png"))
    limits = Limits(spool_bytes=request.param)
    form = await read_form(Script([body]), CONTENT_TYPE, limits)
    yield form
    await form.close()
    assert open_below(tmp_path) == []


async def test_an_upload_tells_what_was_sent(form: FormData) -> None:
    upload = form.files["file"]

    assert (upload.filename, upload.content_type) == ("../a.bin", "image/png")
    assert upload.size == len(CONTENT)
    assert upload.headers["Content-Type"] == "image/png"


async def test_read_goes_on_where_it_was(form: FormData) -> None:
    upload = form.files["file"]

    assert (await upload.read(3), await upload.read(0), await upload.read(2)) == (
        CONTENT[:3],
        b"",
        CONTENT[3:5],
    )
    assert await upload.read() == CONTENT[5:]
    assert (await upload.read(), await upload.read(9)) == (b"", b"")


@pytest.mark.parametrize(
    ("offset", "n", "expected"),
    [
        (0, -1, CONTENT),
        (5, 3, CONTENT[5:8]),
        (-5, 3, CONTENT[:3]),
        (len(CONTENT) - 1, 9, CONTENT[-1:]),
        (len(CONTENT) + 9, 9, b""),
        (len(CONTENT) + 9, -1, b""),
    ],
)
async def test_seek_moves_what_is_read_next(
    form: FormData, offset: int, n: int, expected: bytes
) -> None:
    upload = form.files["file"]
    await upload.read(100)
    upload.seek(offset)

    assert await upload.read(n) == expected


async def test_iteration_and_save_take_all_of_it_wherever_one_has_read(
    form: FormData, tmp_path: Path
) -> None:
    upload = form.files["file"]
    await upload.read(100)

    for _ in range(2):
        assert b"".join([chunk async for chunk in upload]) == CONTENT
        assert await upload.save(tmp_path / "saved") == len(CONTENT)
        assert (tmp_path / "saved").read_bytes() == CONTENT
    assert await upload.read(1) == CONTENT[100:101]


async def test_several_tasks_may_use_it(form: FormData, tmp_path: Path) -> None:
    upload = form.files["file"]
    wholes: list[bytes] = []

    async def gather() -> None:
        wholes.append(b"".join([chunk async for chunk in upload]))

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(gather)
            group.start_soon(upload.save, tmp_path / str(number))

    assert wholes == [CONTENT] * 5
    assert {(tmp_path / str(number)).read_bytes() for number in range(5)} == {CONTENT}


async def test_several_tasks_that_read_it_share_its_bytes(form: FormData) -> None:
    """None comes twice, and none is lost: also when one of them is cancelled."""
    upload = form.files["file"]
    pieces: list[bytes] = []

    async def read() -> None:
        while piece := await upload.read(10_000):
            pieces.append(piece)

    async with anyio.create_task_group() as group:
        for task in (read,) * 5:
            group.start_soon(task)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await read()

    assert sum(map(len, pieces)) == len(CONTENT)
    assert b"".join(sorted(pieces)) == b"".join(
        sorted(CONTENT[at : at + 10_000] for at in range(0, len(CONTENT), 10_000))
    )


async def test_seek_holds_also_when_a_read_is_under_way(
    form: FormData, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = form.files["file"]
    read, go = Stored.read, anyio.Event()

    async def slow(self: Stored, offset: int, count: int) -> bytes:
        await go.wait()
        return await read(self, offset, count)

    monkeypatch.setattr(Stored, "read", slow)
    async with anyio.create_task_group() as group:
        group.start_soon(upload.read, 10)
        await anyio.wait_all_tasks_blocked()
        upload.seek(500)
        go.set()

    assert await upload.read(3) == CONTENT[500:503]


async def test_a_save_that_fails_leaves_nothing_behind(
    form: FormData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail_writes(patch, 0)
        with pytest.raises(OSError, match="No space left"):
            await form.files["file"].save(tmp_path / "saved")
    with pytest.raises(IsADirectoryError):
        await form.files["file"].save(tmp_path)

    assert [each.name for each in tmp_path.iterdir()] == ["temporary"]  # noqa: ASYNC240
    assert await form.files["file"].save(tmp_path / "saved") == len(CONTENT)


async def test_a_cancelled_save_leaves_nothing_behind(form: FormData, tmp_path: Path) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await form.files["file"].save(tmp_path / "saved")

    assert scope.cancelled_caught
    assert not (tmp_path / "saved").exists()


async def test_nothing_is_left_of_it_when_the_request_has_ended(
    form: FormData, tmp_path: Path
) -> None:
    upload: Upload = form.files["file"]
    await form.close()

    with pytest.raises(UsageError, match="save"):
        await upload.read(1)
    with pytest.raises(UsageError):
        await anext(aiter(upload))
    with pytest.raises(UsageError):
        await upload.save(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
