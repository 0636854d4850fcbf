"""`req.lines()`: a text line by line, as it arrives."""

import gzip

import anyio
import pytest

from nardis import ClientDisconnected, HTTPError, Limits, Nardis, wrap
from nardis.errors import BodyAlreadyRead
from nardis.testing import Client

pytestmark = pytest.mark.anyio


async def lines(req):
    return [line async for line in req.lines()]


def text(charset):
    return {"content-type": f"text/plain; charset={charset}"}


async def pieces(*chunks):
    for chunk in chunks:
        yield chunk


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"one\r\n\ntwo\x0b\xe2\x80\xa8", ["one", "", "two\x0b\u2028"]),
        (b"\xef\xbb\xbfa\nb\n", ["\ufeffa", "b"]),
    ],
    ids=["nothing", "ends", "byte order mark"],
)
async def test_lines_come_as_texts_without_their_ends(ask, content, expected):
    assert await ask(lines, "POST", content=content) == expected


async def test_a_character_may_be_cut_by_pieces(ask):
    assert await ask(lines, "POST", content=pieces(b"\xe2", b"\x82", b"\xac\r", b"\n")) == ["€"]


@pytest.mark.parametrize(
    ("charset", "content", "expected"),
    [
        ("latin-1", b"\xe9\r\n\x85", ["é", "\x85"]),
        ("shift_jis", "表\n表".encode("shift_jis"), ["表", "表"]),
    ],
)
async def test_lines_are_decoded_by_the_charset(ask, charset, content, expected):
    assert await ask(lines, "POST", content=content, headers=text(charset)) == expected


@pytest.mark.parametrize(
    ("charset", "said"),
    [
        ("utf-16", "cannot be read line by line"),
        ("ibm037", "cannot be read line by line"),
        ("iso-2022-jp", "cannot be read line by line"),
        ("bogus", "'bogus' is not supported"),
    ],
)
async def test_a_charset_that_cannot_be_cut_is_a_415(refusal, charset, said):
    response = await refusal(lines, "POST", content=b"a", headers=text(charset))

    assert response.status_code == 415
    assert said in response.text


async def test_after_a_415_the_body_may_be_read_otherwise(ask):
    async def either(req):
        with pytest.raises(HTTPError, match="415"):
            req.lines()
        return await req.text()

    assert await ask(either, "POST", content="a\n".encode("utf-16"), headers=text("utf-16")) == (
        "a\n"
    )


async def failing(req):
    """Return what came, and what each of two calls after that raised."""
    rows, came = req.lines(), []
    with pytest.raises(HTTPError) as first:
        while True:
            came.append(await anext(rows))
    with pytest.raises(HTTPError) as again:
        await anext(rows)
    return came, *[(exc.status, str(exc), exc.extensions) for exc in (first.value, again.value)]


async def test_a_long_line_is_a_413_behind_those_before_it(ask):
    app = Nardis(limits=Limits(line_bytes=3))

    came, first, again = await ask(failing, "POST", app=app, content=b"abc\r\nd\nabcd\ne\n")

    assert came == ["abc", "d"]
    assert first == again
    assert first[0] == 413
    assert "line 3 is longer than the 3 bytes" in first[1]
    assert first[2] == {"line": 3, "limit": 3}


async def test_bytes_that_do_not_fit_are_a_400_with_the_line(ask):
    came, first, again = await ask(failing, "POST", content=b"a\n\xff\nb\n")

    assert came == ["a"]
    assert first == again
    assert first[0] == 400
    assert first[1].endswith("line 2 of the request body is not valid utf-8")
    assert first[2] == {"line": 2}


async def test_a_body_over_its_limit_never_looks_whole(ask):
    """The piece that was too much is gone: the loop must not end as if there had been no more."""
    app = Nardis(limits=Limits(streamed_body_bytes=3))

    came, first, again = await ask(failing, "POST", app=app, content=pieces(b"a\n", b"b\n"))

    assert came == ["a"]
    assert first == again
    assert first[0] == 413


class Quota(HTTPError):
    """Made of other arguments than it has."""

    def __init__(self, user):
        super().__init__(413, f"the quota of {user} is used up")


@pytest.mark.parametrize("headers", [{}, {"content-encoding": "gzip"}])
async def test_an_error_of_a_middleware_is_raised_again_as_it_is(ask, headers):
    """Its class wants other arguments than the error has: it is not asked for another one."""
    app = Nardis()

    class Metered:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            async def metered():
                await receive()
                raise Quota("ada")

            await self.app(scope, metered, send)

    async def twice(req):
        errors = []
        lines = req.decode_content().lines()
        for _ in range(2):
            with pytest.raises(Quota) as caught:
                await anext(lines)
            errors.append(caught.value.detail)
        return errors

    app.use(wrap(Metered))

    content = gzip.compress(b"a\n")
    assert (
        await ask(twice, "POST", app=app, content=content, headers=headers)
        == ["the quota of ada is used up"] * 2
    )


