"""examples/llm_gateway.py: between an API and its clients, curl, httpx2 and OpenAI's own."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import anyio
import httpx2
import openai
import pytest

from examples import llm_gateway
from nardis import Limits, Nardis
from tests.examples.beside import serving

pytestmark = pytest.mark.anyio

TOKEN, KEY = "alices-token", "the-key-of-the-tests"
PATH = "/v1/chat/completions"
SOON_S = 20
KIB = 1024


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


@dataclass
class Model:
    """An API that answers as a test wants it, and knows what became of its last request."""

    app: Nardis
    answer: Callable[..., object]
    url: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    begun: anyio.Event = field(default_factory=anyio.Event)
    cancelled: anyio.Event = field(default_factory=anyio.Event)


@pytest.fixture
async def ports(anyio_backend_name):
    """Serve applications beside the test: `await ports(app)` gives a URL."""
    async with AsyncExitStack() as stack:

        async def start(app):
            return await stack.enter_async_context(serving(app, anyio_backend_name))

        yield start


@pytest.fixture
async def model(ports, monkeypatch):
    """Serve a model, which the gateway will ask."""
    app = Nardis(limits=Limits(buffered_body_bytes=64 * KIB * KIB))
    model = Model(app, lambda req, res: res.json({"id": "1", "choices": []}))

    @app.all("/*path")
    async def answer(req, res):
        model.url, model.fields = req.original_url, dict(req.headers)
        model.begun.set()
        try:
            await model.answer(req, res)
        except anyio.get_cancelled_exc_class():
            model.cancelled.set()
            raise

    monkeypatch.setattr(llm_gateway, "UPSTREAM", f"{await ports(app)}/base")
    return model


@pytest.fixture
async def gateway(model, ports, monkeypatch):
    monkeypatch.setattr(llm_gateway, "TOKENS", [b"another", TOKEN.encode()])
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "*")
    return await ports(llm_gateway.app)


@pytest.fixture
async def client(gateway):
    fields = {"authorization": f"Bearer {TOKEN}"}
    async with httpx2.AsyncClient(
        base_url=gateway, headers=fields, timeout=SOON_S, verify=False
    ) as client:
        yield client


@pytest.fixture
def official(gateway):
    """OpenAI's own client, for `to_thread`: trio minds generators that the async one forgets."""
    with openai.OpenAI(
        base_url=f"{gateway}/v1", api_key=TOKEN, max_retries=0, timeout=SOON_S
    ) as official:
        yield official


def token(text):
    delta = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    kind = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return f"data: {json.dumps({**kind, 'choices': [delta]})}\n\n"


async def test_each_token_arrives_before_the_next_is_made(client, model):
    """Nothing is gathered on the way, and the head arrives before the first of them."""
    wanted = [anyio.Event() for _ in range(3)]

    async def answer(req, res):
        await res.type("text/event-stream").flush()
        for event in wanted:
            await event.wait()
            await res.write(token("word"))

    model.answer = answer
    with anyio.fail_after(SOON_S):
        async with client.stream("POST", PATH, json={}) as response:
            pieces = response.aiter_raw()
            for event in wanted:
                event.set()
                assert await anext(pieces) == token("word").encode()
            assert [piece async for piece in pieces] == []


# httpx2 2.16 forgets a generator of its own that is closed between two pieces; it is warned of on
# trio, when the connection has long been closed.
@pytest.mark.filterwarnings("ignore:.*PoolByteStream.*:ResourceWarning")
@pytest.mark.parametrize("sent", ["nothing", "head", "flood"])
async def test_upstream_is_cancelled_when_the_client_leaves(client, model, sent):
    """Before its answer, before the first token, and while we wait for that very client."""

    async def answer(req, res):
        if sent != "nothing":
            await res.flush()
        while sent == "flood":
            await res.write(bytes(64 * KIB))
        await anyio.sleep_forever()

    async def ask():
        async with client.stream("POST", PATH, json={}) as response:
            assert response.status_code == 200
            answered.set()
            await anyio.sleep_forever()

    model.answer = answer
    answered = anyio.Event()
    with anyio.fail_after(SOON_S):
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await (model.begun if sent == "nothing" else answered).wait()
            group.cancel_scope.cancel()
        await model.cancelled.wait()


