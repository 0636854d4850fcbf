"""The bytes of one client on each event loop, over pairs of unix sockets and over loopback TCP."""

import asyncio
import itertools
import socket
from contextlib import nullcontext
from functools import partial

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from nardis.server.pieces import rest_of
from nardis.server.stream import READ_BYTES, TURN_S
from tests.runner.ends import (
    cancelled,
    fill,
    meanwhile,
    reset,
    take,
    tcp,
    unix,
    waiting_either_way,
    wake,
)

pytestmark = pytest.mark.anyio

anyio_backend = waiting_either_way

# More than a socket takes at once.
LARGE = b"".join(number.to_bytes(4, "big") for number in range(2_000_000))


on_asyncio = pytest.mark.parametrize(
    "anyio_backend",
    [("asyncio", {"debug": True}), ("asyncio", {"use_uvloop": True})],
    ids=["asyncio", "uvloop"],
)
over_both = pytest.mark.parametrize("sockets", [unix, tcp], ids=["unix", "tcp"])


async def offered(stream, *pieces):
    """Send pieces as one, as a call does that offers them."""
    rest = stream.offer(pieces, sum(map(len, pieces)))
    return rest is None or await rest


# --- who is there ---------------------------------------------------------------------------------


async def test_both_ends_of_a_tcp_connection_have_an_address(connect):
    stream, client = connect(tcp)

    assert stream.client == client.getsockname()
    assert stream.server == client.getpeername()


@pytest.mark.parametrize(
    ("sockets", "server"),
    [(unix, ("", None)), (lambda: (socket.socket(), socket.socket()), None)],
    ids=["unix", "left"],
)
async def test_no_client_of_a_unix_socket_has_an_address_and_none_that_left(
    connect, sockets, server
):
    """They can be told apart: the end of a Unix socket is a path, without a port."""
    stream, _ = connect(sockets)

    assert (stream.client, stream.server) == (None, server)


# --- reading --------------------------------------------------------------------------------------


@over_both
async def test_a_read_returns_what_has_arrived_as_soon_as_something_has(connect, sockets):
    stream, client = connect(sockets)
    async with meanwhile(stream.read()) as told:
        assert (stream.reading, told) == (True, [])
        client.sendall(b"hello")

    assert (told, stream.reading, stream.read_at > 0) == ([b"hello"], False, True)


@over_both
async def test_the_end_is_read_as_nothing_again_and_again(connect, sockets):
    stream, client = connect(sockets)
    client.sendall(b"last")
    client.shutdown(socket.SHUT_WR)

    assert [await stream.read() for _ in range(3)] == [b"last", b"", b""]


async def test_what_a_client_sent_before_it_reset_the_connection_is_still_read(connect):
    stream, client = connect(tcp)
    client.sendall(b"last")
    reset(client)

    async def sweep():
        while True:
            await checkpoint()
            if stream.may_miss_reset:
                stream.read_anyway()  # uvloop tells nobody of a reset

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(sweep)
            assert [await stream.read() for _ in range(3)] == [b"last", b"", b""]
            group.cancel_scope.cancel()


