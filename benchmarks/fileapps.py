"""
The applications that `benchmarks.files` measures: a folder of files, by each framework's own means.

`python -m benchmarks.fileapps PORT` serves it with aiohttp, which is its own server.
"""

from __future__ import annotations

import os
import sys

FOLDER = os.environ.get("BENCH_FOLDER", ".")


def __getattr__(name: str):
    """Make the application that is asked for, and import no other framework."""
    if name == "nardis":
        from nardis import Nardis, static

        app = Nardis()
        app.use("/files", static(FOLDER))
        return app
    if name == "starlette":
        from starlette.applications import Starlette
        from starlette.routing import Mount
        from starlette.staticfiles import StaticFiles

        return Starlette(routes=[Mount("/files", StaticFiles(directory=FOLDER))])
    raise AttributeError(name)


def serve_aiohttp(port: int) -> None:
    from aiohttp import web

    app = web.Application()
    app.router.add_static("/files", FOLDER)
    web.run_app(app, host="127.0.0.1", port=port, print=None)


if __name__ == "__main__":
    serve_aiohttp(int(sys.argv[1]))
