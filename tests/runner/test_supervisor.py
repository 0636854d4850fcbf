"""
What a supervisor does with workers that come late, fail, retire or do not end; each of them does
here as the test says.
"""

import logging
import os
import resource
import signal
import socket
import sys
from contextlib import asynccontextmanager

import anyio
import pytest

from nardis.errors import NardisError, StartFailed
from nardis.server import Config
from nardis.server import supervisor as _supervisor
from nardis.server.failures import unwrapped
from nardis.server.line import ASKING, READY, RETIRING
from nardis.server.process import SPARE_FILES, _room_for_connections
from nardis.server.sockets import listening
from nardis.server.supervisor import LONGEST_PAUSE_S, Supervisor, Worker

pytestmark = pytest.mark.anyio


class FakeProcess:
    """A worker's process."""

    def __init__(self, pid, line):
        self.pid = pid
        self.returncode = None
        self.killed = False
        self.terminated = False
        self.given = []
        self._line = line
        self._ended = anyio.Event()

    def say(self, what):
        self._line.send(what)

    async def asks(self):
        """Ask to serve, and wait for what it needs for that."""
        self.say(ASKING)
        while True:
            await anyio.wait_readable(self._line)
            said, numbers, *_ = socket.recv_fds(self._line, 1, 1)
            self.given += [socket.socket(fileno=number) for number in numbers]
            if said == b".":
                return
            assert said == b"s"

    async def serves(self):
        """Ask to serve, and do so."""
        await self.asks()
        self.say(READY)

    def end(self, status):
        for each in (*self.given, self._line):
            each.close()
        self.returncode = status
        self._ended.set()

    async def dismissed(self):
        """Wait until it is asked to end."""
        await anyio.wait_readable(self._line)
        assert self._line.recv(10) == b"!"

    async def leaves(self):
        """Wait until it is asked to end, and do so."""
        await self.dismissed()
        self.end(0)

    async def wait(self):
        await self._ended.wait()
        return self.returncode

    def kill(self):
        self.killed = True
        self.end(-signal.SIGKILL)

    def terminate(self):
        """Take a signal while the application is loaded."""
        self.terminated = True
        self.end(-signal.SIGTERM)


class Stage:
    """A supervisor, and the processes that it opens, which come in the order of `opened`."""

    def __init__(self, supervisor, signalled):
        self.supervisor = supervisor
        self.announced = anyio.Event()
        self.may_open = anyio.Event()
        self.may_open.set()
        self._signalled = signalled
        self._opening, self.opened = anyio.create_memory_object_stream(10)
        self._count = 0

    async def open_process(self, command, *, pass_fds, **options):
        """Stand where the one of anyio does."""
        assert command[0] == sys.executable
        self._count += 1
        process = FakeProcess(self._count, socket.socket(fileno=os.dup(pass_fds[-1])))
        await self._opening.send(process)
        await self.may_open.wait()
        return process

    def announce(self, urls):
        assert len(urls) == 1
        self.announced.set()

    def signal(self, number):
        self._signalled.send(bytes([number]))

    async def ready(self):
        """Let the next process be one that is ready."""
        process = await self.opened.receive()
        await process.serves()
        return process

    async def fails(self):
        """Let the next process be one that does not start."""
        (await self.opened.receive()).end(1)

    async def stop(self, *processes):
        """Let it end, and *processes* with it."""
        self.signal(signal.SIGTERM)
        for process in processes:
            await process.leaves()

    def close(self):
        self._opening.close()
        self.opened.close()


@asynccontextmanager
async def supervising(monkeypatch, **settings):
    """Run a supervisor beside the block, to its end, whose error is raised."""
    ours, theirs = socket.socketpair()
    config = Config(bind=["127.0.0.1:0"], **settings)
    with ours, theirs, listening(config) as doors, unwrapped(), anyio.fail_after(20):
        theirs.setblocking(False)
        stage = Stage(Supervisor("site:app", config, doors), ours)
        monkeypatch.setattr(anyio, "open_process", stage.open_process)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(stage.supervisor.run, theirs, stage.announce)
                yield stage
        finally:
            stage.close()


