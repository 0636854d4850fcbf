"""`read_head`: a Transfer-Encoding in disguise is never read as chunked beside a length (§6.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from nardis.server.http1.request import END_OF_HEAD, Refused, RequestHead, read_head

# What another parser may skip, cut at, or take for the end of a line.
FILLINGS = [
    *(bytes([code]) for code in range(0x21) if code not in (0x09, 0x20)),
    *(bytes([code]) for code in (0x22, 0x27, 0x2C, 0x2E, 0x3A, 0x3B, 0x3D, 0x5C, 0x7F, 0x80)),
    *(bytes([code]) for code in (0x85, 0xA0, 0xFF)),
    *(b"\t", b" ", b"  ", b" \t", b"\xc2\xa0", b"\xe2\x80\x8b", b"\xef\xbb\xbf", b"\\r\\n"),
    *(b"\r\n ", b"\r\n\t", b"\r ", b"\n ", b"\n\t", b"\r\r", b"\n\r", b"\x00\r", b"\r\x00"),
]
PLACES = [
    b"%bTransfer-Encoding: chunked",
    b"Transfer%b-Encoding: chunked",
    b"Transfer-%bEncoding: chunked",
    b"Transfer-Encoding%b: chunked",
    b"Transfer-Encoding:%bchunked",
    b"Transfer-Encoding: %b chunked",
    b"Transfer-Encoding: chun%bked",
    b"Transfer-Encoding: chunked%b",
    b"Transfer-Encoding: chunked %b",
    b"Transfer-Encoding: chunked%bx",
    b"A: b%bTransfer-Encoding: chunked",
]
NAMES = [
    b"Transfer_Encoding",
    b"Transfer Encoding",
    b"TransferEncoding",
    b"Transfer--Encoding",
    b"Transfer-Encoding-",
    b"-Transfer-Encoding",
    b"X-Transfer-Encoding",
    b"HTTP_TRANSFER_ENCODING",
    b"Content-Transfer-Encoding",
    b"Transfer-Encodings",
    b"Transfer-Encodin",
    b"ransfer-Encoding",
    b"Transfer-Encoding ",
    b"Transfer-Encoding\t",
    b" Transfer-Encoding",
    b"\tTransfer-Encoding",
    b'"Transfer-Encoding"',
    b"Transfer%2DEncoding",
    b"Transfer\xe2\x80\x90Encoding",
    b"Tran\xc5\xbffer-Encoding",
    b"transfer-encoding",
    b"TRANSFER-ENCODING",
    b"tRANSFER-eNCODING",
    b"TE",
]
VALUES = [
    b"chunked",
    b"Chunked",
    b"CHUNKED",
    b"cHuNkEd",
    b"'chunked'",
    b'"chunked"',
    b'"chunked',
    b'chunked"',
    b"<chunked>",
    b"(x)chunked",
    b"chunked(x)",
    b"chunked;",
    b"chunked;q=0",
    b";chunked",
    b"chunked,",
    b",chunked",
    b", chunked",
    b"chunked, ",
    b"chunked,,",
    b"chunked,chunked",
    b"chunked, identity",
    b"identity, chunked",
    b"identity",
    b"gzip, chunked",
    b"chunked, gzip",
    b"chunked gzip",
    b"gzip chunked",
    b"x chunked",
    b"xchunked",
    b"chunkedx",
    b"chunked-x",
    b"chunk",
    b"chunkedchunked",
    b"c h u n k e d",
    b"chun\xe2\x84\xaaed",
    b"%63hunked",
    b"\\chunked",
    b"",
    b"0",
    b"null",
]


def disguises() -> Iterator[bytes]:
    """Make lines that some parser may take for a Transfer-Encoding, and some for nothing."""
    for filling in FILLINGS:
        for place in PLACES:
            yield place % filling
        for before in (b"gzip,", b"identity;", b'"'):
            yield b"Transfer-Encoding: " + before + filling + b"chunked"
        yield b"Transfer-Encoding:" + filling + b"\r\nTransfer-Encoding: chunked"
    for name in NAMES:
        for value in VALUES:
            yield name + b": " + value


# An empty line would end the head before the disguise.
DISGUISED = sorted({line for line in disguises() if not line.startswith(b"\r\n")})

# The blanks that may stand around a value.
PADDING = re.compile(rb"(?<=:)[ \t]+|[ \t]+$")


def head_with(*lines: bytes, version: bytes = b"1.1") -> bytes:
    """Make the head of a POST with a Host, and *lines* behind it."""
    return b"\r\n".join([b"POST /a HTTP/" + version, b"Host: h", *lines]) + END_OF_HEAD


def outcome(head: bytes) -> RequestHead | int:
    """Read *head*, or return the status that it is refused with."""
    assert head.find(END_OF_HEAD) == len(head) - len(END_OF_HEAD)
    try:
        return read_head(head)
    except Refused as exc:
        return exc.status


def test_the_disguises_are_many() -> None:
    assert len(DISGUISED) >= 1_700


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_no_disguised_coding_is_read_as_chunked_beside_a_length(
    is_first: bool, version: bytes
) -> None:
    """It is refused, or it is the name of another field and the length holds."""
    for line in DISGUISED:
        lines = [line, b"Content-Length: 5"] if is_first else [b"Content-Length: 5", line]
        head = outcome(head_with(*lines, version=version))
        if isinstance(head, int):
            assert head in (400, 501), line
        else:
            assert head.length == 5, line
            assert b"transfer-encoding" not in dict(head.headers), line


def test_without_a_length_only_plain_letters_are_read_as_chunked() -> None:
    read = {line for line in DISGUISED if getattr(outcome(head_with(line)), "length", 0) is None}

    assert {PADDING.sub(b"", line.lower()) for line in read} == {b"transfer-encoding:chunked"}