@pytest.mark.parametrize("declared", [None, 1000], ids=["chunks", "length"])
async def test_an_answer_that_upstream_cuts_is_cut_for_the_client(client, model, declared):
    async def answer(req, res):
        if declared:
            res.set("content-length", declared)
        await res.write(token("Once"))
        await res.abort()

    model.answer = answer
    async with client.stream("POST", PATH, json={}) as response:
        pieces = response.aiter_raw()
        assert await anext(pieces) == token("Once").encode()
        with pytest.raises(httpx2.RemoteProtocolError):
            await anext(pieces)


async def test_an_upstream_that_falls_silent_cuts_the_answer(client, model):
    async def answer(req, res):
        await res.write(token("Once"))
        await anyio.sleep_forever()

    model.answer = answer
    llm_gateway.app.state.client.timeout = httpx2.Timeout(0.2)
    async with client.stream("POST", PATH, json={}) as response:
        with pytest.raises(httpx2.RemoteProtocolError):
            [piece async for piece in response.aiter_raw()]
    await model.cancelled.wait()


async def test_what_belongs_to_one_connection_goes_no_further(client, model):
    async def answer(req, res):
        res.set({"retry-after": 7, "x-ratelimit-remaining-requests": 0, "x-request-id": "r1"})
        res.set({"set-cookie": "a=1", "proxy-authenticate": "Basic", "keep-alive": "timeout=9"})
        await res.status(429).json({"error": {"message": "slow down"}})

    model.answer = answer
    fields = {
        "connection": "keep-alive, X-Ours",
        "x-ours": "1",
        "te": "trailers",
        "proxy-authorization": "Basic secret",
        "cookie": "session=1",
        "x-request-id": "r0",
        "openai-beta": "assistants=v2",
        "openai-organization": "org-another",
        "openai-project": "proj-another",
        "accept-encoding": "zstd",
    }
    response = await client.post(f"{PATH}/a%2Fb?c=%2F", json={}, headers=fields)

    assert (response.status_code, response.json()) == (429, {"error": {"message": "slow down"}})
    assert response.headers["retry-after"] == "7"
    assert response.headers["x-ratelimit-remaining-requests"] == "0"
    assert response.headers["x-request-id"] == "r1"
    assert not {"set-cookie", "proxy-authenticate", "keep-alive"} & response.headers.keys()
    assert model.url == f"/base{PATH}/a%2Fb?c=%2F"
    assert model.fields["authorization"] == f"Bearer {KEY}"
    assert model.fields["x-request-id"] == "r0"
    assert model.fields["openai-beta"] == "assistants=v2"
    assert model.fields["accept-encoding"] == "zstd"
    assert model.fields["host"] in llm_gateway.UPSTREAM
    assert model.fields["via"] == "1.1 nardis"
    assert not {"x-ours", "te", "proxy-authorization", "cookie"} & model.fields.keys()
    assert not {"openai-organization", "openai-project"} & model.fields.keys()

    await client.post(PATH, json={})
    assert "cookie" not in model.fields  # that upstream has set for another client


