"""
`parse_disposition` and `content_disposition`: no control characters, and names that come back.

Input: a fallback (optional), then text, which is read as a field and written as a file name.
"""

from __future__ import annotations

from collections.abc import Iterator

from nardis._http import disposition
from nardis._http.grammar import CONTROL, MAX_MEMBERS, TOKEN
from nardis.errors import FieldError

from .inputs import join, optional, pieces, vectors

__all__ = ["check", "seeds"]


def check(data: bytes) -> None:
    fallback, text = pieces(data, 2)
    check_reading(text.decode("latin-1"))
    # Bytes that are no UTF-8 become lone surrogates, as in the names that Python's os module gives.
    check_writing(text.decode("utf-8", "surrogateescape"), optional(fallback))


def check_reading(value: str) -> None:
    kind, parameters = disposition.parse_disposition(value)
    assert kind == kind.strip(" \t").lower()
    assert ";" not in kind
    assert len(parameters) <= 2 * MAX_MEMBERS  # each may be there decoded, too
    for name, text in parameters.items():
        assert TOKEN.fullmatch(name)
        assert name == name.lower()
        assert not CONTROL.search(text)
    assert not CONTROL.search(kind)
    # In quotes nothing is decoded, so that text which was read once is not read otherwise again.
    if len(parameters) <= MAX_MEMBERS:
        again = kind + "".join(f';{name}="{quoted(text)}"' for name, text in parameters.items())
        assert disposition.parse_disposition(again) == (kind, parameters)


def quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def check_writing(name: str, fallback: bytes | None) -> None:
    plain = None if fallback is None else fallback.decode("latin-1")
    try:
        field = disposition.content_disposition(name, "inline", fallback=plain)
    except FieldError:
        assert plain is not None
        assert not is_printable(plain)
        return
    assert is_printable(field)
    kind, parameters = disposition.parse_disposition(field)
    assert kind == "inline"
    assert parameters.keys() <= {"filename", "filename*"}
    # A client that does not know `filename*`, which is all escapes, reads what stands before it.
    before = field.rpartition("; filename*=")[0] if "filename*" in parameters else field
    without = disposition.parse_disposition(before)[1]["filename"]
    whole = name.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert without == (printable(whole) if plain is None else plain)
    # Our own reader does not decode control characters.
    hidden = "filename*" in parameters and CONTROL.search(whole)
    assert parameters["filename"] == (without if hidden else whole)


def printable(name: str) -> str:
    """Put `?` for each unit of UTF-16 that is no printable ASCII, as Express does."""
    units = (char if is_printable(char) else "?" * (1 + (char > "\uffff")) for char in name)
    return "".join(units)


def is_printable(text: str) -> bool:
    return text.isascii() and text.isprintable()


def seeds() -> Iterator[bytes]:
    for row in vectors("content_disposition_vectors", "vectors"):
        if row["op"] == "create":
            fallback = row["options"].get("fallback")
            yield seed(fallback if isinstance(fallback, str) else None, row["filename"] or "")
        else:
            yield b"\0" + row["header"].encode("latin-1")
    yield seed(None, "a\r\nb\t%41\x7f\x85.txt")
    yield seed("x.txt", "a\r\nb")
    yield seed("é.txt", "é")
    yield seed(None, "a" + "".join(f"; x{n}*=utf-8''%61" for n in range(MAX_MEMBERS + 2)))
    yield seed("x.txt", 'form-data; name="a\\"b"; filename*=utf-8\'\'%e2%82%ac%0d; filename=')


def seed(fallback: str | None, text: str) -> bytes:
    return join(fallback) + b"\0" + text.encode("utf-8", "surrogatepass")
