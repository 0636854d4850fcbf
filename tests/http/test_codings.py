"""`decoder`: gzip, deflate, br and zstd in steps that nobody can make large (RFC 9110 §8.4)."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http.codings import STEP_BYTES, Decoder, decodable, decoder
from nardis.errors import HTTPError

brotli: Any = import_module("brotli")
zstandard: Any = import_module("zstandard")


def deflated(body: bytes) -> bytes:
    """Compress without the zlib format."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return compressor.compress(body) + compressor.flush()


def framed(body: bytes) -> bytes:
    """Compress to a frame without its size, with a checksum."""
    compressor = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    coded: bytes = compressor.compress(body) + compressor.flush()
    return coded


def sized(body: bytes) -> bytes:
    """Compress to a frame with its size, and without a checksum."""
    coded: bytes = zstandard.ZstdCompressor().compress(body)
    return coded


Encode = Callable[[bytes], bytes]

ENCODERS: dict[str, tuple[str, Encode]] = {
    "gzip": ("gzip", gzip.compress),
    "zlib": ("deflate", zlib.compress),
    "deflate": ("deflate", deflated),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", framed),
    "zstd with its size": ("zstd", sized),
}

each_encoder = pytest.mark.parametrize(
    ("coding", "encode"), list(ENCODERS.values()), ids=list(ENCODERS)
)

NOISE = random.Random(1).randbytes(200_000)

MIXED = b"".join(
    [
        NOISE[:50_000],
        bytes(300_000),
        b"".join(b"%d, " % number for number in range(40_000)),
    ]
)


def made(content_encoding: str) -> Decoder:
    found = decoder(content_encoding)
    assert found is not None
    return found


def steps(decoding: Decoder, pieces: list[bytes]) -> Iterator[bytes]:
    """Feed *pieces*, each when the one before it is used up, and give what each step gives."""
    for piece in pieces:
        yield decoding.feed(piece)
        while not decoding.hungry:
            yield decoding.feed()
    decoding.finish()


def cut(coded: bytes, size: int) -> list[bytes]:
    return [coded[at : at + size] for at in range(0, len(coded), size)]


def decoded(coding: str, *pieces: bytes) -> bytes:
    return b"".join(steps(made(coding), list(pieces)))


def refused(coding: str, *pieces: bytes) -> str:
    """Return what the 400 says."""
    with pytest.raises(HTTPError) as caught:
        decoded(coding, *pieces)
    assert caught.value.status == 400
    return caught.value.detail


# --- which coding ---------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, "", "identity", "Identity ,\tidentity", " , ,", "\t"])
def test_a_body_without_a_coding_has_no_decoder(value: str | None) -> None:
    assert decoder(value) is None


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("X-GZip", "gzip"),
        (" gzip\t", "gzip"),
        ("identity, gzip", "gzip"),
        (",gzip,,", "gzip"),
        ("deflate", "deflate"),
        ("BR", "br"),
        ("zstd", "zstd"),
    ],
)
def test_a_coding_is_found_by_any_of_its_spellings(value: str, name: str) -> None:
    assert made(value).name == name


@pytest.mark.parametrize(
    "value",
    [
        "compress",
        "utf-8",
        "gzip;q=1",
        '"gzip"',
        "gzip deflate",
        "*",
        "gzip, gzip",
        "br, gzip",
        "gzip, nonsense",
        "identity," * 99 + "gzip",
        "identity," * 500 + "gzip",
        "," * 99,
        "\xa0gzip",
        "GZ\u0130P",
    ],
    ids=lambda value: value[:20],
)
def test_any_other_coding_and_several_are_a_415_that_names_what_is_taken(value: str) -> None:
    with pytest.raises(HTTPError) as caught:
        decoder(value)

    assert caught.value.status == 415
    assert caught.value.headers == {"accept-encoding": "gzip, deflate, br, zstd"}