def test_a_field_that_a_connection_names_is_its_own():
    """Such a name may be that of any field, and chunks overrule a length (RFC 9112 §6.3)."""
    lines = [
        (b"Connection", b"close, X-One"),
        (b"connection", b"x-two"),
        (b"X-One", b"1"),
        (b"x-two", b"2"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Content-Length", b"3"),
        (b"Vary", b"a"),
        (b"Vary", b"b"),
    ]

    assert llm_gateway.passed_on(lines) == [(b"vary", b"a"), (b"vary", b"b")]


async def test_a_coded_answer_stays_as_it_is(client, model):
    packed = gzip.compress(b'{"data": []}')

    async def answer(req, res):
        await res.set("content-encoding", "gzip").type("json").send(packed)

    model.answer = answer
    async with client.stream("GET", "/v1/models") as response:
        assert response.headers["content-length"] == str(len(packed))
        assert b"".join([piece async for piece in response.aiter_raw()]) == packed

    del client.headers["accept-encoding"]
    request = client.build_request("GET", "/v1/models")
    assert "accept-encoding" not in request.headers
    await client.send(request)
    assert model.fields["accept-encoding"] == "identity"


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
async def test_a_body_is_passed_on_in_pieces(client, model, chunked):
    """Upstream reads the first piece before the client has made the second."""
    seen = [anyio.Event(), anyio.Event()]

    async def answer(req, res):
        size = 0
        async for piece in req:
            size += len(piece)
            seen[size > KIB].set()
        await res.json({"bytes": size})

    async def body():
        for event in seen:
            yield bytes(KIB)
            await event.wait()

    model.answer = answer
    fields = {} if chunked else {"content-length": str(2 * KIB)}
    with anyio.fail_after(SOON_S):
        response = await client.post("/v1/files", content=body(), headers=fields)

    assert response.json() == {"bytes": 2 * KIB}
    assert ("content-length" in model.fields) is not chunked


async def test_a_body_that_is_declared_too_large_is_a_413(gateway, model):
    """The client need not send it first, and upstream never has a whole request."""
    host, port = gateway.removeprefix("http://").split(":")
    head = f"POST /v1/files HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {TOKEN}\r\n"
    async with await anyio.connect_tcp(host, int(port)) as stream:
        await stream.send(f"{head}content-length: {33 * KIB * KIB}\r\n\r\n".encode())

        with anyio.fail_after(SOON_S):
            assert (await stream.receive()).startswith(b"HTTP/1.1 413 ")


async def test_a_body_that_grows_too_large_is_a_413(client, model):
    async def answer(req, res):
        await req.bytes(limit=64 * KIB * KIB)
        whole.append(True)  # pragma: no cover

    async def body():
        for _ in range(33):
            yield bytes(KIB * KIB)

    whole = []
    model.answer = answer
    response = await client.post("/v1/files", content=body())

    assert response.status_code == 413
    assert response.json()["error"]["type"] == "gateway_error"
    assert whole == []


async def test_nobody_gets_in_without_a_token_of_ours(client, model):
    for given in ("", "Bearer", "Bearer wrong", f"Basic {TOKEN}"):
        response = await client.post(PATH, json={}, headers={"authorization": given})

        assert response.status_code == 401, given
        assert response.headers["www-authenticate"].startswith("Bearer")
    assert not model.begun.is_set()


async def test_what_upstream_says_of_our_key_stays_here(client, model):
    model.answer = lambda req, res: res.status(401).json({"error": {"message": f"wrong: {KEY}"}})
    response = await client.post(PATH, json={})

    assert response.status_code == 502
    assert KEY not in response.text


async def send(gateway, target, host="a"):
    """Send a GET for *target* as it stands here, and return the first of the answer."""
    address, port = gateway.removeprefix("http://").split(":")
    head = f"GET {target} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
    async with await anyio.connect_tcp(address, int(port)) as stream:
        await stream.send(head.encode())
        with anyio.fail_after(SOON_S):
            return await stream.receive()


async def test_the_key_opens_nothing_beside_the_api(gateway, model):
    """Some servers take a backslash, a second escape or what precedes a semicolon for such dots."""
    for target, status in (
        ("/v1/../admin", 404),
        ("/v1/%2e%2e/admin", 404),
        ("/v1/a%2F..%2F..%2Fadmin", 404),
        ("/v1/..%5c..%5cadmin", 404),
        ("/v1/..;/..;/admin", 404),
        ("/v1/%252e%252e/admin", 404),
        ("/v1//..", 404),
        ("/v1/x%1b", 404),
        ("/v1/x?a#/../b", 400),
    ):
        answer = await send(gateway, target)

        assert answer.startswith(f"HTTP/1.1 {status} ".encode()), target
    assert not model.begun.is_set()


async def test_the_key_is_sent_to_one_host_alone(gateway, model):
    """A target may be a whole URL (RFC 9112 §3.2.2), and a client chooses its Host as well."""
    target = "http://other.example:9/v1/models/...?a=http://other.example"
    answer = await send(gateway, target, host="other.example:9")

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert model.url == "/base/v1/models/...?a=http://other.example"
    assert model.fields["host"] in llm_gateway.UPSTREAM


async def test_only_methods_of_the_api_are_passed_on(client, model):
    """And none of them without the body that came with it."""

    async def body():
        yield b"{}"

    for method, content, status in (
        ("TRACE", None, 405),
        ("PUT", b"", 405),
        ("DELETE", body(), 413),
    ):
        response = await client.request(method, "/v1/models/a", content=content)

        assert response.status_code == status
    assert not model.begun.is_set()

    for method in ("GET", "HEAD", "DELETE"):
        assert (await client.request(method, "/v1/models/a")).status_code == 200
    assert "transfer-encoding" not in model.fields


async def test_a_field_of_upstream_that_is_malformed_is_a_502(client, monkeypatch):
    @asynccontextmanager
    async def answer(*args, **options):
        yield httpx2.Response(200, headers=[(b"content-length", b"2"), (b"x-a", b"a\x01b")])

    monkeypatch.setattr(llm_gateway.app.state.client, "stream", answer)
    response = await client.get("/v1/models")

    assert response.status_code == 502
    assert response.json()["error"]["message"].endswith("a malformed field")


async def test_a_failure_before_the_head_has_a_status(client, monkeypatch, caplog):
    """The client learns what happened, and the log why."""

    def fail(*args, **options):
        raise fault

    monkeypatch.setattr(llm_gateway.app.state.client, "stream", fail)
    for fault, status, after in (
        (httpx2.ConnectError("refused"), 502, None),
        (httpx2.ReadError("reset"), 502, None),
        (httpx2.ReadTimeout("silent"), 504, None),
        (httpx2.PoolTimeout("busy"), 503, "5"),
    ):
        response = await client.post(PATH, json={})

        assert (response.status_code, response.headers.get("retry-after")) == (status, after)
        assert response.json()["error"]["message"].startswith(str(status))
        assert repr(fault) in caplog.text


async def test_an_upstream_that_does_not_answer_in_time_is_a_504(client, model):
    model.answer = lambda req, res: anyio.sleep_forever()
    llm_gateway.app.state.client.timeout = httpx2.Timeout(0.2)

    assert (await client.post(PATH, json={})).status_code == 504
    await model.cancelled.wait()


async def test_openais_client_gets_a_stream(official, model):
    async def answer(req, res):
        assert (await req.json())["stream"] is True
        res.type("text/event-stream")
        for text in ("Once", " upon"):
            await res.write(token(text))
        await res.end("data: [DONE]\n\n")

    def ask():
        with official.chat.completions.create(model="m", messages=[], stream=True) as stream:
            return [chunk.choices[0].delta.content for chunk in stream]

    model.answer = answer

    assert await anyio.to_thread.run_sync(ask) == ["Once", " upon"]


async def test_openais_client_that_closes_a_stream_ends_it_upstream(official, model):
    async def answer(req, res):
        await res.type("text/event-stream").write(token("Once"))
        await anyio.sleep_forever()

    def ask():
        with official.chat.completions.create(model="m", messages=[], stream=True) as stream:
            next(stream)

    model.answer = answer
    await anyio.to_thread.run_sync(ask)

    with anyio.fail_after(SOON_S):
        await model.cancelled.wait()


async def test_openais_client_gets_a_whole_answer(official, model):
    message = {"role": "assistant", "content": "Hello"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    whole = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
    model.answer = lambda req, res: res.json({**whole, "choices": [choice]})

    answer = await anyio.to_thread.run_sync(
        lambda: official.chat.completions.create(model="m", messages=[])
    )

    assert answer.choices[0].message.content == "Hello"


async def test_openais_client_raises_what_it_would_without_us(official, model):
    error = {"message": "no", "type": "t", "code": "c", "param": None}
    model.answer = lambda req, res: res.status(429).json({"error": error})

    with pytest.raises(openai.RateLimitError) as caught:
        await anyio.to_thread.run_sync(official.models.list)

    assert (caught.value.code, caught.value.body) == ("c", error)


async def test_openais_client_reads_our_own_errors(official):
    stranger = official.with_options(api_key="wrong")
    with pytest.raises(openai.AuthenticationError, match="wrong token") as caught:
        await anyio.to_thread.run_sync(stranger.models.list)

    assert caught.value.type == "gateway_error"


def test_it_is_served_as_it_says_and_without_an_upstream_it_is_a_502(serve, curl):
    environment = {"UPSTREAM": "http://127.0.0.1:9", "OPENAI_API_KEY": KEY, "TOKENS": f"a,{TOKEN}"}
    with serve("examples/llm_gateway.py:app", NO_PROXY="*", **environment) as server:
        arguments = ("-H", f"Authorization: Bearer {TOKEN}", f"{server.url}/v1/models")
        output, _ = curl("--write-out", "%{http_code}", *arguments).communicate()
        server.logs = "502 Bad Gateway: .*ConnectError.*"

    assert output.endswith(b"502")
