"""How much the system takes of what it cannot send yet: little, and more for a fast client."""

import os
import socket

import anyio
import pytest

from nardis.server.unsent import FAST_S, MOST_BYTES, SLOW_S, UNSENT_BYTES, adapted, first_bound
from tests.runner.ends import fill, meanwhile, take, tcp, unix

LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 0)

bounded = pytest.mark.skipif(not LOWAT, reason="this system has no TCP_NOTSENT_LOWAT")


def bound_of(sock):
    """Return the bound that the system knows of."""
    return sock.getsockopt(socket.IPPROTO_TCP, LOWAT)


@bounded
@pytest.mark.parametrize(
    ("bound", "waited_s", "then"),
    [
        (UNSENT_BYTES, FAST_S / 2, 2 * UNSENT_BYTES),
        (MOST_BYTES, FAST_S / 2, MOST_BYTES),
        (4 * UNSENT_BYTES, FAST_S, 4 * UNSENT_BYTES),
        (4 * UNSENT_BYTES, SLOW_S, 4 * UNSENT_BYTES),
        (4 * UNSENT_BYTES, SLOW_S * 2, UNSENT_BYTES),
        (UNSENT_BYTES, SLOW_S * 2, UNSENT_BYTES),
    ],
    ids=["fast", "fastest", "at fast", "at slow", "slow", "always slow"],
)
def test_a_fast_client_gets_twice_as_much_and_a_slow_one_what_it_had_first(bound, waited_s, then):
    ours, client = tcp()
    with ours, client:
        before = bound_of(ours)
        assert adapted(ours, bound, waited_s) == then
        assert bound_of(ours) == (before if then == bound else then)


@pytest.mark.parametrize("waited_s", [0.0, SLOW_S * 2], ids=["fast", "slow"])
@pytest.mark.parametrize(("sockets", "lowat"), [(unix, LOWAT), (tcp, None)], ids=["unix", "none"])
def test_where_there_is_no_bound_none_is_set(sockets, lowat, waited_s, monkeypatch):
    """Sockets of unix have none, and some systems know of none."""
    monkeypatch.setattr("nardis.server.unsent.LOWAT", lowat)
    ours, client = sockets()
    with ours, client:
        assert first_bound(ours) == 0
        assert adapted(ours, 0, waited_s) == 0


@bounded
@pytest.mark.anyio
async def test_a_stream_bounds_its_client_by_how_long_it_waits_for_room(connect, monkeypatch):
    """To be woken is no room."""
    now = 1.0
    monkeypatch.setattr("nardis.server.stream.clock", lambda: now)
    stream, client = connect(tcp)
    bounds = []
    for waited_s in (0.0, 0.0, (FAST_S + SLOW_S) / 2, SLOW_S * 2):
        size = fill(stream)
        async with meanwhile(stream.write(b"hello")) as told:
            before = bound_of(stream.socket)
            stream.wake()
            await anyio.wait_all_tasks_blocked()
            assert (told, bound_of(stream.socket)) == ([], before)
            now += waited_s
            assert await take(client, size + 5) == bytes(size) + b"hello"
        bounds.append(bound_of(stream.socket))

    assert bounds == [2 * UNSENT_BYTES, 4 * UNSENT_BYTES, 4 * UNSENT_BYTES, UNSENT_BYTES]


@pytest.mark.anyio
async def test_what_is_left_of_several_pieces_goes_out_as_one(connect, monkeypatch):
    """The end of a chunk is not sent by itself: it would be a segment of two bytes."""
    counts, send = [], os.writev

    def telling(file, pieces):
        counts.append(len(pieces))
        return send(file, pieces)

    monkeypatch.setattr(os, "writev", telling)
    stream, client = connect(tcp)
    size = fill(stream)
    async with meanwhile(stream.write(b"5\r\n", b"hello", b"\r\n")):
        await take(client, size)
        assert await take(client, 10) == b"5\r\nhello\r\n"

    assert set(counts) == {3}
