"""A client's bytes over TLS: a session between a conversation and its socket."""

from __future__ import annotations

import ssl

import anyio

from .stream import LINGER_S, READ_BYTES, ByteStream, Stream
from .tls import TLS

__all__ = ["SecureStream"]


class SecureStream(ByteStream):
    """
    A stream in the clear, on top of one that is encrypted.

    Attributes:
        tls: The session.
    """

    __slots__ = ("_stream", "_turn", "tls")

    def __init__(self, stream: Stream, context: ssl.SSLContext) -> None:
        self._stream = stream
        self.tls: TLS = TLS(context)
        # Records go out in the order in which they were made.
        self._turn = anyio.Lock(fast_acquire=True)

    async def shake_hands(self, seconds: float) -> bool:
        """Agree with the client on a session; False says that it failed, or took too long."""
        with anyio.move_on_after(seconds):
            try:
                while not self.tls.shake_hands():
                    await self._say()
                    data = await self._stream.read()
                    if not data:
                        return False
                    self.tls.feed(data)
            except ssl.SSLError:
                return False
            finally:
                with anyio.CancelScope(shield=True, deadline=anyio.current_time() + LINGER_S):
                    await self._say()  # the end of it, or the alert that says why there is none
            return True
        return False

    async def read(self) -> bytes | None:
        """Return what the client said; see `ByteStream`."""
        tls = self.tls
        while (said := tls.decrypt()) is None:
            await self._say()
            data = await self._stream.read()
            if not data:
                return data
            tls.feed(data)
        if not said:
            await self._say()  # an alert; behind something said, the next to read or write says it
        return said

    async def write(self, *pieces: bytes) -> bool:
        """Encrypt and send *pieces*; see `ByteStream`."""
        async with self._turn:
            try:
                for piece in pieces:
                    for at in range(0, len(piece), READ_BYTES):
                        self.tls.encrypt(memoryview(piece)[at : at + READ_BYTES])
                        if not await self._stream.write(self.tls.outgoing()):
                            return False
            except ssl.SSLError:
                return False
            except BaseException:
                self._stream.cut()  # a record that is missing breaks the session
                raise
            return True

    def try_write(self, data: bytes) -> bool:
        """Encrypt and send a few bytes if there is room for them now; see `ByteStream`."""
        # A record that is made has to go out, so there has to be room before.
        if self._turn.locked() or not self._stream.has_room:
            return False
        try:
            self.tls.encrypt(data)
        except ssl.SSLError:
            return False
        if not self._stream.try_write(self.tls.outgoing()):
            self._stream.cut()
        return True

    async def finish(self, *, whole: bool) -> None:
        """Close our sending half; if nothing is missing, say close_notify (RFC 8446 §6.1)."""
        if whole:
            self.tls.close()
            await self._say()
        await self._stream.finish(whole=whole)

    async def _say(self) -> None:
        """Send what TLS itself has to say, unless a writer is at it, who takes it along."""
        if self.tls.has_to_say and not self._turn.locked():
            async with self._turn:
                try:
                    await self._stream.write(self.tls.outgoing())
                except BaseException:
                    self._stream.cut()
                    raise
