"""`res.cache()`: Cache-Control (RFC 9111 §5.2.2)."""

from datetime import timedelta

import pytest

from nardis import UsageError

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("directives", "sent"),
    [
        ({"public": True, "max_age": 3600}, {"public", "max-age=3600"}),
        ({"private": True, "no_cache": True}, {"private", "no-cache"}),
        ({"max_age": timedelta(days=1), "immutable": True}, {"max-age=86400", "immutable"}),
        ({"no_store": True}, {"no-store"}),
    ],
)
async def test_cache_sets_cache_control(serve, directives, sent):
    async def handler(req, res):
        assert res.set("cache-control", "old").cache(**directives) is res
        await res.send()

    assert set((await serve(handler)).headers["cache-control"].split(", ")) == sent


async def test_a_contradiction_is_refused(failure):
    async def handler(req, res):
        res.cache(public=True, private=True)

    assert isinstance(await failure(handler), UsageError)
