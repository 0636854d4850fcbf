"""`async for part in req.parts()`: the parts of a form, as they arrive."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from nardis import HTTPError, Limits
from nardis.errors import BodyAlreadyRead, ClientDisconnected
from nardis.forms import Part, Parts
from tests.forms.bodies import (
    BOUNDARY,
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

T = TypeVar("T")

FORM = (
    Field("title", "Grüße".encode()),
    Field("file", bytes(range(256)) * 3, "a.bin", "application/octet-stream"),
    Field("empty", b""),
    Field("last", b"\r\n--" + BOUNDARY[:-1].encode() + b"\r", ""),
)


def parts_of(body: bytes | Script, size: int = 2**20, limits: Limits | None = None) -> Parts:
    source = Script(cut(body, size)) if isinstance(body, bytes) else body
    return Parts(source, CONTENT_TYPE, limits or Limits())


async def contents(parts: Parts) -> list[tuple[str, str | None, bytes]]:
    return [(part.name, part.filename, await part.bytes()) async for part in parts]


async def by_iteration(part: Part) -> bytes:
    return b"".join([piece async for piece in part])


async def by_text(part: Part) -> bytes:
    return (await part.text()).encode()


async def by_next(part: Part) -> bytes:
    return await anext(part)


READERS: list[Callable[[Part], Awaitable[Any]]] = [
    Part.bytes,
    by_text,
    by_iteration,
    by_next,
    lambda part: part.save("never-written"),
]


# --- what a part is -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 64, 2**20])
async def test_parts_come_in_order_with_what_is_in_them(size: int) -> None:
    assert await contents(parts_of(encoded(*FORM), size)) == [
        (field.name, field.filename, field.content) for field in FORM
    ]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.binary(max_size=80)), max_size=4), st.data())
def test_however_a_form_is_cut_it_is_the_same_form(
    pairs: list[tuple[str, bytes]], data: st.DataObject
) -> None:
    body = encoded(*[Field(name, content, name) for name, content in pairs])
    places = sorted(data.draw(st.sets(st.integers(1, len(body) - 1), max_size=9)))
    pieces = [body[start:end] for start, end in zip([0, *places], [*places, None], strict=True)]

    assert run(contents(parts_of(Script(pieces, at_once)))) == [
        (name, name, content) for name, content in pairs
    ]


async def test_a_part_shows_what_its_head_says() -> None:
    body = encoded(Field("f", b"", "x.txt", 'text/plain; Charset="ISO-8859-1"'))
    part = await anext(parts_of(body))

    assert (part.content_type, part.charset) == ('text/plain; Charset="ISO-8859-1"', "iso-8859-1")
    assert part.headers["Content-Type"] == part.content_type
    assert part.headers["content-disposition"] == 'form-data; name="f"; filename="x.txt"'
    assert repr(part) == "<Part 'f'>"


async def test_header_fields_are_shown_as_latin_1_whatever_was_sent() -> None:
    part = await anext(parts_of(encoded(Field("é", b""))))
    shown = part.headers["content-disposition"]

    assert part.name == "é"
    assert shown == 'form-data; name="Ã©"'
    assert shown.encode("latin-1").decode() == 'form-data; name="é"'


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "text/plain; charset=", "text/plain; charset=a; charset=b"]
)
async def test_a_part_without_a_readable_charset_has_none(content_type: str | None) -> None:
    part = await anext(parts_of(encoded(Field("f", b"", "x", content_type))))

    assert part.charset is None


async def test_a_file_input_that_was_left_empty_is_a_part_like_others() -> None:
    """Browsers send one; in a stream it is the handler that judges."""
    assert await contents(parts_of(encoded(Field("f", b"", "")))) == [("f", "", b"")]


async def test_a_form_may_have_no_parts() -> None:
    assert await contents(parts_of(encoded())) == []


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (None, 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=a; boundary=b", 400),
    ],
)
def test_another_type_of_body_is_refused_before_it_is_read(
    content_type: str | None, status: int
) -> None:
    with pytest.raises(HTTPError) as caught:
        Parts(Script([]), content_type, Limits())

    assert caught.value.status == status


# --- as they arrive -------------------------------------------------------------------------------


async def test_part_one_is_seen_before_part_two_is_sent() -> None:
    """Not one piece more is taken than the handler asked for."""
    body = encoded(Field("a", b"1" * 10), Field("b", b"2" * 10))
    script = Script(cut(body, 16))
    parts = parts_of(script)

    part = await anext(parts)
    assert (part.name, script.received) == ("a", body.index(b"1") // 16 * 16 + 16)
    assert await part.bytes() == b"1" * 10
    assert b"2" not in body[: script.received]
    assert (await anext(parts)).name == "b"


async def test_what_stands_behind_a_part_is_not_looked_at_before_it_is_asked_for() -> None:
    body = encoded(Field("a", b"1"), Field("b", b"2")).replace(b'name="b"', b'name="b')
    parts = parts_of(body)

    assert await (await anext(parts)).bytes() == b"1"
    for _ in range(2):
        with pytest.raises(HTTPError, match="malformed parameter") as caught:
            await anext(parts)
        assert caught.value.status == 400


async def test_a_large_part_is_never_gathered() -> None:
    """Each piece of the body is handed on before the next one is taken."""
    script = Script(cut(encoded(Field("f", bytes(100_000), "f")), 1000))
    part = await anext(parts_of(script))
    given = 0

    async for piece in part:
        given += len(piece)
        assert script.received - given <= 1000 + 200
    assert given == 100_000


async def test_the_next_part_drops_what_was_not_read_of_the_last() -> None:
    body = encoded(Field("a", b"1" * 999, "a"), Field("b", b"2" * 999, "b"), Field("c", b"3"))

    seen = [(part.name, (await anext(part))[:1]) async for part in parts_of(body, 64)]

    assert seen == [("a", b"1"), ("b", b"2"), ("c", b"3")]


async def test_the_rest_of_the_body_is_taken_too() -> None:
    """Else the connection could not be used again."""
    script = Script(cut(encoded(Field("a", b"1"), epilogue=b"\r\nand more" * 50), 16))

    assert await contents(parts_of(script)) == [("a", None, b"1")]
    assert script.complete


async def test_a_large_piece_is_looked_at_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that was gathered before is one piece of any size."""
    turns = Turns(monkeypatch, step=1)
    part = await anext(parts_of(Script([encoded(Field("a", bytes(1_000_000), "a"))], at_once)))

    async def lengths() -> list[int]:
        return [len(piece) async for piece in part]

    found = await turns.beside(lengths())
    assert (sum(found), max(found)) == (1_000_000, 65536)
    assert turns.taken >= len(found) - 4


