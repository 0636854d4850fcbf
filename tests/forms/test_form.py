"""`await req.form()`: all of a form, multipart or urlencoded."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Coroutine, Generator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from nardis import HTTPError, Limits, Nardis, UsageError
from nardis._http.urlencoded import parse_urlencoded
from nardis.forms import FormData, read_form
from nardis.testing import Client
from tests.files.disks import eventually, fail_writes, hold_writes, open_below
from tests.forms.bodies import (
    CONTENT_TYPE,
    Canceller,
    Field,
    Script,
    Turns,
    at_once,
    cut,
    encoded,
    run,
)

pytestmark = pytest.mark.anyio

URLENCODED = "application/x-www-form-urlencoded"

# More than what waits for the disk: some of it is in a temporary file before the end.
LARGE = bytes(range(256)) * 2500
FORM = (Field("a", b"1"), Field("f", LARGE, "f"), Field("g", LARGE, "g"), Field("b", b"2"))
SPOOLING = Limits(spool_bytes=1000)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path, None, None]:
    """Return the folder of temporary files; check that nothing is left in it, and nothing open."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert open_below(tmp_path) == []
    assert os.listdir(tmp_path) == []


def form_of(
    *fields: Field, limits: Limits | None = None, limit: int | None = None
) -> Coroutine[Any, Any, FormData]:
    script = Script(cut(encoded(*fields), 65536))
    return read_form(script, CONTENT_TYPE, limits or Limits(), limit=limit)


def urlencoded(
    *pieces: bytes, limits: Limits | None = None, waits: Callable[[], Any] = checkpoint
) -> Coroutine[Any, Any, FormData]:
    return read_form(Script(pieces, waits), URLENCODED, limits or Limits())


# --- what is in a form ----------------------------------------------------------------------------


async def test_fields_and_files_do_not_mix() -> None:
    form = await form_of(
        Field("x", b"1"), Field("x", b"file", "a.txt"), Field("x", b"2"), Field("y", b"")
    )

    assert dict(form) == {"x": "1", "y": ""}
    assert (form.get_all("x"), form.get_all("z")) == (["1", "2"], [])
    assert form.pairs() == [("x", "1"), ("x", "2"), ("y", "")]
    assert (len(form), "x" in form, "z" in form, form.get("z")) == (2, True, False, None)
    assert [upload.filename for upload in form.files.get_all("x")] == ["a.txt"]
    assert (list(form.files), form.files.get("y")) == (["x"], None)
    assert await form.files["x"].read() == b"file"


async def test_a_urlencoded_form_is_read_as_a_query_is() -> None:
    form = await urlencoded(b"a=caf%C3%A9+noir&a=2", b"&&b&c=%zz%ff", b"")

    assert form.pairs() == [("a", "café noir"), ("a", "2"), ("b", ""), ("c", "%zz\ufffd")]
    assert (form["a"], len(form.files)) == ("café noir", 0)


@pytest.mark.parametrize(
    ("field", "is_there"),
    [
        (Field("f", b"", ""), False),
        (Field("f", b"", "", "application/octet-stream"), False),
        (Field("f", b"x", ""), True),
        (Field("f", b"", "f"), True),
    ],
)
async def test_a_file_input_that_was_left_empty_is_no_file(field: Field, is_there: bool) -> None:
    form = await form_of(field)

    assert ("f" in form, "f" in form.files) == (False, is_there)


async def test_fields_are_text_by_the_charset_of_their_part() -> None:
    form = await form_of(
        Field("a", "é".encode()), Field("b", b"\xe9", None, "text/plain; charset=iso-8859-1")
    )
    assert dict(form) == {"a": "é", "b": "é"}

    with pytest.raises(HTTPError, match="the part 'c' is no text in utf-8") as caught:
        await form_of(Field("c", b"\xe9"))
    assert caught.value.status == 400


async def test_a_form_shows_none_of_its_values() -> None:
    """A repr ends up in logs."""
    form = await form_of(Field("password", b"hunter2"), Field("f", b"x", "f"))

    assert (repr(form), repr(form.files)) == ("<FormData: 1>", "<Files: 1>")
    assert repr(form.files["f"]) == "<Upload 'f', 1 bytes>"


