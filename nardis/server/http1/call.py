"""
One call of the application over HTTP/1.1: its `send`, and what it leaves to be done.

Source: the ASGI HTTP specification; RFC 9112 §6 and §7 (framing), §9.6 (closing).
"""

from __future__ import annotations

from contextlib import closing
from errno import ENOENT
from http import HTTPStatus
from os import SEEK_CUR, SEEK_SET, fstat, lseek
from stat import S_ISREG
from typing import Any, Final, cast

import anyio
from anyio import to_thread
from anyio.lowlevel import checkpoint

from ..._asgi.extensions import FILE, PATH, Cancels, Listener
from ..._failures import one_line
from ..._files.opening import open_path
from ...errors import ContentLengthMismatch, UsageError
from ...types import Message
from ..service import logger
from ..stream import TURN_S, Address, clock
from .inbound import Inbound, Talk
from .request import END_OF_HEAD, Chunks, Refused, RequestHead
from .response import CLOSE, Start, date_line, early_hints, refusal, trailer_section

__all__ = ["Call", "log_refusal"]

# How the client learns where a body ends (RFC 9112 §6.3).
NOT_BEGUN: Final = 0
CHUNKED: Final = 1
LENGTH: Final = 2
CLOSING: Final = 3
BODILESS: Final = 4
ENDED: Final = 5  # it has ended, or its last message is on its way
TRAILERS: Final = 6  # it has ended, but for what stands behind its last chunk (RFC 9112 §7.1.2)

# From this size on a piece is not copied to stand between its chunk's size and end: what a slow
# client waits for is held once.
LARGE_BYTES: Final = 16 * 1024


def log_refusal(client: Address, refused: Refused) -> None:
    """Log what the server refuses by itself: no application hears of it, nor the access log."""
    by = "a client" if client is None else client[0]
    logger.info("a request of %s is refused: %s %s", by, refused.status, one_line(refused.reason))


def extent_of(message: Message) -> tuple[int, int, int]:
    """
    Return the descriptor of a `zerocopysend`, where it begins, and how many bytes it gives.

    Without an offset it begins where the file stands, which then stands behind what is sent.
    Without a count it goes to the end.

    Raises:
        UsageError: It is no regular file that is open for reading bytes, or no part of one.
        ContentLengthMismatch: The file is shorter.
    """
    given: Any = message["file"]
    if hasattr(given, "encoding"):
        raise UsageError("a file is sent as bytes: open it with mode 'rb'")
    try:
        file: object = given.fileno() if hasattr(given, "fileno") else given
        if type(file) is not int:
            raise TypeError(f"{given!r} is no file of the system")
        found = fstat(file)
    except (OSError, TypeError, ValueError) as exc:  # closed, or in memory only
        raise UsageError(f"a file cannot be sent: {exc}") from exc
    if not S_ISREG(found.st_mode):
        raise UsageError("only a regular file can be sent")
    offset, count = message.get("offset"), message.get("count")
    stands = offset is None
    if stands:
        offset = given.tell() if given is not file else lseek(file, 0, SEEK_CUR)
    if count is None:
        count = max(found.st_size - offset, 0) if type(offset) is int else 0
    if not (type(offset) is int and type(count) is int and offset >= 0 and count >= 0):
        raise UsageError(f"offset and count are numbers of bytes, not {offset!r} and {count!r}")
    if count and offset + count > found.st_size:
        raise ContentLengthMismatch(
            f"the file has {found.st_size:,} bytes, and not {offset + count:,}: none of them was "
            "sent"
        )
    if stands and given is not file:
        given.seek(offset + count)
    elif stands:
        lseek(file, offset + count, SEEK_SET)
    return file, offset, count


