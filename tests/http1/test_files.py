"""Files that the server sends by itself: zerocopysend and pathsend, over HTTP/1.1."""

from __future__ import annotations

import io
import os

import anyio
import pytest

from nardis.errors import ContentLengthMismatch, UsageError
from tests.http1.scripted import Wire, conversation, converse, undated

pytestmark = pytest.mark.anyio

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
WANTS = b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\nHost: a\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
DIGITS = b"0123456789"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "digits.txt"
    path.write_bytes(DIGITS)
    with path.open("rb") as opened:
        yield opened


def start(*headers, **options):
    return {"type": "http.response.start", "status": 200, "headers": list(headers), **options}


def piece(file, **options):
    return {"type": "http.response.zerocopysend", "file": file, **options}


def says(*messages):
    """Make an application that sends *messages*."""

    async def app(scope, receive, send):
        for message in messages:
            await send(message)

    return app


async def body_of(messages, request=GET):
    """Return what a client is sent behind the head, and what was done to the socket."""
    wire = await converse(says(*messages), [request])
    return undated(wire.sent).partition(b"\r\n\r\n")[2], wire.log


async def test_it_is_offered_in_the_clear(file):
    offered = []

    async def app(scope, receive, send):
        offered.append(set(scope["extensions"]))
        await says(start(), piece(file))(scope, receive, send)

    await converse(app, [GET])

    assert {"http.response.zerocopysend", "http.response.pathsend"} <= offered[0]


async def test_it_is_not_offered_where_bytes_have_to_be_encrypted(file):
    """Nor taken from an application that does not look."""
    seen = []

    async def app(scope, receive, send):
        seen.append("http.response.zerocopysend" in scope["extensions"])
        await send(start())
        for message in (piece(file), {"type": "http.response.pathsend", "path": file.name}):
            with pytest.raises(UsageError):
                await send(message)
        await send({"type": "http.response.body", "body": b"by hand"})

    wire = Wire([GET])
    connection = conversation(app, wire, stream=Encrypted(wire))
    with anyio.fail_after(20):
        await connection.attend()

    assert seen == [False]
    assert wire.sent.endswith(b"by hand")


class Encrypted:
    """A stream that is not the socket."""

    def __init__(self, wire):
        self.read, self.write, self.finish = wire.read, wire.write, wire.finish


async def test_a_declared_length_is_sent_as_it_is(file):
    length = (b"content-length", b"10")

    assert await body_of([start(length), piece(file, offset=0, count=10)]) == (
        DIGITS,
        ["file of 10"],
    )


async def test_a_part_is_a_chunk_where_no_length_was_declared(file):
    parts = [piece(file, offset=2, count=3, more_body=True), piece(file, offset=8, count=2)]

    assert (await body_of([start(), *parts]))[0] == b"3\r\n234\r\n2\r\n89\r\n0\r\n\r\n"


async def test_an_empty_part_is_no_chunk(file):
    """It would be the last one."""
    parts = [piece(file, offset=2, count=0, more_body=True), piece(file, offset=8, count=2)]

    assert (await body_of([start(), *parts]))[0] == b"2\r\n89\r\n0\r\n\r\n"


async def test_parts_stand_between_pieces_of_bytes(file):
    body = {"type": "http.response.body", "more_body": True}
    messages = [start((b"content-length", b"6")), {**body, "body": b"ab"}]
    messages += [piece(file, offset=0, count=2, more_body=True), {**body, "body": b"cd"}]

    assert (await body_of([*messages, {"type": "http.response.body"}]))[0] == b"ab01cd"


async def test_the_whole_of_an_answer_may_be_one_part(file):
    """Then its length is known."""
    wire = await converse(says(start(), piece(file)), [GET])

    assert b"content-length: 10\r\n" in wire.sent
    assert wire.sent.endswith(DIGITS)


async def test_it_begins_where_the_file_stands_and_goes_to_its_end(file):
    file.seek(7)

    assert (await body_of([start(), piece(file)]))[0] == b"789"
    file.seek(7)
    assert (await body_of([start(), piece(file.fileno(), count=1)]))[0] == b"7"
    assert (await body_of([start(), piece(file, offset=12)]))[0] == b""


