"""split_path: from the bytes of a request line to decoded segments."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._paths.segments import Segments, fold, split_path


@pytest.mark.parametrize(
    ("raw", "segments"),
    [
        (b"", [""]),
        (b"/", [""]),
        (b"//", ["", ""]),
        (b"/a", ["a"]),
        (b"a", ["a"]),
        (b"/a/", ["a", ""]),
        (b"//a", ["", "a"]),
        (b"/a+b", ["a+b"]),
        (b"/%61/%2541", ["a", "%41"]),
        (b"/a%2Fb%2fc", ["a/b/c"]),
        (b"/%00", ["\0"]),
        (b"/caf%C3%A9", ["café"]),
        ("/café".encode(), ["café"]),
        (b"/caf\xc3%A9", ["café"]),
        (b"/%F0%9F%98%80", ["😀"]),
        (b"/%", [None]),
        (b"/%4", [None]),
        (b"/%zz/%4 /%+1/%0x1", [None, None, None, None]),
        (b"/%%41", [None]),
        (b"/%ff/a", [None, "a"]),
        (b"/\xff", [None]),
        (b"/%ED%A0%80", [None]),
        (b"/%C0%AF", [None]),
        (b"/%C3/%A9", [None, None]),
        ("/%é1".encode(), [None]),
    ],
)
def test_each_segment_is_decoded_once(raw: bytes, segments: Segments) -> None:
    """It is split first and decoded afterwards; what is no UTF-8 is None."""
    assert split_path(raw) == segments


@given(st.lists(st.text(), min_size=1))
def test_quoting_is_undone(segments: list[str]) -> None:
    """Any list of texts survives the journey."""
    raw = "/" + "/".join(quote(segment, safe="") for segment in segments)

    assert split_path(raw.encode()) == segments


@given(st.binary())
def test_any_bytes_are_a_path(raw: bytes) -> None:
    """Nothing raises, and no lone surrogate comes out."""
    for segment in split_path(raw):
        assert segment is None or segment.encode().decode() == segment


@given(st.text())
def test_folding_keeps_the_length(text: str) -> None:
    """Offsets in the folded text are offsets in the text; folding twice is folding once."""
    assert len(fold(text)) == len(text)
    assert fold(fold(text)) == fold(text)