class Call(Inbound):
    """
    One request, and the answer to it.

    Attributes:
        claimed: A Nardis application looks after its limits, and logs its failures.
        listener: Its exchange, which is told at once what happens to the client.
        progressed: When the client last took a byte of the response, by `time.monotonic`; 0.0 is
            never.
        stalled: The client took nothing for too long.
        left: The client is gone.
        scope: Lent to the application: it is the one that the conversation runs in.
        over: The last message was sent.
    """

    __slots__ = (
        "_framing",
        "_keeps",
        "_owed",
        "_start",
        "_trailers",
        "_yielded",
        "claimed",
        "listener",
        "progressed",
        "scope",
        "stalled",
    )

    def __init__(self, talk: Talk, request: RequestHead, scope: Cancels | None) -> None:
        self.scope: Cancels | None = scope
        self.claimed: bool = False
        self.listener: Listener | None = None
        self.progressed: float = 0.0
        self.stalled: bool = False
        self.left: bool = False
        self.over: bool = False
        self._talk = talk
        self._head = request
        self._rest = request.length  # bytes of the body that the application has not got
        self._chunks: Chunks | None = None
        self._expects = request.expects
        self._deaf = False  # the application has returned: nobody is to hear anything more
        self._given = False  # the application has got the whole body
        self._waiting = 0.0  # a task of it waits for the client, since then
        self._waited = 0.0  # seconds in which others did, and nothing came
        self._turn: anyio.Event | None = None  # another one waits for that
        self._end: anyio.Event | None = None  # one waits for the end
        self._start: Start | None = None  # the head of the response
        self._trailers = b""  # lines of them, until the last one is there
        self._framing = NOT_BEGUN
        self._owed = 0  # bytes of the declared length that were not sent
        self._keeps = not request.close
        self._yielded = 0.0

    # --- for the runner, the application's exchange and the access log ----------------------------

    def has_left(self) -> bool:
        """Whether the client is gone, also where an unread body lies before the news of it."""
        return self.left

    @property
    def waits_since(self) -> float:
        """Since when the application waits for the rest of a body; 0.0 if others look after it."""
        return self._waiting if not (self._given or self.claimed) else 0.0

    def answered(self) -> None:
        """Hear that the call goes on after the end of its response."""
        if self.over:
            self._talk.answered(self)

    def stall(self) -> None:
        """Let it be known that the client is cut because it took nothing."""
        self.stalled = True
        if self.listener is not None:
            self.listener.stalled()

    def leave(self) -> None:
        """Let it be known that the client is gone."""
        self.left = True
        self._let_go()
        if self.listener is not None:
            self.listener.left()
        self.hang_up()

    def hang_up(self) -> None:
        """Close the socket, which the application may not do for long: nobody is there any more."""
        if self._framing != ENDED and not self.cut_short() and not self._talk.wire.closed:
            self._talk.wire.drop_input()  # answers before this one may be on their way
            self._talk.wire.close()

    @property
    def began(self) -> bool:
        """Whether the response has begun."""
        return self._framing != NOT_BEGUN

    def _let_go(self) -> None:
        """Wake who waits for what will not come."""
        if self._waiting:
            self._talk.wire.wake()
        if self._end is not None:
            self._end.set()

    # --- send -------------------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """Take a message of the application; it is the ASGI `send`."""
        if self.left:
            return await checkpoint()  # it may be sending in a loop
        kind = message["type"]
        if kind == "http.response.start" and self._start is None:
            trailing = message.get("trailers", False)
            wanted = trailing and self._head.takes_trailers()
            self._start = Start(message["status"], message.get("headers") or (), trailing, wanted)
            return None
        if kind != "http.response.body" or self._start is None or self._framing >= ENDED:
            return await self._send_beside(kind, message)
        more: bool = message.get("more_body", False)
        before_trailers = not more and self._start.chunked
        more = more or before_trailers
        body: bytes = message.get("body", b"")
        size = len(body)
        if self._framing == CHUNKED and more and size:  # nearly all of a stream
            if size < LARGE_BYTES:
                chunk = b"%x\r\n%b\r\n" % (size, body)
                rest = self._talk.stream.offer((chunk,), len(chunk))
            else:
                line = b"%x\r\n" % size
                rest = self._talk.stream.offer((line, body, b"\r\n"), len(line) + size + 2)
            taken = rest is None or await rest
        else:
            pieces = self._framed(body, size, more)
            if not more:
                self._framing = ENDED
            try:
                taken = not pieces or await self._talk.stream.write(*pieces)
            except BaseException:
                self._talk.wire.cut()  # the head is missing, or a part of the length
                raise
        if not taken:
            self.leave()
            self._talk.wire.close()
        elif not more:
            self.over = True  # as _end_here() says, without a call
            if self._waiting or self._end is not None:
                self._let_go()
        elif before_trailers:
            self._await_trailers()
        elif not self.claimed:  # an exchange gives the others their turn by itself
            now = clock()
            if now - self._yielded > TURN_S:
                self._yielded = now
                await checkpoint()
        return None

    def _end_here(self) -> None:
        """Note that the last message was sent."""
        self.over = True
        if self._waiting or self._end is not None:
            self._let_go()

    def _await_trailers(self) -> None:
        """Note that the body is complete, and what stands behind it is not."""
        if self._framing == BODILESS:  # as of HEAD: there is nothing to stand behind
            self._framing = ENDED
            self._end_here()
        else:
            self._framing = TRAILERS

    async def _send_file(self, message: Message, file: int, offset: int, count: int) -> None:
        """Send a part of a file, which the system copies from its memory to the socket."""
        start, more = cast(Start, self._start), message.get("more_body", False)
        before_trailers = not more and start.chunked
        more = more or before_trailers
        head = b"" if self._framing else self._begin(count, more)
        end = b""
        if self._framing == BODILESS:
            count = 0
        elif self._framing == LENGTH:
            self._owe(count, more, head)
        elif self._framing == CHUNKED:
            if count:
                head, end = b"%b%x\r\n" % (head, count), b"\r\n"
            end += b"" if more else b"0\r\n\r\n"
        if not more:
            self._framing = ENDED
        try:
            taken = await self._talk.wire.send_file(head, file, offset, count, end)
        except BaseException as exc:
            self._talk.wire.cut()
            if isinstance(exc, EOFError):
                raise ContentLengthMismatch(
                    f"{count} bytes of a file were not sent: {exc}"
                ) from exc
            raise
        if not taken:
            self.leave()
            self._talk.wire.close()
        elif not more:
            self._end_here()
        elif before_trailers:
            self._await_trailers()

    async def _send_path(self, path: str) -> None:
        """Send a whole file, and end the response."""
        file = await to_thread.run_sync(open_path, path)
        if file is None:
            raise FileNotFoundError(ENOENT, "there is no such regular file", path)
        with closing(file):
            await self._send_file({}, file.fd, 0, file.stat.st_size)

    async def _send_beside(self, kind: str, message: Message) -> None:
        """Send what stands before the head or behind the body, and files."""
        is_body = self._start is not None and self._framing < ENDED
        if kind == FILE and is_body and self._talk.takes_files:
            await self._send_file(message, *extent_of(message))
        elif kind == PATH and is_body and self._talk.takes_files:
            await self._send_path(message["path"])
        elif kind == "http.response.trailers" and self._framing == TRAILERS:
            self._trailers += trailer_section(message.get("headers") or ())
            if not message.get("more_trailers", False):
                self._framing = ENDED
                if await self._write_beside(b"0\r\n%b\r\n" % self._trailers):
                    self._end_here()
        elif kind == "http.response.trailers" and self._framing == ENDED:
            # Of a client that did not ask for them.
            if self._start is None or not self._start.trailing:
                raise UsageError("trailers were not announced by the start of the response")
        elif kind == "http.response.early_hint" and self._start is None:
            hints = early_hints(message["links"])
            if self._head.version == "1.1":
                await self._write_beside(hints)
        else:
            raise UsageError(f"{kind!r} cannot be sent now")

    async def _write_beside(self, data: bytes) -> bool:
        """Write it whole, or cut the connection; return whether the client is there."""
        try:
            taken = await self._talk.stream.write(data)
        except BaseException:
            self._talk.wire.cut()  # nothing can follow the half of it
            raise
        if not taken:
            self.leave()
        return taken

    def _framed(self, body: bytes, size: int, more: bool) -> tuple[bytes, ...]:
        """Return what goes out for a piece of the body, and with the first one the head."""
        head = b"" if self._framing else self._begin(size, more)
        framing = self._framing
        if framing == LENGTH:
            self._owe(size, more, head)
        elif framing == BODILESS:
            body, size = b"", 0
        elif framing == CHUNKED:
            end = b"" if more else b"0\r\n\r\n"
            if size >= LARGE_BYTES:
                return head + b"%x\r\n" % size, body, b"\r\n" + end
            body = (b"%x\r\n%b\r\n%b" % (size, body, end)) if size else end
        if head:
            return (head, body) if size >= LARGE_BYTES else (b"%b%b" % (head, body),)
        return (body,) if body else ()

    def _owe(self, size: int, more: bool, head: bytes) -> None:
        """Count *size* bytes of the declared length; *head* has not left yet."""
        if size > self._owed or (size < self._owed and not more):
            self._framing = NOT_BEGUN if head else LENGTH
            raise ContentLengthMismatch(
                f"{self._owed} bytes of the declared length are left, and not {size}"
            )
        self._owed -= size

    def _begin(self, size: int, more: bool) -> bytes:
        """Decide how the body is framed; return the head."""
        start: Start = self._start  # type: ignore[assignment]  # who calls has looked; a cast() costs
        request, framing = self._head, b""
        if request.method == "HEAD" or start.bodiless:
            self._framing = BODILESS
        elif start.length is not None and not start.chunked:
            self._framing, self._owed = LENGTH, start.length
        elif not more:
            self._framing, self._owed = LENGTH, size
            framing = b"\r\ncontent-length: %d" % size
        elif request.version == "1.1":
            self._framing = CHUNKED
            framing = b"\r\ntransfer-encoding: chunked"
        else:
            self._framing = CLOSING
        if (
            start.closes
            or self._talk.service.draining
            or not (more or self._rest == 0 or self._given or self._can_have_all())
        ):
            self._keeps = False
        date = b"" if start.dated else date_line()
        end = END_OF_HEAD if self._keeps else CLOSE + END_OF_HEAD
        return b"%b%b%b%b" % (start.lines, framing, date, end)

    # --- the end ----------------------------------------------------------------------------------

    def is_done(self) -> bool:
        """Whether nothing is left to be done before the next request."""
        # With what _has_all() says: a call of it would be half a percent.
        has_all = self._rest == 0 or self._given
        return self.over and self._keeps and has_all and not self._waiting

    async def refuse(self, exc: Refused) -> None:
        """Answer a body that cannot be read, if no other answer has begun; the application ends."""
        log_refusal(self._talk.wire.client, exc)
        if self._framing == NOT_BEGUN:
            self._framing = ENDED  # no other task may begin an answer now
            await self._answer(exc.status, exc.reason)
            self.over = True
        self.left = True

    async def _answer(self, status: int, reason: str) -> None:
        """Answer in the stead of the application; the connection ends."""
        to_head = self._head.method == "HEAD"
        await self._talk.stream.write(refusal(status, reason, to_head=to_head))
        await self._talk.finish(whole=True)

    def cut_short(self) -> bool:
        """Cut what would look whole when the connection ends, and is not; return whether (H4)."""
        looks_whole = self._framing in (CLOSING, ENDED) and not self.over
        if looks_whole:
            self._talk.wire.cut()
        return looks_whole

    async def conclude(self) -> bool:
        """
        Bring to an end what the application, which has returned, left open.

        Return whether there may be another request.
        """
        self._deaf = True
        self._let_go()
        while self._waiting:  # a task of the application is on its way out, with what it read
            await checkpoint()
            self._let_go()
        if self.cut_short() or (self.left and not self.over):
            return False
        if not self.over:
            if self._framing == NOT_BEGUN:
                status = 503 if self._talk.service.interrupted else 500
                await self._answer(status, HTTPStatus(status).phrase)
            else:
                await self._talk.finish(whole=False)
            return False
        # Who has closed a half has left, and may be reading all the same. What came is read to its
        # end: closing over it would reset the connection.
        if self._keeps and not self.left and self._can_have_all() and await self._drop_rest():
            return True
        await self._talk.finish(whole=True)
        return False
