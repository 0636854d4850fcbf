"""`inbox`: a disconnect is heard, whatever lies unread before it."""

from __future__ import annotations

import pytest

from tests.peers.raw_app import KIB, MIB
from tests.wire.cures.stock import CAN_GO, happens
from tests.wire.servers import Server


def leave_an_upload(server: Server, key: str, chunks: int, *, reset: bool) -> None:
    """Send a part of an upload that is read slowly, and leave."""
    with server.connect() as connection:
        connection.request("POST", f"/slow/{key}", transfer_encoding="chunked")
        server.event(key, "started")
        for _ in range(chunks):
            connection.send_chunk(bytes(5 * KIB))
        if reset:
            connection.reset()
    server.ask("GET", f"/release/{key}")


# As much as there is room for before the server's kernel shuts the window: a FIN comes after the
# data, a reset does not.
leaving = pytest.mark.parametrize(
    ("chunks", "reset"), [(48, False), (400, True)], ids=["by FIN", "by RST"]
)


@leaving
def test_inbox_tells_of_a_disconnect_behind_an_unread_upload(
    server: Server, key: str, chunks: int, reset: bool
):
    """A FIN comes when the data before it has found room: within a few reads."""
    leave_an_upload(server, key, chunks, reset=reset)

    assert server.event(key, "gone")["after"] <= 4


def test_inbox_of_stock_hides_a_disconnect_behind_an_unread_upload(stock_trio: Server, key: str):
    leave_an_upload(stock_trio, key, 48, reset=False)

    stock_trio.event(key, "took 3")
    assert not stock_trio.observed(key).get("gone"), CAN_GO + "inbox"


def answer_over_an_upload(server: Server, key: str) -> bytes:
    """Have a request answered whose body lies unread, and give the answer."""
    with server.connect() as connection:
        connection.request("POST", f"/unread/{key}", bytes(MIB))
        server.event(key, "started")
        server.ask("GET", f"/release/{key}")
        return connection.answer().body


def test_inbox_lets_a_last_send_return_over_an_unread_upload(server: Server, key: str):
    assert answer_over_an_upload(server, key) == b"not read"
    assert server.event(key, "returned")


def test_inbox_of_stock_hangs_in_the_last_send_over_an_unread_upload(stock_trio: Server, key: str):
    assert answer_over_an_upload(stock_trio, key) == b"not read"
    assert not happens(lambda: stock_trio.observed(key).get("returned")), CAN_GO + "inbox"


def ask_after_the_disconnect(server: Server, key: str) -> object:
    """Give what a second `receive()` after the disconnect gives; None is nothing."""
    with server.connect() as connection:
        connection.request("GET", f"/twice/{key}")
        server.event(key, "started")
    return server.event(key, "asked again")["answer"]


def test_inbox_repeats_the_disconnect(server: Server, key: str):
    assert ask_after_the_disconnect(server, key) == {"type": "http.disconnect"}


def test_inbox_of_stock_says_nothing_after_the_disconnect(stock_trio: Server, key: str):
    assert ask_after_the_disconnect(stock_trio, key) is None, CAN_GO + "inbox"
