"""What every test shares: the three event loops, and how hypothesis looks for counterexamples."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import settings

# A shared machine is slow now and then, which is no finding: no deadline for an example. CI looks
# at the same examples each time.
settings.register_profile("nardis", deadline=None)
settings.register_profile(
    "nardis-ci",
    settings.get_profile("nardis"),
    derandomize=True,
    database=None,
    print_blob=True,
    max_examples=60,
)
# It has looked at all of them on the Python that it measures; a few are for the others.
settings.register_profile("nardis-again", settings.get_profile("nardis-ci"), max_examples=20)
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
IS_MEASURED = os.environ.get("NARDIS_COVERAGE", THIS_PYTHON) == THIS_PYTHON
PROFILE = "nardis" if "CI" not in os.environ else "nardis-ci" if IS_MEASURED else "nardis-again"
settings.load_profile(PROFILE)

# Nor is a step that asyncio's debug mode finds slow: tests that look at what was logged would
# stumble over it.
logging.getLogger("asyncio").addFilter(
    lambda record: not str(record.msg).startswith("Executing %s took")
)


# Where uvloop itself is at work; elsewhere it only runs tasks, as asyncio does.
OVER_SOCKETS = frozenset({"chaos", "runner", "wire"})


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On the Pythons that CI does not measure, leave uvloop to the tests over sockets."""
    repeated = [
        item
        for item in items
        if PROFILE == "nardis-again"
        and "uvloop" in item.name
        and OVER_SOCKETS.isdisjoint(item.path.parts)
    ]
    config.hook.pytest_deselected(items=repeated)
    left = set(items).difference(repeated)
    items[:] = [item for item in items if item in left]


def pytest_collection_finish() -> None:
    """
    Take what was imported and collected away from the garbage collector.

    To look at all of it takes half a second, and the tests that ask what is left over do it often.
    """
    gc.collect()
    gc.freeze()


BACKENDS = (
    # Debug mode doubles the time of a test; what it finds it finds on one Python.
    pytest.param(("asyncio", {"debug": PROFILE != "nardis-again"}), id="asyncio"),
    pytest.param(
        ("asyncio", {"use_uvloop": True}),
        id="uvloop",
        marks=pytest.mark.skipif(sys.platform == "win32", reason="there is no uvloop for Windows"),
    ),
    pytest.param(("trio", {}), id="trio"),
)


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run a test marked `anyio` on asyncio in debug mode, on asyncio with uvloop, and on trio."""
    return request.param


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
