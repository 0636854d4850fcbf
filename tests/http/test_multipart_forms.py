"""`MultipartReader` on the forms of real clients, and on those that brought others down."""

from __future__ import annotations

import json
from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from nardis._http.multipart import MultipartReader, PartHead
from nardis.errors import HTTPError
from nardis.limits import Limits

VECTORS = Path(__file__).parents[1] / "vectors"
SHARED = json.loads((VECTORS / "multipart_cases.json").read_text())
CASES = SHARED["cases"]
FORMS = json.loads((VECTORS / "captured_forms.json").read_text())["forms"]

# The size of a piece, and the largest body that is cut into such pieces.
CUTS = [(10**9, 10**9), (1, 4096), (7, 10**9), (65_536, 10**9)]

# What comes out otherwise than it was put in, in a name, a file name or a value.
CHANGED: dict[tuple[str, Any], Any] = {}

# A quote and a line end that the client wrote in percent. It writes a literal `%22` so too: a name
# that is not decoded is at least never another one.
for client in "chromium-fetch", "chromium-submit", "curl", "node", "requests":
    CHANGED.update(
        {
            (client, 'quote"name'): "quote%22name",
            (client, ']["\\'): "][%22\\",
        }
    )
for client in "chromium-fetch", "chromium-submit", "node", "requests", "httpx2":
    CHANGED[client, "a\r\nb"] = "a%0D%0Ab"
for client in "chromium-fetch", "chromium-submit", "node", "requests":
    CHANGED[client, 'bin"ary\\ 日本.dat'] = "bin%22ary\\ 日本.dat"
CHANGED.update(
    {
        ("curl", '../up "1".txt'): "../up %221%22.txt",
        ("curl", 'qu"ote\\ 日本.txt'): "qu%22ote\\ 日本.txt",
        ("httpx2", 'quote"name'): "quote%22name",
    }
)

# These write two backslashes for one, which a browser does not: nobody can know.
CHANGED.update(
    {
        ("curl-escape", ']["\\'): ']["\\\\',
        ("curl-escape", "back\\"): "back\\\\",
        ("curl-escape", 'qu"ote\\ 日本.txt'): 'qu"ote\\\\ 日本.txt',
        ("aiohttp", ']["\\'): ']["\\\\',
        ("httpx2", ']["\\'): "][%22\\\\",
        ("httpx2", 'bin"ary\\ 日本.dat'): "bin%22ary\\\\ 日本.dat",
    }
)

# It writes a whole file name in percent, which nothing tells from one that is so.
CHANGED.update(
    {
        ("aiohttp", 'bin"ary\\.dat'): "bin%22ary%5C.dat",
        ("aiohttp", "zero 日本.txt"): "zero%20%E6%97%A5%E6%9C%AC.txt",
        ("aiohttp", "../up.txt"): "..%2Fup.txt",
    }
)

# A value is bytes, in whatever charset and coding the client has put it.
CHANGED.update(
    {
        ("chromium-latin-1", "naïve 日本".encode()): b"na\xefve &#26085;&#26412;",
        ("curl-headers", b"one\r\ntwo\n"): b"b25lDQp0d28K",
        ("curl-headers", b"abc"): b"YWJj",
    }
)

# A name is UTF-8: nothing in the form says that it is not.
REFUSED = {"chromium-latin-1-name": 400}


def read(content_type: str, body: bytes, size: int) -> list[tuple[PartHead, bytes]]:
    parts: list[tuple[PartHead, list[bytes]]] = []
    reader = MultipartReader(content_type, Limits())
    for start in range(0, len(body), size):
        piece = body[start : start + size]
        for event in (piece,) if reader.passes(piece) else reader.feed(piece):
            if isinstance(event, PartHead):
                parts.append((event, []))
            elif event is not None:
                parts[-1][1].append(event)
    reader.finish()
    return [(head, b"".join(pieces)) for head, pieces in parts]


def body_of(case: dict[str, Any]) -> bytes:
    if "body_b64" in case:
        return b64decode(case["body_b64"])
    return b"".join(
        b64decode(segment["b64"]) * segment.get("repeat", 1) for segment in case["body_gen"]
    )


def answer(case: dict[str, Any], size: int) -> dict[str, Any]:
    """Return the answer of the application that the cases are written for."""
    try:
        parts = read(case["content_type"], body_of(case), size)
    except HTTPError as exc:
        return {"status": exc.status}
    return {
        "status": 200,
        "parts": [
            {
                "name": head.name,
                "filename": head.filename,
                "content_type": head.content_type,
                "size": len(content),
                "sha256": sha256(content).hexdigest(),
            }
            for head, content in parts
        ],
    }


def expected(case: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the right answers; a class of error is only its status."""
    answers: list[dict[str, Any]] = []
    for one in case["expect"].get("one_of", [case["expect"]]):
        parts = [
            {key: value for key, value in part.items() if key != "body_b64"}
            for part in one.get("parts", [])
        ]
        answers += [
            {"status": status, "parts": parts} if status == 200 else {"status": status}
            for status in one["status"]
        ]
    return answers


# Ten MiB in pieces of seven bytes take a while where coverage is measured.
@pytest.mark.timeout(180)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_each_case_is_answered_rightly_in_any_pieces(case: dict[str, Any]) -> None:
    sizes = [size for size, most in CUTS if len(body_of(case)) < most]
    first, *others = [answer(case, size) for size in sizes]
    assert first in expected(case)
    assert others == [first] * len(others)


def test_the_limits_are_those_of_the_cases() -> None:
    ours, theirs = Limits(), SHARED["contract"]["limits"]
    assert ours.form_parts == theirs["max_parts"]
    assert ours.form_field_bytes == theirs["max_field_bytes"]
    assert ours.form_fields_bytes == theirs["max_fields_total_bytes"]
    assert ours.part_header_bytes == theirs["max_part_header_bytes"]
    assert ours.part_headers == theirs["max_part_headers"]


@pytest.mark.parametrize("size", [1, 7, 10**9])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form["id"])
def test_what_was_put_into_a_client_comes_out(form: dict[str, Any], size: int) -> None:
    """But for `CHANGED`, and for `REFUSED`."""
    if form["id"] in REFUSED:
        with pytest.raises(HTTPError) as caught:
            read(form["content_type"], body_of(form), size)
        assert caught.value.status == REFUSED[form["id"]]
        return

    def out(value: Any) -> Any:
        return CHANGED.get((form["id"], value), value)

    came = [
        (head.name, head.filename, head.content_type, content)
        for head, content in read(form["content_type"], body_of(form), size)
    ]
    assert came == [
        (out(part["name"]), out(part["filename"]), part["content_type"], out(value_of(part)))
        for part in form["put_in"]
    ]


def value_of(part: dict[str, Any]) -> bytes:
    text: str | None = part.get("value")
    return b64decode(part["value_b64"]) if text is None else text.encode()


def test_each_deviation_is_of_something_that_was_put_in() -> None:
    put_in = {
        (form["id"], text)
        for form in FORMS
        for part in form["put_in"]
        for text in (part["name"], part["filename"], value_of(part))
    }
    assert CHANGED.keys() <= put_in
    assert REFUSED.keys() <= {form["id"] for form in FORMS}
