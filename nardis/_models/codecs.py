"""What `Nardis(json=...)` takes, as one shape: `dumps` and `loads`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

from ..errors import UsageError
from .encode import simplified

__all__ = ["Codec", "as_codec"]


@dataclass(frozen=True, slots=True)
class Codec:
    """
    An encoder and a decoder.

    Attributes:
        dumps: Encodes as text or bytes.
        loads: Decodes bytes; anything that is not JSON is a ValueError.
    """

    dumps: Callable[[Any], Any]
    loads: Callable[[bytes], Any]


def as_codec(thing: Any) -> Any:
    """
    Return the codec that *thing* is, or that it has the parts of.

    The modules that are known are told what stands for objects that they do not encode themselves:
    Structs, models, and whatever else `encode_json` takes.

    Args:
        thing: None for Nardis's own; the modules `json`, `orjson`, `msgspec` or `msgspec.json`;
            anything else with `dumps` and `loads`, or with `encode` and `decode`.

    Returns:
        Something with `dumps` and `loads`; None for Nardis's own.

    Raises:
        UsageError: It is nothing of these.

    >>> import json
    >>> as_codec(json).dumps({"id": b"hi"})
    '{"id": "aGk="}'
    """
    if thing is None:
        return None
    known = thing.__name__ if isinstance(thing, ModuleType) else ""
    if known == "msgspec":
        thing = thing.json
    if known in ("json", "orjson"):
        return Codec(partial(thing.dumps, default=simplified), thing.loads)
    if known in ("msgspec", "msgspec.json"):
        return Codec(partial(thing.encode, enc_hook=simplified), _decoder_of_msgspec(thing))
    for names in (("dumps", "loads"), ("encode", "decode")):
        dumps, loads = (getattr(thing, name, None) for name in names)
        if callable(dumps) and callable(loads):
            return thing if names[0] == "dumps" else Codec(dumps, loads)
    raise UsageError(
        f"json={thing!r} has no dumps() and loads(): pass a module such as orjson, msgspec.json or "
        "json, or leave it out"
    )


def _decoder_of_msgspec(module: Any) -> Callable[[bytes], Any]:
    from msgspec import DecodeError

    def loads(data: bytes) -> Any:
        try:
            return module.decode(data)
        except DecodeError as exc:  # no ValueError before 0.21
            raise ValueError(str(exc)) from exc

    return loads
