"""A parameter as other frameworks write it is refused, and the message shows how Nardis does."""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis import Nardis, Router, get, main
from nardis._paths.dialects import parameter_at, translated
from nardis._paths.pattern import compile_pattern
from nardis._paths.segments import split_path
from nardis.errors import PatternError
from nardis.routing import Get
from nardis.testing import Client

VECTORS = Path(__file__).parents[1] / "vectors"

THEIRS = [
    # Starlette, FastAPI, aiohttp, Litestar, Falcon, Go
    ("/users/{id}", "/users/:id"),
    ("/users/{user_id}/posts/{post_id}", "/users/:user_id/posts/:post_id"),
    ("/users/{id:int}", "/users/:id"),
    ("/files/{path:path}", "/files/*path"),
    ("/{rest:path}", "/*rest"),
    ("/{id}/", "/:id/"),
    ("{id}", ":id"),
    ("/{größe}", "/:größe"),
    (r"/{id:\d+}", "/:id"),
    (r"/{year:\d{4}}/{month:[0-9]{1,2}}", "/:year/:month"),
    ("/{tail:.*}", "/*tail"),
    ("/{id:int(min=1)}/x", "/:id/x"),
    ("/files/{rest...}", "/files/*rest"),
    ("/users/{id}{/:view}", "/users/:id{/:view}"),
    ("/users{/{id}}", "/users{/:id}"),
    ("/{id}/a:b", "/:id/a:b"),
    # Flask, Quart, Django, Bottle, Sanic
    ("/x/<id>", "/x/:id"),
    ("/x/<int:id>", "/x/:id"),
    ("/x/<path:rest>", "/x/*rest"),
    ("/x/<path:path>", "/x/*path"),
    ("articles/<int:year>/<slug:title>/", "articles/:year/:title/"),
    ("/<uuid:uuid>", "/:uuid"),
    ("/<str:slug>", "/:slug"),
    ("/<id>.json", "/:id.json"),
    ("/<string(length=2):lang>", "/:lang"),
    ("/<any(a, b):kind>", "/:kind"),
    ('/<regex("[a-c]{2}"):code>', "/:code"),
    ("/<id:int>", "/:id"),
    ("/<rest:path>", "/*rest"),
    ("/<name:re:[a-z]+>", "/:name"),
    ("/<rest:re:.*>", "/*rest"),
    ("/<year:int>-<month:int>", "/:year-:month"),
    # Next.js, SvelteKit
    ("/users/[id]", "/users/:id"),
    ("/docs/[...path]", "/docs/*path"),
    ("/docs/[[...path]]", "/docs{/*path}"),
    ("/[[lang]]/about", "{/:lang}/about"),
    # Express 4, Sinatra
    ("/users/:id?", "/users{/:id}"),
    ("/:lang?/about", "{/:lang}/about"),
    (r"/users/:id(\d+)", "/users/:id"),
    ("/files/:path(.*)", "/files/*path"),
    ("/files/:path*", "/files/*path"),
    ("/files/:path+", "/files/*path"),
    ("*", "*rest"),
    ("/files/*", "/files/*rest"),
    ("/files/(.*)", "/files/*rest"),
    ("/say/*/to/*", "/say/*rest/to/*rest2"),
    ("/users/?", "/users"),
    # Rails
    ("/photos/:id(.:format)", "/photos/:id{.:format}"),
    ("(/:locale)/books", "{/:locale}/books"),
    # Regular expressions: Django's re_path, and Nardis 0.0.7
    (r"^/hello/(?P<name>\w+)/?$", "/hello/:name"),
    (r"^articles/(?P<year>[0-9]{4})/$", "articles/:year/"),
    (r"/files/(?P<path>.*)", "/files/*path"),
    ("^/about$", "/about"),
    ("^/?$", "/"),
]


@pytest.mark.parametrize(("theirs", "ours"), THEIRS)
def test_a_pattern_of_another_framework_is_an_error_that_shows_ours(theirs: str, ours: str) -> None:
    """It is the whole pattern, ready to be pasted."""
    with pytest.raises(PatternError) as caught:
        compile_pattern(theirs)

    assert repr(theirs) in str(caught.value)
    assert str(caught.value).endswith(f"In Nardis this pattern is `{ours}`")
    compile_pattern(ours)


@pytest.mark.parametrize(
    ("source", "advice"),
    [
        (
            "/users/{id}",
            "`{id}` at index 7 is how others write a parameter: "
            "write `:id`, or `{/id}` for an optional segment",
        ),
        (
            "/x/<int:id>",
            "`<int:id>` at index 3 is how others write a parameter: "
            r"write `:id`, or `\<` for the character",
        ),
        ("/{id}/{id}", "write `:id`"),
        ("/*rest/*", "write `*rest`"),
    ],
)
def test_the_message_names_the_place_and_both_meanings(source: str, advice: str) -> None:
    """Also where the pattern as a whole would still be wrong."""
    with pytest.raises(PatternError) as caught:
        compile_pattern(source)

    assert advice in str(caught.value)
    assert ("In Nardis" in str(caught.value)) == (source in {"/users/{id}", "/x/<int:id>"})


