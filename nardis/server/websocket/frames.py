"""
Frames of a WebSocket: those of a client are read, a server's are made (RFC 6455 §5).

What a frame carries is taken as it arrives, and a message is bounded from the first byte of each
head: no more of it is ever in memory than the bound. A frame that is here as a whole, which is the
rule, takes the short way.
"""

from __future__ import annotations

import struct
from codecs import IncrementalDecoder, getincrementaldecoder
from typing import Final, NamedTuple, TypeAlias

from ...errors import UsageError
from .deflate import Corrupt, Inflating

__all__ = [
    "BINARY",
    "CLOSE",
    "PING",
    "PONG",
    "TEXT",
    "Broken",
    "Control",
    "Frames",
    "Said",
    "close_payload",
    "frame",
    "frame_head",
    "read_close",
    "unmask",
]

# Opcodes (RFC 6455 §5.2); the others are reserved.
CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
KNOWN: Final = frozenset({CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG})

# Bits of the first byte: nothing follows of the message; it is compressed (RFC 7692 §6); reserved.
FIN: Final = 0x80
COMPRESSED: Final = 0x40
RESERVED: Final = 0x70

# In the second byte: there is a mask. The rest is the length, or says how long the length is.
MASKED: Final = 0x80
IN_TWO_BYTES: Final = 126
IN_EIGHT_BYTES: Final = 127
MOST_CONTROL_BYTES: Final = 125

# Close codes of a failed connection (§7.4.1).
PROTOCOL_ERROR: Final = 1002
NOT_TEXT: Final = 1007
TOO_BIG: Final = 1009

# Codes that say what happened, and never stand in a frame: no code, no Close frame, no TLS.
NO_CODE: Final = 1005
LOCAL: Final = (1006, 1015)

# Numbers up to this size are masked as one: twice as fast below it, and slower above.
ONE_NUMBER_BYTES: Final = 1280

_XOR: Final = [bytes(byte ^ mask for byte in range(256)) for mask in range(256)]
_CHECKS_TEXT: Final = getincrementaldecoder("utf-8")


