"""The line between a worker and its supervisor, each end held by a test."""

import os
import socket
import threading

import pytest

from nardis.server import forks as _forks
from nardis.server.line import (
    ASKING,
    END,
    GO,
    READY,
    SOCKET,
    SUPERVISOR_VARIABLE,
    Line,
    dismiss,
    let_in,
    line_to_supervisor,
)


@pytest.fixture
def ends():
    """Return the supervisor's end, and a Line with the other one."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, Line(theirs)


def test_a_worker_that_asks_is_given_the_sockets(ends):
    """They are those of the supervisor, and no program that the worker starts inherits them."""
    ours, line = ends
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        let_in(ours, [one, other])
        given = line.ask()

        assert ours.recv(10) == ASKING
        assert [each.getsockname() for each in given] == [one.getsockname(), other.getsockname()]
        assert not any(os.get_inheritable(each.fileno()) for each in given)
        for each in given:
            each.close()


def test_a_worker_may_serve_without_a_socket_from_its_supervisor(ends):
    ours, line = ends
    let_in(ours, [])

    assert line.ask() == []


def test_a_worker_that_is_dismissed_gets_nothing(ends):
    ours, line = ends
    dismiss(ours)

    assert line.ask() is None


def test_a_worker_whose_supervisor_is_gone_gets_nothing(ends):
    ours, line = ends
    ours.close()

    assert line.ask() is None
    line.say(READY)


@pytest.mark.parametrize("then", [END, b"", SOCKET])
def test_what_came_before_the_end_is_closed(ends, then):
    ours, line = ends
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        socket.send_fds(ours, [SOCKET], [server.fileno()])
    ours.send(then)
    ours.shutdown(socket.SHUT_WR)

    assert line.ask() is None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_a_supervisor_whose_worker_is_gone_notices_it_elsewhere(ends):
    ours, line = ends
    line.socket.close()

    let_in(ours, [])
    dismiss(ours)


@pytest.mark.parametrize("blocks", [True, False])
def test_a_thread_hears_of_the_end_and_leaves_it_to_be_read(ends, blocks):
    """Also where an event loop has made the socket one that does not block."""
    ours, line = ends
    line.socket.setblocking(blocks)
    heard = threading.Event()
    line.heed(heard.set)
    assert not heard.is_set()
    dismiss(ours)

    assert heard.wait(10)
    assert line.socket.recv(10) == END


def test_a_process_that_was_not_started_as_a_worker_has_no_line(monkeypatch):
    monkeypatch.delenv(SUPERVISOR_VARIABLE, raising=False)

    with line_to_supervisor() as line:
        assert line is None


def test_what_a_worker_starts_has_no_part_in_its_line(monkeypatch):
    """Neither a program, by the environment or by inheritance, nor a child that is forked."""
    ours, theirs = socket.socketpair()
    theirs.set_inheritable(True)
    monkeypatch.setenv(SUPERVISOR_VARIABLE, str(theirs.detach()))
    with ours, line_to_supervisor() as line:
        assert SUPERVISOR_VARIABLE not in os.environ
        assert not os.get_inheritable(line.socket.fileno())
        let_in(ours, [])
        assert line.socket.recv(10) == GO

        _forks._undo_all()
        assert line.socket.fileno() < 0
