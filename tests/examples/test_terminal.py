"""examples/terminal.py: a shell that ends with its page, and that nobody else can open."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from examples import terminal as example
from examples.terminal import TOKEN, app
from nardis.testing import Client, TestWebSocket, WebSocketDenied
from tests.examples.chromium import needs_chromium, started
from tests.peers.client import eventually

TARGET = "examples/terminal.py:app"
HERE = {"host": "127.0.0.1:3000"}
PROMPT = "# "  # a shell takes it from its environment; a virtual environment puts its name there

Serve = Callable[..., Any]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    backend: str = request.param
    return backend


@pytest.fixture
async def client(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    """A plain shell, and little patience. No descriptor is left over."""
    for name, value in {"SHELL": ["/bin/sh"], "HANG_UP_S": 0.3, "REST_S": 0.1}.items():
        monkeypatch.setattr(example, name, value)
    monkeypatch.setenv("PS1", PROMPT)
    async with Client(app, headers=HERE) as client:
        yield client


@asynccontextmanager
async def opened(client: Client) -> AsyncIterator[TestWebSocket]:
    with anyio.fail_after(20):
        async with client.websocket("/shell", ["terminal", TOKEN]) as ws:
            yield ws


async def shown(ws: TestWebSocket, pattern: str) -> re.Match[str]:
    """Read what the shell writes until there is something like that in it."""
    text = ""
    while not (match := re.search(pattern, text)):
        text += (await ws.receive_bytes()).decode()
    return match


async def pid_of(ws: TestWebSocket) -> int:
    await ws.send(b"echo pid=$$\n")
    return int((await shown(ws, r"pid=(\d+)"))[1])


def is_there(pid: int) -> bool:
    """Whether there is a process, if only as a zombie."""
    return Path(f"/proc/{pid}").exists()


def runs(pid: int) -> bool:
    """Whether a process runs that init is going to wait for: proc(5)."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.anyio
async def test_a_shell_is_shown_and_typed_to_until_it_ends(client: Client) -> None:
    async with opened(client) as ws:
        assert ws.subprotocol == "terminal"
        await ws.send(b"echo h''i; ec")
        await ws.send(b"ho $TERM; exit 7\n")
        await shown(ws, r"hi\r\ndumb\r\n")
        *rest, last = [each async for each in ws]
        assert all(isinstance(each, bytes) for each in rest)
        assert (json.loads(last), ws.close_code) == ({"status": 7}, 1000)


@pytest.mark.anyio
async def test_it_is_as_large_as_its_page(client: Client) -> None:
    async with opened(client) as ws:
        for rows, cols in [(50, 120), (1, 1000)]:
            await ws.send_json({"rows": rows, "cols": cols, "more": None})
            await ws.send(b"stty size\n")
            await shown(ws, f"{rows} {cols}\r\n")
    for size in [
        *("", "[]", "{", "5", '{"rows":24}', '{"rows":"24","cols":80}', '{"rows":24.0,"cols":80}'),
        *('{"rows":0,"cols":80}', '{"rows":24,"cols":1001}', "[" * 60_000),
    ]:
        async with opened(client) as ws:
            await ws.send(size)
            async for _ in ws:
                pass
            assert ws.close_code == 1007, size


@pytest.mark.anyio
async def test_it_controls_what_runs_in_it(client: Client) -> None:
    async with opened(client) as ws:
        await ws.send(b"cat\nmiaow\n")
        await shown(ws, r"miaow[^$]*miaow\r\n")  # once by the terminal, and once by what runs in it
        await ws.send(b"\x03")
        await shown(ws, r"\^C\s+# ")
        await ws.send(b"echo status=$?\n")
        await shown(ws, "status=130")
        await ws.send(b"yes Y''Y | head -1; echo $((6 * 7))\n")
        assert "roken" not in (await shown(ws, r"YY\r\n[^$]*42"))[0]


@pytest.mark.anyio
async def test_what_it_writes_waits_until_it_is_taken(client: Client, tmp_path: Path) -> None:
    done = tmp_path / "done"
    async with opened(client) as ws:
        await ws.send(f"PS1=; stty -echo; seq 100000; touch {done}; exit\n".encode())
        text = (await shown(ws, r"1\r\n")).string
        await anyio.wait_all_tasks_blocked()
        assert not done.exists()
        text += b"".join([each async for each in ws if isinstance(each, bytes)]).decode()
        numbers = re.findall(r"(\d+)\r\n", text)
        assert numbers == [str(number) for number in range(1, 100_001)]
        assert done.exists()


@pytest.mark.anyio
@pytest.mark.parametrize("ignored", ["", "trap '' HUP; "])
@pytest.mark.parametrize("leave", ["close", "disconnect"])
async def test_it_ends_with_its_page(client: Client, leave: str, ignored: str) -> None:
    """And what runs in it; nothing of it is left, no zombie and no descriptor."""
    before = os.listdir("/proc/self/fd")
    async with opened(client) as ws:
        pid = await pid_of(ws)
        await ws.send(f"{ignored}sh -c 'echo inner=$$; sleep 1000; true'\n".encode())
        inner = int((await shown(ws, r"inner=(\d+)"))[1])
        await getattr(ws, leave)()
    assert not is_there(pid)
    if not ignored:
        eventually(lambda: not runs(inner))
    else:
        os.killpg(inner, signal.SIGKILL)
    assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.anyio
