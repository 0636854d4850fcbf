"""`req.check_preconditions()` (RFC 9110 §13.2.2). The rules are tested in `tests/http`."""

from datetime import UTC, datetime

import pytest

from nardis import Nardis
from nardis.errors import FieldError
from nardis.testing import Client

pytestmark = pytest.mark.anyio

MODIFIED = datetime(2025, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC)
SINCE = "Wed, 01 Jan 2025 00:00:00 GMT"
EARLIER = "Tue, 31 Dec 2024 23:59:59 GMT"


def serving(**current):
    app, done = Nardis(), []

    async def handler(req, res):
        if "etag" in current:
            res.etag(current["etag"])
        req.check_preconditions(**current)
        done.append(req.method)
        await res.send("x")

    app.all("/", handler)
    app.done = done
    return app


@pytest.mark.parametrize(
    ("method", "fields", "current", "status"),
    [
        ("PUT", {}, {"etag": "v1"}, 200),
        ("PUT", {"if-match": '"v1"'}, {"etag": "v1"}, 200),
        ("PUT", {"if-match": '"v0", "v1"'}, {"etag": '"v1"'}, 200),
        ("PUT", {"if-match": '"v0"'}, {"etag": "v1"}, 412),
        ("PUT", {"if-match": 'W/"v1"'}, {"etag": 'W/"v1"'}, 412),
        ("DELETE", {"if-match": "*"}, {}, 412),
        ("PUT", {"if-none-match": "*"}, {}, 200),
        ("PUT", {"if-none-match": "*"}, {"etag": "v1"}, 412),
        ("GET", {"if-none-match": '"v1"'}, {"etag": "v1"}, 304),
        ("HEAD", {"if-none-match": "*"}, {"last_modified": MODIFIED}, 304),
        ("PUT", {"if-unmodified-since": SINCE}, {"last_modified": MODIFIED}, 200),
        ("PUT", {"if-unmodified-since": EARLIER}, {"last_modified": MODIFIED}, 412),
        ("GET", {"if-modified-since": SINCE}, {"last_modified": MODIFIED.timestamp()}, 304),
        ("GET", {"if-modified-since": EARLIER}, {"last_modified": MODIFIED}, 200),
        ("GET", {"if-modified-since": SINCE}, {"last_modified": 0}, 304),
    ],
)
async def test_what_fails_is_not_done(method, fields, current, status):
    app = serving(**current)
    async with Client(app) as client:
        response = await client.request(method, "/", headers=fields)
    assert response.status_code == status
    assert app.done == ([method] if status == 200 else [])
    if status == 304 and "etag" in current:
        assert response.headers["etag"] == '"v1"'
        assert response.content == b""


async def test_a_304_says_what_it_was_compared_with():
    """RFC 9110 §15.4.5; what the handler has set wins."""
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        res.last_modified(0)
        req.check_preconditions(etag="v1", last_modified=MODIFIED)

    async with Client(app) as client:
        response = await client.get("/", headers={"if-none-match": '"v1"'})
    assert (response.status_code, response.headers["etag"]) == (304, '"v1"')
    assert response.headers["last-modified"] == "Thu, 01 Jan 1970 00:00:00 GMT"


@pytest.mark.parametrize("current", [{"etag": 'a"b'}, {"last_modified": datetime(2025, 1, 1)}])
async def test_what_is_no_tag_and_no_moment_is_refused(failure, current):
    error = await failure(lambda req: req.check_preconditions(**current))
    assert isinstance(error, (FieldError, Exception))
    assert type(error).__module__ == "nardis.errors"
