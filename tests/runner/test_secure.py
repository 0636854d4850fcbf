"""A client's bytes over TLS, with real sessions over a socket of each event loop."""

import itertools
import socket
import ssl
from contextlib import suppress
from functools import partial

import anyio
import pytest
import trustme

from nardis.server.secure import SecureStream
from nardis.server.stream import READ_BYTES
from tests.runner.ends import cancelled, fill, meanwhile, streams, take, waiting_either_way

pytestmark = pytest.mark.anyio

anyio_backend = waiting_either_way

# More than a socket takes at once.
LARGE = bytes(range(250)) * 8_000

LONG_S = 20


@pytest.fixture(scope="module")
def contexts():
    """Return what the server and its client know; they speak TLS 1.3."""
    authority = trustme.CA()
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.minimum_version = ssl.TLSVersion.TLSv1_3
    authority.issue_cert("localhost").configure_cert(ours)
    ours.set_alpn_protocols(["h2", "http/1.1"])
    theirs = ssl.create_default_context()
    authority.configure_trust(theirs)
    theirs.set_alpn_protocols(["http/1.1"])
    return ours, theirs


class Client:
    """The client's session, over its end of a connection."""

    def __init__(self, sock, context):
        self.socket = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def send(self):
        """Send what the session has to say, if the server is still there."""
        with suppress(BrokenPipeError):
            self.socket.sendall(self.outgoing.read())

    async def receive(self):
        """Take some of what arrives."""
        await anyio.wait_readable(self.socket)
        data = self.socket.recv(READ_BYTES)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    async def do(self, act, *args):
        """Let the session do something, however many bytes that takes."""
        while True:
            try:
                return act(*args)
            except ssl.SSLWantReadError:
                self.send()
                await self.receive()
            finally:
                self.send()

    async def shake_hands(self):
        await self.do(self.session.do_handshake)

    async def say(self, data):
        await self.do(self.session.write, data)

    async def hear(self, size):
        """Read *size* bytes, or to the end."""
        heard = b""
        while len(heard) < size and (piece := await self.do(self.session.read, READ_BYTES)):
            heard += piece
        return heard


