"""The page about Express names every member of Express 5, and of Nardis only what there is."""

from __future__ import annotations

import ast
import builtins
import re
from dataclasses import fields
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import nardis
from nardis import Limits, Nardis, Request, Response, Router, WebSocket, middleware
from nardis._http.cache_control import Directives
from nardis.datastructures import Cookies, Headers, MutableHeaders, Query
from nardis.draining import Draining
from nardis.routing.layer import Route, RouteOptions, WebSocketOptions
from nardis.routing.router import RouterRoute
from nardis.tasks import Tasks

PAGE = Path(__file__).parents[2] / "docs" / "express.md"

# The members of Express 5.3.0, and those of Node's request and response that its users know.
EXPRESS = {
    "express": "Route Router application json raw request response static text urlencoded",
    "app": "METHOD all delete disable disabled enable enabled engine get head listen locals "
    "mountpath on options param parent patch path post put render route router set use",
    "router": "METHOD all listRoutes param route use",
    "req": "aborted accepts acceptsCharsets acceptsEncodings acceptsLanguages app baseUrl body "
    "cookies fresh get header headers host hostname httpVersion ip ips is method next on "
    "originalUrl params path protocol query range rawHeaders res route secure signal "
    "signedCookies socket stale subdomains trailers url xhr",
    "res": "addTrailers app append attachment clearCookie contentType cookie destroy destroyed "
    "download end flushHeaders format get hasHeader header headersSent json jsonp links locals "
    "location on redirect removeHeader render req send sendFile sendStatus set status statusCode "
    "type vary writableEnded write writeContinue writeEarlyHints writeHead writeProcessing",
}
MEMBERS = [f"{owner}.{name}" for owner, names in EXPRESS.items() for name in names.split()]
SETTINGS = [
    "case sensitive routing",
    "env",
    "etag",
    "json escape",
    "json replacer",
    "json spaces",
    "jsonp callback name",
    "query parser",
    "strict routing",
    "subdomain offset",
    "trust proxy",
    "view cache",
    "view engine",
    "views",
    "x-powered-by",
]

# The section whose names must not exist yet.
PLANNED = "Not there yet"

# Our objects, by the names that they have on the page; then what their members are.
ROOTS: dict[str, object] = {
    "app": Nardis(),
    "nardis": nardis,
    "req": Request,
    "res": Response,
    "router": Router(),
    "ws": WebSocket,
}
KINDS: dict[str, object] = {
    "app.draining": Draining,
    "app.tasks": Tasks,
    "req.app": Nardis(),
    "req.cookies": Cookies,
    "req.headers": Headers,
    "req.query": Query,
    "req.route": Route,
    "res.headers": MutableHeaders,
    "res.req": Request,
    "res.req.app": Nardis(),
}
# The objects that chains go on with, by the call that begins them.
CHAINS: dict[str, object] = {"app.route()": RouterRoute, "res.status()": Response}
# What an application or a handler keeps there is the reader's.
OPEN = {"app.state", "req.app.state", "req.state"}
# Methods with more keywords than their signature spells out; None: the reader's.
VERBS = ("get", "post", "put", "patch", "delete", "head", "options", "all", "method")
MORE_KEYWORDS: dict[str, set[str] | None] = {
    "app.url_for": None,
    "req.url_for": None,
    "app.websocket": {*WebSocketOptions.__annotations__},
    "res.cache": {*Directives.__annotations__},
    **{f"app.{verb}": {*RouteOptions.__annotations__} for verb in VERBS},
}

SPAN = re.compile(r"`([^`\n]+)`")
FIRST_CELL = re.compile(r"^\|.*?(?<!\\)\|")
MEMBER = re.compile(r"\b(app|express|re[qs]|router)\.(\w+)")
OURS = re.compile(r"\b(?:app|nardis|re[qs]|router)\.\w|\b(?:Limits|Nardis|Router)\(")


class Span(NamedTuple):
    """A span of code, the line that it stands on, and the heading above it."""

    line: int
    heading: str
    text: str


def spans(page: str) -> tuple[list[Span], list[Span]]:
    """Return what a page says of Express, in the first cells of its rows, and what of Nardis."""
    foreign: list[Span] = []
    ours: list[Span] = []
    heading = ""
    for number, line in enumerate(page.splitlines(), 1):
        if line.startswith("#"):
            heading = line.lstrip("# ")
        first = FIRST_CELL.match(line)
        end = first.end() if first else 0
        foreign += [Span(number, heading, text) for text in SPAN.findall(line[:end]) if first]
        ours += [Span(number, heading, text) for text in SPAN.findall(line[end:])]
    return foreign, ours


