"""What the application is told: the scope and the request body."""

import json

import anyio
import pytest

from nardis.datastructures import Headers
from nardis.errors import UsageError
from nardis.testing import Client

pytestmark = pytest.mark.anyio


async def report(scope, receive, send):
    """Answer with what arrived: the scope in the header `scope`, the body as it is."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    plain = {
        **scope,
        "headers": [(name.decode(), value.decode("latin-1")) for name, value in scope["headers"]],
    }
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"scope", json.dumps(plain, default=str).encode())],
        }
    )
    await send({"type": "http.response.body", "body": body})


def told(response):
    scope = json.loads(response.headers["scope"])
    return scope, dict(scope["headers"])


async def test_a_plain_request_has_the_scope_of_a_server():
    """Everything the ASGI specification asks for is there, and nothing is invented."""
    async with Client(report) as client:
        scope, headers = told(await client.get("/a/b?x=1"))

    assert {
        key: scope[key] for key in ("type", "http_version", "method", "scheme", "path", "root_path")
    } == {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/a/b",
        "root_path": "",
    }
    assert scope["asgi"] == {"version": "3.0", "spec_version": "2.3"}
    assert scope["raw_path"] == "b'/a/b'"
    assert scope["query_string"] == "b'x=1'"
    assert scope["client"] == ["127.0.0.1", 50000]
    assert scope["server"] == ["testserver", 80]
    assert scope["extensions"] == {"nardis.errors": []}
    assert "state" not in scope
    assert headers == {"host": "testserver"}


@pytest.mark.parametrize(
    ("url", "path", "raw_path", "query"),
    [
        ("", "/", b"/", b""),
        ("?a=1", "/", b"/", b"a=1"),
        ("//", "//", b"//", b""),
        ("/a%2Fb", "/a/b", b"/a%2Fb", b""),
        ("/é b?q=ü#part", "/é b", b"/%C3%A9%20b", b"q=%C3%BC"),
        ("/%zz%ff", "/%zz�", b"/%zz%ff", b""),
        ('/"<{}|^`>', '/"<{}|^`>', b'/"<{}|^`>', b""),
        ("/a?b?c#d", "/a", b"/a", b"b?c"),
        ("*", "*", b"*", b""),
    ],
)
async def test_a_path_is_encoded_and_decoded_once(url, path, raw_path, query):
    """`raw_path` is what goes over the wire, `path` its decoded form."""
    scopes = []

    async def app(scope, receive, send):
        scopes.append(scope)
        await report(scope, receive, send)

    async with Client(app, lifespan=False) as client:
        await client.options(url)

    assert (scopes[0]["path"], scopes[0]["raw_path"], scopes[0]["query_string"]) == (
        path,
        raw_path,
        query,
    )


async def test_an_absolute_url_names_host_and_scheme():
    """The authority becomes the Host field without the user's name, and the server of the scope."""
    async with Client(report) as client:
        plain, plain_headers = told(await client.get("http://example.org:8080"))
        secure, secure_headers = told(await client.get("https://joe:pw@[::1]/x"))

    assert (plain["scheme"], plain["server"], plain["path"]) == ("http", ["example.org", 8080], "/")
    assert (secure["scheme"], secure["server"], secure["path"]) == ("https", ["::1", 443], "/x")
    assert (plain_headers["host"], secure_headers["host"]) == ("example.org:8080", "[::1]")


@pytest.mark.parametrize("url", ["hello", "ftp://example.org/", "http://"])
async def test_what_is_no_url_is_refused(url):
    """A forgotten slash is told at once."""
    async with Client(report) as client:
        with pytest.raises(UsageError, match="neither a path"):
            await client.get(url)


async def test_params_are_added_to_the_query():
    """Values may be lists, and what the URL brings comes first."""
    async with Client(report) as client:
        scope, _ = told(await client.get("/?a=1", params={"b": ["2", "ü"], "c": 3}))
        pairs, _ = told(await client.get("/", params=[("a", "1"), ("a", "2")]))

    assert scope["query_string"] == "b'a=1&b=2&b=%C3%BC&c=3'"
    assert pairs["query_string"] == "b'a=1&a=2'"