NAMES = st.text(st.characters(codec="utf-8", exclude_characters='"\\%', exclude_categories=["C"]))


@given(st.lists(st.tuples(NAMES, st.binary(max_size=60), st.none() | NAMES), max_size=5))
def test_what_was_put_in_comes_out(parts: list[tuple[str, bytes, str | None]]) -> None:
    fields = [
        Field(name, content if filename else content.hex().encode(), filename or None)
        for name, content, filename in parts
    ]
    form = run(read_form(Script([encoded(*fields)], at_once), CONTENT_TYPE, Limits()))

    assert form.pairs() == [
        (each.name, each.content.decode()) for each in fields if not each.filename
    ]
    assert [(name, upload.filename, run(upload.read())) for name, upload in form.files.pairs()] == [
        (each.name, each.filename, each.content) for each in fields if each.filename
    ]


# --- what is a form -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "body", "outcome"),
    [
        (None, b"", {}),
        ("", b"", {}),
        (None, b"a=1", 415),
        ("text/plain", b"", 415),
        ("text/plain", b"a=1", 415),
        ("multipart/mixed; boundary=B", b"", 415),
        ("multipart/form-data", b"", 400),
        ("multipart/form-data; boundary=B", b"", 400),
        ("multipart/form-data; boundary=B; boundary=C", b"--B--", 400),
        ("Multipart/Form-Data; Boundary=B", b"--B--", {}),
        (URLENCODED, b"", {}),
        (URLENCODED.upper(), b"a=1", {"a": "1"}),
        (f"{URLENCODED} ; Charset=UTF-8", b"a=%C3%A9", {"a": "é"}),
        (f'{URLENCODED};charset="utf8"', b"a=1", {"a": "1"}),
        (f"{URLENCODED};charset=iso-8859-1", b"a=%E9", 415),
        (f"{URLENCODED};charset=utf-8;charset=utf-7", b"a=1", 400),
    ],
)
async def test_two_types_of_body_are_forms(
    content_type: str | None, body: bytes, outcome: dict[str, str] | int
) -> None:
    reading = read_form(Script([body] if body else []), content_type, Limits())
    if isinstance(outcome, dict):
        assert await reading == outcome
        return
    with pytest.raises(HTTPError) as caught:
        await reading
    assert caught.value.status == outcome


@pytest.mark.parametrize(
    ("content_type", "empty", "outcome"),
    [
        (None, True, {}),
        ("", True, {}),
        (None, False, 415),
        ("", False, 415),
        ("text/plain", True, 415),
        (URLENCODED, False, {"a": "1"}),
        (URLENCODED, True, {"a": "1"}),
    ],
)
async def test_a_body_without_a_type_is_not_read_by_who_knows_whether_it_is_empty(
    content_type: str | None, empty: bool, outcome: dict[str, str] | int
) -> None:
    """To read it would tell a client with `Expect: 100-continue` to send it (RFC 9110 §10.1.1)."""
    script = Script([b"a=1"])
    reading = read_form(script, content_type, Limits(), empty=empty)
    if isinstance(outcome, dict):
        assert await reading == outcome
    else:
        await expect(reading, outcome)

    assert script.taken == (content_type == URLENCODED)


# What the shared cases expect of a reader of parts alone.
ONLY_PARTS = {"urlencoded-type"}  # to req.form() that is a form as well

VECTORS = [
    case
    for case in json.loads(
        (Path(__file__).parents[1] / "vectors" / "multipart_cases.json").read_text()
    )["cases"]
    if case["id"] not in ONLY_PARTS
]


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: case["id"])
async def test_the_shared_cases_agree(folder: Path, case: dict[str, Any]) -> None:
    """Their files come out, their errors too, and no temporary file is left after any of them."""
    body = b"".join(
        base64.b64decode(each["b64"]) * each.get("repeat", 1)
        for each in case.get("body_gen") or [{"b64": case["body_b64"]}]
    )
    expected = case["expect"].get("one_of", [case["expect"]])
    for size in [65536] if len(body) > 100_000 else [7, 65536]:
        found = await outcome_of(Script(cut(body, size), at_once), case["content_type"])

        assert any(
            found == files_of(each) if each["status"] == [200] else found in each["status"]
            for each in expected
        )


