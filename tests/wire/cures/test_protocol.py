"""`protocol`: HTTP/2 can be switched off, and a broken upgrade is no fault."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import h2.exceptions
import pytest
from hyperframe.frame import SettingsFrame

from tests.peers.h2client import Ended, H2Client
from tests.wire.cures.stock import CAN_GO, happens, serves, stock
from tests.wire.servers import Server


def upgrade_to_h2c(server: Server, settings: str) -> int:
    """Ask for an upgrade to HTTP/2, and give the status of the answer; 0 is none."""
    with server.connect() as connection:
        connection.request(
            "GET",
            "/hello",
            connection="Upgrade, HTTP2-Settings",
            upgrade="h2c",
            http2_settings=settings,
        )
        return connection.head()[0] if not connection.at_end() else 0


def begin_with_http2(server: Server) -> int | None:
    """Speak HTTP/2 by prior knowledge, and give the status of the answer."""
    with H2Client(server.port) as client, suppress(Ended, h2.exceptions.ProtocolError):
        return client.ask("GET", "/hello").status
    return None


def test_protocol_serves_http2_by_default(server: Server):
    assert upgrade_to_h2c(server, "AAMAAABkAAQAAP__") == 101
    assert begin_with_http2(server) == 200


def test_protocol_hands_on_what_came_with_an_upgrade(server: Server):
    """The client's preface may be in the same segment (RFC 7540 §3.2)."""
    fields = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAIAAAAA\r\n"
    begins = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SettingsFrame(0).serialize()
    with server.connect() as connection:
        connection.send(b"GET /hello HTTP/1.1\r\nhost: a\r\n" + fields + b"\r\n" + begins)
        assert connection.head()[0] == 101
        heard = b""
        while b"hello" not in heard:
            heard += (piece := connection.some())
            assert piece


def test_protocol_can_do_without_http2(strict: Server):
    assert upgrade_to_h2c(strict, "AAMAAABkAAQAAP__") == 200
    assert begin_with_http2(strict) is None
    with strict.connect() as connection:
        connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert connection.answer().status == 505
        assert connection.at_end()


def test_protocol_of_stock_speaks_http2_whatever_it_is_told(tmp_path: Path):
    (tmp_path / "config.toml").write_text('alpn_protocols = ["http/1.1"]\n')
    with stock("trio", tmp_path, "--config", str(tmp_path / "config.toml")) as running:
        assert upgrade_to_h2c(running, "AAMAAABkAAQAAP__") == 101, CAN_GO + "protocol"
        assert begin_with_http2(running) == 200, CAN_GO + "protocol"


@pytest.mark.parametrize("settings", ["!!notbase64", "AAM", "AAIAAAAC", "AAUAAAAA"])
def test_protocol_ignores_an_upgrade_that_it_cannot_read(server: Server, settings: str):
    assert upgrade_to_h2c(server, settings) == 200


def test_protocol_ignores_an_upgrade_of_what_http2_would_refuse(server: Server):
    fields = (
        b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\n"
        b"http2-settings: AAMAAABkAAQAAP__\r\n"
    )
    with server.connect() as connection:
        connection.send(
            b"GET http://localhost/hello HTTP/1.1\r\nhost: localhost\r\n" + fields + b"\r\n"
        )
        assert connection.head()[0] >= 200


def test_protocol_takes_no_upgrade_by_a_preface_that_is_none(server: Server):
    fields = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAIAAAAC\r\n"
    with server.silent(), server.connect() as connection:
        connection.send(b"PRI /hello HTTP/1.1\r\nhost: localhost\r\n" + fields + b"\r\n")
        assert connection.head()[0] >= 200


def test_protocol_of_stock_ends_the_worker_by_an_upgrade_that_it_cannot_read(doomed: Server):
    upgrade_to_h2c(doomed, "!!notbase64")

    assert happens(lambda: not serves(doomed)), CAN_GO + "protocol"
