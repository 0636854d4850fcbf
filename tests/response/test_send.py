"""`await res.send()`: a whole answer, its type by what it is given."""

import json

import pytest

from nardis import Nardis
from nardis.errors import ResponseAlreadyEnded
from nardis.testing import Client

pytestmark = pytest.mark.anyio

HTML, OCTETS, JSON = (
    "text/html; charset=utf-8",
    "application/octet-stream",
    "application/json; charset=utf-8",
)


@pytest.mark.parametrize(
    ("body", "content_type", "content"),
    [
        ("häß €", HTML, "häß €".encode()),
        ("", HTML, b""),
        (b"\x00\xff", OCTETS, b"\x00\xff"),
        (b"", OCTETS, b""),
        (bytearray(b"abc"), OCTETS, b"abc"),
        (memoryview(b"abcdef")[::2], OCTETS, b"ace"),
        ({"a": 1}, JSON, b'{"a":1}'),
        ([1, "€"], JSON, '[1,"€"]'.encode()),
        ((), JSON, b"[]"),
        (42, JSON, b"42"),
        (0, JSON, b"0"),
        (1.5, JSON, b"1.5"),
        (True, JSON, b"true"),
        (False, JSON, b"false"),
    ],
)
async def test_the_type_follows_from_the_body(serve, body, content_type, content):
    async def handler(req, res):
        await res.send(body)

    response = await serve(handler)

    assert response.headers["content-type"] == content_type
    assert response.headers["content-length"] == str(len(content))
    assert response.content == content


@pytest.mark.parametrize("args", [(), (None,)])
async def test_nothing_is_an_empty_body_of_no_type(serve, args):
    async def handler(req, res):
        await res.send(*args)

    response = await serve(handler)

    assert response.content == b""
    assert response.headers.pairs() == [("content-length", "0")]


class Text(str):
    __slots__ = ()


class Octets(bytes):
    pass


@pytest.mark.parametrize(("body", "content_type"), [(Text("x"), HTML), (Octets(b"x"), OCTETS)])
async def test_subclasses_are_what_they_derive_from(serve, body, content_type):
    async def handler(req, res):
        await res.send(body)

    response = await serve(handler)

    assert (response.content, response.headers["content-type"]) == (b"x", content_type)


@pytest.mark.parametrize(
    ("present", "body", "sent"),
    [
        ("text/plain", "€", "text/plain; charset=utf-8"),
        ("Text/Plain", "€", "Text/Plain; charset=utf-8"),
        ("text/plain; charset=utf-8", "€", "text/plain; charset=utf-8"),
        ("text/plain; Charset=UTF-8", "€", "text/plain; Charset=UTF-8"),
        ("text/html; level=1", "€", "text/html; level=1; charset=utf-8"),
        ("application/xml", "<a/>", "application/xml"),
        ("image/svg+xml", "<svg/>", "image/svg+xml"),
        ("text/plain", b"caf\xe9", "text/plain"),
        ("text/plain; charset=latin-1", b"caf\xe9", "text/plain; charset=latin-1"),
        ("application/vnd.api+json", {"a": 1}, "application/vnd.api+json"),
        ("text/plain", None, "text/plain"),
        ("nonsense", "x", "nonsense"),
    ],
)
async def test_a_type_that_is_set_stays_and_text_gets_its_charset(serve, present, body, sent):
    async def handler(req, res):
        await res.set("content-type", present).send(body)

    assert (await serve(handler)).headers.get_all("content-type") == [sent]


async def test_text_that_is_sent_as_utf_8_does_not_say_another_charset(serve):
    """As in Express: what was set about the charset of a str gives way to what it is sent in."""

    async def handler(req, res):
        await res.set("content-type", "text/plain; charset=iso-8859-1").send("é")

    response = await serve(handler)

    assert response.content == "é".encode()
    assert response.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("verb", ["send", "json", "ndjson", "json_array"])
async def test_json_that_is_sent_as_utf_8_does_not_say_another_charset(serve, verb):
    async def handler(req, res):
        await getattr(res.type("text/x-json; charset=utf-16"), verb)(["é"])

    response = await serve(handler)

    assert response.headers["content-type"] == "text/x-json; charset=utf-8"
    assert "é" in response.text


async def test_send_replaces_a_wrong_length(serve):
    async def handler(req, res):
        await res.append("content-length", 1).append("content-length", 2).send("abc")

    assert (await serve(handler)).headers.get_all("content-length") == ["3"]


@pytest.mark.parametrize("status", [204, 304])
async def test_204_and_304_have_neither_body_nor_fields_of_one(serve, status):
    async def handler(req, res):
        res.set("etag", '"1"').set("content-length", 5).set("transfer-encoding", "chunked")
        await res.status(status).send("hello")

    response = await serve(handler)

    assert (response.status_code, response.content, response.complete) == (status, b"", True)
    assert response.headers.pairs() == [("etag", '"1"')]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("verb", ["send", "json", "write", "end", "send_status"])
