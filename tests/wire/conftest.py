"""The servers that tests share: one of each kind and options, for all tests that do not end it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache

import pytest

from tests.wire.servers import KINDS, TARGET, Server, Sharing, serving_to_the_end

_numbers = itertools.count()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sharing]:
    """Start a server when it is asked for first; all of them end with the session."""
    with ExitStack() as stack:

        @cache
        def server(kind: str, *options: str, target: str = TARGET) -> Server:
            directory = tmp_path_factory.mktemp(kind)
            return stack.enter_context(serving_to_the_end(kind, directory, *options, target=target))

        yield server


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, shared: Sharing) -> Server:
    """A server with the application of `app.py`, and with its defaults."""
    running = shared(request.param)
    # The lifespan's call, if there is one, and this one.
    assert running.at_rest["calls"] == (1 if running.kind == "daphne" else 2)
    return running


@pytest.fixture
def key() -> str:
    """Return a name under which nothing was recorded yet."""
    return f"k{next(_numbers)}"
