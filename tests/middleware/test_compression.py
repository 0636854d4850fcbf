"""`compression()`: what is compressed for whom, and when it leaves."""

import zlib

import anyio
import pytest

from nardis import HTTPError, Nardis, UsageError, static, wrap
from nardis._http import codings as known_codings
from nardis._http.codings import decoder
from nardis._receiving.lines import NDJSON_TYPES
from nardis.middleware import compression
from nardis.middleware.compressing import LIVE_TYPES, MEDIA_TYPES
from nardis.testing import Client
from tests.peers.asgi import websocket

pytestmark = pytest.mark.anyio

TEXT = "It gets smaller. " * 200
BIG = b"".join(b"%d squared is %d\n" % (n, n * n) for n in range(100_000))
ALL = "gzip, deflate, br, zstd"


def served(handler, **options):
    """Make an application that answers everything by *handler*, behind the middleware."""
    app = Nardis()
    app.use(compression(**options))
    app.all("/", handler)
    return app


async def ask(handler, accepted="gzip", method="GET", url="/", /, headers=None, **options):
    fields = {**({} if accepted is None else {"accept-encoding": accepted}), **(headers or {})}
    async with Client(served(handler, **options), raise_app_errors=False) as client:
        return await client.request(method, url, headers=fields)


def read(codec, coded):
    """Decode what can be decoded so far."""
    content = codec.feed(coded)
    while not codec.hungry:
        content += codec.feed()
    return content


def decoded(answer):
    codec = decoder(answer.headers.get("content-encoding"))
    content = read(codec, answer.content)
    codec.finish()
    return content


def coding_of(answer):
    return answer.headers.get("content-encoding")


async def text(req, res):
    await res.send(TEXT)


# --- which coding ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        (ALL, "zstd"),
        ("gzip, deflate, br", "br"),
        ("deflate, gzip", "gzip"),
        ("deflate", "deflate"),
        ("br;q=0.5, gzip;q=0.8", "gzip"),
        ("*", "zstd"),
        ("*, zstd;q=0", "br"),
        ("identity, gzip;q=0.5", None),
        ("gzip;q=0", None),
        ("compress, identity;q=0", None),  # nothing is left, and an error would help nobody
        ("", None),
        (None, None),
    ],
)
async def test_the_client_has_a_word(accepted, coding):
    answer = await ask(text, accepted)

    assert coding_of(answer) == coding
    assert (decoded(answer) if coding else answer.content) == TEXT.encode()
    assert answer.headers["vary"] == "Accept-Encoding"
    assert ("content-length" in answer.headers) == (coding is None)


async def test_codings_are_in_the_order_of_the_program():
    assert coding_of(await ask(text, ALL, codings=["gzip", "zstd"])) == "gzip"


async def test_a_coding_whose_package_is_missing_is_left_out(monkeypatch):
    monkeypatch.setattr(known_codings, "find_spec", lambda name: None)
    known_codings.decodable.cache_clear()
    try:
        assert coding_of(await ask(text, ALL)) == "gzip"
        assert coding_of(await ask(text, ALL, codings=["br"])) is None
    finally:
        known_codings.decodable.cache_clear()


@pytest.mark.parametrize("level", [9, {"gzip": 9}])
async def test_a_level_is_for_all_codings_or_for_one(level):
    usual, high = await ask(big_text), await ask(big_text, level=level)
    low = await ask(big_text, level=-5)

    assert len(high.content) < len(usual.content) < len(low.content)