async def test_a_loop_that_was_left_goes_on(ask):
    async def two_loops(req):
        rows, first = req.lines(), []
        async for row in rows:  # pragma: no branch: it is left
            first.append(row)
            break
        return first, [row async for row in rows]

    assert await ask(two_loops, "POST", content=b"a\nb\nc") == (["a"], ["b", "c"])


async def test_the_end_is_the_end(failure):
    async def once_more(req):
        rows = req.lines()
        assert [row async for row in rows] == ["a"]
        with pytest.raises(StopAsyncIteration):
            await anext(rows)
        return [row async for row in rows]

    error = await failure(once_more, "POST", content=b"a")

    assert isinstance(error, BodyAlreadyRead)
    assert "to their end before" in str(error)


async def test_there_is_one_reader(failure):
    async def two(req):
        req.lines()
        req.lines()

    error = await failure(two, "POST", content=b"a")

    assert isinstance(error, BodyAlreadyRead)
    assert "req.lines()" in str(error)


async def test_a_body_that_was_gathered_has_lines_as_often_as_asked(ask):
    async def twice(req):
        await req.bytes()
        return await lines(req), await lines(req)

    whole = [f"{number:06}" for number in range(20_000)]  # beyond one piece

    assert await ask(twice, "POST", content="\n".join(whole).encode()) == (whole, whole)


async def test_lines_of_a_body_in_a_content_coding(ask):
    content, headers = gzip.compress(b"a\nb\n"), {"content-encoding": "gzip"}

    assert await ask(
        lambda req: lines(req.decode_content()), "POST", content=content, headers=headers
    ) == ["a", "b"]


async def test_lines_behind_a_foreign_middleware(ask):
    app = Nardis()
    app.use(wrap(lambda inner: inner))

    assert await ask(lines, "POST", app=app, content=pieces(b"a\n", b"b")) == ["a", "b"]


async def test_no_more_is_asked_for_before_the_lines_are_taken():
    app, pulled, seen = Nardis(), [], []

    @app.post("/")
    async def handler(req, res):
        seen.extend([(line, len(pulled)) async for line in req.lines()])
        await res.send()

    async def upload():
        for chunk in (b"a\nb\n", b"c", b"\n", b"d"):
            pulled.append(chunk)
            yield chunk

    async with Client(app) as client:
        await client.post("/", content=upload())

    assert [line for line, _ in seen] == ["a", "b", "c", "d"]
    assert seen[0][1] == seen[1][1] < seen[2][1]


async def test_a_cancelled_call_loses_nothing():
    app, got = Nardis(), []

    @app.post("/")
    async def handler(req, res):
        rows = req.lines()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anext(rows)
        async with anyio.create_task_group() as tg:
            tg.start_soon(anext, rows)
            await anyio.wait_all_tasks_blocked()
            tg.cancel_scope.cancel()
        await res.flush()
        got.extend([row async for row in rows])
        await res.end()

    async with Client(app) as client, client.stream("POST", "/") as response:
        await response.send(b"half ")
        await response.head()
        await response.send(b"a line\nb\n")
        await response.end()
        await response.read()

    assert got == ["half a line", "b"]


async def test_a_client_that_leaves_ends_no_line():
    """What came of its last line is not given to anybody."""
    app, got, raised = Nardis(cancel_on_disconnect=False), [], []

    @app.post("/")
    async def handler(req, res):
        rows = req.lines()
        with pytest.raises(ClientDisconnected) as caught:
            while True:
                got.append(await anext(rows))
        raised.append(caught.value)

    async with Client(app) as client, client.stream("POST", "/") as response:
        await response.send(b"a\nhalf")
        await anyio.wait_all_tasks_blocked()
        await response.disconnect()

    assert got == ["a"]
    assert len(raised) == 1


async def test_others_have_their_turn_while_one_piece_has_many_lines(ask, monkeypatch):
    """Nothing is awaited for lines that are here; the clock is over at once."""
    monkeypatch.setattr("nardis._exchange.pace.TURN_S", -1.0)

    async def beside(req):
        taken, seen = 0, []

        async def watch():
            seen.append(taken)

        async with anyio.create_task_group() as tg:
            tg.start_soon(watch)
            async for _ in req.lines():
                taken += 1
        return taken, seen

    taken, [seen] = await ask(beside, "POST", content=b"x\n" * 100)

    assert taken == 100
    assert seen < 100
