"""`behind_proxies`: any application, and the access log, see the client that proxies name."""

import pytest

from nardis._asgi.extensions import ORIGIN
from nardis._http.forwarded import compile_trust
from nardis.server.proxies import behind_proxies

pytestmark = pytest.mark.anyio

FORWARDED = [
    (b"host", b"internal"),
    (b"x-forwarded-for", b"198.51.100.7, 203.0.113.9"),
    (b"x-forwarded-proto", b"https"),
    (b"x-forwarded-host", b"example.com"),
]


@pytest.fixture
def seen():
    """Return the scope that an application sees."""

    async def seen(trust, **scope):
        found = []

        async def app(scope, receive, send):
            found.append(scope)

        given = {"type": "http", "scheme": "http", "headers": FORWARDED, "extensions": {}}
        given |= {"client": ("127.0.0.1", 5), **scope}
        await behind_proxies(app, compile_trust(trust))(given, None, None)
        return found[0]

    return seen


async def test_client_and_scheme_are_those_of_the_outermost_trusted_hop(seen):
    scope = await seen(1)
    assert (scope["client"], scope["scheme"]) == (("203.0.113.9", 0), "https")
    assert scope["extensions"][ORIGIN].host == "example.com"


async def test_a_websocket_keeps_a_scheme_of_its_own(seen):
    scope = await seen(1, type="websocket", scheme="ws")
    assert scope["scheme"] == "wss"


@pytest.mark.parametrize("headers", [FORWARDED[:1], []])
async def test_a_request_that_came_directly_is_left_as_it_is(seen, headers):
    scope = await seen(1, headers=headers)
    assert (scope["client"], scope["scheme"]) == (("127.0.0.1", 5), "http")


async def test_a_peer_that_is_not_trusted_names_nobody(seen):
    scope = await seen("10.0.0.0/8")
    assert (scope["client"], scope["scheme"]) == (("127.0.0.1", 5), "http")


async def test_behind_a_unix_socket_the_proxy_is_of_this_host(seen):
    scope = await seen("loopback", client=None, server=("/run/app.sock", None))
    assert scope["client"] == ("203.0.113.9", 0)


async def test_a_peer_without_an_address_is_not_taken_for_one_of_this_host(seen):
    """Such as a TCP client that has left already."""
    scope = await seen("loopback", client=None, server=None)
    assert (scope["client"], scope["scheme"]) == (None, "http")


@pytest.mark.parametrize(
    "more", [[(b"forwarded", b"for=1.2.3.4")], [(b"forwarded", b"proto=https")]]
)
async def test_a_client_that_nobody_knows_is_not_taken_for_the_proxy(seen, more):
    """Its address, often one of this host, could open doors."""
    scope = await seen("loopback", headers=[(b"x-forwarded-for", b"203.0.113.9"), *more])
    assert scope["client"] == ("", 0)


@pytest.mark.parametrize(("scheme", "plain"), [("https", "http"), ("wss", "ws")])
async def test_a_proxy_that_speaks_tls_to_us_may_have_a_client_that_does_not(seen, scheme, plain):
    headers = [(b"x-forwarded-for", b"203.0.113.9"), (b"x-forwarded-proto", b"http")]
    assert (await seen(1, scheme=scheme, headers=headers))["scheme"] == plain


async def test_tls_of_the_socket_stays(seen):
    scope = await seen(1, scheme="https", headers=[])
    assert scope["scheme"] == "https"
