"""One handler, one request, one answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from nardis import Nardis
from nardis.testing import AppError, Client, TestResponse


async def _serve(handler, method="GET", *, app=None, client=None, **options) -> TestResponse:
    app = app or Nardis()
    app.method("GET" if method == "HEAD" else method, "/", handler)
    async with Client(app, **(client or {})) as driver:
        return await driver.request(method, "/", **options)


@pytest.fixture
def serve() -> Callable[..., Awaitable[TestResponse]]:
    """Return the answer of `handler(req, res)`; its errors fail the test. HEAD goes to GET."""
    return _serve


@pytest.fixture
def failure() -> Callable[..., Awaitable[BaseException | None]]:
    """Return the error of `handler(req, res)` that nobody answered but the application."""

    async def failure(handler, method="GET", **options):
        with pytest.raises(AppError) as caught:
            await _serve(handler, method, **options)
        return caught.value.__cause__

    return failure


@pytest.fixture
def seen_by_client() -> Callable[..., Awaitable[TestResponse]]:
    """Return the answer of a handler that fails, as its client gets it."""

    async def seen_by_client(handler, method="GET", **options):
        return await _serve(
            handler,
            method,
            client={"raise_app_errors": False, **options.pop("client", {})},
            **options,
        )

    return seen_by_client
