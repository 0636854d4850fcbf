"""What is asked for: method, path and query, as received and relative to a prefix."""

import pytest

from nardis import Nardis, Router
from nardis.testing import Client

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "PROPFIND"])
async def test_method_is_in_capitals(ask, method):
    assert await ask(lambda req: req.method, method) == method


@pytest.mark.parametrize(
    ("url", "path", "raw_path"),
    [
        ("/", "/", b"/"),
        ("/a/b", "/a/b", b"/a/b"),
        ("/caf%C3%A9", "/café", b"/caf%C3%A9"),
        ("/a%2Fb", "/a/b", b"/a%2Fb"),
        ("/a+b", "/a+b", b"/a+b"),
        ("/a//b/", "/a//b/", b"/a//b/"),
        ("/x?a=/b", "/x", b"/x"),
    ],
)
async def test_path_is_decoded_and_raw_path_is_as_received(ask, url, path, raw_path):
    assert await ask(lambda req: (req.path, req.raw_path), url=url) == (path, raw_path)


@pytest.mark.parametrize(
    ("url", "query_string", "original_url"),
    [
        ("/x", b"", "/x"),
        ("/x?a=1&b=%20", b"a=1&b=%20", "/x?a=1&b=%20"),
        ("/caf%C3%A9?q=?", b"q=?", "/caf%C3%A9?q=?"),
    ],
)
async def test_outside_of_any_prefix_url_is_original_url(ask, url, query_string, original_url):
    assert await ask(
        lambda req: (req.query_string, req.original_url, req.url, req.base_url), url=url
    ) == (
        query_string,
        original_url,
        original_url,
        "",
    )


async def test_a_prefix_moves_from_path_and_url_to_base_url():
    """The names and values of Express: `originalUrl`, `baseUrl`, `url`, `path`."""
    app, outer, inner, seen = Nardis(), Router(), Router(), []

    async def look(req, res, next):
        seen.append((req.base_url, req.url, req.path, req.original_url, req.raw_path))
        await next()

    @inner.get("/c d")
    async def handler(req, res):
        await look(req, res, res.send)

    app.use(look)
    app.use("/a b", outer)
    outer.use("/b", look)
    outer.use("/b", inner)

    async with Client(app) as client:
        response = await client.get("/a%20b/b/c%20d?e=1")

    whole = ("", "/a%20b/b/c%20d?e=1", "/a b/b/c d", "/a%20b/b/c%20d?e=1", b"/a%20b/b/c%20d")
    nested = ("/a%20b/b", "/c%20d?e=1", "/c d", "/a%20b/b/c%20d?e=1", b"/a%20b/b/c%20d")
    assert response.status_code == 200
    assert seen == [whole, nested, nested]


async def test_a_prefix_is_given_back_when_next_returns():
    app, router, seen = Nardis(), Router(), []

    @app.use
    async def around(req, res, next):
        await next()
        seen.append((req.base_url, req.path))

    @router.get("/b")
    async def handler(req, res):
        await res.send()

    app.use("/a", router)
    async with Client(app) as client:
        await client.get("/a/b")

    assert seen == [("", "/a/b")]


async def test_the_prefix_itself_has_the_path_slash():
    app, router, seen = Nardis(), Router(), []

    @router.get("/")
    async def handler(req, res):
        seen.append((req.base_url, req.url, req.path))
        await res.send()

    app.use("/a", router)
    async with Client(app) as client:
        await client.get("/a?x=1")

    assert seen == [("/a", "/?x=1", "/")]


async def _scoped(app, **changes):
    """Send a GET whose scope a server filled in otherwise than the test client does."""

    async def server(scope, receive, send):
        scope = {**scope, **changes}
        await app({name: value for name, value in scope.items() if value is not ...}, receive, send)

    async with Client(server) as client:
        return await client.get("/")


async def test_a_server_without_raw_path_gets_it_made_from_path():
    app, seen = Nardis(), []

    @app.get("/a b/:name")
    async def handler(req, res):
        seen.append((req.raw_path, req.original_url, req.params))
        await res.send()

    await _scoped(app, path="/a b/ü", raw_path=...)
    await _scoped(app, path="/a b/ü", raw_path=None)

    assert seen == [(b"/a%20b/%C3%BC", "/a%20b/%C3%BC", {"name": "ü"})] * 2


async def test_a_raw_path_with_a_query_in_it_is_cut():
    """As some servers give it."""
    app, seen = Nardis(), []

    @app.get("/x")
    async def handler(req, res):
        seen.append((req.raw_path, req.original_url))
        await res.send()

    await _scoped(app, path="/x", raw_path=b"/x?a=1", query_string=b"a=1")

    assert seen == [(b"/x", "/x?a=1")]


@pytest.mark.parametrize(
    ("target", "original_url"),
    [
        ("http://example.com/x/y", "/x/y?a=1"),
        ("http://example.com//b.example/y", "//b.example/y?a=1"),
        ("http://example.com", "/?a=1"),
    ],
)
async def test_a_target_that_is_a_whole_url_gives_its_path(target, original_url):
    """A handler that asks another service for `original_url` must not ask the client's choice."""
    app, seen = Nardis(), []

    @app.get("/{*rest}")
    async def handler(req, res):
        seen.append((req.original_url, req.url, req.raw_path))
        await res.send()

    headers = [(b"host", b"example.com")]
    await _scoped(app, path=target, raw_path=target.encode(), query_string=b"a=1", headers=headers)

    assert seen == [(original_url, original_url, original_url.partition("?")[0].encode())]


@pytest.mark.parametrize(("path", "seen_path"), [("/base/x", "/x"), ("/base", "/"), ("/x", "/x")])
async def test_root_path_is_stripped_from_path(path, seen_path):
    app, seen = Nardis(), []

    @app.get("/{*rest}")
    async def handler(req, res):
        seen.append(req.path)
        await res.send()

    await _scoped(app, path=path, raw_path=path.encode(), root_path="/base")

    assert seen == [seen_path]


@pytest.mark.parametrize(
    ("root_path", "path", "prefix"),
    [
        ("", "/r/x/y", ""),
        ("/", "/r/x/y", ""),
        ("/base", "/base/r/x/y", "/base"),
        ("/base/", "/r/x/y", "/base"),
        ("/b ase/ü", "/r/x/y", "/b%20ase/%C3%BC"),
        ("//evil.example", "/r/x/y", "/evil.example"),
    ],
)
async def test_what_links_are_made_of_begins_with_the_root_path(root_path, path, prefix):
    """Also where the server does not give it in the path; and it is never a host."""
    app, router, seen = Nardis(), Router(), []

    @app.use
    async def outside(req, res, next):
        seen.append(req.base_url)
        await next()

    @router.get("/x/:id")
    async def show(req, res):
        seen.extend([req.base_url, req.base_url + req.url, req.url_for("show", id="a b")])
        await res.send()

    app.use("/r", router)

    await _scoped(app, path=path, raw_path=path.encode(), root_path=root_path)

    assert seen == [prefix, f"{prefix}/r", f"{prefix}/r/x/y", f"{prefix}/r/x/a%20b"]


async def test_a_scope_without_a_query_has_an_empty_one():
    app, seen = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        seen.append((req.query_string, dict(req.query), req.url))
        await res.send()

    await _scoped(app, query_string=...)

    assert seen == [(b"", {}, "/")]


async def test_repr_names_method_and_target(ask):
    assert await ask(repr, "POST", "/a/b?c=1") == "<Request POST /a/b?c=1>"
