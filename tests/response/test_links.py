"""`res.links()`: the Link field (RFC 8288)."""

import pytest

from nardis.errors import FieldError, HeadersAlreadySent

pytestmark = pytest.mark.anyio


async def test_links_are_added_to_those_there_are(serve):
    async def handler(req, res):
        assert res.links({"next": "/?page=2", "last": ["/?page=9"]}) is res
        await res.links({"prev": "/é"}).links({}).send()

    assert (await serve(handler)).headers.get_all("link") == [
        '</?page=2>; rel="next", </?page=9>; rel="last", </%C3%A9>; rel="prev"'
    ]


async def test_links_of_nothing_set_nothing(serve):
    async def handler(req, res):
        await res.links({}).send()

    assert "link" not in (await serve(handler)).headers


async def test_a_relation_that_would_end_its_quotes_is_refused(failure):
    async def handler(req, res):
        res.links({'next", </evil>; rel="': "/"})

    assert isinstance(await failure(handler), FieldError)


async def test_after_the_head_no_link_can_be_set(failure):
    async def handler(req, res):
        await res.write("x")
        res.links({"next": "/"})

    assert isinstance(await failure(handler), HeadersAlreadySent)
