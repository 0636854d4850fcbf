"""
Keep notes behind a JSON API, in pages and in versions; changing them needs a key.

The CORS middleware is Starlette's, and the bounds of what is validated are msgspec's:

    API_KEY=a-key-of-your-own nardis serve examples/api.py:app

    curl -i -d '{"title": "tea", "tags": ["green"]}' -H "Content-Type: application/json" \
        -H "Authorization: Bearer a-key-of-your-own" http://127.0.0.1:3000/notes
    curl -i "http://127.0.0.1:3000/notes?limit=10&offset=0"
    curl -N http://127.0.0.1:3000/notes/export
"""

import hmac
import json
import os
import secrets
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Annotated

from msgspec import Meta
from starlette.middleware.cors import CORSMiddleware

from nardis import HTTPError, Limits, Nardis, Next, Request, Response, wrap

# Without a key from outside, nobody has one, and nobody changes anything.
KEY = os.environ.get("API_KEY") or secrets.token_hex(32)
ORIGIN = os.environ.get("ORIGIN", "https://notes.example")  # whose pages may use this API
MAX_NOTES = 10_000  # they live in memory


@dataclass
class Page:
    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    offset: Annotated[int, Meta(ge=0)] = 0


@dataclass
class Draft:
    title: Annotated[str, Meta(min_length=1, max_length=200)]
    text: str = ""
    tags: list[str] = field(default_factory=list[str])


@dataclass
class Note:
    id: int
    draft: Draft
    # Its ETag, a strong one: the weak ones that `json` makes never match an If-Match. It does not
    # count up, because it would begin anew after a restart, with other notes.
    version: str = field(default_factory=secrets.token_hex)


class NoSuchNote(Exception):
    """A note was asked for that is not there, or not any more."""


app = Nardis(errors="problem", limits=Limits(buffered_body_bytes=32 * 1024, body_idle_s=15))
# First, so that its fields are on answers to errors too: on all but the 500 of an unforeseen one.
app.use(
    wrap(
        CORSMiddleware,
        allow_origins=[ORIGIN],
        allow_methods=["GET", "POST", "PUT", "DELETE"],
        allow_headers=["authorization", "content-type", "if-match"],
        expose_headers=["etag", "location"],
    )
)
app.param("id", int)  # where it is no number, the route does not match


@app.lifespan
async def lifespan(app: Nardis) -> AsyncIterator[None]:
    """Begin with no notes; a database would be opened here, and closed after the `yield`."""
    app.state.notes = {}
    app.state.ids = count(1)
    yield


def notes() -> dict[int, Note]:
    """Return all notes; `app.state` knows no types."""
    kept: dict[int, Note] = app.state.notes
    return kept


def find(id: int) -> Note:
    """Return a note that is there."""
    if id not in notes():
        raise NoSuchNote(f"there is no note {id}")
    return notes()[id]


async def bearer(req: Request, res: Response, next: Next) -> None:
    """Ask for the key (RFC 6750). Nothing of the body is read before `next` is called."""
    scheme, _, key = req.get("authorization", "").partition(" ")
    # As bytes: compare_digest raises for a text that is not ASCII.
    if scheme.lower() != "bearer" or not hmac.compare_digest(key.strip().encode(), KEY.encode()):
        challenge = 'Bearer realm="notes"'
        raise HTTPError(401, "the key is needed", headers={"www-authenticate": challenge})
    await next()


@app.error(NoSuchNote)
async def missing(err: NoSuchNote, req: Request, res: Response) -> None:
    """Answer as for any 404: what is raised here becomes the problem document."""
    raise HTTPError(404, str(err)) from err


@app.get("/notes")
async def listed(req: Request, res: Response) -> None:
    """Send one page, oldest first."""
    page = req.query.as_(Page)
    found = list(notes().values())[page.offset : page.offset + page.limit]
    await res.json({"total": len(notes()), "notes": found})


@app.get("/notes/export")
async def export(req: Request, res: Response) -> None:
    """Send all notes, one a line: a slow client slows this loop, and one that leaves ends it."""
    res.type("application/x-ndjson")
    for note in list(notes().values()):  # a copy: others change them meanwhile
        await res.write(json.dumps(asdict(note)) + "\n")
    await res.end()  # where there are no notes, nothing was written, and that would be no answer


@app.get("/notes/:id", name="note")
async def read(req: Request, res: Response) -> None:
    """Send a note; a client that has this version already gets a 304, by its ETag."""
    note = find(req.params["id"])
    await res.etag(note.version).json(note)


@app.post("/notes", bearer)
async def create(req: Request, res: Response) -> None:
    """Keep a new note, and say where it is."""
    draft = await req.json(Draft)
    if len(notes()) >= MAX_NOTES:
        raise HTTPError(507, "there is no room for another note")
    note = Note(next(app.state.ids), draft)
    notes()[note.id] = note
    res.status(201).location(req.url_for("note", id=note.id))
    await res.etag(note.version).json(note)


@app.put("/notes/:id", bearer)
async def replace(req: Request, res: Response) -> None:
    """Replace a note, if the client names the version that it saw."""
    draft = await req.json(Draft)
    # Nothing is awaited from here to the change, so no other request comes between.
    note = find(req.params["id"])
    if req.get("if-match") is None:
        raise HTTPError(428, "say in If-Match which version this replaces")
    req.check_preconditions(etag=note.version)
    note = notes()[note.id] = Note(note.id, draft)
    await res.etag(note.version).json(note)


@app.delete("/notes/:id", bearer)
async def delete(req: Request, res: Response) -> None:
    """Forget a note; with If-Match, only in that version."""
    note = find(req.params["id"])
    req.check_preconditions(etag=note.version)
    del notes()[note.id]
    await res.send_status(204)


if __name__ == "__main__":
    app.listen()
