"""
Run a scenario, and make trouble at one point of it.

A point is one yield of the application's coroutine to the event loop: each place where a
cancellation can land, or where the rest of the world can change. A run with trouble at the n-th
point is repeated for n = 1, 2, … until the scenario is through before it.
"""

from __future__ import annotations

import gc
import sys
import types
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from nardis._exchange.sweeper import TICK_S, sweep
from tests.peers.driver import Call, Server

from .scenarios import Scenario, World

MOST_POINTS = 200


@types.coroutine
def troubled(
    coro: Coroutine[Any, Any, None], at: int, trouble: Callable[[], None]
) -> Generator[Any, Any, int]:
    """Run *coro*, make *trouble* at its yield number *at*, and give the number of its yields."""
    points = 0
    step: Callable[[Any], Any] = coro.send
    value: Any = None
    while True:
        try:
            trap = step(value)
        except StopIteration:
            return points
        points += 1
        if points == at:
            trouble()
        try:
            step, value = coro.send, (yield trap)
        except BaseException as exc:
            step, value = coro.throw, exc


class TroubledCall(Call):
    """A call whose `receive` always yields, and which counts all points of the application."""

    at = 0
    points = 0
    trouble: Callable[[], None] | None = None

    async def receive(self) -> dict[str, Any]:
        await checkpoint()
        return await super().receive()

    async def run(self) -> None:
        self.inner, self.app = self.app, self.counted
        await super().run()

    async def counted(self, scope: Any, receive: Any, send: Any) -> None:
        assert self.trouble is not None
        self.points = await troubled(self.inner(scope, receive, send), self.at, self.trouble)


class TroubledServer(Server):
    """A server of such calls."""

    call_type = TroubledCall


async def pause(message: dict[str, Any]) -> None:
    """Make each `send` a point."""
    await checkpoint()


async def run(
    scenario: Scenario,
    world: World,
    at: int,
    kind: str,
    *,
    watched: bool = False,
    before: int | None = None,
) -> Call:
    """
    Run *scenario* with trouble of a *kind* at point *at*, and check that nothing is left over.

    With *watched* the exchange gets its watcher at the first point; *before* is the number of the
    request message that the client leaves before.
    """
    app = scenario.build(world)
    tasks = set(anyio.get_running_tasks())
    async with TroubledServer(app, sweeping=scenario.lifespan) as server:

        def look() -> None:
            """
            Let the sweeper look; time passes only while a scenario waits for it, and once for the
            watcher.
            """
            if server.now == began or (scenario.waits and world.open):
                server.now += TICK_S + 0.01
            sweep(app.life.sweeper.exchanges if scenario.lifespan else (), server.now)

        began = server.now

        def trouble() -> None:
            if kind == "cancel":
                call.cancel_scope.cancel()
            elif kind == "disconnect":
                call.inbox.clear()
                call.disconnect()
            else:
                for exchange in tuple(app.life.sweeper.exchanges):
                    exchange.interrupt("deadline")

        messages = (
            scenario.messages
            if before is None
            else [*scenario.messages[:before], {"type": "http.disconnect"}]
        )
        call = server.call(
            "/", *messages, method=scenario.method, headers=scenario.headers, on_send=pause
        )
        call.at, call.trouble = at, trouble
        with anyio.fail_after(20):
            while not call.ended.is_set():
                await checkpoint()
                if scenario.waits or watched:
                    look()
        for _ in range(5):
            await checkpoint()
        left = [task.name for task in set(anyio.get_running_tasks()) - tasks]
        assert left == [], f"tasks left: {left}"
        assert not scenario.lifespan or not app.life.sweeper.exchanges
    check(scenario, world, call, kind if before is None else "disconnect")
    return call


def check(scenario: Scenario, world: World, call: Call, kind: str) -> None:
    """
    A response is one of the whole ones, or the client can tell that it is not; and everything was
    closed.
    """
    answers = [*scenario.answers, *([(503, None)] if kind == "deadline" else [])]
    if call.final:
        assert any(
            call.status == status and body in (None, call.body) for status, body in answers
        ), (call.status, call.body)
    elif kind != "cancel":
        # Nobody else ended the application: it had a reason, and a server that is still there hears
        # of a cut as an exception.
        gone = any(message["type"] == "http.disconnect" for message in call.received)
        assert gone or call.error is not None, "the response was cut, and the server does not know"
    else:
        assert call.error is not None
        assert not isinstance(call.error, Exception)
    whole = scenario.answers[0][1]
    assert call.status != scenario.answers[0][0] or whole.startswith(call.body), (
        "bytes out of order"
    )
    assert world.leaks() == []


@contextmanager
def no_warnings() -> Iterator[None]:
    """
    Warnings are errors; those of finalizers end up here, un-awaited coroutines and forgotten
    generators among them.
    """
    found: list[Any] = []
    hook, sys.unraisablehook = sys.unraisablehook, found.append
    try:
        yield
        gc.collect()
    finally:
        sys.unraisablehook = hook
    assert [repr(each.exc_value) for each in found] == []
