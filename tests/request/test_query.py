"""`req.query`, the pairs of the query string."""

import pytest

from nardis import Limits, Nardis

pytestmark = pytest.mark.anyio


async def test_query_is_decoded_and_gives_the_first_of_a_name(ask):
    query = await ask(lambda req: req.query, url="/?q=caf%C3%A9+noir&tag=a&tag=b&flag")

    assert dict(query) == {"q": "café noir", "tag": "a", "flag": ""}
    assert query.get_all("tag") == ["a", "b"]


async def test_query_is_parsed_once(ask):
    assert await ask(lambda req: req.query is req.query, url="/?a=1")


async def test_as_many_pairs_as_the_limit_are_fine(ask):
    assert (
        len(
            await ask(
                lambda req: req.query, url="/?a&b&c", app=Nardis(limits=Limits(query_pairs=3))
            )
        )
        == 3
    )


async def test_more_pairs_than_the_limit_are_a_400(refusal):
    app = Nardis(limits=Limits(query_pairs=3))

    assert (await refusal(lambda req: len(req.query), url="/?a&b&c&d", app=app)).status_code == 400


async def test_a_query_that_nobody_looks_at_is_not_counted(ask):
    assert (
        await ask(lambda req: req.path, url="/?a&b&c", app=Nardis(limits=Limits(query_pairs=1)))
        == "/"
    )
