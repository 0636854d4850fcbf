"""`serve()` inside a program that runs already, on the worker of its event loop."""

import gc
import logging
import socket
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace

import anyio
import pytest
import sniffio
import trustme

from nardis import Limits, Nardis
from nardis.errors import NardisError, StartFailed
from nardis.server import Config, serve

pytestmark = pytest.mark.anyio


@pytest.fixture
def config(anyio_backend_name):
    return Config(bind=["127.0.0.1:0"], backend=anyio_backend_name, drain_s=1, graceful_s=2)


def greeting():
    app = Nardis()

    @app.get("/")
    async def index(req, res):
        await res.send(f"hello from {sniffio.current_async_library()}")

    return app


def port_of(address):
    return int(address.rpartition(":")[2])


async def fetch(port, path="/"):
    """Ask for *path* and read to the end."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(
            b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path.encode()
        )
        return b"".join([chunk async for chunk in stream])


async def test_serve_serves_until_its_shutdown_returns(config, anyio_backend_name):
    """It tells its addresses, with the port it got, when it listens."""
    stop = anyio.Event()

    async def run(*, task_status):
        await serve(greeting(), config, shutdown=stop.wait, task_status=task_status)

    async with anyio.create_task_group() as group:
        [address] = await group.start(run)
        assert address.startswith("http://127.0.0.1:")
        answer = await fetch(port_of(address))
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"hello from %s" % anyio_backend_name.encode())
        stop.set()

    with pytest.raises(OSError, match=r".*"):
        await anyio.connect_tcp("127.0.0.1", port_of(address))


async def test_the_lifespan_runs_around_serving(config):
    app, log, stop = greeting(), [], anyio.Event()

    @app.lifespan
    async def lifespan(given):
        log.append("starts")
        yield
        log.append("ends")

    async def run(*, task_status):
        await serve(app, config, shutdown=stop.wait, task_status=task_status)

    async with anyio.create_task_group() as group:
        await group.start(run)
        assert log == ["starts"]
        stop.set()
    assert log == ["starts", "ends"]


async def test_a_stream_that_waits_for_draining_says_goodbye_at_the_shutdown(config):
    app, stop = Nardis(), anyio.Event()

    @app.get("/feed")
    async def feed(req, res):
        await res.write("hello ")
        await app.draining.wait()
        await res.write("goodbye")

    async def run(*, task_status):
        await serve(app, config, shutdown=stop.wait, task_status=task_status)

    async with anyio.create_task_group() as group:
        [address] = await group.start(run)
        async with await anyio.connect_tcp("127.0.0.1", port_of(address)) as stream:
            await stream.send(b"GET /feed HTTP/1.1\r\nHost: localhost\r\n\r\n")
            received = b""
            while b"hello" not in received:
                received += await stream.receive()
            stop.set()
            while not received.endswith(b"0\r\n\r\n"):
                received += await stream.receive()
    assert b"goodbye" in received


async def test_serve_binds_all_its_addresses(anyio_backend_name):
    config, stop = (
        Config(bind=["127.0.0.1:0", "127.0.0.1:0"], backend=anyio_backend_name),
        anyio.Event(),
    )

    async def run(*, task_status):
        await serve(greeting(), config, shutdown=stop.wait, task_status=task_status)

    async with anyio.create_task_group() as group:
        addresses = await group.start(run)
        ports = {port_of(address) for address in addresses}
        assert len(ports) == 2
        for port in ports:
            assert b" 200 " in await fetch(port)
        stop.set()


async def test_any_asgi_application_can_be_served(config):
    stop = anyio.Event()

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]}
        )
        await send({"type": "http.response.body", "body": b"raw"})

    async def run(*, task_status):
        await serve(app, config, shutdown=stop.wait, task_status=task_status)

    async with anyio.create_task_group() as group:
        [address] = await group.start(run)
        assert (await fetch(port_of(address))).endswith(b"raw")
        stop.set()


async def test_an_address_in_use_is_named(anyio_backend_name):
    """One error, not a group; what the system said is its cause."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartFailed, match=f"127.0.0.1:{port}") as caught:
            await serve(greeting(), Config(bind=[f"127.0.0.1:{port}"], backend=anyio_backend_name))
    assert isinstance(caught.value.__cause__, OSError)
    del caught
    gc.collect()  # a socket that was left open is told of here


