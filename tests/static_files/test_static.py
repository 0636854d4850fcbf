"""The options of `static`."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest

from nardis import HTTPError, Nardis, Router, UsageError, static
from nardis.testing import Client

pytestmark = pytest.mark.anyio

CHANGED = 1_000_000_000


@pytest.fixture
def root(tmp_path):
    for name, text in {
        "index.html": "<p>root",
        "page.html": "page",
        "a.txt": "0123456789",
        "sub/a <b>.txt": "x",
        "sub/.hidden": "h",
        "sub/deeper/a.txt": "d",
        "empty/.keep": "",
        "style.css": "p {}",
        "style.css.br": "brotli",
        "style.css.gz": "gzip",
        "style.css.zst": "zstd",
        "only.css": "q {}",
        "style.d/one.css": "o {}",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        os.utime(path, (CHANGED, CHANGED))
    return tmp_path


async def ask(root, path, method="GET", *, headers=None, **options):
    app = Nardis()
    app.use(static(root, **options))

    @app.all("{/*rest}")
    async def rest(req, res):
        await res.status(299).send("the next route")

    async with Client(app) as client:
        return await client.request(method, path, headers=headers)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_other_methods_are_for_other_routes(root, method):
    assert (await ask(root, "/a.txt", method)).status_code == 299


async def test_what_is_not_there_is_for_other_routes(root):
    assert (await ask(root, "/nope")).status_code == 299
    assert (await ask(root, "/empty/")).status_code == 299


@pytest.mark.parametrize("name", ["nowhere", "a.txt"])
async def test_a_folder_that_is_not_there_is_told_once(root, name, caplog):
    app = Nardis()
    app.use(static(root / name))

    async with Client(app) as client:
        answers = [await client.get(path) for path in ("/x", "/y")]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"static({str(root / name)!r}) has nothing to send: there is no such folder"
    ]


async def test_without_fallthrough_it_answers_all(root):
    answer = await ask(root, "/a.txt", "POST", fallthrough=False)

    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert (await ask(root, "/nope", fallthrough=False)).status_code == 404


async def test_a_websocket_is_for_other_routes(root):
    app, told = Nardis(), []
    app.use(static(root, fallthrough=True))

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        told.append(message["type"])

    scope = {"type": "websocket", "path": "/a.txt", "raw_path": b"/a.txt", "query_string": b""}
    scope |= {"headers": [], "http_version": "1.1", "root_path": "", "scheme": "ws", "client": None}
    async with Client(app):
        await app(scope, receive, send)

    assert told == ["websocket.close"]


async def test_head_has_the_fields_of_get_and_no_body(root):
    got, head = [await ask(root, "/a.txt", method) for method in ("GET", "HEAD")]

    assert (head.headers, head.content) == (got.headers, b"")
    assert head.headers["content-length"] == "10"


@pytest.mark.parametrize(
    ("index", "content"),
    [("page.html", "page"), (("nope", "page.html"), "page"), ("nope", None), (None, None)],
)
async def test_an_index_stands_for_a_folder(root, index, content):
    answer = await ask(root, "/", index=index)

    assert answer.text == (content or "the next route")


async def test_a_folder_is_sent_to_the_path_with_a_slash(root):
    answer = await ask(root, "/sub?x=1")

    assert (answer.status_code, answer.headers["location"]) == (301, "/sub/?x=1")
    assert (await ask(root, "/sub", redirect=False)).status_code == 299


async def test_extensions_are_tried_behind_a_path_that_is_no_file(root):
    for extensions in (("htm", "html"), (".html",)):
        assert (await ask(root, "/page", extensions=extensions)).text == "page"
    assert (await ask(root, "/page")).status_code == 299
    assert (await ask(root, "/a.txt", extensions=("html",))).text == "0123456789"
    # A folder of that name is not what was asked for: its path with a slash would be nowhere.
    assert (await ask(root, "/style", extensions=("d",))).status_code == 299


@pytest.mark.parametrize(
    ("dotfiles", "passed_on", "alone"),
    [("ignore", 299, 404), ("deny", 299, 403), ("allow", 200, 200)],
)
async def test_names_that_begin_with_a_dot(root, dotfiles, passed_on, alone):
    """As in Express, what is denied goes to the next route unless nothing does."""
    answers = [
        await ask(root, "/sub/.hidden", dotfiles=dotfiles, fallthrough=fallthrough)
        for fallthrough in (True, False)
    ]

    assert [answer.status_code for answer in answers] == [passed_on, alone]


async def test_caching(root):
    day = timedelta(days=1)
    fields = [
        (await ask(root, "/a.txt", **options)).headers["cache-control"]
        for options in ({}, {"max_age": 60}, {"max_age": day, "immutable": True})
    ]

    assert fields == ["public, max-age=0", "public, max-age=60", "public, max-age=86400, immutable"]


@pytest.mark.parametrize(
    ("accepted", "content", "coding"),
    [
        (None, "p {}", None),
        ("identity", "p {}", None),
        ("gzip", "gzip", "gzip"),
        ("gzip, br", "brotli", "br"),
        ("br;q=0.5, gzip", "gzip", "gzip"),
        ("zstd", "zstd", "zstd"),
        ("*", "brotli", "br"),
        ("br;q=0, identity;q=0", "p {}", None),
    ],
)
async def test_a_file_that_was_compressed_beforehand(root, accepted, content, coding):
    headers = {} if accepted is None else {"accept-encoding": accepted}
    answer = await ask(root, "/style.css", headers=headers)

    assert (answer.text, answer.headers.get("content-encoding")) == (content, coding)
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert answer.headers["vary"] == "Accept-Encoding"
    assert answer.headers["etag"].endswith(f'-{coding}"') == (coding is not None)


async def test_a_file_that_is_compressed_is_another_with_ranges_of_its_own(root):
    headers = {"accept-encoding": "br", "range": "bytes=0-2"}
    answer = await ask(root, "/style.css", headers=headers)

    assert (answer.status_code, answer.text) == (206, "bro")
    assert answer.headers["content-range"] == "bytes 0-2/6"


async def test_nothing_varies_where_nothing_was_compressed(root):
    assert "vary" not in (await ask(root, "/only.css", headers={"accept-encoding": "br"})).headers
    answer = await ask(root, "/style.css", headers={"accept-encoding": "br"}, precompressed=False)
    assert (answer.text, "vary" in answer.headers) == ("p {}", False)


async def test_a_listing_shows_what_can_be_had(root):
    answer = await ask(root, "/sub/", listing=True)

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "<a href='./deeper/'>deeper/</a>" in answer.text
    assert "<a href='./a%20%3Cb%3E.txt'>a &lt;b&gt;.txt</a>" in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert '<a href="../">' in answer.text
    assert ".hidden" not in answer.text
    assert "<b>" not in answer.text


@pytest.mark.parametrize(
    ("path", "options", "status"),
    [
        ("/", {"index": None}, 200),
        ("/", {}, 200),
        ("/nope/", {}, 299),
        ("/a.txt/", {}, 299),
        ("/%2e%2e/", {}, 299),
        ("/sub", {}, 301),
    ],
)
async def test_a_listing_is_of_a_folder_without_an_index(root, path, options, status):
    answer = await ask(root, path, listing=True, **options)

    assert answer.status_code == status
    assert ("Index of" in answer.text) == (options != {} and status == 200)


async def test_it_is_a_middleware_like_others(root):
    """Behind a guard, below prefixes, and with an error handler for what goes wrong."""
    app, router = Nardis(), Router()

    async def guard(req, res, next):
        if req.get("authorization") is None:
            raise HTTPError(401)
        await next()

    router.use("/files", guard, static(root))
    app.use("/api", router)
    async with Client(app) as client:
        assert (await client.get("/api/files/a.txt")).status_code == 401
        answer = await client.get("/api/files/sub", headers={"authorization": "x"})
        assert (answer.status_code, answer.headers["location"]) == (301, "/api/files/sub/")
        answer = await client.get("/api/files/a.txt", headers={"authorization": "x"})
        assert answer.text == "0123456789"


async def test_a_precondition_that_fails_is_no_file_that_is_missing(root):
    answer = await ask(root, "/a.txt", headers={"if-match": '"other"'})

    assert answer.status_code == 412


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dotfiles": "hide"}, "'ignore', 'deny' or 'allow'"),
        ({"extensions": "html"}, r"such as \['html'\]"),
        ({"index": False}, "takes a list of texts"),
        ({"max_age": -1}, "0 seconds or more"),
        ({"max_age": "1d"}, "seconds or a timedelta"),
    ],
)
def test_mistakes_are_found_when_it_is_made(root, options, says):
    with pytest.raises(UsageError, match=says):
        static(root, **options)


async def test_a_relative_folder_is_one_of_where_the_program_began(root, monkeypatch, tmp_path):
    monkeypatch.chdir(root)
    app = Nardis()
    app.use(static("sub"))
    monkeypatch.chdir("/")
    async with Client(app) as client:
        assert (await client.get("/deeper/a.txt")).text == "d"