# --- the start ------------------------------------------------------------------------------------


async def test_an_address_is_announced_when_all_workers_are_ready(monkeypatch):
    async with supervising(monkeypatch, workers=2) as stage:
        first = await stage.ready()
        second = await stage.opened.receive()
        await anyio.wait_all_tasks_blocked()
        assert not stage.announced.is_set()
        await second.serves()
        await stage.announced.wait()
        await stage.stop(first, second)


async def test_a_first_worker_that_does_not_start_is_a_failed_start(monkeypatch):
    """And no second one is tried."""
    with pytest.raises(StartFailed, match="first worker"):
        async with supervising(monkeypatch, workers=2) as stage:
            await stage.fails()
    assert stage._count == 1


async def test_a_stop_while_the_first_worker_starts_is_no_failed_start(monkeypatch):
    """It may have been told by the same signal."""
    async with supervising(monkeypatch, workers=2) as stage:
        first = await stage.opened.receive()
        stage.signal(signal.SIGTERM)
        await stage.supervisor._stopping.wait()
        assert first.terminated
    assert stage._count == 1
    assert not stage.announced.is_set()


async def test_a_worker_that_comes_after_the_stop_is_ended_at_once(monkeypatch):
    """The first one, before it has loaded the application: that is no fault."""
    async with supervising(monkeypatch, workers=2) as stage:
        stage.may_open = anyio.Event()
        first = await stage.opened.receive()
        stage.signal(signal.SIGTERM)
        await stage.supervisor._stopping.wait()
        stage.may_open.set()
    assert first.terminated
    assert not stage.announced.is_set()


async def test_a_stop_while_workers_are_added_dismisses_all_of_them_and_announces_nothing(
    monkeypatch,
):
    async with supervising(monkeypatch, workers=2) as stage:
        first = await stage.ready()
        stage.may_open = anyio.Event()
        second = await stage.opened.receive()
        stage.signal(signal.SIGTERM)
        await stage.supervisor._stopping.wait()
        stage.may_open.set()
        await first.leaves()
    assert second.terminated
    assert stage._count == 2
    assert not stage.announced.is_set()


async def test_a_hang_up_while_the_first_worker_starts_waits_for_it(monkeypatch):
    """
    Its successor would dismiss it before it is ready, and that would look like a failed start.
    """
    async with supervising(monkeypatch, workers=1) as stage:
        first = await stage.opened.receive()
        stage.signal(signal.SIGHUP)
        await anyio.wait_all_tasks_blocked()
        assert stage._count == 1
        await first.serves()
        second = await stage.ready()
        await first.leaves()
        await stage.stop(second)
    assert stage.announced.is_set()


async def test_a_worker_that_does_not_start_is_tried_again_until_the_stop(monkeypatch, caplog):
    """The pause before the next attempt ends with it."""
    monkeypatch.setattr(_supervisor, "FIRST_PAUSE_S", LONGEST_PAUSE_S)
    async with supervising(monkeypatch, workers=2) as stage:
        first = await stage.ready()
        await stage.fails()
        while "the next attempt" not in caplog.text:
            await anyio.wait_all_tasks_blocked()
        await stage.stop(first)
    assert stage._count == 2


# --- one for another ------------------------------------------------------------------------------


async def test_a_worker_whose_successor_does_not_start_stays_and_is_replaced_later(
    monkeypatch, caplog
):
    monkeypatch.setattr(_supervisor, "FIRST_PAUSE_S", 0.01)
    async with supervising(monkeypatch, workers=1) as stage:
        old = await stage.ready()
        await stage.announced.wait()
        old.say(RETIRING)
        await stage.fails()
        new = await stage.ready()
        await old.leaves()
        await stage.stop(new)
    assert stage._count == 3
    assert caplog.text.count("it stays") == 1


