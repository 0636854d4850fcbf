"""What the system is told to read ahead, for a file that it sends by itself."""

from __future__ import annotations

import os

import pytest

from nardis._files import reading
from nardis._files.reading import TOUCHED_BYTES, fetch, seems_cached


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(bytes(5 * TOUCHED_BYTES + 1))
    with path.open("rb") as opened:
        yield opened.fileno()


def test_a_byte_in_so_many_is_read(file, monkeypatch):
    """The system brings those between."""
    read = []
    monkeypatch.setattr(reading, "_pread", lambda fd, at, count: read.append((fd, at, count)))
    fetch(file, 10, 2 * TOUCHED_BYTES + 1)

    assert read == [(file, 10 + n * TOUCHED_BYTES, 1) for n in range(3)]


def test_it_is_announced_where_the_system_takes_that(file, monkeypatch):
    told = []
    monkeypatch.setattr(os, "posix_fadvise", lambda *args: told.append(args), raising=False)
    monkeypatch.setattr(os, "POSIX_FADV_WILLNEED", 3, raising=False)
    fetch(file, 10, 20)

    assert told == [(file, 10, 20, 3)]
    monkeypatch.delattr(os, "posix_fadvise")
    fetch(file, 10, 20)  # what is behind the end is nothing
    fetch(file, 10**9, 20)


def test_a_guess_looks_at_the_last_byte(file, monkeypatch):
    asked = []
    monkeypatch.setattr(reading, "is_cached", lambda *extent: bool(asked.append(extent)))

    assert not seems_cached(file, 100, 50)
    assert asked == [(file, 149, 1)]
