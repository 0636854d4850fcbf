"""
The seam to hypercorn: everything that knows its insides, one module for each fault it cures.

It speaks HTTP/2 and WebSockets here; HTTP/1.1 is our own (`server.http1`). What the rest of the
runner uses is small, so that another server of the same descent (anycorn) could take its place:
`guest.Guest`, the conversation that a connection is handed over to, `guest.takes`, which says when,
and `settings.Settings`. The frames of WebSockets are not wsproto's but `server.websocket`'s, for
what is said there.

| module | fault of hypercorn 0.18 |
|---|---|
| `inbox` | a full queue hides that the client left, and makes the last send hang; a second `receive()` blocks for ever; a `send` that never suspends stops all others |
| `guest` | a fault in one connection ends the trio worker; a write to a stalled reader cannot be ended; a connection whose client left goes on writing |
| `protocol` | cleartext HTTP/2 cannot be switched off, and a broken upgrade is a fault |
| `h1` | a message glued to a WebSocket handshake is a fault; a denial says nothing of closing |
| `websockets` | the application hears 1006 however one ended, or nothing; a broken rule is not answered; a shutdown cuts; one that vanished is not found |
| `speech` | half a frame that was cancelled, and another inside of it; answers to Pings hold up the reader, or come late |
| `h2_window` | responses are buffered without bound while the client's window is shut |
| `h2_honesty` | a failed response stays open; lengths and fields are not checked; an upload goes on after its answer |
| `h2_frames` | late or broken frames of one stream are faults of the connection; a reset waits behind other frames |
| `h2_uploads` | an upload that nobody reads blocks the other streams; `100 Continue` never comes |
| `h2_websockets` | the end of a stream is not heard by its WebSocket, nor is it said |
| `h2` | a shutdown is not announced; put together what stands above |

`server.tls` and `server.loops` cure faults of asyncio that no worker can: see there.

Each has its contract test in `tests/wire/cures/`, which fails on the stock server: when it does not
any more, the cure can go.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

__all__ = ["SERIES"]

# The insides change without notice: another series needs each module looked at first.
SERIES: Final = "0.18."

if not version("hypercorn").startswith(SERIES):
    raise ImportError(
        f"nardis.server cures faults of hypercorn {SERIES}*, and here is {version('hypercorn')}: "
        "install 'hypercorn>=0.18,<0.19'"
    )
