"""A Django ASGI application under `mount`. Django knows asyncio only."""

import asyncio
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
from tests.foreign.peers import rest

pytestmark = pytest.mark.anyio

written = []


async def where(request):
    return HttpResponse(f"{request.path} {request.path_info} {reverse('where')}", headers={"x-django": "yes"})


async def stream(request):
    async def chunks():
        for n in range(100):
            written.append(n)
            yield b"%03d" % n

    return StreamingHttpResponse(chunks())


def size(request):
    """A view that blocks; Django runs it in a thread."""
    return HttpResponse(str(len(request.body)))


@pytest.fixture(scope="module")
def django_app():
    from django.conf import settings  # at the top doctest looks into it, which wants it configured

    urls = ModuleType("tests_foreign_django_urls")
    urls.urlpatterns = [path("where", where, name="where"), path("stream", stream), path("size", size)]
    sys.modules[urls.__name__] = urls
    settings.configure(ROOT_URLCONF=urls.__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="tests", MIDDLEWARE=[], LOGGING_CONFIG=None)
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
