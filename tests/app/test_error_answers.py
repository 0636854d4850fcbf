"""The default answers to errors: their forms and fields, and what is kept of a begun answer."""

import html

import anyio
import pytest

from nardis import HTTPError, Nardis, UsageError
from nardis.testing import AppError, Client

pytestmark = pytest.mark.anyio


def raises(error):
    async def handler(req, res):
        raise error

    return handler


def refusing(*args, debug=False, **kwargs):
    app = Nardis(debug=debug)
    app.get("/*any", raises(HTTPError(*args, **kwargs)))
    return app


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "text/plain; charset=utf-8"),
        ("*/*", "text/plain; charset=utf-8"),
        ("text/plain", "text/plain; charset=utf-8"),
        ("text/html", "text/html; charset=utf-8"),
        (
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "text/html; charset=utf-8",
        ),
        ("application/json", "application/problem+json"),
        ("application/problem+json", "application/problem+json"),
        ("application/json, text/html;q=0.5", "application/problem+json"),
        ("application/json;q=0.1, text/html;q=0.5", "text/html; charset=utf-8"),
        ("image/png", "text/plain; charset=utf-8"),
        ("not an accept field", "text/plain; charset=utf-8"),
    ],
)
async def test_the_form_follows_accept(accept, content_type):
    async with Client(refusing(418, "no coffee")) as client:
        response = await client.get("/x", headers={"accept": accept} if accept else {})
    assert response.status_code == 418
    assert response.headers["content-type"] == content_type
    assert response.headers["vary"] == "Accept"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "no coffee" in response.text


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "application/problem+json"),
        ("", "application/problem+json"),
        ("*/*", "application/problem+json"),
        ("application/*", "application/problem+json"),
        ("application/json", "application/problem+json"),
        ("image/png", "application/problem+json"),
        ("not an accept field", "application/problem+json"),
        ("text/html;q=0.5, */*", "application/problem+json"),
        ("text/plain", "text/plain; charset=utf-8"),
        ("text/*", "text/plain; charset=utf-8"),
        ("text/html", "text/html; charset=utf-8"),
        (
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "text/html; charset=utf-8",
        ),
    ],
)
async def test_an_api_answers_problem_details_to_clients_that_take_any(accept, content_type):
    """A client that asks for HTML or text by name still gets that."""
    app = Nardis(errors="problem")
    app.get("/*any", raises(HTTPError(418, "no coffee")))
    async with Client(app) as client:
        response = await client.get("/x", headers={"accept": accept} if accept is not None else {})
    assert response.headers["content-type"] == content_type
    assert response.headers["vary"] == "Accept"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "no coffee" in response.text


@pytest.mark.parametrize(("path", "status"), [("/nothing", 404), ("/fails", 500), ("/%00", 400)])
async def test_an_api_answers_its_own_errors_in_the_same_form(path, status):
    app = Nardis(errors="problem")
    app.get("/fails", raises(KeyError()))
    async with Client(app, raise_app_errors=False) as client:
        assert (await client.get(path)).json()["status"] == status


async def test_text_is_the_status_and_the_detail():
    async with Client(refusing(403, "not yours")) as client:
        assert (await client.get("/x")).text == "403 Forbidden: not yours\n"
    async with Client(refusing(403)) as client:
        assert (await client.get("/x")).text == "403 Forbidden\n"


async def test_html_is_a_page_that_runs_nothing():
    async with Client(refusing(403, '<script>alert(1)</script> & "more"')) as client:
        response = await client.get("/x", headers={"accept": "text/html"})
    assert "<script>" not in response.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp;" in response.text
    assert "<title>403 Forbidden</title>" in response.text
    assert response.headers["content-security-policy"] == "default-src 'none'"


@pytest.mark.parametrize("accept", ["text/html", "text/plain", "application/json"])
async def test_a_404_is_the_same_for_each_path(accept):
    """What is not there and what may not be had look alike, and nothing of a path is repeated."""
    async with Client(Nardis()) as client:
        headers = {"accept": accept}
        one = await client.get("/<script>%0d%0ax</script>", headers=headers)
        other = await client.get("/nope", headers=headers)
    assert (one.status_code, one.content) == (404, other.content)
    assert "script" not in one.text


async def test_problem_details_have_the_members_of_rfc_9457():
    async with Client(refusing(413, "too much", limit=10, seen=[1, 2])) as client:
        response = await client.get("/x", headers={"accept": "application/json"})
    assert response.json() == {
        "type": "about:blank",
        "title": "Content Too Large",
        "status": 413,
        "detail": "too much",
        "limit": 10,
        "seen": [1, 2],
    }


