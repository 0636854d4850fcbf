"""
Content-Type: read, made from a file name's extension, compared, and given a charset.

Source: RFC 9110 §8.3 (the field) and §5.6.6 (its parameters); RFC 6838 §4.3 (duplicates); RFC 6839
§3.1 (suffixes); RFC 8259 §11 (JSON).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Final

from ..errors import HTTPError
from .grammar import CACHED_VALUES, QUOTED_TEXT, TOKEN_TEXT, UNQUOTED_TEXT, remembered, unescape

__all__ = [
    "MEDIA_TYPE",
    "in_utf8",
    "is_json",
    "mime_type",
    "parse_media_type",
    "type_by_extension",
    "type_is",
]

# media-type without its parameters = type "/" subtype, RFC 9110 §8.3.1.
MEDIA_TYPE: Final = re.compile(rf"{TOKEN_TEXT}/{TOKEN_TEXT}")

# parameters = *( OWS ";" OWS [ parameter ] ), RFC 9110 §5.6.6.
_PARAMETER = re.compile(
    rf'[ \t]*;[ \t]*(?:({TOKEN_TEXT})=(?:({UNQUOTED_TEXT})|"({QUOTED_TEXT})"))?'
)
# What a registered type looks like: neither a pattern such as `text/*` nor a name such as `+json`.
_REGISTERED = re.compile(
    r"[0-9A-Za-z][0-9A-Za-z!#$&^_-]{0,126}/[0-9A-Za-z][0-9A-Za-z!#$&^_.+-]{0,126}"
)
_CHARSET = re.compile(rb"""[ \t]*;[ \t]*charset=("[^"]*"|[^;]*)""", re.IGNORECASE)

# Beside text/*. RFC 8259 §11 gives JSON no charset parameter, but says nothing is lost by it, and
# Express sends it.
_TYPES_IN_UTF8 = frozenset(
    {"application/javascript", "application/json", "application/manifest+json"}
)

# Extensions whose type the standard library does not know or names by an obsolete name, and the
# common ones, so that the answer depends neither on the Python version nor on the host's
# mime.types. Names: IANA, where registered.
_TYPES = {
    "7z": "application/x-7z-compressed",
    "apk": "application/vnd.android.package-archive",
    "atom": "application/atom+xml",
    "avif": "image/avif",
    "bin": "application/octet-stream",
    "bz2": "application/x-bzip2",
    "conf": "text/plain",
    "css": "text/css",
    "csv": "text/csv",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "eot": "application/vnd.ms-fontobject",
    "epub": "application/epub+zip",
    "flac": "audio/flac",
    "geojson": "application/geo+json",
    "gif": "image/gif",
    "glb": "model/gltf-binary",
    "gltf": "model/gltf+json",
    "gz": "application/gzip",
    "htm": "text/html",
    "html": "text/html",
    "ico": "image/vnd.microsoft.icon",
    "ics": "text/calendar",
    "ini": "text/plain",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "js": "text/javascript",
    "json": "application/json",
    "jsonl": "application/jsonl",
    "jsonld": "application/ld+json",
    "jxl": "image/jxl",
    "log": "text/plain",
    "m4a": "audio/mp4",
    "m4v": "video/x-m4v",
    "map": "application/json",
    "markdown": "text/markdown",
    "md": "text/markdown",
    "mjs": "text/javascript",
    "mka": "audio/matroska",
    "mkv": "video/matroska",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "mpd": "application/dash+xml",
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
    "rar": "application/vnd.rar",
    "rss": "application/rss+xml",
    "rst": "text/x-rst",
    "rtf": "application/rtf",
    "svg": "image/svg+xml",
    "tar": "application/x-tar",
    "text": "text/plain",
    "tgz": "application/gzip",
    "toml": "application/toml",
    "ts": "video/mp2t",
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
    "xz": "application/x-xz",
    "yaml": "application/yaml",
    "yml": "application/yaml",
    "zip": "application/zip",
    "zst": "application/zstd",
}


# --- reading --------------------------------------------------------------------------------------


def parse_media_type(value: str) -> tuple[str, dict[str, str]]:
    """
    Read a Content-Type field: its type in lower case, and its parameters by lower-case name.

    Parameter values keep their case; quoted ones come without quotes and backslashes. Empty
    parameters are skipped, and an unquoted value may hold most of what RFC 2046 allows in a
    boundary.

    Raises:
        HTTPError: 400, the value is no media type, a parameter is malformed, or one comes twice
            (RFC 6838 §4.3): two parsers that each believe another one are how uploads get past
            filters.

    Source: RFC 9110 §8.3.1 and §5.6.6.
    >>> parse_media_type('Text/HTML; Charset="UTF-8";')
    ('text/html', {'charset': 'UTF-8'})
    """
    essence, parameters = _read_media_type(value, ())
    return essence, dict(parameters)


