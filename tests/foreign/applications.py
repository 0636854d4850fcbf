"""A middleware that passes everything on, and applications around a foreign one."""

from nardis import Nardis


class Through:
    """A middleware that passes everything on, and marks heads."""

    def __init__(self, app, mark=b"x-through", *, log=None):
        self.app, self.mark, self.log = app, mark, log

    async def __call__(self, scope, receive, send):
        async def marked(message):
            if message["type"].endswith((".start", ".accept")):
                message["headers"] = [*message.get("headers", ()), (self.mark, b"1")]
            await send(message)

        if self.log is not None and scope["type"] != "lifespan":
            self.log.append(f"enter {scope['type']}")
        try:
            await self.app({**scope, "greeting": "hello"}, receive, marked)
        except Exception as exc:
            if self.log is not None:
                self.log.append(type(exc).__name__)
            raise


async def greet(req, res):
    await res.send(
        f"{req.scope.get('greeting')} {req.params.get('name')} {req.base_url} {req.path}"
    )


def mounted(asgi_app, prefix="/legacy", **options):
    app = Nardis(**options)
    app.mount(prefix, asgi_app)
    return app