async def test_content_that_flows_takes_no_look_at_the_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As any body does not; but a piece that is larger than any socket's is still cut."""
    turns = Turns(monkeypatch, step=1)
    head, end = encoded(Field("a", b"|", "a")).split(b"|")
    pieces = [head, *[bytes(1000)] * 20, bytes(200_000), end]
    part = await anext(parts_of(Script(pieces, at_once)))
    for _ in range(2):
        await anext(part)

    before = turns.now
    assert [len(await anext(part)) for _ in range(18)] == [1000] * 18
    assert turns.now == before
    rest = [len(piece) async for piece in part]
    assert (sum(rest), max(rest)) == (200_000, 65536)


async def test_who_waited_for_a_piece_gives_no_turn_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The others had theirs meanwhile; and a piece of a socket's size is passed on as it is."""
    turns = Turns(monkeypatch, step=0)

    async def wait() -> None:
        turns.now += 1

    pieces = cut(encoded(Field("a", bytes(200_000), "a")), 65536)
    found = await turns.beside(contents(parts_of(Script(pieces, wait))))
    assert found == [("a", "a", bytes(200_000))]
    assert turns.taken == 0


# --- once -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", READERS)
async def test_a_part_cannot_be_read_when_the_next_was_asked_for(
    read: Callable[[Part], Awaitable[Any]],
) -> None:
    first, second = [part async for part in parts_of(encoded(FORM[1], FORM[1]))]

    for part in (first, second):
        with pytest.raises(BodyAlreadyRead, match="before the next one is asked for"):
            await read(part)


