"""
Play the sounds and videos of a folder, in a page where one can seek in them.

A browser seeks by asking for ranges, and curl goes on with a download in the same way:

    MEDIA=/srv/media nardis serve examples/media.py:app

    curl -O -C - http://127.0.0.1:3000/media/film.mp4
    curl -r 0-999 -o beginning http://127.0.0.1:3000/media/film.mp4
"""

import os
from html import escape
from pathlib import Path
from urllib.parse import quote

from anyio import to_thread

from nardis import Limits, Nardis, Next, Request, Response, static

MEDIA = Path(os.environ.get("MEDIA", "media")).absolute()
MAX_AGE_S = 60 * 60

# What browsers play. It depends on the browser, too, what is inside of an .mp4 or an .ogg.
PLAYERS = {
    **dict.fromkeys([".mp4", ".m4v", ".ogv", ".webm"], "video"),
    **dict.fromkeys([".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wav"], "audio"),
}

# A player that is paused takes nothing, and after 30 s it is cut off, so that it does not hold a
# file open for ever. When it plays on, it asks for the rest by a range.
app = Nardis(limits=Limits(write_stall_s=30))


@app.use
async def guarded(req: Request, res: Response, next: Next) -> None:
    """Let the page play our own files, and nothing else; an HTML file among them can do nothing."""
    policy = "default-src 'none'; media-src 'self'; base-uri 'none'; frame-ancestors 'none'"
    res.set({"content-security-policy": policy, "x-content-type-options": "nosniff"})
    await next()


# Types, validators and ranges are seen to. The ETag is in what a player asks for next, so that it
# never gets half of one file and half of another.
app.use("/media", static(MEDIA, max_age=MAX_AGE_S, index=None, precompressed=False))


@app.get("/")
async def index(req: Request, res: Response) -> None:
    """Send the page, with a player for each file."""
    # Disks may be slow: never look into folders in the event loop.
    players = await to_thread.run_sync(lambda: [player(name) for name in names()])
    title = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Media</title>\n'
    await res.cache(no_cache=True).send(title + "\n".join(players))


def names() -> list[str]:
    """Find what can be had and played; a name that is not printable may not even be UTF-8."""
    return sorted(
        path.name
        for path in MEDIA.glob("[!.]*")
        if path.suffix.lower() in PLAYERS and path.name.isprintable() and path.is_file()
    )


def player(name: str) -> str:
    """Make the element: a name is quoted where it is a part of a URL, and escaped as a text."""
    kind = PLAYERS[Path(name).suffix.lower()]
    # Of a file that nobody plays, only its beginning is asked for, to know its length.
    element = f'<{kind} controls preload="metadata" src="/media/{quote(name)}"></{kind}>'
    return f"<figure><figcaption><bdi>{escape(name)}</bdi></figcaption>{element}</figure>"


if __name__ == "__main__":
    app.listen()
