"""
Header fields: what may be sent, what a few of them mean, and which offer a client prefers.

Grammar: RFC 9110 §5.5 and §5.6. Media types: RFC 9110 §8.3. Host: RFC 9112 §3.2 and RFC 3986 §3.2.2. Content-Length:
RFC 9110 §8.6. Content negotiation: RFC 9110 §12.4 and §12.5; where the RFC leaves a choice, Express's answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache
from typing import NamedTuple, TypeAlias, TypeVar, overload

from ..errors import FieldError, HTTPError

__all__ = [
    "accepts_charsets",
    "accepts_encodings",
    "accepts_languages",
    "accepts_types",
    "check_name",
    "check_value",
    "content_length",
    "is_json",
    "mime_type",
    "parse_media_type",
    "type_is",
    "valid_host",
]

T = TypeVar("T")

# A tuple that cannot be empty, for which the answer is an offer and never the client's list.
_SomeOffers: TypeAlias = tuple[str, *tuple[str, ...]]

# Members of a list and parameters of a member that are looked at, empty ones included; the rest is ignored. Rack's
# CVE-2024-26146 and CVE-2026-34230 came from lists without an end; browsers send fewer than 20.
MAX_MEMBERS = 100

# Longer values are parsed anew each time: each cache below then holds 512 values of 4 KiB at most, whoever fills it.
CACHED_VALUE_CHARS = 4096
CACHED_VALUES = 512

# Names an application sets come from its source code. One that makes them up must not grow this without bound.
CACHED_NAMES = 1024
CACHED_NAME_CHARS = 64

# 255 for the name (RFC 3986 §3.2.2 asks for DNS syntax, RFC 1035 §2.3.4), 6 for the port: what is longer resolves nowhere.
MAX_HOST_BYTES = 261

# No disk is larger than 10**18 bytes, and int() refuses numbers of 4,301 digits with an error of its own.
MAX_LENGTH_DIGITS = 18

_TOKEN_TEXT = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_TOKEN = re.compile(_TOKEN_TEXT)
_MEDIA_TYPE = re.compile(rf"{_TOKEN_TEXT}/{_TOKEN_TEXT}")

# RFC 9110 §5.5: a sender must not send CTL other than HTAB, although only CR, LF and NUL are certain to do harm.
_CONTROLS = r"\x00-\x08\x0a-\x1f\x7f"
_CONTROL = re.compile(rf"[{_CONTROLS}]")

# parameters = *( OWS ";" OWS [ parameter ] ), RFC 9110 §5.6.6. An unquoted value may hold `/ : = ? ( ) @` beside token
# characters: RFC 2046 §5.1.1 lets boundaries have most of them, and clients forget to quote. A comma or blank never.
_UNQUOTED_TEXT = r"[!#-+\--:=?-\[\]-~]+"
_QUOTED_TEXT = rf'[^"\\{_CONTROLS}]*(?:\\[^{_CONTROLS}][^"\\{_CONTROLS}]*)*'
_PARAMETER = re.compile(rf'[ \t]*;[ \t]*(?:({_TOKEN_TEXT})=(?:({_UNQUOTED_TEXT})|"({_QUOTED_TEXT})"))?')

# A whole quoted-string, closed or running to the end, or one separator. The first branch cannot fail once it has begun, so
# nothing is ever scanned twice, whatever quotes and backslashes come.
_QUOTED_OR_SEPARATOR = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[,;]', re.DOTALL)

# weight = OWS ";" OWS "q=" qvalue, RFC 9110 §12.4.2. Read as JavaScript's parseFloat would: `.5` and `0.87654` are common.
_WEIGHT = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+")

# uri-host [ ":" port ] with uri-host = reg-name (an IPv4address is one) or an IP-literal, RFC 3986 §3.2.2.
_HOST = re.compile(
    rb"(?:(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+"
    rb"|\[(?:([0-9A-Fa-f:.]+)|[Vv][0-9A-Fa-f]+\.[A-Za-z0-9\-._~!$&'()*+,;=:]+)\])"
    rb"(?::([0-9]{0,5}))?"
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

# Beside text/*. RFC 8259 §11 gives JSON no charset parameter, but says nothing is lost by it, and Express sends it.
_TYPES_IN_UTF8 = frozenset({"application/javascript", "application/json", "application/manifest+json"})


# What may be sent -----------------------------------------------------------------------------------------------------

_names: dict[str, bytes] = {}


def check_name(name: str) -> bytes:
    """
    Check a field name and give its bytes for the wire, in lower case as ASGI wants them.

    Raises:
        FieldError: The name is no str or no token.

    Source: RFC 9110 §5.1 and §5.6.2.
    >>> check_name("Content-Type")
    b'content-type'
    """
    try:
        known = _names.get(name)
    except TypeError:  # A list or another unhashable thing: the slow path says what is wrong with it.
        known = None
    return known if known is not None else _check_new_name(name)


def _check_new_name(name: object) -> bytes:
    if not isinstance(name, str):
        raise FieldError(f"a header name is a str, not {type(name).__name__}")
    if not _TOKEN.fullmatch(name):
        raise FieldError(f"{name[:64]!r} cannot be a header name: use ASCII letters, digits and any of !#$%&'*+-.^_`|~")
    encoded = name.lower().encode("ascii")
    if len(name) <= CACHED_NAME_CHARS:
        if len(_names) >= CACHED_NAMES:
            _names.clear()
        _names[name] = encoded
    return encoded


def check_value(name: str, value: str | int) -> bytes:
    r"""
    Check a field value and give its bytes for the wire, without blanks around it.

    Args:
        name: The field's name, for the message of an error.
        value: Latin-1 text, or an int, which is written in decimal.

    Raises:
        FieldError: The value is neither a str nor an int, holds CR, LF, NUL or another control character than HTAB, or
            cannot be encoded. The message never holds the value, which may be a secret.

    Source: RFC 9110 §5.5.
    >>> check_value("x-total", 42), check_value("x-name", " café ")
    (b'42', b'caf\xe9')
    """
    # Printable ASCII is exactly SP and VCHAR, and asking for it costs less than a regular expression.
    if type(value) is str and value.isascii() and value.isprintable():
        return value.strip(" ").encode()
    return _check_odd_value(name, value)


def _check_odd_value(name: str, value: object) -> bytes:
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return b"%d" % value
        except ValueError as exc:  # int to str conversion is limited to 4,300 digits.
            raise FieldError(f"the value of header {name!r} has too many digits") from exc
    if not isinstance(value, str):
        raise FieldError(f"the value of header {name!r} is a str or an int, not {type(value).__name__}: convert it first")
    text = value.strip(" \t")
    if found := _CONTROL.search(text):
        raise FieldError(
            f"the value of header {name!r} has the control character {found[0]!r} at position {found.start()}: "
            "remove or encode it, a field is one line of text"
        )
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as exc:
        raise FieldError(
            f"the value of header {name!r} has {text[exc.start]!r} at position {exc.start}, which Latin-1 lacks: "
            "percent-encode it (a URL) or write the parameter as name*=UTF-8''... (RFC 8187)"
        ) from None


# Single fields --------------------------------------------------------------------------------------------------------


def content_length(value: bytes | None) -> int | None:
    """
    Read a Content-Length field in bytes; `None` when there is no such field.

    Only digits: no sign, no blank, no list, not even of equal numbers, which the RFC lets a server refuse.

    Raises:
        HTTPError: 400, it is no number, or one beyond 10**18.

    Source: RFC 9110 §8.6.
    >>> content_length(b"0042")
    42
    """
    if value is None:
        return None
    digits = value.lstrip(b"0")
    if not value.isdigit() or len(digits) > MAX_LENGTH_DIGITS:
        raise HTTPError(400, "malformed Content-Length")
    return int(digits or b"0")


def valid_host(value: bytes) -> bool:
    """
    Tell whether a Host field is `uri-host [":" port]` and nothing else: no user, no path, no blank.

    The empty value is valid: RFC 9112 §3.2 makes a client send it when its target has no authority. A port without a host
    is not: no http URI may have an empty host (RFC 9110 §4.2.1). IPv6 addresses stand in brackets, without a zone.
    Ports end at 65535, hosts at 255 bytes.

    Source: RFC 9112 §3.2; RFC 3986 §3.2.2 and §3.2.3.
    >>> valid_host(b"example.com:8000"), valid_host(b"[::1]"), valid_host(b"a/evil?x#"), valid_host(b"user@example.com")
    (True, True, False, False)
    """
    return len(value) <= MAX_HOST_BYTES and _valid_host(value)


@lru_cache(CACHED_VALUES)
def _valid_host(value: bytes) -> bool:
    if not value:
        return True
    match = _HOST.fullmatch(value)
    if match is None or int(match[2] or b"0") > 65535:
        return False
    return match[1] is None or _is_ipv6(match[1])


def _is_ipv6(address: bytes) -> bool:
    from ipaddress import IPv6Address  # Here, because few requests name an address and importing it takes a millisecond.

    try:
        IPv6Address(address.decode("ascii"))
    except ValueError:
        return False
    return True


def _remembered(answer: Callable[[str, tuple[str, ...]], T]) -> Callable[[str, tuple[str, ...]], T]:
    """Cache what follows from a field value and the application's wishes, unless the value is long."""
    cached = lru_cache(CACHED_VALUES)(answer)

    def remembered(value: str, wishes: tuple[str, ...]) -> T:
        return cached(value, wishes) if len(value) <= CACHED_VALUE_CHARS else answer(value, wishes)

    return remembered


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


