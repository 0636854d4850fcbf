"""
Types: what is read into them, and what is written of them.

A body, a query or a path is text; a handler wants numbers, dates, and objects with members. What
does not fit is a 422 that lists every fault with its place. What can be read can be written again.

`decode` reads a JSON body, `pairs` a query, `convert` a decoded value or one text; `encode` writes,
and `codecs` adapts the encoder and decoder that an application brings. Nothing here awaits. What a
program does not use is not imported: the converter is, when a body does not fit, or where msgspec
is not installed.
"""

from __future__ import annotations

from .codecs import as_codec
from .decode import decode_typed, typed_decoder
from .encode import encode_json

__all__ = ["as_codec", "decode_typed", "encode_json", "typed_decoder"]