async def test_a_failed_startup_is_raised(config):
    """As one error that says why, before anybody was told that all is well."""
    app, told = Nardis(), []

    class Status:
        def started(self, value=None):
            told.append(value)  # pragma: no cover - must not happen

    @app.lifespan
    async def lifespan(given):
        raise ConnectionError("no database")
        yield

    with pytest.raises(StartFailed, match="no database"):
        await serve(app, config, task_status=Status())
    assert told == []


async def test_cancelling_serve_ends_it(config):
    """What is connected is cut, what runs is cancelled."""
    app, ended = Nardis(), []

    @app.get("/")
    async def forever(req, res):
        try:
            await res.write("begun")
            await anyio.sleep_forever()
        finally:
            ended.append(req.path)

    async with anyio.create_task_group() as group:
        [address] = await group.start(
            lambda task_status: serve(app, config, task_status=task_status)
        )
        async with await anyio.connect_tcp("127.0.0.1", port_of(address)) as stream:
            await stream.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await stream.receive()
            group.cancel_scope.cancel()
    assert ended == ["/"]


# --- what one server is told ----------------------------------------------------------------------


@asynccontextmanager
async def serving(app, config):
    """Serve for the length of the block; the port is given."""
    stop = anyio.Event()

    async def run(*, task_status):
        await serve(app, config, shutdown=stop.wait, task_status=task_status)

    async with anyio.create_task_group() as group:
        [address] = await group.start(run)
        with anyio.fail_after(20):
            yield port_of(address)
        stop.set()


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
async def test_the_running_event_loop_serves_whatever_a_config_says(config, backend):
    """It runs already, so there is no choice left."""
    async with serving(greeting(), replace(config, backend=backend)) as port:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200 OK" in await stream.receive()


async def test_the_limits_of_a_nardis_application_hold_and_not_the_servers(config):
    """
    It answers, where the server could only cut; and it may be more patient than the server is with
    others.
    """
    app = Nardis()

    @app.post("/", limits=Limits(body_idle_s=0.6))
    async def read(req, res):
        await res.send(await req.bytes())

    async with serving(app, replace(config, body_idle_s=0.01)) as port:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(
                b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
                b"Connection: close\r\n\r\nhalf"
            )
            answer = b"".join([chunk async for chunk in stream])

    assert answer.startswith(b"HTTP/1.1 408")
    assert b"\r\n\r\n" in answer


async def test_connections_that_come_in_one_turn_of_the_event_loop_are_counted(config):
    """Also before any of them had its turn."""
    async with serving(greeting(), replace(config, max_connections=2)) as port:
        with ExitStack() as stack:
            crowd = [
                stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                for _ in range(20)
            ]
            for each in crowd:
                each.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answers = [await anyio.to_thread.run_sync(each.recv, 1000) for each in crowd]

    statuses = [answer.split()[1] for answer in answers]
    assert (statuses.count(b"200"), statuses.count(b"503")) == (2, 18)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificate")
    issued = trustme.CA().issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    return str(folder / "both.pem")


async def test_a_handshake_that_has_not_ended_is_a_connection_too(config, certificate):
    """Otherwise a client that never ends one could have as many as it likes."""
    config = replace(config, max_connections=1, certfile=certificate, keyfile=certificate)
    async with serving(greeting(), config) as port:
        async with await anyio.connect_tcp("127.0.0.1", port):
            async with await anyio.connect_tcp("127.0.0.1", port) as second:
                with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                    await second.receive()


async def test_a_certificate_that_cannot_be_read_is_a_failed_start(config, tmp_path):
    (tmp_path / "bad.pem").write_text("no certificate")
    bad = str(tmp_path / "bad.pem")

    with pytest.raises(StartFailed, match=rf"certificate {bad} or its key {bad}: "):
        await serve(greeting(), replace(config, certfile=bad, keyfile=bad))


async def test_readiness_is_told(config):
    """On when it serves, off before anything ends."""
    told, app = [], greeting()

    @app.lifespan
    async def lifespan(given):
        told.append("starts")
        yield
        told.append("ends")

    async with serving(app, replace(config, ready=told.append)):
        assert told == ["starts", True]
    assert told == ["starts", True, False, "ends"]


