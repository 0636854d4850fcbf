"""`guest`: a fault in one connection ends that connection alone."""

from __future__ import annotations

from contextlib import suppress

from tests.wire.cures.stock import CAN_GO, happens, serves
from tests.wire.servers import Server


def meet_a_fault(server: Server, key: str) -> None:
    """Let the task that reads one connection raise."""
    with server.connect() as connection:
        connection.request("POST", f"/fault/{key}", content_length=5)
        server.event(key, "armed")
        with suppress(ConnectionResetError, BrokenPipeError):
            connection.send(b"fatal")
            connection.at_end()


def test_connection_contains_a_fault(server: Server, key: str):
    with server.connect() as other:
        other.request("GET", f"/tick/{key}-other")
        other.head()

        meet_a_fault(server, key)

        for number in range(int(server.ask("GET", f"/progress/{key}-other").body) + 2):
            assert other.chunk() == b"%d\n" % number
    assert "a fault ended a connection" in server.log()


def test_connection_of_stock_ends_the_worker_by_a_fault(doomed: Server, key: str):
    meet_a_fault(doomed, key)

    assert happens(lambda: not serves(doomed)), CAN_GO + "guest"
