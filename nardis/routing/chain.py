"""A path that several methods share, named once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Unpack

from ..handlers import Handler, Middleware
from .layer import Layer, Match, Path, Route, RouteOptions, checked_method

__all__ = ["Registers", "RouterRoute", "without_chain"]


class Registers(Protocol):
    """Where a chain registers its routes: a router."""

    def register(
        self,
        method: str | None,
        path: Path,
        handlers: Sequence[Handler | Middleware | Sequence[Any]],
        options: RouteOptions,
        /,
    ) -> Route:
        """Add a route, of any method where that is None."""
        ...


class RouterRoute:
    """
    A path that is named once: each verb registers a route on it and returns this object.

    Each takes handlers and options as the verb of a router does. A `SkipRoute` leaves all of them.
    """

    def __init__(self, router: Registers, path: Path) -> None:
        self._router = router
        self._path = path
        self._routes: list[Route] = []

    def get(self, *handlers: Handler | Middleware, **options: Unpack[RouteOptions]) -> RouterRoute:
        """Answer GET."""
        return self._register("GET", handlers, options)

    def post(self, *handlers: Handler | Middleware, **options: Unpack[RouteOptions]) -> RouterRoute:
        """Answer POST."""
        return self._register("POST", handlers, options)

    def put(self, *handlers: Handler | Middleware, **options: Unpack[RouteOptions]) -> RouterRoute:
        """Answer PUT."""
        return self._register("PUT", handlers, options)

    def patch(
        self, *handlers: Handler | Middleware, **options: Unpack[RouteOptions]
    ) -> RouterRoute:
        """Answer PATCH."""
        return self._register("PATCH", handlers, options)

    def delete(
        self, *handlers: Handler | Middleware, **options: Unpack[RouteOptions]
    ) -> RouterRoute:
        """Answer DELETE."""
        return self._register("DELETE", handlers, options)

    def head(self, *handlers: Handler | Middleware, **options: Unpack[RouteOptions]) -> RouterRoute:
        """Answer HEAD, which GET's handlers here are then not asked for, before or behind."""
        return self._register("HEAD", handlers, options)

    def options(
        self, *handlers: Handler | Middleware, **options: Unpack[RouteOptions]
    ) -> RouterRoute:
        """Answer OPTIONS."""
        return self._register("OPTIONS", handlers, options)

    def all(self, *handlers: Handler | Middleware, **options: Unpack[RouteOptions]) -> RouterRoute:
        """Answer any method."""
        return self._register(None, handlers, options)

    def method(
        self, method: str, *handlers: Handler | Middleware, **options: Unpack[RouteOptions]
    ) -> RouterRoute:
        """Answer *method*."""
        return self._register(checked_method(method), handlers, options)

    def _register(
        self, method: str | None, handlers: Sequence[Handler | Middleware], options: RouteOptions
    ) -> RouterRoute:
        route = self._router.register(method, self._path, handlers, options)
        route.chain = self
        for earlier in self._routes:
            if method in (None, earlier.method):
                earlier.only = None  # a SkipRoute of it leaves this one too, which takes a walk
        self._routes.append(route)
        if any(each.method == "HEAD" for each in self._routes):
            for each in self._routes:
                each.heads = False
        return self


def without_chain(
    layers: list[tuple[Layer, Match | None]], at: int
) -> list[tuple[Layer, Match | None]]:
    """
    Leave out what stands behind the route at *at* and shares its path by `route()`.

    A route that was skipped is left with all its methods: a guard for any of them stands in front.
    """
    chain = layers[at][0].chain
    if chain is None:
        return layers
    behind = [each for each in layers[at + 1 :] if each[0].chain is not chain]
    return [*layers[: at + 1], *behind]  # a new one: the old one may be that of others
