"""
The applications: raw ASGI, Nardis, and the peers; each module has a `make(routes, middlewares)`.

A peer is measured as its documentation shows it, with the means that suit the case: a stream as a
generator, text as text.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

BOTH = ("asyncio", "trio")


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One column of the tables.

    Attributes:
        package: What is installed and whose version counts; None for raw ASGI.
        imports: What an application of it imports at least.
        options: What else `make()` gets.
        nature: What it is made of, if not of Python alone, and what else is to be known.
        most_routes: Above, no figure: making the application takes too long.
    """

    name: str
    title: str
    module: str
    package: str | None
    imports: str
    backends: tuple[str, ...] = ("asyncio",)
    options: dict[str, Any] = field(default_factory=dict)
    nature: str = ""
    most_routes: int = 5000

    @property
    def version(self) -> str | None:
        """The installed version; None if it is not installed."""
        if self.package is None:
            return ""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None

    def make(self, routes: int, middlewares: int) -> Any:
        make: Callable[..., Any] = importlib.import_module(f"{__name__}.{self.module}").make
        return make(routes, middlewares, **self.options)


ENTRIES = (
    Entry("raw", "raw ASGI", "raw", None, "pass", BOTH),
    Entry("nardis", "Nardis", "nardis", "nardis", "import nardis", BOTH),
    Entry("nardis-kept", "Nardis¹", "nardis", "nardis", "", BOTH, {"cancel_on_disconnect": False}),
    Entry(
        "starlette",
        "Starlette",
        "starlette",
        "starlette",
        "import starlette.applications, starlette.responses",
        BOTH,
    ),
    Entry(
        "fastapi",
        "FastAPI",
        "fastapi",
        "fastapi",
        "import fastapi",
        BOTH,
        nature="pydantic-core is Rust",
    ),
    Entry("quart", "Quart", "quart", "quart", "import quart"),
    Entry("quart-trio", "Quart-Trio", "quart_trio", "quart-trio", "import quart_trio", ("trio",)),
    Entry(
        "litestar",
        "Litestar",
        "litestar",
        "litestar",
        "import litestar",
        BOTH,
        nature="msgspec is C",
        most_routes=500,
    ),
    Entry(
        "blacksheep",
        "BlackSheep",
        "blacksheep",
        "blacksheep",
        "import blacksheep",
        nature="its core is Cython",
    ),
    Entry(
        "falcon",
        "Falcon",
        "falcon",
        "falcon",
        "import falcon.asgi",
        nature="with small helpers in Cython",
        most_routes=500,
    ),
    Entry(
        "sanic",
        "Sanic",
        "sanic",
        "sanic",
        "import sanic",
        nature="as an ASGI application, not on its own server",
    ),
)
BY_NAME = {entry.name: entry for entry in ENTRIES}