@pytest.mark.parametrize(
    ("source", "path", "params"),
    [
        ("/users{/:id}", "/users/7", {"id": "7"}),
        ("/users{/id}", "/users/id", {}),
        ("{/id}", "/id", {}),
        ("{id/}x", "/id/x", {}),
        ("/file{.:ext}", "/file.gz", {"ext": "gz"}),
        ("/colo{u}r", "/color", {}),
        ("/a{b}", "/ab", {}),
        ("/a{b}c", "/abc", {}),
        ("/{a}b", "/ab", {}),
        ("/{a}{b}", "/ab", {}),
        ("/{:a}", "/x", {"a": "x"}),
        ("/{*a}", "/x/y", {"a": ["x", "y"]}),
        ("/{a-}:b", "/a-x", {"b": "x"}),
        ("/{v1.0}", "/v1.0", {}),
        ("/{v:major.:minor}", "/v1.2", {"major": "1", "minor": "2"}),
        ('/{v:"x"}', "/v1", {"x": "1"}),
        ("/v{id:int}", "/vid1", {"int": "1"}),
        ("/{}", "/", {}),
        (r"/\{id\}", "/{id}", {}),
        (r"/\<id\>", "/%3Cid%3E", {}),
        ('/:"{id}"', "/x", {"{id}": "x"}),
        ('/:"a b"', "/x", {"a b": "x"}),
        ('/:"/{id}"', "/x", {"/{id}": "x"}),
        ('/:"<id>"', "/x", {"<id>": "x"}),
        (r"/\[id\]", "/[id]", {}),
    ],
)
def test_an_optional_group_of_express_stays_one(source: str, path: str, params: Any) -> None:
    """A group is refused only if it is a whole segment, and holds a name, perhaps with a type."""
    assert compile_pattern(source).match(split_path(path.encode())) == params


def patterns_of_express() -> Iterator[str]:
    """All that path-to-regexp and Express took."""
    for row in json.loads((VECTORS / "path_vectors.json").read_text())["vectors"]:
        if "error" not in row["result"]:
            yield from [row["pattern"]] if isinstance(row["pattern"], str) else row["pattern"]


@pytest.mark.parametrize("source", sorted(set(patterns_of_express())))
def test_no_pattern_that_express_takes_is_foreign(source: str) -> None:
    """The line runs past all of them."""
    assert [found for at in range(len(source)) if (found := parameter_at(source, at))] == []


names = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True).filter(
    lambda name: not keyword.iskeyword(name)
)
wholes = st.sampled_from(
    [
        "{%s}",
        "{%s:int}",
        "{%s:str}",
        "{%s:uuid}",
        r"{%s:\d+}",
        "<%s>",
        "<int:%s>",
        "[%s]",
        r"(?P<%s>\w+)",
    ]
)
wilds = st.sampled_from(["{%s:path}", "{%s...}", "{%s:.*}", "<path:%s>", "[...%s]", "(?P<%s>.+)"])
captures = st.tuples(wholes, st.just(":%s")) | st.tuples(wilds, st.just("*%s"))


@given(
    st.lists(
        st.tuples(captures | st.just(("%s", "%s")), names),
        min_size=1,
        max_size=6,
        unique_by=lambda pair: pair[1],
    )
)
def test_every_mix_of_dialects_is_translated(parts: list[tuple[tuple[str, str], str]]) -> None:
    """Segment by segment; what was a plain text stays one."""
    theirs, ours = (
        "".join(f"/{written[side] % name}" for written, name in parts) for side in (0, 1)
    )

    if theirs == ours:
        compile_pattern(theirs)
    else:
        with pytest.raises(PatternError, match=re.escape(f"In Nardis this pattern is `{ours}`")):
            compile_pattern(theirs)


@given(st.text('/ab:*{}\\"()?<>[].^$+1', max_size=16))
def test_any_text_can_be_translated(source: str) -> None:
    """It comes from a pattern that is refused already, and must not fail in a way of its own."""
    assert isinstance(translated(source), str)


async def handler(req: Any, res: Any) -> None:
    """Never called."""


async def middleware(req: Any, res: Any, next: Any) -> None:
    """Never called."""


@pytest.mark.parametrize(
    "register",
    [
        lambda app: app.get("/users/{id}", handler),
        lambda app: app.get(["/users", "/users/{id}"], handler),
        lambda app: app.get("/users/{id}"),
        lambda app: app.all("/users/{id}", handler),
        lambda app: app.route("/users/{id}").get(handler),
        lambda app: app.use("/users/{id}", middleware),
        lambda app: app.use(["/users", "/users/{id}"], Router()),
        lambda app: app.mount("/users/{id}", Nardis()),
        lambda app: app.mount(["/users", "/users/{id}"], Nardis()),
        lambda app: main([get("/users/{id}", handler)]),
        lambda app: main([Get("/users/{id}", handler, None)]),
    ],
)
def test_every_way_to_register_refuses_it(register: Any) -> None:
    """At the line that is wrong, not when a request comes."""
    with pytest.raises(PatternError, match="In Nardis this pattern is `/users/:id`"):
        register(Nardis())


@pytest.mark.anyio
async def test_a_regular_expression_of_0_0_7_stays_as_it_is() -> None:
    """There `<` and `^` are part of the syntax."""

    async def hello(req: Any, res: Any) -> None:
        await res.send(req.params["name"])

    async with Client(main([Get(r"^/hello/(?P<name>\w+)/?$", hello)])) as client:
        assert (await client.get("/hello/ada/")).text == "ada"