async def test_problem_details_without_a_detail_have_none():
    async with Client(refusing(410)) as client:
        response = await client.get("/x", headers={"accept": "application/json"})
    assert response.json() == {"type": "about:blank", "title": "Gone", "status": 410}


async def test_extensions_win():
    """An error may have a type and a title of its own, as RFC 9457 has it."""
    error = {"type": "https://example.com/out-of-credit", "title": "No credit", "balance": 30}
    async with Client(refusing(403, "too dear", **error)) as client:
        response = await client.get("/x", headers={"accept": "application/problem+json"})
    assert response.json() == {**error, "status": 403, "detail": "too dear"}


@pytest.mark.parametrize("detail", ["", "the detail"])
async def test_status_and_detail_are_those_of_the_error(detail):
    """RFC 9457 §3.1.3: the member is the status of the answer."""
    error = HTTPError(409, detail, instance="/orders/7")
    error.extensions.update(status=200, detail="another")
    app = Nardis()
    app.get("/", raises(error))
    async with Client(app) as client:
        response = await client.get("/", headers={"accept": "application/json"})
    assert response.json() == {
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "instance": "/orders/7",
        **({"detail": detail} if detail else {}),
    }


class Hostile:
    """Says nothing of itself."""

    def __str__(self):
        raise ValueError


def circle():
    own = {"name": "x"}
    own["own"] = own
    return own


def nested(depth):
    """As deep as no reader of JSON goes; its own text cannot be written either."""
    inner = []
    for _ in range(depth):
        inner = [inner]
    return inner


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"x", "b'x'"),
        (KeyError, "<class 'KeyError'>"),
        (KeyError("k"), "'k'"),
        ({1}, [1]),
        (frozenset({"a"}), ["a"]),
        (float("nan"), "nan"),
        ([1.5, float("-inf")], [1.5, "-inf"]),
        ({float("nan"): {1}}, {"nan": [1]}),
        ({1: 2, None: 3}, {"1": 2, "null": 3}),
        ({(1, 2): (3, True, None, "x", 2.5)}, {"(1, 2)": [3, True, None, "x", 2.5]}),
        ({b"k": b"v"}, {"b'k'": "b'v'"}),
        (circle(), {"name": "x", "own": "..."}),
        (Hostile(), "<Hostile that fails to say more>"),
        (
            [{Hostile(): Hostile()}],
            [{"<Hostile that fails to say more>": "<Hostile that fails to say more>"}],
        ),
        (10**5000, "<int that fails to say more>"),
        ("half \ud800 pair", "half \ufffd pair"),
        ("\ud83d\ude00", "😀"),
        (["é", "\u2028", "<b>"], ["é", "\u2028", "<b>"]),
    ],
    ids=range(18),
)
async def test_extensions_may_be_anything(value, expected):
    """A 4xx does not become a 500 for something that JSON lacks."""
    async with Client(refusing(400, "no", given=value)) as client:
        response = await client.get("/x", headers={"accept": "application/json"})
    assert response.status_code == 400
    assert response.json()["given"] == expected
    for other in ("text/plain", "text/html"):
        async with Client(refusing(400, "no", given=value)) as client:
            assert (await client.get("/x", headers={"accept": other})).status_code == 400


async def test_extensions_that_are_too_deep_end_somewhere():
    async with Client(refusing(400, given=nested(100_000))) as client:
        response = await client.get("/x", headers={"accept": "application/json"})
    assert response.status_code == 400
    assert "[" * 20 in response.text


@pytest.mark.parametrize("accept", ["text/plain", "text/html", "application/json"])
async def test_a_detail_may_be_anything(accept):
    """It is meant to be a str, and may hold what UTF-8 lacks."""
    for detail, expected in [
        ("half \ud800 pair", "half \ufffd pair"),
        (KeyError("<k>"), "<k>"),
        (7, "7"),
        (Hostile(), "that fails to say more"),
        (Markup("<k>"), "<k>"),
    ]:
        async with Client(refusing(409, detail)) as client:
            response = await client.get("/x", headers={"accept": accept})
        assert response.status_code == 409
        assert expected in html.unescape(response.text)
        assert accept != "text/html" or "<k>" not in response.text
    async with Client(refusing(409, None)) as client:
        assert "None" not in (await client.get("/x", headers={"accept": accept})).text


