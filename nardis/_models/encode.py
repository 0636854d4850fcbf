"""
JSON written: compact, in UTF-8, and of all that can be read.

Source: RFC 8259 §2 to §8.
"""

from __future__ import annotations

import json
import json.encoder
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final, cast

__all__ = ["encode_json", "simplified"]


def encode_json(obj: object, codec: Any = None) -> bytes:
    r"""
    Encode *obj* as compact JSON in UTF-8.

    Args:
        obj: Dicts, lists, texts, numbers, booleans, None; dataclasses, datetimes, UUIDs, Decimals,
            Enums, bytes, sets, Structs, models: whatever `decode_typed` reads.
        codec: An encoder to use instead, as `Nardis(json=...)` was given it. Its `dumps` returns
            text or bytes. What it does not take, and raises a TypeError for, it gets again as
            dicts, lists, texts and numbers.

    Raises:
        TypeError, ValueError: *obj* cannot be encoded. NaN cannot: it is not JSON (RFC 8259 §6).

    Source: RFC 8259 §8.1 (UTF-8) and §8.2: a lone surrogate has no UTF-8, but an escape.
    >>> encode_json({"café": [1, None]}).decode(), encode_json("\ud800")
    ('{"café":[1,null]}', b'"\\ud800"')
    """
    if codec is not None:
        return _encode_with(codec, obj)
    try:
        return "".join(_pieces(obj, 0)).encode()
    except (RecursionError, TypeError, UnicodeEncodeError):
        pass
    return _encode_slowly(obj)


def simplified(obj: object) -> Any:
    """Return what stands for an object that JSON has no form of; a TypeError where nothing does."""
    from .plain import simpler  # for those who have more than dicts and lists

    return simpler(obj)


def _encode_slowly(obj: object) -> bytes:
    """Encode what the quick encoder did not: odd keys, lone surrogates, circles, or nothing."""
    from .plain import plain

    text = None
    with suppress(TypeError):  # from a key that is no text, or from what nothing stands for
        text = _careful.encode(obj)  # a circle is a ValueError here
    if text is None:
        obj = plain(obj)
        text = _careful.encode(obj)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _ascii.encode(obj).encode()


def _encode_with(codec: Any, obj: object) -> bytes:
    try:
        encoded = codec.dumps(obj)
    except TypeError:
        encoded = None
    if encoded is None:
        from .plain import plain

        obj = plain(obj)
        encoded = codec.dumps(obj)
    if not isinstance(encoded, str):
        return cast("bytes", encoded)
    try:
        return encoded.encode()
    except UnicodeEncodeError:
        return _ascii.encode(obj).encode()


_COMPACT: Final = (",", ":")
_careful: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=_COMPACT, default=simplified
)
_ascii: Final = json.JSONEncoder(allow_nan=False, separators=_COMPACT, default=simplified)


def _quick() -> Callable[[object, int], Iterable[str]]:
    """
    Return an encoder that is made once for all.

    JSONEncoder.encode() makes one in C for each call, and a dict to find circles: 1,210 against 410
    ns for a small object. It is no documented name, so where it is not as it was in 3.11 to 3.14,
    the documented one does.
    """
    try:
        quick = cast("Any", json.encoder).c_make_encoder(
            None, simplified, json.encoder.encode_basestring, None, ":", ",", False, False, False
        )
        if "".join(quick({"é": [1.5, None]}, 0)) == '{"é":[1.5,null]}':
            return cast("Callable[[object, int], Iterable[str]]", quick)
    except (AttributeError, TypeError):
        pass
    return lambda obj, level: _careful.encode(obj)


_pieces: Final = _quick()
