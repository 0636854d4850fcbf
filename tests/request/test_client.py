"""Who asks, through the proxies that are trusted: the rules are tested in `tests/http`."""

import pytest

from nardis import Nardis, UsageError
from nardis._http.forwarded import ClientSide
from nardis.testing import Client

pytestmark = pytest.mark.anyio

FORWARDED = {
    "host": "internal:3000",
    "x-forwarded-for": "198.51.100.7, 10.0.0.2",
    "x-forwarded-proto": "https",
    "x-forwarded-host": "api.shop.example.com:8443",
}


def who(req):
    return (req.ip, req.ips, req.protocol, req.secure, req.host, req.hostname, req.subdomains)


async def test_without_trust_the_socket_and_the_host_field_count(ask):
    assert await ask(who, headers=FORWARDED) == (
        "127.0.0.1",
        [],
        "http",
        False,
        "internal:3000",
        "internal",
        [],
    )


@pytest.mark.parametrize(
    ("trust", "ip", "ips"),
    [
        (1, "10.0.0.2", ["10.0.0.2"]),
        (2, "198.51.100.7", ["198.51.100.7", "10.0.0.2"]),
        ("loopback, 10.0.0.0/8", "198.51.100.7", ["198.51.100.7", "10.0.0.2"]),
        (["loopback"], "10.0.0.2", ["10.0.0.2"]),
        ("192.0.2.0/24", "127.0.0.1", []),
    ],
)
async def test_a_trusted_proxy_names_the_client(ask, trust, ip, ips):
    app = Nardis(trust_proxy=trust)
    assert await ask(lambda req: (req.ip, req.ips), app=app, headers=FORWARDED) == (ip, ips)


async def test_scheme_and_host_are_those_the_client_used(ask):
    app = Nardis(trust_proxy=1)
    assert (await ask(who, app=app, headers=FORWARDED))[2:] == (
        "https",
        True,
        "api.shop.example.com:8443",
        "api.shop.example.com",
        ["shop", "api"],
    )


async def test_what_the_server_has_found_out_is_not_looked_for_again(ask):
    """A second walk would believe one proxy more than it should."""
    origin = ClientSide("203.0.113.9", [], "https", "example.com")
    client = {"extensions": {"nardis.origin": origin}}
    app = Nardis(trust_proxy=1)
    seen = await ask(who, app=app, client=client, headers=FORWARDED)
    assert seen == ("203.0.113.9", [], "https", True, "example.com", "example.com", [])


async def test_the_list_of_addresses_is_a_new_one_each_time(ask):
    def look(req):
        req.ips.append("evil")
        return req.ips

    assert await ask(look, app=Nardis(trust_proxy=1), headers=FORWARDED) == ["10.0.0.2"]


async def test_a_request_without_a_host_has_an_empty_name(ask):
    def look(req):
        return (req.host, req.hostname, req.subdomains)

    client = {"http_version": "1.0"}
    assert await ask(look, client=client, headers={"host": ""}) in [("", "", []), (None, "", [])]


@pytest.mark.parametrize(
    ("field", "xhr"),
    [("XMLHttpRequest", True), ("xmlhttprequest", True), ("x", False), (None, False)],
)
async def test_xhr_is_what_a_script_says(ask, field, xhr):
    headers = {} if field is None else {"x-requested-with": field}
    assert await ask(lambda req: req.xhr, headers=headers) is xhr


@pytest.mark.parametrize("trust", ["nonsense", -1, ["10.0.0.0/99"], "10.0.0.1,,x"])
def test_trust_in_nonsense_is_refused_when_the_application_is_made(trust):
    with pytest.raises(UsageError):
        Nardis(trust_proxy=trust)


# --- allowed hosts --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("example.com", 200),
        ("EXAMPLE.com:8000", 200),
        ("a.b.example.org", 200),
        ("example.org", 400),
        ("evil.test", 400),
        ("example.com.evil.test", 400),
        ("", 400),
    ],
)
async def test_only_allowed_hosts_are_answered_for(host, status):
    app = Nardis(allowed_hosts=["example.com", "*.example.org"])

    @app.get("/")
    async def index(req, res):
        await res.send("x")

    async with Client(app) as client:
        response = await client.get("/", headers={"host": host})
    assert response.status_code == status
    assert "evil" not in response.text


async def test_behind_a_proxy_the_host_that_the_client_used_is_looked_at():
    app = Nardis(allowed_hosts=["example.com"], trust_proxy=1)

    @app.get("/")
    async def index(req, res):
        await res.send("x")

    async with Client(app, headers={"host": "internal"}) as client:
        good = await client.get("/", headers={"x-forwarded-host": "example.com"})
        bad = await client.get("/", headers={"x-forwarded-host": "evil.test"})
    assert (good.status_code, bad.status_code) == (200, 400)


@pytest.mark.parametrize("hosts", ["example.com", ["http://example.com"], ["a:80"], [""]])
def test_hosts_that_no_host_can_be_are_refused_when_the_application_is_made(hosts):
    with pytest.raises(UsageError):
        Nardis(allowed_hosts=hosts)


@pytest.mark.parametrize(("host", "denied"), [(b"evil.test", True), (b"example.com", False)])
async def test_the_opening_of_a_websocket_is_held_to_them_too(host, denied):
    app, sent, entered = Nardis(allowed_hosts=["example.com"]), [], []

    @app.use
    async def guard(req, res, next):
        entered.append(req.hostname)
        await res.status(403).send()

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    extensions = {"websocket.http.response": {}}
    scope = {"type": "websocket", "path": "/", "headers": [(b"host", host)]}
    await app({**scope, "extensions": extensions}, receive, send)
    assert sent[0]["status"] == (400 if denied else 403)
    assert entered == ([] if denied else ["example.com"])
