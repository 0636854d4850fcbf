"""
Whatever leaves one call is a failure of that call: its neighbours and the server go on, on both
workers.
"""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest

from tests.peers.client import eventually
from tests.peers.h2client import H2Client
from tests.wire.failing_app import FAULTS
from tests.wire.servers import OURS, Server, serving

INTERNAL_ERROR = 0x2  # RFC 9113 §7

every_fault = pytest.mark.parametrize("fault", FAULTS)


@pytest.fixture(scope="module", params=OURS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp(request.param)
    with serving(
        request.param,
        directory,
        "--keep-alive",
        "0.5",
        "--drain",
        "0.5",
        target="tests.wire.failing_app:app",
    ) as running:
        yield running
        assert running.stop() == 0, running.log()


@pytest.fixture(scope="module", params=OURS)
def raw_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with serving(
        request.param, tmp_path_factory.mktemp(request.param), target="tests.wire.failing_app:raw"
    ) as running:
        yield running
        assert running.stop() == 0, running.log()


class Neighbour:
    """Somebody whose stream goes on, come what may."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def __enter__(self) -> None:
        self.connection = self.server.connect()
        self.connection.request("GET", "/tick")
        assert self.connection.head()[0] == 200

    def __exit__(self, *exc_info: object) -> None:
        for _ in range(20):
            assert self.connection.chunk() == b"tick\n"
        self.connection.close()
        assert self.server.ask("GET", "/hello").body == b"hello"


@every_fault
def test_before_the_head_it_is_a_500(server: Server, fault: str) -> None:
    logged = len(server.log())
    with Neighbour(server):
        answer = server.ask("GET", f"/before/{fault}")

    assert (answer.status, answer.complete) == (500, True)
    log = server.log()[logged:]
    assert f"/before/{fault} failed" in log
    assert "shutdown" not in log


@every_fault
def test_past_the_head_it_is_a_visible_cut(server: Server, fault: str) -> None:
    with Neighbour(server):
        answer = server.ask("GET", f"/half/{fault}")

    assert (answer.status, answer.body, answer.complete) == (200, b"half", False)


@every_fault
@pytest.mark.parametrize("when", ["after", "in-background", "deferred"])
def test_after_the_answer_it_is_a_line_in_the_log(server: Server, fault: str, when: str) -> None:
    logged = len(server.log())
    with Neighbour(server):
        answer = server.ask("GET", f"/{when}/{fault}")
        eventually(lambda: "failed" in server.log()[logged:])

    assert (answer.body, answer.complete) == (b"whole", True)


@every_fault
def test_in_a_mounted_application_it_is_a_500(server: Server, fault: str) -> None:
    with Neighbour(server):
        assert server.ask("GET", f"/mounted/{fault}").status == 500


@every_fault
def test_over_http2_it_is_a_500_or_a_reset_of_its_stream(server: Server, fault: str) -> None:
    with Neighbour(server), H2Client(server.port) as client:
        assert client.ask("GET", f"/before/{fault}").status == 500
        assert client.ask("GET", f"/half/{fault}").reset == INTERNAL_ERROR
        assert client.ask("GET", "/hello").status == 200


@every_fault
@pytest.mark.parametrize("path", ["before", "half"])
def test_of_any_application_it_is_a_failure_of_the_call(
    raw_server: Server, fault: str, path: str
) -> None:
    logged = len(raw_server.log())
    with raw_server.connect() as connection:
        answer = connection.ask("GET", f"/{path}/{fault}")

    assert (answer.status, answer.complete) == ((500, True) if path == "before" else (200, False))
    eventually(lambda: f"/{path}/{fault} failed" in raw_server.log()[logged:])
    assert raw_server.ask("GET", "/hello").body == b"hello"


@pytest.mark.parametrize("how", ["reset", "fin", "stall"])
@pytest.mark.parametrize("path", ["/aclosing", "/piped"])
def test_a_client_that_leaves_a_generator_with_a_task_group_in_it_ends_its_handler_alone(
    server: Server, path: str, how: str
) -> None:
    with Neighbour(server), server.connect(receive_buffer=4096) as connection:
        connection.request("GET", path)
        connection.head()
        connection.chunk()
        if how == "reset":
            connection.reset()
        if how == "stall":
            eventually(lambda: "truncated=True" in server.log())


def test_a_handler_that_goes_on_after_its_answer_outlives_its_connection(server: Server) -> None:
    """
    An idle connection is closed after half a second; nobody looks at it any more, and nobody falls
    over it.
    """
    with Neighbour(server), server.connect() as connection:
        assert connection.ask("GET", "/thanks").body == b"thanks"
        assert connection.at_end()


def test_idle_connections_time_out_while_the_process_is_stopped(server: Server) -> None:
    """As in a throttled container: all of them are overdue at once."""
    idle = [server.connect() for _ in range(30)]
    for connection in idle:
        assert connection.ask("GET", "/hello").body == b"hello"
    with Neighbour(server):
        for _ in range(4):
            server.process.send_signal(19)
            eventually(lambda: psutil.Process(server.process.pid).status() == "stopped")
            with pytest.raises(AssertionError):
                eventually(lambda: False, 0.4)
            server.process.send_signal(18)
        for connection in idle:
            assert connection.at_end()
            connection.close()
