"""examples/chat.py: rooms in which nobody waits for a slow member, and two pages that talk."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from wsproto.events import CloseConnection, TextMessage

from examples import chat as example
from examples.chat import app
from nardis.testing import Client, WebSocketDenied
from tests.examples.chromium import needs_chromium, started
from tests.examples.conftest import ROOT
from tests.peers.client import eventually
from tests.peers.wsclient import WebSocketH1

TARGET = "examples/chat.py:app"
ROUNDS = 1000

Serve = Callable[..., Any]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    backend: str = request.param
    return backend


@pytest.fixture
async def client(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    """Empty rooms, with short queues and no pause between messages."""
    for name, value in {"rooms": {}, "PACE_S": 0, "QUEUED": 4, "HISTORY": 2}.items():
        monkeypatch.setattr(example, name, value)
    async with Client(app) as client:
        yield client


def here(*who: str) -> dict[str, Any]:
    return {"kind": "here", "who": [*who]}


def joined(who: str) -> dict[str, Any]:
    return {"kind": "joined", "who": who}


def left(*who: str) -> dict[str, Any]:
    return {"kind": "left", "who": [*who]}


def said(who: str, text: str) -> dict[str, Any]:
    return {"kind": "said", "who": who, "text": text}


async def told(ws: Any, *news: object) -> None:
    for each in news:
        assert await ws.receive_json() == each


@pytest.mark.anyio
async def test_members_hear_who_is_there_and_what_was_said(client: Client) -> None:
    """Each room its own; of what was said before, the last messages."""
    async with client.websocket("/chat/a?name=Ada") as ada:
        await told(ada, here("Ada"))
        for text in ("1", "2", "3"):
            await ada.send(text)
            await told(ada, said("Ada", text))
        async with (
            client.websocket("/chat/b?name=Ada") as elsewhere,
            client.websocket("/chat/a?name=Bob") as bob,
        ):
            await told(ada, joined("Bob"))
            await told(elsewhere, here("Ada"))
            await told(bob, said("Ada", "2"), said("Ada", "3"), here("Ada", "Bob"))
            await bob.send("ü")
            await told(ada, said("Bob", "ü"))
            await bob.disconnect()
            await told(ada, left("Bob"))
    assert [room.names() for room in example.rooms.values()] == [[], []]


@pytest.mark.anyio
async def test_a_member_that_says_something_and_leaves_at_once_is_heard(client: Client) -> None:
    async with (
        client.websocket("/chat/a?name=Ada") as ada,
        client.websocket("/chat/a?name=Bob") as bob,
    ):
        await bob.send("bye")
        await bob.close()
        await told(ada, here("Ada"), joined("Bob"), said("Bob", "bye"), left("Bob"))


@pytest.mark.anyio
async def test_a_name_belongs_to_one_member_at_a_time(client: Client) -> None:
    async with client.websocket("/chat/a?name=Ada") as ada:
        for name, code in [
            *(("ada", 4001), ("%20%EF%BC%A1da", 4001)),  # a wide A
            *(("", 4000), ("%0A", 4000), ("a%E2%80%AEb", 4000), ("x" * 21, 4000)),
        ]:
            async with client.websocket(f"/chat/a?name={name}") as refused:
                assert [each async for each in refused] == []
                assert refused.close_code == code, name
        await told(ada, here("Ada"))
    async with client.websocket("/chat/a?name=ADA") as ada:
        await told(ada, here("ADA"))


@pytest.mark.anyio
async def test_a_slow_member_misses_the_oldest_messages_and_is_told(client: Client) -> None:
    """The third here: it does not read, and costs the others nothing."""
    async with (
        client.websocket("/chat/a?name=Ada") as ada,
        client.websocket("/chat/a?name=Bob") as bob,
        client.websocket("/chat/a?name=Slow") as slow,
    ):
        await told(ada, here("Ada"), joined("Bob"), joined("Slow"))
        await told(bob, here("Ada", "Bob"), joined("Slow"))
        for number in range(10):
            await ada.send(str(number))
            for each in (ada, bob):
                await told(each, said("Ada", str(number)))
        await bob.close()
        await told(ada, left("Bob"))

        # What was on its way, and four that were queued.
        missed = {"kind": "missed", "count": 7, "here": ["Ada", "Slow"]}
        last = [said("Ada", each) for each in "789"]
        await told(slow, here("Ada", "Bob", "Slow"), missed, *last, left("Bob"))
        await slow.send("now I see")
        await told(ada, said("Slow", "now I see"))


@pytest.mark.anyio
async def test_or_it_is_closed_to_try_again_later(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets what it was meant to get before, and its name is free at once."""
    monkeypatch.setattr(example, "WHEN_SLOW", "close")
    async with (
        client.websocket("/chat/a?name=Ada") as ada,
        client.websocket("/chat/a?name=Slow") as slow,
        client.websocket("/chat/a?name=Late") as late,
    ):
        await told(ada, here("Ada"), joined("Slow"), joined("Late"))
        for number in range(4):
            await ada.send(str(number))
            await told(ada, said("Ada", str(number)))
        await told(ada, left("Slow"), left("Late"))
        async with client.websocket("/chat/a?name=slow") as again:
            await told(again, said("Ada", "2"), said("Ada", "3"), here("Ada", "slow"))
            await slow.send("nobody hears that")
            await again.send("hello")
            await told(ada, joined("slow"), said("slow", "hello"))
            last = [said("Ada", each) for each in "012"]
            await told(slow, here("Ada", "Slow"), joined("Late"), *last)
            assert [each async for each in slow] == []
            assert (slow.close_code, slow.close_reason) == (1013, "you are too slow for this room")
        assert [json.loads(each) async for each in late][-1] == said("Ada", "3")
        assert late.close_code == 1013


