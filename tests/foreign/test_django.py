"""A Django ASGI application under `mount`. Django knows asyncio only."""

import asyncio
import gc
import logging
import sys
from types import ModuleType

import django
import pytest
from django.core.asgi import get_asgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path, reverse

from nardis import Nardis
from nardis.testing import Client
from tests.peers.driver import rest

pytestmark = pytest.mark.anyio

written, left = [], []
entered = asyncio.Event()


async def where(request):
    return HttpResponse(
        f"{request.path} {request.path_info} {reverse('where')}", headers={"x-django": "yes"}
    )


async def stream(request):
    async def chunks():
        for n in range(100):
            written.append(n)
            yield b"%03d" % n

    return StreamingHttpResponse(chunks())


async def slow(request):
    try:
        entered.set()
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        left.append("slow")
        raise


async def ticks(request):
    async def chunks():
        try:
            while True:
                yield b"tick"
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            left.append("ticks")
            raise

    return StreamingHttpResponse(chunks())


def size(request):
    """A view that blocks; Django runs it in a thread."""
    return HttpResponse(str(len(request.body)))


@pytest.fixture(scope="module")
def django_app():
    from django.conf import settings  # at the top doctest looks into it, which wants it configured

    urls = ModuleType("tests_foreign_django_urls")
    urls.urlpatterns = [
        path("where", where, name="where"),
        path("stream", stream),
        path("size", size),
    ]
    urls.urlpatterns += [path("slow", slow), path("ticks", ticks)]
    sys.modules[urls.__name__] = urls
    settings.configure(
        ROOT_URLCONF=urls.__name__,
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="tests",
        MIDDLEWARE=[],
        LOGGING_CONFIG=None,
    )
    django.setup()
    logging.getLogger("django").setLevel(logging.CRITICAL)
    yield get_asgi_application()
    del sys.modules[urls.__name__]


@pytest.fixture(params=[("asyncio", {})], ids=["asyncio"])
def anyio_backend(request):
    return request.param


@pytest.fixture
def app(django_app):
    app = Nardis()

    @app.use
    async def around(req, res, next):
        res.set("x-around", "yes")
        await next()

    app.mount("/legacy", django_app)
    return app


async def test_it_knows_where_it_stands(app):
    async with Client(app) as client:
        response = await client.get("/legacy/where")
    assert response.text == "/legacy/where /where /legacy/where"
    assert (response.headers["x-django"], response.headers["x-around"]) == ("yes", "yes")


async def test_its_404_is_its_own(app):
    async with Client(app) as client:
        response = await client.get("/legacy/nothing")
    assert (response.status_code, "Not Found" in response.text) == (404, True)


async def test_it_reads_a_body(app):
    async with Client(app) as client:
        assert (await client.post("/legacy/size", content=bytes(100_000))).text == "100000"


async def test_its_streams_are_not_gathered(app):
    written.clear()
    async with Client(app) as client, client.stream("GET", "/legacy/stream") as response:
        assert await response.read(3) == b"000"
        await asyncio.sleep(0)
        await rest()
        assert len(written) <= 3
        assert len(await response.read()) == 297


@pytest.mark.parametrize("name", ["slow", "ticks"])
async def test_its_views_end_when_the_client_leaves(app, name, caplog):
    """
    It runs them in tasks of asyncio's own, which cancellation of ours would not reach: it is told,
    and cancels them.
    """
    left.clear()
    async with Client(app) as client:
        async with client.stream("GET", f"/legacy/{name}") as response:
            await (entered.wait() if name == "slow" else anext(response))
        assert left == [name]
    gc.collect()
    assert "never retrieved" not in caplog.text
