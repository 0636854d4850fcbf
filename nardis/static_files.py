"""
A folder of files below a prefix: `app.use("/assets", static("assets"))`.

Names are compared segment by segment, and nothing outside of the folder can be had: not by `..`,
not by a link. What may not be had and what is not there look the same.

Source: RFC 9110 §9.3.2 (HEAD), §15.4.2 (301) and §15.5.6 (405); RFC 3986 §3.3 (segments).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, TypedDict, get_args

from anyio import to_thread

from ._files.listing import POLICY, list_directory, listing_page
from ._files.names import check_names
from ._http.listing import listed
from ._sending.files import Caching, Dotfiles
from .errors import FolderFound, HTTPError, UsageError
from .handlers import Middleware
from .request import Request
from .response import Response
from .types import Next

__all__ = ["static"]

logger: logging.Logger = logging.getLogger("nardis")

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
            (403) or `"allow"` them. With *fallthrough* those of both are for the next route.
        max_age: How long caches may use a file without asking, in seconds or as a timedelta.
        immutable: A file never changes under its path while it is fresh.
        fallthrough: What is not there, or is denied, goes to the next route; otherwise it is a 404
            or a 403, and other methods are a 405.
        redirect: A folder without the `/` at its end is a 301 to the one with it.
        extensions: What to try behind a path that is no file, such as `("html",)`.
        precompressed: Send `style.css.br`, `.zst` or `.gz` in place of `style.css` to clients that
            take it.
        listing: Show what is in a folder that has no index.

    Returns:
        A middleware, for `app.use`.

    Raises:
        UsageError: *dotfiles* is none of the three, *max_age* is no time, or a text stands where a
            list belongs.
        HTTPError: By a request: 400, a path that is no percent-encoded UTF-8; see
            `res.send_file()`.
    """
    if dotfiles not in get_args(Dotfiles):
        raise UsageError(
            f"static(dotfiles=...) takes 'ignore', 'deny' or 'allow', and not {dotfiles!r}"
        )
    Caching(max_age, immutable).field()  # so that a mistake shows now, and not by a request
    names = [] if index is None else [index] if isinstance(index, str) else index
    indexes = listed("static(index=...)", names)
    endings = listed("static(extensions=...)", extensions)
    options: _Options = {
        "root": os.path.abspath(root),
        "dotfiles": dotfiles,
        "max_age": max_age,
        "immutable": immutable,
        "precompressed": precompressed,
    }
    return _StaticFiles(
        options,
        indexes=tuple(f"/{each}" for each in indexes),
        suffixes=("", *(f".{each.removeprefix('.')}" for each in endings)),
        fallthrough=fallthrough,
        redirect=redirect,
        listing=listing,
    )


class _Options(TypedDict):
    """How each file is sent."""

    root: str
    dotfiles: Dotfiles
    max_age: float | timedelta
    immutable: bool
    precompressed: bool


class _StaticFiles:
    """The middleware that `static` makes."""

    def __init__(
        self,
        options: _Options,
        *,
        indexes: Sequence[str],
        suffixes: Sequence[str],
        fallthrough: bool,
        redirect: bool,
        listing: bool,
    ) -> None:
        self._options = options
        self._indexes = indexes
        self._suffixes = suffixes
        self._falls_through = fallthrough
        self._redirects = redirect
        self._lists = listing
        self._is_checked = False  # whether the folder is there, once something was not in it
        self.__qualname__ = f"static({options['root']!r})"

    async def __call__(self, req: Request, res: Response, next: Next) -> None:
        if req.method in METHODS and req.scope["type"] == "http":
            if await self._find(req, res):
                return
        elif not self._falls_through:
            allow = {"allow": ", ".join(METHODS)}
            raise HTTPError(405, "files can be read here, and nothing else", headers=allow)
        if not self._falls_through:
            raise HTTPError(404)
        await next()

    async def _find(self, req: Request, res: Response) -> bool:
        """Answer, if there is something to answer with."""
        names = check_names(req.url.partition("?")[0])
        if names is None:
            return False
        path = "/".join(names.segments)
        # Below its prefix the root itself has no slash of its own.
        is_folder = req.original_url.partition("?")[0].endswith("/")
        for end in self._indexes if is_folder else self._suffixes:
            try:
                await res.send_file(f"{path}{end}", **self._options)
            except FolderFound:
                if self._redirects and not end:  # not for `a` where `a.html` is a folder
                    await res.redirect(_with_slash(req), 301)
                    return True
            except HTTPError as error:
                passes = error.status == 404 or (error.status == 403 and self._falls_through)
                if not passes or res.started:
                    raise
            else:
                return True
        if not self._is_checked:
            self._is_checked = True
            await to_thread.run_sync(self._warn_of_no_folder)
        may_be_shown = self._options["dotfiles"] == "allow" or not names.is_hidden
        return self._lists and is_folder and may_be_shown and await self._list(names.segments, res)

    def _warn_of_no_folder(self) -> None:
        root = self._options["root"]
        if not os.path.isdir(root):
            logger.warning("static(%r) has nothing to send: there is no such folder", root)

    async def _list(self, names: Sequence[str], res: Response) -> bool:
        """Answer with a list of what is in a folder, if there is one."""
        found = await to_thread.run_sync(list_directory, self._options["root"], names)
        if found is None:
            return False
        title = "".join(["/", *(f"{name}/" for name in names)])
        page = listing_page(title, found.entries, is_complete=found.is_complete)
        await res.set(*(each.decode() for each in POLICY)).send(page)
        return True


def _with_slash(req: Request) -> str:
    """Return the target of a request with a `/` behind its path, as one of this host."""
    path, mark, query = f"{req.base_url}{req.url}".partition("?")
    return f"/{path.strip('/')}/{mark}{query}"
