"""`EventDecoder` reads a stream as browsers have to: the table that Chromium is held to as well."""

from __future__ import annotations

import pytest

from nardis.events import EventDecoder
from tests.http.eventsource_cases import CASES, Case, Got

# What a decoder sees: the streams of those answers that a browser reads.
READ = {
    name: case
    for name, case in CASES.items()
    if case.again is not None and case.status == 200 and not case.is_elsewhere
}


@pytest.mark.parametrize("case", READ.values(), ids=READ)
def test_a_stream_is_read_as_browsers_have_to(case: Case) -> None:
    """Whole, and byte by byte."""
    for pieces in ([case.stream], [bytes([byte]) for byte in case.stream]):
        decoder = EventDecoder()
        events = [event for piece in pieces for event in decoder.feed(piece)]

        assert tuple(Got(each.data, each.event, each.id) for each in events) == case.events
        # The field of a request loses its outer spaces: RFC 9110 §5.5.
        assert decoder.last_event_id.strip(" ") == case.again
        assert decoder.retry == (None if case.retry is None else case.retry / 1000)
