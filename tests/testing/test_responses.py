"""What the test gets: responses read whole, and cookies."""

import pytest

from nardis.testing import Client, StreamedResponse, TestResponse

pytestmark = pytest.mark.anyio

START, BODY, TRAILERS = "http.response.start", "http.response.body", "http.response.trailers"


def answers(*bodies, status=200, headers=(), **start):
    """Make an application that sends these chunks, the last one as the final message."""

    async def app(scope, receive, send):
        await send({"type": START, "status": status, "headers": headers, **start})
        for n, body in enumerate(bodies, 1):
            await send({"type": BODY, "body": body, "more_body": n < len(bodies)})

    return app


async def get(app, method="GET", **options):
    async with Client(app, lifespan=False, **options) as client:
        return await client.request(method, "/")


def test_the_classes_are_not_collected_by_pytest():
    """A name that begins with Test would be, and warn about its constructor."""
    assert not any(cls.__test__ for cls in (Client, StreamedResponse, TestResponse))


async def test_a_response_is_read_whole():
    """Chunks are joined, fields are there in order, names in any case."""
    response = await get(
        answers(b"a", b"", b"b", b"", headers=iter([(b"x-a", b"1"), (b"x-a", b"2")]))
    )

    assert (response.status_code, response.content, response.text, response.complete) == (
        200,
        b"ab",
        "ab",
        True,
    )
    assert response.headers.get_all("X-A") == ["1", "2"]
    assert response.trailers.raw == []


async def test_text_follows_the_charset():
    """UTF-8 unless Content-Type says something else; what does not decode is replaced."""
    latin = await get(
        answers(b"\xe9", headers=[(b"content-type", b'text/plain; Charset="iso-8859-1"')])
    )
    plain = await get(answers(b"\xc3\xa9\xff", headers=[(b"content-type", b"text/plain")]))

    assert (latin.text, plain.text) == ("é", "é�")


async def test_json_is_decoded():
    """And a body that is none is a ValueError."""
    assert (await get(answers(b'{"a": 1}'))).json() == {"a": 1}
    response = await get(answers(b"{"))
    with pytest.raises(ValueError, match="Expecting"):
        response.json()


@pytest.mark.parametrize(
    ("length", "complete"),
    [(b"3", True), (b"4", False), (None, True)],
    ids=["agrees", "too short", "no length"],
)
async def test_complete_compares_the_length(length, complete):
    """A response with fewer bytes than it declared is not whole."""
    headers = [(b"content-length", length)] if length else []
    assert (await get(answers(b"abc", headers=headers))).complete is complete


async def test_head_has_no_body_and_any_length():
    """A body that the application sends all the same is dropped, as servers do."""
    response = await get(
        answers(b"abc", b"def", headers=[(b"content-length", b"3")]), method="HEAD"
    )

    assert (response.content, response.complete, response.headers["content-length"]) == (
        b"",
        True,
        "3",
    )


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_body_may_declare_a_length(status):
    """304 names the length of what it did not send."""
    response = await get(answers(b"", status=status, headers=[(b"content-length", b"3")]))

    assert (response.status_code, response.complete) == (status, True)


async def test_an_app_that_only_returns_is_an_empty_500():
    """As from a server, and not an AppError: nothing was raised."""
    response = await get(answers_nothing)

    assert (response.status_code, response.content, response.complete) == (500, b"", False)


async def answers_nothing(scope, receive, send):
    pass


async def test_an_app_that_returns_early_leaves_the_response_incomplete():
    """The bytes that came are there."""

    async def app(scope, receive, send):
        await send({"type": START, "status": 200})
        await send({"type": BODY, "body": b"half", "more_body": True})

    response = await get(app)

    assert (response.content, response.complete) == (b"half", False)


