"""
HTTP/2, with all its cures.

Fault (hypercorn 0.18): at a shutdown new streams are reset as if they had been worked on, and open
ones may be cut by h2 itself, which sends nothing more after its own GOAWAY.

Cure: a GOAWAY that names the last stream that will be served, past h2's own accounts of it (RFC
9113 §6.8): the client may repeat what comes later elsewhere. The connection closes when its streams
have ended.
"""

from __future__ import annotations

from typing import Any

import h2.errors
import h2.events
from hyperframe.frame import GoAwayFrame

from .h2_frames import SteadyH2

__all__ = ["H2"]


class H2(SteadyH2):
    """One HTTP/2 connection."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._leaving = False

    def goodbye(self) -> bool:
        """Take no more requests, and close after those that run; return True if that is news."""
        if self._leaving:
            return False
        self._leaving = True
        last = self.connection.highest_inbound_stream_id
        self._collect()
        self._out += GoAwayFrame(
            0, last_stream_id=last, error_code=h2.errors.ErrorCodes.NO_ERROR
        ).serialize()
        self.kick()
        return True

    def finished(self) -> bool:
        """Whether all was said, so that the connection can be closed."""
        return super().finished() or (self._leaving and not self.streams and not self._to_stop)

    async def _create_stream(self, request: h2.events.RequestReceived) -> None:
        if self._leaving:
            self.reset(request.stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
            return
        await super()._create_stream(request)