async def test_a_client_of_http_1_0_reads_to_the_end_of_the_connection(file):
    parts = [piece(file, offset=0, count=4, more_body=True), piece(file, offset=4, count=6)]

    assert await body_of([start(), *parts], OLD) == (DIGITS, ["file of 4", "file of 6", "whole"])


async def test_head_gets_no_byte_of_it(file):
    assert await body_of([start(), piece(file, offset=0, count=10)], HEAD) == (b"", ["file of 0"])


@pytest.mark.parametrize("request_head", [WANTS, GET, HEAD])
async def test_trailers_stand_behind_it(file, request_head):
    trailers = {"type": "http.response.trailers", "headers": [(b"x-sum", b"9e10")]}
    messages = [start(trailers=True), piece(file, offset=0, count=2), trailers]
    body, _ = await body_of(messages, request_head)

    assert (
        body == {WANTS: b"2\r\n01\r\n0\r\nx-sum: 9e10\r\n\r\n", GET: b"01", HEAD: b""}[request_head]
    )


async def test_a_path_is_sent_whole(file):
    wire = await converse(
        says(start(), {"type": "http.response.pathsend", "path": file.name}), [GET]
    )

    assert b"content-length: 10\r\n" in wire.sent
    assert wire.sent.endswith(DIGITS)


async def test_a_path_that_is_not_there_leaves_the_answer_open(tmp_path):
    """Nothing has left: the application can say so."""

    async def app(scope, receive, send):
        await send(start())
        with pytest.raises(FileNotFoundError):
            await send({"type": "http.response.pathsend", "path": str(tmp_path / "missing")})
        await send({"type": "http.response.body", "body": b"not there"})

    assert (await converse(app, [GET])).sent.endswith(b"not there")


async def test_more_than_was_declared_is_refused_before_anything_is_sent(file):
    async def app(scope, receive, send):
        await send(start((b"content-length", b"4")))
        with pytest.raises(ContentLengthMismatch):
            await send(piece(file, offset=0, count=5))
        await send({"type": "http.response.body", "body": b"four"})

    assert (await converse(app, [GET])).sent.endswith(b"four")


async def test_less_than_was_declared_cuts_the_connection(file):
    async def app(scope, receive, send):
        await send(start((b"content-length", b"6")))
        await send(piece(file, offset=0, count=5, more_body=True))
        with pytest.raises(ContentLengthMismatch):
            await send(piece(file, offset=5, count=0))

    assert (await converse(app, [GET])).log == ["file of 5", "cut short"]


async def test_a_file_that_is_shorter_is_refused_before_anything_is_sent(file):
    async def app(scope, receive, send):
        await send(start((b"content-length", b"20")))
        with pytest.raises(ContentLengthMismatch, match="10 bytes"):
            await send(piece(file, offset=0, count=20))

    wire = await converse(app, [GET])
    assert (wire.statuses(), wire.log) == ([500], ["whole"])


async def test_a_file_that_shrinks_while_it_is_sent_cuts_the_connection(file, monkeypatch):
    async def send_file(self, head, number, at, count, end):
        raise EOFError("the file is shorter than it was")

    monkeypatch.setattr(Wire, "send_file", send_file)

    async def app(scope, receive, send):
        await send(start((b"content-length", b"10")))
        with pytest.raises(ContentLengthMismatch, match="shorter than it was"):
            await send(piece(file, offset=0, count=10))

    assert (await converse(app, [GET])).log[0] == "reset"


@pytest.mark.parametrize(
    "options",
    [
        {"offset": -1},
        {"offset": 0, "count": -5},
        {"offset": 0.0},
        {"offset": 0, "count": 5.0},
        {"offset": True},
    ],
    ids=str,
)
async def test_what_is_no_part_of_a_file_is_refused(file, options):
    """A negative count would let others have more than was declared."""

    async def app(scope, receive, send):
        await send(start((b"content-length", b"10")))
        with pytest.raises(UsageError):
            await send(piece(file, **options, more_body=True))
        await send(piece(file, offset=0))

    wire = await converse(app, [GET])
    assert wire.sent.endswith(b"\r\n\r\n" + DIGITS)


