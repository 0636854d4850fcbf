"""The target `ndjson` notices what a splitter of lines might do wrong, by its seeds alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nardis._http.lines import LineSplitter
from tests.fuzz.test_faults import is_noticed


class EachLineFeedIsAnEndAndNothingElse(LineSplitter):
    def feed(self, data: bytes) -> Iterator[bytes]:
        return super().feed(data.replace(b"\r\n", b"\r\r\n"))


class AnEndIsNotCut(LineSplitter):
    def feed(self, data: bytes) -> Iterator[bytes]:
        return super().feed(data.replace(b"\r", b"") if data == b"\r" else data)


class OtherBlanksEndLines(LineSplitter):
    def feed(self, data: bytes) -> Iterator[bytes]:
        return super().feed(data.replace(b"\x0b", b"\n"))


class LinesHaveNoLimit(LineSplitter):
    def __init__(self, most: int) -> None:
        super().__init__(10**9)


class EndsAreCounted(LineSplitter):
    def __init__(self, most: int) -> None:
        super().__init__(most - 1)


class TheLastLineNeedsAnEnd(LineSplitter):
    def finish(self) -> bytes | None:
        super().finish()
        return None


class EmptyLinesAreLost(LineSplitter):
    def feed(self, data: bytes) -> Iterator[bytes]:
        return filter(None, super().feed(data))


@pytest.mark.parametrize("wrong", LineSplitter.__subclasses__())
def test_a_wrong_splitter_is_noticed(
    wrong: type[LineSplitter], monkeypatch: pytest.MonkeyPatch
) -> None:
    is_noticed(monkeypatch, "ndjson", "nardis._http.lines.LineSplitter", wrong)