def _unescape(text: str) -> str:
    """Undo the quoted-pairs of a quoted-string (RFC 9110 §5.6.4), without a step for each: there may be thousands."""
    return "\\".join(piece.replace("\\", "") for piece in text.split("\\\\"))


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
    value = ext_or_type if "/" in ext_or_type else _type_by_extension(ext_or_type) or "application/octet-stream"
    essence = value.partition(";")[0].strip(" \t").lower()
    if (essence.startswith("text/") or essence in _TYPES_IN_UTF8) and "charset=" not in value.lower():
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
    return {"urlencoded": "application/x-www-form-urlencoded", "multipart": "multipart/*"}.get(entry) or (
        _type_by_extension(entry) or ""
    )


def _matches(pattern: str, actual: str) -> bool:
    pattern_type, _, pattern_subtype = pattern.partition("/")
    actual_type, _, actual_subtype = actual.partition("/")
    if pattern_type not in ("*", actual_type):
        return False
    if pattern_subtype.startswith("*+"):
        return actual_subtype.endswith(pattern_subtype[1:])
    return pattern_subtype in ("*", actual_subtype)


# Negotiation ----------------------------------------------------------------------------------------------------------


class _Member(NamedTuple):
    """One member of an Accept field: what is accepted, its parameters in lower case, and how much it is liked."""

    name: str
    parameters: dict[str, str]
    weight: float


