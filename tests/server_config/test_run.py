"""`run()` where something is not as usual: a signal that comes early."""

import select
import signal
import socket
from contextlib import contextmanager

from nardis import Nardis
from nardis.server import Config, _forks, _run, run
from nardis.server._line import END, SUPERVISOR_VARIABLE
from nardis.server._signals import signals
from nardis.server._sockets import listening

# --- signals ------------------------------------------------------------------------------------------------------------


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
