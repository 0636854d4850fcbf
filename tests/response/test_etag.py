"""`res.etag()`, and the ETag and 304 of `send()` and `json()` (RFC 9110 §8.8.3 and §13.2.2)."""

import gzip
import zlib

import pytest

from nardis import Nardis, wrap
from nardis.errors import FieldError, HeadersAlreadySent
from nardis.testing import Client
from tests.response.test_filter import Deflate

pytestmark = pytest.mark.anyio


async def hello(req, res):
    await res.send("hello")


@pytest.mark.parametrize(
    ("value", "options", "sent"),
    [
        ("v1", {}, '"v1"'),
        ('"v1"', {}, '"v1"'),
        ('W/"v1"', {}, 'W/"v1"'),
        ("v1", {"weak": True}, 'W/"v1"'),
        (b"hello", {}, '"5-qvTGHdzF6KLavt4PO0gs2a6pQ00"'),
        (b"hello", {"weak": True}, 'W/"5-qvTGHdzF6KLavt4PO0gs2a6pQ00"'),
    ],
)
async def test_etag_sets_the_field(serve, value, options, sent):
    async def handler(req, res):
        assert res.etag(value, **options) is res
        await res.send("x")

    assert (await serve(handler)).headers["etag"] == sent


async def test_etag_refuses_what_no_tag_may_have(failure):
    async def handler(req, res):
        res.etag('a"b')

    assert isinstance(await failure(handler), FieldError)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("body", ["hello", "x" * 2000, b"\0", {"a": 1}, "é"])
async def test_the_answer_to_a_read_has_a_weak_tag_of_its_bytes(serve, method, body):
    async def handler(req, res):
        await res.send(body)

    first, again = await serve(handler, method), await serve(handler, "GET")

    assert first.headers["etag"].startswith('W/"')
    assert first.headers["etag"] == again.headers["etag"]
    assert first.headers["etag"].startswith(f'W/"{len(again.content):x}-')


async def test_other_bytes_have_another_tag(serve):
    async def answer(req, res):
        await res.json({"n": int(req.query["n"])})

    app = Nardis()
    app.get("/", answer)
    async with Client(app) as client:
        tags = {(await client.get(f"/?n={n}")).headers["etag"] for n in range(300)}
    assert len(tags) == 300


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_what_is_no_read_has_no_tag_and_no_304(serve, method):
    response = await serve(hello, method, headers={"if-none-match": "*"})
    assert (response.status_code, "etag" in response.headers) == (200, False)


@pytest.mark.parametrize("status", [201, 404, 500])
async def test_another_status_than_200_has_no_tag(serve, status):
    async def handler(req, res):
        await res.status(status).send("x")

    response = await serve(handler, headers={"if-none-match": "*"})
    assert (response.status_code, "etag" in response.headers) == (status, False)


async def test_an_answer_in_pieces_has_no_tag(serve):
    async def handler(req, res):
        await res.send("a", more=True)
        await res.send("b")

    assert "etag" not in (await serve(handler)).headers


async def test_a_head_route_without_a_body_has_no_tag_of_nothing():
    """It stands for the answer that GET would have."""
    app = Nardis()

    @app.head("/")
    async def head(req, res):
        await res.set("content-length", 1000).send()

    async with Client(app) as client:
        assert "etag" not in (await client.head("/")).headers


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("verb", ["send", "json"])
async def test_a_client_that_has_the_answer_gets_a_304_without_a_body(serve, method, verb):
    async def handler(req, res):
        res.set({"cache-control": "max-age=60", "x-a": "1"})
        await getattr(res, verb)(["hello"])

    tag = (await serve(handler)).headers["etag"]
    response = await serve(handler, method, headers={"if-none-match": f'"a", {tag}'})

    assert (response.status_code, response.content) == (304, b"")
    assert response.headers["etag"] == tag
    assert response.headers["cache-control"] == "max-age=60"
    assert {"content-type", "content-length"}.isdisjoint(response.headers)


async def test_a_tag_of_ones_own_is_compared_and_kept(serve):
    async def handler(req, res):
        await res.etag("v1").send("hello")

    assert (await serve(handler)).headers.get_all("etag") == ['"v1"']
    assert (await serve(handler, headers={"if-none-match": 'W/"v1"'})).status_code == 304
    assert (await serve(handler, headers={"if-none-match": '"v2"'})).status_code == 200


