"""Pages of another origin open no WebSocket, unless the route or the application lets them in."""

from __future__ import annotations

import pytest

from nardis import Nardis, UsageError
from nardis.testing import Client, WebSocketDenied
from tests.websocket.calls import Sockets

pytestmark = pytest.mark.anyio

# Origin, Host, scheme of the request, and whether the page is of the same origin.
SAME = [
    (None, "a.example", "ws", True),
    ("http://a.example", "a.example", "ws", True),
    ("http://a.example", "A.Example", "ws", True),
    ("http://a.example", "a.example:80", "ws", True),
    ("http://a.example:8080", "a.example:8080", "ws", True),
    ("https://a.example", "a.example", "wss", True),
    ("https://a.example", "a.example:443", "wss", True),
    ("http://[::1]:3000", "[::1]:3000", "ws", True),
    ("http://127.0.0.1:3000", "127.0.0.1:3000", "ws", True),
    # A secure page, where a proxy speaks TLS.
    ("https://a.example", "a.example", "ws", True),
    # An insecure page, which anybody on the way may have changed.
    ("http://a.example", "a.example", "wss", False),
    ("http://a.example:443", "a.example", "wss", False),
    ("http://b.example", "a.example", "ws", False),
    ("http://a.example.evil", "a.example", "ws", False),
    ("http://evil.a.example", "a.example", "ws", False),
    ("http://a.example:8080", "a.example", "ws", False),
    ("http://a.example", "a.example:8080", "ws", False),
    ("https://a.example", "a.example:80", "ws", False),
    ("http://localhost:3000", "127.0.0.1:3000", "ws", False),
    ("http://[::2]:3000", "[::1]:3000", "ws", False),
    ("null", "a.example", "ws", False),
    ("file://", "a.example", "ws", False),
    # What stands around web pages of its own.
    ("file://localhost", "localhost", "ws", False),
    ("capacitor://localhost", "localhost", "ws", False),
    ("chrome-extension://abc", "abc", "ws", False),
    # What no browser sends.
    ("", "a.example", "ws", False),
    ("HTTP://A.EXAMPLE", "a.example", "ws", False),
    ("a.example", "a.example", "ws", False),
    ("http://a.example/", "a.example", "ws", False),
    ("http://a.example http://b.example", "a.example", "ws", False),
    ("http://user@a.example", "a.example", "ws", False),
    ("http://a.example", "", "ws", False),
    ("http://", "", "ws", False),
]


def app_of(origins=None, **options):
    app = Nardis(**options)

    @app.websocket("/", origins=origins)
    async def handler(req, ws):
        await ws.accept()

    return app


async def asked(app, origin, host="a.example", scheme="ws", *more, **scope):
    """Ask for a WebSocket as a page of *origin* does; return whether it is let in."""
    fields = [("host", host), *more, *([] if origin is None else [("origin", origin)])]
    async with Sockets(app) as server:
        socket = await server.talked("/", headers=fields, scheme=scheme, **scope)
    assert socket.denied in (None, 403)
    return socket.denied is None


async def test_a_page_of_the_same_origin_is_let_in_and_no_other():
    app = app_of()
    found = [(*row[:3], await asked(app, *row[:3])) for row in SAME]
    assert found == SAME


PAGE = "https://page.example"
ORIGINS = [
    # Of the application, of the route, who asks, and whether that is let in.
    (None, None, PAGE, False),
    ([PAGE], None, PAGE, True),
    (PAGE, None, PAGE, True),
    (["https://other.example", "HTTPS://Page.example:443"], None, PAGE, True),
    ("*", None, PAGE, True),
    ("*", None, "null", True),
    ([PAGE], None, "null", False),
    (["null"], None, "null", True),
    ([PAGE], None, "http://page.example", False),
    ([PAGE], None, "https://page.example:8443", False),
    ([PAGE], None, "https://sub.page.example", False),
    # What the route says stands alone.
    (None, [PAGE], PAGE, True),
    (None, "*", PAGE, True),
    ([PAGE], ["https://other.example"], PAGE, False),
    ("*", [], PAGE, False),
    ([PAGE], ["https://other.example"], "https://other.example", True),
    # The same origin is always let in, and so is what is no page.
    (None, [], "http://a.example", True),
    (["https://other.example"], [PAGE], "http://a.example", True),
    ([], [], None, True),
]


async def test_a_list_lets_others_in():
    """Of the application, and in its stead of the route."""
    found = [
        (*row[:3], await asked(app_of(row[1], websocket_origins=row[0]), row[2])) for row in ORIGINS
    ]
    assert found == ORIGINS


async def test_two_fields_are_no_origin():
    for one, other in [("http://a.example", PAGE), (PAGE, "http://a.example")]:
        assert not await asked(app_of([]), one, "a.example", "ws", ("origin", other))


FORWARDED = [("x-forwarded-host", "page.example"), ("x-forwarded-proto", "https")]
BEHIND_PROXIES = [
    (0, FORWARDED, False),
    (1, FORWARDED, True),
    (1, [("x-forwarded-host", "page.example"), ("x-forwarded-proto", "wss")], True),
    (1, [("forwarded", "host=page.example;proto=https")], True),
    (1, [("x-forwarded-host", "other.example"), ("x-forwarded-proto", "https")], False),
    (1, [("x-forwarded-for", "192.0.2.7")], False),
]


async def test_the_host_is_that_of_a_trusted_proxy():
    """Of any other it is what the attacker likes."""
    found = [
        (trust, more, await asked(app_of(trust_proxy=trust), PAGE, "inside:3000", "ws", *more))
        for trust, more, _ in BEHIND_PROXIES
    ]
    assert found == BEHIND_PROXIES
    more = [*FORWARDED[:1], ("x-forwarded-proto", "wss")]
    origin = "http://page.example"  # insecure
    assert not await asked(app_of(trust_proxy=1), origin, "inside:3000", "ws", *more)


async def test_middlewares_around_the_route_see_who_is_refused_and_those_of_the_route_do_not():
    app, log = Nardis(), []

    def noting(name):
        async def middleware(req, res, next):
            await next()
            log.append((name, res.status_code))

        return middleware

    app.use(noting("around"))

    @app.websocket("/", noting("route"), origins=[PAGE])
    async def handler(req, ws):
        await ws.send("hello")

    async with Client(app) as client:
        with pytest.raises(WebSocketDenied, match=r"origin.*websocket\(origins=\[\.\.\.\]\)"):
            await client.websocket("/", headers={"origin": "https://evil.example"}).__aenter__()
        assert log == [("around", 403)]
        async with client.websocket("/", headers={"origin": PAGE}) as ws:
            assert await ws.receive() == "hello"


async def test_what_the_application_says_is_checked_at_once():
    for wrong in ("page.example", [7], "https://page.example/"):
        with pytest.raises(UsageError):
            Nardis(websocket_origins=wrong)