async def test_a_restart_whose_successors_do_not_start_says_so(monkeypatch, caplog):
    caplog.set_level(logging.INFO, "nardis.lifecycle")
    async with supervising(monkeypatch, workers=1) as stage:
        worker = await stage.ready()
        await stage.announced.wait()
        stage.signal(signal.SIGHUP)
        await stage.fails()
        while "reloaded" not in caplog.text:
            await anyio.wait_all_tasks_blocked()
        await stage.stop(worker)
    assert "1 successor did not start" in caplog.text


async def test_a_restart_that_meets_the_stop_is_left_off(monkeypatch, caplog):
    caplog.set_level(logging.INFO, "nardis.lifecycle")
    async with supervising(monkeypatch, workers=1) as stage:
        worker = await stage.ready()
        await stage.announced.wait()
        stage.signal(signal.SIGHUP)
        successor = await stage.opened.receive()
        stage.signal(signal.SIGTERM)
        stage.signal(signal.SIGHUP)
        await worker.leaves()
    assert successor.terminated
    assert stage._count == 2
    assert caplog.text.count("reloading") == 1
    assert "reloaded" not in caplog.text


async def test_a_stop_while_a_successor_starts_ends_both_and_complains_of_neither(
    monkeypatch, caplog
):
    async with supervising(monkeypatch, workers=1) as stage:
        old = await stage.ready()
        await stage.announced.wait()
        old.say(RETIRING)
        new = await stage.opened.receive()
        await new.asks()
        stage.signal(signal.SIGTERM)
        await new.leaves()
        await old.leaves()
    assert stage._count == 2
    assert "stays" not in caplog.text


async def test_a_worker_that_ends_while_its_successor_was_asked_for_has_that_one(monkeypatch):
    """SIGHUP meets one that is retiring: it has one successor."""
    async with supervising(monkeypatch, workers=1) as stage:
        old = await stage.ready()
        await stage.announced.wait()
        old.say(RETIRING)
        new = await stage.opened.receive()
        stage.signal(signal.SIGHUP)
        await anyio.wait_all_tasks_blocked()
        await new.serves()
        await old.leaves()
        newer = await stage.ready()  # SIGHUP was for all that there were, the successor among them
        await new.leaves()
        await stage.stop(newer)
    assert stage._count == 3


async def test_a_worker_that_lived_long_is_followed_as_soon_as_the_first(monkeypatch, caplog):
    """Failures of long ago do not count."""
    monkeypatch.setattr(_supervisor, "FIRST_PAUSE_S", 0.06)
    async with supervising(monkeypatch, workers=1) as stage:
        worker = await stage.ready()
        await stage.announced.wait()
        for age in (0, LONGEST_PAUSE_S + 1):
            [known] = stage.supervisor._workers
            known.since -= age
            worker.end(1)
            await stage.fails()  # after the first pause; the next, twice as long, is logged
            worker = await stage.ready()
            await anyio.wait_all_tasks_blocked()
        await stage.stop(worker)
    assert caplog.text.count("the next attempt is in 0.1 s") == 2


# --- the doors ------------------------------------------------------------------------------------


async def test_the_doors_are_closed_before_anybody_ends(monkeypatch):
    """A worker has its own copies of them, which it closes itself."""
    async with supervising(monkeypatch, workers=1) as stage:
        first = await stage.ready()
        [door] = stage.supervisor._doors
        assert [each.getsockname() for each in first.given] == [door.getsockname()]
        stage.signal(signal.SIGTERM)
        await first.dismissed()
        assert door.fileno() < 0
        first.end(0)


async def test_a_worker_that_asks_at_the_moment_of_the_stop_is_given_nothing(monkeypatch):
    async with supervising(monkeypatch, workers=1) as stage:
        first = await stage.opened.receive()
        first.terminate = lambda: first.say(
            ASKING
        )  # it is a little further than the supervisor knows
        stage.signal(signal.SIGTERM)
        await first.leaves()
    assert first.given == []


