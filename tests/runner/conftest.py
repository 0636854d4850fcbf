"""The two ends of a connection, for all tests of streams."""

import pytest

from tests.runner.ends import streams, unix


@pytest.fixture
async def connect(anyio_backend):
    """Return a function that makes a stream of this event loop, and the client's end."""
    ends = []

    def connect(sockets=unix):
        ours, client = sockets()
        ours.setblocking(False)
        client.settimeout(20)
        ends.extend([client, stream := make(ours)])
        return stream, client

    async with streams(anyio_backend) as make:
        yield connect
        for end in ends:
            end.close()
