"""What the tests of the models share."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest


@pytest.fixture
def no_msgspec(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the standard library alone, as if msgspec was not installed."""
    monkeypatch.setitem(sys.modules, "msgspec", None)


@pytest.fixture(params=["msgspec", "alone"])
def either_way(request: pytest.FixtureRequest) -> None:
    """Run a test with msgspec, and without."""
    if request.param == "alone":
        request.getfixturevalue("no_msgspec")


@pytest.fixture
def count_calls() -> Callable[..., int]:
    """Count the calls, of Python and of C functions, that a call makes: work, without a clock."""

    def count(function: Callable[..., object], *args: object) -> int:
        calls = 0

        def profile(frame: FrameType, event: str, arg: Any) -> None:
            nonlocal calls
            # What a profile function does is not traced.
            calls += event in ("call", "c_call")  # pragma: no cover

        before = sys.getprofile()
        gc.disable()  # what it finds has finalizers, whose calls are not the function's
        sys.setprofile(profile)
        try:
            function(*args)
        finally:
            sys.setprofile(before)
            gc.enable()
        return calls

    return count
