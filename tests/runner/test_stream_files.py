"""A part of a file, sent by the system, on each event loop."""

import errno
import os
import socket

import anyio
import pytest

from nardis.server import stream as module
from tests.runner.ends import fill, meanwhile, take, tcp, unix, waiting_either_way

pytestmark = pytest.mark.anyio

anyio_backend = waiting_either_way

over_both = pytest.mark.parametrize("sockets", [unix, tcp], ids=["unix", "tcp"])

# More than a socket takes at once.
LARGE = b"".join(number.to_bytes(4, "big") for number in range(2_000_000))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "large.bin"
    path.write_bytes(LARGE)
    with path.open("rb") as opened:
        yield opened


@over_both
async def test_all_of_it_arrives_between_what_stands_around_it(connect, file, sockets):
    stream, client = connect(sockets)
    async with meanwhile(
        stream.send_file(b"head", file.fileno(), 4, len(LARGE) - 8, b"end")
    ) as told:
        assert stream.writing > 0
        assert await take(client, len(LARGE) - 1) == b"head" + LARGE[4:-4] + b"end"

    assert (told, stream.writing, stream.sent) == ([True], 0.0, len(LARGE) - 1)


async def test_nothing_of_a_file_is_sent_where_nothing_is_asked_for(connect, file):
    stream, client = connect()

    assert await stream.send_file(b"head", file.fileno(), 0, 0, b"")
    assert await stream.send_file(b"", file.fileno(), 0, 2, b"")
    assert await take(client, 6) == b"head" + LARGE[:2]


@over_both
async def test_files_and_bytes_go_out_in_the_order_of_the_calls(connect, file, sockets):
    stream, client = connect(sockets)
    number, size = file.fileno(), len(LARGE)
    calls = [
        stream.send_file(b"a", number, 0, size, b"b"),
        stream.write(b"c"),
        stream.send_file(b"d", number, 0, 4, b"e"),
        stream.write(b"f"),
    ]
    async with meanwhile(*calls) as told:
        sent = await take(client, size + 10)

    assert sent == b"a" + LARGE + b"b" + b"c" + b"d" + LARGE[:4] + b"e" + b"f"
    assert told == [True] * 4


async def test_a_head_waits_for_room(connect, file):
    stream, client = connect()
    head = bytes(LARGE[:3_000_000])
    async with meanwhile(stream.send_file(head, file.fileno(), 0, 4, b"end")) as told:
        assert await take(client, len(head) + 7) == head + LARGE[:4] + b"end"

    assert told == [True]


async def test_a_head_for_which_there_is_no_room_at_all_waits(connect, file):
    stream, client = connect()
    filled = fill(stream)
    async with meanwhile(stream.send_file(b"head", file.fileno(), 0, 4, b"")):
        assert (await take(client, filled + 8))[filled:] == b"head" + LARGE[:4]


async def test_a_file_that_shrank_is_an_error(connect, file):
    stream, _ = connect()
    with pytest.raises(EOFError):
        await stream.send_file(b"head", file.fileno(), len(LARGE), 4, b"")


@pytest.mark.parametrize("cached", [True, False])
async def test_what_is_not_in_memory_is_read_in_a_thread_first(connect, file, cached, monkeypatch):
    """A few MiB at a time."""
    fetched = []
    monkeypatch.setattr(module, "seems_cached", lambda *extent: cached)
    monkeypatch.setattr(module, "fetch", lambda number, at, count: fetched.append((at, count)))
    stream, client = connect()
    async with meanwhile(stream.send_file(b"", file.fileno(), 3, len(LARGE) - 3, b"")):
        assert await take(client, len(LARGE) - 3) == LARGE[3:]

    most = module.FETCHED_BYTES
    assert fetched == ([] if cached else [(3, most), (3 + most, len(LARGE) - 3 - most)])


async def test_a_disk_that_fails_is_no_client_that_left(connect, file, monkeypatch):
    def fails(*extent):
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(module, "seems_cached", lambda *extent: False)
    monkeypatch.setattr(module, "fetch", fails)
    stream, _ = connect()
    with pytest.raises(EOFError, match="cannot be read"):
        await stream.send_file(b"", file.fileno(), 0, 4, b"")


