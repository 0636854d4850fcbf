"""Serve an example beside its test, where the test changes what is in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from nardis.server import Config, serve


@asynccontextmanager
async def serving(app: Any, backend: str) -> AsyncIterator[str]:
    """Serve *app* on a free port, in the running event loop, and return its URL."""
    stop = anyio.Event()
    config = Config(bind=["127.0.0.1:0"], backend=backend, drain_s=1)

    async def run(*, task_status: Any) -> None:
        await serve(app, config, shutdown=stop.wait, task_status=task_status)

    async with anyio.create_task_group() as group:
        (url,) = await group.start(run)
        yield url
        stop.set()
