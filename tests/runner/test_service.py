"""The walls between connections: what is done with all of them, and a fault in one."""

import errno
import logging
import socket
from functools import partial
from types import SimpleNamespace

import anyio
import pytest
from anyio.lowlevel import checkpoint

from nardis.server import Config
from nardis.server.service import TICK_S, Service, run_app
from nardis.server.stream import clock
from tests.exchange.test_circles import Held, collecting

pytestmark = pytest.mark.anyio


class Connection:
    """A connection that lists what is wanted of it; *deaf* is what its look returns."""

    rests_until = 0.0

    def __init__(self, *, deaf=False, closed=False, sock=None):
        self.log = []
        self.deaf = deaf
        self.closed = closed
        self.socket = sock

    def look(self, now):
        self.log.append("look")
        return self.deaf

    def is_closed(self):
        return self.closed

    def hung_up(self):
        self.log.append("hung up")

    def say_goodbye(self):
        self.log.append("goodbye")

    def interrupt(self):
        self.log.append("interrupt")

    def end(self):
        self.log.append("end")


class Faulty:
    """A connection of which nothing can be wanted, but perhaps its end."""

    rests_until = 0.0

    def __init__(self, fault, *, ends=False):
        self.fault = fault
        self.ended = 0
        self.end = self._end if ends else self._fail
        self.look = self.say_goodbye = self.interrupt = self._fail

    def _fail(self, *args):
        raise self.fault

    def _end(self):
        self.ended += 1


class Ordered(list):
    """A set that keeps the order of a list."""

    discard = list.remove


def serving(*connections, **settings):
    """Return a service with these connections, in this order."""
    service = Service(None, Config(**settings))
    service.connections = Ordered(connections)
    return service


def look(service):
    service.look(clock())


each_act = pytest.mark.parametrize(
    ("act", "done"),
    [
        (look, "look"),
        (Service.drain, "goodbye"),
        (Service.interrupt, "interrupt"),
        (Service.cut, "end"),
    ],
    ids=["look", "drain", "interrupt", "cut"],
)
each_fault = pytest.mark.parametrize(
    "fault", [ValueError(-1), SystemExit(3), BaseExceptionGroup("", [GeneratorExit()])], ids=repr
)


# --- each connection for itself -------------------------------------------------------------------


@each_act
@each_fault
async def test_a_fault_in_looking_after_one_connection_is_no_others(fault, act, done, caplog):
    sound, faulty = [Connection(), Connection()], Faulty(fault)
    service = serving(sound[0], faulty, sound[1])

    act(service)

    assert [each.log for each in sound] == [[done], [done]]
    assert faulty not in service.connections
    assert caplog.text.count("a fault ended a connection") == 1


async def test_the_connection_with_the_fault_is_ended():
    service = serving(faulty := Faulty(ValueError(), ends=True))
    look(service)

    assert (faulty.ended, service.connections) == (1, [])


async def test_ctrl_c_is_no_fault_of_a_connection():
    service = serving(Faulty(KeyboardInterrupt()))

    with pytest.raises(KeyboardInterrupt):
        look(service)


@pytest.mark.parametrize(("level", "traced"), [(logging.INFO, False), (logging.DEBUG, True)])
async def test_a_fault_is_one_line_of_the_log_unless_more_is_wanted(caplog, level, traced):
    """A client can make as many as it likes."""
    with caplog.at_level(level, "nardis.server"):
        look(serving(Faulty(ValueError("v"))))

    [record] = caplog.records
    assert record.message == "a fault ended a connection: ValueError('v')"
    assert bool(record.exc_info) is traced


# --- who hears the client leave -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deaf", "left", "log"),
    [
        (True, True, ["look", "hung up"]),
        (True, False, ["look"]),
        (False, True, ["look"]),
    ],
)
async def test_the_system_is_asked_whether_the_client_left_where_nobody_reads(deaf, left, log):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        if left:
            theirs.shutdown(socket.SHUT_WR)
        connection = Connection(deaf=deaf, sock=ours)
        look(serving(connection))

    assert connection.log == log