@overload
def accepts_types(header: str | None, offers: None = None) -> list[str]: ...
@overload
def accepts_types(header: str | None, offers: _SomeOffers) -> str | None: ...
@overload
def accepts_types(header: str | None, offers: Sequence[str]) -> str | list[str] | None: ...
def accepts_types(header: str | None, offers: Sequence[str] | None = None) -> str | list[str] | None:
    """
    Choose the media type to answer with from an Accept field.

    The most specific member that matches an offer gives its weight; the heaviest offer wins, then the more specific match,
    then the client's order, then the order of the offers. A member with parameters only matches an offer that has them.
    Without a field (or with an empty one) the first offer wins. At most 100 members are looked at; malformed ones are
    skipped, a malformed weight is 0.

    Args:
        header: The field value, or `None`.
        offers: Media types or extensions such as `"json"`, best first.

    Returns:
        The best offer as it was given, or `None` if none is accepted. Without offers the client's list, most wanted first.

    Source: RFC 9110 §12.5.1 and §12.4.
    >>> accepts_types("text/html;q=0.5, application/json;q=0.9", ["html", "json"])
    'json'
    """
    if not offers:
        return list(_wanted_types("*/*" if header is None else header, ()))
    return _choose_type(header, tuple(offers)) if header else offers[0]


