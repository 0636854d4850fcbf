"""
A JSON body, read into a type.

Where msgspec is installed, it reads the body. It knows one fault at a time, so a body that does not
fit is looked at once more, by our own converter. That one reads the body where msgspec is not
installed, or does not know the type.

Source: RFC 8259 §2 to §9; RFC 9457 §3 (the answer).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final

from .._http.strict_json import JSONRefused, decode_exactly, decode_json, may_be_deeper
from ..errors import HTTPError, UsageError

__all__ = ["decode_typed", "typed_decoder"]

# A program has as many types as its source names; one that makes types while it runs must not grow
# this cache without bound.
CACHED_TYPES: Final = 1024

# What may be a Decimal that is not finite or has a great exponent, all of which msgspec takes. An
# escape may hide it. No run of digits is looked at twice.
_ODD_DECIMAL: Final = re.compile(
    rb"nan|inf|\\u|[0-9.]e[+-]?[0-9]{3}|(?<![0-9])[0-9]{999}", re.IGNORECASE
)


def decode_typed(body: bytes, type: Any, depth: int) -> Any:
    """
    Decode JSON into *type* and validate it.

    Args:
        body: JSON in UTF-8.
        type: A class with `model_validate_json`, as pydantic has it; a dataclass, TypedDict,
            NamedTuple, Enum or whatever else may stand in an annotation; with msgspec also a
            Struct.
        depth: As for `decode_json`.

    Raises:
        HTTPError: 400 for what `decode_json` refuses; 422 for JSON that does not fit, with each
            fault and its JSON pointer in the member `errors`.
        UsageError: Nothing reads such a type.

    Source: RFC 9457 §3.
    >>> decode_typed(b'{"a": [1, 2]}', dict[str, list[int]], 2)
    {'a': [1, 2]}
    """
    if hasattr(type, "model_validate_json"):
        return _validated(body, type, depth)
    if may_be_deeper(body, depth):
        decode_json(body, depth)
    try:
        import msgspec
    except ImportError:
        return _converted(body, type, depth)
    try:
        decode, decimals = _decoder(type)
        value = decode(body)
    except msgspec.ValidationError as exc:
        raise _refused(body, type, depth, str(exc)) from exc
    except TypeError:  # a type it does not know, or a set of what cannot be in one
        return _converted(body, type, depth)
    except RecursionError as exc:
        raise JSONRefused(400, f"the JSON body is nested deeper than {depth} levels") from exc
    except (msgspec.DecodeError, ValueError) as exc:  # the first is no ValueError before 0.21
        decode_json(body, depth)  # it says the same for all types
        # Nothing is known that msgspec alone refuses.
        raise JSONRefused(400, f"the body is not valid JSON: {exc}") from exc  # pragma: no cover
    if decimals and _ODD_DECIMAL.search(body):
        _converted(body, type, depth)
    return value


def typed_decoder(type: Any, depth: int) -> Callable[[bytes], Any]:
    """
    Return what decodes as `decode_typed` does, for many bodies of one type.

    msgspec is asked at once, where it reads the type; for 50 bytes the rest takes four times as
    long. What it refuses is decoded once more.

    Args:
        type: As for `decode_typed`.
        depth: As for `decode_typed`.

    >>> read = typed_decoder(list[int], 2)
    >>> read(b"[1, 2]"), read(b"[]")
    ([1, 2], [])
    """
    decode: Callable[[bytes], Any] | None = None
    refusals: tuple[type[Exception], ...] = ()
    if not hasattr(type, "model_validate_json"):
        with suppress(ImportError, TypeError):  # no msgspec, or none that knows the type
            from msgspec import DecodeError

            refusals = (DecodeError, RecursionError, TypeError, ValueError)
            decode, decimals = _decoder(type)
            decode = None if decimals else decode

    def read(body: bytes) -> Any:
        # Of short bodies the length is enough to know that.
        if decode is None or (len(body) > depth and may_be_deeper(body, depth)):
            return decode_typed(body, type, depth)
        try:
            return decode(body)
        except refusals:  # what that means is said in one place; any other error is the type's own
            return decode_typed(body, type, depth)

    return read


def _validated(body: bytes, model: Any, depth: int) -> Any:
    """Let a model read the body. Its own parser may be lenient: pydantic's (2.14) takes NaN."""
    value = decode_json(body, depth)
    try:
        return model.model_validate_json(body)
    except ValueError as exc:
        from .faults import Enough, Misfit, Walk, body_refused, faults_of

        walk = Walk()
        with suppress(Enough):
            walk.take_over(faults_of(exc, value))
        raise body_refused(Misfit(walk.faults, walk.more)) from exc


def _converted(body: bytes, type: Any, depth: int) -> Any:
    """Read the body with our own converter."""
    from .convert import read_with
    from .faults import Misfit, Walk, body_refused
    from .plans import reader_of

    reader = reader_of(type)
    decode = decode_exactly if reader.exact else decode_json
    value = decode(body, depth)
    try:
        return read_with(reader, value, Walk(exact=reader.exact))
    except Misfit as exc:
        raise body_refused(exc) from exc
    except RecursionError as exc:  # a level takes two or three calls
        raise JSONRefused(400, "the JSON body is nested deeper than can be read") from exc


def _refused(body: bytes, type: Any, depth: int, message: str) -> HTTPError:
    """Return the 422 for a body that msgspec refused: with every fault, or with its own."""
    from .faults import Misfit, Walk, body_refused, in_msgspecs_words

    try:
        _converted(body, type, depth)
    except HTTPError as exc:
        return exc
    except UsageError:  # a type that only msgspec knows
        pass
    walk = Walk()
    walk.take_over([in_msgspecs_words(message)])
    return body_refused(Misfit(walk.faults))


def _unknown_to_msgspec(type: Any, value: Any) -> Any:
    """Read what msgspec does not, such as a deque, or a model inside of a Struct."""
    from .convert import convert

    return convert(value, type)


@lru_cache(CACHED_TYPES)
def _decoder(type: Any) -> tuple[Callable[[bytes], Any], bool]:
    """Return what decodes into *type*, and whether there is a Decimal in that."""
    import msgspec

    from .plans import reader_of

    decode = msgspec.json.Decoder(type, dec_hook=_unknown_to_msgspec).decode
    try:
        return decode, reader_of(type).exact
    except UsageError:  # a type that only msgspec knows
        return decode, False
