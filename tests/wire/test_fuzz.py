"""Mutated requests mean the same on trio and on asyncio; and the fuzz finds what is not so."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.wire import fuzz, mutations
from tests.wire.answers import Cut, Malformed, statuses
from tests.wire.fuzz import Fuzz, converse, unusual, wrong_with
from tests.wire.mutations import Case
from tests.wire.servers import OURS, Server, Sharing

REQUESTS = 5000


@pytest.fixture
def both(shared: Sharing) -> list[Server]:
    """A server of each backend."""
    return [shared(kind, *fuzz.PATIENCE, target=fuzz.TARGET) for kind in OURS]


def test_trio_and_asyncio_answer_mutated_requests_with_the_same_bytes(both: list[Server]):
    run = Fuzz(both, seed=1)
    for _ in run.run(REQUESTS):
        pass

    assert run.findings.faults == []
    assert run.findings.requests >= REQUESTS
    assert {200, 400, 414, 501, 505} <= set(run.findings.statuses)


@pytest.mark.parametrize("kind", OURS)
def test_what_is_mutated_is_legal(shared: Sharing, kind: str):
    server = shared(kind, *fuzz.PATIENCE, target=fuzz.TARGET)
    legal = [
        Case(request, (), half_closes, 1)
        for of_route in (*mutations.OPEN, *mutations.CLOSING)
        for request in of_route
        for half_closes in (True, False)
    ]
    wrong = [
        case.data
        for case, talk in zip(legal, converse([(case, server.port) for case in legal]), strict=True)
        if statuses(talk.said(), asked=case.data, cut=b"/raise-late" in case.data)
        != [500 if b"/raise " in case.data or b"/raise?" in case.data else 200]
    ]

    assert wrong == []


@pytest.mark.parametrize("kind", OURS)
def test_a_websocket_is_denied(shared: Sharing, kind: str):
    server = shared(kind, *fuzz.PATIENCE, target=fuzz.TARGET)
    handshake = (
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    (talk,) = converse([(Case(handshake, (), False, 1), server.port)])

    assert statuses(talk.said()) == [403]


def test_the_command_tells_what_it_did(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fuzz, "BATCH", 20)

    assert fuzz.main(["--requests", "1", "--seed", "2"]) == 0

    first, last = capsys.readouterr().out.splitlines()
    assert first.endswith(" 0 faults")
    assert last.endswith(" requests a second")


# --- the fuzz finds faults ------------------------------------------------------------------------


def found(
    servers: Sequence[Any], data: bytes, *, steps: int = 100, hang_s: float = 10
) -> list[str]:
    """Return what the fuzz says of servers that are sent *data*."""
    run = Fuzz(servers, seed=1, hang_s=hang_s, steps=steps)
    run.send([Case(data, (), True, 1)])
    return run.findings.faults


@pytest.fixture
def unlike(shared: Sharing) -> list[Server]:
    """Two servers, of which the second one has faults; a handler that hangs is cancelled soon."""
    hasty = (*fuzz.PATIENCE, "--drain", "0", "--graceful", "0")
    return [
        shared("hypercorn-trio", *fuzz.PATIENCE, target=fuzz.TARGET),
        shared("hypercorn-asyncio", *hasty, target="tests.wire.fuzz_app:faulty"),
    ]


def asked(query: bytes, path: bytes = b"/") -> bytes:
    return b"GET %b?%b HTTP/1.1\r\nHost: a\r\nX-Y: z\r\n\r\n" % (path, query)


FAULTS = {
    "differ": "the answers differ",
    "fail": "a 500",
    "cut": "cut: a body in chunks is cut",
    "waver": "the answers depend on time",
}


@pytest.mark.parametrize(("query", "fault"), FAULTS.items(), ids=FAULTS)
def test_a_fault_is_found(unlike: list[Server], query: str, fault: str):
    assert found(unlike, asked(query.encode()))[0].startswith(f"{fault}: ")


def test_a_fault_is_shown_by_few_bytes(unlike: list[Server]):
    (fault,) = found(unlike, asked(b"differ"))

    assert " /?differ HTTP/1.1\\r\\nHost:\\r\\nY:\\r\\n\\r\\n'\n  of Case(" in fault


def test_a_connection_that_does_not_end_is_a_fault(unlike: list[Server]):
    # After half a second the server closes it: its client has closed its half.
    (fault,) = found(unlike, asked(b"hang"), steps=2, hang_s=0)

    assert fault.startswith("a connection does not end: ")


def test_an_odd_line_in_the_log_is_a_fault(unlike: list[Server]):
    (fault,) = found(unlike, asked(b"log"))

    assert fault.startswith("logged by hypercorn-asyncio in batch 0: ")
    assert "WARNING something odd" in fault


def test_early_answers_may_depend_on_time(unlike: list[Server]):
    run = Fuzz(unlike, seed=1)
    run.send([Case(asked(b"waver", b"/early"), (), True, 1)] * 2)

    assert run.findings.faults == []
    assert run.findings.timely == 1


@pytest.mark.parametrize(
    ("heard", "half_closed"), [(b"HTTP/1.1 OK\r\n\r\n", True), (b"HTTP/1.1 200 OK", False)]
)
def test_what_is_no_answer_is_a_fault(heard: bytes, half_closed: bool):
    talk: Any = SimpleNamespace(ending="end", said=lambda: heard, half_closed=half_closed)

    assert wrong_with(Case(b"GET", (), half_closed, 1), talk).startswith("malformed: ")


def test_an_answer_that_is_cut_once_is_none_to_a_client_that_has_closed_its_half(
    unlike: list[Server],
):
    run = Fuzz(unlike, seed=1)
    run.send([Case(asked(b"cut-once"), (), True, 1)])

    assert run.findings.faults == []
    assert run.findings.gone == 1


def test_a_server_that_is_gone_is_a_fault(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "log").touch()
    gone = SimpleNamespace(kind="gone", port=port, directory=tmp_path, log=str)

    assert found([gone], asked(b"")) == ["gone does not answer after 0"]


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
CUT = {
    "a length": OK + b"content-length: 2\r\n\r\nx",
    "a chunk": CHUNKED + b"5\r\nhel",
    "chunks": CHUNKED + b"5\r\nhello\r\n",
}
ILL = CUT | {
    "a head without an end": OK,
    "no status line": b"HTTP/1.1 OK\r\n\r\n",
    "no field": OK + b"a b: c\r\n\r\n",
    "a capital": OK + b"Date: now\r\n\r\n",
    "two lengths": OK + b"content-length: 1\r\ncontent-length: 1\r\n\r\nx",
    "too much": OK + b"content-length: 1\r\n\r\nxx",
    "an end in vain": OK + b"connection: close\r\ncontent-length: 1\r\n\r\nx" + OK,
    "no chunk": CHUNKED + b"x\r\n",
    "a long chunk": CHUNKED + b"1\r\nxx\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("heard", ILL.values(), ids=ILL)
def test_a_malformed_answer_is_seen(heard: bytes):
    with pytest.raises(Malformed):
        statuses(heard)


@pytest.mark.parametrize("heard", CUT.values(), ids=CUT)
def test_an_answer_may_be_cut_where_the_application_cuts_it(heard: bytes):
    with pytest.raises(Cut):
        statuses(heard)

    assert statuses(heard, cut=True) == [200]


def test_answers_that_are_well_formed_are_read_by_their_framing():
    heard = (
        b"HTTP/1.1 100 Continue\r\n\r\n"
        + CHUNKED
        + b"1\r\n0\r\n0\r\n\r\n"
        + OK
        + b"x-method: HEAD\r\ncontent-length: 9\r\n\r\n"
        + b"HTTP/1.1 404 \r\n\r\nto the end"
    )

    assert statuses(heard) == [200, 200, 404]
    assert statuses(b"HTTP/1.1 101 Switching Protocols\r\n\r\n\0") == [101]


def test_an_answer_of_the_server_to_head_has_no_body():
    heard = b"HTTP/1.1 500 \r\ncontent-length: 9\r\nconnection: close\r\n\r\n"

    assert statuses(heard, asked=b"HEAD / HTTP/1.1") == [500]
    with pytest.raises(Cut):
        statuses(heard, asked=b"GET / HTTP/1.1")


def test_a_log_is_usual_if_the_application_raised_on_purpose():
    usual = (
        "2026-01-01 00:00:00,000 INFO Nardis serves\n"
        "2026-01-01 00:00:00,000 ERROR http / failed: RuntimeError('on purpose')\n"
        "Traceback (most recent call last):\n"
    )

    assert unusual(usual) == []
    assert unusual(usual + "2026-01-01 00:00:00,000 ERROR other\n  more\n") != []
