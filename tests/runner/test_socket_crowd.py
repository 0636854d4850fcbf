"""Many WebSockets, some of which do not read: nobody waits for them but who sends to them."""

import socket
import tracemalloc

import anyio
import pytest

from tests.peers.wsclient import websocket_request
from tests.runner.test_websockets import serving
from tests.runner.test_workers import until

pytestmark = pytest.mark.anyio

MEMBERS, DEAF, ROUNDS = 10, 3, 30
MESSAGE_BYTES = 256 * 1024  # so that the kernel has room for few


class Room:
    """
    An application that sends to each member in a task of its own, which has no more than one.

    Attributes:
        left: The codes that members heard at the end.
        full: Members whose last message is still on its way.
        quiet: All that do not read are gone.
    """

    def __init__(self):
        self.members, self.left = [], []
        self.full = set()
        self.quiet = anyio.Event()
        self.message = {"type": "websocket.send", "bytes": bytes(MESSAGE_BYTES)}

    async def __call__(self, scope, receive, send):
        assert scope["type"] == "websocket"
        await receive()
        await send({"type": "websocket.accept"})
        self.members.append(send)
        message = await receive()
        self.members.remove(send)
        self.left.append(message["code"])
        if len(self.left) == DEAF:
            self.quiet.set()

    async def tell_all(self, group):
        for send in self.members:
            if send not in self.full:
                self.full.add(send)
                group.start_soon(self._tell, send)

    async def _tell(self, send):
        await send(self.message)
        self.full.discard(send)


class Member:
    """A client, which counts what it reads."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.count = 0

    async def join(self):
        self.socket.send(websocket_request("/"))
        await anyio.wait_readable(self.socket)
        assert b" 101 " in self.socket.recv(4096)

    async def read(self, upto):
        while self.count < upto:
            await anyio.wait_readable(self.socket)
            self.count += len(self.socket.recv(2**20))


async def test_members_that_do_not_read_hold_up_nobody_and_are_cut_in_the_end(anyio_backend_name):
    room, members = Room(), []
    async with (
        serving(room, anyio_backend_name, write_stall_s=0.2) as port,
        anyio.create_task_group() as senders,
    ):
        try:
            for _ in range(MEMBERS):
                members.append(Member(port))
                await members[-1].join()
            deaf = len(members) - DEAF
            tracemalloc.start(1)
            for number in range(1, ROUNDS + 1):
                await room.tell_all(senders)
                async with anyio.create_task_group() as readers:
                    for each in members[:deaf]:
                        readers.start_soon(each.read, number * (MESSAGE_BYTES + 10))
                # A message is read before its sender knows.
                await until(lambda: len(room.full) <= DEAF)
            grown = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            await room.quiet.wait()
            assert room.left == DEAF * [1006]
            assert len(room.members) == MEMBERS - DEAF
            assert grown < (DEAF + 4) * MESSAGE_BYTES
        finally:
            tracemalloc.stop()
            for each in members:
                each.socket.close()
