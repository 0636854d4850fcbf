"""The doors of both workers, and what a client begins with that has come in."""

import asyncio
import errno
import importlib
import socket
import ssl
from contextlib import asynccontextmanager, suppress

import anyio
import pytest
import trustme
from anyio.lowlevel import checkpoint

from nardis.server import Config, arrivals
from nardis.server.client import OVERLOAD_ANSWER
from nardis.server.service import Service
from nardis.server.stream import clock
from tests.runner.ends import TOGETHER, reset, waiting_either_way

pytestmark = pytest.mark.anyio

anyio_backend = waiting_either_way

ASK = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

# The beginning of HTTP/2: the preface, and a frame of settings without any (RFC 9113 §3.4).
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04" + bytes(5)


async def app(scope, receive, send):
    """Answer any request with five bytes."""
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]}
    )
    await send({"type": "http.response.body", "body": b"hello"})


class Door(socket.socket):
    """A listening socket; *fault* is what it raises when the first client comes."""

    def __init__(self, fault=None):
        super().__init__()
        self.fault = fault
        self.accepts = 0
        self.failed = anyio.Event()
        self.on_fault = None
        self.bind(("127.0.0.1", 0))
        self.listen()
        self.setblocking(False)

    def accept(self):
        self.accepts += 1
        if self.fault is None:
            return super().accept()
        fault, self.fault = self.fault, None
        self.failed.set()
        self.on_fault()
        raise fault


@pytest.fixture
def worker(anyio_backend, monkeypatch):
    """Return the worker of this event loop; it makes no pauses."""
    worker = importlib.import_module(f"nardis.server.{anyio_backend[0]}_worker")
    monkeypatch.setattr(worker, "ACCEPT_PAUSE_S", 0)
    if anyio_backend is TOGETHER:
        monkeypatch.setattr(worker, "FEW", 0)
    return worker


@pytest.fixture
def accepting(worker):
    """Return a context manager that opens a door; it gives the service, and closes the door."""

    @asynccontextmanager
    async def accepting(door, app=app, tls=None, **settings):
        service = Service(app, Config(**settings))
        with door, anyio.fail_after(20):
            async with worker.accepting(service, [door], tls) as close_door:
                door.on_fault = lambda: None
                yield service, close_door
        assert service.admitted == 0
        assert service.connections == set()

    return accepting


async def until(holds):
    """Let the others run until something holds."""
    while not holds():
        await checkpoint()


def connect(door):
    return anyio.connect_tcp(*door.getsockname())


async def fetch(client, request=ASK):
    """Say *request* and hear the answer to its end."""
    async with client:
        await client.send(request)
        return b"".join([piece async for piece in client])


# --- the door -------------------------------------------------------------------------------------


async def test_where_no_file_is_left_the_client_waits_in_the_queue_and_is_served_later(
    accepting, caplog
):
    door = Door(OSError(errno.EMFILE, "Too many open files"))
    async with accepting(door):
        answer = await fetch(await connect(door))

    assert answer.endswith(b"hello")
    [record] = [each for each in caplog.records if each.name == "nardis.server"]
    assert record.levelname == "ERROR"
    assert "Too many open files" in record.message


@pytest.mark.parametrize("fault", [ConnectionAbortedError(), BlockingIOError()], ids=repr)
async def test_a_client_that_left_before_it_was_accepted_is_not_worth_a_word(
    accepting, caplog, fault
):
    async with accepting(door := Door(fault)):
        answer = await fetch(await connect(door))

    assert answer.endswith(b"hello")
    assert [each for each in caplog.records if each.name == "nardis.server"] == []


@pytest.mark.parametrize("anyio_backend", [("trio", {})], ids=["trio"])
async def test_where_the_system_has_no_epoll_clients_are_served_as_well(accepting, monkeypatch):
    """Each is waited for by itself."""
    monkeypatch.setattr(arrivals, "HAS_EPOLL", False)
    async with accepting(door := Door()):
        assert (await fetch(await connect(door))).endswith(b"hello")


@pytest.mark.parametrize("anyio_backend", [("trio", {})], ids=["trio"])  # asyncio calls it off
async def test_who_comes_while_the_door_is_closed_is_not_worth_a_word(accepting, caplog):
    """The wait for clients has come back already."""
    door = Door(OSError(errno.EBADF, "Bad file descriptor"))
    async with accepting(door):
        door.on_fault = door.close
        async with await connect(door):
            await door.failed.wait()

    assert [each for each in caplog.records if each.name == "nardis.server"] == []


async def test_a_door_that_no_file_was_left_for_stays_closed_in_a_shutdown(accepting):
    door = Door(OSError(errno.EMFILE, "Too many open files"))
    async with accepting(door) as (service, close_door):

        def shut_down():
            close_door()
            service.draining = clock()

        door.on_fault = shut_down
        async with await connect(door):
            await door.failed.wait()
            for _ in range(10):  # the pause is over
                await checkpoint()
    assert door.accepts == 1


