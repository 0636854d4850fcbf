"""Clients that are waited for together: who is made known, who is told what, and who is not."""

import os
import select
import socket
from contextlib import suppress

import anyio
import pytest
import trio
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from nardis.server import arrivals as room
from nardis.server import trio_worker
from nardis.server.arrivals import arrivals
from nardis.server.stream import READ_BYTES
from nardis.server.trio_worker import TrioStream
from tests.runner.ends import cancelled, meanwhile, reset, tcp, unix

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not room.HAS_EPOLL, reason="each client is waited for by itself"),
]


@pytest.fixture
def anyio_backend():
    """Only trio has it."""
    return "trio"


class Crowd:
    """
    Clients that are waited for together.

    Attributes:
        is_large: New ones are made known when they are waited for.
        together: What they are made known to.
    """

    def __init__(self):
        self.is_large = True
        self.ends = []

    def join(self, sockets=unix):
        """Return the stream of a new client, and the client's end."""
        ours, client = sockets()
        ours.setblocking(False)
        client.settimeout(20)
        stream = TrioStream(ours, self.together)
        self.ends += [stream, client]
        return stream, client


@pytest.fixture
async def crowd():
    """Return clients that are told of what comes to them."""
    crowd = Crowd()
    with arrivals(lambda: crowd.is_large) as crowd.together, anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(crowd.together.run)
            yield crowd
            for end in crowd.ends:
                end.close()
            group.cancel_scope.cancel()


@pytest.fixture
def waits(monkeypatch):
    """Return the sockets that trio itself waited for, to read."""
    waits = []

    def wait_readable(sock):
        waits.append(sock)
        return trio.lowlevel.wait_readable(sock)  # noqa: ASYNC105  # the stream awaits it

    monkeypatch.setattr(trio_worker, "wait_readable", wait_readable)
    return waits


# --- who is made known ----------------------------------------------------------------------------


async def test_with_few_clients_each_is_waited_for_by_itself(crowd, waits):
    crowd.is_large = False
    stream, client = crowd.join()
    client.sendall(b"hello")

    assert await stream.read() == b"hello"
    assert waits == [stream.socket]


async def test_with_many_they_are_waited_for_together_once_they_wait_anew(crowd, waits):
    crowd.is_large = False
    stream, client = crowd.join()
    async with meanwhile(stream.read()) as told:
        crowd.is_large = True
        client.sendall(b"alone")
    async with meanwhile(stream.read()) as again:
        client.sendall(b"together")

    assert (told, again, waits) == ([b"alone"], [b"together"], [stream.socket])


async def test_who_is_known_stays_known_when_there_are_few_again(crowd, waits):
    stream, client = crowd.join()
    for piece in (b"many", b"few"):
        async with meanwhile(stream.read()) as told:
            client.sendall(piece)
        assert told == [piece]
        crowd.is_large = False

    assert waits == []


async def test_a_client_that_the_system_does_not_take_is_waited_for_by_itself(
    crowd, waits, monkeypatch
):
    """It has a bound for how many a user may have (epoll(7), max_user_watches)."""
    stream, client = crowd.join()
    with monkeypatch.context() as full:
        full.setattr(room, "NEWS", room.NEWS | select.EPOLLEXCLUSIVE | select.EPOLLONESHOT)
        for piece in (b"one", b"two"):
            client.sendall(piece)
            assert await stream.read() == piece

    assert waits == [stream.socket] * 2


@pytest.mark.parametrize("crowded", [True, False])
async def test_where_the_system_has_no_epoll_nothing_is_there(monkeypatch, crowded):
    monkeypatch.setattr(room, "HAS_EPOLL", False)
    with arrivals(lambda: crowded) as together:
        assert together is None


# --- who is told ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sockets", [unix, tcp], ids=["unix", "tcp"])
async def test_what_came_before_anybody_waited_is_told(crowd, sockets):
    stream, client = crowd.join(sockets)
    client.sendall(b"early")

    assert await stream.read() == b"early"


async def test_what_came_while_nobody_waited_is_told_to_the_next_who_does(crowd):
    stream, client = crowd.join()
    client.sendall(b"first")
    assert await stream.read() == b"first"
    client.sendall(b"second")
    await anyio.wait_all_tasks_blocked()

    assert await stream.read() == b"second"


async def test_news_without_anything_to_read_let_nobody_read_nothing(crowd):
    """They were of what the read before has taken."""
    stream, client = crowd.join()
    client.sendall(b"first")
    assert await stream.read() == b"first"
    client.sendall(b"second")
    await anyio.wait_all_tasks_blocked()
    assert stream.socket.recv(READ_BYTES) == b"second"
    async with meanwhile(stream.read()) as told:
        assert told == []
        client.sendall(b"third")

    assert told == [b"third"]


