"""Compressed messages of WebSockets (RFC 7692): what is agreed on, and how much is inflated."""

import tracemalloc
import zlib

import pytest

from nardis.server.websocket.deflate import PIECE_BYTES, Corrupt, Inflating, agree, deflated
from nardis.server.websocket.frames import Broken, Frames
from tests.peers.wsclient import TEXT, frame

MIB = 2**20
ALONE = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
OFFERS = {
    "permessage-deflate": (ALONE, 15),
    "Permessage-Deflate;client_no_context_takeover ; server_no_context_takeover": (ALONE, 15),
    "permessage-deflate; client_max_window_bits": (ALONE, 15),
    "permessage-deflate; client_max_window_bits=8": (ALONE, 15),
    'permessage-deflate; server_max_window_bits = "10"': (
        ALONE + "; server_max_window_bits=10",
        10,
    ),
    "permessage-deflate; server_max_window_bits=15": (  # all of it, and said all the same
        ALONE + "; server_max_window_bits=15",
        15,
    ),
    "permessage-deflate; server_max_window_bits=8": None,  # zlib cannot
    "permessage-deflate; server_max_window_bits": None,
    "permessage-deflate; server_max_window_bits=16": None,
    "permessage-deflate; client_max_window_bits=09": None,
    "permessage-deflate; client_max_window_bits=many": None,
    "permessage-deflate; client_max_window_bits; client_max_window_bits": None,
    "permessage-deflate; server_no_context_takeover=1": None,
    "permessage-deflate; something": None,
    "permessage-deflate;": None,
    "x-webkit-deflate-frame": None,
    "": None,
}


@pytest.mark.parametrize(("offer", "answer"), OFFERS.items())
def test_an_offer_is_taken_as_it_is_or_declined(offer, answer):
    assert agree([offer]) == answer


def test_the_first_offer_that_can_be_kept_is_taken():
    """A client offers a window first, and then no window."""
    narrow, unheard = "permessage-deflate; server_max_window_bits=9", "permessage-unheard"

    assert agree([unheard, narrow, "permessage-deflate"]) == agree([narrow])
    assert agree([]) is None


@pytest.mark.parametrize(
    "size", [1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES]
)
@pytest.mark.parametrize("bits", [9, 15])
def test_what_was_compressed_is_inflated_in_pieces(size, bits):
    text = (b"some words %d " % size) * (size // 10 + 1)
    inflating, data = Inflating(), deflated(text[:size], bits)
    pieces = [*inflating.pieces(data[:5], ends=False), *inflating.pieces(data[5:], ends=True)]

    assert b"".join(pieces) == text[:size]
    assert all(len(piece) <= PIECE_BYTES for piece in pieces)


def last_block(text):
    """Compress *text* to the end: its last block says that it is the last."""
    deflator = zlib.compressobj(wbits=-15)
    return deflator.compress(text) + deflator.flush()


def test_a_block_may_say_that_it_is_the_last():
    """RFC 7692 §7.2.3.4: an empty byte comes behind it."""
    data = last_block(b"Hello") + b"\0"

    assert b"".join(Inflating().pieces(data, ends=True)) == b"Hello"


@pytest.mark.parametrize("behind", [b"more", 9 * b"\0"])
def test_what_comes_behind_the_last_block_is_refused(behind):
    """And is not kept until the message ends."""
    with pytest.raises(Corrupt):
        list(Inflating().pieces(last_block(b"Hello") + behind, ends=len(behind) < 9))


def test_a_bomb_never_goes_off():
    """1 MiB of it, which would be 1 GiB: it is refused with the bound in memory, and no more."""
    deflator = zlib.compressobj(9, wbits=-15)
    part = deflator.compress(bytes(MIB)) + deflator.flush(zlib.Z_FULL_FLUSH)
    data, frames = frame(TEXT, 1024 * part, first=0xC0), Frames(MIB, compresses=True)
    assert len(data) > 1_000_000
    tracemalloc.start()
    try:
        frames.feed(data[: 64 * 1024])
        with pytest.raises(Broken, match="larger than 1048576") as broken:
            frames.next()
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert broken.value.code == 1009
    assert most < 3 * MIB