@pytest.mark.parametrize("again", [read for read in READERS if read is not by_next])
@pytest.mark.parametrize("read", READERS[:3])
async def test_a_part_is_read_once(
    read: Callable[[Part], Awaitable[Any]], again: Callable[[Part], Awaitable[Any]]
) -> None:
    for field in (Field("a", b"1"), Field("a", b"")):
        part = await anext(parts_of(encoded(field)))
        assert await read(part) == field.content

        with pytest.raises(BodyAlreadyRead):
            await again(part)


@pytest.mark.parametrize("read", [Part.bytes, by_text, READERS[-1]])
async def test_a_part_that_was_begun_is_not_gathered(
    read: Callable[[Part], Awaitable[Any]],
) -> None:
    """It would look whole."""
    part = await anext(parts_of(encoded(Field("a", bytes(100), "a")), 16))
    await anext(part)

    with pytest.raises(BodyAlreadyRead):
        await read(part)


async def test_a_part_that_was_begun_is_gone_on_with() -> None:
    part = await anext(parts_of(encoded(Field("a", b"123456", "a")), 2))
    first = await anext(aiter(part))

    assert first + await by_iteration(part) == b"123456"


@pytest.mark.parametrize("size", [2, 2**20])
async def test_to_ask_again_at_the_end_of_a_part_takes_nothing_of_the_next(size: int) -> None:
    parts = parts_of(encoded(Field("a", b"", "a"), Field("b", b"2")), size)
    part = await anext(parts)

    for _ in range(3):
        assert await anext(part, b"the end") == b"the end"
    assert await contents(parts) == [("b", None, b"2")]


async def test_the_parts_are_gone_through_once() -> None:
    parts = parts_of(encoded(Field("a", b"1")))
    assert len([part async for part in parts]) == 1

    assert await anext(parts, None) is None
    with pytest.raises(BodyAlreadyRead):
        aiter(parts)


async def expect_refusal(call: Awaitable[object]) -> None:
    with pytest.raises(BodyAlreadyRead):
        await call


@pytest.mark.parametrize("read", [Part.bytes, by_next])
async def test_two_tasks_cannot_take_turns(read: Callable[[Part], Awaitable[Any]]) -> None:
    """One reads a part and waits, the other asks for the next one: both learn that."""
    body = encoded(Field("a", b"1" * 40, "a"), Field("b", b"2" * 40, "b"))
    gate = anyio.Event()
    gate.set()

    async def wait() -> None:
        await gate.wait()

    head = body.index(b"11")
    parts = parts_of(Script([body[:head], *cut(body[head:], 80)], wait))
    part = await anext(parts)
    gate = anyio.Event()

    async with anyio.create_task_group() as group:
        group.start_soon(expect_refusal, read(part))
        await anyio.wait_all_tasks_blocked()
        await expect_refusal(anext(parts))
        gate.set()


async def test_two_tasks_cannot_take_turns_where_content_flows() -> None:
    body = encoded(Field("a", b"1" * 40, "a"), Field("b", b"2" * 40, "b"))
    gate = anyio.Event()
    gate.set()

    async def wait() -> None:
        await gate.wait()

    head = body.index(b"11")
    parts = parts_of(Script([body[:head], *cut(body[head:], 8)], wait))
    part = await anext(parts)
    for _ in range(3):
        await anext(part)
    gate = anyio.Event()

    async with anyio.create_task_group() as group:
        group.start_soon(expect_refusal, anext(part))
        await anyio.wait_all_tasks_blocked()
        await expect_refusal(anext(parts))
        gate.set()


