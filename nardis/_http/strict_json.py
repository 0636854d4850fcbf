"""
JSON as RFC 8259 has it: encoded, decoded within a depth, and decoded into a type.

Source: RFC 8259 §2 to §9.
"""

from __future__ import annotations

import codecs
import json as stdjson
from collections.abc import Iterable
from math import isfinite, isinf
from typing import Any, Final, NoReturn, cast

from ..errors import HTTPError, UsageError

__all__ = ["decode_json", "decode_typed", "encode_json"]


_BACKSLASH: Final = ord("\\")  # one byte is found sooner than a bytes object


def encode_json(obj: object, codec: Any = None) -> bytes:
    r"""
    Encode *obj* as compact JSON in UTF-8.

    Args:
        obj: What the encoder takes; without a codec: dicts, lists, texts, numbers, booleans, None.
        codec: An encoder to use instead, as `Nardis(json=...)` was given it. Its `dumps` returns
            text or bytes.

    Raises:
        TypeError, ValueError: *obj* cannot be encoded. NaN cannot: it is not JSON (RFC 8259 §6).

    Source: RFC 8259 §8.1 (UTF-8) and §8.2: a lone surrogate has no UTF-8, but an escape.
    >>> encode_json({"café": [1, None]}).decode(), encode_json("\ud800")
    ('{"café":[1,null]}', b'"\\ud800"')
    """
    encoded = _encode(obj) if codec is None else codec.dumps(obj)
    if not isinstance(encoded, str):
        return cast("bytes", encoded)
    try:
        return encoded.encode()
    except UnicodeEncodeError:
        return stdjson.dumps(obj, allow_nan=False, separators=(",", ":")).encode()


def decode_json(body: bytes, depth: int, codec: Any = None) -> Any:
    """
    Decode strict JSON, with at most *depth* levels of nesting.

    Args:
        body: JSON in UTF-8.
        depth: How many lists and objects may stand inside one another.
        codec: A decoder to use instead, as `Nardis(json=...)` was given it. What it returns is
            checked for depth, for numbers that are not finite, and for half a surrogate pair.

    Raises:
        HTTPError: 400, the body is not JSON, or exceeds a limit.

    Source: RFC 8259 §2 to §9; the limits are those that §6, §8.2 and §9 allow.
    >>> decode_json(b'{"a": [1]}', 2)
    {'a': [1]}
    """
    try:
        value = _decode(body.decode()) if codec is None else codec.loads(body)
    except UnicodeDecodeError as exc:
        raise HTTPError(400, "the JSON body is not valid UTF-8") from exc
    except RecursionError as exc:
        raise HTTPError(400, f"the JSON body is nested deeper than {depth} levels") from exc
    except ValueError as exc:
        what = "it begins with a byte order mark" if body.startswith(codecs.BOM_UTF8) else exc
        raise HTTPError(400, f"the body is not valid JSON: {what}") from exc
    if _may_be_deeper(body, depth) and _is_deeper(value, depth):
        raise HTTPError(400, f"the JSON body is nested deeper than {depth} levels")
    # The body is UTF-8, so only an escape can have made a surrogate. Most bodies have no backslash,
    # which is found at once.
    halves = _BACKSLASH in body and (b"\\ud" in body or b"\\uD" in body)
    if halves or codec is not None:
        _check_writable(value, texts=halves)
    return value


def decode_typed(body: bytes, type: Any, depth: int) -> Any:
    """
    Decode JSON into *type* and validate it.

    Args:
        body: JSON in UTF-8.
        type: A class with `model_validate_json`, as pydantic has it, or any type msgspec knows.
        depth: As for `decode_json`.

    Raises:
        HTTPError: 400 for what `decode_json` refuses; 422 for JSON that does not fit, and from
            msgspec for too great a number.
        UsageError: msgspec is not installed, and *type* has no `model_validate_json`.
    """
    validate = getattr(type, "model_validate_json", None)
    # pydantic's own parser takes NaN, and 1e999 as infinity (2.14); msgspec's (0.22) refuses both,
    # and half a surrogate pair.
    if validate is not None or _may_be_deeper(body, depth):
        decode_json(body, depth)
    if validate is not None:
        try:
            return validate(body)
        except ValueError as exc:
            raise HTTPError(422, str(exc)) from exc
    try:
        import msgspec
    except ImportError as exc:
        raise UsageError("req.json(Model) needs msgspec: pip install 'nardis[msgspec]'") from exc
    try:
        return msgspec.json.decode(body, type=type)
    except msgspec.ValidationError as exc:
        raise HTTPError(422, str(exc)) from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise HTTPError(400, f"the body is not valid JSON: {exc}") from exc


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if isinf(number):
        shown = text if len(text) <= 20 else f"{text[:20]}..."
        raise HTTPError(
            400, f"the number {shown} in the JSON body is too great: at most about 1.8e308 is taken"
        )
    return number


# One encoder for all: json.dumps() with arguments makes one for each call (1,700 against 2,900 ns,
# measured). NaN is not JSON.
_encode: Final = stdjson.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":")
).encode

# One decoder for all: json.loads() with arguments makes one for each call (9.9 against 8.2 us for
# 1 KB, measured).
_decode: Final = stdjson.JSONDecoder(parse_float=_finite, parse_constant=_no_constant).decode


def _check_writable(value: Any, *, texts: bool) -> None:
    """
    Refuse what could be read but not be written as JSON in UTF-8.

    That is a number that is not finite, and half of a surrogate pair.

    Args:
        value: What a decoder returned.
        texts: Whether to look at the texts as well.

    Raises:
        HTTPError: 400.
    """
    values = [value]
    try:
        for each in values:
            # A third quicker than isinstance() throughout, measured.
            kind = type(each)  # pyright: ignore[reportUnknownVariableType]  # of Any it makes type[Unknown]
            if kind is int:
                continue
            if kind is str:
                if texts:
                    each.encode()
            elif kind is float:
                if not isfinite(each):
                    raise HTTPError(
                        400, f"the JSON body has {each} for a number, which is not JSON"
                    )
            elif isinstance(each, dict):
                members = cast("dict[Any, Any]", each)
                values += members.values()
                if texts:
                    values += members
            elif isinstance(each, list):
                values += cast("list[Any]", each)
    except UnicodeEncodeError as exc:
        raise HTTPError(
            400,
            "the JSON body has half of a surrogate pair, which is no character: "
            "\\ud800 or its like",
        ) from exc


def _may_be_deeper(body: bytes, depth: int) -> bool:
    """Whether so many brackets open that the value has to be looked at."""
    # Taking them out finds them with memchr, and stops in time; count() looks at each byte.
    without = body.replace(b"[", b"", depth + 1).replace(b"{", b"", depth + 1)
    return len(body) - len(without) > depth


def _is_deeper(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [child for parent in level for child in _children(parent)]
    return any(isinstance(each, (dict, list)) for each in level)


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return cast("dict[str, Any]", value).values()
    return cast("list[Any]", value) if isinstance(value, list) else ()