async def test_trailers_come_after_the_body():
    """With the extension, in as many messages as the application likes."""

    async def app(scope, receive, send):
        await send({"type": START, "status": 200, "trailers": True})
        await send({"type": BODY, "body": b"x"})
        await send({"type": TRAILERS, "headers": [(b"x-sum", b"1")], "more_trailers": True})
        await send({"type": TRAILERS, "headers": [(b"x-more", b"2")]})

    response = await get(app, extensions={TRAILERS: {}})

    assert (response.complete, response.trailers.raw) == (
        True,
        [(b"x-sum", b"1"), (b"x-more", b"2")],
    )


async def test_announced_trailers_that_do_not_come_leave_the_response_incomplete():
    """The body alone is not the whole of it."""
    response = await get(answers(b"x", trailers=True), extensions={TRAILERS: {}})

    assert (response.content, response.complete) == (b"x", False)


async def test_messages_beside_the_response_are_let_through_where_offered():
    """Early hints change nothing for the reader."""

    async def app(scope, receive, send):
        await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
        await answers(b"x")(scope, receive, send)

    response = await get(app, extensions={"http.response.early_hint": {}})

    assert (response.content, response.complete) == (b"x", True)


def sets_cookies(*values):
    """Make an application that answers with the cookies it got and sets the next of *values*."""
    rest = list(values)

    async def app(scope, receive, send):
        headers = [(b"set-cookie", value) for value in (rest.pop(0) if rest else [])]
        await send({"type": START, "status": 200, "headers": [*headers, (b"x-other", b"1")]})
        await send({"type": BODY, "body": dict(scope["headers"]).get(b"cookie", b"")})

    return app


async def test_cookies_are_kept_and_sent():
    """A later value of the same name, domain and path replaces an earlier one."""
    app = sets_cookies(
        [b"a=1; Path=/; HttpOnly", b"b=2"],
        [b"a=3; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT"],
    )
    async with Client(app, lifespan=False) as client:
        texts = [(await client.get("/")).text for _ in range(3)]

    assert texts == ["", "a=1; b=2", "a=3; b=2"]
    assert client.cookies == {"a": "3", "b": "2"}


@pytest.mark.parametrize(
    "attribute",
    [
        b"Max-Age=0",
        b"max-age=-1",
        b"Max-Age=soon; expires=Thu, 01 Jan 1970 00:00:00 GMT",
        b"Expires=Thu, 01-Jan-1970 00:00:00 GMT",
    ],
)
async def test_an_expired_cookie_is_forgotten(attribute):
    """That is how a server deletes it."""
    async with Client(sets_cookies([b"a=1"], [b"a=; " + attribute]), lifespan=False) as client:
        texts = [(await client.get("/")).text for _ in range(3)]

    assert texts == ["", "a=1", ""]


@pytest.mark.parametrize(
    "attribute", [b"Expires=never", b"Expires=Fri, 31 Dec 2100 00:00:00 GMT", b"Max-Age=soon"]
)
async def test_a_cookie_that_has_not_expired_stays(attribute):
    """Dates that cannot be read count as none."""
    async with Client(sets_cookies([b"a=1; " + attribute]), lifespan=False) as client:
        await client.get("/")
        assert client.cookies == {"a": "1"}


async def test_cookies_of_one_request_are_not_kept():
    """They are added to those of the client; a Cookie field of the caller's own replaces both."""
    async with Client(sets_cookies([b"a=1"]), lifespan=False) as client:
        await client.get("/")
        assert (await client.get("/", cookies={"b": "2"})).text == "a=1; b=2"
        assert (await client.get("/", cookies={"a": "9"})).text == "a=9"
        assert (await client.get("/", headers={"Cookie": "c=3"})).text == "c=3"
        assert (await client.get("/")).text == "a=1"


async def test_a_streamed_response_sets_cookies_with_its_head():
    """Not only one that is read to its end."""
    async with Client(sets_cookies([b"a=1"]), lifespan=False) as client:
        async with client.stream("GET", "/"):
            assert client.cookies == {"a": "1"}
