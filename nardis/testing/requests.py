"""What a test asks for becomes a scope and a body."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypedDict, cast
from urllib.parse import quote, unquote, urlencode, urlsplit

from ..errors import UsageError
from .forms import Files, Form, MultipartForm

__all__ = [
    "Content",
    "Fields",
    "Pairs",
    "RequestOptions",
    "content_of",
    "handshake_of",
    "joined",
    "offered_in",
    "pairs_of",
    "target_of",
]

_URL = re.compile(r"(?:(https?)://(?:[^/?#@]*@)?([^/?#]+))?(/[^?#]*|\*)?(?:\?([^#]*))?(?:#.*)?")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
Pairs: TypeAlias = list[tuple[bytes, bytes]]
Fields: TypeAlias = Mapping[str, str | int] | Iterable[tuple[str | bytes, str | bytes | int]]


class RequestOptions(TypedDict, total=False):
    """
    What every request takes beside method and URL: at most one body.

    `params` is added to the query. `cookies` are sent beside those of the client, and replace them
    by name. A body is one of these:

    - `content`: bytes, or an async iterable of bytes, which is pulled only as the application asks.
    - `json`: anything that `json.dumps()` takes, sent as application/json.
    - `data`: a mapping or pairs, sent as application/x-www-form-urlencoded. A value may be a list.
    - `files`, with or without `data`: a form in multipart/form-data, with the fields of `data`
      before the files. `files={}` sends the fields alone in that form.

    `files` is a mapping of names to files, or a list of pairs, where a name may come twice. A file
    is bytes, a str (sent as UTF-8), a path, a file that is open for reading bytes, or an async
    iterable of bytes. It may stand in a tuple: `(filename, content)`,
    `(filename, content, content_type)` or `(filename, content, content_type, headers)`. Without a
    content type, that of the file name's extension is sent, or application/octet-stream. Without a
    tuple, the file name is that of the path or the open file, or `upload`. A file name of `None`
    makes it a field.

    Files are read as the application asks, 64 KiB at a time, in a worker thread, and never whole.
    An open file is sent from where it stands, and stays open: it is the caller's. Content-Length is
    sent if each size is known; that of an async iterable is not. If a source raises, or a file ends
    before its size, the body breaks off: the application sees a client that left, and the test gets
    the error.

    The boundary is random. A Content-Type among the headers is sent as it is; if it has a boundary,
    that one is used.
    """

    headers: Fields | None
    params: Form | None
    content: bytes | AsyncIterable[bytes] | None
    json: Any
    data: Form | None
    files: Files | None
    cookies: Mapping[str, str] | None


def _octets(text: object) -> bytes:
    if isinstance(text, int):
        text = str(text)
    if isinstance(text, str):
        return text.encode("latin-1")
    if isinstance(text, bytes | bytearray):
        return bytes(text)
    raise UsageError(f"a name or a value in headers= is str, bytes or int, not {text!r}")


def pairs_of(fields: Fields | None) -> Pairs:
    """Return header fields as ASGI has them."""
    items = (
        cast("Mapping[str, str | int]", fields).items()
        if isinstance(fields, Mapping)
        else fields or ()
    )
    return [(_octets(name).lower(), _octets(value)) for name, value in items]


def target_of(url: str, params: Form | None) -> dict[str, Any]:
    """Split *url* into the members of the scope that describe it, and "authority" for Host."""
    match = _URL.fullmatch(quote(url, safe=_PRINTABLE))
    if match is None:
        raise UsageError(
            f"{url!r} is neither a path that begins with / nor an absolute http(s) URL"
        )
    scheme, authority = match[1] or "http", match[2] or "testserver"
    path, query = (
        match[3] or "/",
        "&".join(filter(None, (match[4], urlencode(params or (), doseq=True)))),
    )
    host = urlsplit(f"//{authority}")
    return {
        "scheme": scheme,
        "server": (host.hostname, host.port or {"http": 80, "https": 443}[scheme]),
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "authority": authority.encode(),
    }


def joined(usual: Mapping[bytes, bytes], fields: Pairs) -> Pairs:
    """Return *fields* behind those of *usual* that they do not have, and that are not empty."""
    given = {name for name, _ in fields}
    return [
        *((name, value) for name, value in usual.items() if value and name not in given),
        *fields,
    ]


def handshake_of(subprotocols: Sequence[str], http_version: str) -> dict[bytes, bytes]:
    """
    Return the fields by which a client asks for a WebSocket.

    Source: RFC 6455 §4.1; RFC 8441 §5, where a request of HTTP/2 has neither Upgrade nor a key.
    """
    tokens = not isinstance(subprotocols, str) and all(map(_TOKEN.fullmatch, subprotocols))
    if not tokens or len(set(subprotocols)) < len(subprotocols):
        raise UsageError(f"subprotocols are different tokens in a sequence, not {subprotocols!r}")
    if http_version == "1.0":
        raise UsageError("HTTP/1.0 has no WebSockets: give the client another http_version")
    upgrade = {
        b"connection": b"Upgrade",
        b"upgrade": b"websocket",
        b"sec-websocket-key": b"dGhlIHNhbXBsZSBub25jZQ==",  # that of RFC 6455 §1.3
    }
    return {
        **(upgrade if http_version == "1.1" else {}),
        b"sec-websocket-version": b"13",
        b"sec-websocket-protocol": ", ".join(subprotocols).encode(),
    }


def offered_in(fields: Pairs) -> list[str]:
    """Return the subprotocols that a client offers."""
    values = [
        value.decode("latin-1") for name, value in fields if name == b"sec-websocket-protocol"
    ]
    return [name for name in (each.strip(" \t") for each in ",".join(values).split(",")) if name]


@dataclass(frozen=True, slots=True)
class Content:
    """
    The body of a request.

    Attributes:
        body: What is sent, None if there is nothing.
        media_type: Its Content-Type, empty if unknown.
        length: Its length in bytes, None if unknown.
    """

    body: bytes | AsyncIterable[bytes] | None
    media_type: bytes = b""
    length: int | None = None


def content_of(options: RequestOptions, content_type: bytes | None) -> Content:
    """Return the body that *options* ask for; *content_type* is that of the caller's headers."""
    content, data, obj = options.get("content"), options.get("data"), options.get("json")
    files = options.get("files")
    form = cast("object", data)
    if isinstance(form, str | bytes) or not isinstance(form, Iterable | None):
        raise UsageError(
            f"data is a mapping or a list of pairs, not {type(data).__name__}: send a body that is "
            "written already as content, with its Content-Type"
        )
    has_form = data is not None or files is not None
    if has_form + (content is not None) + (obj is not None) > 1:
        raise UsageError("a request has one body: give content, json, or data and files")
    if files is not None:
        multipart = MultipartForm(data or {}, files, content_type)
        return Content(multipart.pieces(), multipart.media_type, multipart.length)
    if obj is not None:
        encoded, media_type = json.dumps(obj, separators=(",", ":")), b"application/json"
    elif data is not None:
        encoded, media_type = urlencode(data, doseq=True), b"application/x-www-form-urlencoded"
    elif isinstance(content, bytes):
        return Content(content, length=len(content))
    elif isinstance(cast("object", content), AsyncIterable | None):
        return Content(content)
    else:
        raise UsageError(
            f"content is bytes or an async iterable of bytes, not {type(content).__name__}"
        )
    body = encoded.encode()
    return Content(body, media_type, len(body))