async def big_text(req, res):
    await res.type("text").send(BIG[:60_000])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"codings": ["lzma"]}, "no coding 'lzma'"),
        ({"codings": "gzip"}, r"a list of texts, such as \['gzip'\]"),
        ({"level": {"lzma": 1}}, "no coding 'lzma'"),
        ({"level": "high"}, "a number, or a mapping"),
        ({"level": {"br": 2.5}}, "a number, or a mapping"),
        ({"media_types": "text/*"}, r"a list of texts, such as \['text/\*'\]"),
        ({"media_types": [b"text/*"]}, "a list of texts, not"),
        ({"min_bytes": "1kb"}, "a number of bytes"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(options, says):
    with pytest.raises(UsageError, match=says):
        compression(**options)


# --- which answers --------------------------------------------------------------------------------


def sent(body=TEXT, status=200, **fields):
    async def handler(req, res):
        for name, value in fields.items():
            res.set(name.replace("_", "-"), value)
        await res.status(status).send(body)

    return handler


async def streamed(req, res):
    await res.type("css").write("a")


async def known(req, res):
    await res.type("css").set("content-length", 4).write("a{}\n")


async def empty(req, res):
    await res.type("css").end()


async def untyped(req, res):
    await res.set("content-length", 2000).write(b"x" * 2000)


@pytest.mark.parametrize(
    ("handler", "compressed", "varies"),
    [
        (sent({"a": [TEXT]}), True, True),
        (sent(content_type="image/svg+xml"), True, True),
        (sent(content_type="Application/LD+JSON; charset=utf-8"), True, True),
        (sent(content_type="application/vnd.apple.mpegurl"), True, True),
        (sent(TEXT.encode()), False, False),  # application/octet-stream
        (sent(content_type="image/png"), False, False),
        (untyped, False, False),
        (sent("short"), False, True),
        (known, False, True),
        (empty, False, True),
        (streamed, True, True),  # nobody knows how much comes
        (sent(status=404), True, True),
        (sent(status=206), False, True),
        (sent(status=204), False, False),
        (sent(cache_control="max-age=5, No-Transform"), False, False),
        (sent(content_encoding="br"), False, False),
        (sent(content_range="bytes 0-3399/*", status=416), False, True),
        (sent(content_digest="sha-256=:AA==:"), False, True),
        (sent(trailer="Repr-Digest"), False, True),
        (sent(set_cookie="a=b"), True, True),
    ],
)
async def test_what_gets_smaller_is_compressed(handler, compressed, varies):
    answer = await ask(handler)

    assert (coding_of(answer) == "gzip") == compressed
    assert answer.headers.get("vary") == ("Accept-Encoding" if varies else None)
    assert not compressed or decoded(answer)


async def test_types_and_the_least_length_are_options():
    options = {"media_types": ["image/*"], "min_bytes": 0}

    assert coding_of(await ask(sent("P3", content_type="image/x-p"), **options)) == "gzip"
    assert coding_of(await ask(sent("", content_type="image/x-p"), **options)) is None
    assert coding_of(await ask(text, **options)) is None


@pytest.mark.parametrize(("method", "url"), [("GET", "/?q=a"), ("POST", "/")])
async def test_no_cookie_beside_what_a_request_sent_unless_asked_for(method, url):
    """Both may be in the body, and its length tells how alike they are: BREACH."""
    handler = sent(set_cookie="session=secret")

    answer = await ask(handler, "gzip", method, url)
    assert (coding_of(answer), answer.headers["vary"]) == (None, "Accept-Encoding")
    assert coding_of(await ask(handler, "gzip", method, url, with_cookies=True)) == "gzip"
    assert coding_of(await ask(text, "gzip", method, url)) == "gzip"


async def test_a_hook_further_in_is_seen():
    """Such as that of a session, which sets its cookie at the last moment."""

    async def handler(req, res):
        res.on_head(lambda: res.cookie("session", "secret"))
        await res.send(TEXT)

    assert coding_of(await ask(handler, "gzip", "GET", "/?a")) is None


async def test_of_two_the_inner_one_compresses():
    app = Nardis()
    app.use(compression(codings=["br"]))
    app.get("/", compression(codings=["gzip"]), text)

    async with Client(app, headers={"accept-encoding": ALL}) as client:
        answer = await client.get("/")

    assert (coding_of(answer), decoded(answer)) == ("gzip", TEXT.encode())


async def test_what_a_foreign_middleware_encoded_stays():
    from starlette.middleware.gzip import GZipMiddleware

    app = Nardis()
    app.use(compression())
    app.get("/wrapped", wrap(GZipMiddleware), text)
    app.mount("/mounted", answering)

    async with Client(app, headers={"accept-encoding": ALL}) as client:
        wrapped, mounted = await client.get("/wrapped"), await client.get("/mounted")

    assert (coding_of(wrapped), decoded(wrapped)) == ("gzip", TEXT.encode())
    assert (coding_of(mounted), decoded(mounted)) == ("zstd", TEXT.encode())


async def answering(scope, receive, send):
    """Be an application of somebody else."""
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(TEXT))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": TEXT.encode()})


async def test_the_opening_of_a_websocket_passes_untouched():
    app = Nardis()
    app.use(compression())

    async def echo(scope, receive, send):
        await receive()
        fields = [(b"content-type", b"text/css"), (b"x-hall", b"1")]
        await send({"type": "websocket.accept", "headers": fields})
        await receive()

    app.mount("/", echo)
    async with websocket(app, "/", [(b"accept-encoding", b"gzip")]) as socket:
        socket.leave()
        await socket.ended.wait()

    assert socket.sent[0]["headers"] == [(b"x-hall", b"1")]  # there is no body to have a type