@overload
def accepts_encodings(header: str | None, offers: None = None) -> list[str]: ...
@overload
def accepts_encodings(header: str | None, offers: _SomeOffers) -> str | None: ...
@overload
def accepts_encodings(header: str | None, offers: Sequence[str]) -> str | list[str] | None: ...
def accepts_encodings(header: str | None, offers: Sequence[str] | None = None) -> str | list[str] | None:
    """
    Choose the content coding to answer with from an Accept-Encoding field.

    `identity` is always accepted, as the least wanted, unless the field excludes it by name or by `*;q=0`. Without a field
    only `identity` is: the RFC would allow any coding, but whoever sends none seldom decodes.

    Args and result as for `accepts_types`.

    Source: RFC 9110 §12.5.3.
    >>> accepts_encodings("gzip;q=0.5, br", ["gzip", "br"]), accepts_encodings("gzip")
    ('br', ['gzip', 'identity'])
    """
    return _choose_encoding(header or "", tuple(offers)) if offers else list(_wanted_encodings(header or "", ()))


@overload
def accepts_charsets(header: str | None, offers: None = None) -> list[str]: ...
@overload
def accepts_charsets(header: str | None, offers: _SomeOffers) -> str | None: ...
@overload
def accepts_charsets(header: str | None, offers: Sequence[str]) -> str | list[str] | None: ...
def accepts_charsets(header: str | None, offers: Sequence[str] | None = None) -> str | list[str] | None:
    """
    Choose the charset to answer with from an Accept-Charset field; without a field all are accepted.

    Args and result as for `accepts_types`.

    Source: RFC 9110 §12.5.2.
    >>> accepts_charsets("utf-8, iso-8859-1;q=0.8", ["iso-8859-1", "utf-8"])
    'utf-8'
    """
    header = "*" if header is None else header
    return _choose_charset(header, tuple(offers)) if offers else list(_wanted(header, ()))


@overload
def accepts_languages(header: str | None, offers: None = None) -> list[str]: ...
@overload
def accepts_languages(header: str | None, offers: _SomeOffers) -> str | None: ...
@overload
def accepts_languages(header: str | None, offers: Sequence[str]) -> str | list[str] | None: ...
def accepts_languages(header: str | None, offers: Sequence[str] | None = None) -> str | list[str] | None:
    """
    Choose the language to answer in from an Accept-Language field; without a field all are accepted.

    A range matches the same tag, a tag it begins (`en` takes `en-US`), and the bare language of a longer range (`en-US`
    takes `en`), in this order of preference where weights are equal.

    Args and result as for `accepts_types`.

    Source: RFC 9110 §12.5.4; RFC 4647 §3.3.1, widened as Express does.
    >>> accepts_languages("da, en-gb;q=0.8, en;q=0.7", ["en-US", "en-GB"])
    'en-GB'
    """
    header = "*" if header is None else header
    return _choose_language(header, tuple(offers)) if offers else list(_wanted(header, ()))


@_remembered
def _choose_type(header: str, offers: tuple[str, ...]) -> str | None:
    return _best(offers, [_offered_type(offer) for offer in offers], _ranges(header), _type_precision)


@_remembered
def _choose_encoding(header: str, offers: tuple[str, ...]) -> str | None:
    return _best(offers, [offer.lower() for offer in offers], _codings(header), _name_precision)


@_remembered
def _choose_charset(header: str, offers: tuple[str, ...]) -> str | None:
    return _best(offers, [offer.lower() for offer in offers], list(_members(header)), _name_precision)


@_remembered
def _choose_language(header: str, offers: tuple[str, ...]) -> str | None:
    return _best(offers, [offer.lower() for offer in offers], list(_members(header)), _language_precision)


@_remembered
def _wanted_types(header: str, _: tuple[str, ...]) -> tuple[str, ...]:
    return _by_weight(_ranges(header))


@_remembered
def _wanted_encodings(header: str, _: tuple[str, ...]) -> tuple[str, ...]:
    return _by_weight(_codings(header))


@_remembered
def _wanted(header: str, _: tuple[str, ...]) -> tuple[str, ...]:
    return _by_weight(_members(header))


def _by_weight(members: Iterable[_Member]) -> tuple[str, ...]:
    liked = sorted((member for member in members if member.weight > 0), key=lambda member: -member.weight)
    return tuple(member.name for member in liked)