async def test_workers_that_share_a_port_open_it_themselves(monkeypatch):
    async with supervising(monkeypatch, workers=1, reuse_port=True) as stage:
        first = await stage.ready()
        assert first.given == []
        await stage.stop(first)


async def test_a_worker_that_ends_before_it_is_told_to_is_no_fault(monkeypatch):
    """It may be gone before anybody has noticed."""

    def terminate():
        first.end(1)
        raise ProcessLookupError

    async with supervising(monkeypatch, workers=1) as stage:
        first = await stage.opened.receive()
        first.terminate = terminate
        stage.signal(signal.SIGTERM)


async def test_only_one_that_is_still_there_is_asked_to_end():
    ours, theirs = socket.socketpair()
    with ours:
        worker = Worker(FakeProcess(1, theirs), ours)
        worker.process.end(1)
        worker.dismiss()
        worker.dismiss()
        assert not worker.process.terminated


# --- the end --------------------------------------------------------------------------------------


async def test_only_who_is_still_there_is_killed():
    ours, theirs = socket.socketpair()
    with ours:
        worker = Worker(FakeProcess(1, theirs), ours)
        worker.process.end(0)
        worker.kill()
        assert not worker.process.killed


async def test_a_second_signal_kills_all(monkeypatch):
    """SIGHUP is none of those."""

    def leave(status):
        raise SystemExit(status)

    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(NardisError, match="status -9"):
        async with supervising(monkeypatch, workers=2) as stage:
            both = [await stage.ready(), await stage.ready()]
            await stage.announced.wait()
            take_signal = stage.supervisor.take_signal
            for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
                take_signal(number)
            assert not any(process.killed for process in both)
            stage.signal(signal.SIGTERM)
            for process in both:
                await process.dismissed()
            with pytest.raises(SystemExit) as caught:
                take_signal(signal.SIGINT)
    assert all(process.killed for process in both)
    assert caught.value.code == 128 + signal.SIGINT


async def test_a_worker_that_does_not_end_in_time_is_killed_and_named(monkeypatch):
    monkeypatch.setattr(_supervisor, "WATCHDOG_S", 0.05)
    monkeypatch.setattr(_supervisor, "KILL_S", 0)
    with pytest.raises(NardisError, match="worker 2 did not end: it was killed"):
        async with supervising(monkeypatch, workers=2, drain_s=0, graceful_s=0) as stage:
            first, second = await stage.ready(), await stage.ready()
            await stage.announced.wait()
            await stage.stop(first)
            await second.dismissed()
    assert (first.killed, second.killed) == (False, True)


async def test_a_worker_that_ends_its_shutdown_badly_is_named(monkeypatch):
    with pytest.raises(NardisError, match="worker 1 ended its shutdown with status 70"):
        async with supervising(monkeypatch, workers=1) as stage:
            first = await stage.ready()
            await stage.announced.wait()
            stage.signal(signal.SIGTERM)
            await first.dismissed()
            first.end(70)


# --- how many connections a process has room for --------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "refused", "room"),
    [
        ((256, 4096), None, 4096 - SPARE_FILES),
        ((256, 4096), ValueError, 256 - SPARE_FILES),
        ((256, 4096), OSError, 256 - SPARE_FILES),
        ((4096, 4096), AssertionError, 4096 - SPARE_FILES),
        ((256, resource.RLIM_INFINITY), None, sys.maxsize),
        ((16, 16), None, 1),
    ],
)
def test_the_limit_of_open_files_is_raised_where_it_can_be(monkeypatch, limits, refused, room):
    """To the hard one, which is not touched; what is left of it is for connections."""
    asked = []

    def set_limit(which, wanted):
        asked.append((which, wanted))
        if refused is not None:
            raise refused

    monkeypatch.setattr(resource, "getrlimit", lambda which: limits)
    monkeypatch.setattr(resource, "setrlimit", set_limit)

    assert _room_for_connections() == room
    assert asked == (
        [] if limits[0] == limits[1] else [(resource.RLIMIT_NOFILE, (limits[1], limits[1]))]
    )
