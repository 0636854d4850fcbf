"""
A small blocking HTTP/2 client (prior knowledge) over the h2 library, which also sends frames that
h2 would not.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

import h2.config
import h2.connection
import h2.events
import h2.settings
from hyperframe.frame import Frame, GoAwayFrame, RstStreamFrame

from tests.peers import client

T = TypeVar("T")

Fields = Iterable[tuple[str | bytes, str | bytes]]

PREFACE_BYTES = 9  # of a frame, RFC 9113 §4.1


def pseudo(method: str, path: str | bytes) -> list[tuple[str | bytes, str | bytes]]:
    """Make the fields without which there is no request in HTTP/2."""
    return [(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path)]


class Ended(Exception):
    """The server closed the connection."""


@dataclass
class Stream:
    """
    What came on one stream; *reset* is the error code of a RST_STREAM, *interim* the statuses
    before the last.
    """

    status: int | None = None
    headers: dict[str, str] | None = None
    body: bytes = b""
    ended: bool = False
    reset: int | None = None
    trailers: dict[str, str] | None = None
    interim: list[int] = field(default_factory=list[int])


class H2Client:
    """
    One connection to 127.0.0.1; windows are given back as data arrives, unless *credit* is False.
    """

    def __init__(
        self,
        port: int,
        *,
        window: int | None = None,
        credit: bool = True,
        receive_buffer: int | None = None,
        timeout_s: float | None = None,
    ) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(client.ANSWER_S if timeout_s is None else timeout_s)
        self.socket.connect(("127.0.0.1", port))
        self.credit = credit
        self.streams: dict[int, Stream] = {}
        self.goodbyes: list[GoAwayFrame] = []
        self.pongs: list[bytes] = []
        self.reset_frames: list[int] = []  # their streams; h2 tells of the first of each
        self._buffer = b""
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                header_encoding="utf-8",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        if window is not None:
            self.h2.local_settings = h2.settings.Settings(
                client=True, initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
            )
        self.h2.initiate_connection()
        self.flush()

    def __enter__(self) -> H2Client:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.socket.close()

    # --- out --------------------------------------------------------------------------------------

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def send_frames(self, *frames: Frame) -> None:
        """Send frames past h2's accounts of what may be sent."""
        self.flush()
        self.socket.sendall(b"".join(frame.serialize() for frame in frames))

    def send_headers(self, fields: Fields, *, end: bool = True) -> int:
        """Open a stream with these fields, whatever they are, and give its number."""
        stream_id = self.h2.get_next_available_stream_id()
        self.streams[stream_id] = Stream()
        self.h2.send_headers(stream_id, list(fields), end_stream=end)
        self.flush()
        return stream_id

    def request(
        self, method: str, path: str | bytes, fields: Fields = (), *, end: bool = True
    ) -> int:
        return self.send_headers([*pseudo(method, path), *fields], end=end)

    def send_body(self, stream_id: int, data: bytes, *, end: bool = True) -> None:
        """Send all of *data*, as the server's windows open."""
        while data:
            room = min(self.room(stream_id), self.h2.max_outbound_frame_size)
            if not room:
                self.read()
                continue
            self.h2.send_data(stream_id, data[:room])
            data = data[room:]
            self.flush()
        if end:
            self.h2.end_stream(stream_id)
            self.flush()

    def room(self, stream_id: int) -> int:
        """Tell how much the server lets us send on a stream."""
        return self.h2.local_flow_control_window(stream_id)

    def open_window(self, size: int, stream_id: int | None = None) -> None:
        self.h2.increment_flow_control_window(size, stream_id)
        self.flush()

    # --- in ---------------------------------------------------------------------------------------

    def read(self) -> None:
        """Take what comes next from the socket."""
        data = b""
        with suppress(ConnectionError):
            data = self.socket.recv(256 * 1024)
        if not data:
            raise Ended
        self._buffer += data
        while len(self._buffer) >= PREFACE_BYTES:
            frame, length = Frame.parse_frame_header(memoryview(self._buffer[:PREFACE_BYTES]))
            end = PREFACE_BYTES + length
            if len(self._buffer) < end:
                break
            whole, self._buffer = self._buffer[:end], self._buffer[end:]
            if isinstance(frame, GoAwayFrame):
                # Not for h2, which would take nothing more for the streams that are still served.
                frame.parse_body(memoryview(whole[PREFACE_BYTES:]))
                self.goodbyes.append(frame)
            else:
                if isinstance(frame, RstStreamFrame):
                    self.reset_frames.append(frame.stream_id)
                self._take(self.h2.receive_data(whole))
        self.flush()

    def _take(self, events: list[h2.events.Event]) -> None:
        for event in events:
            if isinstance(event, h2.events.PingAckReceived):
                self.pongs.append(event.ping_data)
            stream = self.streams.get(getattr(event, "stream_id", None) or 0)
            if stream is None:
                continue
            if isinstance(event, h2.events.ResponseReceived):
                stream.headers = {str(name): str(value) for name, value in event.headers}
                stream.status = int(stream.headers[":status"])
            elif isinstance(event, h2.events.InformationalResponseReceived):
                stream.interim += [int(value) for name, value in event.headers if name == ":status"]
            elif isinstance(event, h2.events.DataReceived):
                stream.body += event.data
                if self.credit:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.TrailersReceived):
                stream.trailers = {str(name): str(value) for name, value in event.headers}
            elif isinstance(event, h2.events.StreamEnded):
                stream.ended = True
            elif isinstance(event, h2.events.StreamReset):
                stream.reset = int(event.error_code)

    def until(self, condition: Callable[[], T]) -> T:
        """Read until *condition* gives something true, which is returned."""
        while not (value := condition()):
            self.read()
        return value

    def answer(self, stream_id: int) -> Stream:
        """Read until a stream was ended or reset."""
        stream = self.streams[stream_id]
        self.until(lambda: stream.ended or stream.reset is not None)
        return stream

    def ask(self, method: str, path: str, fields: Fields = ()) -> Stream:
        return self.answer(self.request(method, path, fields))

    def ping(self, data: bytes = b"nardis's") -> None:
        """Wait for the answer to a PING: all that the server had to say before it was read."""
        self.h2.ping(data)
        self.flush()
        self.until(lambda: data in self.pongs)
        self.pongs.remove(data)

    def ends(self) -> bool:
        """Read to the end of the connection."""
        try:
            while True:
                self.read()
        except Ended:
            return True
