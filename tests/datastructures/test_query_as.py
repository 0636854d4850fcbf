"""`req.query.as_()`: a query read into a type. The rules are tested in `tests/models`."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from nardis.datastructures import Query
from nardis.errors import HTTPError, UsageError


@dataclass
class Page:
    """What a list takes."""

    limit: int = 20
    tag: list[str] = field(default_factory=list[str])
    deep: bool = False


@pytest.mark.parametrize(
    ("raw", "page"),
    [
        ("", Page()),
        ("limit=5&tag=a&tag=b&deep=true&other=1", Page(5, ["a", "b"], deep=True)),
        ("tag=a", Page(tag=["a"])),
    ],
)
def test_texts_become_what_the_type_wants(raw: str, page: Page) -> None:
    assert Query(raw).as_(Page) == page


def test_every_fault_is_told_with_its_parameter() -> None:
    with pytest.raises(HTTPError) as caught:
        Query("limit=x&deep=maybe").as_(Page)

    assert caught.value.status == 422
    assert {each["parameter"] for each in caught.value.extensions["errors"]} == {"limit", "deep"}


def test_a_type_that_no_query_can_fill_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        Query("a=1").as_(int)


def test_too_many_pairs_are_still_too_many() -> None:
    with pytest.raises(HTTPError) as caught:
        Query("a=1&b=2", max_pairs=1).as_(Page)

    assert caught.value.status == 400
