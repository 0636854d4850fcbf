"""
Link fields, and the fields of an early hint.

Source: RFC 8288 §3 (Link) and §3.3 (relation types); RFC 8297 §2 (103 Early Hints).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, cast

from ..errors import FieldError
from .fields import CONNECTION_SPECIFIC, check_name, check_value
from .grammar import TOKEN_TEXT
from .location import encode_location

__all__ = ["format_hints", "format_links"]

# relation-type = reg-rel-type / ext-rel-type, RFC 8288 §3.3: a name, or a URI (RFC 3986 §3). The
# RFC's names are in small letters, but compared without regard to case, so any token will do.
_URI_TEXT = r"[A-Za-z][A-Za-z0-9+.\-]*:(?:[!#$&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]|%[0-9A-Fa-f]{2})+"
_RELATION = re.compile(rf"{TOKEN_TEXT}|{_URI_TEXT}")

# link-value = "<" URI-Reference ">" *( OWS ";" ...), RFC 8288 §3: what is certain to be wrong.
_TARGET = re.compile(r"<[^<>]*>")

# A message of status 1xx must not have these: RFC 9110 §8.6, RFC 9112 §6.1; RFC 9113 §8.2.2 has the
# rest. RFC 9110 §6.6.2: no trailer can follow a message that ends with its head.
_FRAMING: Final = CONNECTION_SPECIFIC | {b"content-length", b"trailer"}


def format_links(links: Mapping[str, str | Sequence[str]]) -> str:
    """
    Write a Link field from targets by their relation, as Express's `res.links` does.

    Targets are percent-encoded as by `encode_location`, so that none can end before its `>`. Where
    they point to is the caller's affair.

    Args:
        links: By relation one URL, or several. A relation is a name such as `next`, a URI, or some
            of them with blanks in between.

    Returns:
        The field value; empty for no links, where no field should be sent.

    Raises:
        FieldError: A relation that is no name and no URI, or a target that is no str.

    Source: RFC 8288 §3 and §3.3.
    >>> format_links({"next": "/p?2", "last": ["/p?8", "/p?9"]})
    '</p?2>; rel="next", </p?8>; rel="last", </p?9>; rel="last"'
    """
    written: list[str] = []
    for relation, targets in links.items():
        checked = _checked_relation(relation)
        written += [
            f'<{encode_location(target)}>; rel="{checked}"'
            for target in _listed(f"link {relation!r}", targets)
        ]
    return ", ".join(written)


def format_hints(hints: Mapping[str, str | Sequence[str]]) -> list[tuple[bytes, bytes]]:
    """
    Check the fields of a 103, and return them for the wire, as Node's `writeEarlyHints` takes them.

    Each value of a list is a line of its own. The lines of `link` alone are what ASGI's extension
    `http.response.early_hint` can send.

    Args:
        hints: By name one value, or several: `{"link": "</style.css>; rel=preload; as=style"}`.

    Raises:
        FieldError: A name or a value that HTTP does not allow, a field that frames a message, or a
            Link whose target does not stand in `<>`.

    Source: RFC 8297 §2; RFC 8288 §3.
    >>> format_hints({"Link": ["</a.css>; rel=preload; as=style", "</b.js>; rel=preload"]})
    [(b'link', b'</a.css>; rel=preload; as=style'), (b'link', b'</b.js>; rel=preload')]
    """
    lines: list[tuple[bytes, bytes]] = []
    for name, values in hints.items():
        key = check_name(name)
        if key in _FRAMING:
            raise FieldError(
                f"{name!r} cannot be an early hint: a 103 has no body, and its connection goes on. "
                "Set it on the answer itself"
            )
        lines += [(key, check_value(name, value)) for value in _listed(f"hint {name!r}", values)]
    for key, value in lines:
        if key == b"link" and not _TARGET.match(value.decode("latin-1")):
            raise FieldError(
                "the target of a Link stands in <>: write '</style.css>; rel=preload; as=style'"
            )
    return lines


def _listed(what: str, values: object) -> Sequence[str]:
    """Return one value or a list of them as a list; its members are checked by their user."""
    if isinstance(values, str):
        return (values,)
    if isinstance(values, (bytes, bytearray)) or not isinstance(values, Sequence):
        raise FieldError(f"{what} is a str or a list of str, not {type(values).__name__}")
    return cast("Sequence[str]", values)


def _checked_relation(relation: object) -> str:
    """Check a list of relation types, and return it with one blank between them."""
    types = [each for each in relation.split(" ") if each] if isinstance(relation, str) else []
    for each in types:
        if not _RELATION.fullmatch(each):
            raise FieldError(
                f"{each[:64]!r} cannot be a link relation: it is a name such as 'next', or a URI "
                "with everything else percent-encoded"
            )
    if not types:
        raise FieldError(f"a link relation is a str such as 'next', not {relation!r}")
    return " ".join(types)
