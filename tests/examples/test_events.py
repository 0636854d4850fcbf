"""examples/events.py: a clock and jobs, for watchers who come and go, and in a browser."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from examples import events as example
from examples.events import Job, app
from nardis.events import Event
from nardis.testing import Client, NotAnEventStream
from tests.examples.chromium import needs_chromium, started
from tests.examples.conftest import ROOT
from tests.peers.client import eventually

TARGET = "tests/examples/watched_events.py:app"

Serve = Callable[..., Any]
StartCurl = Callable[..., Any]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    backend: str = request.param
    return backend


@pytest.fixture
async def client(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    """Jobs of three steps, which take no time."""
    monkeypatch.setattr(example, "STEPS", 3)
    monkeypatch.setattr(example, "STEP_S", 0)
    monkeypatch.setattr(example, "jobs", {})
    async with Client(app) as client:
        yield client


def step(number: int) -> Event:
    data = json.dumps({"step": number, "steps": 3}, separators=(",", ":"))
    return Event(data, "progress", str(number), 1.0)


DONE = Event('{"steps":3}', "done", "4", 1.0)


@pytest.mark.anyio
async def test_a_job_tells_each_watcher_all_of_it(client: Client) -> None:
    """Also one who comes late, and one who comes back for the rest."""
    answer = await client.post("/jobs")
    assert answer.status_code == 202
    for last, expected in [(None, [1, 2, 3]), ("2", [3]), ("3", []), ("x", [1, 2, 3])]:
        async with client.sse(answer.headers["location"], last_event_id=last) as events:
            assert [event async for event in events] == [*map(step, expected), DONE]
            assert events.response.complete


@pytest.mark.anyio
async def test_a_client_that_has_everything_is_told_not_to_come_back(client: Client) -> None:
    job = example.jobs["j"] = Job()
    job.say("done", None)
    for name, last, status in [("j", "1", 204), ("none", "", 404)]:
        with pytest.raises(NotAnEventStream) as caught:
            async with client.sse(f"/jobs/{name}/events", last_event_id=last):
                pass  # pragma: no cover
        assert caught.value.response.status_code == status


@pytest.mark.anyio
async def test_a_watcher_who_does_not_read_keeps_nobody_waiting(client: Client) -> None:
    job = example.jobs["j"] = Job()
    async with client.sse("/jobs/j/events") as slow, client.sse("/jobs/j/events") as quick:
        for number in range(1, 4):
            job.say("progress", {"step": number, "steps": 3})
            assert await anext(quick) == step(number)
        job.say("done", {"steps": 3})
        assert [event async for event in quick] == [DONE]
        assert [event async for event in slow] == [*map(step, (1, 2, 3)), DONE]


@pytest.mark.anyio
async def test_the_jobs_are_bounded(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "KEPT", 10)
    example.jobs.update((str(n), Job()) for n in range(example.RUNNING))
    refused = await client.post("/jobs")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")

    example.jobs["3"].say("done", None)
    for _ in range(3):
        answer = await client.post("/jobs")
        async with client.sse(answer.headers["location"]) as events:
            assert [event async for event in events][-1] == DONE
    assert len(example.jobs) == 10
    assert "3" not in example.jobs


@pytest.mark.anyio
async def test_a_job_that_fails_says_so(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(example, "STEPS", None)
    answer = await client.post("/jobs")
    async with client.sse(answer.headers["location"]) as events:
        assert [event async for event in events] == [Event("null", "failed", "1", 1.0)]
    assert "a background task failed" in caplog.text


# --- in a browser ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with started(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


def text(browser: Any, selector: str) -> str:
    return "".join(each.text for each in browser.find_elements("css selector", selector))


def new_time(browser: Any) -> str:
    """Wait until the clock of the page goes on, and return what it shows."""
    before = text(browser, "time")
    eventually(lambda: text(browser, "time") != before, 20)
    now = text(browser, "time")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", now)
    return now


@needs_chromium
@pytest.mark.timeout(120)
@pytest.mark.parametrize("serve", ["trio"], indirect=True)
def test_a_browser_misses_nothing_when_it_is_cut_off(
    serve: Serve, browser: Any, tmp_path: Path
) -> None:
    """Each time in the middle of an event, which comes again and is shown once."""
    seen = tmp_path / "seen"
    with serve(TARGET, STEPS="7", STEP_S="0.05", CUT_AT="4", SEEN=str(seen)) as server:
        browser.get(server.url)
        assert new_time(browser) < new_time(browser)
        browser.execute_script(
            "window.seen = [];"
            "new MutationObserver(() => {"
            "  const bar = document.querySelector('progress'); if (bar) seen.push(bar.value);"
            "}).observe(document.querySelector('ul'), {subtree: true, attributes: true});"
        )
        browser.find_element("css selector", "button").click()
        eventually(lambda: text(browser, "li span") == "done", 20)

        assert [*dict.fromkeys(browser.execute_script("return seen"))] == list(range(1, 8))
        asked = [json.loads(line) for line in seen.read_text().splitlines()]
        assert asked == [["", 200], ["3", 200], ["6", 200]]
        browser.execute_script("watch('/jobs/gone/events')")
        eventually(lambda: text(browser, "li:last-child span") == "lost", 20)


@needs_chromium
@pytest.mark.timeout(120)
@pytest.mark.parametrize("serve", ["asyncio"], indirect=True)
def test_a_browser_that_has_everything_is_stopped_by_204(
    serve: Serve, browser: Any, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    with serve(TARGET, STEPS="2", STEP_S="0", SEEN=str(seen)) as server:
        browser.get(server.url)
        browser.execute_script(
            "window.seen = [];"
            "fetch('/jobs', {method: 'POST'}).then(answer => {"
            "  window.source = new EventSource(answer.headers.get('location'));"
            "  for (const type of ['progress', 'done', 'error'])"
            "    source.addEventListener(type, event => seen.push([type, event.lastEventId]));"
            "})"
        )
        eventually(lambda: browser.execute_script("return window.source?.readyState == 2"), 20)

        assert browser.execute_script("return seen") == [
            ["progress", "1"],
            ["progress", "2"],
            ["done", "3"],
            ["error", None],  # the end of the stream
            ["error", None],  # the end of it all
        ]
        asked = [json.loads(line) for line in seen.read_text().splitlines()]
        assert asked == [["", 200], ["3", 204]]


@contextmanager
def serving_at(port: str) -> Iterator[None]:
    command = [sys.executable, "-m", "nardis", "serve", TARGET, "--bind", f"127.0.0.1:{port}"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


@needs_chromium
@pytest.mark.timeout(120)
@pytest.mark.parametrize("serve", ["asyncio"], indirect=True)
def test_a_browser_comes_back_when_the_server_is_up_again(
    serve: Serve, curl: StartCurl, browser: Any
) -> None:
    """The stream ends as a whole one, and says when to come back: 1 s, as ever, and up to 1 s."""
    with serve(TARGET) as server:
        browser.get(server.url)
        new_time(browser)
        other = curl(f"{server.url}/clock")
        assert other.stdout.readline() == b"retry: 1000\n"
        server.process.send_signal(signal.SIGTERM)
        output, complaint = other.communicate()

        assert server.process.wait(20) == 0
        assert (other.returncode, complaint) == (0, b"")
        retry = re.search(rb"\n\nretry: (\d+)\n\n\Z", output)
        assert retry
        assert 1000 <= int(retry[1]) <= 2000
    with serving_at(server.url.rpartition(":")[2]):
        new_time(browser)
