"""Chromium lets a page read what `cors()` says that it may, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.examples.chromium import needs_chromium, started

TARGET = "tests/examples/cross_origin_app.py:app"

ASK = """
const [path, method, credentials, done] = arguments;
fetch(`http://localhost:${location.port}${path}`,
      {method, credentials, headers: method === "GET" ? {} : {"x-sent": "1"}})
  .then(answer => done([answer.status, answer.headers.get("allow")]), () => done(null));
"""

OMIT, INCLUDE = "omit", "include"


@needs_chromium
@pytest.mark.parametrize("serve", ["trio"], indirect=True)
def test_chromium_agrees(serve: Callable[..., Any], tmp_path: Path) -> None:
    """A PUT has a preflight; a 405 and a 404 can be read, and a field that is exposed."""
    with serve(TARGET) as server, started(tmp_path) as driver:
        driver.get(server.url)
        said = {
            row: driver.execute_async_script(ASK, *row)
            for row in [
                *((f"/{name}/thing", "PUT", OMIT) for name in ("closed", "named", "open")),
                *((f"/{name}/thing", "GET", INCLUDE) for name in ("closed", "named", "open")),
                ("/named/thing", "DELETE", INCLUDE),
                ("/named/thing", "POST", INCLUDE),
                ("/named/nothing", "PUT", INCLUDE),
            ]
        }

    assert list(said.values()) == [
        *(None, [200, None], [200, None]),
        *(None, [200, None], None),  # `*` is not for requests with cookies
        [410, None],
        [405, "DELETE, GET, HEAD, PUT"],
        [404, None],
    ]