@pytest.mark.parametrize("first", [anext, Part.bytes])
async def test_two_tasks_cannot_take_turns_in_a_piece_that_is_here(
    monkeypatch: pytest.MonkeyPatch, first: Callable[[Any], Awaitable[Any]]
) -> None:
    """Both wait for their turn, and no part looks whole that lost something to the other task."""
    fields = [Field("a", bytes(200_000), "a"), Field("b", bytes(200_000), "b"), Field("c", b"3")]
    Turns(monkeypatch, step=1)
    parts = parts_of(Script([encoded(*fields)], at_once))
    part = await anext(parts)
    wholes: list[bytes] = []
    refused: list[BaseException] = []

    async def gather(of: Part) -> None:
        try:
            wholes.append(await of.bytes())
        except BodyAlreadyRead as exc:
            refused.append(exc)

    async def ask() -> None:
        await gather(await anext(parts))

    async with anyio.create_task_group() as group:
        if first is anext:
            group.start_soon(ask)
        else:
            group.start_soon(gather, part)
        group.start_soon(ask)

    assert len(wholes) + len(refused) == 2
    assert refused
    assert all(whole in (bytes(200_000), b"3") for whole in wholes)


# --- within limits --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "limits", "limit", "fits"),
    [
        (Field("a", bytes(10), "a"), Limits(buffered_body_bytes=10), None, True),
        (Field("a", bytes(11), "a"), Limits(buffered_body_bytes=10), None, False),
        (Field("a", bytes(11), "a"), Limits(buffered_body_bytes=10), 11, True),
        (Field("a", bytes(11)), Limits(buffered_body_bytes=10), None, True),
        (Field("a", bytes(11)), Limits(), 11, True),
        (Field("a", bytes(11)), Limits(), 10, False),
        (Field("a", bytes(11)), Limits(form_field_bytes=10), 11, False),
        (Field("a", b""), Limits(), 0, True),
        (Field("a", b"1"), Limits(), 0, False),
    ],
)
async def test_a_part_is_gathered_up_to_its_limit(
    field: Field, limits: Limits, limit: int | None, fits: bool
) -> None:
    """A file's is that of gathered bodies, a field's the one that holds anyway."""
    for size in (3, 2**20):
        part = await anext(parts_of(encoded(field), size, limits))
        if fits:
            assert await part.bytes(limit) == field.content
            continue
        with pytest.raises(HTTPError) as caught:
            await part.bytes(limit)
        assert caught.value.status == 413
        assert caught.value.extensions["limit"] in (limit, 10)


def test_tiny_pieces_take_no_more_memory_than_they_are() -> None:
    """Of each a list would keep an object: many times the limit."""
    size = 20_000
    script = Script(cut(encoded(Field("a", bytes(range(200)) * 100, "a")), 2), at_once)
    part = run(anext(parts_of(script)))
    tracemalloc.start()
    try:
        assert len(run(part.bytes())) == size
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 4 * size


@given(st.lists(st.sampled_from([1, 2, 100, 4096, 9000]), max_size=9), st.binary(min_size=1))
def test_pieces_of_any_size_are_gathered_in_order(sizes: list[int], salt: bytes) -> None:
    content = (salt * sum(sizes))[: sum(sizes)]
    body = encoded(Field("a", content.replace(b"\r", b"x"), "a"))
    start = body.index(b"\r\n\r\n") + 4
    places = [start, *itertools.accumulate(sizes, initial=start), None]
    pieces = [body[:start], *[body[a:b] for a, b in itertools.pairwise(places)]]

    assert run(contents(parts_of(Script(filter(None, pieces), at_once)))) == [
        ("a", "a", content.replace(b"\r", b"x"))
    ]


async def test_a_part_of_one_piece_is_that_piece() -> None:
    """Without a copy: it may be large."""
    content = bytes(range(200)) * 300
    piece = encoded(Field("a", content, "a"))
    head = piece.index(content)
    parts = parts_of(Script([piece[:head], content, piece[head + len(content) :]], at_once))

    assert await (await anext(parts)).bytes() is content


async def test_the_next_part_can_be_read_when_one_was_too_large() -> None:
    parts = parts_of(encoded(Field("a", bytes(100), "a"), Field("b", b"2")), 16)
    with pytest.raises(HTTPError, match="the part 'a' is larger than the 99 bytes"):
        await (await anext(parts)).bytes(99)

    assert await (await anext(parts)).text() == "2"


