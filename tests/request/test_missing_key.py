"""What a client did not send is its mistake, also where a handler looks it up as in a dict."""

from __future__ import annotations

import pickle

import pytest

from nardis import HTTPError, Nardis
from nardis.datastructures import Query
from nardis.errors import MissingKey
from nardis.testing import Client

pytestmark = pytest.mark.anyio


async def query(req):
    return req.query


async def cookies(req):
    return req.cookies


async def signed_cookies(req):
    return req.signed_cookies


async def form(req):
    return await req.form()


async def files(req):
    return (await req.form()).files


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        pytest.param(query, "the query has no 'tag'", id="query"),
        pytest.param(cookies, "there is no cookie 'tag'", id="cookie"),
        pytest.param(signed_cookies, "there is no signed cookie 'tag'", id="signed-cookie"),
        pytest.param(form, "the form has no 'tag'", id="form"),
        pytest.param(files, "the form has no file 'tag'", id="file"),
    ],
)
async def test_a_name_that_did_not_come_is_a_400_that_says_so(refusal, sent, said):
    async def looked_up(req):
        mapping = await sent(req)
        assert "tag" not in mapping
        assert mapping.get("tag") is None
        assert mapping.get("tag", "-") == "-"
        return mapping["tag"]

    answer = await refusal(looked_up, "POST", app=Nardis(secret_keys=("k" * 32,)))

    assert (answer.status_code, answer.text) == (400, f"400 Bad Request: {said}\n")


@pytest.mark.parametrize("kind", [KeyError, LookupError, HTTPError, 400])
async def test_an_error_handler_hears_of_it_by_each_of_its_kinds(kind):
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        await res.send(req.query["tag"])

    @app.error(kind)
    async def missing(err, req, res):
        await res.status(422).json({"missing": err.args[0]})

    async with Client(app) as client:
        answer = await client.get("/")

    assert (answer.status_code, answer.json()) == (422, {"missing": "tag"})


async def test_a_key_error_of_the_programs_own_stays_a_500(refusal):
    answer = await refusal(
        lambda req: req.params["id"], client={"raise_app_errors": False}, app=Nardis()
    )

    assert answer.status_code == 500


def test_it_survives_a_copy():
    with pytest.raises(MissingKey) as caught:
        Query(b"a=1")["b"]

    copy = pickle.loads(pickle.dumps(caught.value))

    assert (copy.args, copy.status, str(copy)) == (
        ("b",),
        400,
        "400 Bad Request: the query has no 'b'",
    )
