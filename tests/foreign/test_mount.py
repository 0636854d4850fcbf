"""Foreign applications under a prefix: which paths they get, and what counts as one."""

from functools import partial

import pytest

from nardis import Nardis, Router
from nardis.testing import Client
from tests.foreign.applications import mounted
from tests.peers.asgi import body, says, start

pytestmark = pytest.mark.anyio


async def test_it_sees_the_prefix_as_root_path_and_the_whole_path():
    seen = []

    async def shows(scope, receive, send):
        seen.append((scope["root_path"], scope["path"], scope["raw_path"]))
        await says(start(), body())(scope, receive, send)

    app = mounted(shows, "/a b")
    async with Client(app) as client:
        await client.get("/a%20b/c%2Fd?x=1")
        await client.get("/a%20b")
    assert seen == [("/a b", "/a b/c/d", b"/a%20b/c%2Fd"), ("/a b", "/a b", b"/a%20b")]


async def test_a_target_that_is_a_whole_url_is_its_path():
    """Some servers pass on what they received, in `path` too."""
    seen, sent = [], []

    async def shows(scope, receive, send):
        seen.append((scope["root_path"], scope["path"], scope["raw_path"]))
        await says(start(), body())(scope, receive, send)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": "http://a/legacy/b c",
        "raw_path": b"http://a/legacy/b%20c",
        "headers": [(b"host", b"a")],
    }
    await mounted(shows)(scope, None, send)
    assert seen == [("/legacy", "/legacy/b c", b"/legacy/b%20c")]
    assert len(sent) == 2


async def test_prefixes_of_routers_add_up():
    app, router, seen = Nardis(), Router(), []

    async def shows(scope, receive, send):
        seen.append((scope["root_path"], scope["path"]))
        await says(start(), body())(scope, receive, send)

    router.mount("/b", shows)
    app.use("/a", router)
    async with Client(app) as client:
        await client.get("/a/b/c")
    assert seen == [("/a/b", "/a/b/c")]


@pytest.mark.parametrize("root", ["/x", "//x"])
@pytest.mark.parametrize("stands_in_path", [True, False])
async def test_the_root_path_of_a_server_comes_first_whether_it_is_in_the_path_or_not(
    root, stands_in_path
):
    """
    Servers do not agree on that; an application that takes the root path off gets the same in both
    cases. It is where the path begins, also if it is an odd one.
    """
    seen, sent = [], []

    async def shows(scope, receive, send):
        seen.append((scope["root_path"], scope["path"], scope["raw_path"]))
        await says(start(), body())(scope, receive, send)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": f"{root}/legacy/c" if stands_in_path else "/legacy/c",
        "root_path": f"{root}/",
        "headers": [],
    }
    await mounted(shows)(scope, None, send)
    whole = f"{root}/legacy/c"
    assert seen == [(f"{root}/legacy", whole, whole.encode())]
    assert len(sent) == 2


async def test_it_is_no_route():
    """It is neither listed nor named."""
    app = mounted(says())
    app.get("/x", handler, name="x")
    assert app.routes() == [("GET", "/x", "x")]
    assert app.url_for("x") == "/x"


async def test_beside_the_prefix_the_table_goes_on():
    app = mounted(says(start(), body(b"them")))

    @app.get("/legacyx")
    async def own(req, res):
        await res.send("own")

    async with Client(app) as client:
        assert (await client.get("/legacyx")).text == "own"
        assert (await client.get("/legacy")).text == "them"


class Two:
    """An application of ASGI 2, as a class."""

    def __init__(self, scope):
        self.scope = scope

    async def __call__(self, receive, send):
        message = await receive()
        await says(start(), body(self.scope["path"].encode() + message["body"]))(
            self.scope, receive, send
        )


def two(scope):
    """An application of ASGI 2, as a function."""

    async def inner(receive, send):
        await Two(scope)(receive, send)

    return inner


class Three:
    async def __call__(self, scope, receive, send):
        await says(start(), body(scope["path"].encode()))(scope, receive, send)


async def three(greeting, scope, receive, send):
    await says(start(), body(greeting + scope["path"].encode()))(scope, receive, send)


@pytest.mark.parametrize(
    "app", [Two, two, Three(), lambda *args: Three()(*args)], ids=["class", "function", "3", "args"]
)
async def test_asgi_2_and_3_are_told_apart(app):
    async with Client(mounted(app)) as client:
        assert (await client.get("/legacy/x")).text == "/legacy/x"


async def test_a_partial_is_looked_through():
    async with Client(mounted(partial(three, b"!"))) as client:
        assert (await client.get("/legacy/x")).text == "!/legacy/x"


async def handler(req, res):
    """A handler, which is no ASGI application."""


@pytest.mark.parametrize("thing", [None, "app", handler, Router(), Three, object()])
async def test_what_is_no_asgi_application_is_refused_with_a_hint(thing):
    with pytest.raises(TypeError, match=r"mount\(\) takes .*Router goes to use\(\)"):
        Nardis().mount("/x", thing)


async def test_a_builtin_without_a_signature_is_taken_at_its_word():
    """Compiled applications have none."""

    class Compiled:
        __signature__ = "none"

        async def __call__(self, scope, receive, send):
            await says(start(), body(b"compiled"))(scope, receive, send)

    async with Client(mounted(Compiled())) as client:
        assert (await client.get("/legacy")).text == "compiled"


async def test_a_nardis_app_can_be_mounted_too():
    """Then it is a foreign one: its errors and its 404 are its own."""
    inner = Nardis()

    @inner.get("/:name")
    async def hello(req, res):
        await res.send(f"{req.params['name']} {req.base_url}")

    async with Client(mounted(inner)) as client:
        assert (await client.get("/legacy/x")).text == "x /legacy"
        assert (await client.get("/legacy/x/y")).status_code == 404


async def test_one_that_fails_to_hear_of_the_shutdown_is_left_to_itself(caplog):
    """It took us for its runner; the others hear of it all the same."""
    app, told = Nardis(), []

    def listening(drain):
        async def mounted(scope, receive, send):
            await receive()
            scope["extensions"]["nardis.runner"].tell(drain, print)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})

        return mounted

    def fail(seconds):
        raise SystemExit(seconds)

    app.mount("/a", listening(fail))
    app.mount("/b", listening(told.append))
    async with Client(app):
        app.draining.set(3.0)
        app.draining.set(5.0)
        assert told == [3.0]

    assert "failed to hear of the shutdown" in caplog.text


async def test_one_that_asks_during_the_shutdown_hears_of_it_at_once():
    app, told = Nardis(), []

    async def slow(scope, receive, send):
        await receive()
        app.draining.set(3.0)
        scope["extensions"]["nardis.runner"].tell(told.append, print)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    app.mount("/slow", slow)
    async with Client(app):
        assert told == [pytest.approx(3.0, abs=1)]
