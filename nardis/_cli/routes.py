"""`nardis routes`: what an application answers."""

from __future__ import annotations

from ..errors import UsageError
from ..routing.router import Router
from ..server.target import load

__all__ = ["list_routes"]


def list_routes(target: str) -> None:
    """
    Print method, path and name of each route of *target*, in the order in which they are asked.

    Raises:
        UsageError: It is no Nardis application.
    """
    app: object = load(target)
    if not isinstance(app, Router):
        raise UsageError(f"{target!r} is no Nardis application: its routes are not known")
    routes = app.routes()
    paths = [f"{each.host or ''}{each.path}" for each in routes]
    wide = max((len(each.method or "*") for each in routes), default=0)
    broad = max(map(len, paths), default=0)
    for each, path in zip(routes, paths, strict=True):
        print(f"{each.method or '*':{wide}}  {path:{broad}}  {each.name or ''}".rstrip())
