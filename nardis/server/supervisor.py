"""
Several processes that serve one set of sockets.

The supervisor opens the sockets and hands them down, so that no connection is lost when a worker
goes: those that wait in a queue wait for the next one. It replaces what crashed, with growing
pauses, and on SIGHUP each worker by a new one: the successor is ready before its predecessor is
asked to go. Workers have sessions of their own: Ctrl-C reaches the supervisor alone, which asks
them once.

At the end everybody closes the door at once: the supervisor its own sockets, each worker the ones
that it was given, and a worker that has not asked for them yet gets none.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

import anyio
from anyio.abc import Process, TaskGroup

from ..errors import NardisError, StartFailed
from .config import DEFAULT_BIND, Config, settings
from .failures import unwrapped
from .line import ASKING, READY, SUPERVISOR_VARIABLE, dismiss, let_in
from .logs import counted, lifecycle, stopping
from .notices import WATCHDOG_S, notify_systemd
from .serving import tell
from .signals import signals
from .sockets import Doors, host_and_port, listening, reserving, urls_of

__all__ = ["supervise"]

logger: logging.Logger = logging.getLogger("nardis.server")

# Pauses before a worker is started again: the first, and the longest. One that served for longer
# begins anew.
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 10.0

# How much longer than its own watchdog a worker gets before it is killed.
KILL_S: Final = 1.0


async def supervise(target: str, config: Config, announce: Callable[[list[str]], None]) -> None:
    """
    Keep `config.workers` processes serving *target* until SIGINT or SIGTERM.

    Raises:
        StartFailed: An address is taken, or the first worker did not start; it has said why.
    """
    with unwrapped(), reserving(config) if config.reuse_port else listening(config) as doors:
        doors.take_over()
        supervisor = Supervisor(target, config, doors)
        with signals(supervisor.take_signal) as arrived:
            await supervisor.run(arrived, announce)


class Worker:
    """
    One process that serves.

    Attributes:
        since: When it was started.
        admitted: It may serve, and has its sockets.
        ready: It serves.
        dismissed: It was asked to end.
    """

    def __init__(self, process: Process, line: socket.socket) -> None:
        self.process: Process = process
        self.line: socket.socket = line
        self.since: float = anyio.current_time()
        self.admitted: bool = False
        self.ready: bool = False
        self.dismissed: bool = False

    async def begin(self, sockets: Sequence[socket.socket]) -> bool:
        """Hand *sockets* over when the worker asks; return whether it then serves."""
        if await self.hear() == ASKING and not self.dismissed:
            self.admitted = True
            let_in(self.line, sockets)
            self.ready = await self.hear() == READY
        return self.ready

    async def hear(self) -> bytes:
        """Return the next thing that the worker says; nothing once it is gone."""
        await anyio.wait_readable(self.line)
        try:
            return self.line.recv(1)
        except OSError:
            return b""

    def dismiss(self) -> None:
        """
        Ask it to end, not by a signal: a second one, such as systemd's, would end it at once.

        One that still loads the application has nothing to bring to an end, and would hear of it
        late.
        """
        if not self.dismissed:
            self.dismissed = True
            dismiss(self.line)
            if not self.admitted and self.process.returncode is None:
                with suppress(ProcessLookupError):
                    self.process.terminate()

    def kill(self) -> None:
        """End it at once, if it is still there."""
        if self.process.returncode is None:
            self.process.kill()


class Supervisor:
    """Keeps workers running."""

    def __init__(self, target: str, config: Config, doors: Doors) -> None:
        self._config = config
        self._doors = doors
        self._urls = urls_of(doors, config)
        self._command = [sys.executable, "-m", "nardis", "serve", target]
        self._workers: set[Worker] = set()
        self._stopping = anyio.Event()
        self._changing = anyio.Lock()  # who changes which workers there are
        self._group: TaskGroup
        self._pause_s = FIRST_PAUSE_S
        self._asked_to_stop = False
        self._stopped_at = 0.0
        self._failed: str | None = None

    async def run(self, signalled: socket.socket, announce: Callable[[list[str]], None]) -> None:
        """Start the workers and keep them, to the end."""
        async with anyio.create_task_group() as self._group:
            self._group.start_soon(self._heed, signalled)
            # One first: what keeps it from starting is said once.
            async with self._changing:
                first = await self._start()
            if first is None and not self._stopping.is_set():
                raise StartFailed("the first worker did not start")
            await self._fill()
            if not self._stopping.is_set():
                announce(self._urls)
                lifecycle.info(
                    "started: %s with %s, pid %d, %s",
                    ", ".join(self._urls),
                    self._config.backend,
                    os.getpid(),
                    counted(self._config.workers, "worker", "workers"),
                )
                notify_systemd("READY=1")
                tell(self._config, ready=True)
            await self._stopping.wait()
            notify_systemd("STOPPING=1")
            tell(self._config, ready=False)
            await self._end()
            self._group.cancel_scope.cancel()
        lifecycle.info("ended after %.1f s", time.monotonic() - self._stopped_at)
        if self._failed is not None:
            raise NardisError(self._failed)

    # --- one worker -------------------------------------------------------------------------------

    async def _start(self) -> Worker | None:
        """Start a worker and wait until it is ready; None if it did not come so far."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        process = await anyio.open_process(
            self._command,
            stdin=subprocess.DEVNULL, stdout=None, stderr=None,
            pass_fds=[theirs.fileno()],
            env=self._environment(theirs.fileno()),
            start_new_session=True,
        )  # fmt: skip
        theirs.close()
        worker = Worker(process, ours)
        self._workers.add(worker)
        if self._stopping.is_set():
            worker.dismiss()
        if await worker.begin([] if self._config.reuse_port else self._doors.sockets):
            lifecycle.info("worker %d began", process.pid)
            self._group.start_soon(self._watch, worker)
            return worker
        await process.wait()
        self._forget(worker)
        return None

    def _environment(self, line: int) -> Mapping[str, str]:
        ours = {each.variable for each in settings()}
        bind = (
            [host_and_port(each) for each in self._doors]
            if self._config.reuse_port
            else DEFAULT_BIND
        )
        config = replace(self._config, workers=1, bind=bind, ready=None)
        environment = {name: value for name, value in os.environ.items() if name not in ours}
        # What this process finds beside its program, its workers find too.
        path = [sys.path[0], environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(each for each in path if each)
        return environment | config.as_environment() | {SUPERVISOR_VARIABLE: str(line)}

    async def _watch(self, worker: Worker) -> None:
        """Replace a worker that ends, or asks to be replaced."""
        if await worker.hear():
            while not await self._replace(worker):
                await self._pause()
        await self._gone(worker)
        if worker.dismissed or self._stopping.is_set():
            return
        if anyio.current_time() - worker.since > LONGEST_PAUSE_S:
            self._pause_s = FIRST_PAUSE_S
        await self._pause()
        await self._fill()

    async def _fill(self) -> None:
        """Start as many workers as are missing, again after growing pauses until they serve."""
        async with self._changing:
            while (missing := self._missing()) and not self._stopping.is_set():
                async with anyio.create_task_group() as starting:
                    for _ in range(missing):
                        starting.start_soon(self._start)
                if self._missing() and not self._stopping.is_set():
                    logger.error(
                        "a worker did not start: the next attempt is in %.1f s", self._pause_s
                    )
                    await self._pause()

    def _missing(self) -> int:
        return self._config.workers - sum(not worker.dismissed for worker in self._workers)

    async def _pause(self) -> None:
        with anyio.move_on_after(self._pause_s):
            await self._stopping.wait()
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    async def _replace(self, worker: Worker) -> bool:
        """
        Start a successor, then ask *worker* to stop. Return False if the successor did not start.

        If *worker* dies meanwhile, the successor replaces it.
        """
        async with self._changing:
            if worker.process.returncode is not None or worker.dismissed or self._stopping.is_set():
                return True
            if (successor := await self._start()) is not None:
                lifecycle.info(
                    "worker %d is replaced by %d", worker.process.pid, successor.process.pid
                )
                worker.dismiss()
                return True
            if not self._stopping.is_set():
                logger.error(
                    "the successor of worker %d did not start: it stays", worker.process.pid
                )
            return self._stopping.is_set()

    async def _gone(self, worker: Worker) -> None:
        """Wait until a worker is gone, and say so."""
        status = await worker.process.wait()
        if worker not in self._workers:
            return
        self._forget(worker)
        if worker.ready:
            expected = worker.dismissed or self._stopping.is_set()
            lifecycle.log(
                logging.INFO if expected else logging.ERROR,
                "worker %d ended with status %d" + ("" if expected else ": it is replaced"),
                worker.process.pid, status,
            )  # fmt: skip
        # One that was not admitted has been ended by a signal.
        if self._stopping.is_set() and worker.admitted and status != 0 and self._failed is None:
            self._failed = f"worker {worker.process.pid} ended its shutdown with status {status}"

    def _forget(self, worker: Worker) -> None:
        self._workers.discard(worker)
        worker.line.close()

    # --- all of them ------------------------------------------------------------------------------

    def take_signal(self, number: int) -> None:
        """End at once if this is the second time."""
        if number != signal.SIGHUP:
            if self._asked_to_stop:
                for worker in tuple(self._workers):
                    worker.kill()
                os._exit(128 + number)  # pragma: no cover  # nothing can be measured after it
            self._asked_to_stop = True

    async def _heed(self, signalled: socket.socket) -> None:
        """Replace all workers on SIGHUP, stop on others."""
        while True:
            await anyio.wait_readable(signalled)
            for number in signalled.recv(64):
                if number == signal.SIGHUP:
                    self._group.start_soon(self._replace_all)
                else:
                    self._stop(number)

    async def _replace_all(self) -> None:
        if self._stopping.is_set():
            return
        since, workers = time.monotonic(), tuple(self._workers)
        lifecycle.info(
            "SIGHUP: reloading; %s to replace", counted(len(workers), "worker", "workers")
        )
        replaced = [await self._replace(worker) for worker in workers]
        if not self._stopping.is_set():
            failed = counted(replaced.count(False), "successor", "successors")
            lifecycle.info(
                "reloaded after %.1f s%s",
                time.monotonic() - since,
                "" if all(replaced) else f"; {failed} did not start",
            )

    async def _end(self) -> None:
        """Wait for the last worker; each was asked to go."""
        while self._workers:
            await self._gone(next(iter(self._workers)))

    def _stop(self, number: int) -> None:
        """Close the doors, and ask all workers to go, also those that are just starting."""
        self._stopped_at = time.monotonic()
        self._stopping.set()
        self._doors.close()
        for worker in tuple(self._workers):
            worker.dismiss()
        stopping(number, self._config)
        self._group.start_soon(self._kill_late)

    async def _kill_late(self) -> None:
        await anyio.sleep(self._config.graceful_s + WATCHDOG_S + KILL_S)
        for worker in tuple(self._workers):
            self._failed = f"worker {worker.process.pid} did not end: it was killed"
            worker.kill()
