"""
Fitting in: where a server listens, TLS, and what it was told, with real sockets and with curl.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import sniffio
import trustme

from nardis import HTTPError, Nardis, Request, Response
from nardis._cli.parser import main
from tests.peers.client import Connection, eventually
from tests.wire.servers import COMMANDS, LEAKS, OURS, ROOT, Server

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="unix sockets and inherited ones are those of POSIX"
)
with_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")

MIB = 1024 * 1024
TARGET = "tests.wire.test_fit:app"

app = Nardis()


@app.get("/facts")
async def facts(req: Request, res: Response) -> None:
    """Say what a handler can see of how it is served."""
    running = sniffio.current_async_library()
    if running == "asyncio":
        import asyncio

        running = (
            type(asyncio.get_running_loop()).__mro__[1].__module__.partition(".")[0]
        )  # of ours the base
    scope = req.scope
    await res.json(
        {
            "loop": running,
            "frozen": gc.get_freeze_count(),
            "scheme": scope["scheme"],
            "root_path": scope["root_path"],
            "http_version": scope["http_version"],
            "client": scope["client"],
            "options": options_of(scope["client"]),
        }
    )


def options_of(client: Any) -> dict[str, int]:
    """Find the socket of a client among all files that are open, and read what is set on it."""
    for fd in os.listdir("/proc/self/fd") if client and sys.platform == "linux" else []:
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(fd))) as found:
            if found.getpeername()[:2] == tuple(client):
                names = ("TCP_NODELAY", "TCP_USER_TIMEOUT")
                return {
                    name: found.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
                    for name in names
                }
    return {}


@app.get("/pieces")
async def pieces(req: Request, res: Response) -> None:
    for number in range(100):
        await res.write(b"%d " % number)


@app.get("/flood")
async def flood(req: Request, res: Response) -> None:
    while True:
        await res.write(bytes(64 * 1024))


@app.put("/size")
async def size(req: Request, res: Response) -> None:
    await res.json(sum([len(chunk) async for chunk in req]))


@app.put("/refused")
async def refused(req: Request, res: Response) -> None:
    raise HTTPError(401)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make certificates: those of the server, and that of who signed them."""
    folder = tmp_path_factory.mktemp("certificates")
    signing = trustme.CA()
    issued = signing.issue_cert("127.0.0.1", "localhost")
    signing.cert_pem.write_to_path(folder / "ca.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    for each in issued.cert_chain_pems:
        each.write_to_path(folder / "chain.pem", append=True)
    return folder


def secured(authority: Path) -> list[str]:
    return ["--certfile", str(authority / "chain.pem"), "--keyfile", str(authority / "key.pem")]


def curl(url: str, *options: object) -> bytes:
    """Ask by curl, which ends well."""
    done = try_curl(url, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def try_curl(url: str, *options: object) -> subprocess.CompletedProcess[bytes]:
    """Ask by curl, however it ends."""
    command = [
        "curl",
        "--silent",
        "--show-error",
        "--fail",
        "--max-time",
        "20",
        *map(str, options),
        url,
    ]
    return subprocess.run(command, capture_output=True, timeout=30)


# --- a server -------------------------------------------------------------------------------------


class Fitted(Server):
    """A server that may listen elsewhere than in the clear."""

    def _address(self) -> re.Match[str] | None:
        assert self.process.poll() is None, self.log()
        return re.search(r"https?://127\.0\.0\.1:(\d+)", self.log())

    def addresses(self) -> list[str]:
        return re.findall(r"serves on (\S+) with", self.log())

    def ends_well(self) -> None:
        """Ask it to end, and see that it does."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0, self.log()
        assert not LEAKS.search(self.log())
        assert "Traceback" not in self.log()


@contextlib.contextmanager
def fitted(
    kind: str, folder: Path, *options: object, inherited: tuple[int, ...] = (), **variables: object
) -> Iterator[Fitted]:
    """Run a server that inherits sockets and has environment variables."""
    command = [sys.executable, "-m", *COMMANDS[kind], *map(str, options), TARGET]
    environment = os.environ | {name: str(value) for name, value in variables.items()}
    with (
        open(folder / "log", "wb") as log,
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stderr=log, pass_fds=inherited
        ) as process,
    ):
        try:
            yield Fitted(kind, process, folder)
        finally:
            process.kill()


# --- where ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=OURS)
def everywhere(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fitted]:
    """
    Serve on a port, on one of IPv6, on a path where a server that is gone has left its socket, and
    on an inherited socket.
    """
    folder = tmp_path_factory.mktemp(request.param)
    path = folder / "socket"
    with socket.socket(socket.AF_UNIX) as abandoned:
        abandoned.bind(str(path))
    with socket.create_server(("127.0.0.1", 0)) as opened:
        inherited = opened.fileno()
        port = opened.getsockname()[1]
        options = ["--bind", "[::1]:0", "--bind", f"unix:{path}", "--bind", f"fd://{inherited}"]
        running = fitted(
            request.param,
            folder,
            *options,
            inherited=(inherited,),
            NARDIS_ROOT_PATH="/proxied",
            NARDIS_WRITE_STALL=7,
        )
        with running as server:
            eventually(lambda: len(server.addresses()) == 4)  # a line each
            first, second, third, fourth = server.addresses()
            assert first == f"http://127.0.0.1:{server.port}"
            assert second.startswith("http://[::1]:")
            assert (third, fourth) == (f"unix:{path}", f"http://127.0.0.1:{port}")
            yield server
            server.ends_well()
            assert not path.exists()
            opened.settimeout(20)
            with socket.create_connection(("127.0.0.1", port)), opened.accept()[0]:
                """What was inherited listens on: it is not the server's to close."""


def facts_by_curl(url: str, *options: object) -> dict[str, Any]:
    answered: dict[str, Any] = json.loads(curl(f"{url}/facts", *options))
    return answered


@with_curl
def test_every_address_is_served(everywhere: Fitted) -> None:
    for address in everywhere.addresses():
        reached = (
            [] if address.startswith("http") else ["--unix-socket", address.removeprefix("unix:")]
        )
        answered = facts_by_curl("http://localhost" if reached else address, *reached)

        assert answered["scheme"] == "http"
        assert (answered["client"] is None) == bool(reached)


@with_curl
def test_much_goes_through_a_unix_socket(everywhere: Fitted, tmp_path: Path) -> None:
    reached = ["--unix-socket", everywhere.addresses()[2].removeprefix("unix:")]

    assert curl("http://localhost/pieces", *reached).split() == [
        b"%d" % number for number in range(100)
    ]
    (tmp_path / "large").write_bytes(bytes(20 * MIB))
    assert curl("http://localhost/size", *reached, "--upload-file", tmp_path / "large") == b"%d" % (
        20 * MIB
    )


def test_a_path_in_use_is_refused_in_one_line(
    everywhere: Fitted, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the one who uses it goes on."""
    path = everywhere.addresses()[2]

    assert main(["serve", TARGET, "--bind", path]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert path in line
    assert "in use" in line
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path.removeprefix("unix:"))


def test_what_a_handler_sees(everywhere: Fitted) -> None:
    """The settings came by the environment; uvloop is there, so it runs."""
    seen = everywhere.ask("GET", "/facts").json()

    assert seen["root_path"] == "/proxied"
    assert seen["loop"] == (
        "trio" if "trio" in everywhere.kind else "uvloop" if find_spec("uvloop") else "asyncio"
    )
    assert seen["frozen"] > 1000


@pytest.mark.skipif(sys.platform != "linux", reason="where an accepted socket inherits its options")
def test_options_are_set_on_accepted_sockets(everywhere: Fitted) -> None:
    """So that small writes leave at once, and the kernel gives up on who takes nothing."""
    for address in everywhere.addresses()[0], everywhere.addresses()[3]:
        with Connection(int(address.rpartition(":")[2])) as connection:
            options = connection.ask("GET", "/facts").json()["options"]

        assert options["TCP_NODELAY"] > 0
        assert options["TCP_USER_TIMEOUT"] == 17_000  # ten seconds after our own clock


# --- TLS ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=OURS)
def secure(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, authority: Path
) -> Iterator[Fitted]:
    with fitted(
        request.param,
        tmp_path_factory.mktemp(request.param),
        *secured(authority),
        "--head-timeout",
        0.5,
    ) as server:
        assert server.addresses() == [f"https://127.0.0.1:{server.port}"]
        yield server
        server.ends_well()


@pytest.fixture
def url(secure: Fitted) -> str:
    return f"https://127.0.0.1:{secure.port}"


@pytest.fixture
def trusting(authority: Path) -> list[object]:
    return ["--cacert", authority / "ca.pem"]


@with_curl
@pytest.mark.parametrize(("option", "version"), [("--http2", "2"), ("--http1.1", "1.1")])
def test_tls_agrees_on_what_the_client_speaks(
    url: str, trusting: list[object], option: str, version: str
) -> None:
    seen = facts_by_curl(url, *trusting, option)

    assert (seen["scheme"], seen["http_version"]) == ("https", version)


@with_curl
@pytest.mark.parametrize("option", ["--http2", "--http1.1"])
def test_bodies_go_down_and_up_over_tls(
    url: str, trusting: list[object], option: str, tmp_path: Path
) -> None:
    (tmp_path / "large").write_bytes(bytes(5 * MIB))

    assert curl(f"{url}/pieces", *trusting, option).split() == [
        b"%d" % number for number in range(100)
    ]
    assert curl(f"{url}/size", *trusting, option, "--upload-file", tmp_path / "large") == b"%d" % (
        5 * MIB
    )


def see_refusals(url: str, upload: Path, *options: object) -> None:
    """
    Have uploads refused that nobody reads.

    curl 7.88 saw none of 60 answers that it read together with a reset. It still may miss some
    where a busy machine wakes it too late. Only errors are asked for here: after the end of any
    other answer it reads nothing any more, and waits to send the rest.
    """
    upload.write_bytes(bytes(8 * MIB))
    upload_it = ("--header", "expect:", "--upload-file", upload)
    ends = [try_curl(f"{url}/refused", *options, *upload_it).returncode for _ in range(5)]
    assert 22 in ends  # CURLE_HTTP_RETURNED_ERROR
    assert set(ends) <= {22, 92}  # CURLE_HTTP2_STREAM


@with_curl
def test_a_refusal_is_readable_over_http2_and_tls(
    url: str, trusting: list[object], tmp_path: Path
) -> None:
    see_refusals(url, tmp_path / "upload", *trusting, "--http2")


@with_curl
@pytest.mark.parametrize("kind", OURS)
def test_a_refusal_is_readable_over_http2_in_the_clear(kind: str, tmp_path: Path) -> None:
    with fitted(kind, tmp_path) as server:
        see_refusals(
            f"http://127.0.0.1:{server.port}", tmp_path / "upload", "--http2-prior-knowledge"
        )
        server.ends_well()


@with_curl
def test_http2_can_be_left_out_of_what_tls_offers(
    authority: Path, trusting: list[object], tmp_path: Path
) -> None:
    """On both backends it is the same list; over TLS nobody is asked for HTTP/2 but by it."""
    with fitted(OURS[0], tmp_path, *secured(authority), "--no-http2") as server:
        assert (
            facts_by_curl(f"https://127.0.0.1:{server.port}", *trusting, "--http2")["http_version"]
            == "1.1"
        )
        server.ends_well()


@with_curl
def test_who_does_not_speak_tls_does_no_harm(
    secure: Fitted, url: str, trusting: list[object]
) -> None:
    """Plain HTTP, noise, a client that does not trust us, and one that hangs up in the middle."""
    said = len(secure.log())
    with secure.connect() as plain, secure.connect() as noise, secure.connect() as hasty:
        plain.send(b"GET /facts HTTP/1.1\r\nhost: localhost\r\n\r\n")
        noise.send(bytes(range(256)) * 16)
        hasty.send(client_hello()[:100])
        hasty.close()
        assert b"HTTP" not in all_of(plain) + all_of(noise)
    assert try_curl(f"{url}/facts").returncode == 60  # CURLE_PEER_FAILED_VERIFICATION

    assert facts_by_curl(url, *trusting)["scheme"] == "https"
    assert "Traceback" not in secure.log()[said:]


def client_hello() -> bytes:
    """Give what a client says first."""
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(
            ssl.MemoryBIO(), outgoing, server_hostname="localhost"
        ).do_handshake()
    return outgoing.read()


def all_of(connection: Connection) -> bytes:
    """Give what comes until the connection ends; a reset is an end, too."""
    connection.at_end()
    return connection.line()


def test_a_handshake_that_stalls_is_cut(secure: Fitted) -> None:
    """The time for it is that of a head."""
    with secure.connect() as silent, secure.connect() as stuck:
        stuck.send(client_hello()[:100])

        for connection in (silent, stuck):
            assert all_of(connection) == b""


@pytest.mark.parametrize("kind", OURS)
def test_a_stalled_tls_client_does_not_hold_up_the_end(
    kind: str, authority: Path, tmp_path: Path
) -> None:
    """One that reads nothing of what it asked for, and one that did not finish the handshake."""
    trust = ssl.create_default_context(cafile=str(authority / "ca.pem"))
    with fitted(kind, tmp_path, *secured(authority), "--drain", 0.3, "--graceful", 0.6) as server:
        with server.connect() as stuck, server.connect(receive_buffer=64 * 1024) as connection:
            stuck.send(client_hello()[:100])
            connection.socket = trust.wrap_socket(connection.socket, server_hostname="127.0.0.1")
            connection.request("GET", "/flood")
            assert connection.head()[0] == 200
            server.process.send_signal(signal.SIGTERM)

            assert server.process.wait(0.6 + 1 + 10) == 0, server.log()
            piece: bytes | None = b"more"
            while piece:
                piece = connection.chunk()
            assert piece is None
        assert not LEAKS.search(server.log())


@pytest.mark.parametrize("wrong", ["missing", "no certificate", "another's key"])
def test_a_bad_certificate_is_one_line(
    wrong: str, authority: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certfile, keyfile = authority / "chain.pem", authority / "key.pem"
    if wrong == "missing":
        certfile = tmp_path / "missing.pem"
    elif wrong == "no certificate":
        certfile = Path(__file__)
    else:
        keyfile = tmp_path / "key.pem"
        trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(keyfile)

    assert (
        main(
            [
                "serve",
                TARGET,
                "--bind",
                "127.0.0.1:0",
                "--certfile",
                str(certfile),
                "--keyfile",
                str(keyfile),
            ]
        )
        == 1
    )
    [line] = capsys.readouterr().err.splitlines()
    assert "certificate" in line
    assert "Traceback" not in line