async def test_a_door_that_is_closed_lets_nobody_in_and_nobody_is_thrown_out(accepting):
    async with accepting(door := Door()) as (service, close_door):
        inside = await connect(door)
        await until(lambda: service.admitted)
        close_door()
        async with await connect(door):
            assert (await fetch(inside)).endswith(b"hello")
            assert service.requests == 1


async def test_a_listener_that_was_closed_before_its_door_opens_is_passed_over(accepting):
    door = Door()
    door.close()
    async with accepting(door) as (service, close_door):
        await anyio.wait_all_tasks_blocked()
        close_door()

    assert (door.accepts, service.requests) == (0, 0)


async def test_many_who_come_at_once_are_all_let_in(accepting, worker, monkeypatch):
    """On asyncio some of them in each turn of the loop."""
    monkeypatch.setattr(worker, "ACCEPTS_AT_ONCE", 2, raising=False)
    door = Door()
    clients = [socket.create_connection(door.getsockname()) for _ in range(5)]
    async with accepting(door) as (service, _):
        await until(lambda: service.admitted == 5)
        for client in clients:
            client.close()
        await until(lambda: not service.admitted)

    assert service.requests == 0


async def test_who_is_still_there_when_the_worker_leaves_is_cancelled(accepting):
    begun, ended = anyio.Event(), []

    async def app(scope, receive, send):
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(scope["path"])

    door = Door()
    async with accepting(door, app):
        client = await connect(door)
        await client.send(ASK)
        await begun.wait()
    await client.aclose()

    assert ended == ["/"]


@pytest.mark.parametrize(
    "said", [b"", b"GET / HT", ASK], ids=["nothing", "half a head", "a request"]
)
async def test_a_client_that_reset_its_connection_is_forgotten(accepting, said):
    """Also where all of it is there before the server reads, which uvloop tells nobody of."""
    door = Door()
    client = socket.create_connection(door.getsockname())
    client.sendall(said)
    reset(client)
    async with accepting(door) as (service, _):

        def is_empty():
            service.look(clock())
            return not service.admitted

        await until(lambda: door.accepts)
        await until(is_empty)


# --- one too many ---------------------------------------------------------------------------------


async def test_one_client_too_many_is_turned_away_until_another_leaves(accepting):
    door = Door()
    async with accepting(door, max_connections=1) as (service, _):
        first = await connect(door)
        await until(lambda: service.admitted)
        assert await fetch(await connect(door), b"late") == OVERLOAD_ANSWER
        assert (await fetch(first)).endswith(b"hello")
        await until(lambda: not service.admitted)
        assert (await fetch(await connect(door))).endswith(b"hello")


async def test_one_client_too_many_that_has_left_already_is_forgotten(accepting):
    async with accepting(door := Door(), max_connections=1) as (service, _):
        first = await connect(door)
        await until(lambda: service.admitted)
        reset(socket.create_connection(door.getsockname()))
        await until(lambda: door.accepts == 2)
        assert (await fetch(first)).endswith(b"hello")


@pytest.fixture(scope="module")
def contexts():
    """Return what the server and its client know for TLS; both speak HTTP/2 too."""
    authority = trustme.CA()
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(ours)
    theirs = ssl.create_default_context()
    authority.configure_trust(theirs)
    ours.set_alpn_protocols(["h2", "http/1.1"])
    return ours, theirs


async def connect_securely(door, context):
    return await anyio.connect_tcp(
        *door.getsockname(), ssl_context=context, tls_standard_compatible=False
    )


async def test_one_client_too_many_is_closed_without_a_word_where_it_speaks_tls(
    accepting, contexts
):
    """The first is served; the other one gets nothing, not even the beginning of a handshake."""
    ours, theirs = contexts
    async with accepting(door := Door(), tls=ours, max_connections=1):
        first = await connect_securely(door, theirs)
        assert await fetch(await connect(door), b"") == b""
        answer = await fetch(first)

    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"hello")


# --- what a client begins with --------------------------------------------------------------------


async def test_a_client_that_does_not_agree_on_tls_is_closed(accepting, contexts):
    async with accepting(door := Door(), tls=contexts[0]) as (service, _):
        assert await fetch(await connect(door)) == b""

    assert service.requests == 0


@pytest.mark.parametrize("comes", ["before", "behind"])
async def test_a_shutdown_does_not_wait_for_a_client_that_says_nothing_for_a_handshake(
    accepting, contexts, monkeypatch, comes
):
    """As it does not for one in the clear that asks for nothing."""
    monkeypatch.setattr("nardis.server.service.DRAIN_IDLE_S", 0)
    async with accepting(door := Door(), tls=contexts[0]) as (service, _):
        if comes == "behind":
            service.drain()
        async with await connect(door) as client:
            if comes == "before":
                await until(lambda: service.admitted)
                await anyio.wait_all_tasks_blocked()
                service.drain()
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await client.receive()


