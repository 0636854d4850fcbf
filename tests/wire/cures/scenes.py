"""What the tests of several cures play on both servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.peers.h2client import H2Client
from tests.peers.wsclient import WebSocketH1, WebSocketH2
from tests.wire.cures.stock import happens
from tests.wire.servers import Server


@contextmanager
def beside_another(server: Server, key: str) -> Iterator[H2Client]:
    """Open a connection on which another stream runs, which must go on to the end."""
    with H2Client(server.port) as client:
        other = client.streams[client.request("GET", f"/tick/{key}")]
        client.until(lambda: other.body)
        yield client
        ticks = other.body.count(b"\n") + 3
        client.until(lambda: other.body.count(b"\n") > ticks)
        assert other.body.split(b"\n")[:ticks] == [b"%d" % number for number in range(ticks)]


def end_of_a_websocket(
    server: Server, key: str, last: bytes, over: type[WebSocketH1] | type[WebSocketH2]
) -> object:
    """Send *last*, and return the code that the application hears; None is nothing."""
    with over(server.port, key) as websocket:
        websocket.send_raw(last) if last else websocket.end()
        if happens(lambda: server.observed(key).get("disconnect")):
            return server.observed(key)["disconnect"]["code"]
    return None
