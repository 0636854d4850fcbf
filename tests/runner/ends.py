"""The two ends of a connection, ours as a stream, and what a client and tasks do with them."""

import socket
import struct
import time
from contextlib import asynccontextmanager
from functools import partial

import anyio
import pytest

from nardis.server.arrivals import arrivals
from nardis.server.asyncio_worker import AsyncioStream
from nardis.server.stream import READ_BYTES
from nardis.server.trio_worker import TrioStream
from tests.conftest import BACKENDS

# The streams of each event loop.
STREAMS = {"asyncio": AsyncioStream, "trio": TrioStream}

# On trio a client is waited for by itself where there are few of them, and else together with the
# others.
TOGETHER = ("trio", {})


@pytest.fixture(params=[*BACKENDS, pytest.param(TOGETHER, id="trio-together")])
def waiting_either_way(request):
    """Stand for `anyio_backend` in a module of tests: each is run together with others, too."""
    return request.param


@asynccontextmanager
async def streams(backend):
    """Give a function that makes a stream of a socket."""
    if backend is not TOGETHER:
        yield STREAMS[backend[0]]
        return
    with arrivals(lambda: True) as together:
        async with anyio.create_task_group() as group:
            group.start_soon(together.run)
            yield partial(TrioStream, together=together)
            group.cancel_scope.cancel()


unix = socket.socketpair


def tcp():
    """Return the two ends of a TCP connection, the accepted one first."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen()
        client = socket.create_connection(door.getsockname())
        return door.accept()[0], client


async def take(client, size):
    """Read *size* bytes at the client's end, or all to the end."""
    taken = bytearray()
    while len(taken) < size:
        await anyio.wait_readable(client)
        piece = client.recv(min(READ_BYTES, size - len(taken)))
        if not piece:
            break
        taken += piece
    return bytes(taken)


def reset(client):
    """Leave as a client does that crashes."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


# A window that has less room than a segment gets a part of one after 200 ms: RFC 9293 §3.8.6.2.1.
PART_S = 0.3


def fill(stream):
    """Send zeros until there is no room, and TCP has made none by itself; return how many."""
    count, full_at = 0, None
    while full_at is None or time.monotonic() - full_at < PART_S:
        try:
            count += stream.socket.send(bytes(4096))
            full_at = None
        except BlockingIOError:
            if stream.socket.family == socket.AF_UNIX:
                break
            full_at = full_at or time.monotonic()
            time.sleep(0.01)
    return count


async def wake(stream):
    """Wake *stream* in the next turn of the event loop, where a task is started."""
    stream.wake()


@asynccontextmanager
async def meanwhile(*coroutines):
    """Let coroutines run until they wait, and end behind the block; give their results."""
    told = []

    async def run(coroutine):
        told.append(await coroutine)

    async with anyio.create_task_group() as group:
        for coroutine in coroutines:
            group.start_soon(run, coroutine)
            await anyio.wait_all_tasks_blocked()
        yield told


async def cancelled(function, *args):
    """Call a function, and cancel that when it waits."""
    async with anyio.create_task_group() as group:
        group.start_soon(function, *args)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