@pytest.mark.parametrize(
    ("content", "content_type", "text"),
    [
        (b"caf\xc3\xa9", None, "café"),
        (b"caf\xc3\xa9", "text/plain", "café"),
        (b"caf\xe9", "text/plain; charset=ISO-8859-1", "café"),
        (b"caf\xe9", "text/plain; charset=utf-8", 400),
        (b"caf\xe9", None, 400),
        (b"caf", "text/plain; charset=klingon", 415),
        (b"caf", "text/plain; charset=unicode-escape", 415),
    ],
)
async def test_text_is_decoded_by_the_charset_of_the_part(
    content: bytes, content_type: str | None, text: str | int
) -> None:
    part = await anext(parts_of(encoded(Field("name", content, None, content_type))))
    if isinstance(text, str):
        assert await part.text() == text
        return
    with pytest.raises(HTTPError, match="the part 'name' is no text in ") as caught:
        await part.text()
    assert caught.value.status == text


# --- cut short ------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [None, Part.bytes, by_iteration])
async def test_a_form_that_is_cut_short_never_ends(
    read: Callable[[Part], Awaitable[Any]] | None,
) -> None:
    """Wherever it is cut, and whatever is being awaited."""
    body = encoded(*FORM, epilogue=b"")

    for end in range(len(body)):
        with pytest.raises(HTTPError, match="cut short") as caught:
            async for part in parts_of(body[:end]):
                if read is not None:
                    await read(part)
        assert caught.value.status == 400
    assert len(await contents(parts_of(body))) == len(FORM)


async def test_an_error_stays_one() -> None:
    """A handler that goes on after it gets no more of the form."""
    parts = parts_of(encoded(Field("a", bytes(100)))[:80], 16)
    part = await anext(parts)

    for _ in range(2):
        with pytest.raises(HTTPError, match="cut short"):
            await by_iteration(part)
    for _ in range(2):
        with pytest.raises(HTTPError, match="cut short"):
            await anext(parts)


@pytest.mark.parametrize("error", [ClientDisconnected("gone"), HTTPError(408)])
async def test_an_error_of_the_body_goes_through(error: Exception) -> None:
    parts = parts_of(Script([encoded(Field("a", bytes(100)))[:90], error]))
    part = await anext(parts)

    with pytest.raises(type(error)):
        await by_iteration(part)


# --- cancelled ------------------------------------------------------------------------------------


async def test_a_cancelled_read_loses_nothing() -> None:
    """Each wait is cancelled once, and then asked for again."""
    scope = anyio.CancelScope()
    waits = 0

    async def wait() -> None:
        nonlocal waits
        waits += 1
        if waits % 2:
            scope.cancel()
        await checkpoint()

    async def insist(items: AsyncIterator[T]) -> T | None:
        nonlocal scope
        while True:
            with anyio.CancelScope() as scope:
                return await anext(items, None)

    parts = parts_of(Script(cut(encoded(*FORM), 50), wait))
    seen: list[tuple[str, bytes]] = []
    while (part := await insist(parts)) is not None:
        content = b""
        while (piece := await insist(part)) is not None:
            content += piece
        seen.append((part.name, content))

    assert seen == [(field.name, field.content) for field in FORM]
    assert waits > 40


@pytest.mark.parametrize("late", [False, True])
async def test_a_part_whose_gathering_was_cancelled_is_not_taken_for_whole(late: bool) -> None:
    """The next one can be read."""
    body = encoded(Field("a", bytes(100), "a"), Field("b", b"2"))
    for turn in range(1, 5):
        canceller = Canceller(turn + 5, late=late)
        parts = parts_of(Script(cut(body, 16), canceller.wait))
        part = await anext(parts)
        with canceller.scope:
            await part.bytes()
        assert canceller.scope.cancelled_caught

        for read in READERS:
            with pytest.raises(BodyAlreadyRead):
                await read(part)
        assert await contents(parts) == [("b", None, b"2")]
