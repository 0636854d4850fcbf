from nardis.asgi import main
from nardis.routing import BaseHTTPMatcher, Delete, Get, default_404, default_500
from nardis.routing.pattern import RegexPattern


class Purge(BaseHTTPMatcher):
    method = "PURGE"


class Exactly:
    def __init__(self, text):
        self.text = text

    def match(self, path):
        return path == self.text

    def parse(self, path):
        return {"length": len(path)}


class Shouting(RegexPattern):
    def parse(self, path):
        return {name: value.upper() for name, value in super().parse(path).items()}


async def show(req, res):
    await res.send(f"{req.method} {sorted(req.params.items())}")


async def fail(req, res):
    raise RuntimeError("oops")


async def action_404(req, res):
    res.status(404)
    await res.send(f"<h1>{req.path} is not here</h1>")


async def action_500(req, res):
    res.status(500)
    await res.send("<h1>it is us</h1>")


routes = [
    Get("^/fail$", fail),
    Get("/exactly", show, Exactly),
    Get("^/shout/(?P<word>[a-z]+)$", show, pattern_cls=Shouting),
    Get("^/shout/", show),
    Delete(r"^/items/(?P<id>\d+)$", show),
    Purge("items", show),
]

app = main({"routes": routes, "action_404": action_404, "action_500": action_500})
plain = main(routes)
spelled_out = main({"routes": routes, "action_404": default_404, "action_500": default_500})
