"""hypercorn's own settings, filled from ours, and the fields that it adds to each response."""

from __future__ import annotations

import time
from typing import Final
from wsgiref.handlers import format_date_time

from hypercorn.config import Config as HypercornConfig

from ..config import Config

__all__ = ["Settings"]

# Above any number of requests: HTTP/2 would close the connection under its open streams (hypercorn
# 0.18), see `h2`.
NO_LIMIT: Final = 2**62


class Settings(HypercornConfig):
    """
    What hypercorn's protocols ask.

    Attributes:
        draining: Say goodbye with each response.
        ws_ping_s: See `Config`, as for the others.
        ws_compression: Of WebSockets.
        write_stall_s: Of all clients.
    """

    def __init__(self, config: Config) -> None:
        self.draining: bool = False
        self.loglevel = "WARNING"
        self.h11_max_incomplete_size: int = config.head_bytes
        self.h2_max_header_list_size: int = config.head_bytes
        self.keep_alive_max_requests = NO_LIMIT
        self.certfile: str | None = config.certfile
        self.keyfile: str | None = config.keyfile
        self.keyfile_password: str | None = config.keyfile_password
        self.root_path: str = config.root_path
        if not config.http2:
            self.alpn_protocols: list[str] = ["http/1.1"]
        self.ws_ping_s: float = config.ws_ping_s
        self.ws_compression: bool = config.ws_compression
        self.write_stall_s: float = config.write_stall_s
        self._second = 0
        self._date: list[tuple[bytes, bytes]] = []

    def response_headers(self, protocol: str) -> list[tuple[bytes, bytes]]:
        """
        Return the Date field, made once a second.

        While draining, HTTP/1.1 is told as well that the connection ends (RFC 9112 §9.6).
        """
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._date = [(b"date", format_date_time(second).encode("ascii"))]
        if self.draining and protocol == "h11":
            return [*self._date, (b"connection", b"close")]
        return self._date
