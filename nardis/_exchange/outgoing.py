"""
The response side of an exchange: a message on its way to the server.

What is sent, and in which order, is the exchange's affair.
"""

from __future__ import annotations

from typing import NoReturn

from .._asgi.extensions import FILE, PATH, extension
from ..types import Message
from .incoming import Incoming
from .lifetime import shielded
from .pulse import Pulse

__all__ = ["Outgoing"]


class Outgoing(Incoming):
    """
    One request, and the way back.

    Attributes:
        pulse: What is sent while the handler is silent; None where that is nothing.
    """

    __slots__ = ("_plain", "_torn", "pulse")

    # Set by the exchange's constructor, as those of the request side.
    _plain: bool  # started, may have a body, unfiltered, untorn: the short way through write()
    _torn: bool  # a send was interrupted half-way (R5)
    pulse: Pulse | None
    writing: float

    @property
    def wrote_at(self) -> float:
        """When something of the body was last sent, a little late; 0.0 is never."""
        return self._yields_at

    def let_go(self) -> None:
        """Let go of the server: the watcher ends, and what is sent in the handler's stead (C3)."""
        self.close_body()
        if self.pulse is not None:
            self.closing: bool = self.closing or not self.is_over()  # nothing follows in its stead
            self.pulse.stop()

    async def pulse_ended(self) -> None:
        """Wait until nothing is sent in the handler's stead: a filter may be in a thread."""
        if self.pulse is not None:
            with shielded(self.limits.cleanup_s):
                await self.pulse.ended()

    async def run_deferred(self) -> None:
        """Run what was deferred, once nothing of this exchange is at work any more."""
        await self.pulse_ended()
        await Incoming.run_deferred(self)

    @property
    def takes_files(self) -> bool:
        """
        Whether the server sends parts of files by itself.

        Of our own it is asked only where nothing is wrapped around the application: a middleware
        may not know the message, and drop the body.
        """
        lent = self.client is None or getattr(self.client, "scope", None) is not None
        return lent and extension(self.scope, FILE) is not None

    @property
    def takes_paths(self) -> bool:
        """Whether the server sends whole files by their path, and no parts of them."""
        offered = extension(self.scope, PATH) is not None
        return offered and extension(self.scope, FILE) is None

    async def _deliver(self, message: Message) -> None:
        # How far a server is with a whole file nobody sees: that is no stall.
        self.writing = 0.0 if message["type"] == PATH else self._clock()
        try:
            if self.cancel_scope is not None:
                await self._send(message)
            else:
                await self.bounded(lambda: self._send(message))
        except BaseException as exc:
            await self._interrupted(exc)
        finally:
            self.writing = 0.0

    async def _interrupted(self, exc: BaseException) -> NoReturn:
        """Note that the response is torn, because a send was cut short (R5)."""
        self._torn = True
        self._plain = False
        await Incoming._interrupted(self, exc)
