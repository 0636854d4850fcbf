"""Chromium reads server-sent events as the table in tests/http has it, but for a few rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.examples.chromium import needs_chromium, started
from tests.http.eventsource_cases import CASES, Case
from tests.peers.client import eventually

TARGET = "tests/examples/eventsource_app.py:app"

# Where Chromium (156) does otherwise.
CHROMIUM: dict[str, dict[str, Any]] = {
    # It takes the LF behind a BOM for a part of the first name.
    "a BOM before a blank line": {"events": ()},
    # An empty time is its own time again.
    "an empty time": {"retry": None},
    # It gives up at any charset but UTF-8, where the standard ignores all parameters.
    "the type with another charset": {"events": (), "again": None},
}

# A listener for each type, so that an event with a wrong one is seen as well.
SCRIPT = """
const [cases, types, origin, elsewhere] = arguments;
window.seen = {};
for (const [name, isElsewhere, withCredentials] of cases) {
  const url = `${isElsewhere ? elsewhere : origin}/cases/${encodeURIComponent(name)}`;
  const source = new EventSource(url, {withCredentials});
  const row = seen[name] = {events: [], isOver: false};
  source.onerror = () => { row.isOver = source.readyState === EventSource.CLOSED };
  for (const type of types)
    source.addEventListener(type, ({data, type, lastEventId, origin}) => {
      row.events.push([data, type, lastEventId]);
      row.origin = origin;
    });
}
"""

pytestmark = [needs_chromium, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with started(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


def expected(case: Case) -> dict[str, object]:
    returns = [] if case.again is None else [case.again or None]
    return {"events": list(map(list, case.events)), "asked": [None, *returns]}


def allowed(name: str) -> list[dict[str, object]]:
    """Return what may become of a row; a later Chromium may do as the others."""
    case = CASES[name]
    return [expected(case), expected(case._replace(**CHROMIUM.get(name, {})))]


@pytest.mark.parametrize("serve", ["trio"], indirect=True)
def test_each_row_is_so_in_chromium(serve: Callable[..., Any], browser: Any) -> None:
    """Each stream ends, the browser comes back, and a 204 stops it; or it has given up before."""
    types = sorted({got.type for case in CASES.values() for got in case.events})
    rows = [[name, case.is_elsewhere, case.with_credentials] for name, case in CASES.items()]
    with serve(TARGET) as server:
        browser.get(server.url)
        elsewhere = server.url.replace("127.0.0.1", "localhost")
        browser.execute_script(SCRIPT, rows, types, server.url, elsewhere)

        def still_open() -> list[str]:
            found = browser.execute_script("return seen")
            return [name for name, row in found.items() if not row["isOver"]]

        eventually(lambda: not still_open(), 30)
        rows_seen = browser.execute_script("return seen")
        browser.get(f"{server.url}/asked")
        asked = json.loads(browser.find_element("css selector", "body").text)
        found = {
            name: {"events": row["events"], "asked": [last for last, _ in asked[name]]}
            for name, row in rows_seen.items()
        }
        others = {name: row for name, row in found.items() if row not in allowed(name)}
        assert others == {}
        assert {row.get("origin") for row in rows_seen.values()} == {None, server.url, elsewhere}
        check_times({name: [at for _, at in each] for name, each in asked.items()})


def check_times(asked: dict[str, list[float]]) -> None:
    """A browser waits as long as it was told; those that were told little come back first."""
    told, others = [], []
    for name, times in asked.items():
        if len(times) > 1 and name not in CHROMIUM:
            waited, retry = times[1] - times[0], CASES[name].retry
            assert waited >= (1000 if retry is None else retry) / 1000 - 0.02, name
            (others if retry is None else told).append(waited)
    assert max(told) < min(others)
