"""Which files can be had, by whatever spelling: requests byte for byte, over HTTP/1.1."""

from __future__ import annotations

import base64
import os

import pytest

from nardis import Nardis, static
from tests.http1.scripted import converse
from tests.static_files.conftest import load

pytestmark = pytest.mark.anyio

CASES = load("static_paths.json")["cases"]
ROOT_CAN_READ = os.geteuid() == 0


def app_of(base, mount):
    app = Nardis()
    app.use(mount, static(base / "site"))
    return app


async def ask(app, target, method="GET"):
    """Return status, fields and body of an answer."""
    request = b"%b %b HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    wire = await converse(app, [request % (method.encode(), target)])
    return wire.answers(method)[0]


def fits(expect, answer):
    """Whether an answer is one that is expected."""
    status, fields, body = answer
    if "one_of" in expect:
        return any(fits(each, answer) for each in expect["one_of"])
    location = fields.get(b"location", b"").decode()
    return (
        status in expect["status"]
        and ("body" not in expect or body.decode() == expect["body"])
        and ("location" not in expect or location == expect["location"])
        and (not expect.get("no_body") or not body)
        and all(
            fields.get(name.encode(), b"").decode().startswith(value)
            for name, value in expect.get("headers", {}).items()
        )
        and ("content_type_not" not in expect or expect["content_type_not"] not in str(fields))
        and (
            not expect.get("location_not_protocol_relative")
            or location == ""
            or (location[0] == "/" and location[1:2] not in ("/", "\\"))
        )
    )


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if not (ROOT_CAN_READ and case.get("skip_if_root"))],
    ids=lambda case: case["id"],
)
async def test_the_shared_cases(base, case):
    mount = case.get("mount", "/static")
    app = app_of(base, mount)
    answer = await ask(app, base64.b64decode(case["target_b64"]), case.get("method", "GET"))

    assert b"TOP-SECRET" not in answer[2]
    assert fits(case["expect"], answer), answer
    # Bytes that are no UTF-8 are a 400 everywhere.
    if case["expect"].get("same_as_missing") and answer[0] != 400:
        missing = await ask(app, b"/static/nope")
        assert (answer[0], answer[2]) == (missing[0], missing[2])


@pytest.mark.parametrize(
    "target",
    [
        b"link-out.txt",
        b"link-abs.txt",
        b"linkdir-out/index.html",
        b"link-up/secret.txt",
        b"loop",
        b"dangling",
        b"pipe",
        b".env",
        b".git/config",
        b".well-known/security.txt",
        b"..data",
        b"%2e%2e/secret.txt",
        b"..%2fsecret.txt",
        b"%5c%5chost%5cshare",
        b"back%5cslash.txt",
        b"hello.txt%3a%3a$DATA",
        b"hello.txt/",
        b"a" * 300,
        b"noindex/",
        b"COM1",
        b"lpt%c2%b9.txt",
    ],
)
async def test_what_may_not_be_had_looks_like_what_is_not_there(base, target):
    app = app_of(base, "/static")
    answer, missing = [await ask(app, b"/static/" + each) for each in (target, b"nope")]

    assert (answer[0], answer[2]) == (404, missing[2])
    assert answer[1].keys() == missing[1].keys()


@pytest.mark.parametrize(
    ("target", "content"),
    [
        (b"link-in.txt", b"HELLO"),
        (b"linkdir-in/page.html", b"SUB-PAGE"),
        (b"a..b.txt", b"INNER-DOTS"),
        (b"%252e%252e.txt", b"LITERAL-ESCAPE"),
        (b"/hello.txt", b"HELLO"),
        (b"deep//a/b/c/d.txt", b"DEEP"),
        (b"empty.txt", b""),
        (b"UPPER.TXT", b"UPPER"),
        (b"semi%3bcolon.txt?x=/../..", b"SEMI"),
    ],
)
async def test_what_is_lawful_can_be_had(base, target, content):
    status, _, body = await ask(app_of(base, "/static"), b"/static/" + target)

    assert (status, body) == (200, content)


async def test_a_folder_that_is_set_to_another_release_serves_that(tmp_path):
    """The folder is opened anew for each request, by whatever link it is."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(name)
    current = tmp_path / "current"
    current.symlink_to("one")
    app = Nardis()
    app.use(static(current))
    first = await ask(app, b"/a.txt")
    current.unlink()
    current.symlink_to("two")

    assert (first[2], (await ask(app, b"/a.txt"))[2]) == (b"one", b"two")


async def test_bytes_that_are_no_utf_8_are_a_400(base):
    assert (await ask(app_of(base, "/static"), b"/static/%fe%fe"))[0] == 400


async def test_a_folder_is_a_redirect_that_keeps_the_query_and_stays_on_this_host(base):
    app = app_of(base, "/")
    found = [
        (answer[0], answer[1][b"location"])
        for answer in [await ask(app, target) for target in (b"/sub?a=b", b"//sub", b"/%73ub")]
    ]

    assert found == [(301, b"/sub/?a=b"), (301, b"/sub/"), (301, b"/%73ub/")]


async def test_a_folder_is_a_redirect_below_the_prefix_that_a_proxy_took_off(base):
    app = app_of(base, "/static")

    async def behind(scope, receive, send):
        await app({**scope, "root_path": "/shop"}, receive, send)

    found = [
        (await ask(behind, target))[1][b"location"]
        for target in (b"/static/sub?a=b", b"/shop/static/sub", b"/static")
    ]

    assert found == [b"/shop/static/sub/?a=b", b"/shop/static/sub/", b"/shop/static/"]


async def test_a_target_that_is_a_whole_url_is_its_path(base):
    """It redirects within this host, and the root of the site has its slash (RFC 9112 §3.2.2)."""
    app = app_of(base, "/")
    here = b"http://127.0.0.1"
    folder = await ask(app, here + b"/sub?a=b")
    index, root = [await ask(app, target) for target in (here, b"/")]

    assert (folder[0], folder[1][b"location"]) == (301, b"/sub/?a=b")
    assert (index[0], index[2]) == (root[0], root[2])
    assert b"location" not in index[1]