async def outcome_of(script: Script, content_type: str) -> list[object] | int:
    """Return the files of a form, or the status of the error."""
    try:
        form = await read_form(script, content_type, SPOOLING)
    except HTTPError as exc:
        return exc.status
    found: list[object] = [
        (name, upload.filename, hashlib.sha256(await upload.read()).hexdigest())
        for name, upload in form.files.pairs()
    ]
    await form.close()
    return found


def files_of(expected: dict[str, Any]) -> list[object]:
    """Return the files that a form should have, without inputs that were left empty."""
    return [
        (part["name"], part["filename"], part["sha256"])
        for part in expected["parts"]
        if part["filename"] or (part["filename"] is not None and part["size"])
    ]


# --- within limits --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "fields", "status"),
    [
        (Limits(form_parts=2), [Field("a", b"1"), Field("b", b"2", "b")], None),
        (Limits(form_parts=1), [Field("a", b"1"), Field("b", b"2", "b")], 413),
        (Limits(form_field_bytes=3), [Field("a", b"123"), Field("b", b"1234", "b")], None),
        (Limits(form_field_bytes=3), [Field("a", b"1234")], 413),
        (Limits(form_fields_bytes=6), [Field("a", b"12"), Field("b", b"12")], None),
        (Limits(form_fields_bytes=5), [Field("a", b"12"), Field("b", b"12")], 413),
        (Limits(file_bytes=3), [Field("a", b"123", "a")], None),
        (Limits(file_bytes=3), [Field("a", b"1234", "a")], 413),
        (Limits(buffered_body_bytes=1), [Field("a", b"12")], None),
        (Limits(part_header_bytes=20), [Field("a", b"12")], 431),
    ],
)
async def test_the_limits_of_a_multipart_form_are_exact(
    limits: Limits, fields: list[Field], status: int | None
) -> None:
    await expect(form_of(*fields, limits=limits), status)


@pytest.mark.parametrize(
    ("limits", "body", "status"),
    [
        (Limits(form_parts=2), b"a=1&b=2", None),
        (Limits(form_parts=2), b"a=1&b=2&", None),
        (Limits(form_parts=2), b"a=1&b=2&c", 413),
        (Limits(form_parts=2), b"&&", None),
        (Limits(form_parts=2), b"&&&", 413),
        (Limits(form_parts=2), b"&&a", None),
        (Limits(form_parts=0), b"", None),
        (Limits(form_parts=0), b"a", 413),
        (Limits(form_field_bytes=3), b"abc=123&b=%20&&", None),
        (Limits(form_field_bytes=3), b"abcd=1", 413),
        (Limits(form_field_bytes=3), b"a=1&%20b", 413),
        (Limits(form_field_bytes=3), b"a=1234", 413),
        (Limits(form_field_bytes=3), b"a=1&b=%20x&c=1", 413),
        (Limits(form_fields_bytes=7), b"a=1&b=2", None),
        (Limits(form_fields_bytes=6), b"a=1&b=2", 413),
        (Limits(buffered_body_bytes=1), b"a=1&b=2", None),
        (Limits(), b"&" * 2**20, 413),
    ],
)
async def test_the_limits_of_a_urlencoded_form_count_what_was_sent(
    limits: Limits, body: bytes, status: int | None
) -> None:
    """They are those of a multipart one (CVE-2026-54283 is what comes of others)."""
    await expect(urlencoded(body, limits=limits), status)
    await expect(urlencoded(body[:3], body[3:], limits=limits), status)


async def expect(reading: Coroutine[Any, Any, FormData], status: int | None) -> None:
    if status is None:
        await reading
        return
    with pytest.raises(HTTPError) as caught:
        await reading
    assert caught.value.status == status