async def test_where_the_system_cannot_tell_it_is_not_asked(monkeypatch):
    monkeypatch.setattr("nardis.server.service.HANG_UP", 0)
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        connection = Connection(deaf=True, sock=ours)
        look(serving(connection))

    assert connection.log == ["look"]


async def test_a_closed_connection_that_nobody_reads_is_told_of_it_without_its_socket():
    connection = Connection(deaf=True, closed=True)
    look(serving(connection))

    assert connection.log == ["look", "hung up"]


class Resting(Connection):
    """A connection that rests when it was looked at."""

    def look(self, now):
        self.rests_until = now + 10
        return super().look(now)


async def test_a_connection_that_rests_is_looked_at_when_something_may_be_due():
    service, now = serving(connection := Resting()), clock()
    for later in (0, 1, 9, 10, 11):
        service.look(now + later)

    assert connection.log == ["look", "look"]


async def test_of_a_connection_that_rests_the_system_tells_once_that_its_client_has_left():
    """It is told of those that rest, and not asked about each of them at each tick."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        resting, awake = Resting(deaf=True, sock=ours), Connection(sock=ours)
        service, now = serving(resting, awake), clock()
        for later in (0, 11):
            service.look(now + later)
        assert resting.log == ["look", "look"]
        theirs.shutdown(socket.SHUT_WR)
        for later in (12, 13):
            service.look(now + later)
        assert resting.log == ["look", "look", "hung up"]
        service.look(now + 22)

    assert resting.log == ["look", "look", "hung up", "look", "hung up"]
    assert set(awake.log) == {"look"}


async def test_a_connection_whose_rest_has_ended_is_not_told_what_the_system_says_of_one():
    """It is looked at, which may find that there is something in the way still."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        service, now = serving(connection := Resting(deaf=True, sock=ours)), clock()
        service.look(now)
        theirs.shutdown(socket.SHUT_WR)
        connection.rests_until, connection.look = 0.0, lambda now: False
        service.look(now + 1)

    assert connection.log == ["look"]


async def test_where_the_system_cannot_tell_of_many_at_once_no_unheard_connection_rests(
    monkeypatch,
):
    monkeypatch.setattr("nardis.server.service.EPOLL", False)
    service, now = serving(connection := Resting(deaf=True)), clock()
    for later in (0, 1):
        service.look(now + later)

    assert connection.log == ["look", "look"]


async def test_where_the_system_has_no_room_to_tell_of_one_more_that_connection_does_not_rest(
    monkeypatch,
):
    """It goes on: a worker that has no more files is no fault of its clients."""

    def full():
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr("nardis.server.service.select.epoll", full)
    service, now = serving(connection := Resting(deaf=True)), clock()
    for later in (0, 1):
        service.look(now + later)

    assert connection.log == ["look", "look"]


# --- the shutdown ---------------------------------------------------------------------------------


async def test_a_service_remembers_how_far_the_shutdown_is():
    service = serving()
    assert (service.draining, service.settings.draining, service.interrupted) == (0.0, False, False)

    service.drain()
    assert 0 < service.draining <= clock()
    assert (service.settings.draining, service.interrupted) == (True, False)

    service.interrupt()
    assert service.interrupted is True


async def test_an_application_is_told_of_the_drain_and_how_long_it_is():
    service, told = serving(drain_s=4), []
    assert service.is_heard is False
    service.tell(told.append, lambda: told.append("interrupted"))
    assert service.is_heard is True

    service.drain()
    service.interrupt()

    assert told == [4, "interrupted"]


@pytest.mark.parametrize("fault", [ValueError("v"), SystemExit(3)], ids=repr)
async def test_an_application_that_cannot_hear_of_the_shutdown_keeps_no_other_from_it(
    fault, caplog
):
    service, told = serving(connection := Connection(), drain_s=4), []

    def fails(*args):
        raise fault

    service.tell(fails, fails)
    service.tell(told.append, lambda: told.append("interrupted"))

    service.drain()
    service.interrupt()
    service.cut()

    assert told == [4, "interrupted", "interrupted"]
    assert connection.log == ["goodbye", "interrupt", "end"]
    assert caplog.text.count("a fault in the runner") == 3


# --- the sweep ------------------------------------------------------------------------------------


