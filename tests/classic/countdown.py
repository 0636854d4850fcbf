from nardis.asgi import main
from nardis.routing import Get as get, Post as post
import asyncio

async def countdown(req, res):
    await res.send("<!doctype html><title>countdown</title>", more=True)
    for n in range(3, 0, -1):
        await res.send(f"<p>{n}</p>", more=True)
        await asyncio.sleep(0.1)
    await res.send("<p>go</p>")

async def hello(req, res):
    await res.send(f"<h1>Hello, {req.params.get('name', 'world')}!</h1>")

async def teapot(req, res):
    res.status(418)
    res.headers["content-type"] = "text/plain"
    await res.send("short and stout")

app = main({"routes": [
    get(r"^/?$", countdown),
    get(r"^/hello/(?P<name>\w+)/?$", hello),
    post(r"^/tea$", teapot),
]})
