"""
The server's side of one TLS session, from bytes to bytes: it neither reads nor writes a socket.

Both workers have the same rules for the end of a connection because of it. Python's own TLS streams
have no half-closed state, and either send close_notify also for what was cut, or never (asyncio's,
trio's).

Source: RFC 8446; §6.1 for close_notify.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Final

__all__ = ["TLS"]

# A read of decrypted bytes.
READ_BYTES: Final = 64 * 1024


class TLS:
    """One session; what it has for the client is in `outgoing`, to be sent in this order."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._session = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    @property
    def alpn(self) -> str | None:
        """The protocol that both sides agreed on, by its ALPN name."""
        return self._session.selected_alpn_protocol()

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        self._incoming.write(data)

    @property
    def has_input(self) -> bool:
        """Whether something has arrived that was not looked at."""
        return self._incoming.pending > 0

    @property
    def has_to_say(self) -> bool:
        """Whether something is to be sent."""
        return self._outgoing.pending > 0

    def outgoing(self) -> bytes:
        """Return what is to be sent, and forget it."""
        return self._outgoing.read()

    def shake_hands(self) -> bool:
        """
        Go on with the handshake; return whether it is complete, or else needs more of the client.

        Raises:
            ssl.SSLError: It failed; an alert may be in `outgoing`.
        """
        try:
            self._session.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def decrypt(self) -> bytes | None:
        """
        Return what the client said; None where more is needed.

        Nothing is returned at its close_notify, and behind a broken record.
        """
        try:
            return self._session.read(READ_BYTES)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLError:
            return b""

    def encrypt(self, data: bytes | memoryview) -> None:
        """
        Take what is for the client.

        Raises:
            OSError: The session has ended.
        """
        self._session.write(data)

    def close(self) -> None:
        """Say close_notify: what was sent so far is whole."""
        with suppress(ssl.SSLError):  # it waits for the client's, which we do not
            self._session.unwrap()