@pytest.mark.parametrize(("method", "status"), [("GET", 304), ("HEAD", 304), ("POST", 200)])
async def test_an_answer_without_a_body_is_compared_too(serve, method, status):
    """HEAD has a handler of its own where a GET would be dear."""

    async def handler(req, res):
        await res.etag("v1").send()

    response = await serve(handler, method, headers={"if-none-match": '"v1"'})
    assert (response.status_code, response.headers["etag"]) == (status, '"v1"')


async def test_a_date_is_compared_where_the_client_has_no_tag(serve):
    async def handler(req, res):
        await res.last_modified(1_000_000_000.5).send("hello")

    since = "Sun, 09 Sep 2001 01:46:40 GMT"
    answers = [
        await serve(handler, headers=fields)
        for fields in (
            {"if-modified-since": since},
            {"if-modified-since": since, "if-none-match": '"other"'},
            {"if-modified-since": since, "cache-control": "no-cache"},
        )
    ]
    assert [each.status_code for each in answers] == [304, 200, 200]
    assert answers[1].headers["last-modified"] == since


async def test_the_tag_is_of_the_body_before_filters_and_hooks_see_the_304():
    """Order: tag and 304, then hooks, then filters (which get no body to change)."""
    app, seen, codecs = Nardis(), [], []

    @app.use
    async def compress(req, res, next):
        res.on_head(lambda: seen.append(res.status_code))
        codecs.append(Deflate())
        res.filter(codecs[-1])
        await next()

    app.get("/", hello)
    async with Client(app) as client:
        first = await client.get("/")
        again = await client.get("/", headers={"if-none-match": first.headers["etag"]})

    assert zlib.decompress(first.content) == b"hello"
    assert first.headers["etag"].startswith('W/"5-')
    assert (again.status_code, again.content, seen) == (304, b"", [200, 304])
    assert codecs[1].calls == []


async def test_a_304_that_is_followed_by_an_error_is_the_error(seen_by_client):
    async def handler(req, res):
        res.send("hello")  # not awaited: a bug, which is told

    response = await seen_by_client(handler, headers={"if-none-match": "*"})
    assert (response.status_code, "etag" in response.headers) == (500, False)


async def test_a_second_answer_does_not_change_the_first(failure):
    async def handler(req, res):
        await res.write("x")
        await res.send("y")

    error = await failure(handler, headers={"if-none-match": "*"})
    assert "already started" in str(error)