@pytest.mark.parametrize("bound", [None, 5, 500])
@pytest.mark.parametrize(
    ("content_type", "body"), [(URLENCODED, b"a=1234567890"), (CONTENT_TYPE, encoded())]
)
async def test_the_limit_of_the_call_is_for_the_whole_body(
    bound: int | None, content_type: str, body: bytes
) -> None:
    """It lifts none of the others, and is gone with the call."""
    for limit in (len(body), len(body) - 1, None):
        script = Script([body])
        script.limit = bound
        reading = read_form(script, content_type, Limits(), limit=limit)
        fits = all(most is None or len(body) <= most for most in (limit, bound))
        if fits:
            await reading
        else:
            await expect(reading, 413)
        assert script.limit == bound


@pytest.mark.parametrize("content_type", [CONTENT_TYPE, URLENCODED])
def test_twice_the_form_is_twice_the_work(
    content_type: str, count_calls: Callable[..., int]
) -> None:
    def read(size: int) -> None:
        fields = [Field(f"a{number}", b"1", "f" * (number % 2) or None) for number in range(size)]
        body = encoded(*fields) if content_type == CONTENT_TYPE else b"a=%41&" * size
        run(read_form(Script([body], at_once), content_type, Limits(form_parts=2000)))

    assert count_calls(read, 1600) <= 2.2 * count_calls(read, 800)


