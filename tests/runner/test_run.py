"""
`run()` where something is not as usual: a thread, a system that is not POSIX, a signal that comes
early.
"""

import io
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import anyio
import pytest
import uvloop

from nardis import Nardis, UsageError
from nardis.errors import NardisError
from nardis.server import Config, run, serve
from nardis.server import forks as _forks
from nardis.server import process as _run
from nardis.server.line import END, SUPERVISOR_VARIABLE
from nardis.server.loops import steady_loop
from nardis.server.signals import signals
from nardis.server.sockets import listening


def in_a_thread(function, *args, **options):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args, **options).result()


# --- threads --------------------------------------------------------------------------------------

PROGRAM = """
import sys, threading
from nardis import Nardis

app = Nardis()

@app.get("/")
async def index(req, res):
    await res.send("hello from a thread")

threading.Thread(target=app.listen, args=(0,), kwargs={"backend": sys.argv[1]}, daemon=True).start()
sys.stdin.read()
"""


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_listen_in_a_thread_serves_until_the_process_ends(backend):
    """Without a signal handler: the program's own ones are left alone."""
    command = [sys.executable, "-c", PROGRAM, backend]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        try:
            port = int(program.stderr.readline().split("http://127.0.0.1:")[1].split()[0])
            with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                answer = b"".join(iter(lambda: client.recv(65536), b""))
            program.stdin.close()
            said, status = program.stderr.read(), program.wait(20)
        finally:
            program.kill()

    assert answer.endswith(b"hello from a thread")
    assert status == 0
    assert "Traceback" not in said


def test_the_loop_of_another_thread_is_not_uvloops():
    """That one would crash now and then when the process ends under it."""
    loops = []
    thread = threading.Thread(target=lambda: loops.append(steady_loop()))
    thread.start()
    thread.join()
    loops.append(steady_loop())
    for loop in loops:
        loop.close()

    assert [isinstance(loop, uvloop.Loop) for loop in loops] == [False, True]


@pytest.mark.parametrize("options", [{"workers": 2}, {"max_requests": 5}])
def test_workers_need_the_main_thread(options):
    """The error says what else there is, also to one that has no name for workers."""
    for serving in (lambda: run("site:app", Config(**options)), lambda: Nardis().listen(**options)):
        with pytest.raises(UsageError, match=r"main thread.*workers=1.*nardis\.server\.serve"):
            in_a_thread(serving)


# --- systems --------------------------------------------------------------------------------------

ELSEWHERE = """
import os, select, signal, socket
del signal.SIGHUP, select.poll, os.fork, os.register_at_fork
del socket.AF_UNIX, socket.send_fds, socket.recv_fds
from nardis.server import Config, run
run("site:app", Config())
"""


def test_a_system_without_the_signals_of_posix_is_told_what_to_do(monkeypatch):
    monkeypatch.delattr(signal, "SIGHUP")

    with pytest.raises(UsageError, match="needs POSIX.*uvicorn"):
        run("site:app")
    with pytest.raises(UsageError, match="needs POSIX"):
        anyio.run(serve, Nardis())


def test_such_a_system_can_import_the_server():
    """The error comes where something is served."""
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], capture_output=True, text=True, timeout=50
    )

    assert done.stderr.splitlines()[-1].startswith(
        "nardis.errors.UsageError: the server of Nardis needs POSIX"
    )


# --- signals --------------------------------------------------------------------------------------


