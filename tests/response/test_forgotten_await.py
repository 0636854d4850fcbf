"""A verb without `await` is a loud 500 that names verb and handler, and never an empty 200."""

import inspect
from collections.abc import Coroutine
from typing import get_origin, get_type_hints

import anyio
import pytest

from nardis import Nardis, Response
from nardis.errors import ForgottenAwait, ResponseAlreadyEnded
from nardis.testing import Client
from tests.peers.driver import Gate, Server, rest

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


@pytest.mark.parametrize("verb", ["write", "flush", "pipe", "ndjson"])
@pytest.mark.parametrize("last", ["write", "end", "pipe", None])
async def test_one_in_the_middle_cuts_the_response(failure, seen_by_client, verb, last):
    """What follows it is awaited; without its piece the body would look whole, and lack it."""

    async def handler(req, res):
        await res.write("a")
        call(res, verb)
        await res.write("c")
        if last is not None:
            await call(res, last)

    error = await failure(handler)
    assert isinstance(error, ForgottenAwait)
    assert f"res.{verb}(...)" in str(error)
    response = await seen_by_client(handler)
    assert (response.status_code, response.complete) == (200, False)


@pytest.mark.parametrize("last", ["send", "json", "end", "redirect", "send_file"])
async def test_one_before_a_whole_answer_is_a_500(seen_by_client, last):
    async def handler(req, res):
        res.write("a")
        await call(res, last)

    response = await seen_by_client(handler)

    assert (response.status_code, response.complete) == (500, True)


async def test_one_of_several_is_named(failure):
    async def handler(req, res):
        await res.write("a")
        kept = [res.write("b"), res.flush(), res.write("c")]
        await kept[0]
        await kept[2]

    assert "res.flush(" in str(await failure(handler))


@pytest.mark.parametrize("later", [0, 1], ids=["last", "in the middle"])
async def test_the_last_of_several_is_found(failure, later):
    """A write that begins takes itself out, and no other that was called meanwhile."""

    async def handler(req, res):
        await res.write("a")
        first, _lost = res.write("b"), res.write("c")
        await first
        for _ in range(later):
            await res.write("d")

    assert "res.write(" in str(await failure(handler))


async def test_one_beside_what_others_write_is_found(failure):
    """The pieces of a source are no verbs."""

    async def handler(req, res):
        async def source():
            yield "a"
            res.write("lost")
            yield "b"
            yield "c"

        await res.pipe(source())

    assert "res.write(" in str(await failure(handler))


async def test_verbs_that_are_called_before_any_is_awaited_are_fine(serve):
    async def handler(req, res):
        for _ in range(2):
            verbs = [res.write("a"), res.write("b"), res.write("c")]
            for verb in verbs:
                await verb
        first, last = res.write("d"), res.end("e")
        await first
        await last

    response = await serve(handler)

    assert (response.text, response.complete) == ("abcabcde", True)


async def test_verbs_that_were_awaited_after_all_are_not_kept(serve):
    kept = []

    async def handler(req, res):
        for verb in [res.write("a"), res.write("b")]:
            await verb
        for _ in range(10):
            await res.flush()
            kept.append(len(res.earlier or ()))

    await serve(handler)

    assert max(kept) <= 1


async def test_one_that_another_task_goes_on_with_is_fine():
    """The handler returns while its response is still fed, which ends it."""
    app, fed, over, told = Nardis(), anyio.Event(), anyio.Event(), anyio.Event()

    async def pieces():
        yield b"fed"
        fed.set()
        await over.wait()

    async def feeds(res):
        with pytest.raises(ResponseAlreadyEnded):
            await res.pipe(pieces())
        told.set()

    @app.get("/")
    async def handler(req, res):
        app.tasks.start_soon(feeds, res)
        await fed.wait()

    async with Client(app) as client:
        answer = await client.get("/")
        over.set()
        await told.wait()

    assert (answer.content, answer.complete) == (b"fed", True)


async def test_verbs_beside_one_that_another_task_awaits_are_fine():
    app, gate = Nardis(), Gate()

    @app.get("/")
    async def handler(req, res):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(res.write, "a")
            await rest()
            await res.write("b")
            await res.flush()

    async with Server(app) as server:
        call = server.call("/", on_send=gate)
        await gate.reached()
        gate.open()
        await call.wait()

    assert (call.body, call.final) == (b"ab", True)


async def test_it_is_found_in_a_middleware_that_streams(failure, seen_by_client):
    app = Nardis()

    @app.use
    async def banner(req, res, next):
        await res.write("a")
        res.write("lost")
        await next()

    async def handler(req, res):
        await res.write("b")

    assert isinstance(await failure(handler, app=app), ForgottenAwait)


@pytest.mark.parametrize("verb", ["write", "flush"])
async def test_an_endless_loop_hears_of_it(verb):
    """It has no end that could look."""
    app, rounds = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        await res.write("a")
        while True:
            rounds.append(None)
            call(res, verb)
            await turn()

    async def turn():
        server.now += 0.5
        await anyio.lowlevel.checkpoint()

    async with Server(app) as server:
        seen = await server.finished("/")

    assert seen.aborted
    assert isinstance(seen.error, ForgottenAwait)
    assert len(rounds) < 10


async def test_a_clock_hears_of_it():
    app, rounds = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        async with res.sse() as events:
            while True:
                rounds.append(None)
                events.send("tick", id="1" if len(rounds) % 2 else None)
                server.now += 1
                await anyio.lowlevel.checkpoint()

    async with Server(app) as server:
        seen = await server.finished("/")

    assert seen.aborted
    assert "await events.send(...)" in str(seen.error)
    assert len(rounds) < 10


@pytest.mark.parametrize("awaited", [False, True], ids=["last", "in the middle"])
async def test_a_forgotten_event_cuts_the_stream(seen_by_client, awaited):
    async def handler(req, res):
        async with res.sse() as events:
            await events.send("a")
            events.send("b")
            if awaited:
                await events.send("c")

    response = await seen_by_client(handler)

    assert (response.status_code, response.complete) == (200, False)
