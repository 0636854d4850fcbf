"""A verb without `await` is a loud 500 that names verb and handler, and never an empty 200."""

import inspect
from collections.abc import Coroutine
from typing import get_origin, get_type_hints

import anyio
import pytest

from nardis import Nardis, Response
from nardis.errors import ForgottenAwait
from nardis.testing import Client

pytestmark = pytest.mark.anyio

# What a verb needs to be called with; the others need nothing.
ARGUMENTS = {
    "send": ["x"],
    "json": [{}],
    "send_status": [200],
    "redirect": ["/"],
    "redirect_back": ["/"],
    "format": [{}],
    "early_hints": [{}],
    "write": ["x"],
    "pipe": [[b"x"]],
    "ndjson": [[1]],
    "json_array": [[1]],
    "send_file": ["/nowhere"],
    "download": ["/nowhere"],
}


def is_verb(member):
    """Whether a method of the response returns something to await."""
    if not inspect.isfunction(member):
        return False
    returned = get_type_hints(member).get("return")
    return inspect.iscoroutinefunction(member) or get_origin(returned) is Coroutine


VERBS = [name for name, member in inspect.getmembers(Response, is_verb) if not name.startswith("_")]


def call(res, verb):
    return getattr(res, verb)(*ARGUMENTS.get(verb, []))


def test_the_verbs_are_found():
    assert {"send", "send_head", "abort"} < set(VERBS)
    assert {"status", "set", "filter", "reset"}.isdisjoint(VERBS)
    assert ARGUMENTS.keys() < set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
async def test_a_forgotten_verb_is_named(failure, seen_by_client, verb):
    async def handler(req, res):
        call(res, verb)

    error = await failure(handler)

    assert isinstance(error, ForgottenAwait)
    assert f"`await res.{verb}(...)`" in str(error)
    assert "handler()" in str(error)
    assert (await seen_by_client(handler)).status_code == 500


async def test_a_chained_verb_is_found_too(failure):
    async def handler(req, res):
        res.status(201).set("x-a", "1").json({})

    assert isinstance(await failure(handler), ForgottenAwait)


async def test_send_with_more_is_called_send(failure):
    async def handler(req, res):
        res.send("x", more=True)

    assert "res.send(" in str(await failure(handler))


@pytest.mark.parametrize("verb", ["write", "end", "flush", "pipe"])
async def test_after_the_head_it_cuts_the_response(failure, seen_by_client, verb):
    async def handler(req, res):
        await res.write("half")
        call(res, verb)

    assert isinstance(await failure(handler), ForgottenAwait)
    response = await seen_by_client(handler)
    assert (response.content, response.complete) == (b"half", False)


async def test_it_is_found_in_a_middleware():
    app = Nardis()

    @app.use
    async def refuse(req, res, next):
        res.status(403).send("no")

    async with Client(app, raise_app_errors=False) as client:
        assert (await client.get("/")).status_code == 500


async def test_it_is_found_in_an_error_handler(failure):
    app = Nardis()

    @app.error(KeyError)
    async def missing(err, req, res):
        res.send("missing")

    async def handler(req, res):
        raise KeyError("x")

    error = await failure(handler, app=app)

    assert isinstance(error, ForgottenAwait)
    assert "missing()" in str(error)


async def test_a_handler_that_raises_after_it_is_blamed_for_that(failure):
    """And the forgotten one warns nobody: it cannot run any more."""

    async def handler(req, res):
        res.send("x")
        raise KeyError("x")

    assert isinstance(await failure(handler), KeyError)


async def test_verbs_that_other_tasks_await_are_fine(serve):
    async def handler(req, res):
        async with anyio.create_task_group() as tg:
            tg.start_soon(res.write, "a")
            tg.start_soon(res.write, "b")

    assert sorted((await serve(handler)).text) == ["a", "b"]


async def test_a_verb_that_is_kept_and_awaited_later_is_fine(serve):
    async def handler(req, res):
        verb = res.send("x")
        await anyio.lowlevel.checkpoint()
        await verb

    assert (await serve(handler)).text == "x"