async def test_a_number_in_the_headers_is_its_digits():
    """`bytes(3)`, which stood in its place, are three NULs."""
    async with Client(report, headers={"x-page": 3}) as client:
        _, headers = told(await client.get("/", headers=[("x-size", 10)]))

    assert (headers["x-page"], headers["x-size"]) == ("3", "10")


@pytest.mark.parametrize("value", [["1", "2"], None, 1.5])
async def test_a_header_of_another_kind_is_refused(value):
    """A list is several pairs of one name."""
    async with Client(report) as client:
        with pytest.raises(UsageError, match="is str, bytes or int, not"):
            await client.get("/", headers={"x-a": value})


async def test_headers_of_a_request_replace_those_of_the_client():
    """By name, in any case; what the client would set by itself gives way too."""
    async with Client(report, headers={"X-A": "client", "X-B": "client"}) as client:
        scope, _ = told(
            await client.get("/", headers=[("X-a", "1"), (b"x-a", b"2"), ("Host", "here")])
        )
        _, mapped = told(await client.get("/", headers=Headers([(b"x-b", b"caf\xe9")])))

    assert scope["headers"] == [["x-b", "client"], ["x-a", "1"], ["x-a", "2"], ["host", "here"]]
    assert mapped == {"host": "testserver", "x-a": "client", "x-b": "café"}


async def test_each_verb_sends_its_method():
    """The seven verbs, and any other by name."""
    async with Client(report) as client:
        verbs = [
            client.get,
            client.post,
            client.put,
            client.patch,
            client.delete,
            client.head,
            client.options,
        ]
        methods = [told(await verb("/"))[0]["method"] for verb in verbs]
        methods.append(told(await client.request("propfind", "/"))[0]["method"])

    assert methods == ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "PROPFIND"]


@pytest.mark.parametrize(
    ("options", "body", "media_type"),
    [
        ({"content": b"raw"}, b"raw", None),
        ({"json": {"a": [1, None]}}, b'{"a":[1,null]}', "application/json"),
        (
            {"data": {"a": "1 2", "b": ["x", "y"]}},
            b"a=1+2&b=x&b=y",
            "application/x-www-form-urlencoded",
        ),
        ({}, b"", None),
    ],
)
async def test_a_known_body_has_its_length_and_type(options, body, media_type):
    """
    Content-Length is set for every body in one piece, also for an empty one where a body is usual.
    """
    async with Client(report) as client:
        response = await client.post("/", **options)
        _, headers = told(response)

    assert response.content == body
    assert headers.get("content-type") == media_type
    assert headers["content-length"] == str(len(body))


async def test_two_bodies_are_refused():
    """Also content that would never be sent."""
    async with Client(report) as client:
        with pytest.raises(UsageError, match="one body"):
            await client.post("/", content=b"", json={})
        with pytest.raises(UsageError, match="not str"):
            await client.post("/", content="text")


@pytest.mark.parametrize(
    ("http_version", "headers", "expected"),
    [
        ("1.1", {}, {"transfer-encoding": "chunked"}),
        ("1.1", {"content-length": "6"}, {"content-length": "6"}),
        ("2", {}, {}),
    ],
)
async def test_an_iterable_is_framed_as_the_http_version_wants(http_version, headers, expected):
    """A body of unknown length is chunked on HTTP/1, unless the caller knows better."""

    async def chunks():
        yield b"abc"
        yield b""
        yield b"def"

    async with Client(report, http_version=http_version) as client:
        response = await client.put("/", content=chunks(), headers=headers)
        scope, given = told(response)

    assert response.content == b"abcdef"
    assert scope["http_version"] == http_version
    assert given == {"host": "testserver", **expected}