async def test_what_stands_behind_urgent_data_is_told(crowd, waits):
    """A read ends at their mark, and no news follow: such a client is waited for by itself."""
    stream, client = crowd.join(tcp)
    async with meanwhile(stream.read()) as told:
        client.sendall(b"before")
        client.send(b"!", socket.MSG_OOB)
        client.sendall(b"behind")
    async with meanwhile(stream.read()) as again:
        pass

    assert (told, again, waits) == ([b"before"], [b"behind"], [stream.socket])


async def test_what_stands_behind_a_file_that_is_passed_is_read_too(crowd, waits):
    """A read ends there as well (unix(7), SCM_RIGHTS)."""
    stream, client = crowd.join()
    async with meanwhile(stream.read()) as told:
        socket.send_fds(client, [b"with a file"], [0])
        client.sendall(b"behind")
    async with meanwhile(stream.read()) as again:
        pass

    assert (told, again, waits) == ([b"with a file"], [b"behind"], [])


@pytest.mark.parametrize("pieces", [[b""], [b"last"], [bytes(READ_BYTES)]], ids=["0", "4", "64k"])
async def test_an_end_that_came_with_the_last_piece_is_told_for_ever(crowd, pieces):
    """The news of both are one: nothing more would be told."""
    stream, client = crowd.join(tcp)
    async with meanwhile(stream.read()) as told:
        for piece in pieces:
            client.sendall(piece)
        client.shutdown(socket.SHUT_WR)
    while told[-1]:
        told.append(await stream.read())

    assert b"".join(told) == b"".join(pieces)
    assert [await stream.read() for _ in range(3)] == [b"", b"", b""]


async def test_a_reset_is_told(crowd):
    stream, client = crowd.join(tcp)
    async with meanwhile(stream.read()) as told:
        reset(client)

    assert told == [b""]


async def test_each_hears_of_its_own_client_alone(crowd):
    streams = [crowd.join() for _ in range(room.AT_ONCE + 40)]
    async with meanwhile(*(stream.read() for stream, _ in streams)) as told:
        for number, (_, client) in enumerate(streams):
            client.sendall(b"%d" % number)

    assert sorted(map(int, told)) == list(range(len(streams)))


# --- who waits no more ----------------------------------------------------------------------------


async def test_a_read_that_is_cancelled_loses_nothing(crowd):
    stream, client = crowd.join()
    await cancelled(stream.read)
    assert not stream.reading
    client.sendall(b"later")
    await anyio.wait_all_tasks_blocked()

    assert await stream.read() == b"later"


async def test_a_read_with_news_is_a_checkpoint(crowd):
    stream, client = crowd.join()
    client.sendall(b"news")
    await stream.read()
    client.sendall(b"more")
    await anyio.wait_all_tasks_blocked()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await stream.read()
    assert scope.cancelled_caught

    assert await stream.read() == b"more"


async def test_a_wait_that_is_called_off_is_told_nothing_and_the_next_one_is(crowd):
    stream, client = crowd.join()
    async with meanwhile(stream.read()) as told:
        stream.wake()
    async with meanwhile(stream.read()) as again:
        client.sendall(b"hello")

    assert (told, again) == ([None], [b"hello"])


async def test_a_read_is_called_off_where_news_let_it_not_wait(crowd, monkeypatch):
    """They may be of what was read before: it would wait, and nobody would call it off again."""
    stream, client = crowd.join()
    client.sendall(b"first")
    assert await stream.read() == b"first"
    client.sendall(b"second")
    await anyio.wait_all_tasks_blocked()

    async def called_off():
        stream.wake()
        await checkpoint()

    with monkeypatch.context() as turn:
        turn.setattr(trio_worker, "checkpoint", called_off)
        assert await stream.read() is None

    assert await stream.read() == b"second"


async def test_a_wait_is_called_off_in_the_turn_in_which_news_end_it(crowd, monkeypatch):
    """They are left to the next read."""
    stream, client = crowd.join()
    hear = TrioStream.hear

    def hear_and_wake(self, *, end):
        hear(self, end=end)
        self.wake()

    with monkeypatch.context() as turn:
        turn.setattr(TrioStream, "hear", hear_and_wake)
        async with meanwhile(stream.read()) as told:
            client.sendall(b"hello")
    assert told == [None]

    assert await stream.read() == b"hello"


async def test_a_stream_that_is_closed_ends_its_wait_and_its_number_is_free(crowd):
    """The next client has the number: it hears nothing of the one before."""
    stream, _ = crowd.join()
    number = stream.socket.fileno()
    async with meanwhile(stream.read()) as told:
        stream.close()
    stream.close()
    assert told == [b""]
    following, client = crowd.join()
    assert following.socket.fileno() == number
    async with meanwhile(following.read()) as told:
        client.sendall(b"hello")

    assert told == [b"hello"]


