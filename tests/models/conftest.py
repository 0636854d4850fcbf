"""What the tests of the models share."""

from __future__ import annotations

import sys

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