class Markup(str):
    """Escapes itself in a way of its own, as the markup of template engines does."""

    def replace(self, *args):
        return self  # pragma: no cover - must not be asked


async def test_headers_of_an_http_error_win():
    """Over fields that were set, fields that the answer drops, and fields of the page itself."""
    app = Nardis()

    @app.get("/")
    async def refuses(req, res):
        res.set("retry-after", "1").set("cache-control", "public").set("x-other", "kept")
        raise HTTPError(
            503,
            headers={
                "Retry-After": "120",
                "Cache-Control": "no-store",
                "Content-Security-Policy": "default-src 'self'",
                "X-Content-Type-Options": "mine",
            },
        )

    async with Client(app) as client:
        response = await client.get("/", headers={"accept": "text/html"})
    assert response.headers["retry-after"] == "120"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-other"] == "kept"
    assert response.headers["content-security-policy"] == "default-src 'self'"
    assert response.headers["x-content-type-options"] == "mine"


async def test_headers_of_an_http_error_reach_an_error_handler():
    app = Nardis()
    app.get("/", raises(HTTPError(401, headers={"www-authenticate": "Basic"})))

    @app.error(401)
    async def login(err, req, res):
        await res.send("who?")

    async with Client(app) as client:
        response = await client.get("/")
    assert (response.status_code, response.headers["www-authenticate"], response.text) == (
        401,
        "Basic",
        "who?",
    )


@pytest.mark.parametrize("answer", ["default", "handler", "500"])
async def test_what_described_the_body_goes_and_the_rest_stays(answer):
    app = Nardis()

    class Shout:
        def feed(self, data):
            return data.upper()  # pragma: no cover - must not happen

        def flush(self):
            return b""  # pragma: no cover - must not happen

        def finish(self):
            return b"!"  # pragma: no cover - must not happen

    @app.use
    async def cors(req, res, next):
        res.set("access-control-allow-origin", "*").append("set-cookie", "a=1").set(
            "x-request-id", "7"
        ).vary("Origin")
        await next()

    @app.get("/")
    async def fails(req, res):
        res.set(
            {
                "Content-Type": "image/png",
                "Content-Length": 3,
                "Content-Encoding": "gzip",
                "Content-Language": "de",
                "Content-Disposition": "attachment",
                "Content-Range": "bytes 0-2/3",
                "ETag": '"1"',
                "Last-Modified": "Sun, 22 Nov 2026 00:00:00 GMT",
                "Cache-Control": "public, max-age=3600",
                "Expires": "Sun, 22 Nov 2026 00:00:00 GMT",
                "Accept-Ranges": "bytes",
            }
        )
        res.filter(Shout())
        raise HTTPError(404) if answer == "default" else KeyError("k")

    if answer == "handler":

        @app.error(KeyError)
        async def handler(err, req, res):
            await res.send("answered")

    async with Client(app, raise_app_errors=False) as client:
        response = await client.get("/")
    gone = {
        "content-encoding",
        "content-language",
        "content-disposition",
        "content-range",
        "etag",
        "last-modified",
    }
    gone |= {"cache-control", "expires", "accept-ranges"}
    assert gone & set(response.headers) == set()
    assert response.headers["content-type"].startswith("text/")
    assert int(response.headers["content-length"]) == len(response.content)
    kept = ("access-control-allow-origin", "set-cookie", "x-request-id")
    assert [response.headers[name] for name in kept] == ["*", "a=1", "7"]
    assert "Origin" in response.headers["vary"]
    assert (
        response.text
        == {
            "default": "404 Not Found\n",
            "handler": "answered",
            "500": "500 Internal Server Error\n",
        }[answer]
    )


@pytest.mark.parametrize("accept", ["text/plain", "text/html", "application/json"])
@pytest.mark.parametrize("debug", [True, False])
async def test_tracebacks_are_shown_with_debug_only(accept, debug):
    app = Nardis(debug=debug)
    app.get("/", raises(KeyError("<secret>")))

    async with Client(app, raise_app_errors=False) as client:
        response = await client.get("/", headers={"accept": accept})
    assert response.status_code == 500
    assert ("traceback" in response.text.lower()) is debug
    assert ("KeyError" in response.text) is debug
    assert ("secret" in response.text) is debug
    assert ("<secret>" in response.text) == (debug and accept != "text/html")


async def test_debug_shows_no_traceback_of_what_was_meant():
    async with Client(refusing(403, debug=True)) as client:
        assert "Traceback" not in (await client.get("/x")).text


