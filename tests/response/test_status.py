"""`res.status()` and `res.status_code`."""

from http import HTTPStatus

import pytest

from nardis import UsageError
from nardis.errors import HeadersAlreadySent

pytestmark = pytest.mark.anyio


async def test_the_status_is_200_unless_set(serve):
    async def handler(req, res):
        assert res.status_code == 200
        await res.send()

    assert (await serve(handler)).status_code == 200


@pytest.mark.parametrize("code", [200, 201, 299, 404, 599, HTTPStatus.CREATED])
async def test_status_sets_it_and_chains(serve, code):
    async def handler(req, res):
        assert res.status(code) is res
        assert res.status_code == code
        await res.send()

    assert (await serve(handler)).status_code == code


async def test_status_code_can_be_assigned(serve):
    async def handler(req, res):
        res.status_code = 202
        await res.send()

    assert (await serve(handler)).status_code == 202


@pytest.mark.parametrize("code", [200, 999])
async def test_the_ends_of_the_range_are_in_it(serve, code):
    """599 is the last that a client must understand; a 999 is for a proxy of one's own."""

    async def handler(req, res):
        await res.status(code).send()

    assert (await serve(handler, client={"strict": False})).status_code == code


@pytest.mark.parametrize("code", [0, 100, 199, 1000, -1, "200", 200.0, None, True])
async def test_anything_else_is_refused(failure, code):
    async def handler(req, res):
        res.status(code)

    error = await failure(handler)

    assert isinstance(error, UsageError)
    assert "from 200 to 999" in str(error)
    assert repr(code) in str(error)


async def test_assigning_a_bad_status_code_is_refused_too(failure):
    async def handler(req, res):
        res.status_code = 99

    assert isinstance(await failure(handler), UsageError)


async def test_a_status_after_the_head_is_refused(failure):
    async def handler(req, res):
        await res.status(201).write("x")
        res.status(202)

    error = await failure(handler)

    assert isinstance(error, HeadersAlreadySent)
    assert "set status 202" in str(error)
    assert "already started with status 201" in str(error)
    assert "before the first write()" in str(error)


async def test_repr_tells_status_and_whether_it_started(serve):
    async def handler(req, res):
        before = repr(res.status(201))
        await res.write(before)
        await res.end(repr(res))

    assert (await serve(handler)).text == "<Response 201><Response 201 started>"
