"""C2 for `body_min_rate`: a client whose body comes below the rate stalls, which is a 408."""

from __future__ import annotations

import pytest

from nardis import Limits, Nardis
from nardis._exchange.intake import GRACE_S
from tests.peers.driver import Gate, Server, part, rest

pytestmark = pytest.mark.anyio

CHUNKED = {"transfer-encoding": "chunked"}


async def upload(server, seconds, size, pieces, **limits):
    """Send *pieces* of *size* bytes, one each so many *seconds*, and return the call."""
    server.app.limits = Limits(**limits)
    call = server.call("/", method="POST", headers=CHUNKED)
    for _ in range(pieces):
        await server.tick(seconds)
        call.push(part(bytes(size)))
        await rest()
    call.push(part(b"", more=False))
    await rest()
    return call


@pytest.fixture
def reading():
    app = Nardis()

    @app.post("/")
    async def handler(req, res):
        size = 0
        async for chunk in req:
            size += len(chunk)
        await res.json(size)

    return app


@pytest.mark.parametrize(
    ("size", "status"), [(1, 408), (100, 408), (900, 408), (1_000, 200), (50_000, 200)]
)
async def test_a_body_below_the_rate_is_a_408(reading, size, status):
    """A piece each 5 seconds, at 200 bytes a second: each must have a thousand."""
    async with Server(reading) as server:
        call = await upload(server, 5, size, 100, body_idle_s=30, body_min_rate=200)

    assert call.status == status


async def test_a_client_behind_has_as_long_as_for_one_piece(reading):
    async with Server(reading) as server:
        call = await upload(server, 5, 1, 6, body_idle_s=30, body_min_rate=200)
        assert call.status == 200

        call = await upload(server, 5, 1, 7, body_idle_s=30, body_min_rate=200)
        assert call.status == 408


async def test_a_client_behind_has_a_moment_also_where_a_piece_has_less(reading):
    async with Server(reading) as server:
        call = await upload(
            server, 0.2, 1, int(GRACE_S / 0.2) - 1, body_idle_s=0.5, body_min_rate=200
        )
        assert call.status == 200

        call = await upload(
            server, 0.2, 1, int(GRACE_S / 0.2) + 3, body_idle_s=0.5, body_min_rate=200
        )
        assert call.status == 408


async def test_bytes_that_came_early_buy_no_more_than_the_grace(reading):
    """A megabyte at first is no licence to trickle for an hour."""
    async with Server(reading) as server:
        server.app.limits = Limits(body_idle_s=30, body_min_rate=200)
        call = server.call("/", part(bytes(1_000_000)), method="POST", headers=CHUNKED)
        for _ in range(8):
            await server.tick(5)
            call.push(part(b"x"))
        await call.wait()

    assert call.status == 408


async def test_time_in_which_the_handler_does_not_wait_does_not_count():
    app = Nardis(limits=Limits(body_idle_s=30, body_min_rate=200))
    gate = Gate()

    @app.post("/")
    async def handler(req, res):
        async for chunk in req:
            await res.write(chunk)

    async with Server(app) as server:
        call = server.call("/", method="POST", headers=CHUNKED, on_send=gate)
        for at in range(20):
            call.push(part(b"x"))
            await server.tick(20)
            await gate.let(2 if at == 0 else 1)
        call.push(part(b"", more=False))
        await rest()
        await gate.let()
        await call.wait()

    assert (call.final, len(call.body)) == (True, 20)


async def test_the_default_lets_a_phone_on_2g_through_and_no_trickle(reading):
    async with Server(reading) as server:
        assert (await upload(server, 5, 5 * 250, 100)).status == 200
        assert (await upload(server, 5, 1, 100)).status == 408


async def test_without_a_rate_any_byte_will_do(reading):
    async with Server(reading) as server:
        call = await upload(server, 25, 1, 20, body_min_rate=0)

    assert call.status == 200
