"""Ranges of files: the shared cases, and what they leave open."""

from __future__ import annotations

import os
import re

import pytest

from nardis import Nardis, static
from nardis.testing import Client
from tests.static_files.conftest import load

pytestmark = pytest.mark.anyio

CASES = load("range_requests.json")["cases"]
FILES = {"r100.bin": bytes(range(100)), "empty.bin": b"", "one.bin": b"A"}
CHANGED = 1_735_689_600  # 2025-01-01
PART = re.compile(rb"content-range: bytes (\d+)-(\d+)/(\d+)\r\n", re.IGNORECASE)


@pytest.fixture
def app(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, (CHANGED, CHANGED))
    app = Nardis()
    app.use(static(tmp_path))
    return app


def parts_of(answer):
    """Take a multipart/byteranges body apart."""
    kind, _, boundary = answer.headers["content-type"].partition("; boundary=")
    assert kind == "multipart/byteranges"
    first, *parts, last = answer.content.split(f"\r\n--{boundary}".encode())
    assert (first, last) == (b"", b"--\r\n")
    found = []
    for part in parts:
        head, _, body = part.partition(b"\r\n\r\n")
        match = PART.search(head + b"\r\n")
        assert match
        found.append(([int(match[1]), int(match[2])], body))
    return found


def sent(answer):
    """Return what an answer is, in the words of the cases."""
    several = answer.headers.get("content-type", "").startswith("multipart/byteranges")
    return [span for span, _ in parts_of(answer)] if several else answer.content


def fits(expect, answer, content):
    if "one_of" in expect:
        return any(fits(each, answer, content) for each in expect["one_of"])
    slices = expect.get("body_slice", [0, len(content)])
    body = expect.get("multipart_byteranges", content[slice(*slices)])
    fields = answer.headers.get("content-range"), answer.headers["content-length"]
    return (
        answer.status_code in expect["status"]
        and fields == (expect.get("content_range"), str(len(answer.content)))
        and (answer.status_code not in (200, 206) or sent(answer) == body)
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
async def test_the_shared_cases(app, case):
    content = FILES[case["path"][1:]]
    async with Client(app) as client:
        plain = (await client.get(case["path"])).headers
        values = {"${ETAG}": plain["etag"], "${LAST_MODIFIED}": plain["last-modified"]}
        headers = [
            (name, values.get(value, value).encode("utf-8"))
            for name, given in case["headers"].items()
            for value in ([given] if isinstance(given, str) else given)
        ]
        answer = await client.request(case["method"], case["path"], headers=headers)

    assert fits(case["expect"], answer, content), answer
    if answer.status_code in (200, 206):
        assert answer.headers["accept-ranges"] == "bytes"


async def test_several_ranges_are_parts_of_one_body(app):
    async with Client(app) as client:
        answer = await client.get("/r100.bin", headers={"range": "bytes=90-,0-3,2-5"})

    content = FILES["r100.bin"]
    assert answer.status_code == 206
    assert "content-range" not in answer.headers
    assert parts_of(answer) == [([90, 99], content[90:]), ([0, 5], content[:6])]
    assert answer.headers["content-length"] == str(len(answer.content))


async def test_more_ranges_than_are_allowed_are_ignored(app):
    ranges = ",".join(f"{n}-{n}" for n in range(0, 34, 2))
    async with Client(app) as client:
        answer = await client.get("/r100.bin", headers={"range": f"bytes={ranges}"})

    assert (answer.status_code, answer.content) == (200, FILES["r100.bin"])


async def test_head_has_no_ranges(app):
    """RFC 9110 §14.2: a Range counts for GET alone."""
    async with Client(app) as client:
        answer = await client.head("/r100.bin", headers={"range": "bytes=0-3"})

    assert (answer.status_code, answer.headers["content-length"]) == (200, "100")


async def test_a_file_that_was_just_changed_has_a_weak_validator(app, tmp_path):
    """It may change again with the same time: nothing may be put together of it."""
    (tmp_path / "one.bin").write_bytes(b"B")
    async with Client(app) as client:
        plain = (await client.get("/one.bin")).headers
        for name in ("etag", "last-modified"):
            headers = {"range": "bytes=0-0", "if-range": plain[name]}
            assert (await client.get("/one.bin", headers=headers)).status_code == 200

    assert plain["etag"].startswith("W/")
