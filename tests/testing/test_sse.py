"""`client.sse()`: events as a browser asks for them, reads them, and gives up."""

from contextlib import asynccontextmanager

import anyio
import pytest

from nardis import Nardis
from nardis.events import Event, EventTooLong
from nardis.testing import AppError, Client, NotAnEventStream

pytestmark = pytest.mark.anyio

START, BODY = "http.response.start", "http.response.body"


class Feed:
    """An application that sends *chunks* with *status* and *kind*, and notes what it was asked."""

    def __init__(self, *chunks, status=200, kind="text/event-stream", ends=True, fault=None):
        self.chunks, self.status, self.kind = chunks, status, kind
        self.ends, self.fault = ends, fault
        self.sent, self.scope, self.body = 0, {}, b""

    async def __call__(self, scope, receive, send):
        self.scope = scope
        message = await receive()
        self.body = message.get("body")
        head = [(b"content-type", self.kind.encode())] if self.kind else []
        await send({"type": START, "status": self.status, "headers": head})
        for chunk in self.chunks:
            await send({"type": BODY, "body": chunk, "more_body": True})
            self.sent += 1
        if self.fault is not None:
            raise self.fault
        if self.ends:
            await send({"type": BODY})
        await receive()

    @property
    def fields(self):
        """Those of the request, without Host."""
        return {name: value for name, value in self.scope["headers"] if name != b"host"}


@asynccontextmanager
async def reading(app, url="/", *, headers=None, raise_app_errors=True, **options):
    async with Client(
        app, lifespan=False, headers=headers, raise_app_errors=raise_app_errors
    ) as client:
        async with client.sse(url, **options) as events:
            yield events


async def test_events_come_one_by_one_and_end_with_the_response():
    app = Feed(
        b"retry: 100\nid: 1\nda", b"ta: a\n\n: ping\n\nevent: add\ndata: b\n", b"\ndata: c\n"
    )
    async with reading(app) as events:
        assert [event async for event in events] == [
            Event("a", id="1", retry=0.1),
            Event("b", "add", id="1", retry=0.1),
        ]
        assert (events.last_event_id, events.retry, events.comments) == ("1", 0.1, 1)
        assert events.response.complete
        assert events.response.status_code == 200


async def test_no_more_is_taken_than_an_event_needs():
    app = Feed(*(b"id: %d\ndata\n\n" % n for n in range(9)))
    async with reading(app) as events:
        for n in range(3):
            await anyio.wait_all_tasks_blocked()
            assert app.sent == n
            assert (await anext(events)).id == str(n)


async def test_what_a_client_knows_is_what_it_has_read():
    """Of three events in one chunk the first is read: the next request asks for the others."""
    app = Feed(b"retry: 1\ndata: a\nid: 1\n\nid: 2\nretry: 2\ndata: b\n\nid: 3\n\n")
    async with reading(app, last_event_id="0") as events:
        assert (events.last_event_id, events.retry) == ("0", None)
        await anext(events)
        assert (events.last_event_id, events.retry) == ("1", 0.001)
        await anext(events)
        assert (events.last_event_id, events.retry) == ("3", 0.002)


async def test_a_request_is_that_of_a_browser():
    app = Feed()
    async with reading(app):
        assert app.scope["method"] == "GET"
        assert app.fields == {b"accept": b"text/event-stream", b"cache-control": b"no-cache"}
    async with reading(app, last_event_id="é", headers={"accept": "*/*"}, params={"a": "b"}):
        assert app.fields[b"last-event-id"] == "é".encode()
        assert app.fields[b"accept"] == b"*/*"
        assert app.scope["query_string"] == b"a=b"


async def test_the_fields_that_a_test_gives_win():
    given = {"Cache-Control": "no-store", "Last-Event-ID": "2"}
    app = Feed()
    async with Client(app, lifespan=False) as client:
        async with client.sse("/", headers=given, last_event_id="1", method="POST", json=[]):
            assert app.fields[b"cache-control"] == b"no-store"
            assert app.fields[b"last-event-id"] == b"2"
            assert (app.scope["method"], app.body) == ("POST", b"[]")


@pytest.mark.parametrize(
    ("status", "kind"),
    [(204, None), (201, "text/event-stream"), (404, "text/html"), (200, "text/event-streams")],
)
async def test_another_answer_is_an_error_that_carries_it(status, kind):
    body = [] if status == 204 else [b"no ", b"events"]
    with pytest.raises(NotAnEventStream, match=f"got a {status} of {kind or 'no type'}") as caught:
        async with reading(Feed(*body, status=status, kind=kind)):
            pytest.fail("it is read")  # pragma: no cover  # as it says

    assert caught.value.response.status_code == status
    assert caught.value.response.content == b"".join(body)
    assert caught.value.response.complete


@pytest.mark.parametrize("kind", ["text/event-stream; charset=utf-8", "Text/Event-Stream ;a"])
async def test_a_type_may_have_parameters(kind):
    async with reading(Feed(b"data: a\n\n", kind=kind)) as events:
        assert await anext(events) == Event("a")


async def test_of_another_answer_that_does_not_end_the_beginning_is_carried(monkeypatch):
    monkeypatch.setattr("nardis.testing.events._MOST_S", 0.05)
    for chunks, came in (([b"x" * 2**16] * 9, 2**16), ([b"x"], 1)):
        with pytest.raises(NotAnEventStream) as caught:
            async with reading(Feed(*chunks, kind="text/plain", ends=False)):
                pytest.fail("it is read")  # pragma: no cover  # as it says
        assert len(caught.value.response.content) == came
        assert not caught.value.response.complete


async def test_a_cut_response_ends_the_events_too():
    """A failed application is an error as well, unless the client is told otherwise."""
    app = Feed(b"data: a\n\n", fault=OSError("lost"))
    async with reading(app, raise_app_errors=False) as events:
        assert [event async for event in events] == [Event("a")]
        assert not events.response.complete
    async with reading(app) as events:
        assert await anext(events) == Event("a")
        with pytest.raises(AppError, match="lost"):
            await anext(events)


async def test_an_event_that_is_too_long_comes_after_those_before_it():
    async with reading(Feed(b"data: a\n\n" + b"x" * (2**20 + 1))) as events:
        assert await anext(events) == Event("a")
        for _ in range(2):
            with pytest.raises(EventTooLong):
                await anext(events)


async def test_a_head_may_come_later():
    """Entering does not wait for it for ever; what it says is looked at by the first read."""
    app, go = Nardis(), anyio.Event()

    @app.get("/:kind")
    async def late(req, res):
        await go.wait()
        await res.type(f"text/{req.params['kind']}").write("data: a\n\n")

    async with Client(app) as client:
        async with client.sse("/event-stream") as events, client.sse("/plain") as others:
            go.set()
            assert await anext(events) == Event("a")
            with pytest.raises(NotAnEventStream, match="got a 200 of text/plain"):
                await anext(others)


async def test_a_client_that_leaves_ends_the_handler():
    app, ended = Nardis(), anyio.Event()

    @app.get("/")
    async def endless(req, res):
        res.type("text/event-stream")
        try:
            while True:
                await res.write("data\n\n")
        finally:
            ended.set()

    async with Client(app) as client:
        async with client.sse("/") as events:
            assert await anext(events) == Event("")
        assert ended.is_set()


async def test_a_cancelled_read_loses_no_event():
    app = Feed(b"data: a\nda", b"ta: b\n\n", ends=False)
    async with reading(app) as events:
        assert await anext(events) == Event("a\nb")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anext(events)
        assert scope.cancelled_caught
        assert events.last_event_id == ""