async def test_what_there_is_room_for_is_sent_at_once_unless_somebody_writes(connect):
    """No more than that: the caller sends what is left, as it sends what does not begin."""
    stream, client = connect(tcp)
    assert stream.begin(b"hello") == 5
    assert await take(client, 5) == b"hello"
    size = fill(stream)
    assert stream.begin(b"no room") == 0
    async with meanwhile(stream.write(b"waits")):
        size -= len(client.recv(size // 2))
        assert stream.begin(b"not in front of it") == 0
        await take(client, size)
    assert await take(client, 5) == b"waits"
    stream.close()
    assert stream.begin(b"late") == 0


async def test_a_reset_that_came_while_a_write_waited_and_nobody_read_is_an_end(connect):
    """uvloop closes its handle of the socket then, and refuses to look at it any more."""
    stream, client = connect(tcp)
    await cancelled(stream.read)
    client.sendall(b"nobody reads this")
    fill(stream)
    async with anyio.create_task_group() as group:
        group.start_soon(stream.write, b"waits")
        await anyio.wait_all_tasks_blocked()
        reset(client)
        for _ in range(10):
            await checkpoint()
        assert await stream.read() in (b"", b"nobody reads this")
        assert await stream.read() == b""
        group.cancel_scope.cancel()

    assert await stream.write(b"late") is False


async def test_a_read_that_is_cancelled_loses_nothing(connect):
    stream, client = connect()
    await cancelled(stream.read)
    client.sendall(b"hello")
    await checkpoint()

    assert await stream.read() == b"hello"


async def test_exactly_one_read_of_the_socket_is_not_taken_for_more(connect):
    stream, client = connect()
    client.sendall(bytes(READ_BYTES))
    assert len(await stream.read()) == READ_BYTES

    async with meanwhile(stream.read()) as told:
        assert (stream.reading, told) == (True, [])
        client.sendall(b"more")

    assert told == [b"more"]


class Endless(socket.socket):
    """A socket that is always ready, and always gives as much as it is asked for."""

    def recv(self, size):
        return bytes(size)


def endless():
    """Return an endless socket, and a client that has said something."""
    ours, client = socket.socketpair()
    client.send(b"x")
    return Endless(fileno=ours.detach()), client


async def read_endlessly(stream, monkeypatch, tick_s, *, cancel):
    """Return how often *stream* is read, up to 500 times, until it is called off."""
    monkeypatch.setattr("nardis.server.stream.clock", itertools.count(0, tick_s).__next__)
    reads, most = 0, 500

    async def read():
        nonlocal reads
        while reads < most:
            await stream.read()
            reads += 1

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        for _ in range(10):
            await checkpoint()
        if cancel:
            group.cancel_scope.cancel()
        else:
            most = 0
    return reads


async def test_a_reader_that_always_finds_something_gives_others_their_turn(connect, monkeypatch):
    """It asks the event loop after some time, and not for each piece."""
    stream, _ = connect(endless)

    assert 20 < await read_endlessly(stream, monkeypatch, TURN_S / 10, cancel=False) < 200


async def test_a_reader_that_always_finds_something_can_be_cancelled(connect, monkeypatch):
    stream, _ = connect(endless)

    assert await read_endlessly(stream, monkeypatch, 2 * TURN_S, cancel=True) < 200


async def test_wake_gives_none_to_who_reads_and_is_forgotten_where_nobody_does(connect):
    stream, client = connect()
    stream.wake()
    async with meanwhile(stream.read()) as told:
        stream.wake()

    assert told == [None]
    client.sendall(b"hello")
    assert await stream.read() == b"hello"


async def test_input_is_dropped_to_its_end_or_to_what_is_there(connect):
    stream, client = connect(tcp)
    client.sendall(b"unread")
    stream.drop_input()
    client.sendall(b"more")
    client.shutdown(socket.SHUT_WR)
    stream.drop_input()

    assert await stream.read() == b""


async def test_input_without_an_end_is_dropped_up_to_a_bound(connect):
    stream, _ = connect(endless)
    stream.drop_input()

    assert await stream.read()


async def test_to_read_anyway_leaves_a_sound_connection_alone(connect):
    stream, client = connect(tcp)
    stream.read_anyway()
    async with meanwhile(stream.read()) as told:
        stream.read_anyway()
        await anyio.wait_all_tasks_blocked()
        assert told == []
        client.sendall(b"hello")

    assert told == [b"hello"]


async def test_who_is_woken_at_the_moment_of_an_arrival_reads_it_next_time(connect):
    stream, client = connect()
    async with meanwhile(stream.read()) as told, anyio.create_task_group() as group:
        client.sendall(b"hello")
        group.start_soon(wake, stream)

    assert (told[0] or await stream.read()) == b"hello"


@on_asyncio
async def test_what_lies_unread_costs_asyncio_no_turn_of_the_loop(connect):
    stream, client = connect()
    client.sendall(b"one")
    await stream.read()
    client.sendall(b"two")
    for _ in range(5):
        await checkpoint()

    listened = asyncio.get_running_loop().remove_reader(stream.socket)
    assert not listened
    assert await stream.read() == b"two"


async def test_has_input_says_whether_something_lies_unread_and_takes_nothing(connect):
    stream, client = connect()
    assert stream.has_input() is False
    client.sendall(b"hello")

    assert stream.has_input() is True
    assert await stream.read() == b"hello"


# --- writing --------------------------------------------------------------------------------------


@over_both
@pytest.mark.parametrize("pieces", [[b"hello"], [b"he", b"", b"llo"], [b"hello", b""]])
async def test_pieces_are_sent_as_one(connect, sockets, pieces):
    stream, client = connect(sockets)

    assert await stream.write(*pieces) is True

    assert await take(client, 5) == b"hello"
    assert (stream.sent, stream.writing) == (5, 0.0)


@over_both
@pytest.mark.parametrize(
    "pieces", [[LARGE], [LARGE[:9], LARGE[9:7_000_000], LARGE[7_000_000:]]], ids=["one", "three"]
)
async def test_a_write_that_the_system_takes_in_part_goes_on(connect, sockets, pieces):
    stream, client = connect(sockets)
    async with meanwhile(stream.write(*pieces)) as told:
        assert told == []
        assert stream.writing > 0
        assert 0 < stream.sent < len(LARGE)
        taken = await take(client, len(LARGE))

    assert (taken == LARGE, told) == (True, [True])
    assert (stream.sent, stream.writing) == (len(LARGE), 0.0)


@over_both
async def test_writers_take_turns_in_the_order_of_their_calls(connect, sockets):
    stream, client = connect(sockets)
    size = len(LARGE)
    async with meanwhile(*(stream.write(letter * size) for letter in (b"a", b"b", b"c"))) as told:
        assert told == []
        taken = await take(client, 3 * size)

    pieces = [(letter, len(list(each))) for letter, each in itertools.groupby(taken)]
    assert pieces == [(letter, size) for letter in b"abc"]
    assert told == [True] * 3


async def test_what_is_offered_needs_no_coroutine_where_there_is_room(connect):
    stream, client = connect(tcp)

    assert stream.offer((b"he", b"llo"), 5) is None

    assert await take(client, 5) == b"hello"
    assert (stream.sent, stream.writing) == (5, 0.0)


async def test_what_is_offered_waits_for_room_and_for_its_turn(connect):
    stream, client = connect()
    size = fill(stream)
    async with meanwhile(offered(stream, b"first"), offered(stream, b"sec", b"ond")) as told:
        assert (told, stream.sent) == ([], 0)
        await take(client, size)
        assert await take(client, 11) == b"firstsecond"

    assert told == [True] * 2


@over_both
async def test_what_is_offered_and_taken_in_part_is_written_whole(connect, sockets):
    stream, client = connect(sockets)
    async with meanwhile(offered(stream, b"head", LARGE), stream.write(b"last")) as told:
        assert await take(client, len(LARGE) + 8) == b"head" + LARGE + b"last"

    assert told == [True] * 2


async def test_what_is_offered_and_cancelled_half_way_cuts_the_stream(connect):
    stream, client = connect(tcp)
    await cancelled(offered, stream, b"head", LARGE)

    assert stream.closed
    with pytest.raises(ConnectionResetError):
        await take(client, len(LARGE))


async def test_nobody_takes_what_is_offered_to_a_client_that_is_gone(connect):
    stream, client = connect(tcp)
    reset(client)
    assert await offered(stream, b"he", b"llo") is False
    stream.close()
    assert await offered(stream, b"he", b"llo") is False


async def test_a_write_that_is_woken_goes_on_also_at_the_moment_when_there_is_room(connect):
    stream, client = connect()
    size = fill(stream)
    async with meanwhile(stream.write(b"hello")) as told, anyio.create_task_group() as group:
        stream.wake()
        await anyio.wait_all_tasks_blocked()
        client.recv(size)
        group.start_soon(wake, stream)

    assert (await take(client, 5), told) == (b"hello", [True])


async def test_a_write_that_is_cancelled_before_its_first_byte_leaves_no_trace(connect):
    stream, client = connect()
    size = fill(stream)
    await cancelled(stream.write, b"never")
    assert (stream.closed, stream.sent, stream.writing) == (False, 0, 0.0)
    assert await take(client, size) == bytes(size)

    assert await stream.write(b"hello") is True
    assert await take(client, 5) == b"hello"


async def test_a_write_that_is_cancelled_while_another_has_its_turn_leaves_no_trace(connect):
    stream, client = connect()
    async with meanwhile(stream.write(LARGE)) as told:
        await cancelled(stream.write, b"never")
        assert await take(client, len(LARGE)) == LARGE

    assert told == [True]
    await stream.finish(whole=True)
    assert await take(client, 1) == b""


@pytest.mark.parametrize("pieces", [[LARGE], [b"head", LARGE]], ids=["one", "two"])
async def test_a_write_that_is_cancelled_half_way_cuts_the_stream(connect, pieces):
    """The client cannot take it for a regular end."""
    stream, client = connect(tcp)
    await cancelled(stream.write, *pieces)

    assert (stream.closed, stream.writing) == (True, 0.0)
    with pytest.raises(ConnectionResetError):
        await take(client, len(LARGE))


@pytest.mark.parametrize("pieces", [[LARGE], [b"head", LARGE]], ids=["one", "two"])
async def test_the_rest_of_a_write_that_is_cancelled_half_way_can_be_kept(connect, pieces):
    stream, client = connect(tcp)
    await cancelled(partial(stream.write, keeps=True), *pieces)
    assert (stream.closed, stream.writing) == (False, 0.0)

    async with meanwhile(stream.resume()) as told:
        assert await take(client, sum(map(len, pieces))) == b"".join(pieces)
    assert (told, stream.rest) == ([True], None)


async def test_a_rest_that_is_cancelled_too_cuts_the_stream(connect):
    stream, client = connect(tcp)
    await cancelled(partial(stream.write, keeps=True), LARGE)
    await cancelled(stream.resume)

    assert stream.closed
    with pytest.raises(ConnectionResetError):
        await take(client, len(LARGE))


async def test_a_few_bytes_go_out_at_once_where_there_is_room_and_nobody_writes(connect):
    stream, client = connect()
    assert stream.has_room
    assert stream.try_write(b"hello") is True
    assert await take(client, 5) == b"hello"

    async with meanwhile(stream.write(LARGE)):
        assert not stream.has_room
        assert stream.try_write(b"never") is False
        assert await take(client, len(LARGE)) == LARGE
    fill(stream)
    assert not stream.has_room
    assert stream.try_write(b"never") is False
    stream.close()
    assert not stream.has_room
    assert stream.try_write(b"never") is False


async def test_a_few_bytes_of_which_the_system_takes_a_part_are_the_last(connect):
    stream, _ = connect()

    class Narrow(socket.socket):
        def send(self, data):
            return super().send(data[:1])

    stream.socket = Narrow(fileno=stream.socket.detach())

    assert stream.try_write(b"hello") is True
    assert stream.closed


@on_asyncio
async def test_a_turn_that_is_given_to_a_task_that_is_cancelled_meanwhile_goes_to_the_next(connect):
    stream, client = connect()

    async def write():
        await stream.write(LARGE)
        second.cancel()  # it has its turn, and does not know it yet

    async with meanwhile(write()):
        second = asyncio.create_task(stream.write(b"never"))
        await anyio.wait_all_tasks_blocked()
        async with meanwhile(stream.write(b"third")) as told:
            assert await take(client, len(LARGE) + 5) == LARGE + b"third"
    assert (told, second.cancelled(), await stream.write(b"fourth")) == ([True], True, True)


async def test_who_waits_for_the_turn_of_a_write_that_was_cut_learns_that_the_client_is_gone(
    connect,
):
    stream, _ = connect(tcp)
    first = anyio.CancelScope()

    async def write():
        with first:
            await stream.write(LARGE)

    async with meanwhile(write(), stream.write(b"second")) as told:
        first.cancel()

    assert set(told) == {None, False}


@pytest.mark.parametrize("pieces", [[b"hello"], [b"he", b"llo"]])
async def test_nothing_can_be_written_to_a_client_that_is_gone(connect, pieces):
    stream, client = connect()
    client.close()

    assert await stream.write(*pieces) is False


async def test_a_write_that_waits_learns_that_the_client_has_left(connect):
    stream, client = connect()
    async with meanwhile(stream.write(LARGE)) as told:
        client.close()

    assert told == [False]
    assert stream.writing == 0.0


# --- the end --------------------------------------------------------------------------------------


@over_both
async def test_close_gives_nothing_to_who_reads_and_false_to_those_who_write(connect, sockets):
    stream, _ = connect(sockets)
    writes = (stream.write(LARGE), stream.write(LARGE))
    async with meanwhile(stream.read()) as read, meanwhile(*writes) as written:
        stream.close()

    assert (read, written) == ([b""], [False, False])
    assert (await stream.read(), await stream.write(b"late")) == (b"", False)


async def test_finish_closes_our_half_alone(connect):
    stream, client = connect(tcp)
    await stream.write(b"last")
    await stream.finish(whole=True)

    assert await take(client, 5) == b"last"
    client.sendall(b"goodbye")
    assert await stream.read() == b"goodbye"
    assert await stream.write(b"late") is False


@pytest.mark.parametrize("leave", ["close", "cut"])
async def test_what_was_closed_stays_closed(connect, leave):
    stream, _ = connect(tcp)
    getattr(stream, leave)()
    stream.close()
    stream.cut()
    await stream.finish(whole=True)

    assert stream.closed
    assert stream.socket.fileno() == -1


async def test_the_sending_half_of_a_client_that_reset_the_connection_needs_no_end(connect):
    stream, client = connect(tcp)
    reset(client)
    assert await stream.read() == b""

    await stream.finish(whole=True)
    stream.cut()
    assert stream.closed


async def test_cut_resets_the_connection_and_closes_a_unix_socket(connect):
    for sockets, end in ((tcp, pytest.raises(ConnectionResetError)), (unix, nullcontext())):
        stream, client = connect(sockets)
        stream.cut()
        with end:
            assert await take(client, 1) == b""


# --- what the client has taken --------------------------------------------------------------------


async def test_what_the_system_of_a_tcp_client_took_is_counted(connect):
    stream, client = connect(tcp)
    before = stream.taken()
    await stream.write(b"hello")
    await take(client, 5)

    taken = before
    with anyio.fail_after(20):
        while taken != before + 5:
            await checkpoint()
            taken = stream.taken()


@pytest.mark.parametrize(
    ("sockets", "name", "value"),
    [(unix, "TCP_INFO_BYTES", 128), (tcp, "TCP_INFO", None), (tcp, "TCP_INFO_BYTES", 104)],
    ids=["unix", "none", "short"],
)
async def test_where_the_system_does_not_count_that_progress_is_what_was_sent(
    connect, monkeypatch, sockets, name, value
):
    monkeypatch.setattr(f"nardis.server.stream.{name}", value)
    stream, _ = connect(sockets)
    await stream.write(b"hello")

    assert stream.taken() == 5


# --- pieces ---------------------------------------------------------------------------------------


@given(pieces=st.lists(st.binary(max_size=9), max_size=6), data=st.data())
def test_the_rest_of_pieces_is_what_was_not_sent(pieces, data):
    """No piece of it is empty, and none is copied."""
    whole = b"".join(pieces)
    sent = data.draw(st.integers(0, len(whole)))

    rest = list(rest_of(pieces, sent))

    assert b"".join(rest) == whole[sent:]
    assert all(rest)
    assert all(any(each.obj is piece for piece in pieces) for each in rest)
