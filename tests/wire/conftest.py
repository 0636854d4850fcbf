"""One server of each kind for all tests of this directory that do not end it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.wire.servers import KINDS, LEAKS, OURS, USUAL, Server, serving

_numbers = itertools.count()


@pytest.fixture(scope="session", params=KINDS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with serving(request.param, tmp_path_factory.mktemp(request.param)) as running:
        assert running.at_rest["calls"] == (
            1 if running.kind == "daphne" else 2
        )  # the lifespan's, if there is one, and this one
        yield running
        status = running.stop() if running.kind in USUAL else 0
        assert status == 0 or running.kind not in OURS, running.log()
        assert not LEAKS.search(running.log()) or running.kind not in USUAL


@pytest.fixture
def key() -> str:
    """Give a name under which nothing was recorded yet."""
    return f"k{next(_numbers)}"