@pytest.mark.parametrize("text", [b"%", b"%zz", b"%41", b"+", b"\xff", b"a"])
async def test_a_long_urlencoded_form_does_not_hold_up_others(
    monkeypatch: pytest.MonkeyPatch, text: bytes
) -> None:
    """Of nothing but `%`, 8 MiB as a name took 1.6 GB and held the event loop for five seconds."""
    value = text * (200_000 // len(text))
    turns = Turns(monkeypatch, step=1)
    form = await turns.beside(urlencoded(b"a=" + value + b"&" + value + b"=b", waits=at_once))

    assert form.pairs() == parse_urlencoded(b"a=" + value + b"&" + value + b"=b")
    assert turns.taken >= 190


async def test_a_long_urlencoded_form_can_be_cancelled_while_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Turns(monkeypatch, step=1)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await urlencoded(b"a=" + b"%" * 100_000, waits=at_once)

    assert scope.cancelled_caught


async def test_parts_that_are_here_already_do_not_hold_up_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A body that was gathered before is one piece, with a thousand parts."""
    fields = [Field("a", b"1")] * 300
    turns = Turns(monkeypatch, step=1)
    reading = read_form(Script([encoded(*fields)], at_once), CONTENT_TYPE, Limits())
    form = await turns.beside(reading)

    assert form.get_all("a") == ["1"] * 300
    assert turns.taken >= 290


async def test_what_takes_no_time_takes_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns(monkeypatch, step=0)
    for content_type, body in (CONTENT_TYPE, encoded(*FORM)), (URLENCODED, b"a=1&b=2"):
        reading = read_form(Script([body], at_once), content_type, Limits(spool_bytes=2**30))
        await turns.beside(reading)

    assert turns.taken == 0


# --- files are gone when they are not needed any more ---------------------------------------------


async def test_files_are_kept_on_the_disk_until_the_form_is_closed(folder: Path) -> None:
    form = await form_of(*FORM, limits=SPOOLING)

    assert dict(form) == {"a": "1", "b": "2"}
    assert len(open_below(folder)) == 1
    assert [await form.files[name].read() for name in "fg"] == [LARGE, LARGE]
    for _ in range(2):
        await form.close()
        assert open_below(folder) == []
    with pytest.raises(UsageError, match="gone when the request has ended"):
        await form.files["f"].read()


async def test_a_form_without_files_needs_no_closing() -> None:
    for form in (await urlencoded(b"a=1"), await form_of(Field("a", b"1")), FormData()):
        await form.close()


async def test_a_form_can_be_closed_when_it_is_late(folder: Path) -> None:
    """The time for clean-up may be over, the handler cancelled."""
    form = await form_of(*FORM, limits=SPOOLING)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await form.close()

    assert open_below(folder) == []


@pytest.mark.parametrize("fault", ["cut short", "too large", "malformed", "no text"])
async def test_a_form_that_fails_half_way_leaves_nothing_behind(folder: Path, fault: str) -> None:
    body = encoded(*FORM, Field("z", b"\xff"))
    limits = SPOOLING
    if fault == "cut short":
        body = body[:-10]
    elif fault == "too large":
        limits = Limits(spool_bytes=1000, form_parts=3)
    elif fault == "malformed":
        body = body.replace(b'name="b"', b'name="b')

    with pytest.raises(HTTPError):
        await read_form(Script(cut(body, 65536)), CONTENT_TYPE, limits)
    assert open_below(folder) == []


async def test_a_full_disk_leaves_nothing_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_writes(monkeypatch, 2)

    with pytest.raises(OSError, match="No space left"):
        await form_of(*FORM, limits=SPOOLING)


async def test_a_hundred_forms_that_are_cut_leave_nothing_behind(folder: Path) -> None:
    body = encoded(*FORM, epilogue=b"")
    places = random.Random(7)

    for _ in range(100):
        script = Script(cut(body[: places.randrange(len(body))], 65536))
        with pytest.raises(HTTPError, match="cut short"):
            await read_form(script, CONTENT_TYPE, SPOOLING)
        assert open_below(folder) == []


@pytest.mark.parametrize("late", [False, True])
async def test_wherever_it_is_cancelled_nothing_is_left_behind(folder: Path, late: bool) -> None:
    pieces = cut(encoded(*FORM), 65536)
    # One turn more than there are pieces. When the last one is late, nothing is awaited any more.
    for turn in range(len(pieces) + 1 - late):
        canceller = Canceller(turn, late=late)
        with canceller.scope:
            await read_form(Script(pieces, canceller.wait), CONTENT_TYPE, SPOOLING)

        assert canceller.scope.cancelled_caught
        assert open_below(folder) == []


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_that_asyncio_cancels_leaves_the_file_to_its_thread(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No shield of anyio's holds there."""
    writing, go = threading.Event(), threading.Event()

    def hold() -> None:
        writing.set()
        go.wait(20)

    hold_writes(monkeypatch, hold)
    task = asyncio.create_task(form_of(*FORM, limits=SPOOLING))
    await to_thread.run_sync(writing.wait)
    for _ in range(2):  # the second one while it cleans up
        task.cancel()
        await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(open_below(folder)) == 1
    go.set()
    await eventually(lambda: not open_below(folder))


def test_a_process_that_is_killed_leaves_nothing_behind(folder: Path) -> None:
    program = textwrap.dedent("""
        import anyio

        from nardis import Limits
        from nardis.forms import read_form
        from tests.forms.bodies import CONTENT_TYPE, Field, Script, encoded

        async def main():
            script = Script([encoded(Field("a", bytes(2**21), "a"))])
            form = await read_form(script, CONTENT_TYPE, Limits())
            print(form.files["a"].size, flush=True)
            await anyio.sleep_forever()

        anyio.run(main)
    """)
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TMPDIR": str(folder)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"2097152\n"
        assert os.listdir(folder) == []
        process.kill()


async def test_the_body_of_an_exchange_is_a_source(folder: Path) -> None:
    """And the form is closed when the request has ended."""
    app = Nardis(limits=SPOOLING)
    forms: list[FormData] = []

    @app.post("/")
    async def handler(req: Any, res: Any) -> None:
        body = req.exchange.open_body()
        form = await read_form(body, req.headers.get("content-type"), req.exchange.limits)
        req.defer(form.close)
        forms.append(form)
        await res.pipe(form.files["f"])

    async with Client(app) as client:
        response = await client.post(
            "/", content=encoded(*FORM), headers={"content-type": CONTENT_TYPE}
        )

    assert response.content == LARGE
    with pytest.raises(UsageError):
        await forms[0].files["f"].read()
