"""The front gate: what servers let through, and no handler sees."""

import pytest

from nardis import Limits, Nardis, Router
from nardis.testing import Client

from ._driver import with_scope

pytestmark = pytest.mark.anyio


def echoing(**options):
    """Answer with what a handler is told of the target."""
    app = Nardis(**options)

    @app.all("/{*path}")
    async def echo(req, res):
        await res.json([req.path, req.url, req.params.get("path")])

    return app


@pytest.mark.parametrize(
    "host", ["a b", "a/b", "a@b", "a:b", "a:1:2", "[::1", "a?b", "a#b", "a\\b", "a%zz", "<x>"]
)
async def test_a_malformed_host_is_400(host):
    async with Client(echoing()) as client:
        assert (await client.get("/", headers={"host": host})).status_code == 400


@pytest.mark.parametrize(
    "host",
    ["example.com", "EXAMPLE.com:8080", "127.0.0.1", "[::1]:80", "xn--bcher-kva.example", "a-b_c"],
)
async def test_a_good_host_passes(host):
    async with Client(echoing()) as client:
        assert (await client.get("/", headers={"host": host})).status_code == 200


@pytest.mark.parametrize("name", ["host", "content-length", "transfer-encoding"])
async def test_two_of_a_field_that_frames_or_routes_is_400(name):
    """Even if they are equal: two parties on the way might read two things."""
    value = {"host": "a", "content-length": "0", "transfer-encoding": "chunked"}[name]
    async with Client(echoing()) as client:
        response = await client.get("/", headers=[(name, value), (name, value)])
    assert response.status_code == 400
    assert name in response.text


async def test_other_fields_may_come_twice():
    async with Client(echoing()) as client:
        assert (
            await client.get("/", headers=[("x-a", "1"), ("x-a", "2"), ("cookie", "a=1")])
        ).status_code == 200


async def test_content_length_with_transfer_encoding_is_400_and_closes():
    """RFC 9112 §6.1: one of the two parties is being fooled."""
    headers = {"content-length": "5", "transfer-encoding": "chunked"}
    async with Client(echoing()) as client:
        response = await client.post("/", content=b"12345", headers=headers)
    assert (response.status_code, response.headers["connection"]) == (400, "close")


@pytest.mark.parametrize("value", ["-1", "+1", "1.0", "0x1", "", "1 2", "1, 1", "1_0", "\u00b2"])
async def test_a_content_length_that_is_no_number_is_400(value):
    async with Client(echoing()) as client:
        assert (
            await client.post("/", content=b"", headers={"content-length": value})
        ).status_code == 400


async def test_too_many_header_lines_are_431():
    async with Client(echoing(limits=Limits(headers=5))) as client:
        assert (
            await client.get("/", headers=[(f"x-{n}", "1") for n in range(4)])
        ).status_code == 200
        response = await client.get("/", headers=[(f"x-{n}", "1") for n in range(5)])
    assert response.status_code == 431


async def test_connect_is_501():
    """We are no proxy; its target is an authority."""
    async with Client(
        with_scope(echoing(), method="CONNECT", path="example.com:443", raw_path=b"example.com:443")
    ) as client:
        assert (await client.get("/")).status_code == 501


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("http://example.com/a/b%20c", "example.com"),
        ("https://example.com/a/b%20c", "example.com"),
        ("HTTP://example.com/a/b%20c", "example.com"),
        ("http://Example.COM/a/b%20c", "example.com"),
        ("http://example.com:8080/a/b%20c?d=1", "example.com:8080"),
    ],
)
async def test_an_absolute_target_of_this_host_is_served(target, host):
    """RFC 9112 §3.2.2: a server must accept it. Handlers see the path it names."""
    app = with_scope(
        echoing(), path=target.replace("%20", " "), raw_path=target.encode(), query_string=b"d=1"
    )
    async with Client(app) as client:
        response = await client.get("/", headers={"host": host})
    assert response.status_code == 200
    assert response.json() == ["/a/b c", "/a/b%20c?d=1", ["a", "b c"]]


async def test_an_absolute_target_without_a_path_is_the_root():
    async with Client(
        with_scope(echoing(), path="http://example.com", raw_path=b"http://example.com")
    ) as client:
        response = await client.get("/", headers={"host": "example.com"})
    assert response.json()[0] == "/"


@pytest.mark.parametrize(
    "target",
    [
        "http://other.example/x",
        "http://example.com:81/x",
        "ftp://example.com/x",
        "http:///x",
        "x",
        "*",
        "http:/x",
    ],
)
async def test_any_other_target_is_400(target):
    async with Client(with_scope(echoing(), path=target, raw_path=target.encode())) as client:
        assert (await client.get("/", headers={"host": "example.com"})).status_code == 400


