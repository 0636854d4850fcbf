"""Whose turn it is to write: one at a time, in the order of the calls."""

from __future__ import annotations

from .._turns import TakesTurns

__all__ = ["Turns"]


class Turns(TakesTurns):
    """What several tasks write to."""

    __slots__ = ("_busy", "_turns")
