"""The frames of a WebSocket, in pieces of any size: `tests/wire` has the rules, one by one."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from nardis.errors import UsageError
from nardis.server.websocket.deflate import deflated
from nardis.server.websocket.frames import (
    BINARY,
    CLOSE,
    PING,
    TEXT,
    Broken,
    Close,
    Control,
    Frames,
    close_payload,
    frame,
)
from tests.peers import wsclient
from tests.peers.wsclient import CONTINUATION

BOUND = 1000


def heard(data, *, bound=BOUND, compresses=True, size=None):
    """List what a client says with *data*, in pieces of *size*; a fault is its code."""
    frames, said = Frames(bound, compresses=compresses), []
    size = size or len(data) or 1
    try:
        for start in range(0, len(data), size):
            frames.feed(data[start : start + size])
            while (each := frames.next()) is not None:
                said.append(each)
                if isinstance(each, Close):
                    return said
    except Broken as broken:
        said.append(broken.code if broken.reason else None)
    return said


def client(opcode, payload, *, parts=1, squeezed=False):
    """Make a client's message in so many frames, compressed or not."""
    if squeezed:
        payload = deflated(payload, 15)
    size = len(payload) // parts + 1
    cuts = [payload[start : start + size] for start in range(0, len(payload) or 1, size)]
    return b"".join(
        wsclient.frame(
            CONTINUATION if number else opcode,
            part,
            first=0x80 * (number == len(cuts) - 1) | 0x40 * (squeezed and not number),
        )
        for number, part in enumerate(cuts)
    )


messages = st.tuples(
    st.one_of(st.text(max_size=300), st.binary(max_size=900)), st.integers(1, 4), st.booleans()
)


@given(st.lists(messages, max_size=4), st.integers(1, 40))
def test_messages_are_the_same_in_pieces_of_any_size(said, size):
    """In fragments, compressed, with Pings between them, and up to a Close frame."""
    data = b"".join(
        client(TEXT, message.encode(), parts=parts, squeezed=squeezed)
        if isinstance(message, str)
        else client(BINARY, message, parts=parts, squeezed=squeezed)
        for message, parts, squeezed in said
    )
    expected = [message for message, _, _ in said]
    data = wsclient.frame(PING, b"?") + data + wsclient.close_frame(1014, "over")
    expected = [Control(PING, b"?"), *expected, Close(1014, "over")]

    assert heard(data, bound=2000, size=size) == heard(data, bound=2000) == expected


@given(st.binary(max_size=60), st.booleans(), st.integers(1, 10))
def test_any_bytes_are_frames_or_a_broken_rule(data, compresses, size):
    whole = heard(data, compresses=compresses)

    assert heard(data, compresses=compresses, size=size)[-1:] == whole[-1:]
    assert not whole or not isinstance(whole[-1], int) or whole[-1] in (1002, 1007, 1009)


@pytest.mark.parametrize("squeezed", [False, True])
@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("size", [7, None])
def test_a_message_may_be_as_large_as_the_bound_and_no_larger(squeezed, parts, size):
    """Counted in bytes, also of a text, and of what is inflated; a second one begins anew."""
    text = BOUND // 2 * "é"
    fits = client(TEXT, text.encode(), parts=parts, squeezed=squeezed)
    over = client(TEXT, text.encode() + b"x", parts=parts, squeezed=squeezed)

    assert heard(fits + fits + over, size=size) == [text, text, 1009]


@pytest.mark.parametrize(
    ("opcode", "first", "part", "means"),
    [
        (TEXT, 0, b"ab", "ab"),
        (TEXT, 0, "ж".encode(), "ж"),
        (BINARY, 0, b"ab", b"ab"),
        (BINARY, 0, b"", b""),
        (TEXT, 0x40, b"\0\0\0\xff\xff", ""),
    ],
    ids=["ascii", "cyrillic", "binary", "empty", "inflates to nothing"],
)
def test_a_message_in_fragments_takes_no_more_memory_than_its_bytes(opcode, first, part, means):
    """However many they are: RFC 6455 §5.4 has no bound for that."""
    frames, rest = Frames(2 * 5000, compresses=True), wsclient.frame(CONTINUATION, part, first=0)
    frames.feed(wsclient.frame(opcode, part, first=first))
    assert frames.next() is None
    tracemalloc.start()
    try:
        for _ in range(4998):
            frames.feed(rest)
            assert frames.next() is None
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    frames.feed(wsclient.frame(CONTINUATION, part))

    assert frames.next() == 5000 * means
    assert held < 20_000


@pytest.mark.parametrize("squeezed", [False, True])
def test_messages_that_are_skipped_mean_nothing_whatever_they_are(squeezed):
    """Nor are they inflated; control frames go on."""
    frames = Frames(BOUND, compresses=squeezed)
    frames.skip()
    frames.feed(client(TEXT, bytes(BOUND + 1), parts=2, squeezed=squeezed))
    frames.feed(wsclient.close_frame(4001))

    assert [frames.next(), frames.next()] == ["", Close(4001, "")]


def test_a_frame_is_refused_by_its_head():
    """Before its mask is here, and whatever part of the message is."""
    head = wsclient.frame(BINARY, bytes(BOUND + 1))[:4]

    assert heard(head) == [1009]
    assert heard(client(BINARY, bytes(BOUND))[:-1] + b"\0" + head) == [bytes(BOUND), 1009]


@pytest.mark.parametrize("size", [1, None])
def test_what_cannot_be_inflated_is_refused(size):
    assert heard(wsclient.frame(TEXT, b"\xff\xff\xff", first=0xC0), size=size) == [1007]


def test_a_text_fails_at_its_first_wrong_byte():
    data = wsclient.frame(TEXT, b"right \xf4\x90 and on" + bytes(99))

    assert heard(data[:6] + b"right \xf4") == []
    assert heard(data[:6] + b"right \xf4\x90") == [1007]


@pytest.mark.parametrize("size", [0, 125, 126, 2**16 - 1, 2**16])
def test_our_frames_are_those_of_wsproto(size):
    peer = Connection(ConnectionType.SERVER)

    assert frame(BINARY, bytes(size)) == peer.send(BytesMessage(bytes(size)))
    assert frame(TEXT, size * b"x") == peer.send(TextMessage(size * "x"))
    assert frame(PING, b"?") == peer.send(Ping(b"?"))


@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (4999, 200 * "ż"), (1005, "lost"), (1006, ""), (1015, "why")]
)
def test_our_close_frames_are_those_of_wsproto(code, reason):
    """A reason that is too long is cut between two characters."""
    said = frame(CLOSE, close_payload(code, reason))
    close = CloseConnection(code, reason or None if code != 1005 else None)

    assert said == Connection(ConnectionType.SERVER).send(
        close if code != 1005 else CloseConnection(None)
    )


@pytest.mark.parametrize("code", [0, 999, 1004, 1016, 2999, 5000, 70_000])
def test_a_code_that_cannot_be_said_is_the_applications_mistake(code):
    with pytest.raises(UsageError, match=f"{code} cannot stand in a Close frame"):
        close_payload(code)