async def test_what_is_no_regular_file_is_refused(file, tmp_path):
    closed = (tmp_path / "digits.txt").open("rb")
    closed.close()
    pipe, end = os.pipe()
    folder = os.open(tmp_path, os.O_RDONLY)
    refused = []

    async def app(scope, receive, send):
        await send(start())
        for each in (closed, io.BytesIO(DIGITS), None, "x", True, pipe, folder, 10**6, text):
            with pytest.raises(UsageError) as caught:
                await send(piece(each))
            refused.append(str(caught.value))
        await send(piece(file, offset=0))

    with (tmp_path / "digits.txt").open() as text:
        wire = await converse(app, [GET])
    for each in (pipe, end, folder):
        os.close(each)

    assert wire.sent.endswith(DIGITS)
    assert len(refused) == 9
    assert "'rb'" in refused[-1]


async def test_the_position_of_a_file_goes_on_with_what_is_sent(tmp_path):
    """That of the object, which has read ahead."""
    path = tmp_path / "letters.txt"
    path.write_bytes(b"abcdefgh" * 2000)
    with path.open("rb") as opened, path.open("rb", buffering=0) as raw:
        assert opened.read(3) == b"abc"
        parts = [piece(opened, count=2, more_body=True), piece(opened, count=2, more_body=True)]
        number = raw.fileno()
        parts += [piece(number, count=1, more_body=True), piece(number, count=2)]
        body, _ = await body_of([start((b"content-length", b"7")), *parts])

        assert body == b"de" + b"fg" + b"a" + b"bc"
        assert opened.read(1) == b"h"


@pytest.mark.parametrize("path", ["fifo", "folder", "missing", "/dev/null"])
async def test_only_the_path_of_a_regular_file_is_sent(tmp_path, path):
    """To open a FIFO would wait for somebody who writes to it, in a thread that others need."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()

    async def app(scope, receive, send):
        await send(start())
        with pytest.raises(FileNotFoundError):
            await send({"type": "http.response.pathsend", "path": str(tmp_path / path)})
        await send({"type": "http.response.body", "body": b"not there"})

    assert (await converse(app, [GET])).sent.endswith(b"not there")


@pytest.mark.parametrize(("path", "error"), [("relative.txt", UsageError), (1, TypeError)])
async def test_a_path_is_absolute(path, error):
    async def app(scope, receive, send):
        await send(start())
        with pytest.raises(error):
            await send({"type": "http.response.pathsend", "path": path})
        await send({"type": "http.response.body", "body": b"not there"})

    assert (await converse(app, [GET])).sent.endswith(b"not there")


async def test_a_cancelled_part_cuts_the_connection(file):
    wire = Wire([GET], ends=False)
    wire.blocked = anyio.Event()

    async def app(scope, receive, send):
        await send(start((b"content-length", b"10")))
        with anyio.move_on_after(0.01):
            await send(piece(file, offset=0, count=10))

    with anyio.fail_after(20):
        await conversation(app, wire).attend()

    assert "reset" in wire.log


async def test_a_client_that_left_is_noticed(file):
    told = []

    async def app(scope, receive, send):
        await send(start((b"content-length", b"10")))
        await send(piece(file, offset=0, count=5, more_body=True))
        told.append(scope["extensions"]["nardis.client"].has_left())
        await send(piece(file, offset=5, count=5))

    wire = Wire([GET])
    wire.broken = True
    with anyio.fail_after(20):
        await conversation(app, wire).attend()

    assert told == [True]


async def test_nothing_is_sent_before_the_head_or_behind_the_end(file):
    async def app(scope, receive, send):
        with pytest.raises(UsageError):
            await send(piece(file))
        await send(start())
        await send({"type": "http.response.body", "body": b"all"})
        with pytest.raises(UsageError):
            await send(piece(file))

    assert (await converse(app, [GET])).sent.endswith(b"all")
