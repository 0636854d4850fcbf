"""What a test asks for becomes a scope and a body."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias, TypedDict, cast
from urllib.parse import quote, unquote, urlencode, urlsplit

from ..errors import UsageError

__all__ = [
    "Fields",
    "Form",
    "Pairs",
    "RequestOptions",
    "content_of",
    "keep_cookies",
    "pairs_of",
    "target_of",
]

_URL = re.compile(r"(?:(https?)://(?:[^/?#@]*@)?([^/?#]+))?(/[^?#]*|\*)?(?:\?([^#]*))?(?:#.*)?")
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
Pairs: TypeAlias = list[tuple[bytes, bytes]]
Fields: TypeAlias = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]
Form: TypeAlias = Mapping[str, Any] | Sequence[tuple[str, Any]]


class RequestOptions(TypedDict, total=False):
    """
    What every request takes beside method and URL; at most one of `content`, `json` and `data`.

    `params` is added to the query, `json` is sent as application/json, `data` as
    application/x-www-form-urlencoded. An async iterable as `content` is pulled only as the
    application asks. `cookies` are sent beside those of the client.
    """

    headers: Fields | None
    params: Form | None
    content: bytes | AsyncIterable[bytes] | None
    json: Any
    data: Form | None
    cookies: Mapping[str, str] | None


def _octets(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else bytes(text)


def pairs_of(fields: Fields | None) -> Pairs:
    """Return header fields as ASGI has them."""
    items = (
        cast("Mapping[str, str]", fields).items() if isinstance(fields, Mapping) else fields or ()
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


def content_of(options: RequestOptions) -> tuple[bytes | AsyncIterable[bytes] | None, bytes]:
    """Return the request body, None if there is none, and its media type, empty if unknown."""
    content, data, obj = options.get("content"), options.get("data"), options.get("json")
    if sum(part is not None for part in (content, data, obj)) > 1:
        raise UsageError("a request has one body: give content, json or data")
    if obj is not None:
        return json.dumps(obj, separators=(",", ":")).encode(), b"application/json"
    if data is not None:
        return urlencode(data, doseq=True).encode(), b"application/x-www-form-urlencoded"
    if not isinstance(cast("object", content), bytes | AsyncIterable | None):
        raise UsageError(
            f"content is bytes or an async iterable of bytes, not {type(content).__name__}"
        )
    return content, b""


def keep_cookies(jar: dict[str, str], headers: Pairs) -> None:
    """Apply the Set-Cookie fields of a response (RFC 6265 §5.2, without Path and Domain)."""
    for line in (value.decode("latin-1") for name, value in headers if name == b"set-cookie"):
        pair, *attributes = line.split(";")
        name, _, value = (part.strip() for part in pair.partition("="))
        known = {
            key.strip().lower(): text.strip()
            for key, _, text in (item.partition("=") for item in attributes)
        }
        jar[name] = value
        if _is_expired(known.get("max-age"), known.get("expires")):
            del jar[name]


def _is_expired(max_age: str | None, expires: str | None) -> bool:
    if max_age is not None and re.fullmatch(
        r"-?[0-9]+", max_age
    ):  # wins over Expires (RFC 6265 §5.3, step 3)
        return int(max_age) <= 0
    try:
        return expires is not None and parsedate_to_datetime(expires).timestamp() <= time.time()
    except ValueError:
        return False
