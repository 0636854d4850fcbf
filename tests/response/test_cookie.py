"""`res.cookie()`, `res.clear_cookie()` and `req.signed_cookies` (RFC 6265)."""

from datetime import UTC, datetime, timedelta

import pytest

from nardis import Nardis
from nardis.errors import FieldError, HeadersAlreadySent, UsageError
from nardis.testing import Client

pytestmark = pytest.mark.anyio

KEY, NEWER = "k" * 32, "n" * 32


def cookies_of(response):
    return response.headers.get_all("set-cookie")


async def sent(serve, *calls, **options):
    async def handler(req, res):
        for args, more in calls:
            assert res.cookie(*args, **more) is res
        await res.send()

    return cookies_of(await serve(handler, **options))


async def test_a_cookie_is_for_this_site_and_no_script_unless_it_says_otherwise(serve):
    assert await sent(serve, (("sid", "a b"), {})) == ["sid=a%20b; Path=/; HttpOnly; SameSite=Lax"]


async def test_attributes_are_what_was_asked_for(serve):
    options = {
        "max_age": timedelta(minutes=1),
        "expires": datetime(2030, 1, 1, tzinfo=UTC),
        "path": "/admin",
        "domain": "example.com",
        "secure": True,
        "http_only": False,
        "same_site": "none",
        "partitioned": True,
    }
    [line] = await sent(serve, (("a", "1"), options))
    assert set(line.split("; ")) == {
        "a=1",
        "Max-Age=60",
        "Expires=Tue, 01 Jan 2030 00:00:00 GMT",
        "Path=/admin",
        "Domain=example.com",
        "Secure",
        "SameSite=None",
        "Partitioned",
    }


@pytest.mark.parametrize(("scheme", "secure"), [("http", False), ("https", True)])
async def test_over_tls_a_cookie_is_secure_by_itself(serve, scheme, secure):
    app = Nardis(trust_proxy=1)
    [line] = await sent(serve, (("a", "1"), {}), app=app, headers={"x-forwarded-proto": scheme})
    assert ("Secure" in line.split("; ")) is secure


async def test_the_last_of_a_name_and_place_counts(serve):
    calls = [
        (("a", "1"), {}),
        (("b", "1"), {}),
        (("a", "2"), {"path": "/x"}),
        (("a", "3"), {"domain": "example.com"}),
        (("a", "4"), {}),
    ]
    lines = await sent(serve, *calls)
    assert [line.partition(";")[0] for line in lines] == ["b=1", "a=2", "a=3", "a=4"]


@pytest.mark.parametrize("name", ["sid", "__Host-sid", "__Secure-sid", "__Http-sid"])
async def test_clear_cookie_lets_it_expire_where_it_was_set(serve, name):
    async def handler(req, res):
        assert res.clear_cookie(name) is res
        await res.send()

    [line] = cookies_of(await serve(handler))
    assert line.startswith(f"{name}=; ")
    assert {"Expires=Thu, 01 Jan 1970 00:00:00 GMT", "Path=/"} < set(line.split("; "))
    assert ("Secure" in line) is name.startswith("__")


async def test_a_cookie_for_other_sites_is_cleared_as_it_was_set(serve):
    options = {"same_site": "none", "secure": True, "partitioned": True}

    async def handler(req, res):
        res.clear_cookie("a").cookie("a", "1", **options)
        await res.clear_cookie("b", **options).send()

    old, new, cleared = cookies_of(await serve(handler))
    assert (old.partition(";")[0], new.partition(";")[0]) == ("a=", "a=1")
    assert {"SameSite=None", "Secure", "Partitioned"} < set(cleared.split("; "))


async def test_clear_cookie_takes_back_what_was_just_set(serve):
    async def handler(req, res):
        res.cookie("a", "1", path="/x", domain="example.com")
        await res.clear_cookie("a", path="/x", domain="Example.com").send()

    [line] = cookies_of(await serve(handler))
    assert line.startswith("a=; ")


@pytest.mark.parametrize(
    ("name", "value", "options"),
    [("a b", "1", {}), ("a", 1, {}), ("a", "1", {"same_site": "none"}), ("__Host-a", "1", {})],
)
async def test_what_browsers_refuse_is_refused_here(failure, name, value, options):
    async def handler(req, res):
        res.cookie(name, value, **options)

    assert isinstance(await failure(handler), FieldError)


async def test_after_the_head_no_cookie_can_be_set(failure):
    async def handler(req, res):
        await res.write("x")
        res.cookie("a", "secret")

    error = await failure(handler)
    assert isinstance(error, HeadersAlreadySent)
    assert "'a'" in str(error)
    assert "secret" not in str(error)


# --- signed ---------------------------------------------------------------------------------------


def signing(*keys):
    app = Nardis(secret_keys=keys)

    @app.get("/set")
    async def set_cookie(req, res):
        await res.cookie("user", "Zoë", signed=True).cookie("other", "1").send()

    @app.get("/get")
    async def get_cookies(req, res):
        await res.json(dict(req.signed_cookies))

    return app


async def test_a_signed_cookie_comes_back_as_it_was_set():
    async with Client(signing(KEY)) as client:
        response = await client.get("/set")
        assert (await client.get("/get")).json() == {"user": "Zoë"}
    assert "Zo%C3%AB" in cookies_of(response)[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda name, value: (name, value[:-1]),
        lambda name, value: (name, "x" + value),
        lambda name, value: ("admin", value),
        lambda name, value: (name, "Zoë"),
        lambda name, value: (name, ""),
    ],
)
async def test_a_changed_one_or_one_of_another_name_is_left_out(change):
    async with Client(signing(KEY)) as client:
        await client.get("/set")
        value = client.cookies.pop("user")
        name, value = change("user", value)
        client.cookies[name] = value.encode().decode("latin-1")
        assert (await client.get("/get")).json() == {}


async def test_an_older_key_still_verifies_and_a_removed_one_does_not():
    async with Client(signing(KEY)) as client:
        await client.get("/set")
        jar = client.cookies
    for keys, found in [((NEWER, KEY), {"user": "Zoë"}), ((NEWER,), {})]:
        async with Client(signing(*keys)) as client:
            client.cookies.update(jar)
            assert (await client.get("/get")).json() == found


async def test_without_keys_signing_says_what_is_missing(failure):
    async def handler(req, res):
        res.cookie("a", "1", signed=True)

    async def reader(req, res):
        await res.json(req.signed_cookies)

    for each in (handler, reader):
        error = await failure(each, headers={"cookie": "a=1"})
        assert isinstance(error, UsageError)
        assert "secret_keys" in str(error)


@pytest.mark.parametrize("keys", [["short"], [b"x" * 31], "k" * 32])
def test_keys_that_are_too_short_are_refused_when_the_application_is_made(keys):
    with pytest.raises(UsageError):
        Nardis(secret_keys=keys)