async def told_of_another(crowd):
    """Return what one more client says, who is told of as if nothing had happened."""
    stream, client = crowd.join()
    async with meanwhile(stream.read()) as told:
        client.sendall(b"hello")
    return told


async def test_a_socket_that_a_child_keeps_is_not_told_of_after_its_end(crowd):
    """What the system looks at is the connection, not its number: epoll(7), questions 6."""
    stream, client = crowd.join()
    await cancelled(stream.read)
    kept = os.dup(stream.socket.fileno())
    stream.close()
    client.sendall(b"to nobody")
    assert await told_of_another(crowd) == [b"hello"]
    os.close(kept)


async def test_a_socket_that_somebody_else_has_closed_costs_others_nothing(crowd):
    """The system still looks at the connection, which a child has, and nobody can say which."""
    stream, client = crowd.join()
    await cancelled(stream.read)
    number = stream.socket.fileno()
    kept = os.dup(number)
    os.close(number)
    crowd.together.remove(number)
    client.sendall(b"to nobody")
    await checkpoint()
    await anyio.wait_all_tasks_blocked()
    crowd.ends.remove(stream)
    stream.socket.detach()
    assert await told_of_another(crowd) == [b"hello"]
    os.close(kept)


async def test_two_clients_of_one_number_end_without_a_fault_of_ours(crowd):
    """An application that closes a number twice closes the one that has it by then."""
    stream, _ = crowd.join()
    await cancelled(stream.read)
    number = stream.socket.fileno()
    os.close(number)
    following, _ = crowd.join()
    assert following.socket.fileno() == number
    await cancelled(following.read)
    stream.close()

    with pytest.raises(OSError, match="Bad file descriptor"):
        following.close()


# --- in any order ---------------------------------------------------------------------------------

DATA = bytes(128 + n * n % 127 for n in range(2 * READ_BYTES))


class Trial:
    """A client that says something now and then, and one who reads it now and then."""

    def __init__(self, stream, client):
        self.stream, self.client = stream, client
        self.said, self.heard = bytearray(), bytearray()
        self.asked = anyio.Semaphore(0)
        self.reading = anyio.CancelScope()
        client.setblocking(False)

    async def say(self, size):
        data = DATA[len(self.said) % 1000 :][:size]
        with suppress(BlockingIOError):
            self.said += data[: self.client.send(data)]

    async def urge(self):
        with suppress(OSError):  # no room, or no such data here
            self.client.send(b"!", socket.MSG_OOB)

    async def ask(self):
        self.asked.release()

    async def cancel(self):
        self.reading.cancel()

    async def wake(self):
        self.stream.wake()

    async def rest(self):
        await anyio.wait_all_tasks_blocked()
        assert not (self.stream.reading and self.stream.has_input())

    async def read(self):
        """Read once each time that it is asked for."""
        while True:
            await self.asked.acquire()
            with anyio.CancelScope() as self.reading:
                self.heard += await self.stream.read() or b""

    async def read_to_the_end(self):
        while (data := await self.stream.read()) != b"":
            self.heard += data or b""


STEPS = {
    "piece": lambda trial: trial.say(10),
    "full": lambda trial: trial.say(READ_BYTES),
    "more": lambda trial: trial.say(READ_BYTES + 1),
    "urge": Trial.urge,
    "ask": Trial.ask,
    "cancel": Trial.cancel,
    "wake": Trial.wake,
    "turn": lambda trial: checkpoint(),
    "rest": Trial.rest,
}


@pytest.mark.parametrize("sockets", [unix, tcp], ids=["unix", "tcp"])
@given(steps=st.lists(st.sampled_from(sorted(STEPS)), max_size=30))
async def test_in_no_order_a_byte_is_lost_or_a_read_waits_that_need_not(sockets, steps):
    ours, client = sockets()
    ours.setblocking(False)
    with ours, client, arrivals(lambda: True) as together, anyio.fail_after(20):
        trial = Trial(TrioStream(ours, together), client)
        async with anyio.create_task_group() as group:
            group.start_soon(together.run)
            async with anyio.create_task_group() as reader:
                reader.start_soon(trial.read)
                for step in [*steps, "rest"]:
                    await STEPS[step](trial)
                reader.cancel_scope.cancel()
            client.shutdown(socket.SHUT_WR)
            await trial.read_to_the_end()
            trial.stream.close()
            group.cancel_scope.cancel()

    assert trial.heard.replace(b"!", b"") == trial.said


async def test_two_tasks_that_read_at_once_are_told_so(crowd):
    """The first would never hear of anything."""
    stream, client = crowd.join()
    async with meanwhile(stream.read()) as told:
        with pytest.raises(trio.BusyResourceError):
            await stream.read()
        client.sendall(b"hello")

    assert told == [b"hello"]
