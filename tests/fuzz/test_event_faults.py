"""The target `events` notices what a decoder might do wrong, by its seeds alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from nardis._http import events
from nardis._http.events import Event, EventDecoder, encode_event
from tests.fuzz.test_faults import is_noticed


class Stubborn(EventDecoder):
    def feed(self, data: bytes) -> list[Event]:
        return super().feed(data.replace(b"\r", b"\n") if len(data) > 1 else data)


class Chatty(EventDecoder):
    def feed(self, data: bytes) -> list[Event]:
        found = super().feed(data)
        self.comments = 0
        return found


class Boundless(EventDecoder):
    def __init__(self, *, event_bytes: int) -> None:
        super().__init__()


class Forgetful(EventDecoder):
    def feed(self, data: bytes) -> list[Event]:
        found = super().feed(data)
        self.retry = None
        return found


@pytest.mark.parametrize("wrong", [Stubborn, Chatty, Boundless, Forgetful])
def test_a_wrong_decoder_is_noticed(
    wrong: type[EventDecoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    is_noticed(monkeypatch, "events", "nardis._http.events.EventDecoder", wrong)


CHANGES: dict[str, Callable[[Event], list[Event]]] = {
    "events are lost": lambda event: [],
    "events come twice": lambda event: [event, event],
    "blanks are lost": lambda event: [replace(event, data=event.data.strip())],
    "types are lost": lambda event: [replace(event, event="message")],
    "ids are lost": lambda event: [replace(event, id="")],
    "times are lost": lambda event: [replace(event, retry=None)],
    "empty events are lost": lambda event: [event] if event.data else [],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_event_is_noticed(
    change: Callable[[Event], list[Event]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Changed(EventDecoder):
        def feed(self, data: bytes) -> list[Event]:
            return [other for event in super().feed(data) for other in change(event)]

    is_noticed(monkeypatch, "events", "nardis._http.events.EventDecoder", Changed)


def cut_by_crs(data: str, *, event: str | None = None, id: str | None = None) -> bytes:
    return encode_event(data).replace(b"\ndata: ", b"\r")


def without_type(data: str, *, event: str | None = None, id: str | None = None) -> bytes:
    return encode_event(data, id=id)


@pytest.mark.parametrize("wrong", [cut_by_crs, without_type])
def test_a_wrong_writer_is_noticed(
    wrong: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    is_noticed(monkeypatch, "events", f"{events.__name__}.encode_event", wrong)