@pytest.mark.anyio
async def test_one_who_does_not_even_take_that_is_cut(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example, "WHEN_SLOW", "close")
    monkeypatch.setattr(example, "GOODBYE_S", 0)
    async with client.websocket("/chat/a?name=Deaf") as deaf:
        async with client.websocket("/chat/a?name=Ada") as ada:
            await told(ada, here("Deaf", "Ada"))
            for number in range(4):
                await ada.send(str(number))
                await told(ada, said("Ada", str(number)))
            await told(ada, left("Deaf"))
            await anyio.wait_all_tasks_blocked()
            assert deaf.close_code == 1013


@pytest.mark.anyio
async def test_many_who_are_slow_leave_together(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not one after the other, which would be too much for the rest."""
    monkeypatch.setattr(example, "WHEN_SLOW", "close")
    room = example.Room()
    slow = [example.Member(name) for name in "0123456789"]
    room.members.update({each.name: each for each in slow})
    ada = room.members["ada"] = example.Member("Ada")
    for number in range(5):
        room.tell(str(number))
        if number < 4:
            assert ada.waiting.receive_nowait() == str(number)
    assert list(room.members) == ["ada"]
    assert ada.waiting.receive_nowait() == "4"
    assert json.loads(ada.waiting.receive_nowait()) == left(*"0123456789")
    for member in (ada, *slow):
        member.queue.close()
        member.waiting.close()


@pytest.mark.anyio
async def test_what_cannot_be_said_ends_it(client: Client) -> None:
    async with client.websocket("/chat/a?name=Ada") as ada:
        await told(ada, here("Ada"))
        for text, code in [("x" * 2001, 1009), (b"x", 1003)]:
            async with client.websocket("/chat/a?name=Bob") as bob:
                await bob.send(text)
                async for _ in bob:
                    pass
                assert bob.close_code == code
            await told(ada, joined("Bob"), left("Bob"))


@pytest.mark.anyio
async def test_rooms_and_their_members_are_bounded(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The room that was left alone longest goes, with its history."""
    monkeypatch.setattr(example, "ROOMS", 2)
    monkeypatch.setattr(example, "MEMBERS", 1)
    async with client.websocket("/chat/a?name=Ada") as ada:
        await told(ada, here("Ada"))
        for room in "bca":
            async with client.websocket(f"/chat/{room}?name=Bob") as bob:
                if room == "a":
                    assert [each async for each in bob] == []
                    assert bob.close_code == 1013
                else:
                    await told(bob, here("Bob"))
        assert list(example.rooms) == ["c", "a"]
        async with client.websocket("/chat/c?name=Bob"):
            async with client.websocket("/chat/d?name=Cy") as refused:
                assert [each async for each in refused] == []
                assert refused.close_reason == "there is no place left"


@pytest.mark.anyio
async def test_a_handshake_is_refused_before_that(client: Client) -> None:
    for url, origin, status in [
        ("/chat/a?name=Ada", "http://evil.example", 403),
        ("/chat/a%20b?name=Ada", "http://testserver", 404),
    ]:
        with pytest.raises(WebSocketDenied) as caught:
            async with client.websocket(url, headers={"origin": origin}):
                pass  # pragma: no cover
        assert caught.value.response.status_code == status
    assert example.rooms == {}


@pytest.mark.anyio
async def test_a_shutdown_closes_everybody_at_once(client: Client) -> None:
    async with (
        client.websocket("/chat/a?name=Ada") as ada,
        client.websocket("/chat/b?name=Bob") as bob,
    ):
        app.draining.set()
        assert [json.loads(each) async for each in ada] == [here("Ada")]
        assert [json.loads(each) async for each in bob] == [here("Bob")]
        assert (ada.close_code, bob.close_reason) == (1012, "the server restarts")
        with pytest.raises(WebSocketDenied, match="503"):
            async with client.websocket("/chat/a?name=Cy"):
                pass  # pragma: no cover


# --- over sockets ---------------------------------------------------------------------------------


def news(ws: WebSocketH1) -> dict[str, Any]:
    """Read the next message."""
    text = ""
    while True:
        event = ws.next()
        assert isinstance(event, TextMessage), event
        text += event.data
        if event.message_finished:
            return json.loads(text)


def resident_bytes(server: Any) -> int:
    """Return the memory of the server's process: proc(5)."""
    pages = Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def talk(server: Any, ada: WebSocketH1, bob: WebSocketH1) -> int:
    """Let the two say up to a thousand things, and return how many until Deaf was sent away."""
    assert news(ada) == here("Deaf", "Ada")
    assert news(ada) == joined("Bob")
    assert news(bob) == here("Deaf", "Ada", "Bob")
    before, times_s = resident_bytes(server), []
    for number in range(ROUNDS):
        began = time.monotonic()
        ada.send(TextMessage(text := f"{number}".ljust(1900)))
        heard = news(ada)
        assert heard == news(bob)
        if heard == left("Deaf"):
            break
        assert heard == said("Ada", text)
        times_s.append(time.monotonic() - began)
    # The machine has pauses of its own; who waited for Deaf would wait for its stall, 20 s.
    assert sorted(times_s)[len(times_s) * 9 // 10] < 2
    assert resident_bytes(server) - before < 512 * 1024
    return len(times_s)


def open_to(server: Any, stack: ExitStack, *names: str) -> list[WebSocketH1]:
    port = int(server.url.rpartition(":")[2])
    sockets = [stack.enter_context(WebSocketH1(port, f"a?name={each}", "chat")) for each in names]
    # The kernel is to keep little for the first one.
    sockets[0].socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return sockets


def listen(deaf: WebSocketH1) -> None:
    deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024 * 1024)


def test_a_member_that_never_reads_costs_nobody_anything(serve: Serve) -> None:
    """When it does, it finds the beginning, the last messages, and how many are missing."""
    with serve(TARGET, QUEUED="60", PACE_S="0") as server, ExitStack() as stack:
        deaf, ada, bob = open_to(server, stack, "Deaf", "Ada", "Bob")
        assert talk(server, ada, bob) == ROUNDS

        listen(deaf)
        heard = [news(deaf)]
        while heard[-1].get("text", "").strip() != f"{ROUNDS - 1}":
            heard.append(news(deaf))
        numbers = [int(each["text"]) for each in heard if each["kind"] == "said"]
        assert numbers == [*range(len(numbers) - 60), *range(ROUNDS - 60, ROUNDS)]
        assert sum(each.get("count", 0) for each in heard) == ROUNDS - len(numbers)


def test_a_member_that_never_reads_may_be_closed(serve: Serve) -> None:
    with (
        serve(TARGET, QUEUED="60", PACE_S="0", WHEN_SLOW="close") as server,
        ExitStack() as stack,
    ):
        deaf, ada, bob = open_to(server, stack, "Deaf", "Ada", "Bob")
        rounds = talk(server, ada, bob)
        assert 60 <= rounds < ROUNDS

        listen(deaf)
        assert [news(deaf)["kind"] for _ in range(3)] == ["here", "joined", "joined"]
        for number in range(rounds - 1):  # the last one was too much
            assert news(deaf)["text"].strip() == f"{number}"
        end = deaf.next()
        assert isinstance(end, CloseConnection)
        assert end.code == 1013


@pytest.mark.parametrize("serve", ["asyncio"], indirect=True)
def test_a_shutdown_waits_for_nobody(serve: Serve) -> None:
    with serve(TARGET) as server, ExitStack() as stack:
        (ada,) = open_to(server, stack, "Ada")
        assert news(ada) == here("Ada")
        server.process.send_signal(signal.SIGTERM)
        end = ada.next()
        assert isinstance(end, CloseConnection)
        assert (end.code, end.reason) == (1012, "the server restarts")
        ada.send(end.response())
        assert ada.next() is None
        assert server.process.wait(20) == 0


# --- in a browser ---------------------------------------------------------------------------------


def text(browser: Any, selector: str) -> list[str]:
    """What is shown, in one look: the page replaces its elements at any time."""
    look = "return [...document.querySelectorAll(arguments[0])].map(each => each.innerText)"
    shown: list[str] = browser.execute_script(look, selector)
    return shown


def join(browser: Any, url: str, name: str) -> Any:
    """Join in a window of its own, and return that."""
    browser.switch_to.new_window("window")
    browser.get(url)
    browser.execute_script("Math.random = () => 0.1")  # to come back soon
    browser.find_element("name", "who").send_keys(name + "\n")
    eventually(lambda: name in text(browser, "ul li"), 20)
    return browser.current_window_handle


def say(browser: Any, words: str) -> None:
    browser.find_element("name", "text").send_keys(words + "\n")


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
@pytest.mark.parametrize("serve", ["trio"], indirect=True)
def test_two_pages_talk_and_come_back_to_a_new_server(serve: Serve, tmp_path: Path) -> None:
    with started(tmp_path) as browser:
        with serve(TARGET) as server:
            ada = join(browser, server.url, "Ada")
            bob = join(browser, server.url, "Bob")
            say(browser, "hello")
            say(browser, "<b>ü</b>")
            browser.switch_to.window(ada)
            eventually(lambda: len(text(browser, "ol li")) == 3, 20)
            assert text(browser, "ol li") == ["Bob is here.", "Bob: hello", "Bob: <b>ü</b>"]
            assert text(browser, "ul li") == ["Ada", "Bob"]

            join(browser, server.url, "Cy")
            assert text(browser, "ol li") == ["Bob: hello", "Bob: <b>ü</b>"]
            browser.close()
            browser.switch_to.window(ada)
            eventually(lambda: text(browser, "ol li")[-1:] == ["Cy left."], 20)
            server.process.send_signal(signal.SIGTERM)
            eventually(lambda: text(browser, "output")[0], 20)
            assert text(browser, "output") == ["the server restarts"]
            assert server.process.wait(20) == 0
        with serving_at(server.url.rpartition(":")[2]):
            eventually(lambda: sorted(text(browser, "ul li")) == ["Ada", "Bob"], 20)
            say(browser, "again")
            browser.switch_to.window(bob)
            eventually(lambda: text(browser, "ol li")[-1:] == ["Ada: again"], 20)
        complaints = [each["message"] for each in browser.get_log("browser")]
        assert all("ERR_CONNECTION_REFUSED" in each for each in complaints)
