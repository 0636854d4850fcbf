"""What `Nardis(debug=True)` shows of a failure, in each of the three forms."""

from __future__ import annotations

import base64
import gc
import hashlib
import html
import json
import logging
import re
import subprocess
import sys
import weakref
from collections.abc import Iterator
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import pytest

from nardis import HTTPError, Nardis, Request, Response
from nardis.datastructures import Headers
from nardis.testing import Client, TestResponse
from nardis.types import Next

pytestmark = pytest.mark.anyio

TEXT, HTML, JSON = "text/plain", "text/html", "application/json"
FORMS = [TEXT, HTML, JSON]


@pytest.fixture
def unlogged() -> Iterator[None]:
    """Log nothing: a logger asks an error itself, as it keeps it and prints all of it."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


async def ask(
    handler: Any, accept: str, *, path: str = "/", pattern: str = "/", **options: Any
) -> TestResponse:
    """Return the answer to a request whose handler fails."""
    app = Nardis(debug=True)
    app.post(pattern, handler)
    headers = {"accept": accept, **options.pop("headers", {})}
    async with Client(app, raise_app_errors=False) as client:
        response = await client.post(path, headers=headers, **options)
    assert response.status_code == 500
    return response


def failing_with(error: BaseException) -> Any:
    async def handler(req: Request, res: Response) -> None:
        raise error

    return handler


async def told(error: BaseException, accept: str) -> str:
    """Return what is said of *error*, without its markup."""
    text = (await ask(failing_with(error), accept)).text
    return html.unescape(text) if accept == HTML else text


class Page(HTMLParser):
    """
    What a browser makes of a page.

    Attributes:
        tags: Of each element, with its attributes.
        shown: The text that is seen at first sight.
        folded: The text inside `details` that are closed.
        marked: The text inside `mark`, each apart.
        style: The text inside `style`.
    """

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.shown, self.folded, self.style = "", "", ""
        self.marked: list[str] = []
        self.around: list[tuple[str, bool]] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("details", "summary", "mark", "style"):
            self.around.append((tag, tag == "details" and "open" not in dict(attrs)))
            self.marked += [""] if tag == "mark" else []

    def handle_endtag(self, tag: str) -> None:
        if tag in ("details", "summary", "mark", "style"):
            assert self.around.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        inside = [tag for tag, _ in self.around]
        closed = [at for at, (_, is_closed) in enumerate(self.around) if is_closed]
        if "style" in inside:
            self.style += data
        elif closed and inside[closed[0] :][1:2] != ["summary"]:
            self.folded += data
        else:
            self.shown += data
        if "mark" in inside:
            self.marked[-1] += data


async def fails(req: Request, res: Response) -> None:
    password = "-".join(["the", "local", "value"])
    await req.body.receive()
    raise KeyError(f"no {len(password)} <b>here</b>")  # the line that raises


@pytest.mark.parametrize("accept", FORMS)
async def test_the_error_its_place_the_request_and_the_streams_are_shown(accept: str) -> None:
    response = await ask(
        fails,
        accept,
        path="/users/bob%20x?tab=<1>",
        pattern="/users/:name",
        content=b"12345",
        headers={"x-shown": "<seen>"},
    )
    text = html.unescape(response.text) if accept == HTML else response.text
    for expected in (
        "500" if accept != JSON else '"status": 500',
        "KeyError",
        "no 15 <b>here</b>",
        "test_debug_page.py",
        'raise KeyError(f"no {len(password)} <b>here</b>")'.replace(
            '"', r"\"" if accept == JSON else '"'
        ),
        "POST",
        "/users/bob%20x?tab=<1>",
        "/users/:name",
        "bob x",
        "x-shown",
        "<seen>",
    ):
        assert expected in text
    assert "the-local-value" not in text


@pytest.mark.parametrize("accept", FORMS)
async def test_the_answer_is_a_500_like_any_other(accept: str) -> None:
    """Fields that were set stay; the body has the type asked for, and is never sniffed."""

    async def handler(req: Request, res: Response) -> None:
        res.set("x-request-id", "7").set("etag", '"1"')
        raise KeyError

    response = await ask(handler, accept)
    kind = {JSON: "application/problem+json"}.get(accept, f"{accept}; charset=utf-8")
    assert response.headers["content-type"] == kind
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["vary"] == "Accept"
    assert response.headers["x-request-id"] == "7"
    assert "etag" not in response.headers


async def test_problem_details_have_the_same_as_members() -> None:
    response = await ask(fails, JSON, path="/users/bob", pattern="/users/:name", content=b"12345")
    problem = response.json()
    assert {name: problem[name] for name in ("type", "title", "status")} == {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
    }
    assert problem["exception"] == {"type": "KeyError", "message": "'no 15 <b>here</b>'"}
    last = problem["traceback"][-1]
    assert last == {
        "file": __file__,
        "line": fails.__code__.co_firstlineno + 3,
        "function": "fails",
        "code": 'raise KeyError(f"no {len(password)} <b>here</b>")  # the line that raises',
    }
    assert problem["request"] == {
        "method": "POST",
        "target": "/users/bob",
        "http_version": "1.1",
        "route": "/users/:name",
        "params": {"name": "bob"},
        "fields": [["host", "testserver"], ["content-length", "5"], ["accept", JSON]],
    }
    assert problem["streams"] == {
        "body_bytes_declared": 5,
        "body_bytes_read": 5,
        "body_is_complete": True,
        "response_has_started": False,
        "response_bytes_sent": 0,
        "client_is_there": True,
        "close_reason": None,
    }


async def test_a_body_that_nobody_asked_for_is_unread() -> None:
    with_body = (await ask(failing_with(KeyError()), JSON, content=b"12")).json()["streams"]
    without = (await ask(failing_with(KeyError()), JSON)).json()["streams"]
    assert (with_body["body_bytes_read"], with_body["body_is_complete"]) == (0, False)
    assert (without["body_bytes_read"], without["body_is_complete"]) == (0, True)


@pytest.mark.parametrize("has_left", [True, False])
async def test_a_runner_says_whether_the_client_is_there(has_left: bool) -> None:
    told = SimpleNamespace(
        progressed=0.0,
        listener=None,
        claimed=False,
        scope=None,
        has_left=lambda: has_left,
        answered=lambda: None,
    )
    app = Nardis(debug=True)
    app.get("/", failing_with(KeyError()))
    async with Client(app, raise_app_errors=False, extensions={"nardis.client": told}) as client:
        response = await client.get("/", headers={"accept": JSON})
    assert response.json()["streams"]["client_is_there"] is not has_left


async def test_an_error_outside_of_every_route_has_none() -> None:
    app = Nardis(debug=True)

    @app.use
    async def middleware(req: Request, res: Response, next: Next) -> None:
        raise KeyError

    async with Client(app, raise_app_errors=False) as client:
        problem = (await client.get("/", headers={"accept": JSON})).json()
        text = (await client.get("/")).text
    assert problem["request"]["route"] is None
    assert "route: none" in text


# --- secrets --------------------------------------------------------------------------------------


SECRET_FIELDS = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "set-cookie",
    "X-Api-Key",
    "x-csrf-token",
    "x-session-id",
    "x-hub-signature-256",
    "client-secret",
    "x-password",
]


@pytest.mark.parametrize("accept", FORMS)
async def test_credentials_are_hidden(accept: str) -> None:
    headers = dict.fromkeys(SECRET_FIELDS, "hunter2")
    text = (await ask(failing_with(KeyError()), accept, headers=headers)).text
    assert "hunter2" not in text
    assert all(name.lower() in text for name in SECRET_FIELDS)


@pytest.mark.parametrize("name", SECRET_FIELDS[:4])
def test_they_are_at_least_those_that_headers_hide(name: str) -> None:
    assert "hunter2" not in repr(Headers([(name.encode(), b"hunter2")]))


class User:
    """What a path was converted to."""

    def __repr__(self) -> str:
        raise AssertionError  # pragma: no cover - must not be asked


@pytest.mark.parametrize("accept", FORMS)
async def test_of_what_a_path_was_converted_to_the_type_alone_is_shown(accept: str) -> None:
    async def handler(req: Request, res: Response) -> None:
        req.params.update(user=User(), rest=["a", User()])
        raise KeyError

    text = (await ask(handler, accept)).text
    assert html.unescape(text).count(f"<{User.__name__}>") == 2


# --- HTML -----------------------------------------------------------------------------------------


async def page_of(handler: Any, **options: Any) -> Page:
    return Page((await ask(handler, HTML, **options)).text)


async def test_a_page_runs_and_loads_nothing() -> None:
    """Its own style is allowed by the hash of its text, and nothing else by anything."""
    response = await ask(fails, HTML, content=b"1")
    page = Page(response.text)
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert response.headers["content-security-policy"].split("; ") == [
        "default-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        f"style-src 'sha256-{digest}'",
    ]
    assert {tag for tag, _ in page.tags} <= {
        *("html", "meta", "title", "style", "h1", "h2", "h3", "p", "pre", "code", "mark", "div"),
        *("details", "summary", "table", "tr", "td"),
    }
    names = {name for _, attributes in page.tags for name in attributes}
    assert names == {"lang", "charset", "name", "content", "class", "open"}


HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(1)>\"'&amp;"


async def test_everything_is_escaped() -> None:
    names: dict[str, Any] = {"__name__": HOSTILE}
    exec(compile("def given(): raise Hostile(HOSTILE)", f"/{HOSTILE}.py", "exec"), names)
    kind = type(HOSTILE, (Exception,), {"__module__": HOSTILE})
    names.update(Hostile=kind, HOSTILE=HOSTILE)

    async def handler(req: Request, res: Response) -> None:
        req.params[HOSTILE] = HOSTILE
        try:
            names["given"]()
        except Exception as exc:
            exc.add_note(HOSTILE)
            raise ExceptionGroup(HOSTILE, [exc, KeyError(HOSTILE)]) from exc

    response = await ask(
        handler,
        HTML,
        path=f"/{HOSTILE}?{HOSTILE}".replace(" ", ""),
        pattern="/*rest",
        headers={"x-hostile": HOSTILE},
    )
    page = Page(response.text)
    assert page.shown.count("<script>alert(1)</script>") > 8
    assert {"script", "img"} & {tag for tag, _ in page.tags} == set()
    assert not any("onerror" in attributes for _, attributes in page.tags)


async def test_the_users_frames_are_open_and_all_others_folded() -> None:
    app = Nardis(debug=True)

    @app.use
    async def around(req: Request, res: Response, next: Next) -> None:
        await next()

    @app.get("/")
    async def handler(req: Request, res: Response) -> None:
        json.loads("{")

    async with Client(app, raise_app_errors=False) as client:
        page = Page((await client.get("/", headers={"accept": HTML})).text)

    assert page.shown.count("test_debug_page.py:") == 2
    assert 'json.loads("{")' in page.shown
    assert "raw_decode" not in page.shown
    assert "raw_decode" in page.folded
    assert "advance" not in page.shown
    assert "advance" in page.folded
    assert [of for _, of in re.findall(r"(\d+) frames of (nardis|json)", page.shown)] == [
        "nardis",
        "nardis",
        "json",
    ]


async def test_where_it_was_raised_is_open_where_no_frame_is_the_users() -> None:
    """A handler that only forgot to answer has none."""

    async def silent(req: Request, res: Response) -> None:
        pass

    page = await page_of(silent)
    assert "NoResponse" in page.shown
    assert "raise NoResponse(*(silent or" in page.shown
    assert page.shown.count("_exchange/exchange.py:") == 1


async def test_the_line_that_raised_is_marked_among_its_neighbours() -> None:
    page = await page_of(fails, content=b"1")
    marked = [text.split(None, 1) for text in page.marked]
    line = fails.__code__.co_firstlineno + 3
    assert [text for number, text in marked if number == str(line)] == [
        'raise KeyError(f"no {len(password)} <b>here</b>")  # the line that raises'
    ]
    for near in ('password = "-".join', "await req.body.receive()", "async def fails"):
        assert near in page.shown


async def test_text_marks_it_as_well() -> None:
    text = (await ask(fails, TEXT, content=b"1")).text
    [marked] = re.findall(r"^  > +(\d+) \| (.*)$", text, re.MULTILINE)
    assert marked == (
        str(fails.__code__.co_firstlineno + 3),
        '    raise KeyError(f"no {len(password)} <b>here</b>")  # the line that raises',
    )
    assert "Traceback (most recent call last):\n" in text
    assert "\nKeyError: 'no 15 <b>here</b>'\n" in text


# --- chains and groups ----------------------------------------------------------------------------


def chained() -> Exception:
    """Raise a group with a cause, whose members have a cause and a context."""
    try:
        try:
            raise OSError("the first")
        except OSError:
            raise LookupError("the second")  # noqa: B904 - a context
    except LookupError as exc:
        exc.add_note("a note")
        group = ExceptionGroup("several", [ValueError("one"), TypeError("two")])
        group.__cause__ = exc
        return group


@pytest.mark.parametrize("accept", FORMS)
async def test_the_whole_chain_is_shown(accept: str) -> None:
    text = await told(chained(), accept)
    for expected in ("OSError", "the first", "LookupError", "the second", "a note"):
        assert expected in text
    for expected in ("ExceptionGroup", "several", "ValueError", "one", "TypeError", "two"):
        assert expected in text
    if accept != JSON:
        assert "The direct cause:" in text
        assert "Raised while this one was handled:" in text
        assert text.count("In the group:") == 2


async def test_problem_details_nest_the_chain() -> None:
    problem = (await ask(failing_with(chained()), JSON)).json()
    raised = problem["exception"]
    assert [each["message"] for each in raised["exceptions"]] == ["one", "two"]
    assert raised["cause"]["notes"] == ["a note"]
    assert raised["cause"]["context"]["type"] == "OSError"
    assert raised["cause"]["context"]["traceback"][0]["code"] == 'raise OSError("the first")'
    assert "traceback" not in raised


async def test_a_context_that_was_suppressed_is_not_shown() -> None:
    try:
        try:
            raise OSError("the first")
        except OSError:
            raise LookupError("the second") from None
    except LookupError as exc:
        error = exc
    text = await told(error, TEXT)
    assert "\nLookupError: the second\n" in text
    assert "OSError: " not in text


@pytest.mark.parametrize("accept", FORMS)
async def test_a_circle_ends(accept: str) -> None:
    """The only error of a group stands for it, and has the group as its cause."""

    async def handler(req: Request, res: Response) -> None:
        raise ExceptionGroup("around", [KeyError("alone")])

    text = (await ask(handler, accept)).text
    assert "around" in text
    assert text.count("alone") <= 4  # message, title of a page, source, and once in the group

    first, second = KeyError("first"), KeyError("second")
    first.__cause__, second.__cause__ = second, first
    assert "second" in await told(first, accept)


# --- errors that are out of the ordinary ----------------------------------------------------------


class Silent(Exception):
    def __str__(self) -> str:
        raise ValueError("hidden")


class Markup(str):
    """Escapes itself in a way of its own, as the markup of template engines does."""

    def replace(self, *args: Any) -> str:
        return self  # pragma: no cover - must not be asked


class Marked(Exception):
    def __str__(self) -> str:
        return Markup("<script>")


def noted(notes: object) -> Exception:
    error = KeyError("k")
    error.__notes__ = notes  # type: ignore[assignment]  # anybody may
    return error


@pytest.mark.usefixtures("unlogged")
@pytest.mark.parametrize("accept", FORMS)
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Silent(), "Silent that fails to say more"),
        (Marked(), "<script>"),
        (ValueError("half \ud800 pair"), "half \ufffd pair"),
        (ValueError("a\x00b"), "b"),
        (ValueError(), "ValueError"),
        (noted(1), "KeyError"),
        (noted([1, Silent()]), "Silent that fails to say more"),
        (SyntaxError("bad", ("x.py", 3, 1, "text", 3, 2)), "bad (x.py, line 3)"),
        (SystemExit(3), "SystemExit"),
        (ExceptionGroup("g", [Silent(), KeyError()]), "Silent that fails to say more"),
    ],
    ids=repr,
)
async def test_any_error_has_a_page(error: BaseException, expected: str, accept: str) -> None:
    response = await ask(failing_with(error), accept)
    if accept == HTML:
        page = Page(response.text)
        assert expected in page.shown
        assert "script" not in {tag for tag, _ in page.tags}
    else:
        assert expected in response.text
    assert "hidden" not in response.text


def defined(source: str, file: str, **names: Any) -> Any:
    """Return the function `f` of a source that is in no file."""
    exec(compile(source, file, "exec"), names)
    return names["f"]


class Loader:
    """Loads nothing, and raises what no loader should."""

    def get_source(self, name: str) -> str:
        raise ZeroDivisionError


@pytest.mark.usefixtures("unlogged")
@pytest.mark.parametrize("accept", FORMS)
@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("<made up>", {}),
        ("<frozen app>", {}),
        ("/no/such/file.py", {}),
        ("", {}),
        ("nowhere.py", {"__name__": "nowhere", "__loader__": Loader()}),
    ],
)
async def test_code_without_a_source_has_its_place_alone(
    file: str, names: dict[str, Any], accept: str
) -> None:
    function = defined("def f(): raise KeyError('k')", file, **names)

    async def handler(req: Request, res: Response) -> None:
        function()

    response = await ask(handler, accept)
    if accept == JSON:
        last = response.json()["traceback"][-1]
        assert last == {"file": file, "line": 1, "function": "f", "code": ""}
    else:
        assert file.replace("<", "&lt;").replace(">", "&gt;") in response.text or accept == TEXT
        assert "KeyError" in response.text


async def test_a_line_behind_the_end_of_its_file_is_no_obstacle() -> None:
    """The file was edited since."""
    function = defined("\n" * 100_000 + "def f(): raise KeyError('k')", __file__)

    async def handler(req: Request, res: Response) -> None:
        function()

    problem = (await ask(handler, JSON)).json()
    assert problem["traceback"][-1]["line"] == 100_001
    assert problem["traceback"][-1]["code"] == ""


@pytest.mark.usefixtures("unlogged")
async def test_an_instruction_without_a_line_is_no_obstacle() -> None:
    code = compile("1 / 0", __file__, "exec").replace(co_linetable=b"")

    async def handler(req: Request, res: Response) -> None:
        exec(code, {})

    for accept in FORMS:
        assert "ZeroDivisionError" in (await ask(handler, accept)).text
    assert (await ask(handler, JSON)).json()["traceback"][-1]["code"] == ""


# --- bounds ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unlogged")
@pytest.mark.parametrize("accept", FORMS)
async def test_a_huge_message_is_cut(accept: str) -> None:
    text = await told(noted(["n" * 100_000] * 100), accept)
    assert len(text) < 100_000
    text = await told(ValueError("x" * 1_000_000), accept)
    assert "xxx… (1,000,000 characters)" in text
    assert len(text) < 50_000


@pytest.mark.parametrize("accept", FORMS)
async def test_a_deep_recursion_shows_both_of_its_ends(accept: str) -> None:
    def recursive(depth: int) -> None:
        return recursive(depth + 1)

    async def handler(req: Request, res: Response) -> None:
        recursive(0)

    response = await ask(handler, accept)
    assert len(response.text) < 150_000
    if accept == JSON:
        functions = [frame["function"].split(".")[-1] for frame in response.json()["traceback"]]
        assert len(functions) == 60
        assert (functions[-1], "handler" in functions) == ("recursive", True)
    else:
        text = html.unescape(response.text)
        assert re.search(r"\b\d{3,} frames\b", text)
        assert text.count("in recursive") + text.count(".recursive") > 40


@pytest.mark.usefixtures("unlogged")
@pytest.mark.parametrize("accept", FORMS)
@pytest.mark.parametrize("shape", ["chain", "group", "deep group"])
async def test_of_many_errors_the_first_are_shown(shape: str, accept: str) -> None:
    error: Exception = ValueError("leaf 0")
    if shape == "group":
        error = ExceptionGroup("g", [ValueError(f"leaf {number}") for number in range(5_000)])
    for number in range(1, 500 if shape != "group" else 0):
        around = KeyError(number) if shape == "chain" else ExceptionGroup(f"g {number}", [error])
        if shape == "chain":
            around.__context__ = error
        error = around

    async def handler(req: Request, res: Response) -> None:
        raise ExceptionGroup("outermost", [error, ValueError("last")])

    response = await ask(handler, accept)
    assert len(response.text) < 50_000
    if accept != JSON:
        assert "More errors than these" in response.text


async def test_as_many_as_there_may_be_are_all_there_is() -> None:
    """Nothing is said of more where there are none."""
    members = [ValueError(f"leaf {number}") for number in range(19)]
    text = await told(ExceptionGroup("g", members), TEXT)
    assert "leaf 18" in text
    assert "More errors" not in text
    text = await told(ExceptionGroup("g", [*members, KeyError("beyond")]), TEXT)
    assert "beyond" not in text
    assert "More errors" in text


@pytest.mark.parametrize("accept", FORMS)
async def test_a_large_request_is_cut(accept: str) -> None:
    response = await ask(
        failing_with(KeyError()),
        accept,
        path="/" + "/".join(["seg"] * 5_000) + "?" + "q" * 100_000,
        pattern="/*rest",
        headers={f"x-{number}": "v" * 10_000 for number in range(80)},
    )
    assert len(response.text) < 150_000


# --- the rest -------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", FORMS)
async def test_nothing_of_it_is_shown_without_debug(accept: str) -> None:
    app = Nardis()
    app.get("/", failing_with(KeyError("the message")))
    async with Client(app, raise_app_errors=False) as client:
        text = (await client.get("/", headers={"accept": accept})).text
    for hidden in ("KeyError", "message", "test_debug_page", "testserver"):
        assert hidden not in text


@pytest.mark.parametrize("accept", FORMS)
async def test_what_was_meant_has_no_page(accept: str) -> None:
    app = Nardis(debug=True)
    app.get("/", failing_with(HTTPError(409, "meant")))
    async with Client(app) as client:
        text = (await client.get("/", headers={"accept": accept})).text
    assert "meant" in text
    assert "test_debug_page" not in text


async def test_an_api_gets_problem_details_where_text_would_do() -> None:
    app = Nardis(debug=True, errors="problem")
    app.get("/", failing_with(KeyError("k")))
    async with Client(app, raise_app_errors=False) as client:
        assert (await client.get("/")).json()["exception"]["type"] == "KeyError"
        assert "<!doctype html>" in (await client.get("/", headers={"accept": HTML})).text


PROGRAM = """
import anyio, logging, sys
from nardis import Nardis
from nardis.testing import Client

async def fails(req, res):
    raise KeyError

async def main():
    for app in (Nardis(), Nardis(debug=True)):
        app.get("/fails", fails)
        async with Client(app, raise_app_errors=False) as client:
            await client.get("/nothing")
            if not app.debug:
                await client.get("/fails")

logging.disable()
anyio.run(main)
print(*sorted(name for name in sys.modules if name.startswith("nardis.routing")))
"""


def test_it_is_loaded_when_the_first_page_is_made() -> None:
    """So that importing Nardis does not cost more."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = done.stdout.split()
    assert "nardis.routing.fallbacks" in loaded
    assert "nardis.routing.debug_page" not in loaded


class Bug(Exception):
    """An error that can be watched."""


@pytest.mark.usefixtures("unlogged")
@pytest.mark.parametrize("accept", FORMS)
async def test_a_page_keeps_nothing_of_the_error(accept: str) -> None:
    watched: list[weakref.ref[Bug]] = []

    async def handler(req: Request, res: Response) -> None:
        bug = Bug("k")
        watched.append(weakref.ref(bug))
        raise bug

    await ask(handler, accept)
    gc.collect()
    assert [ref() for ref in watched] == [None]
