"""
HTTP/1.1.

Faults (hypercorn 0.18): a request head of 70 KiB passes a limit of 16, because only an incomplete one is measured; `Upgrade: h2c`
with unreadable settings ends the trio worker; an HTTP/1.0 response that was cut looks whole.

Cure: heads are measured when they are complete, too; an upgrade that cannot be read is ignored; a response that only the end of
the connection would end is cut by a reset.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import h2.connection
import h11
from h2.config import H2Configuration
from hypercorn.events import Closed, Event
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.typing import ConnectionState, TaskGroup, WorkerContext

from .._config import Config
from .settings import Settings

__all__ = ["H1"]


class _Refused(Exception):
    """The request was answered, and the connection closed, without the application."""


class H1(H11Protocol):
    """One HTTP/1.1 connection."""

    def __init__(
        self,
        app: Any,
        settings: Settings,
        context: WorkerContext,
        tasks: TaskGroup,
        state: ConnectionState,
        ssl: bool,
        client: tuple[str, int] | None,
        server: tuple[str, int] | None,
        send: Callable[[Event], Awaitable[None]],
        config: Config,
    ) -> None:
        super().__init__(app, settings, context, tasks, state, ssl, client, server, send)
        self._http2 = config.http2
        self._head_bytes = config.head_bytes

    async def handle(self, event: Event) -> None:
        """Take what came from the socket."""
        try:
            await super().handle(event)
        except _Refused:
            await self.send(Closed())

    async def _check_protocol(self, event: h11.Request) -> None:
        size = len(event.target)
        upgrade = settings = b""
        for name, value in event.headers:
            size += len(name) + len(value) + 4
            if name == b"upgrade":
                upgrade = value.lower()
            elif name == b"http2-settings":
                settings = value
        if size > self._head_bytes:
            await self._refuse(431)
        if event.method == b"PRI" and not self._http2:
            await self._refuse(505)
        if event.method == b"PRI" or (upgrade == b"h2c" and self._http2 and _readable(settings)):
            await super()._check_protocol(event)

    async def _refuse(self, status: int) -> None:
        await self._send_error_response(status)
        raise _Refused

    def ends_by_closing(self) -> bool:
        """Tell whether the end of the connection would be taken for the end of a response that is not whole (RFC 9112 §8)."""
        connection = self.connection
        return (
            isinstance(connection, h11.Connection)
            and connection.our_state is h11.SEND_BODY
            and (connection.their_http_version or b"1.0") < b"1.1"
        )

    def goodbye(self) -> bool:
        """Say nothing: responses do, by `connection: close`."""
        return False


def _readable(settings: bytes) -> bool:
    """Tell whether an upgrade to HTTP/2 would work."""
    try:
        h2.connection.H2Connection(H2Configuration(client_side=False)).initiate_upgrade_connection(settings)
    except Exception:  # whatever a client can make h2 raise
        return False
    return True