async def test_the_sweep_goes_on_after_a_fault_of_its_own(monkeypatch):
    monkeypatch.setattr("nardis.server.service.TICK_S", 0)
    service, looks, again = serving(), [], anyio.Event()

    def look(now):
        looks.append(now)
        if len(looks) == 1:
            raise ValueError
        again.set()

    service.look = look
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(service.sweep)
            await again.wait()
            group.cancel_scope.cancel()

    assert len(looks) >= 2


@pytest.mark.parametrize(("tick_s", "ticks"), [(1.4, 1), (1.6, 2)])
async def test_a_tick_that_was_held_up_is_followed_by_one_more_before_anybody_is_looked_at(
    tick_s, ticks, monkeypatch
):
    """All were held up: a call would be taken for one that lasts, a client for one that waits."""
    slept, now = [], 0.0

    async def sleep(seconds):
        nonlocal now
        slept.append(seconds)
        now += tick_s * TICK_S
        await checkpoint()

    monkeypatch.setattr("nardis.server.service.anyio.sleep", sleep)
    monkeypatch.setattr("nardis.server.service.clock", lambda: now)
    service, looks = serving(), []

    def look(now):
        looks.append(len(slept))
        group.cancel_scope.cancel()

    service.look = look
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(service.sweep)

    assert looks == [ticks]
    assert set(slept) == {TICK_S}


# --- a call of the application --------------------------------------------------------------------


async def run(app, *, claimed=False):
    """Let *app* be called; return the service."""
    service = Service(app, Config())
    call = SimpleNamespace(claimed=claimed)
    await run_app(service, {"type": "http", "path": "/"}, call, None, None)
    return service


@pytest.mark.parametrize("claimed", [False, True])
@pytest.mark.parametrize("fault", [ValueError("v"), SystemExit(3)], ids=repr)
async def test_what_a_call_raises_is_logged_unless_the_application_has_done_that(
    fault, claimed, caplog
):
    async def app(scope, receive, send):
        raise fault

    service = await run(app, claimed=claimed)

    assert (service.requests, service.calls) == (1, 0)
    assert caplog.text.count(f"http / failed: {fault!r}") == (not claimed)


async def test_the_cancellation_of_a_call_goes_on(caplog):
    with anyio.CancelScope() as scope:
        scope.cancel()
        await run(lambda scope, receive, send: anyio.sleep_forever())

    assert scope.cancelled_caught
    assert caplog.text == ""


async def test_a_call_that_fails_leaves_nothing_to_the_garbage_collector():
    """The traceback has the frames of the call, which hold all of it."""

    async def app(scope, receive, send, held):
        raise ValueError("v")

    with collecting() as left:
        await run(partial(app, held=Held()))

    assert Held not in left


# --- how much is enough ---------------------------------------------------------------------------


@pytest.mark.parametrize(("admitted", "full"), [(0, False), (1, False), (2, True), (3, True)])
async def test_a_service_is_full_with_as_many_clients_as_are_allowed(admitted, full):
    service = serving(max_connections=2)
    service.admitted = admitted

    assert service.is_full() is full


async def test_so_many_requests_are_enough():
    calls = []

    async def app(scope, receive, send):
        calls.append(service.calls)

    service, call = Service(app, Config(), max_requests=2), SimpleNamespace(claimed=False)
    for enough in (False, True):
        await run_app(service, {"type": "http", "path": "/"}, call, None, None)
        assert service.enough.is_set() is enough

    assert (service.requests, service.calls, calls) == (2, 0, [1, 1])


async def test_a_path_cannot_forge_a_line_of_the_log(caplog):
    async def app(scope, receive, send):
        raise ValueError("v")

    scope = {"type": "http", "path": "/a\n2026 ERROR forged\x1b[31m"}
    await run_app(Service(app, Config()), scope, SimpleNamespace(claimed=False), None, None)

    assert r"http /a\n2026 ERROR forged\x1b[31m failed" in caplog.text


async def test_a_shutdown_reaches_a_task_whose_connection_another_has_taken_over():
    service, cancelled = Service(None, Config()), []
    service.relieved["task"] = lambda: cancelled.append("cancelled")

    service.interrupt()
    service.cut()

    assert cancelled == ["cancelled"] * 2
