"""
Take pictures from a browser's form, many at once, and show how far the upload is.

Each picture goes straight to the disk as it arrives: a form of 2 GiB takes no more memory than one
of 2 KiB. Who may send is not asked here; auth.py does that.

    PICTURES=/srv/pictures nardis serve examples/gallery.py:app

    curl -F picture=@cat.jpg -F picture=@dog.png http://127.0.0.1:3000/pictures
"""

import json
import os
import re
import secrets
import shutil
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from hashlib import sha256
from html import escape
from itertools import islice
from pathlib import Path

from anyio import to_thread

from nardis import HTTPError, Limits, Nardis, Request, Response, shielded

PICTURES = Path(os.environ.get("PICTURES", "pictures")).absolute()
SHOWN = 200  # the latest, on the page
FORM_S = 60 * 60  # longest time for a form
CLEANUP_S = 5
YEAR_S = 365 * 24 * 60 * 60

# What is taken, with its extension and how it begins. No SVG: scripts can be in it.
TYPES = {
    "image/gif": ("gif", rb"GIF8[79]a"),
    "image/jpeg": ("jpg", rb"\xff\xd8\xff"),
    "image/png": ("png", rb"\x89PNG\r\n\x1a\n"),
    "image/webp": ("webp", rb"RIFF.{4}WEBP"),
}

STYLE = "figure { display: inline-block; margin: 1em } img { max-width: 15em; max-height: 15em }"
# fetch() tells no progress of an upload. The redirect is followed: what comes is the new page.
SCRIPT = """
const form = document.querySelector("form"), button = form.querySelector("button");
const bar = form.querySelector("progress"), said = form.querySelector("output");
form.addEventListener("submit", event => {
  event.preventDefault();
  const request = new XMLHttpRequest();
  request.open("POST", form.action);
  request.setRequestHeader("accept", "text/html");
  request.responseType = "document";
  request.upload.onprogress = ({loaded, total}) => { bar.max = total; bar.value = loaded };
  request.onload = () => {
    const page = request.response, main = page?.querySelector("main");
    if (main) { document.querySelector("main").replaceWith(main); form.reset() }
    said.value = main ? "" : page?.querySelector("p")?.textContent ?? request.status;
  };
  request.onerror = () => { said.value = "The upload broke off." };
  request.onloadend = () => { button.disabled = false };
  button.disabled = true;
  bar.hidden = false;
  bar.value = 0;
  said.value = "";
  request.send(new FormData(form));
});
"""
PAGE = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Gallery</title>
<style>{STYLE}</style>
<form method="post" action="/pictures" enctype="multipart/form-data">
<input type="file" name="picture" accept="{",".join(TYPES)}" multiple required>
<button>Send</button> <progress value="0" hidden></progress> <output></output>
</form>
<main>
%s
</main>
<script>{SCRIPT}</script></html>
"""


def source(text: str) -> str:
    """Name an inline text in a Content-Security-Policy, by its digest."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


# This script, this style, and our own pictures; whatever else gets into a page does nothing.
POLICY = (
    f"default-src 'none'; script-src {source(SCRIPT)}; style-src {source(STYLE)}; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)

app = Nardis(limits=Limits(write_stall_s=20))


@app.lifespan
async def lifespan(app: Nardis) -> AsyncIterator[None]:
    """Make the folder, and remove what a server that was killed has left in it."""
    await to_thread.run_sync(tidy)
    yield


def tidy() -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    for draft in PICTURES.glob(".*"):
        with suppress(FileNotFoundError):  # another server has just finished it
            if time.time() - draft.stat().st_mtime > 2 * FORM_S:
                shutil.rmtree(draft, ignore_errors=True)


@app.get("/")
async def index(req: Request, res: Response) -> None:
    """Send the page, with the latest pictures first."""
    figures = await to_thread.run_sync(lambda: list(islice(latest(), SHOWN)))
    res.set("content-security-policy", POLICY).cache(no_store=True)
    await res.send(PAGE % "\n".join(figures))


def latest() -> Iterator[str]:
    """Describe each picture. Its name is a text of the client's, and only ever shown."""
    for names in sorted(PICTURES.glob("[!.]*/.names.json"), reverse=True):
        for file, name in json.loads(names.read_text()).items():
            image = f'<img src="/pictures/{names.parent.name}/{file}" alt="" loading="lazy">'
            yield f"<figure>{image}<figcaption><bdi>{escape(name)}</bdi></figcaption></figure>"


@app.get("/pictures/:upload/:file")
async def picture(req: Request, res: Response) -> None:
    """Send a picture as what it was checked to be; `root` keeps whatever is asked for inside."""
    res.set({"x-content-type-options": "nosniff", "content-security-policy": "default-src 'none'"})
    name = f"{req.params['upload']}/{req.params['file']}"
    await res.send_file(name, root=PICTURES, max_age=YEAR_S, immutable=True)


@app.post(
    "/pictures",
    limits=Limits(
        file_bytes=64 * 1024**2,
        streamed_body_bytes=2 * 1024**3,  # the whole form
        form_parts=200,
        body_idle_s=15,
        handler_s=FORM_S,
    ),
)
async def add(req: Request, res: Response) -> None:
    """
    Take all pictures of a form, or none: who sends it again gets none of them twice.

    They are in a folder that is hidden until the form is complete.
    """
    upload = f"{time.time_ns():x}-{secrets.token_hex(8)}"
    draft = PICTURES / f".{upload}"
    names: dict[str, str] = {}
    try:
        await to_thread.run_sync(draft.mkdir)
        async for part in req.parts():
            if not part.filename:  # no file, or an input that was left empty
                continue
            kind = (part.content_type or "").partition(";")[0].strip().lower()
            if kind not in TYPES:  # said before any of it is read
                raise HTTPError(415, f"{part.filename} is no picture of a type that is taken here")
            extension, beginning = TYPES[kind]
            file = f"{len(names)}.{extension}"
            await part.save(draft / file)
            if not await to_thread.run_sync(begins, draft / file, beginning):
                raise HTTPError(415, f"{part.filename} is not what its type says")
            names[file] = part.filename
        if not names:
            raise HTTPError(400, "there is no picture in the form")
        await to_thread.run_sync(publish, draft, PICTURES / upload, names)
    finally:
        with shielded(CLEANUP_S):
            await to_thread.run_sync(lambda: shutil.rmtree(draft, ignore_errors=True))
    await res.redirect("/", 303)


def begins(path: Path, beginning: bytes) -> bool:
    with path.open("rb") as file:
        return re.match(beginning, file.read(16), re.DOTALL) is not None


def publish(draft: Path, place: Path, names: dict[str, str]) -> None:
    """Show an upload, in one step."""
    (draft / ".names.json").write_text(json.dumps(names))
    draft.rename(place)


if __name__ == "__main__":
    app.listen()
