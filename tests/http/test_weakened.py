"""`weakened`: a strong ETag becomes weak (RFC 9110 §8.8.1)."""

from __future__ import annotations

import pytest

from nardis._http.conditional import weakened


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ((b"etag", b'"1"'), (b"etag", b'W/"1"')),
        ((b"etag", b'W/"1"'), (b"etag", b'W/"1"')),
        ((b"last-modified", b'"1"'), (b"last-modified", b'"1"')),
    ],
)
def test_only_a_strong_etag_changes(
    line: tuple[bytes, bytes], expected: tuple[bytes, bytes]
) -> None:
    assert weakened(line) == expected
