"""Answers with something beside them: hints before the head, trailers behind the body."""

from __future__ import annotations

import hashlib

from nardis import Nardis, Request, Response

app = Nardis()


@app.get("/hints")
async def hints(req: Request, res: Response) -> None:
    await res.early_hints({"link": "</a.css>; rel=preload"})
    await res.send("later")


@app.get("/checked")
async def checked(req: Request, res: Response) -> None:
    digest = hashlib.sha256()
    res.type("text/plain").trailer("x-sum", "")
    for piece in (b"one ", b"two"):
        digest.update(piece)
        await res.write(piece)
    res.trailer("x-sum", digest.hexdigest()[:8])


@app.get("/fails")
async def fails(req: Request, res: Response) -> None:
    res.trailer("x-sum", "1")
    await res.write("one ")
    raise KeyError("two")


@app.get("/who")
async def who(req: Request, res: Response) -> None:
    await res.json([req.ip, req.protocol, req.host, req.client])
