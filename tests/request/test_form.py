"""`req.form()`: all of a form, kept for as long as the request."""

from __future__ import annotations

import os
import tempfile

import anyio
import pytest

from nardis import Limits, Nardis, wrap
from nardis.errors import BodyAlreadyRead, UsageError
from nardis.testing import AppError, Client
from tests.peers.driver import Server

pytestmark = pytest.mark.anyio


def serving(handler, **options):
    app = Nardis()
    app.post("/", handler, **options)
    return app


async def post(handler, *, limits=None, **options):
    async with Client(serving(handler, limits=limits)) as client:
        return await client.post("/", **options)


async def test_both_kinds_of_form_are_read_alike():
    async def handler(req, res):
        form = await req.form()
        assert await req.form() is form
        await res.json({"name": form["name"], "tags": form.get_all("tag")})

    fields = {"name": "é & ü", "tag": ["a", "b"]}
    urlencoded = await post(handler, data=fields)
    multipart = await post(handler, data=fields, files={})

    assert urlencoded.json() == multipart.json() == {"name": "é & ü", "tags": ["a", "b"]}


async def test_a_file_is_kept_while_the_request_runs_and_gone_behind_it():
    kept = []

    async def handler(req, res):
        form = await req.form()
        upload = form.files["file"]
        kept.append(upload)
        await res.json({"bytes": upload.size, "name": upload.filename, "type": upload.content_type})

    files = {"file": ("../../x.bin", bytes(3_000_000), "image/png")}
    answer = await post(handler, files=files)

    assert answer.json() == {"bytes": 3_000_000, "name": "../../x.bin", "type": "image/png"}
    with pytest.raises(UsageError):
        await kept[0].read()


async def test_another_type_is_a_415_and_nothing_of_it_is_read():
    async def handler(req, res):
        await req.form()

    for kind in ("application/json", "multipart/mixed; boundary=a", "text/plain"):
        headers = {"content-type": kind}
        assert (await post(handler, content=b"{}", headers=headers)).status_code == 415
    assert (await post(handler, content=b"{}")).status_code == 415


async def test_a_body_that_says_no_type_is_refused_before_it_is_asked_for():
    """Its client waits for a word (`Expect: 100-continue`)."""

    async def handler(req, res):
        await req.form()

    app = serving(handler)
    headers = {"expect": "100-continue", "content-length": "10"}
    async with Server(app) as server:
        call = await server.finished("/", method="POST", headers=headers)

    assert (call.status, call.receives) == (415, 0)


async def test_no_body_is_an_empty_form():
    async def handler(req, res):
        form = await req.form()
        await res.json([len(form), len(form.files)])

    assert (await post(handler)).json() == [0, 0]


@pytest.mark.parametrize("limit", [None, 20])
async def test_a_form_over_its_limit_is_a_413(limit):
    async def handler(req, res):
        await req.form(limit)

    limits = Limits(streamed_body_bytes=20 if limit is None else None)
    data = {"a": "x" * 40}
    assert (await post(handler, data=data, limits=limits)).status_code == 413
    assert (await post(handler, data=data, files={}, limits=limits)).status_code == 413


async def test_a_body_that_was_gathered_is_a_form_all_the_same():
    async def handler(req, res):
        raw = await req.bytes()
        form = await req.form()
        await res.json([len(raw) > 0, form["a"], form.files["f"].size])

    answer = await post(handler, data={"a": "1"}, files={"f": b"abc"})
    assert answer.json() == [True, "1", 3]


async def test_a_body_that_was_read_as_a_stream_is_none():
    async def handler(req, res):
        await anext(aiter(req))
        await req.form()

    with pytest.raises(AppError) as caught:
        await post(handler, data={"a": "1"})
    assert isinstance(caught.value.__cause__, BodyAlreadyRead)


async def test_a_form_is_decoded_where_the_handler_says_so():
    import gzip

    async def handler(req, res):
        await res.json((await req.decode_content().form())["a"])

    headers = {"content-encoding": "gzip", "content-type": "application/x-www-form-urlencoded"}
    answer = await post(handler, content=gzip.compress(b"a=1"), headers=headers)
    assert answer.json() == "1"


async def test_uploads_that_are_cut_at_any_place_leave_no_file(tmp_path, monkeypatch):
    """Nor a descriptor: a hundred clients leave half-way, and each handler fails."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    reached = []

    async def handler(req, res):
        reached.append(await req.form())

    boundary = b"--B\r\nContent-Disposition: form-data; name=%b; filename=%b\r\n\r\n"
    body = boundary % (b"a", b"a") + bytes(300_000) + b"\r\n" + boundary % (b"b", b"b")
    body += bytes(200_000) + b"\r\n--B--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=B"}
    before = len(os.listdir("/proc/self/fd"))
    app = serving(handler, limits=Limits(spool_bytes=1000))
    async with Client(app) as client:
        for number in range(100):
            cut = body[: number * len(body) // 100]
            async with client.stream("POST", "/", headers=headers) as response:
                with anyio.move_on_after(5):
                    for at in range(0, len(cut), 65536):
                        await response.send(cut[at : at + 65536])
                await response.disconnect()
        open_files = len(os.listdir("/proc/self/fd"))

    assert reached == []
    assert os.listdir(tmp_path) == []
    assert open_files <= before + 4


async def test_a_form_that_ends_early_is_a_400():
    async def handler(req, res):
        await req.form()

    headers = {"content-type": "multipart/form-data; boundary=B"}
    content = b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--B'
    assert (await post(handler, content=content, headers=headers)).status_code == 400


@pytest.mark.parametrize("outside", [True, False])
async def test_a_form_is_shared_with_what_is_behind_a_wrapped_middleware(outside):
    """And with what is in front of it."""
    app, found = Nardis(), []

    class Middleware:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            await self.app(scope, receive, send)

    @app.use
    async def guard(req, res, next):
        if outside:
            found.append((await req.form())["a"])
        await next()
        found.append((await req.form())["a"])

    app.use(wrap(Middleware))

    @app.post("/")
    async def handler(req, res):
        found.append((await req.form())["a"])
        await res.end()

    async with Client(app) as client:
        for files in (None, {}):
            await client.post("/", data={"a": "1"}, files=files)

    assert found == ["1"] * (6 if outside else 4)


@pytest.mark.parametrize(
    "read",
    [
        lambda req: req.form(),
        lambda req: anext(aiter(req.parts())),
        lambda req: to_the_end(req),
    ],
    ids=["form", "parts", "stream"],
)
async def test_a_foreign_application_never_takes_what_is_left_for_the_whole(read):
    app, told = Nardis(), []

    @app.use
    async def guard(req, res, next):
        await read(req)
        await next()

    async def foreign(scope, receive, send):
        told.append(await receive())

    app.mount("/", foreign)
    for options in ({"files": {}}, {"files": {"f": b"2"}}):
        with pytest.raises(AppError) as caught:
            async with Client(app, lifespan=False) as client:
                await client.post("/", data={"a": "1"}, **options)
        assert isinstance(caught.value.__cause__, BodyAlreadyRead)

    assert told == []


async def test_a_body_that_was_gathered_first_is_for_both():
    app, told = Nardis(), []

    @app.use
    async def guard(req, res, next):
        await req.bytes()
        told.append((await req.form())["a"])
        await next()

    async def foreign(scope, receive, send):
        told.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    app.mount("/", foreign)
    async with Client(app, lifespan=False) as client:
        await client.post("/", data={"a": "1"})

    assert told == ["1", b"a=1"]


async def to_the_end(req):
    async for _ in req:
        pass
