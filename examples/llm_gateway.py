r"""
Stand in front of an OpenAI-compatible API: keep its key, and pass its tokens on as they come.

Clients show a token of ours instead, and never see the key:

    OPENAI_API_KEY=sk-... TOKENS=alices-token,bobs-token nardis serve examples/llm_gateway.py:app

    curl -N http://127.0.0.1:3000/v1/chat/completions -H "Authorization: Bearer alices-token" \
        -H "Content-Type: application/json" -d '{"model": "gpt-5", "stream": true,
            "messages": [{"role": "user", "content": "Tell me a story."}]}'
    OPENAI_BASE_URL=http://127.0.0.1:3000/v1 OPENAI_API_KEY=alices-token python client.py
"""

import logging
import os
import re
from collections.abc import AsyncIterator, Iterable
from hmac import compare_digest
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx2

from nardis import HTTPError, Limits, Nardis, Next, Request, Response
from nardis.errors import FieldError

logger = logging.getLogger(__name__)

UPSTREAM = os.environ.get("UPSTREAM", "https://api.openai.com")
# Without tokens from outside, nobody is let in.
TOKENS = [token.encode() for token in os.environ.get("TOKENS", "").split(",") if token]

# Seconds for the next step, and none for the whole: an answer may go on for as long as it goes on.
# A model that thinks sends nothing meanwhile, so the wait for its next byte is a long one.
TIMEOUT = httpx2.Timeout(connect=5, write=15, read=float(os.environ.get("IDLE_S", "300")), pool=5)
CONNECTIONS = httpx2.Limits(max_connections=1000, max_keepalive_connections=50)

# The first row belongs to one connection (RFC 9110 §7.6.1), the second to the client and us alone.
# An Expect is answered here, as soon as upstream takes the body.
DROPPED = frozenset(
    b"connection keep-alive te trailer transfer-encoding upgrade "
    b"authorization openai-organization openai-project cookie set-cookie expect host".split()
)

# A path when it is decoded: segments, and none of them means another place. There is no `\`, `;` or
# second `%` in it, which some servers read as such.
PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~:@!$&'()*+,=-]+)+")

app = Nardis(limits=Limits(streamed_body_bytes=32 * 1024**2, body_idle_s=15, write_stall_s=30))


@app.lifespan
async def lifespan(app: Nardis) -> AsyncIterator[None]:
    """Keep one pool of connections, with the key. Without a key the server does not start."""
    async with httpx2.AsyncClient(
        base_url=UPSTREAM,
        timeout=TIMEOUT,
        limits=CONNECTIONS,
        # httpx2 would ask for codings of its own, which our client may not know.
        headers={
            "authorization": f"Bearer {os.environ['OPENAI_API_KEY']}",
            "accept-encoding": "identity",
        },
        # A cookie for one client must not be sent for another one.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    ) as app.state.client:
        yield


@app.use
async def known(req: Request, res: Response, next: Next) -> None:
    """Ask for a token of ours. Nothing of the body is read before `next` is called."""
    scheme, _, token = req.get("authorization", "").partition(" ")
    given = token.strip().encode()
    if scheme.lower() != "bearer" or not any(compare_digest(given, each) for each in TOKENS):
        raise HTTPError(401, "wrong token", headers={"www-authenticate": 'Bearer realm="llm"'})
    await next()


# Without these lines they can only chat. They are all methods that the API has: a TRACE, for
# instance, would show our key to the client.
@app.get("/v1/*rest")
@app.post("/v1/*rest")
@app.delete("/v1/*rest")
@app.post("/v1/chat/completions")
async def relay(req: Request, res: Response) -> None:
    """Ask upstream, and pass its answer on. A client that leaves cancels this at any point."""
    url = place(req)
    if req.method != "POST":
        await req.bytes(limit=0)  # a body would be a 413: it must not be left out unseen
    try:
        async with app.state.client.stream(
            req.method,
            url,
            headers=[*passed_on(req.scope["headers"]), (b"via", b"1.1 nardis")],
            # A piece at a time, as upstream takes it.
            content=req if req.method == "POST" else None,
        ) as answer:
            if answer.status_code == 401:  # it is about our key, and says more of it than it should
                raise HTTPError(502, "the model's server does not take our key")
            res.status(answer.status_code)
            for name, value in passed_on(answer.headers.raw):
                res.append(name.decode("latin-1"), value.decode("latin-1"))
            await res.flush()  # the first token may be far away
            await res.pipe(answer.aiter_raw())  # as it came, in whatever coding
    # With the head sent, each of these cuts the response, and the client sees that it is not whole.
    except httpx2.PoolTimeout as exc:
        raise HTTPError(503, "too many at a time", headers={"retry-after": "5"}) from exc
    except httpx2.TimeoutException as exc:
        raise HTTPError(504, "the model's server takes too long") from exc
    except httpx2.TransportError as exc:
        raise HTTPError(502, "the model's server cannot be reached, or broke off") from exc
    except FieldError as exc:
        raise HTTPError(502, "the model's server sent a malformed field") from exc


def place(req: Request) -> httpx2.URL:
    """Return the URL to ask. Scheme and host are ours: a client has its path and query alone."""
    if not PATH.fullmatch(req.path):
        raise HTTPError(404)  # the key is not for what else that server has
    base: httpx2.URL = app.state.client.base_url
    try:
        return base.copy_with(raw_path=base.raw_path.rstrip(b"/") + req.url.encode("latin-1"))
    except (httpx2.InvalidURL, UnicodeError) as exc:
        raise HTTPError(400, "the target is no part of a URL") from exc


def passed_on(lines: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the fields that go on to the other side."""
    fields = [(name.lower(), value) for name, value in lines]
    named = b",".join(value.lower() for name, value in fields if name == b"connection").split(b",")
    dropped = DROPPED.union(name.strip() for name in named)
    if any(name == b"transfer-encoding" for name, _ in fields):
        dropped |= {b"content-length"}  # RFC 9112 §6.3: chunks know better
    return [each for each in fields if each[0] not in dropped and each[0][:6] != b"proxy-"]


@app.error(HTTPError)
async def refused(err: HTTPError, req: Request, res: Response) -> None:
    """Answer in the form that clients of this API read; upstream's own errors are passed on."""
    if err.status >= 500:
        logger.warning("%s: %r", err, err.__cause__)
    error = {"message": str(err), "type": "gateway_error", "param": None, "code": None}
    await res.status(err.status).json({"error": error})


if __name__ == "__main__":
    app.listen()