# --- validators, ranges, HEAD and errors ----------------------------------------------------------


@pytest.fixture
def css(tmp_path):
    (tmp_path / "style.css").write_text(TEXT)

    async def handler(req, res):
        await res.send_file("style.css", root=tmp_path)

    return handler


async def test_a_file_loses_its_ranges_and_its_strong_etag(css):
    plain, answer = await ask(css, None), await ask(css)
    part = await ask(css, headers={"range": "bytes=0-1999"})

    assert (decoded(answer), answer.complete) == (TEXT.encode(), True)
    assert "accept-ranges" in plain.headers
    assert "last-modified" in plain.headers
    assert {"accept-ranges", "last-modified"}.isdisjoint(answer.headers)  # for If-Range
    assert answer.headers["etag"] == "W/" + plain.headers["etag"].removeprefix("W/")
    assert (part.status_code, coding_of(part)) == (206, None)
    assert part.content == TEXT[:2000].encode()


@pytest.mark.usefixtures("css")
async def test_a_file_compressed_beforehand_is_sent_as_it_is(tmp_path):
    (tmp_path / "style.css.gz").write_bytes(zlib.compress(TEXT.encode(), 9, 31))
    app = Nardis()
    app.use(compression())
    app.use(static(tmp_path))

    async with Client(app, headers={"accept-encoding": "gzip"}) as client:
        answer = await client.get("/style.css")

    assert answer.content == (tmp_path / "style.css.gz").read_bytes()
    assert (coding_of(answer), answer.headers["vary"]) == ("gzip", "Accept-Encoding")


@pytest.mark.parametrize("tag", ['"1"', 'W/"1"'])
async def test_a_304_has_what_the_200_had(tag):
    async def handler(req, res):
        await res.etag(tag).send(TEXT)

    first = await ask(handler)
    again = await ask(handler, headers={"if-none-match": first.headers["etag"]})

    assert again.status_code == 304
    assert (again.headers["etag"], again.headers["vary"]) == ('W/"1"', "Accept-Encoding")
    assert coding_of(again) is None


@pytest.mark.parametrize(
    ("body", "tag"), [("short", '"1"'), (TEXT, 'W/"1"')], ids=["too short", "compressed"]
)
async def test_after_a_304_a_client_has_the_tag_that_it_had(body, tag):
    """It takes the ETag of the 304 for its If-Match, which a weak one never fulfils."""

    async def handler(req, res):
        req.check_preconditions(etag='"1"')
        await res.etag('"1"').send(body)

    first = await ask(handler)
    again = await ask(handler, headers={"if-none-match": first.headers["etag"]})
    either = await ask(handler, headers={"if-none-match": '"1", W/"1"'})

    assert (first.headers["etag"], again.status_code, again.headers["etag"]) == (tag, 304, tag)
    assert either.headers["etag"] == 'W/"1"'


async def test_a_304_without_a_type_varies_too():
    async def handler(req, res):
        await res.status(304).end()

    assert (await ask(handler)).headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize("handler", [text, streamed, sent("short")])
async def test_head_has_the_fields_of_get(handler):
    get, head = await ask(handler), await ask(handler, "gzip", "HEAD")

    assert head.headers.raw == get.headers.raw
    assert head.content == b""


async def fails_at_once(req, res):
    raise HTTPError(404, TEXT)


async def writes_too_much(req, res):
    """Fail when the head was made, and has not left."""
    await res.type("text").set("content-length", 2000).write("x" * 2001)


@pytest.mark.parametrize(("handler", "status"), [(fails_at_once, 404), (writes_too_much, 500)])
async def test_an_error_is_compressed_or_is_not(handler, status):
    answer = await ask(handler, headers={"accept": "application/json"})

    assert (answer.status_code, answer.complete) == (status, True)
    assert (decoded(answer) if coding_of(answer) else answer.content).startswith(b"{")
    assert answer.headers["vary"].lower().startswith("accept")


@pytest.mark.parametrize("coding", ALL.split(", "))
async def test_what_is_cut_short_decodes_to_no_whole(coding):
    async def handler(req, res):
        await res.type("text").write(TEXT)
        await res.flush()
        raise ValueError("half-way")

    answer = await ask(handler, coding)
    codec = decoder(coding)

    assert not answer.complete
    assert read(codec, answer.content) == TEXT.encode()
    with pytest.raises(HTTPError, match="cut short"):
        codec.finish()