async def test_205_has_no_body_and_says_so(serve, method, verb):
    """RFC 9110 §15.3.6; without the length of 0 a client would wait for a body."""

    async def handler(req, res):
        res.status(205).set("content-length", 5).set("transfer-encoding", "chunked")
        await getattr(res, verb)(205 if verb == "send_status" else "hello")

    response = await serve(handler, method)

    assert (response.status_code, response.content, response.complete) == (205, b"", True)
    assert response.headers["content-length"] == "0"
    assert "transfer-encoding" not in response.headers


async def test_205_feeds_no_filter(serve):
    fed = []

    class Keeps:
        feed = flush = finish = fed.append

    async def handler(req, res):
        await res.status(205).filter(Keeps()).send("hello")

    assert (await serve(handler)).headers["content-length"] == "0"
    assert fed == []


async def test_head_has_the_fields_of_get_and_no_body(serve):
    async def handler(req, res):
        await res.send("hello")

    head, get = await serve(handler, "HEAD"), await serve(handler, "GET")

    assert head.headers == get.headers
    assert (head.status_code, head.content, head.complete) == (200, b"", True)


async def test_a_length_that_a_head_handler_declares_is_kept():
    """It says what GET would send (RFC 9110 §8.6), and there is no body to contradict it."""
    from nardis.testing import Client

    app = Nardis()

    @app.head("/send")
    async def send(req, res):
        await res.set("content-length", 12345).send()

    @app.head("/end")
    async def end(req, res):
        await res.set("content-length", 12345).end()

    async with Client(app) as client:
        lengths = [(await client.head(url)).headers["content-length"] for url in ("/send", "/end")]

    assert lengths == ["12345", "12345"]


async def test_send_cancels_nothing_on_head(serve):
    """Unlike write: after it the handler has its own things to do."""
    done = []

    async def handler(req, res):
        await res.send("hello")
        done.append(res.finished)

    await serve(handler, "HEAD")

    assert done == [True]


@pytest.mark.parametrize(
    ("body", "content_type", "content"),
    [
        ("a", HTML, b"a-z"),
        (b"a", OCTETS, b"a-z"),
        ({"a": 1}, JSON, b'{"a":1}-z'),
        ("", HTML, b"-z"),
    ],
)
async def test_with_more_the_response_stays_open(serve, body, content_type, content):
    async def handler(req, res):
        await res.send(body, more=True)
        assert res.started
        assert not res.finished
        await res.write("-")
        await res.send("z", more=True)

    response = await serve(handler)

    assert response.content == content
    assert response.headers["content-type"] == content_type
    assert "content-length" not in response.headers


async def test_nothing_with_more_keeps_the_response_open_too(serve):
    async def handler(req, res):
        await res.send(more=True)
        await res.write("later")

    assert (await serve(handler)).text == "later"


@pytest.mark.parametrize(
    "again",
    [lambda res: res.send("b"), lambda res: res.json({}), lambda res: res.send("b", more=True)],
)
async def test_sending_twice_is_refused(failure, seen_by_client, again):
    async def handler(req, res):
        await res.send("a")
        await again(res)

    error = await failure(handler)

    assert isinstance(error, ResponseAlreadyEnded)
    assert "already ended" in str(error)
    assert "one answer" in str(error)
    assert (await seen_by_client(handler)).text == "a"


@pytest.mark.parametrize(
    "again", [lambda res: res.send("b"), lambda res: res.json({}), lambda res: res.send_status(200)]
)
async def test_a_whole_answer_after_a_write_is_refused_and_cuts_the_response(
    failure, seen_by_client, again
):
    async def handler(req, res):
        await res.write("a")
        await again(res)

    error = await failure(handler)
    response = await seen_by_client(handler)

    assert "already" in str(error)
    assert "write()" in str(error)
    assert "already ended" not in str(error)  # it has begun, and can go on with write()
    assert (response.content, response.complete) == (b"a", False)


async def test_what_json_cannot_encode_is_a_500(failure, seen_by_client):
    async def handler(req, res):
        await res.set("x-kept", "1").send(object())

    assert isinstance(await failure(handler), TypeError)
    assert (await seen_by_client(handler)).status_code == 500


async def test_the_codec_of_the_application_encodes(serve):
    class Codec:
        loads = staticmethod(json.loads)

        def dumps(self, obj):
            return b"encoded " + repr(obj).encode()

    async def handler(req, res):
        await res.send([1])

    response = await serve(handler, app=Nardis(json=Codec()))

    assert (response.content, response.headers["content-type"]) == (b"encoded [1]", JSON)


async def test_send_after_more_ends_the_response():
    """As in Nardis 0.0.7; after `write()` it stays an error."""
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        await res.send("<p>1", more=True)
        await res.send("<p>2", more=True)
        await res.send("<p>3")
        assert res.finished

    async with Client(app) as client:
        response = await client.get("/")
    assert (response.text, response.headers["content-type"]) == (
        "<p>1<p>2<p>3",
        "text/html; charset=utf-8",
    )
