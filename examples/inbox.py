"""
Take uploads that can be resumed, and that are checked before they are there.

    INBOX=/srv/inbox nardis serve examples/inbox.py:app

    curl -T large.iso http://127.0.0.1:3000/inbox/        # all of it, or nothing
    curl -C - -T large.iso http://127.0.0.1:3000/inbox/   # what arrives before a cut is kept
    curl -I http://127.0.0.1:3000/inbox/large.iso         # Upload-Offset: 734003200
    curl -C 734003200 -T large.iso http://127.0.0.1:3000/inbox/

The digest of the whole file is checked, if the client sends it. Nothing else shows that all pieces
are of one file:

    sum=$(openssl dgst -sha256 -binary large.iso | base64)
    curl -T large.iso -H "Repr-Digest: sha-256=:$sum:" http://127.0.0.1:3000/inbox/

Source: RFC 9110 §14.4 and §14.5 (Content-Range in a PUT, as curl sends it); RFC 9530 (Repr-Digest).
Upload-Offset and Upload-Complete are fields of draft-ietf-httpbis-resumable-upload; the rest of it
is not here.
"""

import base64
import fcntl
import hashlib
import os
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import anyio
from anyio import to_thread

from nardis import HTTPError, Limits, Nardis, Request, Response, shielded

INBOX = Path(os.environ.get("INBOX", "inbox")).absolute()
# Here `name` is an upload in pieces, and `.name` a whole one that is not checked yet.
UNFINISHED = INBOX / ".unfinished"
MAX_BYTES = 10 * 1024**3  # of one file
KEEP_S = 24 * 60 * 60  # an unfinished upload, from its last byte on
TIDY_S = 60 * 60
CLOSE_S = 5