def test_the_415_is_short_for_a_long_name() -> None:
    with pytest.raises(HTTPError, match="'x{64}' is not supported") as caught:
        decoder("x" * 8_000)

    assert len(caught.value.detail) < 200


@pytest.mark.parametrize(
    ("package", "coding", "others"),
    [
        ("brotli", "br", ("gzip", "deflate", "zstd")),
        ("zstandard", "zstd", ("gzip", "deflate", "br")),
    ],
)
def test_a_coding_whose_package_is_not_installed_is_a_415(
    monkeypatch: pytest.MonkeyPatch, package: str, coding: str, others: tuple[str, ...]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    decodable.cache_clear()
    try:
        with pytest.raises(HTTPError, match="415") as caught:
            decoder(coding)
        assert decodable() == others
        assert caught.value.headers == {"accept-encoding": ", ".join(others)}
    finally:
        decodable.cache_clear()


def test_a_package_is_imported_by_the_first_body_that_needs_it() -> None:
    code = """
import json, sys
from nardis._http.codings import decodable, decoder

def loaded():
    return [name for name in ("brotli", "zstandard") if name in sys.modules]

stages = [list(decodable())]
for coding in ("gzip", "zstd", "br"):
    decoder(coding)
    stages.append(loaded())
print(json.dumps(stages))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert json.loads(done.stdout) == [
        ["gzip", "deflate", "br", "zstd"],
        [],
        ["zstandard"],
        ["brotli", "zstandard"],
    ]


# --- what comes of it -----------------------------------------------------------------------------


@each_encoder
@pytest.mark.parametrize("size", [1, 7, 65_536, 10_000_000])
@pytest.mark.parametrize("body", [b"", b"x", MIXED], ids=["empty", "short", "long"])
def test_a_body_is_decoded_in_pieces_of_any_size(
    coding: str, encode: Encode, size: int, body: bytes
) -> None:
    assert decoded(coding, *cut(encode(body), size)) == body


@each_encoder
@given(body=st.binary(max_size=300), repeats=st.integers(1, 500), data=st.data())
def test_any_body_in_any_pieces_comes_back(
    coding: str, encode: Encode, body: bytes, repeats: int, data: st.DataObject
) -> None:
    coded = encode(body * repeats)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(coded)), max_size=5)))
    pieces = [coded[a:b] for a, b in zip([0, *cuts], [*cuts, len(coded)], strict=True)]

    assert decoded(coding, *pieces) == body * repeats


@each_encoder
def test_input_that_is_fed_too_early_is_kept(coding: str, encode: Encode) -> None:
    decoding = made(coding)
    given = [decoding.feed(piece) for piece in cut(encode(MIXED), 20_000)]
    while not decoding.hungry:
        given.append(decoding.feed())
    decoding.finish()

    assert b"".join(given) == MIXED


def flushing(coding: str) -> Callable[[bytes], bytes]:
    """Make a function that compresses a piece and flushes it."""
    if coding == "br":
        brotlis = brotli.Compressor()
        return lambda piece: brotlis.process(piece) + brotlis.flush()
    if coding == "zstd":
        frame = zstandard.ZstdCompressor().compressobj()
        end = zstandard.COMPRESSOBJ_FLUSH_BLOCK
        return lambda piece: frame.compress(piece) + frame.flush(end)
    stream = zlib.compressobj(wbits=31 if coding == "gzip" else 15)
    return lambda piece: stream.compress(piece) + stream.flush(zlib.Z_SYNC_FLUSH)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_what_was_flushed_is_given_without_more_input(coding: str) -> None:
    """A client in a conversation waits for an answer to what it sent."""
    flushed, decoding = flushing(coding), made(coding)
    for piece in (b"one", bytes(200_000), MIXED[:100_000], b"four"):
        given = [decoding.feed(flushed(piece))]
        while not decoding.hungry:
            given.append(decoding.feed())
        assert b"".join(given) == piece


def at_once(coding: str, coded: bytes) -> bytes:
    """Return all that the library makes of the beginning of a body, without a bound."""
    if coding == "br":
        stream = brotli.Decompressor()
        given = [stream.process(coded)]
        while given[-1]:  # it may stop with its first block (1.2)
            given.append(stream.process(b""))
        return b"".join(given)
    if coding == "zstd":
        whole: bytes = zstandard.ZstdDecompressor().decompressobj().decompress(coded)
        return whole
    is_naked = coding == "deflate" and coded[:1] != b"\x78"
    return zlib.decompressobj(31 if coding == "gzip" else -15 if is_naked else 15).decompress(coded)


@each_encoder
def test_the_beginning_of_a_body_gives_as_much_as_the_library_makes_of_it(
    coding: str, encode: Encode
) -> None:
    """Also where a full step has taken all the input: zlib may hold some hundred bytes more."""
    coded = encode(bytes(200_000) + b"text" + bytes(70_000))
    for length in range(len(coded)):
        decoding = made(coding)
        given = [decoding.feed(coded[:length])]
        while not decoding.hungry:
            given.append(decoding.feed())
        assert b"".join(given) == at_once(coding, coded[:length])


def test_gzip_has_any_number_of_members() -> None:
    """RFC 1952 §2.2; each with a head of its own."""
    whole = gzip.compress(b"one") + gzip.compress(b"") + gzip.compress(b"two" * 10_000)
    for size in (1, 7, len(whole)):
        assert decoded("gzip", *cut(whole, size)) == b"one" + b"two" * 10_000


def test_a_gzip_head_may_have_all_its_fields() -> None:
    """RFC 1952 §2.3.1: FEXTRA, FNAME, FCOMMENT and FHCRC."""
    head = b"\x1f\x8b\x08\x1e" + bytes(6) + b"\x03\x00abc" + b"name\x00" + b"comment\x00"
    check = zlib.crc32(head).to_bytes(4, "little")
    tail = gzip.compress(b"text", mtime=0)[10:]

    assert decoded("gzip", *cut(head + check[:2] + tail, 1)) == b"text"


def skippable(body: bytes, kind: int = 0) -> bytes:
    magic = (0x184D2A50 + kind).to_bytes(4, "little")
    return magic + len(body).to_bytes(4, "little") + body


def test_zstd_has_any_number_of_frames_and_some_are_skipped() -> None:
    """RFC 8878 §3.1 and §3.1.2."""
    whole = b"".join(
        [
            skippable(b"", 15),
            framed(b"one"),
            skippable(b"\x28\xb5\x2f\xfd" * 10_000),
            sized(b""),
            sized(b"two" * 50_000),
            skippable(b"x"),
        ]
    )
    for size in (1, 7, len(whole)):
        assert decoded("zstd", *cut(whole, size)) == b"one" + b"two" * 50_000
    assert decoded("zstd", skippable(b"nothing")) == b""


MAGIC = b"\x28\xb5\x2f\xfd"
OPEN = MAGIC + b"\x00\x58"  # a window of 2 MiB, no size, no checksum


def block(kind: int, size: int, body: bytes, *, last: bool = False) -> bytes:
    return (size << 3 | kind << 1 | last).to_bytes(3, "little") + body


def test_zstd_has_blocks_of_each_type() -> None:
    """RFC 8878 §3.1.1.2.2: raw, repeated, and compressed (of which others are above)."""
    blocks = [block(0, 3, b"abc"), block(1, 131_072, b"d"), block(0, 0, b""), block(1, 0, b"e")]
    whole = OPEN + b"".join(blocks) + block(0, 1, b"f", last=True)
    for size in (1, 7, len(whole)):
        assert decoded("zstd", *cut(whole, size)) == b"abc" + b"d" * 131_072 + b"f"
    assert decoded("zstd", OPEN + block(0, 0, b"", last=True)) == b""


# --- what is refused ------------------------------------------------------------------------------


@each_encoder
@pytest.mark.parametrize("size", [1, 10_000_000])
def test_a_body_that_is_cut_short_is_a_400(coding: str, encode: Encode, size: int) -> None:
    """Wherever it is cut: in its head, between two blocks, in the checksum."""
    coded = encode(MIXED[49_700:50_300])
    for length in range(1, len(coded)):
        assert "cut short" in refused(coding, *cut(coded[:length], size))


def test_a_further_member_or_frame_that_is_cut_short_is_a_400() -> None:
    for coding, encode in (("gzip", gzip.compress), ("zstd", framed), ("zstd", skippable)):
        coded = encode(b"two")
        for length in range(1, len(coded)):
            assert "cut short" in refused(coding, encode(b"one") + coded[:length])


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_body_without_a_byte_is_empty(coding: str) -> None:
    assert decoded(coding) == b""


@each_encoder
@pytest.mark.parametrize("extra", [b"\x00\x00\x00\x00", b"text behind the end"])
@pytest.mark.parametrize("together", [True, False])
def test_bytes_behind_the_end_are_a_400(
    coding: str, encode: Encode, extra: bytes, together: bool
) -> None:
    """Another program, behind us or before, might read them as something else."""
    coded = encode(b"text")

    assert refused(coding, *([coded + extra] if together else [coded, extra]))


def test_a_second_stream_is_for_gzip_and_zstd_alone() -> None:
    for coding, encode in (
        ("deflate", zlib.compress),
        ("deflate", deflated),
        ("br", brotli.compress),
    ):
        assert "behind the end" in refused(coding, encode(b"one"), encode(b"two"))


@pytest.mark.parametrize(
    ("coding", "coded"),
    [
        ("gzip", b"not gzip at all"),
        ("gzip", zlib.compress(b"text")),
        ("gzip", gzip.compress(b"text", mtime=0)[:-8] + bytes(8)),
        ("gzip", b"\x1f\x8b\x07" + bytes(7)),
        ("deflate", gzip.compress(b"text", mtime=0)),
        ("deflate", zlib.compress(b"text")[:-4] + bytes(4)),
        ("deflate", b"\x78\x9d" + zlib.compress(b"text")[2:]),
        ("deflate", b"\x78\xbb" + zlib.compress(b"text")[2:]),
        ("deflate", b'{"a": 1}'),
        ("br", b"\x11\x1e" + bytes(10)),
        ("br", b"\xff" * 10),
        ("zstd", b"not zstd"),
        ("zstd", b"\x27\xb5\x2f\xfd" + framed(b"text")[4:]),
        ("zstd", framed(b"text")[:-4] + bytes(4)),
        ("zstd", MAGIC + b"\x08\x58" + block(0, 1, b"a", last=True)),
        ("zstd", OPEN + block(3, 1, b"a", last=True)),
        ("zstd", OPEN + block(0, 131_073, b"")),
        ("zstd", OPEN + block(1, 131_073, b"a")),
        ("zstd", OPEN + block(1, 2**21 - 1, b"a")),
        ("zstd", OPEN + block(2, 4, bytes(4))),
        ("zstd", MAGIC + b"\x20\x02" + block(0, 3, b"abc", last=True)),
    ],
    ids=[
        "text",
        "zlib as gzip",
        "gzip checksum",
        "gzip method",
        "gzip as deflate",
        "zlib checksum",
        "zlib header check",
        "zlib dictionary",
        "json as deflate",
        "br with a large window",
        "br of ones",
        "text as zstd",
        "zstd of an old version",
        "zstd checksum",
        "zstd reserved bit",
        "zstd reserved block",
        "zstd raw block over 128 KiB",
        "zstd repeated block over 128 KiB",
        "zstd repeated block of 2 MiB",
        "zstd compressed block",
        "zstd content size",
    ],
)
@pytest.mark.parametrize("size", [1, 100])
def test_corrupt_data_are_a_400(coding: str, coded: bytes, size: int) -> None:
    assert f"not valid {coding}" in refused(coding, *cut(coded, size))


def windowed(log: int, body: bytes = b"text") -> bytes:
    """Compress to a frame with a window of that size."""
    parameters = zstandard.ZstdCompressionParameters(window_log=log)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    coded: bytes = compressor.compress(body) + compressor.flush()
    return coded


def test_a_zstd_window_has_8_mib_at_most() -> None:
    """RFC 9659 §3. A frame says its window in five bits, and may say 3.75 TiB."""
    assert decoded("zstd", windowed(23)) == b"text"
    for coded in (windowed(24), windowed(27), MAGIC + b"\x00\xff" + block(0, 0, b"", last=True)):
        assert "8 MiB" in refused("zstd", coded)


def test_a_zstd_frame_in_one_segment_has_8_mib_at_most() -> None:
    """Its window is the whole content (RFC 8878 §3.1.1.1.2)."""
    for size, fits in ((8 * 1024 * 1024, True), (8 * 1024 * 1024 + 1, False)):
        blocks = [block(1, 131_072, b"a") for _ in range(64)] + [block(1, size - 2**23, b"a")]
        head = MAGIC + b"\xa0" + size.to_bytes(4, "little")
        whole = head + b"".join(blocks) + block(0, 0, b"", last=True)
        if fits:
            assert len(decoded("zstd", whole)) == size
        else:
            assert "8 MiB" in refused("zstd", whole)


def test_a_zstd_frame_with_a_dictionary_is_a_400() -> None:
    dictionary = zstandard.ZstdCompressionDict(b"some text " * 100)
    coded = zstandard.ZstdCompressor(dict_data=dictionary).compress(b"some text some text ")
    named = MAGIC + b"\x21\x07\x03" + block(0, 3, b"abc", last=True)

    assert refused("zstd", coded)
    assert "dictionary" in refused("zstd", named)


def status_of(coding: str, *pieces: bytes) -> int:
    try:
        decoded(coding, *pieces)
    except HTTPError as exc:
        return exc.status
    return 200


@given(
    coding=st.sampled_from(["gzip", "deflate", "br", "zstd"]),
    pieces=st.lists(st.binary(max_size=40), max_size=4),
)
def test_any_bytes_are_decoded_or_a_400(coding: str, pieces: list[bytes]) -> None:
    assert status_of(coding, *pieces) in (200, 400)


@each_encoder
@given(data=st.data())
def test_a_byte_that_changed_is_decoded_or_a_400(
    coding: str, encode: Encode, data: st.DataObject
) -> None:
    coded = bytearray(encode(MIXED[49_900:50_100]))
    at = data.draw(st.integers(0, len(coded) - 1))
    coded[at] ^= data.draw(st.integers(1, 255))
    statuses = {status_of(coding, *cut(bytes(coded), size)) for size in (1, 7, 10_000)}

    assert statuses in ({200}, {400})


# --- bombs ----------------------------------------------------------------------------------------


def nested(body: bytes) -> bytes:
    return gzip.compress(gzip.compress(body, mtime=0))


def in_blocks(body: bytes) -> bytes:
    """Compress to thousands of deflate blocks of each type, empty ones between them."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    flushes = [zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_PARTIAL_FLUSH, zlib.Z_NO_FLUSH]
    coded = [
        compressor.compress(piece) + compressor.flush(flushes[at % 4])
        for at, piece in enumerate(cut(body, 10_000))
    ]
    return b"".join(coded) + compressor.flush()


def in_members(body: bytes) -> bytes:
    return b"".join(gzip.compress(piece) for piece in cut(body, 100_000))


TEN_MIB = bytes(10 * 1024 * 1024)

BOMBS: dict[str, tuple[str, Encode]] = {
    **ENCODERS,
    "gzip in blocks": ("gzip", in_blocks),
    "gzip in members": ("gzip", in_members),
}


@pytest.mark.parametrize(("coding", "encode"), list(BOMBS.values()), ids=list(BOMBS))
@pytest.mark.parametrize("size", [1, 10_000_000])
def test_a_bomb_goes_off_in_small_steps(coding: str, encode: Encode, size: int) -> None:
    """10 MiB of zeros, of which a reader has 64 KiB at a time, in three copies at most."""
    pieces = cut(encode(TEN_MIB), size)
    total = largest = 0
    tracemalloc.start()
    try:
        for piece in steps(made(coding), pieces):
            total += len(piece)
            largest = max(largest, len(piece))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert total == len(TEN_MIB)
    assert largest <= STEP_BYTES
    assert peak < 6 * STEP_BYTES


def test_only_one_coding_is_decoded() -> None:
    """What comes of it is data, however it looks."""
    assert decoded("gzip", nested(TEN_MIB)) == gzip.compress(TEN_MIB, mtime=0)


def test_a_step_of_br_may_be_slow_and_of_no_other() -> None:
    """It fills a window of 16 MiB first. So a caller in an event loop makes it in a thread."""
    assert [coding for coding in decodable() if made(coding).is_slow] == ["br"]


@pytest.mark.parametrize(
    ("coding", "unit"),
    [
        ("gzip", gzip.compress(b"", mtime=0)),
        ("gzip", gzip.compress(b"text", mtime=0)),
        ("zstd", sized(b"")),
        ("zstd", skippable(b"")),
        ("zstd", skippable(b"text")),
        ("zstd", framed(b"text")),
        ("zstd", framed(bytes(1_000))),
    ],
)
@pytest.mark.parametrize("size", [3, 10_000_000])
def test_many_members_are_decoded_in_linear_time(
    coding: str, unit: bytes, size: int, count_calls: Callable[..., int]
) -> None:
    def decode(times: int) -> None:
        for _ in steps(made(coding), cut(unit * times, size)):
            pass

    decode(1)
    assert count_calls(decode, 4_000) <= 2.6 * count_calls(decode, 2_000)


@each_encoder
@pytest.mark.parametrize("part", [bytes(500_000), NOISE], ids=["zeros", "noise"])
def test_a_large_piece_is_decoded_in_linear_time(
    coding: str,
    encode: Encode,
    part: bytes,
    count_calls: Callable[..., int],
) -> None:
    def decode(coded: bytes) -> None:
        for _ in steps(made(coding), [coded]):
            pass

    once, twice = encode(part), encode(part * 2)
    decode(once)
    assert count_calls(decode, twice) <= 2.6 * count_calls(decode, once)


@pytest.mark.parametrize("empty", [block(0, 0, b""), block(1, 0, b"a")])
def test_empty_blocks_are_passed_in_linear_time(
    empty: bytes, count_calls: Callable[..., int]
) -> None:
    def decode(times: int) -> None:
        whole = OPEN + empty * times + block(0, 0, b"", last=True)
        assert b"".join(steps(made("zstd"), [whole])) == b""

    decode(1)
    assert count_calls(decode, 4_000) <= 2.6 * count_calls(decode, 2_000)


@each_encoder
def test_a_step_takes_a_slice_of_a_large_piece(coding: str, encode: Encode) -> None:
    """zlib copies what it has not used. Of a whole body at each step that would be quadratic."""
    assert max(map(len, steps(made(coding), [encode(NOISE)]))) <= 16 * 1024


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_decoder_is_no_circle(coding: str) -> None:
    """Its window, of up to 16 MiB, is not left to the garbage collector."""
    decoding, other = made(coding), object()
    decoding.feed(flushing(coding)(b"text"))

    assert sys.getrefcount(decoding) == sys.getrefcount(other)
