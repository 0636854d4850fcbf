"""One request to one handler, and what the handler saw of it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from nardis import Nardis
from nardis.testing import AppError, Client, TestResponse


async def _ask(
    look: Callable[..., Any],
    seen: list[Any],
    method: str,
    url: str,
    app: Nardis | None,
    client: dict[str, Any],
    options: dict[str, Any],
) -> TestResponse:
    app = app or Nardis()

    async def handler(req, res):
        value = look(req)
        seen.append(await value if inspect.isawaitable(value) else value)
        await res.send()

    app.all("/{*anything}", handler)
    async with Client(app, **client) as driver:
        return await driver.request(method, url, **options)


@pytest.fixture
def ask() -> Callable[..., Awaitable[Any]]:
    """Return what `look(req)` returned, or what awaiting it did."""

    async def ask(look, method="GET", url="/", *, app=None, client=None, **options):
        seen = []
        response = await _ask(look, seen, method, url, app, client or {}, options)
        assert response.status_code == 200, response.text
        return seen[0]

    return ask


@pytest.fixture
def refusal() -> Callable[..., Awaitable[TestResponse]]:
    """Return the answer that the client got because `look(req)` raised an HTTPError."""

    async def refusal(look, method="GET", url="/", *, app=None, client=None, **options):
        seen = []
        response = await _ask(look, seen, method, url, app, client or {}, options)
        assert not seen
        return response

    return refusal


@pytest.fixture
def failure() -> Callable[..., Awaitable[BaseException | None]]:
    """Return the error that `look(req)` raised and nobody answered."""

    async def failure(look, method="GET", url="/", *, app=None, client=None, **options):
        with pytest.raises(AppError) as caught:
            await _ask(look, [], method, url, app, client or {}, options)
        return caught.value.__cause__

    return failure