# --- when it leaves -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["text/event-stream", "application/x-ndjson"])
@pytest.mark.parametrize(
    ("accepted", "coding"), [("zstd", "zstd"), ("br", "br"), (ALL, "zstd"), ("gzip, br", "gzip")]
)
async def test_events_and_lines_leave_as_they_are_written(kind, accepted, coding):
    go = anyio.Event()

    async def handler(req, res):
        res.type(kind)
        await res.flush()
        for n in range(3):
            await res.write(f"data: {n}\n\n")
            if n:
                await res.flush()  # there is nothing left
        await go.wait()

    headers = {"accept-encoding": accepted}
    async with Client(served(handler)) as client:
        async with client.stream("GET", "/", headers=headers) as response:
            codec = decoder(coding)
            await response.head()
            assert response.headers["content-encoding"] == coding
            events = [read(codec, await anext(response)) for _ in range(3)]
            go.set()
            read(codec, await response.read())
            codec.finish()

    assert events == [b"data: 0\n\n", b"data: 1\n\n", b"data: 2\n\n"]


def test_lines_have_all_the_names_by_which_they_are_read():
    assert set(NDJSON_TYPES) <= set(LIVE_TYPES) & set(MEDIA_TYPES)


async def test_anything_else_leaves_at_a_flush():
    pieces = []

    async def handler(req, res):
        res.type("text")
        for n in range(3):
            await res.write(f"{n}" * 10)
            await res.flush()

    async with Client(served(handler)) as client:
        async with client.stream("GET", "/", headers={"accept-encoding": "gzip"}) as response:
            codec = decoder("gzip")
            pieces = [text for text in [read(codec, each) async for each in response] if text]
            codec.finish()

    assert pieces == [b"0" * 10, b"1" * 10, b"2" * 10]


async def test_a_body_of_nothing_has_an_end_too():
    async def handler(req, res):
        await res.type("text").flush()

    answer = await ask(handler)

    assert (coding_of(answer), zlib.decompress(answer.content, 31)) == ("gzip", b"")


# --- in threads -----------------------------------------------------------------------------------


@pytest.fixture
def threads(monkeypatch):
    """Count the sizes of what is compressed in a thread; None is what a compressor held back."""
    sizes = []
    original = anyio.to_thread.run_sync

    async def run_sync(function, *args):
        sizes.append(len(args[0]) if args else None)
        return await original(function, *args)

    monkeypatch.setattr(anyio.to_thread, "run_sync", run_sync)
    return sizes


async def test_a_large_piece_is_compressed_in_a_thread(threads):
    async def handler(req, res):
        await res.type("text").send(BIG)

    answer = await ask(handler)

    assert zlib.decompress(answer.content, 31) == BIG
    assert threads == [2**20] * (len(BIG) // 2**20) + [len(BIG) % 2**20]


async def test_a_large_event_is_flushed_in_a_thread(threads):
    async def handler(req, res):
        await res.type("jsonl").write(BIG[:200_000])

    assert zlib.decompress((await ask(handler)).content, 31) == BIG[:200_000]
    assert threads == [200_000, None]


@pytest.mark.parametrize("flushes", [False, True])
async def test_a_slow_level_gathers_little_in_the_loop(threads, flushes):
    async def handler(req, res):
        res.type("text")
        for at in range(0, 9000, 3000):
            await res.write(BIG[at : at + 3000])
            if flushes:
                await res.flush()

    answer = await ask(handler, "br", level={"br": 10})

    assert decoded(answer) == BIG[:9000]
    assert threads == ([] if flushes else [3000, None])


async def test_small_pieces_are_not(threads):
    async def handler(req, res):
        res.type("text")
        for at in range(0, 200_000, 20_000):
            await res.write(BIG[at : at + 20_000])

    assert decoded(await ask(handler, "zstd")) == BIG[:200_000]
    assert threads == []


async def test_a_handler_that_is_cancelled_waits_for_its_thread(monkeypatch):
    """And nothing of the piece goes out behind it."""
    began, may_go_on = anyio.Event(), anyio.Event()
    original = anyio.to_thread.run_sync
    left = []

    async def run_sync(function, *args):
        given = await original(function, *args)
        began.set()
        with anyio.CancelScope(shield=True):
            await may_go_on.wait()
        left.append(len(args[0]))
        return given

    async def handler(req, res):
        await res.type("text").write(BIG[:200_000])

    monkeypatch.setattr(anyio.to_thread, "run_sync", run_sync)
    async with Client(served(handler)) as client:
        async with client.stream("GET", "/", headers={"accept-encoding": "gzip"}) as response:
            await began.wait()
            await response.disconnect()
            assert left == []
            may_go_on.set()

    assert left == [200_000]
    assert not response.complete