async def test_the_asterisk_is_for_options_alone():
    async with Client(with_scope(echoing(), path="*", raw_path=b"*")) as client:
        assert (await client.options("/")).status_code == 204
        assert (await client.get("/")).status_code == 400


@pytest.mark.parametrize("target", ["/a%00", "/%00", "/a/%00b/c"])
async def test_a_nul_in_the_path_is_400(target):
    async with Client(echoing()) as client:
        assert (await client.get(target)).status_code == 400


async def test_a_nul_is_found_without_a_raw_path_too():
    async with Client(with_scope(echoing(), path="/a\0b", raw_path=None)) as client:
        assert (await client.get("/")).status_code == 400


async def test_a_query_in_the_raw_path_is_none_of_it():
    """Some servers leave it there."""
    async with Client(
        with_scope(echoing(), path="/a", raw_path=b"/a?b=/c", query_string=b"b=/c")
    ) as client:
        assert (await client.get("/")).json() == ["/a", "/a?b=/c", ["a"]]


async def test_an_empty_path_is_the_root():
    async with Client(with_scope(echoing(), path="", raw_path=b"")) as client:
        assert (await client.get("/")).json()[0] == "/"


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/a b", ["a b"]),
        ("/ü/100%/a?b", ["ü", "100%", "a?b"]),
        ("/%41", ["%41"]),
        ("/a#b", ["a#b"]),
    ],
)
async def test_without_a_raw_path_the_decoded_one_is_taken(path, params):
    """The key is optional in ASGI; nothing is decoded twice."""
    async with Client(with_scope(echoing(), path=path, raw_path=None)) as client:
        response = (await client.get("/")).json()
    assert (response[0], response[2]) == (path, params)


@pytest.mark.parametrize("accept", ["text/html", "application/json", "text/plain"])
async def test_the_gate_answers_in_the_form_that_the_client_prefers(accept):
    async with Client(echoing()) as client:
        response = await client.get("/%00", headers={"accept": accept})
    assert (response.status_code, "html" in response.headers["content-type"]) == (
        400,
        accept == "text/html",
    )


async def test_no_middleware_sees_what_the_gate_refused():
    app, seen = Nardis(), []

    @app.use
    async def watches(req, res, next):
        seen.append(req.path)
        await next()

    async with Client(app) as client:
        await client.get("/%00")
        await client.get("/ok")
    assert seen == ["/ok"]


@pytest.mark.parametrize(
    ("root_path", "raw_path", "inside"),
    [
        ("/api", "/api/x", "/x"),
        ("/api", "/api", "/"),
        ("/api", "/api/", "/"),
        ("/api", "/apix", "/apix"),
        ("/api", "/other/x", "/other/x"),
        ("/api", "/x/api", "/x/api"),
        ("/api/", "/api/x", "/x"),
        ("/a b", "/a%20b/x", "/x"),
        ("", "/api/x", "/api/x"),
        ("/", "/x", "/x"),
    ],
)
async def test_the_servers_root_path_is_taken_off_on_a_segment_border(root_path, raw_path, inside):
    """Routes and `req.path` do not see it; some servers give paths without it."""
    app = Nardis()

    @app.get("/{*path}")
    async def echo(req, res):
        await res.json([req.path, "/" + "/".join(req.params.get("path", []))])

    scope = {
        "root_path": root_path,
        "path": raw_path.replace("%20", " "),
        "raw_path": raw_path.encode(),
    }
    async with Client(with_scope(app, **scope)) as client:
        assert (await client.get("/")).json() == [inside, inside]


async def test_prefixes_begin_below_the_root_path():
    app, router = Nardis(), Router()

    @router.get("/x")
    async def echo(req, res):
        await res.json([req.path, req.url, req.original_url])

    app.use("/r", router)

    async with Client(
        with_scope(app, root_path="/api", path="/api/r/x", raw_path=b"/api/r/x")
    ) as client:
        assert (await client.get("/")).json() == ["/x", "/x", "/api/r/x"]


async def test_a_text_with_a_percent_sign_is_no_path_as_received():
    """The text `/100%` comes as `/100%25`; what comes as `/100%` is a broken escape."""
    app = Nardis()

    @app.get("/100%25")
    async def handler(req, res):
        await res.send("all")

    statuses = []
    for raw_path in (b"/100%25", b"/100%", b"/100%25"):
        async with Client(with_scope(app, path="/100%", raw_path=raw_path)) as client:
            statuses.append((await client.get("/")).status_code)

    assert statuses == [200, 404, 200]