# Not the devices of Windows, nor a dot at the end: res.download(root=...) would not send them.
NAME = re.compile(
    r"(?!(?:aux|con|nul|prn|(?:com|lpt)[0-9])(?:\.|\Z))[a-z0-9_-](?:[a-z0-9._-]{0,98}[a-z0-9_-])?",
    re.ASCII | re.IGNORECASE,
)
CONTENT_RANGE = re.compile(r"(?ai:bytes) ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
SHA_256 = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")

app = Nardis(
    errors="problem",
    limits=Limits(streamed_body_bytes=MAX_BYTES, body_idle_s=15, write_stall_s=20),
)


@app.lifespan
async def lifespan(app: Nardis) -> AsyncIterator[None]:
    """Make the folders, and look after them."""
    await to_thread.run_sync(lambda: UNFINISHED.mkdir(parents=True, exist_ok=True))
    app.tasks.start_soon(tidy, app)
    yield


async def tidy(app: Nardis) -> None:
    """Remove uploads that nobody goes on with; end with the server, and not a moment later."""
    while not app.draining.is_set():
        await to_thread.run_sync(remove_forgotten)
        with anyio.move_on_after(TIDY_S):
            await app.draining.wait()


def remove_forgotten() -> None:
    for path in UNFINISHED.iterdir():
        with suppress(FileNotFoundError, HTTPError):  # somebody goes on with it after all
            if time.time() - path.stat().st_mtime > KEEP_S:
                with begin(path):
                    path.unlink()


@app.param("name")
def checked(name: str) -> str:
    """Take no name that leads elsewhere: for a ValueError there is no such route."""
    if not NAME.fullmatch(name):
        raise ValueError(name)
    return name


@app.put("/inbox/:name")
async def put(req: Request, res: Response) -> None:
    """Take a file, or a piece of it."""
    name: str = req.params["name"]
    wanted, piece = sent_digest(req), sent_range(req)
    path, whole = UNFINISHED / name, UNFINISHED / f".{name}"
    status, digest = 204, ""
    async with kept(path) as part:
        if piece is None:
            await req.save(whole)
            status, digest = await to_thread.run_sync(publish, whole, b"", name, wanted)
            await to_thread.run_sync(part.truncate, 0)  # pieces of another one are out of date
        elif rest := await append(req, part, *piece):
            status, digest = await to_thread.run_sync(publish, path, rest, name, wanted)
        else:
            res.set({"upload-offset": piece[1] + 1, "upload-complete": "?0"})
    # Outside of the block: a client that has its answer may send the next piece at once.
    if not digest:
        await res.send_status(204)
    else:
        # No field Repr-Digest: that would be of this answer, and not of the file (RFC 9530 §3.1).
        await res.status(status).json({"name": name, "digest": digest})


@app.get("/inbox/:name")
async def get(req: Request, res: Response) -> None:
    """Send a file; HEAD also tells how much of an unfinished one is there."""
    name: str = req.params["name"]
    there = 0
    if req.method == "HEAD":
        with suppress(FileNotFoundError):
            there = (await to_thread.run_sync((UNFINISHED / name).stat)).st_size
    if there:
        res.set({"upload-offset": there, "upload-complete": "?0"}).cache(no_store=True)
    try:
        await res.download(name, root=INBOX)
    except HTTPError as exc:
        if exc.status != 404 or not there:
            raise
        await res.send_status(204)


def sent_digest(req: Request) -> bytes | None:
    """Return the SHA-256 that the client names, if it does; other algorithms are ignored."""
    wanted = None
    for member in req.get("repr-digest", "").split(","):
        text = member.strip(" \t").partition(";")[0]
        if text.partition("=")[0].strip().lower() == "sha-256":
            match = SHA_256.fullmatch(text)
            if match is None:
                raise HTTPError(400, "the SHA-256 in Repr-Digest is not that of RFC 9530")
            wanted = base64.b64decode(match[1])
    return wanted


def sent_range(req: Request) -> tuple[int, int, int] | None:
    """Return the first byte that is sent, the last, and the size of all; None for a whole file."""
    field = req.get("content-range")
    if field is None:
        return None
    match = CONTENT_RANGE.fullmatch(field)
    first, last, size = map(int, match.groups()) if match else (0, 0, 0)
    if not first <= last < size:
        raise HTTPError(416, "a Content-Range here is like `bytes 0-999/5000`")
    if size > MAX_BYTES:
        raise HTTPError(413, f"no file here is larger than {MAX_BYTES:,} bytes", limit=MAX_BYTES)
    return first, last, size


async def append(req: Request, part: BinaryIO, first: int, last: int, size: int) -> bytes:
    """Add a piece to what is there, as far as it arrives; return the very end of the file."""
    there = part.tell()
    if first != there:
        fields = {"upload-offset": str(there), "upload-complete": "?0"}
        raise HTTPError(409, f"the next piece has to begin at byte {there}", headers=fields)
    left = last + 1 - first
    if req.content_length not in (None, left):
        raise HTTPError(400, "Content-Length and Content-Range do not agree")
    rest = b""
    async for chunk in req:
        left -= len(chunk)
        if left < 0:
            break
        if left == 0 and last + 1 == size:
            # Not yet: if the server is stopped before the file is published, there has to be a byte
            # left that the client can go on with.
            rest = chunk
        else:
            await to_thread.run_sync(part.write, chunk)  # what came before a cut is there
    await to_thread.run_sync(part.flush)
    if left:
        raise HTTPError(400, "the body has not the length that its Content-Range says")
    return rest


def publish(ready: Path, rest: bytes, name: str, wanted: bytes | None) -> tuple[int, str]:
    """Check a file, write its end, and give it its name; if it is not what was sent, it goes."""
    with ready.open("r+b") as file:
        found = hashlib.file_digest(file, "sha256")
        found.update(rest)
        digest = f"sha-256=:{base64.b64encode(found.digest()).decode()}:"
        if wanted not in (None, found.digest()):
            ready.unlink()
            raise HTTPError(400, "what arrived is not what Repr-Digest says", digest=digest)
        file.write(rest)
    status = 200 if (INBOX / name).exists() else 201  # RFC 9110 §9.3.4
    ready.replace(INBOX / name)
    return status, digest


@asynccontextmanager
async def kept(path: Path) -> AsyncGenerator[BinaryIO, None]:
    """Open what is there of an upload, for one client at a time."""
    part = await to_thread.run_sync(begin, path)
    try:
        yield part
    finally:
        with shielded(CLOSE_S):
            await to_thread.run_sync(end, path, part)


def begin(path: Path) -> BinaryIO:
    """Open and lock an unfinished upload. Other processes see the lock; it ends with this one."""
    part = path.open("ab")
    with suppress(BlockingIOError):
        fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if is_at(path, part):  # nobody published or removed it before it was locked
            part.seek(0, os.SEEK_END)
            return part
    part.close()
    raise HTTPError(409, "this file is being sent already; try again later")


def end(path: Path, part: BinaryIO) -> None:
    """Close an unfinished upload, which unlocks it; where nothing came, there is none."""
    with part:
        if part.seek(0, os.SEEK_END) == 0 and is_at(path, part):
            path.unlink()


def is_at(path: Path, file: BinaryIO) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    return False


if __name__ == "__main__":
    app.listen()
