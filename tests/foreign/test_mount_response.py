"""What a mounted application answers is the outer response."""

import anyio
import pytest

from nardis import HTTPError, Nardis
from nardis.testing import Client
from tests.foreign.applications import mounted
from tests.peers.asgi import body, says, start
from tests.peers.driver import rest

pytestmark = pytest.mark.anyio


async def test_its_404_is_as_it_made_it():
    async with Client(mounted(says(start(404, (b"x-by", b"them")), body(b"not here")))) as client:
        response = await client.get("/legacy/nope")
    assert (response.status_code, response.text, response.headers["x-by"]) == (
        404,
        "not here",
        "them",
    )
    assert "content-type" not in response.headers


async def test_its_head_is_merged_into_the_response():
    """
    The status is replaced, a field by name; Set-Cookie and Vary are added; framing is the server's.
    """
    head = start(
        203,
        (b"X-B", b"theirs"),
        (b"set-cookie", b"b=2"),
        (b"vary", b"Cookie"),
        (b"x-c", b"1"),
        (b"x-c", b"2"),
        (b"transfer-encoding", b"chunked"),
    )
    app = Nardis()

    @app.use
    async def around(req, res, next):
        res.set({"x-a": "ours", "x-b": "ours", "vary": "Accept"}).append(
            "set-cookie", "a=1"
        ).append("x-c", "0")
        await next()

    app.mount("/", says(head, body(b"!")))
    async with Client(app) as client:
        response = await client.get("/")
    lines = sorted(
        (name, value) for name, value in response.headers.items() if name != "content-length"
    )
    assert response.status_code == 203
    assert sorted(response.headers.get_all("set-cookie")) == ["a=1", "b=2"]
    assert ("x-a", "ours") in lines
    assert response.headers.get_all("x-b") == ["theirs"]
    assert response.headers.get_all("x-c") == ["1", "2"]
    assert response.headers.get_all("vary") == ["Accept, Cookie"]
    assert "transfer-encoding" not in response.headers


async def test_hooks_and_filters_see_its_answer():
    app = Nardis()

    class Loud:
        def feed(self, data):
            return data.upper()

        def flush(self):
            raise AssertionError  # pragma: no cover - nobody flushes

        def finish(self):
            return b"!"

    @app.use
    async def around(req, res, next):
        res.on_head(lambda: res.set("x-status", res.status_code).filter(Loud()))
        await next()
        res.req.state.sent = (res.finished, res.bytes_sent)
        seen.append(res.req.state.sent)

    seen = []
    head = start(201, (b"content-length", b"4"), (b"etag", b'"1"'))
    app.mount("/", says(head, body(b"ab", True), body(b"", True), body(b"cd")))
    async with Client(app) as client:
        response = await client.get("/")
    assert (response.content, response.headers["x-status"], response.headers["etag"]) == (
        b"ABCD!",
        "201",
        'W/"1"',
    )
    assert "content-length" not in response.headers
    assert seen == [(True, 4)]


async def test_a_body_in_one_piece_gets_its_length():
    async with Client(mounted(says(start(), body(b"four")))) as client:
        assert (await client.get("/legacy")).headers["content-length"] == "4"


async def test_the_head_goes_with_the_first_body_message():
    """As ASGI has servers do: what fails between the two can still be answered."""

    async def fails(scope, receive, send):
        await send(start(200, (b"content-type", b"text/x")))
        raise HTTPError(503, "not today")

    async with Client(mounted(fails)) as client:
        response = await client.get("/legacy")
    assert (response.status_code, "not today" in response.text) == (503, True)


async def test_an_empty_first_piece_sends_the_head():
    go = anyio.Event()

    async def waits(scope, receive, send):
        await send(start())
        await send(body(b"", True))
        await go.wait()
        await send(body(b"late"))

    async with Client(mounted(waits)) as client, client.stream("GET", "/legacy") as response:
        assert response.status_code == 200
        go.set()
        assert await response.read() == b"late"


async def test_chunks_pass_one_by_one():
    """The first is read before the second is written."""
    written = []

    async def counts(scope, receive, send):
        await send(start())
        for n in range(100):
            await send(body(b"%d" % n, True))
            written.append(n)
        await send(body())

    async with Client(mounted(counts)) as client, client.stream("GET", "/legacy") as response:
        assert await anext(response) == b"0"
        await rest()
        assert len(written) <= 2


async def test_a_length_that_is_said_twice_the_same_is_said_once():
    head = start(200, (b"content-length", b"4"), (b"content-length", b"4"))
    async with Client(mounted(says(head, body(b"four", True), body()))) as client:
        assert (await client.get("/legacy")).headers.get_all("content-length") == ["4"]


@pytest.mark.parametrize(
    ("messages", "length"),
    [
        ([start(200, (b"content-length", b"9")), body()], "9"),
        ([start(), body()], None),
        ([start(), body(b"four")], "4"),
        ([start(200, (b"content-length", b"9")), body(b"four", True), body(b"more!")], "9"),
        ([start(204), body()], None),
    ],
)
async def test_head_has_the_fields_and_no_body(messages, length):
    ran = []

    async def counted(scope, receive, send):
        await says(*messages)(scope, receive, send)
        ran.append(True)

    async with Client(mounted(counted)) as client:
        response = await client.head("/legacy")
    assert (response.content, response.headers.get("content-length"), response.complete) == (
        b"",
        length,
        True,
    )
    assert bool(ran) == (len(messages) == 2)  # what would stream is left at its first piece


async def test_a_204_has_no_body_and_no_length():
    async with Client(mounted(says(start(204, (b"content-length", b"0")), body()))) as client:
        response = await client.get("/legacy")
    assert (response.status_code, response.headers.get("content-length")) == (204, None)


async def test_extensions_that_change_what_can_be_sent_are_not_offered():
    seen = []

    async def shows(scope, receive, send):
        seen.append(set(scope["extensions"]))
        await says(start(), body())(scope, receive, send)

    async with Client(
        mounted(shows), extensions={"http.response.trailers": {}, "tls": {}}
    ) as client:
        await client.get("/legacy")
    assert seen[-1] == {"tls", "nardis.errors"}
