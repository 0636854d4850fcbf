"""A page, and routers that let it read from another origin, or not: localhost, by the same port."""

from nardis import HTTPError, Nardis, Request, Response, Router
from nardis.middleware import cors

app = Nardis()


def is_page(origin: str, req: Request) -> bool:
    return origin.startswith("http://127.0.0.1:")


async def thing(req: Request, res: Response) -> None:
    if req.method == "DELETE":
        raise HTTPError(410)
    await res.send("a thing")


@app.get("/")
async def page(req: Request, res: Response) -> None:
    await res.send("<!doctype html><title>a page</title>")


for name, middleware in {
    "closed": cors(origins=["https://example.com"]),
    "named": cors(origins=is_page, credentials=True, expose_headers=["Allow"]),
    "open": cors(origins="*"),
}.items():
    router = Router()
    router.use(middleware)
    router.route("/thing").get(thing).put(thing).delete(thing)
    app.use(f"/{name}", router)
