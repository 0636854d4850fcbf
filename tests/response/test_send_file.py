"""`res.send_file()` and `res.download()`: one file, described, and sent as it was when opened."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from nardis import HTTPError, Limits, Nardis, UsageError
from nardis.errors import ContentLengthMismatch, FolderFound
from nardis.testing import AppError, Client
from tests.peers.driver import Gate, Identity, Server, rest

pytestmark = pytest.mark.anyio

CHANGED = 1_000_000_000
LARGE = bytes(range(256)) * 1024 * 3  # 768 KiB: three reads

FILE = "http.response.zerocopysend"
PATH = "http.response.pathsend"


@pytest.fixture
def root(tmp_path):
    for name, content in {
        "a.txt": b"0123456789",
        "large.bin": LARGE,
        ".profile": b"p",
        "noext": b"n",
        "€ prices.csv": b"1,2",
    }.items():
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, (CHANGED, CHANGED))
    (tmp_path / "sub").mkdir()
    return tmp_path


def serving(handler):
    app = Nardis()
    app.all("/", handler)
    return app


async def ask(handler, method="GET", headers=None, **options):
    async with Client(serving(handler), **options) as client:
        return await client.request(method, "/", headers=headers)


# --- what is sent ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.txt", "large.bin"])
async def test_a_file_is_sent_with_what_describes_it(root, name):
    async def handler(req, res):
        await res.send_file(root / name)

    answer = await ask(handler)
    content = (root / name).read_bytes()

    assert (answer.status_code, answer.content, answer.complete) == (200, content, True)
    assert answer.headers["content-length"] == str(len(content))
    assert answer.headers["last-modified"] == "Sun, 09 Sep 2001 01:46:40 GMT"
    assert answer.headers["etag"] == f'"{len(content):x}-e8d4a51000"'
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["cache-control"] == "public, max-age=0"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.txt", "text/plain; charset=utf-8"),
        ("large.bin", "application/octet-stream"),
        (".profile", "application/octet-stream"),
        ("noext", "application/octet-stream"),
    ],
)
async def test_the_type_follows_from_the_extension(root, name, kind):
    async def handler(req, res):
        await res.send_file(str(root / name))

    assert (await ask(handler)).headers["content-type"] == kind


async def test_fields_that_are_set_stay(root):
    async def handler(req, res):
        res.type("text/x-own").etag("mine").last_modified(1).cache(no_store=True)
        await res.send_file(root / "a.txt", max_age=5)

    answer = await ask(handler)

    assert answer.headers["content-type"] == "text/x-own; charset=utf-8"
    assert answer.headers["etag"] == '"mine"'
    assert answer.headers["last-modified"] == "Thu, 01 Jan 1970 00:00:01 GMT"
    assert answer.headers["cache-control"] == "no-store"


async def test_what_came_with_credentials_is_for_no_cache_that_is_shared(root):
    async def handler(req, res):
        await res.send_file(root / "a.txt", max_age=60)

    answer = await ask(handler, headers={"authorization": "Bearer key"})

    assert answer.headers["cache-control"] == "private, max-age=60"


async def test_caches_may_keep_it_for_a_year_at_most(root):
    async def handler(req, res):
        await res.send_file(root / "a.txt", max_age=timedelta(days=4000), immutable=True)

    control = (await ask(handler)).headers["cache-control"]
    assert control == "public, max-age=31536000, immutable"


async def test_a_time_of_the_future_is_not_sent(root, monkeypatch):
    """RFC 9110 §8.8.2.1: it is now, which is the same for both requests."""
    now = time.time()
    monkeypatch.setattr("nardis._sending.files.time.time", lambda: now)
    os.utime(root / "a.txt", (CHANGED, now + 5000))

    async def handler(req, res):
        await res.send_file(root / "a.txt")

    answer = await ask(handler)
    known = {"if-modified-since": answer.headers["last-modified"]}
    assert (await ask(handler, headers=known)).status_code == 304


async def test_a_time_that_no_date_can_name_is_left_out(root):
    os.utime(root / "a.txt", (CHANGED, -1000))

    async def handler(req, res):
        await res.send_file(root / "a.txt")

    assert "last-modified" not in (await ask(handler)).headers


@pytest.mark.parametrize("name", ["a.txt", "large.bin"])
async def test_head_has_the_fields_of_get(root, name):
    async def handler(req, res):
        await res.send_file(root / name)

    got, head = [await ask(handler, method) for method in ("GET", "HEAD")]

    assert (head.headers, head.content) == (got.headers, b"")


@pytest.mark.parametrize("name", ["a.txt", "large.bin"])
async def test_head_has_no_length_where_a_hook_takes_it_away(root, name):
    """As GET, which is then chunked."""

    async def handler(req, res):
        res.on_head(lambda: res.remove("content-length"))
        await res.send_file(root / name)

    assert "content-length" not in (await ask(handler, "HEAD")).headers


# --- conditions and ranges ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if-none-match": '"a-e8d4a51000"'}, 304),
        ({"if-none-match": 'W/"a-e8d4a51000"'}, 304),
        ({"if-none-match": '"other"', "if-modified-since": "Sun, 09 Sep 2001 01:46:40 GMT"}, 200),
        ({"if-modified-since": "Sun, 09 Sep 2001 01:46:40 GMT"}, 304),
        ({"if-modified-since": "Sun, 09 Sep 2001 01:46:39 GMT"}, 200),
        ({"if-none-match": '"a-e8d4a51000"', "cache-control": "no-cache"}, 200),
        ({"if-match": '"a-e8d4a51000"'}, 200),
        ({"if-match": 'W/"a-e8d4a51000"'}, 412),
        ({"if-match": '"other"', "if-none-match": '"a-e8d4a51000"'}, 412),
        ({"if-unmodified-since": "Sun, 09 Sep 2001 01:46:39 GMT"}, 412),
        ({"range": "bytes=0-1", "if-none-match": '"a-e8d4a51000"'}, 304),
        ({"range": "bytes=0-1", "if-match": '"other"'}, 412),
        ({"range": "bytes=20-"}, 416),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_conditions(root, headers, status, method):
    async def handler(req, res):
        await res.send_file(root / "a.txt")

    answer = await ask(handler, method, headers)

    expected = 200 if status == 416 and method == "HEAD" else status
    assert answer.status_code == expected
    if expected == 304:
        assert answer.headers["etag"] == '"a-e8d4a51000"'
        assert "content-length" not in answer.headers
    if expected == 416:
        assert answer.headers["content-range"] == "bytes */10"
        assert "etag" not in answer.headers


async def test_a_range_of_a_large_file(root):
    async def handler(req, res):
        await res.send_file(root / "large.bin")

    answer = await ask(handler, headers={"range": "bytes=300000-700000"})

    assert (answer.status_code, answer.content) == (206, LARGE[300000:700001])
    assert answer.headers["content-range"] == f"bytes 300000-700000/{len(LARGE)}"
    several = await ask(handler, headers={"range": "bytes=0-9,300000-700000"})
    assert several.headers["content-length"] == str(len(several.content))
    assert LARGE[300000:700001] in several.content


@pytest.mark.parametrize("status", [201, 404])
async def test_with_another_status_it_is_sent_whole(root, status):
    async def handler(req, res):
        await res.status(status).send_file(root / "a.txt")

    headers = {"range": "bytes=0-1", "if-none-match": '"a-e8d4a51000"'}
    answer = await ask(handler, headers=headers)

    assert (answer.status_code, answer.text) == (status, "0123456789")
    assert "accept-ranges" not in answer.headers


async def test_other_methods_have_no_conditions_and_no_ranges(root):
    async def handler(req, res):
        await res.send_file(root / "a.txt")

    headers = {"range": "bytes=0-1", "if-none-match": '"a-e8d4a51000"'}
    answer = await ask(handler, "POST", headers)

    assert (answer.status_code, answer.text) == (200, "0123456789")


# --- what cannot be sent --------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"root": "/"}])
async def test_what_is_not_there_is_a_404(root, options):
    async def handler(req, res):
        await res.send_file(root / "nope", **options)

    answer = await ask(handler)
    assert (answer.status_code, "etag" in answer.headers) == (404, False)


async def test_a_folder_is_told_apart(root):
    told = []

    async def handler(req, res):
        with pytest.raises(FolderFound) as caught:
            await res.send_file("sub", root=root)
        told.append(caught.value.status)
        await res.send_file(root / "sub")

    assert (await ask(handler)).status_code == 404
    assert told == [404]


async def test_what_is_no_regular_file_is_not_there(root):
    """Opening a FIFO would wait for somebody who writes to it."""
    os.mkfifo(root / "pipe")

    async def handler(req, res):
        await res.send_file(root / "pipe")

    with anyio.fail_after(20):
        assert (await ask(handler)).status_code == 404

    async def device(req, res):
        await res.send_file("/dev/zero")

    assert (await ask(device)).status_code == 404


async def test_a_relative_path_needs_a_root(root):
    async def handler(req, res):
        await res.send_file("a.txt")

    with pytest.raises(AppError, match="absolute path, or below root="):
        await ask(handler)


@pytest.mark.parametrize("path", ["../a.txt", "sub/../a.txt", ".profile", "a\0", "C:/a", "/", ""])
async def test_below_a_root_nothing_leads_outside(root, path):
    async def handler(req, res):
        await res.send_file(path, root=root)

    assert (await ask(handler)).status_code == 404


async def test_dotfiles_can_be_denied_and_allowed(root):
    async def handler(req, res):
        await res.send_file(".profile", root=root, dotfiles=req.query["dotfiles"])

    async with Client(serving(handler)) as client:
        answers = [await client.get("/", params={"dotfiles": each}) for each in ("deny", "allow")]

    assert [answer.status_code for answer in answers] == [403, 200]


async def test_a_failure_before_the_head_leaves_no_trace_of_the_file(root):
    """The handler may say something else."""

    async def handler(req, res):
        try:
            await res.download(root / "nope.pdf")
        except HTTPError:
            await res.status(200).send("instead")

    answer = await ask(handler)
    assert (answer.text, answer.headers["content-type"]) == ("instead", "text/html; charset=utf-8")
    assert "content-disposition" not in answer.headers


async def test_too_many_open_files_are_no_missing_file(root, monkeypatch):
    def full(*args, **options):
        raise OSError(24, "too many open files")

    async def handler(req, res):
        monkeypatch.setattr(os, "open", full)
        try:
            await res.send_file(root / "a.txt")
        finally:
            monkeypatch.undo()

    answer = await ask(handler, raise_app_errors=False)
    assert answer.status_code == 500


# --- a file that changes --------------------------------------------------------------------------


async def test_a_file_that_shrinks_breaks_the_response_off(root):
    app, gate = Nardis(), Gate()

    @app.get("/")
    async def handler(req, res):
        await res.send_file(root / "large.bin")

    async with Server(app) as server:
        call = server.call("/", on_send=gate)
        await gate.let(2)
        os.truncate(root / "large.bin", 300_000)
        gate.open()
        await call.wait()

    assert call.aborted
    assert isinstance(call.error, ContentLengthMismatch)


async def test_a_file_that_grows_does_not_get_longer(root):
    async def handler(req, res):
        def grow():
            with (root / "large.bin").open("ab") as file:
                file.write(b"more")

        res.on_head(grow)
        await res.send_file(root / "large.bin")

    answer = await ask(handler)
    assert (answer.content, answer.complete) == (LARGE, True)


async def test_a_file_that_is_shorter_when_it_is_read_is_an_error(root, monkeypatch):
    """Before the head there is time to say so."""
    app = Nardis()

    @app.get("/:name")
    async def handler(req, res):
        await res.send_file(req.params["name"], root=root)

    monkeypatch.setattr("nardis._files.opening.read_now", lambda fd, offset, count: b"012")
    monkeypatch.setattr("nardis._sending.files.read_at", nothing)
    async with Server(app) as server:
        calls = [await server.finished(f"/{name}") for name in ("a.txt", "large.bin")]

    assert [call.status for call in calls] == [500, 500]


async def nothing(*extent):
    return b""


# --- who sends it ---------------------------------------------------------------------------------


def read(path):
    return Path(path).read_bytes()


def kinds(call):
    return [message["type"].rpartition(".")[2] for message in call.sent]


@pytest.mark.parametrize(
    ("offered", "expected"),
    [
        ([FILE], ["start", "zerocopysend", "body"]),
        ([PATH], ["start", "pathsend"]),
        ([FILE, PATH], ["start", "zerocopysend", "body"]),
    ],
)
async def test_a_server_that_sends_files_does(root, offered, expected):
    app, sent = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        await res.send_file(root / "large.bin")

    async def on_send(message):
        if message["type"] == FILE:
            sent.append(os.pread(message["file"].fileno(), message["count"], message["offset"]))
        elif message["type"] == PATH:
            sent.append(read(message["path"]))

    async with Server(app) as server:
        extensions = {name: {} for name in offered}
        call = await server.finished("/", on_send=on_send, extensions=extensions)

    parts = [
        kind for kind, last in zip(kinds(call), ["", *kinds(call)], strict=False) if kind != last
    ]
    assert (parts, b"".join(sent)) == (expected, LARGE)
    assert call.headers[b"content-length"] == b"%d" % len(LARGE)


async def test_a_slow_client_of_another_server_does_not_look_like_one_that_takes_nothing(root):
    """Whole messages are all that shows there: parts are small, and a path has no time to keep."""
    app, gate = Nardis(limits=Limits(write_stall_s=5)), Gate()

    @app.get("/")
    async def handler(req, res):
        await res.send_file(root / "large.bin")

    async with Server(app) as server:
        parts = await server.finished("/", extensions={FILE: {}})
        call = server.call("/", on_send=gate, extensions={PATH: {}})
        await gate.let()
        await gate.reached()
        for _ in range(10):
            await server.tick(10)
        gate.open()
        await call.wait()

    counts = [message["count"] for message in parts.sent if message["type"] == FILE]
    assert counts == [256 * 1024] * 3
    assert (kinds(call), call.error) == (["start", "pathsend"], None)


async def test_ranges_are_parts_that_the_server_sends(root):
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        await res.send_file(root / "large.bin")

    headers = {"range": "bytes=5-9,100000-100009"}
    async with Server(app) as server:
        call = await server.finished("/", headers=headers, extensions={FILE: {}})
        whole = await server.finished("/", headers=headers, extensions={PATH: {}})

    assert kinds(call) == ["start", "body", "zerocopysend", "body", "zerocopysend", "body"]
    parts = [message for message in call.sent if message["type"] == FILE]
    assert [(part["offset"], part["count"]) for part in parts] == [(5, 5), (100000, 10)]
    assert set(kinds(whole)) == {"start", "body"}


@pytest.mark.parametrize("offered", [FILE, PATH])
async def test_what_is_filtered_passes_the_filter(root, offered):
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        res.filter(Identity())
        await res.send_file(root / "large.bin")

    async with Server(app) as server:
        call = await server.finished("/", extensions={offered: {}})

    assert call.body == LARGE
    assert b"content-length" not in call.headers


async def test_a_path_that_leads_elsewhere_by_now_is_not_sent(root, monkeypatch):
    """What is open is what counts."""
    app, real = Nardis(), os.readlink

    @app.get("/")
    async def handler(req, res):
        await res.send_file(root / "large.bin")

    def unlinked(path):
        (root / "large.bin").unlink()
        return real(path)

    monkeypatch.setattr(os, "readlink", unlinked)
    async with Server(app) as server:
        call = await server.finished("/", extensions={PATH: {}})

    assert call.body == LARGE


async def test_a_client_that_leaves_ends_it_and_the_file_is_closed(root):
    app, gate = Nardis(), Gate()
    before = len(os.listdir("/proc/self/fd"))

    @app.get("/")
    async def handler(req, res):
        await res.send_file(root / "large.bin")

    async with Server(app) as server:
        call = server.call("/", on_send=gate)
        await gate.let(2)
        await server.lose(call)
        await call.wait()
        after = len(os.listdir("/proc/self/fd"))

    assert not call.final
    assert after <= before + 1


async def test_a_cancelled_opening_leaves_no_file_open(root):
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        for _ in range(20):
            with anyio.move_on_after(0):
                await res.send_file(root / "large.bin")
        await res.send("in time")

    before = len(os.listdir("/proc/self/fd"))
    async with Client(app) as client:
        assert (await client.get("/")).text == "in time"
        await rest()
        assert len(os.listdir("/proc/self/fd")) <= before + 4


# --- download -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "filename", "disposition"),
    [
        ("a.txt", None, 'attachment; filename="a.txt"'),
        ("a.txt", "report 1.pdf", 'attachment; filename="report 1.pdf"'),
        (
            "€ prices.csv",
            None,
            "attachment; filename=\"? prices.csv\"; filename*=UTF-8''%E2%82%AC%20prices.csv",
        ),
        ("a.txt", "../../x.txt", 'attachment; filename="x.txt"'),
    ],
)
async def test_a_download_is_offered_under_a_name(root, name, filename, disposition):
    async def handler(req, res):
        await res.download(root / name, filename)

    answer = await ask(handler)

    assert (
        answer.headers["content-disposition"]
        .replace("=a.txt", '="a.txt"')
        .replace("=x.txt", '="x.txt"')
        == disposition
    )
    assert answer.content == (root / name).read_bytes()


async def test_a_download_below_a_root(root):
    async def handler(req, res):
        await res.download("a.txt", root=root, max_age=9)

    answer = await ask(handler, headers={"range": "bytes=2-4"})

    assert (answer.status_code, answer.text) == (206, "234")
    assert answer.headers["cache-control"] == "public, max-age=9"


async def test_a_relative_download_needs_a_root(root):
    async def handler(req, res):
        with pytest.raises(UsageError):
            await res.download("a.txt")
        await res.end()

    assert (await ask(handler)).status_code == 200
