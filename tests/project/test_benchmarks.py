"""The benchmarks cannot rot: their driver gets right answers, and refuses wrong ones."""

from __future__ import annotations

import pytest

from benchmarks import apps, driver, ratchet, rounds, served
from benchmarks.cases import BY_NAME, CASES

# 5,000 routes are as many as 500, but for the time that it takes to make them.
FAST = [case for case in CASES if case.routes <= 500]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("name", ["raw", "nardis", "nardis-kept"])
def test_each_case_is_answered_rightly(name, backend):
    """What is measured does what it is said to do, on both event loops."""
    right = []

    async def main(loop):
        for case in FAST:
            served = await driver.Served.begin(
                apps.BY_NAME[name].make(case.routes, case.middlewares), loop
            )
            await served.check(case)
            served.life.end()
            right.append(case)

    driver.run(backend, main)

    assert right == FAST


def test_a_batch_takes_cpu_time():
    """A worker makes as many requests as it is asked for, and says what they took."""

    async def main(loop):
        served = await driver.Served.begin(apps.BY_NAME["raw"].make(0, 0), loop)
        assert await served.batch(BY_NAME["document"], 100) > 0
        assert served.lengths == {"document": len('{"count": 12}')}
        served.life.end()

    driver.run("asyncio", main)


def test_a_wrong_answer_is_no_fast_answer():
    """An application that always sends the same few bytes fails each other case."""
    refused = []

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            return await send({"type": "lifespan.startup.complete"})
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"Hello, world!"})

    async def main(loop):
        served = await driver.Served.begin(app, loop)
        await served.check(BY_NAME["static"])
        for name in ("missing", "writes1k", "upload", "middlewares"):
            with pytest.raises(driver.WrongAnswer, match=name):
                await served.batch(BY_NAME[name], 1)
            refused.append(name)

    driver.run("asyncio", main)

    assert refused == ["missing", "writes1k", "upload", "middlewares"]


def test_an_answer_that_changes_later_is_found():
    """Each answer of a batch is looked at, not only the first."""
    turns = iter([200, 200, 500])

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            return await send({"type": "lifespan.startup.complete"})
        await send({"type": "http.response.start", "status": next(turns), "headers": []})
        await send({"type": "http.response.body", "body": b"Hello, world!"})

    async def main(loop):
        served = await driver.Served.begin(app, loop)
        with pytest.raises(driver.WrongAnswer, match="1 of 2"):
            await served.batch(BY_NAME["static"], 2)

    driver.run("asyncio", main)


def test_an_application_that_does_not_start_is_not_waited_for():
    """A failed lifespan ends the benchmark with its reason."""

    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    async def main(loop):
        await driver.Served.begin(app, loop)

    with pytest.raises(ExceptionGroup) as caught:
        driver.run("trio", main)

    assert "no database" in str(caught.value.exceptions[0])


def test_the_columns_and_rows_have_names_of_their_own():
    """A name chosen by `--apps` or `--cases` means one thing."""
    assert len(apps.BY_NAME) == len(apps.ENTRIES)
    assert len(BY_NAME) == len(CASES)


@pytest.mark.parametrize(
    "server",
    [server for server in served.SERVERS if server.title.startswith("lean loop")],
    ids=lambda server: server.name,
)
def test_the_floor_under_servers_answers_rightly(server):
    """The lean loop does what the servers do that it is compared with."""
    with served.Running(server) as running:
        assert served.written("/chunks/64k", 2, running)[1] == 200
        assert served.written("/chunks/1k", 2, running)[1] == 2000
        assert served.uploaded(2**20, 2, running)[1] == 2**21


def test_a_server_that_sends_too_little_has_no_figure(monkeypatch):
    """All that should come is counted."""
    monkeypatch.setitem(served.STREAMS, "/hello", (1, b"Hello, world! And more."))

    with (
        served.Running(served.SERVERS[0]) as running,
        pytest.raises(rounds.Failed, match="uvicorn raw: 13 bytes"),
    ):
        served.written("/hello", 1, running)


def test_a_server_that_does_not_start_is_not_waited_for():
    """An application that cannot be imported ends the benchmark with the name of its server."""
    running = served.Running(served.SERVERS[0], app="no_such_")

    with pytest.raises(rounds.Failed, match="uvicorn raw: it does not start"):
        running.__enter__()


def test_a_row_that_has_grown_by_more_than_three_percent_is_named_and_so_is_a_new_one():
    before, now = {"a": 100.0, "b": 100.0, "gone": 1.0}, {"a": 103.0, "b": 103.2, "c": 1.0}

    assert ratchet.grown(before, now) == ["b: 100.0 k -> 103.2 k (+3.2 %)", "c: not noted (1.0 k)"]
