"""`req.access_fields`: what a handler adds to its request's line in the access log."""

import pytest

from nardis import Nardis
from nardis.testing import Client

pytestmark = pytest.mark.anyio


def add(req):
    req.access_fields["user"] = 7
    return req.access_fields


async def test_fields_stand_in_the_notes_apart_from_those_of_nardis(ask):
    notes = {"close_reason": None}

    fields = await ask(add, client={"extensions": {"nardis.access": notes}})

    assert notes == {"close_reason": None, "fields": {"user": 7}}
    assert notes["fields"] is fields


async def test_without_an_access_log_they_are_kept_for_the_request(ask):
    assert await ask(add) == {"user": 7}


async def test_who_adds_none_leaves_the_notes_alone(ask):
    notes = {}

    await ask(lambda req: None, client={"extensions": {"nardis.access": notes}})

    assert notes == {}


async def test_a_mounted_application_adds_to_the_same_fields():
    app, inner, notes = Nardis(), Nardis(), {}

    @app.use
    async def outside(req, res, next):
        req.access_fields["tenant"] = "a"
        await next()

    @inner.get("/")
    async def handler(req, res):
        req.access_fields["user"] = 7
        await res.send()

    app.mount("/inner", inner)
    async with Client(app, extensions={"nardis.access": notes}) as client:
        await client.get("/inner/")

    assert notes == {"fields": {"tenant": "a", "user": 7}}
