"""Listening: addresses, paths and inherited sockets, all or none, and what is left afterwards."""

import os
import select
import socket
import sys

import pytest

from nardis.errors import StartFailed, UsageError
from nardis.server import Config
from nardis.server import forks as _forks
from nardis.server import sockets as _sockets
from nardis.server.sockets import listening, reserving, urls_of

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="paths and inherited sockets are those of POSIX"
)


def urls(config):
    with listening(config) as listeners:
        return urls_of(listeners, config)


def connect(path):
    """See that somebody listens there."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_free_port_is_named():
    [url] = urls(Config(bind=["127.0.0.1:0"]))

    assert url.startswith("http://127.0.0.1:")
    assert int(url.rpartition(":")[2]) > 0


@pytest.mark.parametrize("bind", ["[::1]:0", "::1:0"])
def test_an_address_of_ipv6_is_named_in_brackets(bind):
    [url] = urls(Config(bind=[bind]))

    assert url.startswith("http://[::1]:")


def test_with_a_certificate_it_is_https():
    [url] = urls(Config(bind=["127.0.0.1:0"], certfile="chain.pem", keyfile="key.pem"))

    assert url.startswith("https://")


@pytest.mark.parametrize(
    "bind",
    ["127.0.0.1", "127.0.0.1:port", "127.0.0.1:65536", "127.0.0.1:-1", "", "fd://x", "fd://9999"],
)
def test_an_address_that_is_none_is_named(bind):
    with pytest.raises(StartFailed, match="cannot listen on"):
        urls(Config(bind=[bind]))


def test_all_addresses_or_none(tmp_path):
    path = tmp_path / "socket"
    with pytest.raises(StartFailed, match="99999"):
        urls(Config(bind=[f"unix:{path}", "127.0.0.1:99999"]))

    assert not path.exists()


def test_a_path_is_there_as_long_as_it_is_served(tmp_path):
    path = tmp_path / "socket"
    config = Config(bind=[f"unix:{path}"])
    with listening(config) as listeners:
        assert urls_of(listeners, config) == [f"unix:{path}"]
        connect(path)

    assert not path.exists()


def test_a_path_that_somebody_else_removed_is_no_fault(tmp_path):
    path = tmp_path / "socket"
    with listening(Config(bind=[f"unix:{path}"])) as doors:
        path.unlink()

    assert not path.exists()
    assert [each.fileno() for each in doors.sockets] == [-1]


def test_the_socket_of_a_server_that_is_gone_is_replaced(tmp_path):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as abandoned:
        abandoned.bind(str(path))
    with listening(Config(bind=[f"unix:{path}"])):
        connect(path)


def test_a_path_in_use_is_left_alone(tmp_path):
    path = tmp_path / "socket"
    config = Config(bind=[f"unix:{path}"])
    with listening(config):
        with pytest.raises(StartFailed, match="in use"):
            urls(config)

        connect(path)


def test_a_file_is_not_replaced(tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(StartFailed, match="in use"):
        urls(Config(bind=[f"unix:{path}"]))

    assert path.read_text() == "data"


def test_a_path_that_cannot_be_is_named(tmp_path):
    with pytest.raises(StartFailed, match="No such file"):
        urls(Config(bind=[f"unix:{tmp_path}/missing/socket"]))


def test_an_inherited_socket_stays_open():
    with socket.create_server(("127.0.0.1", 0)) as opened:
        config = Config(bind=[f"fd://{opened.fileno()}"])
        with listening(config) as [listener]:
            assert listener.getsockname() == opened.getsockname()
            assert listener.fileno() != opened.fileno()

        with socket.create_connection(opened.getsockname()):
            """It listens as before."""


def test_an_inherited_socket_that_is_taken_over_is_closed_with_the_others():
    """Its number is a null device from then on, which programs that are started do not inherit."""
    with socket.create_server(("127.0.0.1", 0)) as opened:
        address = opened.getsockname()
        os.set_inheritable(opened.fileno(), True)
        with listening(Config(bind=[f"fd://{opened.fileno()}"])) as doors:
            doors.take_over()
            assert not os.get_inheritable(opened.fileno())
            with socket.create_connection(address):
                """It listens as before."""
            doors.close()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)
        assert os.read(opened.fileno(), 1) == b""


def test_where_no_socket_was_inherited_there_is_nothing_to_take_over():
    with listening(Config(bind=["127.0.0.1:0"])) as doors:
        doors.take_over()
        with socket.create_connection(doors.sockets[0].getsockname()):
            """It listens as before."""


def test_an_inherited_path_is_not_removed(tmp_path):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(path))
        opened.listen()
        assert urls(Config(bind=[f"fd://{opened.fileno()}"])) == [f"unix:{path}"]
        connect(path)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_an_inherited_socket_that_does_not_listen_is_refused(kind):
    with socket.socket(socket.AF_INET, kind) as opened:
        with pytest.raises(StartFailed, match="listens"):
            urls(Config(bind=[f"fd://{opened.fileno()}"]))


def test_what_is_inherited_and_no_socket_is_refused(tmp_path):
    with open(tmp_path / "file", "wb") as opened:
        with pytest.raises(StartFailed, match=f"fd://{opened.fileno()}"):
            urls(Config(bind=[f"fd://{opened.fileno()}"]))


def test_a_server_can_take_its_port_again_at_once():
    """Connections that were closed a moment ago do not hold it."""
    with listening(Config(bind=["127.0.0.1:0"])) as [listener]:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            listener.setblocking(True)
            listener.accept()[0].close()

    assert urls(Config(bind=[f"127.0.0.1:{port}"])) == [f"http://127.0.0.1:{port}"]


def test_sockets_are_not_inherited_by_whatever_the_application_starts():
    with listening(Config(bind=["127.0.0.1:0"])) as [listener]:
        assert not os.get_inheritable(listener.fileno())


# --- how they close -------------------------------------------------------------------------------


def test_closed_doors_stay_closed_and_another_server_has_the_path(tmp_path):
    """Closing them a second time takes nothing away from the next server."""
    config = Config(bind=[f"unix:{tmp_path}/socket"])
    with listening(config) as doors:
        doors.close()
        with listening(config):
            doors.close()
            connect(tmp_path / "socket")


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="only Linux makes up names for sockets")
def test_bolted_doors_look_to_an_event_loop_as_if_nobody_came(tmp_path):
    """It may go on looking at them, and close them when it comes to it."""
    with listening(Config(bind=["127.0.0.1:0", f"unix:{tmp_path}/socket"])) as doors:
        address = doors.sockets[0].getsockname()
        with select.epoll() as loop:
            for each in doors:
                loop.register(each.fileno(), select.EPOLLIN)
            doors.bolt()

            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address)
            assert not (tmp_path / "socket").exists()
            assert loop.poll(0) == []
            for each in doors:
                loop.register(each.fileno(), select.EPOLLIN)
                with pytest.raises(BlockingIOError):
                    each.accept()
                assert not os.get_inheritable(each.fileno())


def test_doors_that_are_closed_are_not_bolted():
    with listening(Config(bind=["127.0.0.1:0"])) as doors:
        number = doors.sockets[0].fileno()
        doors.close()
        doors.bolt()

        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)


def test_a_system_that_cannot_bolt_them_waits_for_the_event_loop(monkeypatch):
    class Unnamed(socket.socket):
        def bind(self, address):
            raise OSError("no name was given")

    with listening(Config(bind=["127.0.0.1:0"])) as doors:
        monkeypatch.setattr(_sockets.socket, "socket", Unnamed)
        doors.bolt()
        monkeypatch.undo()

        with socket.create_connection(doors.sockets[0].getsockname()):
            """They are open."""


def test_a_forked_child_closes_its_copies_and_nothing_else(tmp_path):
    """
    What it does first, done here; in a child of its own it is seen by `tests/wire/test_doors.py`.
    """
    path = tmp_path / "socket"
    with listening(Config(bind=[f"unix:{path}"])) as doors, doors.sockets[0].dup():
        _forks._undo_all()
        assert doors.sockets[0].fileno() < 0
        _forks._undo_all()
        connect(path)
        doors.leave()  # also where it closed them itself
    assert path.exists()


def test_ports_can_be_reserved_for_workers_that_share_them():
    """Nobody is served by the one who keeps them free."""
    with reserving(Config(bind=["127.0.0.1:0", "[::1]:0"], reuse_port=True)) as reserved:
        ports = [each.getsockname()[1] for each in reserved]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", ports[0]))
        for _ in range(2):
            with listening(Config(bind=[f"127.0.0.1:{ports[0]}"], reuse_port=True)):
                with socket.create_connection(("127.0.0.1", ports[0])):
                    """It is there for who listens."""


@pytest.mark.parametrize("bind", ["unix:socket", "fd://3"])
def test_what_is_no_port_cannot_be_reserved(bind):
    with pytest.raises(UsageError, match="is for ports"):
        reserving(Config(bind=[bind], reuse_port=True)).__enter__()


def test_a_port_that_is_taken_cannot_be_reserved():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(StartFailed, match=bind):
            reserving(Config(bind=[bind], reuse_port=True)).__enter__()


def test_options_that_a_system_does_not_have_are_left_out(monkeypatch):
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT", raising=False)

    assert urls(Config(bind=["127.0.0.1:0"]))