@pytest.fixture
async def ends(anyio_backend, contexts):
    """Return a stream over TLS, the one below it, and the client, before they shake hands."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.settimeout(LONG_S)
    async with streams(anyio_backend) as make:
        stream = make(ours)
        yield SecureStream(stream, contexts[0]), stream, Client(theirs, contexts[1])
        stream.close()
        theirs.close()


@pytest.fixture
async def agreed(ends):
    """Return the same, after they have."""
    secure, _, client = ends
    with anyio.fail_after(LONG_S):
        async with anyio.create_task_group() as group:
            group.start_soon(client.shake_hands)
            assert await secure.shake_hands(LONG_S)
    return ends


async def keep(told, function, *args):
    """Add to *told* what a function returns."""
    told.append(await function(*args))


async def test_nothing_begins_to_go_out_before_its_record_is_made(agreed):
    secure, _, _ = agreed

    assert secure.begin(b"hello") == 0


# --- the handshake --------------------------------------------------------------------------------


async def test_after_the_handshake_what_one_says_the_other_hears(agreed):
    secure, _, client = agreed
    assert secure.tls.alpn == "http/1.1"

    await client.say(b"question")
    assert await secure.read() == b"question"
    assert await secure.write(b"an", b"", b"swer") is True
    assert await client.hear(6) == b"answer"
    rest = secure.offer((b"and ", b"more"), 8)
    assert rest is not None  # a record has to be made first
    assert await rest is True
    assert await client.hear(8) == b"and more"


async def test_a_client_that_says_nothing_has_no_more_time_than_it_is_given(ends):
    secure, stream, _ = ends

    assert await secure.shake_hands(0) is False
    assert stream.reading is False


async def test_a_client_that_leaves_in_the_handshake_has_none(ends):
    secure, _, client = ends
    client.socket.close()

    assert await secure.shake_hands(LONG_S) is False


async def test_a_handshake_that_fails_sends_the_alert_that_says_why(ends):
    secure, _, client = ends
    old = ssl.create_default_context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    client = Client(client.socket, old)
    told = []

    async with anyio.create_task_group() as group:
        group.start_soon(keep, told, secure.shake_hands, LONG_S)
        with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
            await client.shake_hands()

    assert told == [False]


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello"])
async def test_what_is_no_handshake_fails(ends, said):
    secure, _, client = ends
    client.socket.sendall(said)

    assert await secure.shake_hands(LONG_S) is False


async def test_a_handshake_that_is_cancelled_leaves_with_the_cancellation(ends):
    secure, _, _ = ends
    told = []
    async with anyio.create_task_group() as group:
        group.start_soon(keep, told, secure.shake_hands, LONG_S)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()

    assert told == []


# --- reading and writing --------------------------------------------------------------------------


async def test_wake_gives_none_to_who_reads(agreed):
    secure, stream, client = agreed
    told = []
    async with anyio.create_task_group() as group:
        group.start_soon(keep, told, secure.read)
        await anyio.wait_all_tasks_blocked()
        stream.wake()
    assert told == [None]

    await client.say(b"hello")
    assert await secure.read() == b"hello"


async def test_a_record_that_comes_in_two_halves_is_read_as_one(agreed):
    secure, _, client = agreed
    client.session.write(b"hello")
    record, told = client.outgoing.read(), []
    async with anyio.create_task_group() as group:
        group.start_soon(keep, told, secure.read)
        for half in (record[:9], record[9:]):
            assert told == []
            client.socket.sendall(half)
            await anyio.wait_all_tasks_blocked()

    assert told == [b"hello"]


async def test_records_of_two_writers_go_out_in_the_order_in_which_they_were_made(agreed):
    """Else the client could read none of them; what one writes is not torn by the other."""
    secure, stream, client = agreed
    told = []
    async with anyio.create_task_group() as group:
        for letter in (b"a", b"b"):
            group.start_soon(keep, told, secure.write, letter * len(LARGE))
            await anyio.wait_all_tasks_blocked()
        assert told == []
        assert stream.writing
        heard = await client.hear(2 * len(LARGE))

    assert [(letter, len(list(each))) for letter, each in itertools.groupby(heard)] == [
        (97, len(LARGE)),
        (98, len(LARGE)),
    ]
    assert told == [True, True]


async def test_no_more_is_encrypted_than_the_socket_takes(agreed):
    secure, stream, client = agreed
    async with anyio.create_task_group() as group:
        group.start_soon(secure.write, LARGE)
        await anyio.wait_all_tasks_blocked()
        assert 0 < stream.sent < len(LARGE) / 2
        assert secure.tls.has_to_say is False
        assert await client.hear(len(LARGE)) == LARGE


async def test_nothing_can_be_written_to_a_client_that_is_gone(agreed):
    secure, _, client = agreed
    client.socket.close()

    assert await secure.write(LARGE, b"more") is False


async def test_a_write_that_is_cancelled_half_way_cuts_the_stream(agreed):
    secure, stream, client = agreed
    await cancelled(secure.write, LARGE)

    assert stream.closed
    with pytest.raises(ssl.SSLError):
        await client.hear(len(LARGE))


async def test_a_write_that_is_cancelled_cuts_the_stream(agreed):
    """Its record was made, and the session would miss it (RFC 8446 §5.3)."""
    secure, stream, _ = agreed

    async def write():
        while await secure.write(b"x"):
            pass

    await cancelled(write)

    assert stream.closed
    assert await secure.write(b"hello") is False


@pytest.mark.parametrize("full", [False, True], ids=["half-way", "behind its record"])
async def test_the_rest_of_a_write_that_is_cancelled_can_be_kept(agreed, full):
    secure, stream, client = agreed
    await secure.write(b"hello")
    assert await client.hear(5) == b"hello"
    zeros = fill(stream) if full else 0
    await cancelled(partial(secure.write, keeps=True), LARGE, b"and the end")
    assert not stream.closed
    await take(client.socket, zeros)

    async with meanwhile(secure.resume()) as told:
        expected = LARGE + b"and the end"
        assert await client.hear(len(expected)) == expected
    assert (told, secure.rest) == ([True], None)


async def test_a_rest_that_is_cancelled_too_cuts_the_stream(agreed):
    secure, stream, _ = agreed
    await cancelled(partial(secure.write, keeps=True), LARGE)
    await cancelled(secure.resume)

    assert stream.closed


async def test_a_write_that_is_cancelled_while_another_has_its_turn_leaves_no_trace(agreed):
    secure, stream, client = agreed
    told = []
    async with anyio.create_task_group() as group:
        group.start_soon(keep, told, secure.write, LARGE)
        await anyio.wait_all_tasks_blocked()
        await cancelled(secure.write, b"never")
        assert await client.hear(len(LARGE)) == LARGE

    assert (told, stream.closed) == ([True], False)
    assert await secure.write(b"hello") is True
    assert await client.hear(5) == b"hello"


async def test_a_reader_of_many_records_gives_others_their_turn(agreed, monkeypatch):
    """They may have arrived at once."""
    secure, _, client = agreed
    turns = 0

    async def count():
        nonlocal turns
        turns += 1

    monkeypatch.setattr("nardis.server.secure.checkpoint", count)
    monkeypatch.setattr("nardis.server.secure.clock", itertools.count().__next__)
    for _ in range(20):
        client.session.write(b"x")
    client.send()
    assert b"".join([await secure.read() for _ in range(20)]) == 20 * b"x"
    assert turns >= 18


# --- what TLS has to say for itself ---------------------------------------------------------------


class Session:
    """A session that has something of its own to say when it is read, as for a new key."""

    has_input = False

    def __init__(self, *said):
        self.said = list(said)
        self.fed = []
        self.sayings = [b"key", b"alert"]

    @property
    def has_to_say(self):
        return bool(self.sayings)

    def outgoing(self):
        return self.sayings.pop(0)

    def decrypt(self):
        return self.said.pop(0)

    def feed(self, data):
        self.fed.append(data)


@pytest.mark.parametrize(
    ("said", "told"),
    [([None, b"hello"], b"key"), ([None, b""], b"keyalert"), ([b""], b"key"), ([b"hello"], b"")],
)
async def test_what_tls_has_to_say_is_said_while_reading(ends, said, told):
    """At the end too; behind something that the client said, the next to read or write says it."""
    secure, stream, client = ends
    secure.tls = Session(*said)
    client.socket.sendall(b"record")

    assert await secure.read() == said[-1]

    await stream.finish(whole=True)
    assert client.socket.recv(99) == told


@pytest.mark.parametrize("resumed", [False, True])
async def test_a_reader_with_something_to_say_waits_for_no_writer(agreed, resumed):
    """The writer takes it along, also one that was cancelled and has to go on."""
    secure, _, client = agreed
    secure_tls = secure.tls
    async with anyio.create_task_group() as group:
        if resumed:
            await cancelled(partial(secure.write, keeps=True), LARGE)
        else:
            group.start_soon(secure.write, LARGE)
            await anyio.wait_all_tasks_blocked()
        secure.tls = session = Session(None, b"hello")
        client.socket.sendall(b"record")
        with anyio.fail_after(LONG_S):
            assert await secure.read() == b"hello"
        assert len(session.sayings) == 2, "it was said between the records of a writer"
        secure.tls = secure_tls
        if resumed:
            group.start_soon(secure.resume)
        assert await client.hear(len(LARGE)) == LARGE


async def test_a_reader_that_is_cancelled_with_something_to_say_cuts_the_stream(ends):
    """It might be the new key of all that comes."""
    secure, stream, _ = ends
    secure.tls = Session(None)
    fill(stream)
    await cancelled(secure.read)

    assert stream.closed


async def test_a_broken_record_is_the_end_and_is_answered_with_an_alert(agreed):
    secure, stream, client = agreed
    client.session.write(b"hello")
    record = bytearray(client.outgoing.read())
    record[-1] ^= 1
    client.socket.sendall(record)

    assert await secure.read() == b""

    stream.close()
    with pytest.raises(ssl.SSLError, match="ALERT_BAD_RECORD_MAC"):
        await client.hear(1)


# --- the end --------------------------------------------------------------------------------------


async def test_a_whole_answer_ends_with_close_notify(agreed):
    secure, _, client = agreed
    await secure.write(b"answer")
    await secure.finish(whole=True)

    assert await client.hear(99) == b"answer"


async def test_an_answer_of_which_something_is_missing_does_not(agreed):
    """The client's TLS knows that the answer was cut."""
    secure, _, client = agreed
    await secure.write(b"answ")
    await secure.finish(whole=False)

    assert await client.hear(4) == b"answ"
    with pytest.raises(ssl.SSLEOFError):
        await client.hear(1)


async def test_what_a_client_says_after_our_end_is_still_read(agreed):
    """Also its own end."""
    secure, _, client = agreed
    await secure.finish(whole=True)
    assert await client.hear(1) == b""
    client.session.unwrap()
    client.send()

    assert await secure.read() == b""


async def test_a_few_bytes_go_out_at_once_where_there_is_room_and_nobody_writes(agreed):
    secure, _, client = agreed
    assert secure.try_write(b"hello") is True
    assert await client.hear(5) == b"hello"

    async with meanwhile(secure.write(LARGE)):
        assert secure.try_write(b"never") is False
        assert await client.hear(len(LARGE)) == LARGE
    await secure.finish(whole=True)
    assert secure.try_write(b"late") is False


async def test_a_record_for_which_there_is_no_room_after_all_is_the_last(agreed, monkeypatch):
    secure, stream, _ = agreed
    monkeypatch.setattr(type(stream), "has_room", True)
    fill(stream)

    assert secure.try_write(b"hello") is True
    assert stream.closed


async def test_what_a_session_that_ended_cannot_encrypt_is_for_a_client_that_is_gone(agreed):
    secure, _, _ = agreed
    await secure.finish(whole=True)

    assert await secure.write(b"late") is False
