"""
A folder of files below a prefix: `app.use("/assets", static("assets"))`.

Names are compared segment by segment, and nothing outside of the folder can be had: not by `..`,
not by a link. What may not be had and what is not there look the same.

Source: RFC 9110 §9.3.2 (HEAD), §15.4.2 (301) and §15.5.6 (405); RFC 3986 §3.3 (segments).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from urllib.parse import unquote, unquote_to_bytes

from anyio import to_thread

from ._files.listing import Entry, entries_of, listing_page
from ._files.names import Dotfiles, check_names
from ._files.opening import open_below
from .errors import FolderFound, HTTPError
from .handlers import Middleware
from .request import Request
from .response import Response
from .types import Next

__all__ = ["static"]

METHODS: Final = ("GET", "HEAD")


def static(
    root: str | os.PathLike[str],
    *,
    index: str | Sequence[str] | None = "index.html",
    dotfiles: Dotfiles = "ignore",
    max_age: float | timedelta = 0,
    immutable: bool = False,
    fallthrough: bool = True,
    redirect: bool = True,
    extensions: Sequence[str] = (),
    precompressed: bool = True,
    listing: bool = False,
) -> Middleware:
    """
    Make a middleware that answers GET and HEAD with the files of a folder.

        app.use("/assets", static("assets", max_age=3600))

    Args:
        root: The folder. A relative one is below the folder that the program runs in now. It is
            opened anew for each request, so that it may be a link that is set to another release.
        index: The file that stands for a folder, or several to try; None is none.
        dotfiles: What to do about names that begin with a dot: `"ignore"` them (404), `"deny"` them
            (403) or `"allow"` them.
        max_age: How long caches may use a file without asking, in seconds or as a timedelta.
        immutable: A file never changes under its path while it is fresh.
        fallthrough: What is not there goes to the next route; otherwise it is a 404, and other
            methods are a 405.
        redirect: A folder without the `/` at its end is a 301 to the one with it.
        extensions: What to try behind a path that is no file, such as `("html",)`.
        precompressed: Send `style.css.br`, `.zst` or `.gz` in place of `style.css` to clients that
            take it.
        listing: Show what is in a folder that has no index.

    Returns:
        A middleware, for `app.use`.

    Raises:
        HTTPError: 400, a path that is no UTF-8; see `res.send_file()` for the others.
    """
    folder = os.path.abspath(root)
    indexes = () if index is None else (index,) if isinstance(index, str) else tuple(index)
    suffixes = ("", *(f".{each.removeprefix('.')}" for each in extensions))

    async def find(req: Request, res: Response) -> bool:
        """Answer, if there is something to answer with."""
        path, is_folder = _path_of(req)
        if path is None:
            return False
        candidates = [f"{path}{suffix}" for suffix in suffixes]
        if is_folder:
            candidates = [f"{path}/{each}" for each in indexes]
        for each in candidates:
            try:
                await res.send_file(
                    each.lstrip("/"),
                    root=folder,
                    dotfiles=dotfiles,
                    max_age=max_age,
                    immutable=immutable,
                    precompressed=precompressed,
                )
            except FolderFound:
                if redirect:
                    await res.redirect(_with_slash(req), 301)
                    return True
            except HTTPError as error:
                if error.status != 404 or res.started:
                    raise
            else:
                return True
        if is_folder and listing:
            return await show(path, req, res)
        return False

    async def show(path: str, req: Request, res: Response) -> bool:
        """Answer with a list of what is in a folder, if there is one."""
        names = check_names(path.split("/"), dotfiles)
        if names is None:
            return False
        found = await to_thread.run_sync(_entries, folder, names, dotfiles)
        if found is None:
            return False
        title = unquote(req.original_url.partition("?")[0])
        await res.send(listing_page(title, found[0], more=found[1], has_parent=bool(names)))
        return True

    async def static_files(req: Request, res: Response, next: Next) -> None:
        if req.method in METHODS and req.scope["type"] == "http":
            if await find(req, res):
                return
        elif not fallthrough:
            allow = {"allow": ", ".join(METHODS)}
            raise HTTPError(405, "files can be read here, and nothing else", headers=allow)
        if not fallthrough:
            raise HTTPError(404)
        await next()

    return static_files


def _entries(
    root: str, names: Sequence[str], dotfiles: Dotfiles
) -> tuple[list[Entry], bool] | None:
    """Return what is in a folder, and whether there is more; it runs in a thread."""
    opened = open_below(root, names)
    if opened is None:
        return None
    with opened:
        return entries_of(opened, dotfiles) if opened.is_folder else None


def _path_of(req: Request) -> tuple[str | None, bool]:
    """
    Return the path below the prefix, each segment decoded once, and whether it names a folder.

    None is a path that no file can have.
    """
    raw = req.url.partition("?")[0]
    try:
        names = [unquote_to_bytes(each).decode() for each in raw.split("/")]
    except UnicodeDecodeError as exc:
        raise HTTPError(400, "the path is not valid UTF-8") from exc
    if any("/" in name for name in names):
        return None, False
    ends = req.original_url.partition("?")[0].endswith("/")
    return "/".join(names).rstrip("/") if ends else "/".join(names), ends


def _with_slash(req: Request) -> str:
    """Return the target of a request with a `/` behind its path, as one of this host."""
    path, mark, query = req.original_url.partition("?")
    return f"/{path.strip('/')}/{mark}{query}"
