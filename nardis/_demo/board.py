"""What handlers report while they run: to the page that asked for them, and to the terminal."""

from __future__ import annotations

import time
from typing import Any, Final

from ..request import Request

__all__ = ["Board", "Teller", "board_of", "to_page"]

# A board is a few hundred bytes, and every visit makes one.
MOST_BOARDS: Final = 100
MOST_LINES: Final = 30


class Board:
    """
    What one page is to know.

    Attributes:
        facts: By the first word of the path: what the newest request for it tells. Under `log`, the
            last lines of all.
        version: Grows with every change.
    """

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {"log": []}
        self.version: int = 0
        self.lines: int = 0

    def log(self, line: str) -> None:
        """Add a line, and forget the oldest one."""
        self.lines += 1
        self.facts["log"] = [*self.facts["log"], {"number": self.lines, "line": line}][-MOST_LINES:]
        self.version += 1
        print(line, flush=True)  # noqa: T201


class Teller:
    """Reports to the page for one request; a newer one of the same kind replaces it there."""

    def __init__(self, board: Board, kind: str, client: str) -> None:
        self._board = board
        self._kind = kind
        self._since = time.monotonic()
        self._facts: dict[str, Any] = {"client": client}
        board.facts[kind] = self._facts
        board.version += 1

    def __call__(self, **facts: object) -> None:
        """Tell how things are now."""
        self._facts.update(facts)
        self._board.version += 1

    def log(self, text: str) -> None:
        """Tell what happened, in a line of the log."""
        self._board.log(f"{time.monotonic() - self._since:6.2f} s  /{self._kind}  {text}")

    def end(self, how: str) -> None:
        """Tell how the handler ended."""
        self(ended=how)
        self.log(f"ended: {how}")


def board_of(req: Request) -> Board:
    """Find the board of the page that the path names; the oldest one makes room for a new one."""
    boards: dict[str, Board] = req.app.state.boards
    page = req.params["page"]
    if page not in boards:
        boards[page] = Board()
        for oldest in list(boards)[:-MOST_BOARDS]:
            del boards[oldest]
    return boards[page]


def to_page(req: Request) -> Teller:
    """Begin to tell the page of *req*."""
    return Teller(
        board_of(req), req.path.split("/")[1], req.get("user-agent", "").partition("/")[0]
    )
