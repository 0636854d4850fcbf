"""`res.early_hints()`: what the client will need, before the answer is there (RFC 8297)."""

import anyio
import pytest

from nardis import Nardis
from nardis.errors import FieldError, HeadersAlreadySent

pytestmark = pytest.mark.anyio

STYLE = "</style.css>; rel=preload; as=style"
OFFERED = {"extensions": {"http.response.early_hint": {}}}


@pytest.fixture
def messages():
    """Return the messages that a handler sends to a server that offers hints, or does not."""

    async def call(handler, *, offered=True):
        app, sent = Nardis(), []
        app.get("/", handler)
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "path": "/",
            "headers": [],
            "extensions": OFFERED["extensions"] if offered else {},
        }

        async def send(message):
            sent.append(message)

        await app(scope, anyio.sleep_forever, send)
        return sent

    return call


async def handler(req, res):
    await res.early_hints({"link": [STYLE, "</a.js>; rel=preload"]})
    await res.early_hints({"Link": STYLE})
    await res.early_hints({})
    await res.send("x")


async def test_hints_go_out_before_the_head(messages):
    first, second, *answer = await messages(handler)
    assert first == {
        "type": "http.response.early_hint",
        "links": [STYLE.encode(), b"</a.js>; rel=preload"],
    }
    assert second["links"] == [STYLE.encode()]
    assert [each["type"] for each in answer] == ["http.response.start", "http.response.body"]


async def test_a_server_that_takes_none_gets_none(messages):
    sent = await messages(handler, offered=False)
    assert [each["type"] for each in sent] == ["http.response.start", "http.response.body"]


async def test_the_test_client_takes_them_where_they_are_offered(serve):
    assert (await serve(handler, client=OFFERED)).text == "x"


async def test_after_the_head_it_is_too_late(failure):
    async def late(req, res):
        await res.write("x")
        await res.early_hints({"link": STYLE})

    assert isinstance(await failure(late, client=OFFERED), HeadersAlreadySent)


async def test_hints_that_another_tasks_answer_overtook_are_dropped(messages):
    async def overtaken(req, res):
        hints = res.early_hints({"link": STYLE})
        await res.write("x")
        await hints

    sent = await messages(overtaken)
    assert [each["type"] for each in sent][:2] == ["http.response.start", "http.response.body"]


@pytest.mark.parametrize(
    "hints", [{"link": "a\r\nb"}, {"content-length": "3"}, {"a b": "c"}, {"x-a": "1"}]
)
async def test_what_no_hint_may_have_is_refused(failure, hints):
    async def broken(req, res):
        await res.early_hints(hints)

    assert isinstance(await failure(broken, client=OFFERED), FieldError)
