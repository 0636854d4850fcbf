"""Content codings on their way out: what is fed, in whatever pieces, can be decoded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http.codings import Decoder, decoder
from nardis._http.compressors import LEVELS, compressor, is_slow, usual_level

TEXT = b"".join(b'{"id": %d, "square": %d}\n' % (n, n * n) for n in range(20_000))


def decoded(codec: Decoder | None, coded: bytes) -> bytes:
    assert codec is not None
    pieces = [codec.feed(coded)]
    while not codec.hungry:
        pieces.append(codec.feed())
    return b"".join(pieces)


@pytest.mark.parametrize("is_live", [False, True], ids=["body", "live"])
@pytest.mark.parametrize("coding", LEVELS)
@given(pieces=st.lists(st.tuples(st.binary(max_size=2000), st.booleans())))
def test_what_is_flushed_can_be_decoded_at_once(
    coding: str, is_live: bool, pieces: list[tuple[bytes, bool]]
) -> None:
    """However a body is cut, and whenever it is flushed."""
    codec, reader = compressor(coding, usual_level(coding), is_live=is_live), decoder(coding)
    fed = come = b""
    for piece, flushes in pieces:
        fed += piece
        come += decoded(reader, codec.feed(piece))
        if flushes:
            come += decoded(reader, codec.flush())
            assert come == fed
    come += decoded(reader, codec.finish())

    assert come == fed
    assert reader is not None
    reader.finish()


@pytest.mark.parametrize("is_live", [False, True], ids=["body", "live"])
@pytest.mark.parametrize("coding", LEVELS)
def test_each_level_makes_it_smaller(coding: str, is_live: bool) -> None:
    """A body that is larger than any window; views of bytes do as well."""
    lowest, _, highest = LEVELS[coding]
    for level in {lowest, highest}:
        text = TEXT[:20_000] if is_slow(coding, level) else TEXT
        codec = compressor(coding, level, is_live=is_live)
        coded = codec.feed(memoryview(text)) + codec.finish()

        assert len(coded) < len(text) / 2
        assert decoded(decoder(coding), coded) == text


@pytest.mark.parametrize("coding", LEVELS)
def test_a_level_beyond_the_bounds_is_the_nearest(coding: str) -> None:
    lowest, usual, highest = LEVELS[coding]

    given_levels = [None, -1, lowest, highest, 100]
    assert [usual_level(coding, level) for level in given_levels] == [
        usual,
        lowest,
        lowest,
        highest,
        highest,
    ]


def test_the_usual_levels_are_fast() -> None:
    assert not any(is_slow(coding, usual) for coding, (_, usual, _) in LEVELS.items())


def test_deflate_has_the_zlib_format() -> None:
    """RFC 9110 §8.4.1.2: not the bare one, which some servers send."""
    assert compressor("deflate", 6).finish()[:1] == b"\x78"