def dotted(node: ast.expr) -> str:
    """Return the name of an expression, with `()` for a call; empty for what has none."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return f"{dotted(node.func)}()" if isinstance(node, ast.Call) else ""


def holder(name: str) -> object:
    """Return what has the members of *name*; None if nothing is known of it."""
    chained = (kind for start, kind in CHAINS.items() if name.startswith(start))
    return ROOTS.get(name) or KINDS.get(name) or next(chained, None)


def unknown(text: str) -> list[str]:
    """Return the names in a span that Nardis does not have."""
    code = text.removeprefix("@")
    try:
        tree = ast.parse(f"{code}: ..." if code.startswith("async for ") else code)
    except SyntaxError:  # a path, a command, a parameter list; but what names ours is Python
        return [text] if OURS.search(text) else []
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            found += unknown_member(dotted(node.value), node.attr)
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Name):
            found += unknown_global(node.exc.id)
        elif isinstance(node, ast.Call):
            found += unknown_global(node.func.id) if isinstance(node.func, ast.Name) else []
            found += unknown_keywords(node)
    return found


def unknown_global(name: str) -> list[str]:
    """Return a name that neither Nardis nor Python has; `err` and `next` are parameters."""
    ours = (*nardis.__all__, *middleware.__all__)
    known = name in (*ours, "err", "next") or hasattr(builtins, name)
    return [] if known else [name]


def unknown_member(owner: str, name: str) -> list[str]:
    """Return a member that *owner* does not have, if that is one of our objects."""
    if owner in OPEN or owner.partition(".")[0] not in ROOTS:
        return []
    kind = holder(owner)
    public = not name.startswith("_")
    known = kind is not None and public and hasattr(kind, name)
    return [] if known else [f"{owner}.{name}"]


def unknown_keywords(node: ast.Call) -> list[str]:
    """Return the keywords of a call that its function does not take."""
    name = dotted(node.func)
    owner, _, attribute = name.rpartition(".")
    home = nardis if attribute in nardis.__all__ else middleware
    function: Any = getattr(holder(owner) if owner else home, attribute, None)
    more = MORE_KEYWORDS.get(name, set())
    if function is None or more is None:
        return []  # not ours, or reported as a member
    known = {*signature(function).parameters, *more} if node.keywords else more
    return [f"{name}({each.arg}=)" for each in node.keywords if each.arg not in known]


def faults(page: str) -> list[str]:
    """
    Return each name on the page that does not exist, behind the number of its line.

    What is planned is the other way round: it must not exist yet.
    """
    found: list[str] = []
    for line, heading, text in spans(page)[1]:
        names = unknown(text)
        if heading == PLANNED:
            found += [] if names else [f"{line}: {text} is there"]
        else:
            found += [f"{line}: {name}" for name in names]
    return found


def named(page: str) -> set[str]:
    """Return the members and the settings of Express that have a row."""
    texts = [span.text for span in spans(page)[0]]
    members = {f"{owner}.{name}" for text in texts for owner, name in MEMBER.findall(text)}
    return members | {text.strip('"') for text in texts if text.startswith('"')}


def test_each_member_of_express_has_a_row() -> None:
    assert [name for name in (*MEMBERS, *SETTINGS) if name not in named(PAGE.read_text())] == []


def test_each_name_of_nardis_exists() -> None:
    assert faults(PAGE.read_text()) == []


def test_each_limit_that_is_named_exists() -> None:
    """A keyword of `Limits` is a field of it; the signature is where the check looks."""
    assert {*signature(Limits).parameters} == {each.name for each in fields(Limits)}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("req.accepts('json')", []),
        ("await res.sendFile(path)", ["res.sendFile"]),
        ("async for chunk in req.chunks()", ["req.chunks"]),
        ("@app.on_mount", ["app.on_mount"]),
        ("app.state.pool", []),
        ("app.get('/', page, name='home')", []),
        ("app.get('/', page, title='home')", ["app.get(title=)"]),
        ("app.url_for('user', id=7)", []),
        ("app.route(path).get(show).fetch(it)", ["app.route().get().fetch"]),
        ("res.status(201).header('x-a', '1')", ["res.status().header"]),
        ("res.cookie(name, value, maxAge=1)", ["res.cookie(maxAge=)"]),
        ("res.cache(public=True, maxAge=1)", ["res.cache(maxAge=)"]),
        ("req.query.getlist('a')", ["req.query.getlist"]),
        ("req.ip.upper()", ["req.ip.upper"]),  # nothing is known of it
        ("res._fields", ["res._fields"]),
        ("Router(mergeParams=True)", ["Router(mergeParams=)"]),
        ("Nardis(limits=Limits(body=1))", ["Limits(body=)"]),
        ("Express()", ["Express"]),
        ("raise SkipRouter", ["SkipRouter"]),
        ("raise SkipRoute", []),
        ("await next()", []),
        ("other.name(x=1)", []),
        ("nardis.statics", ["nardis.statics"]),
        ("res.json({ a })()(", ["res.json({ a })()("]),
        ("async (err, req, res)", []),
        ("%5C", []),
    ],
)
def test_a_wrong_name_is_found(text: str, names: list[str]) -> None:
    assert sorted(unknown(text)) == names


def test_a_fault_is_reported_with_its_line() -> None:
    """The first cell of a row is Express's, and what is planned must not be there yet."""
    page = (
        "Prose with `res.sent`.\n"
        "| Express 5 | Nardis |\n"
        "| `res.sent` | `res.send`, `res.sent` |\n"
        f"## {PLANNED}\n"
        "| `res.sent` | `res.sent` |\n"
        "| `res.send` | `res.send` |\n"
    )

    assert faults(page) == ["1: res.sent", "3: res.sent", "6: res.send is there"]


def test_a_member_without_a_row_is_found() -> None:
    """Prose, and the column of Nardis, are no row of it."""
    page = '`app.all`\n| `req.get(name)`, `"env"` | `res.send` |\n'

    assert named(page) == {"req.get", "env"}