@pytest.mark.parametrize(
    ("alpn", "said", "heard"),
    [("http/1.1", ASK, b"HTTP/1.1 200"), ("h2", PREFACE, b"\x00\x00")],
)
async def test_over_tls_a_client_speaks_what_both_have_agreed_on(
    accepting, contexts, alpn, said, heard
):
    ours, theirs = contexts
    theirs.set_alpn_protocols([alpn])
    async with accepting(door := Door(), tls=ours):
        async with await connect_securely(door, theirs) as client:
            await client.send(said)
            assert (await client.receive()).startswith(heard)


@pytest.mark.parametrize(
    ("http2", "heard"), [(True, b"\x00\x00"), (False, b"HTTP/1.1 505")], ids=["on", "off"]
)
async def test_in_the_clear_the_preface_of_http2_begins_it_where_it_is_spoken(
    accepting, http2, heard
):
    async with accepting(door := Door(), http2=http2), await connect(door) as client:
        await client.send(PREFACE)
        assert (await client.receive()).startswith(heard)


UPGRADE = ASK.replace(b"close", b"Upgrade, close, HTTP2-Settings")[:-2]


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (b"Upgrade: h2c\r\nHTTP2-Settings: AAQAAABk\r\n\r\n", b"101"),
        (b"Upgrade: h2c\r\nHTTP2-Settings: !!notbase64\r\n\r\n", b"200"),
        (b"Upgrade: TLS/1.3\r\n\r\n", b"200"),
    ],
    ids=["h2c", "unreadable", "another"],
)
async def test_a_request_is_handed_over_where_it_asks_for_what_is_spoken(accepting, asked, status):
    async with accepting(door := Door()), await connect(door) as client:
        await client.send(UPGRADE + asked)
        assert (await client.receive()).startswith(b"HTTP/1.1 %b" % status)


# --- the scope of a connection's task -------------------------------------------------------------


async def test_it_is_lent_to_the_very_application_alone():
    """Another one may have something around it, which would be cancelled too."""
    service, around = Service(app, Config()), object()
    assert service.lends is False
    service.lend_to(around)
    assert service.lends is False
    service.lend_to(app)
    assert service.lends is True
    service.lend_to(around)
    assert service.lends is True, "it is of no matter who else asks"


# --- what a call may leave behind -----------------------------------------------------------------


async def test_a_task_that_is_in_another_scope_than_before_is_seen_to_be(worker):
    """It takes attributes of trio's tasks, and of anyio's on asyncio, that have no public name."""
    with anyio.CancelScope():
        innermost = worker.innermost()
        ours = innermost(False)
        with anyio.CancelScope():
            assert innermost(False) is not ours
            await checkpoint()
        await checkpoint()

        assert innermost(False) is ours


async def test_a_cancellation_that_a_task_has_kept_to_itself_is_seen(worker, anyio_backend_name):
    if anyio_backend_name == "trio":
        return  # a task cannot be cancelled there, but by its scopes
    innermost = worker.innermost()
    ours, task = innermost(False), asyncio.current_task()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(1)

    assert innermost(False) is not ours
    task.uncancel()
    assert innermost(False) is ours


async def test_a_cancel_scope_that_a_request_leaves_open_does_not_end_the_next(accepting, caplog):
    """As a generator does that has one, and is not closed."""

    async def generate():
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            yield

    async def app(scope, receive, send):
        if scope["path"] == "/1":
            generators.append(generate())
            await anext(generators[0])
        else:
            scopes[0].cancel()
            await checkpoint()
            await checkpoint()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    scopes, generators = [], []
    door = Door()
    async with accepting(door, app):
        first = ASK.replace(b"/ ", b"/1 ").replace(b"Connection: close\r\n", b"")
        said = await fetch(await connect(door), first + ASK.replace(b"/ ", b"/2 "))

    assert said.count(b"HTTP/1.1 200 OK") == 2
    assert said.endswith(b"/2")
    assert [each.getMessage() for each in caplog.records] == ["GET /1 has left a cancel scope open"]


@pytest.mark.parametrize("closing", [b"", b"Connection: close\r\n"], ids=["kept", "closing"])
async def test_a_task_group_that_a_request_leaves_open_ends_nobody_else(closing, accepting, caplog):
    """trio makes an error of a task that ends inside of one, in the group of all connections."""

    async def generate():
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            yield

    async def app(scope, receive, send):
        if scope["path"] == "/1":
            generators.append(generate())
            await anext(generators[0])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    generators = []
    door = Door()
    first = ASK.replace(b"/ ", b"/1 ").replace(b"Connection: close\r\n", closing)
    async with accepting(door, app):
        async with await connect(door) as client:
            await client.send(first)
            said = b""
            while not said.endswith(b"/1"):
                said += await client.receive()
        for _ in range(20):
            await checkpoint()
        said = await fetch(await connect(door), ASK.replace(b"/ ", b"/2 "))

    assert said.endswith(b"/2")
    assert [each.getMessage() for each in caplog.records] == ["GET /1 has left a cancel scope open"]


async def test_what_else_goes_wrong_at_the_door_is_not_forgiven(accepting):
    with pytest.raises((ValueError, ExceptionGroup)) as raised:
        async with accepting(Door()):
            raise ValueError("at the door")

    assert "at the door" in repr(raised.value)