async def test_a_file_system_without_sendfile_is_read_and_written(connect, file, monkeypatch):
    def sendfile(*args):
        raise OSError(errno.EINVAL, "no")

    monkeypatch.setattr(os, "sendfile", sendfile)
    stream, client = connect()
    async with meanwhile(stream.send_file(b"", file.fileno(), 0, len(LARGE), b"")) as told:
        assert await take(client, len(LARGE)) == LARGE

    assert told == [True]


@pytest.mark.parametrize("fails", [True, False])
async def test_what_cannot_be_read_for_writing_is_an_error(connect, file, monkeypatch, fails):
    def sendfile(*args):
        raise OSError(errno.EINVAL, "no")

    async def read_at(*extent):
        if fails:
            raise OSError(errno.EIO, "no")
        return b""

    monkeypatch.setattr(os, "sendfile", sendfile)
    monkeypatch.setattr(module, "read_at", read_at)
    stream, _ = connect()
    with pytest.raises(EOFError):
        await stream.send_file(b"", file.fileno(), 0, 4, b"")


async def test_a_client_that_leaves_while_it_is_read_and_written_is_noticed(
    connect, file, monkeypatch
):
    def sendfile(*args):
        raise OSError(errno.EINVAL, "no")

    monkeypatch.setattr(os, "sendfile", sendfile)
    stream, client = connect()
    async with meanwhile(stream.send_file(b"", file.fileno(), 0, len(LARGE), b"")) as told:
        stream.close()

    assert told == [False]
    client.close()


@pytest.mark.parametrize("head", [b"head", b""])
async def test_a_client_that_left_is_no_error(connect, file, head):
    stream, client = connect()
    client.close()

    assert await stream.send_file(head, file.fileno(), 0, 4, b"") is False


@pytest.mark.parametrize("large", [True, False])
async def test_a_stream_that_closes_ends_the_wait(connect, file, large):
    """Whether the head waits for room, or the file."""
    stream, _ = connect()
    head = bytes(3_000_000) if large else b""
    async with meanwhile(stream.send_file(head, file.fileno(), 0, len(LARGE), b"")) as told:
        stream.close()

    assert told == [False]
    assert await stream.send_file(b"", file.fileno(), 0, 4, b"") is False


async def test_a_cancellation_half_way_cuts_the_stream(connect, file):
    stream, _ = connect(tcp)
    async with anyio.create_task_group() as group:
        group.start_soon(stream.send_file, b"", file.fileno(), 0, len(LARGE), b"")
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()

    assert stream.closed


async def test_a_cancellation_before_the_first_byte_leaves_no_trace(connect, file):
    stream, client = connect()
    filled = fill(stream)
    async with anyio.create_task_group() as group:
        group.start_soon(stream.send_file, b"", file.fileno(), 0, 4, b"")
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()

    assert not stream.closed
    async with meanwhile(stream.write(b"next")):
        assert (await take(client, filled + 4))[filled:] == b"next"


async def test_others_get_their_turn_while_a_client_takes_all_at_once(connect, file, monkeypatch):
    """A socket may always be ready."""
    monkeypatch.setattr(module, "TURN_S", -1)
    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    stream, client = connect(tcp)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
    monkeypatch.setattr(module, "FILE_BYTES", 1024)
    async with anyio.create_task_group() as group:
        group.start_soon(count)
        await stream.send_file(b"", file.fileno(), 0, 20 * 1024, b"")
        group.cancel_scope.cancel()

    assert turns >= 10


async def test_a_slow_disk_is_told_from_a_slow_client(connect, file, monkeypatch):
    """The sweep counts no time in which nobody waits for the client."""
    seen = []
    stream, _ = connect()
    monkeypatch.setattr(module, "seems_cached", lambda *extent: False)
    monkeypatch.setattr(module, "fetch", lambda *extent: seen.append(stream.fetching))
    await stream.send_file(b"", file.fileno(), 0, 4, b"")

    assert (seen, stream.fetching) == ([True], False)