def _best(
    offers: Sequence[str], subjects: Sequence[T], members: Sequence[_Member], precision: Callable[[T, _Member], int]
) -> str | None:
    """Give the best of *offers*: heaviest, then most precisely named, then first with the client, then first here."""
    best: str | None = None
    best_rank = (0.0, 0, 0)
    for offer, subject in zip(offers, subjects, strict=True):
        found = max(((precision(subject, member), member.weight, order) for order, member in enumerate(members)), default=None)
        if found is not None and found[0] > 0 and found[1] > 0:
            rank = (found[1], found[0], -found[2])
            if best is None or rank > best_rank:
                best, best_rank = offer, rank
    return best


def _type_precision(offer: _Member | None, member: _Member) -> int:
    """Tell how precisely a media range names an offer, from 1 for `*/*`; 0 when it does not."""
    if offer is None:
        return 0
    kind, _, subtype = member.name.lower().partition("/")
    offered_kind, _, offered_subtype = offer.name.partition("/")
    if kind not in ("*", offered_kind) or subtype not in ("*", offered_subtype):
        return 0
    wanted = member.parameters
    # Unlike RFC 9110's examples a `*` as a value matches any: negotiator has it, and nobody means an asterisk by it.
    if any(value not in ("*", offer.parameters.get(name, "")) for name, value in wanted.items()):
        return 0
    return 1 + 4 * (kind != "*") + 2 * (subtype != "*") + bool(wanted)


def _name_precision(offer: str, member: _Member) -> int:
    name = member.name.lower()
    return 2 if name == offer else int(name == "*")


def _language_precision(offer: str, member: _Member) -> int:
    wanted = member.name.lower()
    if wanted == offer:
        return 5
    if wanted.partition("-")[0] == offer:
        return 3
    if wanted == offer.partition("-")[0]:
        return 2
    return int(wanted == "*")


def _offered_type(offer: str) -> _Member | None:
    """Read an offer of the application; `None` for an unknown extension or a malformed type."""
    member = _member(offer if "/" in offer else _type_by_extension(offer) or "")
    return member._replace(name=member.name.lower()) if _MEDIA_TYPE.fullmatch(member.name) else None


def _ranges(header: str) -> list[_Member]:
    return list(_members(header, _MEDIA_TYPE))


def _codings(header: str) -> list[_Member]:
    members = list(_members(header))
    if not any(member.name.lower() in ("*", "identity") for member in members):
        # As little wanted as the least wanted of the others. Those with weight 0 are refused, not little wanted.
        least = min((member.weight or 1.0 for member in members), default=1.0)
        members.append(_Member("identity", {}, min(least, 1.0)))
    return members


def _members(header: str, grammar: re.Pattern[str] = _TOKEN) -> Iterator[_Member]:
    """Read the members of a list (RFC 9110 §5.6.1.2): empty and malformed ones are skipped."""
    for text in _split(header, ","):
        member = _member(text)
        if grammar.fullmatch(member.name):
            yield member


def _member(text: str) -> _Member:
    """Read one member up to its weight; what follows the weight means nothing (RFC 9110 §12.5.1)."""
    name, *rest = _split(text, ";")
    parameters: dict[str, str] = {}
    weight = 1.0
    for parameter in rest:
        key, _, value = parameter.partition("=")
        key = key.strip(" \t").lower()
        value = value.strip(" \t")
        if value.startswith('"'):
            value = _unescape(value[1:].removesuffix('"'))
        if key == "q":
            number = _WEIGHT.match(value)
            weight = float(number[0]) if number else 0.0
            break
        if key:
            parameters[key] = value.lower()
    return _Member(name.strip(" \t"), parameters, weight)


def _split(text: str, separator: str) -> list[str]:
    """Split at separators outside of quoted strings, into `MAX_MEMBERS` pieces at most; the rest is dropped."""
    if '"' not in text:
        return text.split(separator, MAX_MEMBERS)[:MAX_MEMBERS]
    pieces: list[str] = []
    start = 0
    for found in _QUOTED_OR_SEPARATOR.finditer(text):
        if found[0] == separator:
            pieces.append(text[start : found.start()])
            start = found.end()
            if len(pieces) == MAX_MEMBERS:
                return pieces
    pieces.append(text[start:])
    return pieces
