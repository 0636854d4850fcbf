"""`nardis serve`: what it takes, and how it fails."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nardis import UsageError
from nardis.server import Config, load
from tests.wire import app as served
from tests.wire.servers import OURS, TARGET, serving

PLAIN = """
async def app(scope, receive, send):
    while scope["type"] == "lifespan":
        event = (await receive())["type"]
        await send({"type": event + ".complete"})
        if event == "lifespan.shutdown":
            return
    headers = [(b"content-length", b"5")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"plain"})
"""

FAILING = """
from nardis import Nardis

app = Nardis()

@app.lifespan
async def lifespan(app):
    raise RuntimeError("no database")
    yield
"""


def fails(*arguments: str) -> list[str]:
    """Run `nardis serve`, which is to fail; the lines it wrote are returned."""
    command = [sys.executable, "-m", "nardis", "serve", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode > 0
    assert not ended.stdout
    return ended.stderr.splitlines()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Write a module whose name no other test uses; the import path is as before in the end."""
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(text: str) -> Path:
        path = tmp_path / f"module_{tmp_path.name}.py"
        path.write_text(text)
        return path

    yield write
    sys.modules.pop(f"module_{tmp_path.name}", None)


def test_a_target_is_a_module_and_a_name() -> None:
    assert load(TARGET) is served.app


def test_the_name_in_a_target_is_app_by_default() -> None:
    assert load("tests.wire.app") is served.app


def test_a_target_may_be_a_file(module: Any) -> None:
    assert load(f"{module('class made: app = print')}:made.app") is print


@pytest.mark.parametrize(
    "target", ["no_such_module:app", "tests.no_such_module:app", "tests.wire.app:missing"]
)
def test_a_target_that_is_not_there_is_named(target: str) -> None:
    with pytest.raises(UsageError, match=f"cannot serve '{target}'"):
        load(target)


def test_a_module_that_misses_another_one_says_which(module: Any) -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        load(f"{module('import no_such_module')}:app")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "curio"}, "not 'curio'"),
        ({"drain_s": 3, "graceful_s": 2}, "cannot be less"),
        ({"drain_s": -1}, "drain_s=-1"),
    ],
)
def test_a_config_that_cannot_work_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Config(**options)


def test_an_unknown_module_is_told_in_one_line() -> None:
    assert fails("no_such_module:app") == [
        "nardis: cannot serve 'no_such_module:app': there is no module 'no_such_module' here"
    ]


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_an_address_in_use_is_told_in_one_line(backend: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        lines = fails(TARGET, "--backend", backend, "--bind", f"127.0.0.1:{taken.getsockname()[1]}")

    assert len(lines) == 1
    assert "in use" in lines[0]


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_failed_start_is_told_in_three_lines_at_most(backend: str, module: Any) -> None:
    lines = fails(f"{module(FAILING)}:app", "--backend", backend, "--bind", "127.0.0.1:0")

    assert "no database" in "\n".join(lines)
    assert len(lines) <= 3


@pytest.mark.parametrize("kind", OURS)
def test_any_asgi_application_can_be_served(kind: str, tmp_path: Path, module: Any) -> None:
    with serving(kind, tmp_path, target=f"{module(PLAIN)}:app") as server:
        assert server.ask("GET", "/").body == b"plain"
        assert server.stop() == 0, server.log()


@pytest.mark.parametrize("kind", OURS)
def test_a_second_signal_ends_the_process_at_once(kind: str, tmp_path: Path, key: str) -> None:
    with (
        serving(kind, tmp_path) as server,
        server.connect() as listening,
        server.connect() as other,
    ):
        other.request("GET", f"/wait/{key}-other")
        server.event(f"{key}-other", "started")
        listening.request("GET", f"/until-draining/{key}")
        server.event(key, "started")
        server.process.send_signal(signal.SIGINT)
        server.event(key, "draining")
        server.process.send_signal(signal.SIGINT)

        assert server.process.wait(2) == 128 + signal.SIGINT
        assert "ended" not in server.observed("lifespan")
