"""`req.range()`: what a client wants of a representation. The rules are tested in `tests/http`."""

import pytest

from nardis import Limits, Nardis

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("field", "options", "found"),
    [
        (None, {}, None),
        ("bytes=0-9", {}, [range(10)]),
        ("bytes=-10", {}, [range(90, 100)]),
        ("bytes=0-9, 5-19", {}, [range(10), range(5, 20)]),
        ("bytes=0-9, 5-19", {"combine": True}, [range(20)]),
        ("items=0-9", {}, None),
        ("bytes=x", {}, None),
    ],
)
async def test_range_gives_half_open_ranges(ask, field, options, found):
    headers = {} if field is None else {"range": field}
    assert await ask(lambda req: req.range(100, **options), headers=headers) == found


async def test_a_range_outside_of_all_is_a_416_with_the_size(refusal):
    response = await refusal(lambda req: req.range(100), headers={"range": "bytes=100-"})
    assert response.status_code == 416
    assert response.headers["content-range"] == "bytes */100"


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT"])
async def test_a_range_means_nothing_to_another_method_than_get(ask, method):
    assert await ask(lambda req: req.range(100), method, headers={"range": "bytes=0-9"}) is None


async def test_more_ranges_than_the_limit_are_ignored(ask):
    app = Nardis(limits=Limits(ranges=2))
    headers = {"range": "bytes=0-1,4-5,8-9"}
    assert await ask(lambda req: req.range(100), app=app, headers=headers) is None
