"""
One process that serves: its event loop, its signals, and the certainty that it ends.

Under a supervisor (`_supervisor`) it has a line to it (`_line`): it says when it is ready, and when
it wants to be replaced; the end of that line says that the supervisor is gone.
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from random import randint
from typing import Any, Final

import anyio

from .._failures import failure_of
from ..errors import NardisError, UsageError
from ..types import ASGIApp
from .config import Config
from .failures import first_leaf
from .line import READY, RETIRING, Line, line_to_supervisor
from .logs import counted, lifecycle, set_up_logs, stopping
from .notices import WATCHDOG_S, notify_systemd
from .service import Service
from .serving import serve_on
from .signals import need_posix, signals
from .sockets import Doors, listening
from .target import load

__all__ = ["run"]

ANNOUNCEMENT: Final = "Nardis serves on {url} with {backend}"

# Open files that are no connections: the application's own, listening sockets, the event loop's.
SPARE_FILES: Final = 64

# An event loop closes the doors in no time. One that does not run has them bolted, this long after
# the signal.
BOLT_S: Final = 0.1
STUCK_STATUS: Final = 70  # EX_SOFTWARE of sysexits.h


def run(
    target: str | ASGIApp, config: Config | None = None, *, announce: str = ANNOUNCEMENT
) -> None:
    """
    Serve *target*, an application or its name, until SIGINT or SIGTERM.

    A second signal ends the process at once.

    *announce* is printed for each address once the server listens there. With several workers, or
    `max_requests`, this process supervises others, which load the application by its name: SIGHUP
    replaces them one by one.

    Outside of the main thread there are no signals: it serves until the process ends. `serve()` can
    be stopped there.

    A socket given as `fd://N` is taken over: that number is of no use to the program any more.

    Raises:
        StartFailed: An address is taken, or the application cannot start.
        UsageError: There is no such application; or several processes are to serve one that has no
            name, or from a thread; or the system is not POSIX.
    """
    config = config or Config()
    need_posix()
    with line_to_supervisor() as line:
        if line is None and (config.workers > 1 or config.max_requests is not None):
            _supervise(target, config, announce)
        else:
            _serve_alone(target, config, line, announce)


def _supervise(target: str | ASGIApp, config: Config, announce: str) -> None:
    if not _is_main_thread():
        raise UsageError(
            "a thread cannot supervise workers, because signals reach the main thread alone: serve "
            "with workers=1 and without max_requests, or call this in the main thread, or await "
            "nardis.server.serve() in an event loop of the thread"
        )
    if not isinstance(target, str):
        raise UsageError(
            "workers load the application by its name: run('module:app', Config(workers=...)), or "
            "`nardis serve module:app`"
        )
    from .supervisor import supervise

    set_up_logs(config)
    anyio.run(
        partial(supervise, target, config, partial(_announce, announce, config)),
        backend=config.backend,
    )


def _serve_alone(target: str | ASGIApp, config: Config, line: Line | None, announce: str) -> None:
    app = load(target) if isinstance(target, str) else target
    set_up_logs(config)
    config = replace(config, max_connections=min(config.max_connections, _room_for_connections()))
    options: dict[str, Any] = {}
    if config.backend == "asyncio":
        from .loops import steady_loop

        options["loop_factory"] = steady_loop
    process = _Process(config, line, announce)
    with contextlib.ExitStack() as stack:
        arrived = stack.enter_context(signals(process.take_signal)) if _is_main_thread() else None
        given = [] if line is None else line.ask()
        if given is None:  # the supervisor ends before this worker has begun
            return
        process.doors = stack.enter_context(listening(config, given))
        process.doors.take_over()
        if process.is_stopping():  # by a signal that came before there were doors to close
            return
        try:
            failure = anyio.run(
                partial(process.serve, app, arrived),
                backend=config.backend,
                backend_options=options,
            )
        finally:
            process.let_go()
    if failure is not None:
        raise failure
    process.has_ended()


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


class _Process:
    """
    What is there once in a process that serves.

    Attributes:
        doors: Its sockets, once it has them.
    """

    def __init__(self, config: Config, line: Line | None, announce: str) -> None:
        self.doors: Doors = Doors()
        self._config = config
        self._line = line
        self._announce = announce
        self._stop = anyio.Event()
        self._stopped_at = 0.0
        self._has_begun = False
        self._serves = False
        self._asked_to_stop = False
        self._watched = False
        self._timers: list[threading.Timer] = []
        self._cancelled = 0

    async def serve(self, app: ASGIApp, signalled: socket.socket | None) -> Exception | None:
        """Serve until told to stop; an error is returned, past the groups that would wrap it."""
        config = self._config
        failure: Exception | None = None
        async with anyio.create_task_group() as group:
            most = (
                None
                if config.max_requests is None
                else config.max_requests + randint(0, config.max_requests_jitter)
            )
            service = Service(app, config, most)
            group.start_soon(self._stop_with, service)
            group.start_soon(self._give_up_starting, group.cancel_scope)
            if signalled is not None:
                group.start_soon(self._wait_for_signal, signalled)
            if self._line is not None:
                self._line.heed(self._watch)
                group.start_soon(self._wait_for_supervisor, self._line)
                group.start_soon(self._retire, service.enough, self._line)
            try:
                self._cancelled = await serve_on(self.doors, service, self._stop.wait, self)
            except (Exception, SystemExit, BaseExceptionGroup) as exc:
                error = failure_of(exc)
                failure = (
                    first_leaf(error)
                    if isinstance(error, Exception)
                    else NardisError(f"serving ended with {error!r}")
                )
            group.cancel_scope.cancel()
        return failure

    def started(self, value: list[str] | None = None) -> None:
        """Say that the addresses in *value* are served: to terminal, supervisor and systemd."""
        self._has_begun = True
        if self.is_stopping():
            return
        self._serves = True
        # What is there now stays: the garbage collector need not look at it again.
        gc.collect()
        gc.freeze()
        if self._line is not None:
            self._line.say(READY)
        else:
            urls = value or []
            _announce(self._announce, self._config, urls)
            lifecycle.info(
                "started: %s with %s, pid %d", ", ".join(urls), self._config.backend, os.getpid()
            )
            notify_systemd("READY=1")

    def has_ended(self) -> None:
        """Log that it is over, and at what price."""
        cancelled = counted(self._cancelled, "request was cancelled", "requests were cancelled")
        if self._line is None:
            took_s = time.monotonic() - self._stopped_at
            lifecycle.info(
                "ended after %.1f s%s", took_s, f"; {cancelled}" if self._cancelled else ""
            )
        elif self._cancelled:
            lifecycle.info("worker %d: %s", os.getpid(), cancelled)

    async def _wait_for_signal(self, signalled: socket.socket) -> None:
        await anyio.wait_readable(signalled)
        if self._line is None:
            stopping(signalled.recv(1)[0], self._config)
        self._begin_to_stop()

    async def _stop_with(self, service: Service) -> None:
        """Stop when the application cannot go on."""
        await service.stopped.wait()
        self._begin_to_stop()

    async def _give_up_starting(self, serving: anyio.CancelScope) -> None:
        """Cancel a start that waits for something that does not come: nobody wants it any more."""
        await self._stop.wait()
        await anyio.sleep(self._config.drain_s)
        if not self._has_begun:
            lifecycle.warning("the start of the application took too long and was cancelled")
            serving.cancel()

    async def _wait_for_supervisor(self, line: Line) -> None:
        """Stop when it says anything, or is gone."""
        await anyio.wait_readable(line.socket)
        self._begin_to_stop()

    async def _retire(self, enough: anyio.Event, line: Line) -> None:
        """Ask for a successor: the supervisor stops us when there is one."""
        await enough.wait()
        line.say(RETIRING)

    def is_stopping(self) -> bool:
        """Whether somebody has asked it to end."""
        return self._watched

    def take_signal(self, number: int) -> None:
        """Make sure that the process ends: at once if this is the second time."""
        if self._asked_to_stop:
            os._exit(128 + number)  # pragma: no cover  # nothing can be measured after it
        self._asked_to_stop = True
        self._watch()

    def _begin_to_stop(self) -> None:
        if not self._stop.is_set():
            self._watch()
            self._stop.set()
            if (
                not self._serves
            ):  # the lifespan has to begin before it can end, and the doors do not wait for that
                self.doors.bolt()
            if self._line is None:
                notify_systemd("STOPPING=1")

    def _watch(self) -> None:
        """Close the doors soon, and leave the process when the time is up, whatever it does."""
        if not self._watched:
            self._watched = True
            self._stopped_at = time.monotonic()
            for seconds, act in (
                (BOLT_S, self._bolt),
                (self._config.graceful_s + WATCHDOG_S, _leave),
            ):
                timer = threading.Timer(seconds, act)
                timer.daemon = True
                timer.start()
                self._timers.append(timer)

    def let_go(self) -> None:
        """Let a program go on that nobody has asked to end: its serving is over by itself."""
        if self._line is None and not self._asked_to_stop:
            for timer in self._timers:
                timer.cancel()

    def _bolt(self) -> None:
        self.doors.bolt()  # those that there are by now


def _leave() -> None:
    with contextlib.suppress(Exception):  # nobody may be there to be told: a closed pipe, no stderr
        sys.stderr.write(
            "nardis: the shutdown is stuck, in a thread or in code that does not await: leaving\n"
        )
        sys.stderr.flush()
    os._exit(STUCK_STATUS)


def _announce(text: str, config: Config, urls: list[str]) -> None:
    for url in urls:
        with contextlib.suppress(OSError):  # a closed pipe, or a full disk
            print(text.format(url=url, backend=config.backend), file=sys.stderr, flush=True)  # noqa: T201


def _room_for_connections() -> int:
    """Allow as many open files as possible; return how many of them connections can be."""
    try:
        import resource
    except ImportError:  # pragma: no cover  # Windows
        return sys.maxsize
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # macOS says unlimited and does not mean it
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(soft - SPARE_FILES, 1)
