"""`res.pipe()` of rows that belong to one thread, over real sockets."""

from __future__ import annotations

from tests.wire.servers import Server


def test_rows_of_sqlite_arrive_whole(server: Server, key: str) -> None:
    with server.connect() as connection:
        for _ in range(3):
            answer = connection.ask("GET", f"/rows/4/{key}")

            assert (answer.status, answer.complete) == (200, True)
            assert answer.body == b"row 0\nrow 1\nrow 2\nrow 3\n"


def test_rows_are_closed_in_their_thread_when_the_client_leaves(server: Server, key: str) -> None:
    with server.connect(receive_buffer=4096) as connection:
        connection.send(f"GET /rows/1000000/{key} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert connection.socket.recv(100)

    server.event(key, "closed")
    assert server.comes_to_rest()
