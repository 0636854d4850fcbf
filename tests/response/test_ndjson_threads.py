"""`res.ndjson()` of a generator: its items of a millisecond go out as one piece, and none waits."""

import json
import logging
import threading

import anyio
import pytest

from nardis import Nardis
from nardis._sources import stepper
from tests.peers.driver import Gate, Server, rest

pytestmark = pytest.mark.anyio

WAIT_S = 20.0


def streaming(items, verb="ndjson"):
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        await getattr(res, verb)(items)

    return app


def numbers(body):
    return [json.loads(line) for line in body.splitlines()]


class Blocking:
    """A generator of three items that waits before the second one."""

    def __init__(self):
        self.go = threading.Event()
        self.closed = False

    def __iter__(self):
        try:
            yield 0
            assert self.go.wait(WAIT_S)
            yield 1
            yield 2
        finally:
            self.closed = True


async def test_items_that_are_quick_share_a_piece():
    call = None
    async with Server(streaming(range_of(20_000))) as server:
        call = await server.finished("/")

    assert numbers(call.body) == list(range(20_000))
    assert len(call.chunks) < 2_000


def range_of(count):
    yield from range(count)


async def test_a_piece_is_bounded():
    rows = ("x" * 10_000 for _ in range(100))
    async with Server(streaming(rows, "json_array")) as server:
        call = await server.finished("/")

    assert json.loads(call.body) == ["x" * 10_000] * 100
    assert max(map(len, call.chunks)) <= 64 * 1024


async def test_an_item_does_not_wait_for_the_next_one():
    """Whoever follows a log sees a line when it is there."""
    items, gate = Blocking(), Gate()
    async with Server(streaming(items)) as server:
        call = server.call("/", on_send=gate)
        await gate.let(2)  # the head, and the first item
        assert call.body == b"0\n"
        gate.open()
        items.go.set()
        await call.wait()

    assert (call.body, items.closed) == (b"0\n1\n2\n", True)


async def test_a_client_that_leaves_while_a_step_goes_on_is_waited_for():
    """The step cannot be cut; its end closes the generator in its thread."""
    items, gate = Blocking(), Gate()
    async with Server(streaming(items)) as server:
        call = server.call("/", on_send=gate)
        await gate.let(2)
        gate.open()
        await server.lose(call)
        assert not call.ended.is_set()
        items.go.set()
        await call.wait()

    assert (call.body, call.final, items.closed) == (b"0\n", False, True)
    assert stepper.steps_in_flight() == 0


async def test_a_client_that_leaves_in_a_write_behind_a_slow_step_is_waited_for():
    items, gate = Blocking(), Gate()
    async with Server(streaming(items)) as server:
        call = server.call("/", on_send=gate)
        await gate.let(1)
        await gate.reached()  # the first item, while the thread waits for the second
        await server.lose(call)
        items.go.set()
        await call.wait()

    assert (items.closed, call.final) == (True, False)


@pytest.mark.parametrize("verb", ["ndjson", "json_array"])
async def test_items_before_an_error_come_before_it(verb):
    def failing():
        yield 1
        yield 2
        raise ValueError("source")

    async with Server(streaming(failing(), verb)) as server:
        call = await server.finished("/")

    assert call.body in (b"1\n2\n", b"[1,2")
    assert call.aborted
    assert str(call.error) == "source"


async def test_an_item_that_is_no_json_fails_behind_those_before_it():
    async with Server(streaming(n for n in (1, 2, float("nan"), 3))) as server:
        call = await server.finished("/")

    assert (call.body, call.aborted) == (b"1\n2\n", True)


async def test_a_first_item_that_is_no_json_is_an_error():
    async with Server(streaming(n for n in (float("nan"), 1))) as server:
        call = await server.finished("/")

    assert call.status == 500


async def test_an_error_of_a_step_that_nobody_waits_for_is_logged(caplog):
    fails = threading.Event()

    def failing():
        yield 1
        assert fails.wait(WAIT_S)
        raise ValueError("late")

    gate = Gate()
    async with Server(streaming(failing())) as server:
        call = server.call("/", on_send=gate)
        await gate.let(2)
        gate.open()
        await server.lose(call)
        fails.set()
        await call.wait()
        await rest()

    logged = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert [str(each.exc_info[1]) for each in logged] == ["late"]


async def test_an_endless_generator_is_asked_for_no_more_than_is_taken():
    given = []

    def endless():
        while True:
            given.append(None)
            yield "x" * 1_000

    gate = Gate()
    async with Server(streaming(endless())) as server:
        call = server.call("/", on_send=gate)
        await gate.let(3)
        await gate.reached()
        await rest()
        assert len(given) <= 3 * 66
        gate.open()
        await server.lose(call)
        await call.wait()


async def test_other_tasks_have_their_turns_beside_a_quick_generator():
    turns = 0

    async with Server(streaming(range_of(50_000))) as server:
        call = server.call("/")
        with anyio.fail_after(WAIT_S * 4):
            while not call.ended.is_set():
                await anyio.lowlevel.checkpoint()
                turns += 1

    assert turns > 20