class Broken(Exception):
    """
    The client broke a rule, or a bound: the connection fails (RFC 6455 §7.1.7).

    Attributes:
        code: What the Close frame says.
        reason: Its words.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code: int = code
        self.reason: str = reason


class Control(NamedTuple):
    """
    A control frame.

    Attributes:
        opcode: `CLOSE`, `PING` or `PONG`.
        payload: What it carries.
    """

    opcode: int
    payload: bytes


Said: TypeAlias = "str | bytes | Control"


class Frames:
    """
    What one client says, in order: whole messages, and control frames between their parts.

    Args:
        bound: The largest message, in bytes of its UTF-8 or of its binary payload.
        compresses: Compressed messages were agreed on.

    >>> frames = Frames(bound=100)
    >>> frames.feed(bytes([0x81, 0x82]) + bytes(4) + b"hi" + bytes([0x89, 0x80]) + bytes(4))
    >>> frames.next(), frames.next(), frames.next()
    ('hi', Control(opcode=9, payload=b''), None)
    """

    __slots__ = (
        "_at",
        "_checks",
        "_data",
        "_ends",
        "_inflating",
        "_is_text",
        "_left",
        "_mask",
        "_message",
        "bound",
        "compresses",
    )

    def __init__(self, bound: int, *, compresses: bool = False) -> None:
        self.bound: int = bound
        self.compresses: bool = compresses
        self._data: bytes = b""  # what has come, up to `_at` worked on
        self._at: int = 0
        self._left: int = -1  # of the payload of the frame that has begun; -1 is none
        self._mask: bytes = b""  # turned to begin with its byte for the next of the payload
        self._ends: bool = False  # the frame is its message's last
        self._message: bytearray | None = None  # that has begun
        self._is_text: bool = False
        self._checks: IncrementalDecoder | None = None
        self._inflating: Inflating | None = None

    def feed(self, data: bytes) -> None:
        """Take what has arrived; `next` works on it."""
        if self._at < len(self._data):
            data = self._data[self._at :] + data
        self._data, self._at = data, 0

    def next(self) -> Said | None:
        """
        Return what the client said next; None if that is not here as a whole.

        Raises:
            Broken: It must not be said. Nothing that comes behind is of interest.
        """
        while True:
            said = self._begin() if self._left < 0 else self._go_on()
            if said is not _MORE:
                return said  # type: ignore[return-value]  # mypy does not know what is left

    # --- a frame ----------------------------------------------------------------------------------

    def _begin(self) -> Said | object | None:
        """Read a head, and a frame that is here as a whole with it."""
        data, at = self._data, self._at
        here = len(data) - at
        if here < 2:
            return None
        first, length = data[at], data[at + 1] & 0x7F
        self._check(first, data[at + 1], length)
        start = at + 6
        if length >= IN_TWO_BYTES:
            size = 2 if length == IN_TWO_BYTES else 8
            if here < 2 + size:
                return None
            start += size
            length = _read_length(data[at + 2 : at + 2 + size])
        if not first & COMPRESSED and self._inflating is None and not first & 0x8:
            self._bound(length)  # else what it inflates to is bounded
        end = start + length
        if len(data) < end:
            return self._begin_part(first, start, length)
        self._at = end
        payload = unmask(data[start:end], data[start - 4 : start])
        if first & 0x8:
            return Control(first & 0xF, payload)
        if first & (FIN | COMPRESSED) == FIN and self._message is None:
            return _text_of(payload) if first & 0xF == TEXT else payload
        self._open(first)
        return self._add(payload, ends=bool(first & FIN))

    def _check(self, first: int, second: int, length: int) -> None:
        """Refuse a head by its first two bytes."""
        opcode = first & 0xF
        if not second & MASKED:
            raise Broken(PROTOCOL_ERROR, "a frame of a client is masked")
        if first & RESERVED and not (
            self.compresses and first & RESERVED == COMPRESSED and opcode in (TEXT, BINARY)
        ):
            raise Broken(PROTOCOL_ERROR, "a reserved bit means nothing here")
        if opcode not in KNOWN:
            raise Broken(PROTOCOL_ERROR, f"opcode {opcode:#x} is reserved")
        if opcode & 0x8:
            if not first & FIN or length > MOST_CONTROL_BYTES:
                raise Broken(PROTOCOL_ERROR, "a control frame is whole, and of 125 bytes at most")
        elif (opcode == CONTINUATION) is (self._message is None):
            raise Broken(PROTOCOL_ERROR, "a message begins where another has ended, and not before")

    def _bound(self, more: int) -> None:
        have = 0 if self._message is None else len(self._message)
        if have + more > self.bound:
            raise Broken(TOO_BIG, f"a message is larger than {self.bound}")

    def _begin_part(self, first: int, start: int, length: int) -> object | None:
        """Begin a frame whose payload is still arriving; a control frame is waited for."""
        if first & 0x8 or len(self._data) < start:
            return None
        self._at, self._left = start, length
        self._mask = self._data[start - 4 : start]
        self._ends = bool(first & FIN)
        self._open(first)
        return _MORE

    def _go_on(self) -> Said | object | None:
        """Take what is here of the payload of a frame that has begun."""
        piece = self._data[self._at : self._at + self._left]
        if not piece:
            return None
        self._at += len(piece)
        self._left -= len(piece)
        payload = unmask(piece, self._mask)
        turned = len(piece) % 4
        self._mask = self._mask[turned:] + self._mask[:turned]
        if self._left:
            return self._add(payload, ends=False)
        self._left = -1
        return self._add(payload, ends=self._ends)

    # --- a message in parts -----------------------------------------------------------------------

    def _open(self, first: int) -> None:
        """Begin a message, unless this goes on with one."""
        if self._message is None:
            self._message = bytearray()
            self._is_text = first & 0xF == TEXT
            self._checks = _CHECKS_TEXT() if self._is_text else None
            self._inflating = Inflating() if first & COMPRESSED else None

    def _add(self, payload: bytes, *, ends: bool) -> Said | object:
        """Take a part of a message; return the message if that was the last."""
        if self._inflating is None:
            self._take(payload)
        else:
            try:
                for piece in self._inflating.pieces(payload, ends=ends):
                    self._bound(len(piece))
                    self._take(piece)
            except Corrupt as exc:
                raise Broken(NOT_TEXT, str(exc)) from exc
        if not ends:
            return _MORE
        message, self._message = self._message, None
        self._checks = self._inflating = None
        whole = bytes(message or b"")
        return _text_of(whole) if self._is_text else whole

    def _take(self, piece: bytes) -> None:
        if self._message is not None:
            self._message += piece
        if self._checks is not None:
            try:
                self._checks.decode(piece)
            except UnicodeDecodeError as exc:
                raise _not_text() from exc


# A frame was worked on, and says nothing by itself.
_MORE: Final = object()


def _text_of(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError as exc:
        raise _not_text() from exc


def _not_text() -> Broken:
    return Broken(NOT_TEXT, "a text is UTF-8")


def _read_length(data: bytes) -> int:
    """Read the length of a frame, which takes no more bytes than it needs, nor its highest bit."""
    length = int.from_bytes(data, "big")
    if length < (IN_TWO_BYTES if len(data) == 2 else 1 << 16) or length >> 63:
        raise Broken(PROTOCOL_ERROR, "a length is written in as few bytes as it needs")
    return length


def unmask(payload: bytes, mask: bytes) -> bytes:
    """
    Return *payload* with *mask* on it, or off it (RFC 6455 §5.3).

    >>> unmask(unmask(b"hello", b"1234"), b"1234")
    b'hello'
    """
    size = len(payload)
    if size <= ONE_NUMBER_BYTES:
        key = int.from_bytes((mask * ((size + 3) // 4))[:size], "little")
        return (int.from_bytes(payload, "little") ^ key).to_bytes(size, "little")
    masked = bytearray(payload)
    for place, byte in enumerate(mask):
        masked[place::4] = masked[place::4].translate(_XOR[byte])
    return bytes(masked)


# --- Close frames ---------------------------------------------------------------------------------


def read_close(payload: bytes) -> tuple[int, str]:
    """
    Read what a Close frame says; 1005 is no code (RFC 6455 §7.1.5, §7.4).

    Raises:
        Broken: It is malformed, or has a code that no frame may have.

    >>> read_close(bytes([0x0F, 0xA1]) + b"bye"), read_close(b"")
    ((4001, 'bye'), (1005, ''))
    """
    if not payload:
        return NO_CODE, ""
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not _may_be_said(code):
        raise Broken(PROTOCOL_ERROR, "a Close frame has a code that may be sent")
    return code, _text_of(payload[2:])


def close_payload(code: int, reason: str = "") -> bytes:
    r"""
    Make what a Close frame of ours says; a reason too long is cut, codes for nobody else are 1000.

    Raises:
        UsageError: *code* is none.

    >>> close_payload(4001, "bye"), close_payload(1005)
    (b'\x0f\xa1bye', b'')
    """
    if code == NO_CODE:
        return b""
    if code in LOCAL:
        code = 1000
    if not _may_be_said(code):
        raise UsageError(
            f"{code} cannot stand in a Close frame: take 1000, or one of your own from 3000 to 4999"
        )
    said = reason.encode()[: MOST_CONTROL_BYTES - 2]
    return struct.pack("!H", code) + said.decode(errors="ignore").encode()


def _may_be_said(code: int) -> bool:
    """Whether *code* is registered with IANA for frames, or in the ranges for all (§7.4.2)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


# --- ours -----------------------------------------------------------------------------------------


def frame(opcode: int, payload: bytes, *, compressed: bool = False) -> bytes:
    r"""
    Make a whole frame of a server, which has no mask (RFC 6455 §5.1).

    >>> frame(TEXT, b"hi"), frame(PING, b"")
    (b'\x81\x02hi', b'\x89\x00')
    """
    return frame_head(opcode, len(payload), compressed=compressed) + payload


def frame_head(opcode: int, size: int, *, compressed: bool = False) -> bytes:
    """Make what stands before a payload of *size* bytes."""
    first = FIN | opcode | (COMPRESSED if compressed else 0)
    if size < IN_TWO_BYTES:
        return bytes((first, size))
    if size < 1 << 16:
        return struct.pack("!BBH", first, IN_TWO_BYTES, size)
    return struct.pack("!BBQ", first, IN_EIGHT_BYTES, size)