async def test_a_lifespan_that_does_not_end_is_cancelled(config, caplog):
    """By `graceful_s`, or half a second later: that much it has at least."""
    app, told = greeting(), []

    @app.lifespan
    async def lifespan(given):
        yield
        try:
            await anyio.sleep_forever()
        finally:
            told.append("cancelled")

    with caplog.at_level(logging.ERROR, "nardis.server"):
        async with serving(app, replace(config, drain_s=0, graceful_s=0)):
            pass
    assert told == ["cancelled"]
    assert "took too long" in caplog.text


async def test_a_lifespan_that_fails_at_the_end_is_raised(config):
    """As one error, by which a process knows that it did not end well."""

    async def app(scope, receive, send):
        for failed in (False, True):
            message = await receive()
            await send(
                {
                    "type": message["type"] + (".failed" if failed else ".complete"),
                    "message": "not flushed",
                }
            )

    stop = anyio.Event()
    stop.set()
    with pytest.raises(NardisError, match="not flushed"):
        await serve(app, config, shutdown=stop.wait)


async def test_a_shutdown_that_fails_is_raised_as_it_is(config):
    """And the lifespan ends all the same."""
    app, told = greeting(), []

    @app.lifespan
    async def lifespan(given):
        try:
            yield
        finally:
            told.append("ends")

    async def broken():
        raise LookupError("of the shutdown")

    with pytest.raises(LookupError, match="of the shutdown"):
        await serve(app, config, shutdown=broken)
    assert told == ["ends"]


async def test_cancelling_serve_cancels_what_any_asgi_application_does(config):
    ended = []

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
            await anyio.sleep_forever()
        finally:
            ended.append(scope["path"])

    async with anyio.create_task_group() as group:
        [address] = await group.start(
            lambda task_status: serve(app, config, task_status=task_status)
        )
        async with await anyio.connect_tcp("127.0.0.1", port_of(address)) as stream:
            await stream.send(b"GET /raw HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await stream.receive()
            group.cancel_scope.cancel()
    assert ended == ["/raw"]


@pytest.mark.parametrize("size", [5, 64 * 1024])
async def test_a_body_beyond_its_declared_length_is_an_error_of_the_application(config, size):
    """The head waits for the first piece: so the client learns of it by a 500, and not by a cut."""
    stop, errors = anyio.Event(), []

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]}
        )
        try:
            await send({"type": "http.response.body", "body": bytes(size)})
        except Exception as exc:
            errors.append(type(exc).__name__)
            raise

    async with anyio.create_task_group() as group:
        [address] = await group.start(
            lambda task_status: serve(app, config, shutdown=stop.wait, task_status=task_status)
        )
        answer = await fetch(port_of(address))
        stop.set()

    assert errors == ["ContentLengthMismatch"]
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert bytes(2) not in answer


async def test_a_client_that_does_not_read_holds_the_application_back(config):
    """On each event loop: uvloop's transports are not asyncio's."""
    stop, sent = anyio.Event(), [0]

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not stop.is_set():
            await send({"type": "http.response.body", "body": bytes(64 * 1024), "more_body": True})
            sent[0] += 64 * 1024

    async with anyio.create_task_group() as group:
        [address] = await group.start(
            lambda task_status: serve(app, config, shutdown=stop.wait, task_status=task_status)
        )
        async with await anyio.connect_tcp("127.0.0.1", port_of(address)) as stream:
            await stream.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            before = -1
            while sent[0] != before:
                before = sent[0]
                await anyio.sleep(0.2)  # nothing else tells that nothing happens
                assert sent[0] < 16 * 1024 * 1024
            stop.set()


async def test_serve_ends_when_the_application_cannot_go_on(config):
    """A task that its lifespan has started has failed: whoever watches the program restarts it."""
    app, fail = greeting(), anyio.Event()

    async def background():
        await fail.wait()
        raise ConnectionError("no broker")

    @app.lifespan
    async def lifespan(given):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(background)
            yield

    async def run(*, task_status):
        with pytest.raises(NardisError, match="did not shut down well"):
            await serve(app, config, task_status=task_status)

    async with anyio.create_task_group() as group:
        [address] = await group.start(run)
        assert (await fetch(port_of(address))).startswith(b"HTTP/1.1 200")
        fail.set()
