"""The two ends of a connection, for all tests of streams."""

import pytest

from tests.runner.ends import STREAMS, unix


@pytest.fixture
async def connect(anyio_backend_name):
    """Return a function that makes a stream of this event loop, and the client's end."""
    ends = []

    def connect(sockets=unix):
        ours, client = sockets()
        ours.setblocking(False)
        client.settimeout(20)
        ends.extend([client, stream := STREAMS[anyio_backend_name](ours)])
        return stream, client

    yield connect
    for end in ends:
        end.close()
