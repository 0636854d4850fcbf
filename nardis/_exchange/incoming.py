"""
The request side of an exchange: its head, the door to its body, and what the sweeper looks after.

Source: RFC 9112 §6.3 and RFC 9113 §8.1 (which requests have a body).
"""

from __future__ import annotations

from typing import ClassVar

from .._http.fields import declared_length
from ..limits import Limits
from ..types import Receive
from .intake import Intake
from .sweeper import TICK_S
from .turns import Turns

__all__ = ["Incoming"]


class Incoming(Turns):
    """
    One request.

    Attributes:
        fields: Its header fields; of several lines of a name the last one.
        http1: Whether this is HTTP/1.
        expects_body: Whether it has a body, or may have one.
        intake: That body, once somebody reads, watches or discards it.
    """

    __slots__ = ("_receive", "expects_body", "fields", "http1", "intake")

    intake_type: ClassVar[type[Intake]] = Intake

    # Set by the exchange's constructor: one of their own would cost one percent of a plain request.
    _receive: Receive
    expects_body: bool
    fields: dict[bytes, bytes]
    http1: bool
    intake: Intake | None

    def set_limits(self, limits: Limits) -> None:
        """Apply the limits of the route that matched."""
        self.limits = limits
        if self.intake is not None:
            self.intake.obey(limits)

    def open_body(self) -> Intake:
        """Look after the request body from now on (nobody called `receive` before); return it."""
        if self.intake is None:
            invited = self.expects_body and b"expect" in self.fields
            declared = declared_length(self.fields.get(b"content-length"))
            self.intake = self.intake_type(self, self._receive, declared, invited)
        return self.intake

    @property
    def declared_body_bytes(self) -> int | None:
        """The Content-Length of the request; None if there is none that can be read."""
        return declared_length(self.fields.get(b"content-length"))

    def close_body(self) -> None:
        """Let go of the server's `receive`: the watcher ends (C3)."""
        if self.intake is not None:
            self.intake.close()

    def look(self, now: float) -> None:
        """Enforce the limits and see to a watcher; the sweeper calls this once a tick."""
        self.remind()
        intake = self.intake
        reading = intake is not None and intake.reading
        self._enforce_limits(now)
        if not (self.gone or reading or now - self.since < TICK_S):
            self._look_for_client()

    def _enforce_limits(self, now: float) -> None:
        limits = self.limits
        if self.is_stalled(now):
            self.interrupt("stalled")
        elif self.intake is not None and self.intake.is_too_slow(now):
            self.interrupt("stalled", 408)
        elif limits.handler_s is not None and now - self.since > limits.handler_s:
            self.interrupt("deadline")

    def _look_for_client(self) -> None:
        """See to it that the handler learns of a client that leaves while it does not read."""
        if self.cancels and self.client is not None and self.client.has_left():
            self.disconnected()
        elif self.is_over():
            # Still in the last send after a tick: the server may wait for us to take the rest.
            self.open_body().discard()
        else:
            self.open_body().watch()
