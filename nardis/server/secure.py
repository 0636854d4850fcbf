"""A client's bytes over TLS: a session between a conversation and its socket."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import anyio
from anyio.lowlevel import checkpoint

from .byte_stream import ByteStream
from .stream import LINGER_S, READ_BYTES, TURN_S, Stream, clock
from .tls import TLS

__all__ = ["SecureStream"]


class SecureStream(ByteStream):
    """
    A stream in the clear, on top of one that is encrypted.

    Attributes:
        tls: The session.
    """

    __slots__ = ("_stream", "_turn", "_turn_at", "rest", "tls")

    def __init__(self, stream: Stream, context: ssl.SSLContext) -> None:
        self._stream = stream
        self.tls: TLS = TLS(context)
        self.rest: Iterator[memoryview] | None = None  # behind that of the stream
        self._turn_at = 0.0  # others have a turn then, if nothing is waited for
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
        if tls.has_input and clock() > self._turn_at:
            await checkpoint()  # before something is taken; tiny records are many in one read
            self._turn_at = clock() + TURN_S
        while (said := tls.decrypt()) is None:
            await self._say()
            data = await self._stream.read()
            if not data:
                return data
            tls.feed(data)
        if not said:
            await self._say()  # an alert; behind something said, the next to read or write says it
        return said

    async def write(self, *pieces: bytes, keeps: bool = False) -> bool:
        """Encrypt and send *pieces*; see `ByteStream`."""
        return await self._write(_portions(pieces), keeps=keeps)

    async def resume(self) -> bool:
        """Send the `rest`; see `ByteStream`."""
        rest, self.rest = self.rest or iter(()), None
        return await self._stream.resume() and await self._write(rest)

    async def _write(self, portions: Iterator[memoryview], *, keeps: bool = False) -> bool:
        async with self._turn:
            try:
                for portion in portions:
                    self.tls.encrypt(portion)
                    record = self.tls.outgoing()
                    try:
                        if not await self._stream.write(record, keeps=keeps):
                            return False
                    except BaseException:
                        if keeps:  # a record that is made goes out
                            self._stream.rest = self._stream.rest or iter((memoryview(record),))
                            self.rest = portions
                        raise
            except ssl.SSLError:
                return False
            except BaseException:
                if self.rest is None:
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
        if self.tls.has_to_say and self.rest is None and not self._turn.locked():
            async with self._turn:
                try:
                    await self._stream.write(self.tls.outgoing())
                except BaseException:
                    self._stream.cut()
                    raise


def _portions(pieces: tuple[bytes, ...]) -> Iterator[memoryview]:
    """Go through *pieces* in portions, each for some records."""
    for piece in pieces:
        for at in range(0, len(piece), READ_BYTES):
            yield memoryview(piece)[at : at + READ_BYTES]
