"""
What a child of `os.fork` must not keep of a server: its sockets, and what it does at a signal.

Programs that are started (`subprocess`) get neither. A child that goes on in Python,
multiprocessing's "fork" for instance, has all that its parent has: it would hold the door open, and
stop the server by a signal that was meant for itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

__all__ = ["undone_in_children"]

_undoing: list[Callable[[], object]] = []


@contextmanager
def undone_in_children(undo: Callable[[], object]) -> Generator[None, None, None]:
    """Call *undo* first in each child that is forked within the block."""
    _undoing.append(undo)
    try:
        yield
    finally:
        with suppress(ValueError):  # in a child it was called, and forgotten
            _undoing.remove(undo)


def _undo_all() -> None:
    while _undoing:
        _undoing.pop()()


if hasattr(os, "register_at_fork"):  # pragma: no branch  # Windows has none
    os.register_at_fork(after_in_child=_undo_all)
