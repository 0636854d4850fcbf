"""`res.vary()` (RFC 9110 §12.5.5)."""

import pytest

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("calls", "sent"),
    [
        ([("Accept",)], "Accept"),
        ([("Accept", "Origin")], "Accept, Origin"),
        ([("Accept",), ("Origin", "accept")], "Accept, Origin"),
        ([("Accept",), ("*",)], "*"),
        ([("*",), ("Accept",)], "*"),
        ([("Accept, Origin",), ("Origin",)], "Accept, Origin"),
        ([("Origin",), ("Accept, origin",)], "Origin, Accept"),
    ],
)
async def test_vary_names_each_field_once(serve, calls, sent):
    async def handler(req, res):
        for names in calls:
            assert res.vary(*names) is res
        await res.send()

    assert (await serve(handler)).headers.get_all("vary") == [sent]


async def test_vary_adds_to_what_was_set_on_several_lines(serve):
    async def handler(req, res):
        await res.append("vary", "Accept").append("vary", "Origin, ").vary("Cookie").send()

    assert (await serve(handler)).headers.get_all("vary") == ["Accept, Origin, Cookie"]


async def test_vary_of_nothing_sets_nothing(serve):
    async def handler(req, res):
        await res.vary().send()

    assert "vary" not in (await serve(handler)).headers