def test_a_signal_that_comes_before_the_doors_are_open_ends_it_without_a_lifespan(monkeypatch):
    app, begun = Nardis(), []

    @app.lifespan
    async def lifespan(app):  # pragma: no cover - must not happen
        begun.append(app)
        yield

    @contextmanager
    def late(config, given):
        signal.raise_signal(signal.SIGTERM)
        with listening(config, given) as doors:
            yield doors

    monkeypatch.setattr(_run, "listening", late)
    monkeypatch.setattr(_run, "_leave", lambda: None)

    run(app, Config(bind=["127.0.0.1:0"], graceful_s=0))
    assert begun == []


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_start_that_does_not_come_to_an_end_is_cancelled_by_a_signal(
    backend, monkeypatch, caplog
):
    """Its database may be away: it has `drain_s`, as what is running has, and may then clean up."""
    monkeypatch.setattr(_run, "_leave", lambda: None)
    app, seen = Nardis(), []

    @app.lifespan
    async def lifespan(app):
        signal.raise_signal(signal.SIGTERM)
        try:
            await anyio.sleep_forever()
        finally:
            seen.append("cleaned up")
        yield  # pragma: no cover - it does not come so far

    run(app, Config(bind=["127.0.0.1:0"], backend=backend, drain_s=0, graceful_s=10))

    assert seen == ["cleaned up"]
    assert "the start of the application took too long and was cancelled" in caplog.messages


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_start_that_has_come_to_its_end_is_not_given_up(backend, monkeypatch, caplog):
    monkeypatch.setattr(_run, "_leave", lambda: None)
    app, seen = Nardis(), []

    async def stop():
        signal.raise_signal(signal.SIGTERM)

    @app.lifespan
    async def lifespan(app):
        app.tasks.start_soon(stop)
        yield
        await anyio.wait_all_tasks_blocked()
        seen.append("ended")

    run(app, Config(bind=["127.0.0.1:0"], backend=backend, drain_s=0, graceful_s=10))

    assert seen == ["ended"]
    assert "took too long" not in caplog.text


def test_a_worker_that_is_dismissed_before_it_asked_ends_without_a_lifespan(monkeypatch):
    ours, theirs = socket.socketpair()
    monkeypatch.setenv(SUPERVISOR_VARIABLE, str(theirs.detach()))
    with ours:
        ours.send(END)
        run(Nardis(), Config(bind=["nowhere"]))

        assert ours.recv(10) == b"?"


def test_a_forked_child_has_the_signals_of_before():
    """What it does first, done here: a signal to it is none to its parent."""
    heard, before = [], signal.getsignal(signal.SIGTERM)
    with signals(heard.append) as arrived:
        assert signal.getsignal(signal.SIGTERM) is not before
        _forks._undo_all()
        assert signal.getsignal(signal.SIGTERM) is before
        poll = select.poll()
        poll.register(arrived, select.POLLIN)
        assert poll.poll(0) == []
    assert heard == []


class Gone(io.StringIO):
    """A stderr whose reader has gone."""

    def write(self, text):
        raise BrokenPipeError


@pytest.mark.parametrize("stderr", [io.StringIO(), None, Gone()], ids=["there", "none", "gone"])
def test_a_stuck_shutdown_ends_though_there_is_nobody_to_tell(monkeypatch, stderr):
    left = []
    monkeypatch.setattr(os, "_exit", left.append)
    monkeypatch.setattr(sys, "stderr", stderr)

    _run._leave()

    assert left == [70]


def test_a_server_starts_though_nobody_reads_what_it_says(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Gone())

    _run._announce("serves on {url}", Config(), ["http://127.0.0.1:3000"])


# --- an application that cannot go on -------------------------------------------------------------


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_it_ends_when_a_task_of_the_lifespan_fails(backend):
    """As a failure: whoever watches the process starts it again."""
    app = Nardis()

    async def background():
        raise ConnectionError("no broker")

    @app.lifespan
    async def lifespan(given):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(background)
            yield

    before = set(threading.enumerate())
    with pytest.raises(NardisError, match="ConnectionError: no broker"):
        run(app, Config(bind=["127.0.0.1:0"], backend=backend))
    # The program goes on: what would end it if the shutdown were stuck is gone.
    timers = [each for each in threading.enumerate() if isinstance(each, threading.Timer)]
    assert [each for each in set(timers) - before if not each.finished.is_set()] == []
