"""
Content-Type: read, made from a file name's extension, compared.

Source: RFC 9110 §8.3.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, lru_cache

from ..errors import HTTPError
from .fields import _TYPES_IN_UTF8
from .grammar import (
    _QUOTED_TEXT,
    _TOKEN_TEXT,
    _UNQUOTED_TEXT,
    CACHED_VALUES,
    _remembered,
    _unescape,
)

__all__ = ["is_json", "mime_type", "parse_media_type", "type_is"]

_MEDIA_TYPE = re.compile(rf"{_TOKEN_TEXT}/{_TOKEN_TEXT}")
_PARAMETER = re.compile(
    rf'[ \t]*;[ \t]*(?:({_TOKEN_TEXT})=(?:({_UNQUOTED_TEXT})|"({_QUOTED_TEXT})"))?'
)

# Extensions whose type the standard library does not know or names by an obsolete name, and the common ones, so that the
# answer depends neither on the Python version nor on the host's mime.types. Names: IANA, where registered.
_TYPES = {
    "7z": "application/x-7z-compressed",
    "atom": "application/atom+xml",
    "avif": "image/avif",
    "bin": "application/octet-stream",
    "css": "text/css",
    "csv": "text/csv",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "epub": "application/epub+zip",
    "geojson": "application/geo+json",
    "gif": "image/gif",
    "gz": "application/gzip",
    "htm": "text/html",
    "html": "text/html",
    "ico": "image/vnd.microsoft.icon",
    "ics": "text/calendar",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "js": "text/javascript",
    "json": "application/json",
    "jsonl": "application/jsonl",
    "jsonld": "application/ld+json",
    "log": "text/plain",
    "m4a": "audio/mp4",
    "m4v": "video/x-m4v",
    "map": "application/json",
    "md": "text/markdown",
    "mjs": "text/javascript",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "ndjson": "application/x-ndjson",
    "odt": "application/vnd.oasis.opendocument.text",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "ogv": "video/ogg",
    "opus": "audio/ogg",
    "otf": "font/otf",
    "pdf": "application/pdf",
    "png": "image/png",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "rss": "application/rss+xml",
    "rtf": "application/rtf",
    "svg": "image/svg+xml",
    "tar": "application/x-tar",
    "text": "text/plain",
    "tgz": "application/gzip",
    "toml": "application/toml",
    "ttf": "font/ttf",
    "txt": "text/plain",
    "vtt": "text/vtt",
    "wasm": "application/wasm",
    "wav": "audio/wav",
    "weba": "audio/webm",
    "webm": "video/webm",
    "webmanifest": "application/manifest+json",
    "webp": "image/webp",
    "woff": "font/woff",
    "woff2": "font/woff2",
    "xhtml": "application/xhtml+xml",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "xml": "application/xml",
    "yaml": "application/yaml",
    "yml": "application/yaml",
    "zip": "application/zip",
    "zst": "application/zstd",
}


# Media types ----------------------------------------------------------------------------------------------------------
def parse_media_type(value: str) -> tuple[str, dict[str, str]]:
    """
    Read a Content-Type field: its type in lower case, and its parameters by their lower-case names.

    Parameter values keep their case; quoted ones come without quotes and backslashes. Empty parameters are skipped, an
    unquoted value may hold most of what RFC 2046 allows in a boundary.

    Raises:
        HTTPError: 400, the value is no media type, a parameter is malformed, or one comes twice (RFC 6838 §4.3): two
            parsers that each believe another one are how uploads get past filters.

    Source: RFC 9110 §8.3.1 and §5.6.6.
    >>> parse_media_type('Text/HTML; Charset="UTF-8";')
    ('text/html', {'charset': 'UTF-8'})
    """
    essence, parameters = _read_media_type(value, ())
    return essence, dict(parameters)


@_remembered
def _read_media_type(value: str, _: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    value = value.strip(" \t")
    match = _MEDIA_TYPE.match(value)
    if match is None:
        raise HTTPError(400, "malformed media type")
    essence = match[0].lower()
    parameters: dict[str, str] = {}
    end = match.end()
    while end < len(value):
        match = _PARAMETER.match(value, end)
        if match is None:
            raise HTTPError(400, "malformed parameter in a media type")
        end = match.end()
        name, plain, quoted = match.groups()
        if name is not None:
            name = name.lower()
            if name in parameters:
                raise HTTPError(400, f"parameter {name!r} comes twice in a media type")
            parameters[name] = plain if plain is not None else _unescape(quoted)
    return essence, parameters


def is_json(media_type: str) -> bool:
    """
    Tell whether a bare media type in lower case, as `parse_media_type` gives it, is JSON or built on JSON.

    Source: RFC 8259 §11; RFC 6839 §3.1.
    >>> is_json("application/json"), is_json("application/problem+json"), is_json("text/html")
    (True, True, False)
    """
    return media_type == "application/json" or media_type.endswith("+json")


@lru_cache(CACHED_VALUES)
def mime_type(ext_or_type: str) -> str:
    """
    Give the Content-Type to send for an extension, a file name or a media type.

    Text, JSON and JavaScript say that they are UTF-8, unless the type already says something else.

    Args:
        ext_or_type: `"json"`, `".png"`, `"report.pdf"`, or anything with a slash, which is taken as a media type.

    Returns:
        The field value; `application/octet-stream` when the extension is unknown.

    Source: RFC 9110 §8.3; Express's `res.type`.
    >>> mime_type("json"), mime_type(".png"), mime_type("text/plain"), mime_type("bogus")
    ('application/json; charset=utf-8', 'image/png', 'text/plain; charset=utf-8', 'application/octet-stream')
    """
    value = (
        ext_or_type
        if "/" in ext_or_type
        else _type_by_extension(ext_or_type) or "application/octet-stream"
    )
    essence = value.partition(";")[0].strip(" \t").lower()
    if (
        essence.startswith("text/") or essence in _TYPES_IN_UTF8
    ) and "charset=" not in value.lower():
        return f"{value}; charset=utf-8"
    return value


def _type_by_extension(name: str) -> str | None:
    extension = name.rpartition(".")[2].lower()
    return _TYPES.get(extension) or _library_types().get(f".{extension}")


@cache
def _library_types() -> dict[str, str]:
    # Imported late for the sake of start-up. An instance of its own does not read the host's mime.types.
    from mimetypes import MimeTypes

    return MimeTypes(filenames=()).types_map[True]


def type_is(content_type: str | None, types: Sequence[str] = ()) -> str | None:
    """
    Tell which of *types* a Content-Type is.

    Args:
        content_type: The field value; parameters do not matter, a malformed type matches nothing.
        types: Media types (`text/*` and `*/*` too), extensions (`"json"`), suffixes (`"+json"`), `"urlencoded"` or
            `"multipart"`.

    Returns:
        The first entry that matches, as it was given; the bare content type where the entry was a pattern or there are no
        *types*; `None` when nothing matches.

    Source: RFC 9110 §8.3.1; Express's `req.is`, without its question whether there is a body.
    >>> type_is("application/json; charset=utf-8", ["html", "json"]), type_is("image/png", ["image/*"])
    ('json', 'image/png')
    """
    return _type_is(content_type, tuple(types)) if content_type else None


@_remembered
def _type_is(content_type: str, types: tuple[str, ...]) -> str | None:
    actual = content_type.partition(";")[0].strip(" \t").lower()
    if not _MEDIA_TYPE.fullmatch(actual):
        return None
    for entry in types:
        if _matches(_expand(entry), actual):
            return actual if entry.startswith("+") or "*" in entry else entry
    return None if types else actual


def _expand(entry: str) -> str:
    """Write an entry of `type_is` as a media type, or as a pattern of one; empty when it is neither."""
    if "/" in entry:
        return entry.lower()
    if entry.startswith("+"):
        return f"*/*{entry.lower()}"
    return {"urlencoded": "application/x-www-form-urlencoded", "multipart": "multipart/*"}.get(
        entry
    ) or (_type_by_extension(entry) or "")


def _matches(pattern: str, actual: str) -> bool:
    pattern_type, _, pattern_subtype = pattern.partition("/")
    actual_type, _, actual_subtype = actual.partition("/")
    if pattern_type not in ("*", actual_type):
        return False
    if pattern_subtype.startswith("*+"):
        return actual_subtype.endswith(pattern_subtype[1:])
    return pattern_subtype in ("*", actual_subtype)