async def test_a_length_of_the_callers_own_is_kept():
    """So that a test can lie about it."""
    async with Client(report) as client:
        _, wrong = told(await client.post("/", content=b"abc", headers={"Content-Length": "5"}))
        _, chunked = told(
            await client.post("/", content=b"abc", headers={"transfer-encoding": "chunked"})
        )

    assert wrong["content-length"] == "5"
    assert "content-length" not in chunked


async def test_an_iterable_is_pulled_only_as_the_application_asks():
    """Backpressure upward: one chunk for each receive(), and none before the first."""
    pulled, counts = [], []

    async def chunks():
        while True:
            pulled.append(len(pulled))
            yield b"x"

    async def app(scope, receive, send):
        for _ in range(3):
            await anyio.wait_all_tasks_blocked()
            counts.append(len(pulled))
            await receive()
        await anyio.wait_all_tasks_blocked()
        counts.append(len(pulled))
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    async with Client(app, lifespan=False) as client:
        await client.post("/", content=chunks())

    assert counts == [0, 1, 2, 3]


async def test_a_cancelled_receive_loses_no_chunk():
    """
    What was pulled for a receive() that gave up is there for the next one, and nothing is pulled
    beside it.
    """
    pulled, received, asked = [], [], anyio.Event()

    async def chunks():
        await asked.wait()
        for n in range(3):
            pulled.append(n)
            yield b"%d" % n

    async def app(scope, receive, send):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        asked.set()
        await anyio.wait_all_tasks_blocked()
        received.append((await receive())["body"])
        await anyio.wait_all_tasks_blocked()
        assert len(pulled) == 1
        received.extend(
            [(await receive())["body"], (await receive())["body"], (await receive())["more_body"]]
        )
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    async with Client(app, lifespan=False) as client:
        await client.post("/", content=chunks())

    assert received == [b"0", b"1", b"2", False]


async def test_an_iterable_that_raises_is_a_disconnect_and_the_tests_own_error():
    """The application sees a client that left half-way; the test sees what its iterable raised."""
    seen = []

    async def chunks():
        yield b"1"
        raise LookupError("no more")

    async def app(scope, receive, send):
        seen.extend([await receive(), await receive()])

    async with Client(app, lifespan=False) as client:
        with pytest.raises(LookupError, match="no more"):
            await client.post("/", content=chunks())

    assert [message["type"] for message in seen] == ["http.request", "http.disconnect"]


async def test_an_iterable_without_aclose_is_left_alone():
    """Any async iterable will do."""

    class Chunks:
        def __aiter__(self):
            return self

        async def __anext__(self):
            return b"x"

    async def app(scope, receive, send):
        assert (await receive())["body"] == b"x"
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    async with Client(app, lifespan=False) as client:
        assert (await client.post("/", content=Chunks())).complete


async def test_past_the_body_receive_waits_for_the_end_of_the_response():
    """Then it says http.disconnect, for ever after where nobody lints."""
    seen = []

    async def app(scope, receive, send):
        assert await receive() == {"type": "http.request", "body": b"", "more_body": False}
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch, receive)
            await anyio.wait_all_tasks_blocked()
            assert seen == []
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"x"})
        seen.append(await receive())

    async def watch(receive):
        seen.append(await receive())

    async with Client(app, lifespan=False, strict=False) as client:
        assert (await client.get("/")).text == "x"

    assert seen == [{"type": "http.disconnect"}] * 2


async def test_a_client_that_is_not_open_says_so():
    """Before and after the block."""
    client = Client(report)
    with pytest.raises(UsageError, match="async with"):
        await client.get("/")
    async with client:
        pass
    with pytest.raises(UsageError, match="async with"):
        await client.get("/")


async def test_an_option_that_does_not_exist_is_refused():
    """A test that sends nothing because of a slip would pass for the wrong reason."""
    async with Client(report) as client:
        with pytest.raises(UsageError, match="content.*, not body"):
            await client.post("/", body=b"abc")
