"""The servers of these tests themselves."""

from __future__ import annotations

from pathlib import Path

from tests.wire.servers import renew, serving


def test_a_renewed_server_is_another_with_the_same_records(tmp_path: Path) -> None:
    with serving("hypercorn-asyncio", tmp_path) as server:
        first = server.process
        renew(server)

        assert first.poll() is not None
        assert server.listens()
        assert server.application.pid == server.process.pid != first.pid
        assert server.stop() == 0, server.log()
        assert {"started", "ended"} == server.observed("lifespan").keys()