async def test_debug_shows_every_error_of_a_group():
    """And the cause of each."""
    app = Nardis(debug=True)

    @app.get("/")
    async def fails(req, res):
        try:
            raise OSError("the cause")
        except OSError as exc:
            raise ExceptionGroup("two", [KeyError("one"), ValueError("two")]) from exc

    async with Client(app, raise_app_errors=False) as client:
        text = (await client.get("/")).text
    assert all(name in text for name in ("the cause", "KeyError", "ValueError"))


async def test_head_gets_the_fields_of_the_error_and_no_body():
    async with Client(refusing(403, "not yours")) as client:
        response = await client.head("/x")
    assert (response.status_code, response.content) == (403, b"")
    assert response.headers["content-length"] == str(len("403 Forbidden: not yours\n"))


@pytest.mark.parametrize("status", [399, 200, 600, 0, -1])
def test_http_error_takes_statuses_of_errors_alone(status):
    with pytest.raises(Exception, match="400 to 599"):
        HTTPError(status)


def test_http_error_takes_the_status_first():
    with pytest.raises(UsageError, match=r"a status first: HTTPError\(404, 'not found'\)"):
        HTTPError("not found")


def test_http_error_says_what_it_is():
    assert str(HTTPError(404)) == "404 Not Found"
    assert str(HTTPError(404, "no such user")) == "404 Not Found: no such user"
    assert str(HTTPError(499)) == "499 499"
    assert HTTPError(404, headers={"a": "b"}, x=1).extensions == {"x": 1}


async def test_an_unregistered_status_is_answered_too():
    async with Client(refusing(499, "odd")) as client:
        response = await client.get("/x", headers={"accept": "application/json"})
    assert (response.status_code, response.json()["status"]) == (499, 499)


async def test_a_hook_that_fails_on_an_error_is_a_plain_500():
    """The hooks are not run again, so the answer has an end."""
    app, runs = Nardis(), []

    @app.use
    async def hooked(req, res, next):
        def hook():
            runs.append(res.status_code)
            raise ZeroDivisionError

        res.on_head(hook)
        await next()

    async with Client(app, raise_app_errors=False) as client:
        response = await client.get("/nothing")
    assert (response.status_code, response.text, runs) == (
        500,
        "500 Internal Server Error\n",
        [404],
    )


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("text/html", "application/xhtml+xml"),
        ("text/plain", "text/plain; charset=utf-8"),
        ("application/json", "application/problem+json"),
    ],
)
async def test_a_content_type_of_the_error_wins_on_the_page_that_is_escaped(accept, content_type):
    app = refusing(409, "<b>no</b>", headers={"Content-Type": "application/xhtml+xml"})
    async with Client(app) as client:
        response = await client.get("/x", headers={"accept": accept})
    assert response.headers["content-type"] == content_type
    assert ("<b>" in response.text) is (accept != "text/html")


class Worded(HTTPError):
    """An error with words of its own."""

    def __str__(self):
        return "my words"


class Wordless(HTTPError):
    """An error that cannot say what it is."""

    def __str__(self):
        raise ValueError


async def test_an_error_that_fails_to_say_what_it_is_is_answered():
    app = Nardis()
    app.get("/*any", raises(Wordless(409, "detail")))
    async with Client(app) as client:
        response = await client.get("/x")
    assert (response.status_code, response.text) == (409, "<Wordless that fails to say more>\n")


async def test_the_text_is_what_the_error_says_of_itself():
    app = Nardis()
    app.get("/*any", raises(Worded(409, "not these")))
    async with Client(app) as client:
        assert (await client.get("/x")).text == "my words\n"


class Noting(Exception):
    """Another base of an error."""

    def __init__(self, *args):
        super().__init__(*args)
        self.noted = args


class Both(HTTPError, Noting):
    """An error of two kinds."""


def test_an_error_builds_all_its_bases():
    assert Both(404, "x").noted == (404, "x")


@pytest.mark.parametrize("errors", ["html", "", None, True])
def test_another_form_of_errors_is_refused_when_the_application_is_made(errors):
    with pytest.raises(UsageError, match="problem"):
        Nardis(errors=errors)


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_a_scope_that_a_handler_leaves_open_is_what_the_error_is_about():
    """The scope around it is left once: a second time says only that it was left already."""
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        anyio.CancelScope().__enter__()
        await res.send("x")

    async with Client(app) as client:
        with pytest.raises(AppError, match="still within its child"):
            await client.get("/")
