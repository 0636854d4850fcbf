"""
The servers of a contract: the same scenario on our server, which passes, and on stock hypercorn.

When a test of the stock server fails, hypercorn has been cured itself, and the module that the
message names can go.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wire.cures.stock import TARGET, stock
from tests.wire.servers import OURS, Server, Sharing


@pytest.fixture(params=OURS)
def server(request: pytest.FixtureRequest, shared: Sharing) -> Server:
    """Our server, with its defaults."""
    return shared(request.param, target=TARGET)


@pytest.fixture(params=OURS)
def strict(request: pytest.FixtureRequest, shared: Sharing) -> Server:
    """Our server, without HTTP/2 and with little patience."""
    return shared(request.param, "--no-http2", "--write-stall", "0.5", target=TARGET)


@pytest.fixture(scope="session")
def stock_trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests that it survives."""
    with stock("trio", tmp_path_factory.mktemp("trio")) as running:
        yield running


@pytest.fixture
def doomed(tmp_path: Path) -> Iterator[Server]:
    """One for a test that it does not survive, or not without harm."""
    with stock("trio", tmp_path) as running:
        yield running
