"""How the arguments of a parser are kept in one input: as text that NULs part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["join", "optional", "pieces", "vectors"]

VECTORS = Path(__file__).parents[1] / "vectors"


def pieces(data: bytes, count: int) -> list[bytes]:
    r"""
    Cut an input into *count* pieces; those at its end may be missing, and the last may hold NULs.

    >>> pieces(b"a\0b\0c", 2), pieces(b"a", 2)
    ([b'a', b'b\x00c'], [b'a', b''])
    """
    found = data.split(b"\0", count - 1)
    return found + [b""] * (count - len(found))


def optional(piece: bytes) -> bytes | None:
    """
    Read a piece that need not be there; its first byte only says that it is.

    >>> optional(b"=a"), optional(b"="), optional(b"")
    (b'a', b'', None)
    """
    return piece[1:] if piece else None


def join(*values: str | None) -> bytes:
    r"""
    Write optional pieces of a seed, each with a first byte in front of it unless it is missing.

    >>> join("a", None, "b")
    b'=a\x00\x00=b'
    """
    return b"\0".join(
        b"" if value is None else b"=" + value.encode("utf-8", "surrogatepass") for value in values
    )


def vectors(name: str, key: str) -> list[dict[str, Any]]:
    """Return the rows of a file of vectors."""
    rows: list[dict[str, Any]] = json.loads((VECTORS / f"{name}.json").read_text())[key]
    return rows