@remembered
def _read_media_type(value: str, _: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    value = value.strip(" \t")
    match = MEDIA_TYPE.match(value)
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
            parameters[name] = plain if plain is not None else unescape(quoted)
    return essence, parameters


def is_json(media_type: str) -> bool:
    """
    Return whether a media type is JSON or built on JSON.

    Args:
        media_type: The bare type in lower case, as `parse_media_type` returns it.

    Source: RFC 8259 §11; RFC 6839 §3.1.
    >>> is_json("application/json"), is_json("application/problem+json"), is_json("text/html")
    (True, True, False)
    """
    return media_type == "application/json" or media_type.endswith("+json")


# --- making ---------------------------------------------------------------------------------------


@lru_cache(CACHED_VALUES)
def mime_type(ext_or_type: str) -> str:
    """
    Return the Content-Type to send for an extension, a file name or a media type.

    Text, JSON and JavaScript say that they are UTF-8, unless the type already names a charset.

    Args:
        ext_or_type: `"json"`, `".png"`, `"report.pdf"`, or anything with a slash, which is taken as
            a media type.

    Returns:
        The field value; `application/octet-stream` when the extension is unknown.

    Source: RFC 9110 §8.3; Express's `res.type`.
    >>> mime_type("json"), mime_type(".png")
    ('application/json; charset=utf-8', 'image/png')
    >>> mime_type("text/plain"), mime_type("bogus")
    ('text/plain; charset=utf-8', 'application/octet-stream')
    """
    value = (
        ext_or_type
        if "/" in ext_or_type
        else type_by_extension(ext_or_type) or "application/octet-stream"
    )
    essence = value.partition(";")[0].strip(" \t").lower()
    is_text = essence.startswith("text/") or essence in _TYPES_IN_UTF8
    return f"{value}; charset=utf-8" if is_text and "charset=" not in value.lower() else value


@lru_cache(CACHED_VALUES)
def in_utf8(content_type: bytes) -> bytes:
    """
    Return a Content-Type with the charset UTF-8, if it is of text or names another charset.

    Args:
        content_type: The field value; a malformed one is returned as it is.

    Source: RFC 9110 §8.3.2.
    >>> in_utf8(b"text/csv; charset=latin-1; header=present"), in_utf8(b"application/xml")
    (b'text/csv; charset=utf-8; header=present', b'application/xml')
    """
    try:
        media_type, parameters = parse_media_type(content_type.decode("latin-1"))
    except HTTPError:
        return content_type
    charset = parameters.get("charset")
    if charset is None:
        return content_type + b"; charset=utf-8" if media_type.startswith("text/") else content_type
    if charset.lower() == "utf-8":
        return content_type
    return _CHARSET.sub(b"; charset=utf-8", content_type)


def type_by_extension(name: str) -> str | None:
    """
    Return the media type for an extension or a file name; `None` when it is unknown.

    >>> type_by_extension("a.tar.gz"), type_by_extension("JSON"), type_by_extension("bogus")
    ('application/gzip', 'application/json', None)
    """
    extension = name.rpartition(".")[2].lower()
    return _TYPES.get(extension) or _library_types().get(f".{extension}")


@cache
def _library_types() -> dict[str, str]:
    # Imported late for the sake of start-up. An instance of its own does not read the host's
    # mime.types.
    from mimetypes import MimeTypes

    return MimeTypes(filenames=()).types_map[True]


# --- comparing ------------------------------------------------------------------------------------


def type_is(content_type: str | None, types: Sequence[str] = ()) -> str | None:
    """
    Return which of *types* a Content-Type is.

    Args:
        content_type: The field value; parameters do not matter. A malformed type matches nothing,
            nor does one that cannot be registered (RFC 6838 §4.2), such as `text/*`.
        types: Media types (`text/*` and `*/*` too), extensions (`"json"`), suffixes (`"+json"`),
            `"urlencoded"` or `"multipart"`.

    Returns:
        The first entry that matches, as it was given; the bare content type where the entry was a
        pattern or there are no *types*; `None` when nothing matches.

    Source: RFC 9110 §8.3.1; Express's `req.is`, without its question whether there is a body.
    >>> type_is("application/json; charset=utf-8", ["html", "json"])
    'json'
    >>> type_is("image/png", ["image/*"])
    'image/png'
    """
    return _type_is(content_type, tuple(types)) if content_type else None


@remembered
def _type_is(content_type: str, types: tuple[str, ...]) -> str | None:
    actual = content_type.partition(";")[0].strip(" \t").lower()
    if not _REGISTERED.fullmatch(actual):
        return None
    for entry in types:
        if _matches(_expanded(entry), actual):
            return actual if entry.startswith("+") or "*" in entry else entry
    return None if types else actual


def _expanded(entry: str) -> str:
    """Write an entry of `type_is` as a media type, or as a pattern of one; empty if it is none."""
    if "/" in entry:
        return entry.lower()
    if entry.startswith("+"):
        return f"*/*{entry.lower()}"
    if entry == "urlencoded":
        return "application/x-www-form-urlencoded"
    if entry == "multipart":
        return "multipart/*"
    return type_by_extension(entry) or ""


def _matches(pattern: str, actual: str) -> bool:
    pattern_type, _, pattern_subtype = pattern.partition("/")
    actual_type, _, actual_subtype = actual.partition("/")
    if pattern_type not in ("*", actual_type):
        return False
    if pattern_subtype.startswith("*+"):
        return actual_subtype.endswith(pattern_subtype[1:])
    return pattern_subtype in ("*", actual_subtype)
