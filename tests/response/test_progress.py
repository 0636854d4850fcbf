"""`res.started .finished .bytes_sent .req`: how far it is."""

import pytest

pytestmark = pytest.mark.anyio


async def test_started_and_finished_follow_the_response(serve):
    steps = []

    async def handler(req, res):
        steps.append((res.started, res.finished))
        await res.flush()
        steps.append((res.started, res.finished))
        await res.write("x")
        steps.append((res.started, res.finished))
        await res.end()
        steps.append((res.started, res.finished))

    await serve(handler)

    assert steps == [(False, False), (True, False), (True, False), (True, True)]


async def test_bytes_sent_counts_the_body(serve):
    counts = []

    async def handler(req, res):
        for piece in ("", "€", b"abc"):
            counts.append(res.bytes_sent)
            await res.write(piece)
        await res.end("yz")
        counts.append(res.bytes_sent)

    await serve(handler)

    assert counts == [0, 0, 3, 8]


async def test_bytes_sent_of_a_whole_answer(serve):
    counts = []

    async def handler(req, res):
        await res.send("hello")
        counts.append(res.bytes_sent)

    await serve(handler)

    assert counts == [5]


async def test_req_is_the_request(serve):
    async def handler(req, res):
        assert res.req is req
        await res.send()

    assert (await serve(handler)).status_code == 200
