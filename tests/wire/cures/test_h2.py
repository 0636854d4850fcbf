"""`h2`: a shutdown is announced."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from h2.errors import ErrorCodes

from tests.peers.client import eventually
from tests.peers.h2client import H2Client
from tests.wire.cures.stock import CAN_GO, TARGET, serves, stock
from tests.wire.servers import OURS, Server, serving


@contextmanager
def upload_at_the_end(server: Server) -> Iterator[tuple[H2Client, int]]:
    """Give a connection with a running upload, on a server that was asked to end."""
    with H2Client(server.port) as client:
        stream_id = client.request("POST", "/digest", end=False)
        client.send_body(stream_id, b"before", end=False)
        client.ping()
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: not serves(server))
        yield client, stream_id


@pytest.mark.parametrize("kind", OURS)
def test_h2_says_goodbye_refuses_what_is_new_and_ends_what_runs(kind: str, tmp_path: Path):
    with serving(kind, tmp_path, "--drain", "5", "--graceful", "6", target=TARGET) as server:
        with upload_at_the_end(server) as (client, stream_id):
            [goodbye] = client.until(lambda: client.goodbyes)
            assert (goodbye.last_stream_id, goodbye.error_code) == (stream_id, ErrorCodes.NO_ERROR)

            assert client.ask("GET", "/hello").reset == ErrorCodes.REFUSED_STREAM

            client.send_body(stream_id, b" and after")
            answer = client.answer(stream_id)
            assert (answer.body, answer.ended) == (
                hashlib.sha256(b"before and after").hexdigest().encode(),
                True,
            )
            assert client.ends()
        assert server.process.wait(20) == 0, server.log()


def test_h2_of_stock_says_no_goodbye(tmp_path: Path):
    with (
        stock("trio", tmp_path, "--workers", "1") as server,
        upload_at_the_end(server) as (client, _),
    ):
        answer = client.ask("GET", "/hello")

        assert answer.reset not in (None, ErrorCodes.REFUSED_STREAM), CAN_GO + "h2"
        assert not client.goodbyes, CAN_GO + "h2"
