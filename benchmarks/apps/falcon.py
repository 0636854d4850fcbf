"""Falcon. Its middlewares are hooks before and after the handler."""

from __future__ import annotations

import falcon.asgi

from ..cases import HELLO, STREAMS, item, pieces


class Hello:
    async def on_get(self, req, resp):
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = HELLO


class One:
    async def on_get(self, req, resp, id):
        resp.media = item(id)


class Count:
    async def on_post(self, req, resp):
        resp.media = {"count": len((await req.get_media())["items"])}


class Stream:
    async def on_get(self, req, resp):
        resp.content_type = "application/octet-stream"
        resp.stream = pieces(req.path)


class Upload:
    async def on_post(self, req, resp):
        size = 0
        async for chunk in req.stream:
            size += len(chunk)
        resp.content_type = falcon.MEDIA_TEXT
        resp.text = str(size)


class Noop:
    async def process_request(self, req, resp):
        pass

    async def process_response(self, req, resp, resource, req_succeeded):
        pass


def make(routes, middlewares):
    app = falcon.asgi.App(middleware=[Noop() for _ in range(middlewares)])
    app.add_route("/hello", Hello())
    for path in STREAMS:
        app.add_route(path, Stream())
    app.add_route("/count", Count())
    app.add_route("/upload", Upload())
    one = One()
    for n in range(routes):
        app.add_route(f"/api/r{n}/items/{{id}}", one)
    return app