async def test_it_ends_while_it_is_typed_to_and_does_not_read(client: Client) -> None:
    """The handler is cancelled in the middle of a write."""
    async with opened(client) as ws, anyio.create_task_group() as group:
        pid = await pid_of(ws)
        await ws.send(b"stty raw -echo; echo r''aw; sleep 1000\n")
        await shown(ws, "raw")
        typed: list[int] = []

        async def type_on() -> None:
            while True:
                await ws.send(bytes(example.MESSAGE_BYTES))
                typed.append(example.MESSAGE_BYTES)

        group.start_soon(type_on)
        await anyio.wait_all_tasks_blocked()
        assert 0 < sum(typed) < 1024**2
        group.cancel_scope.cancel()
        await ws.disconnect()
    assert not is_there(pid)


@pytest.mark.anyio
async def test_its_page_ends_with_it_whatever_it_leaves_behind(client: Client) -> None:
    """A program that goes on holds the terminal open, and has little time to say more."""
    async with opened(client) as ws:
        await ws.send(b"sleep 1000 & echo left=$!; exec kill -9 $$\n")
        left = int((await shown(ws, r"left=(\d+)"))[1])
        *_, last = [each async for each in ws]
        assert (json.loads(last), ws.close_code) == ({"status": -9}, 1000)
    os.kill(left, signal.SIGKILL)


@pytest.mark.anyio
async def test_a_shutdown_ends_it(client: Client) -> None:
    async with opened(client) as ws:
        pid = await pid_of(ws)
        app.draining.set()
        async for _ in ws:
            pass
        assert (ws.close_code, ws.close_reason) == (1012, "the server restarts")
    assert not is_there(pid)


@pytest.mark.anyio
async def test_nobody_else_can_open_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "SHELL", ["/none"])
    right, ours = ["terminal", TOKEN], {"origin": "http://127.0.0.1:3000"}
    for peer, protocols, headers, status in [
        ("127.0.0.1", [], {}, 403),
        ("127.0.0.1", ["terminal"], {}, 403),
        ("127.0.0.1", ["terminal", TOKEN[:-1]], {}, 403),
        ("127.0.0.1", right, {"origin": "http://127.0.0.1:3001"}, 403),
        ("127.0.0.1", right, {"origin": "null"}, 403),
        ("127.0.0.1", right, {"host": "evil.example", "origin": "http://evil.example"}, 400),
        ("192.0.2.1", right, ours, 403),
        (None, right, ours, 403),
    ]:
        address = None if peer is None else (peer, 50000)
        async with Client(app, client=address, headers=HERE) as client:
            with pytest.raises(WebSocketDenied) as caught:
                async with client.websocket("/shell", protocols, headers=headers):
                    pass  # pragma: no cover
            assert caught.value.response.status_code == status
    async with Client(app, headers=HERE) as client:
        async with client.websocket("/shell", right, headers=ours) as ws:
            await shown(ws, "No such file")


# --- in a browser ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with started(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


def see(browser: Any, pattern: str, selector: str = "pre") -> re.Match[str]:
    def found() -> re.Match[str] | None:
        return re.search(pattern, browser.find_element("css selector", selector).text)

    return eventually(found, 20)


def type_in(browser: Any, keys: str) -> None:
    browser.switch_to.active_element.send_keys(keys)


@needs_chromium
@pytest.mark.timeout(120)
def test_a_page_shows_it(serve: Serve, browser: Any) -> None:
    with serve(TARGET, SHELL="/bin/sh", PS1=PROMPT) as server:
        announced = re.fullmatch(r"http://127\.0\.0\.1:3000/(#\S+) .*", server.line())
        assert announced
        first = open_page(browser, server.url + announced[1])
        browser.close()
        browser.switch_to.window(browser.window_handles[0])
        eventually(lambda: not is_there(first), 20)

        second = open_page(browser, server.url + announced[1])
        browser.set_window_size(400, 300)
        eventually(lambda: is_within(browser, 300 // 18, 400 // 7), 20)
        server.process.send_signal(signal.SIGTERM)
        assert see(browser, "restarts", "output")
        assert server.process.wait(20) == 0
        assert not is_there(second)
        assert browser.get_log("browser") == []


def is_within(browser: Any, rows: int, cols: int) -> bool:
    """Whether the shell knows of a size like that."""
    type_in(browser, "stty size\n")
    text = browser.find_element("css selector", "pre").text
    sizes = re.findall(r"^(?:# )?(\d+) (\d+)$", text, re.MULTILINE)
    return any(int(each[0]) <= rows and int(each[1]) <= cols for each in sizes)


def open_page(browser: Any, url: str) -> int:
    """Open a shell in a new window, use it, and return its process."""
    browser.switch_to.new_window("window")
    browser.get(url)
    see(browser, r"# *$")
    # A sequence is shown nowhere, a character may be two bytes, and to go back is one.
    shown = "A\\r\\033[1mB\\303\\204\\033]0;x\\a\\bC\\n"
    type_in(browser, f"printf '{shown}'x\ue003; echo pid=$$\n")
    assert see(browser, r"BC\s")
    pid = int(see(browser, r"pid=(\d+)")[1])
    browser.execute_script(
        "const clipboardData = new DataTransfer();"
        "clipboardData.setData('text', 'echo Ü');"
        "document.dispatchEvent(new ClipboardEvent('paste', {clipboardData, bubbles: true}))"
    )
    type_in(browser, "\n")
    assert see(browser, r"\WÜ\s")
    return pid