async def test_a_mounted_applications_answer_keeps_what_it_says():
    async def guest(scope, receive, send):
        body = gzip.compress(b"x", mtime=0)
        fields = [(b"content-encoding", b"gzip")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    app = Nardis()
    app.mount("/", guest)
    async with Client(app) as client:
        assert "etag" not in (await client.get("/")).headers


@pytest.mark.parametrize(
    ("status", "field", "fresh"),
    [(200, "*", True), (201, "*", True), (304, "*", True), (404, "*", False), (200, None, False)],
)
async def test_fresh_says_what_send_would_do(serve, status, field, fresh):
    async def handler(req, res):
        res.etag("v1").status(status)
        seen.append((res.fresh, res.stale))
        await res.end()

    seen = []
    await serve(handler, headers={"if-none-match": field} if field else {})
    await serve(handler, "POST", headers={"if-none-match": "*"})
    assert seen == [(fresh, not fresh), (False, True)]


@pytest.mark.parametrize("when", [0, 0.9])
async def test_last_modified_has_whole_seconds(serve, when):
    async def handler(req, res):
        assert res.last_modified(when) is res
        await res.end()

    assert (await serve(handler)).headers["last-modified"] == "Thu, 01 Jan 1970 00:00:00 GMT"


async def test_after_the_head_no_validator_can_be_set(failure):
    async def handler(req, res):
        await res.write("x")
        res.etag("v1")

    assert isinstance(await failure(handler), HeadersAlreadySent)


async def drop(verb):
    """Close a verb that is not to run, as one that was cancelled before its turn."""
    verb.close()


@pytest.mark.parametrize("first", ["hello", {"a": 1}])
async def test_a_verb_that_never_ran_leaves_nothing_to_a_stream(serve, first):
    async def handler(req, res):
        await drop(res.send(first))
        await res.write("other")

    response = await serve(handler, headers={"if-none-match": "*"})
    assert (response.status_code, response.text, response.complete) == (200, "other", True)
    assert {"etag", "content-length"}.isdisjoint(response.headers)


async def test_what_the_application_set_stays_on_a_stream(serve):
    async def handler(req, res):
        await drop(res.set("content-length", 5).etag("v1").send("lost"))
        await res.write("other")

    response = await serve(handler)
    assert (response.headers["etag"], response.headers["content-length"]) == ('"v1"', "5")


@pytest.mark.parametrize("verb", ["send", "json"])
async def test_a_verb_that_never_ran_leaves_nothing_to_the_next(serve, verb):
    async def handler(req, res):
        await drop(res.send("hello"))
        await getattr(res, verb)("other one")

    async def once(req, res):
        await getattr(res, verb)("other one")

    response, expected = await serve(handler, headers={"if-none-match": "*"}), await serve(once)
    tag = expected.headers["etag"]
    assert (response.status_code, response.headers.get_all("etag")) == (304, [tag])
    response = await serve(handler)
    assert response.headers.get_all("etag") == [tag]
    assert response.content == expected.content


async def test_a_status_that_is_set_after_it_stays(serve):
    async def handler(req, res):
        await drop(res.send("hello"))
        await res.status(404).send("no")

    response = await serve(handler, headers={"if-none-match": "*"})
    assert (response.status_code, response.text) == (404, "no")


async def test_an_empty_answer_to_get_has_the_tag_of_nothing(serve):
    async def handler(req, res):
        await res.send("")

    assert (await serve(handler)).headers["etag"].startswith('W/"0-')


async def test_an_empty_answer_to_head_has_none(serve):
    async def handler(req, res):
        await res.send("")

    assert "etag" not in (await serve(handler, "HEAD")).headers


@pytest.mark.parametrize(
    "verb",
    [
        lambda res: res.send(),
        lambda res: res.end("fallback"),
        lambda res: res.status(503).send("fallback"),
        lambda res: res.send_status(200),
        lambda res: res.redirect("/"),
    ],
)
async def test_an_answer_without_a_tag_gets_none_of_a_verb_that_never_ran(serve, verb):
    async def handler(req, res):
        await drop(res.send("old"))
        await verb(res)

    async def once(req, res):
        await verb(res)

    headers = {"if-none-match": "*"}
    response, expected = await serve(handler, headers=headers), await serve(once, headers=headers)
    assert (response.status_code, response.text) == (expected.status_code, expected.text)
    assert "etag" not in response.headers


async def test_a_tag_that_a_middleware_set_outside_of_a_wrapped_one_stays():
    async def plain(scope, receive, send):
        await inner(scope, receive, send)

    def middleware(app):
        nonlocal inner
        inner = app
        return plain

    inner = None
    app = Nardis()

    @app.use
    async def revision(req, res, next):
        res.etag("rev1")
        await next()

    app.use(wrap(middleware))
    app.get("/", hello)
    async with Client(app) as client:
        assert (await client.get("/")).headers.get_all("etag") == ['"rev1"']


@pytest.mark.parametrize("around", [[], [wrap(lambda app: app)]], ids=["", "wrapped"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_an_application_may_do_without_tags_of_bodies(method, around):
    """Those that a handler sets mean what they always do."""
    app, asks = Nardis(etag=False), {"if-none-match": '"v1", *'}

    @app.get("/:name", *around)
    async def handler(req, res):
        name = req.params["name"]
        if name.startswith("tagged"):
            res.etag("v1")
        if name == "dated":
            res.last_modified(1_000_000)
        if name == "tagged-more":
            await res.send("he", more=True)
            await res.send("llo")
        elif name.endswith("json"):
            await res.json("hello")
        else:
            await res.send("hello")

    async with Client(app) as client:
        for name in ("text", "json"):
            answer = await client.request(method, f"/{name}", headers=asks)
            assert (answer.status_code, answer.headers.get("etag")) == (200, None)
            assert int(answer.headers["content-length"]) in (5, 7)
            assert bool(answer.content) is (method == "GET")
        for name in ("tagged", "tagged-json"):
            answer = await client.request(method, f"/{name}", headers=asks)
            assert (answer.status_code, answer.headers["etag"], answer.content) == (
                304,
                '"v1"',
                b"",
            )
        since = {"if-modified-since": "Mon, 12 Jan 1970 13:46:40 GMT"}
        assert (await client.request(method, "/dated", headers=since)).status_code == 304
        assert (await client.request(method, "/tagged-more", headers=asks)).status_code == 200


async def test_without_tags_an_answer_that_was_not_awaited_is_taken_back():
    app = Nardis(etag=False)

    @app.get("/")
    async def handler(req, res):
        res.etag("v1").send("never sent").close()
        await res.remove("etag").send("sent")

    async with Client(app) as client:
        answer = await client.get("/", headers={"if-none-match": '"v1"'})
        assert (answer.status_code, answer.text) == (200, "sent")
