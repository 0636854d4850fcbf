"""What Express 5 answers, as far as Nardis means to answer the same."""

import json
from pathlib import Path

import pytest

from nardis import Nardis
from nardis.testing import Client

pytestmark = pytest.mark.anyio

FOLDER = Path(__file__).parents[1] / "vectors"
ROWS = json.loads((FOLDER / "response_vectors.json").read_text())["vectors"]
REDIRECTS = [
    row
    for row in json.loads((FOLDER / "location_vectors.json").read_text())["vectors"]
    if row["op"] == "redirect"
]
VECTORS = [row for row in ROWS if row["op"] == "response"]


async def broken(res):
    raise KeyError("handler")


# The handler of each row: what it does with `res`.
HANDLERS = {
    "send string": lambda res: res.send("hi"),
    "send object": lambda res: res.send({"a": 1}),
    "send undefined": lambda res: res.send(),
    "send true": lambda res: res.send(True),
    "type then string": lambda res: res.type("text/plain").send("€"),
    "204 with body": lambda res: res.status(204).send("x"),
    "304 with body": lambda res: res.status(304).send("x"),
    "if-none-match *": lambda res: res.send("hello"),
    "post is never 304": lambda res: res.send("hello"),
    "json": lambda res: res.json({"a": "<&>"}),
    "sendStatus 299": lambda res: res.send_status(299),
    'status "200"': lambda res: res.status("200").send("x"),
    "type html": lambda res: res.type("html").end("x"),
    "type png": lambda res: res.type("png").end("x"),
    "type image/png": lambda res: res.type("image/png").end("x"),
    "links": lambda res: res.links({"next": "/p2", "last": "/p5", "a": ["/x", "/y"]}).end(),
    "attachment": lambda res: res.attachment("x.pdf").end(),
    "throw error": broken,
    "async reject": broken,
}

# Python has no `undefined`: `res.json(None)` is `null`.
LEFT_OUT = {"json undefined"}

# On purpose: only a GET or HEAD that is answered by 200, or by 304, has an ETag of its own accord.
UNTAGGED = {"204 with body", "304 with body", "post is never 304", "sendStatus 299"}

# On purpose: the page of an error is Nardis' own. Its status and the two fields that guard it
# are Express's.
OWN_PAGES = {'status "200"', "throw error", "async reject", "no handler"}


@pytest.mark.parametrize(
    "row", [row for row in VECTORS if row["name"] not in LEFT_OUT], ids=lambda row: row["name"]
)
async def test_express_agrees(row):
    app = Nardis()
    if row["name"] in HANDLERS:

        async def handler(req, res):
            await HANDLERS[row["name"]](res)

        app.method(row["method"], "/", handler)
    own_page = row["name"] in OWN_PAGES

    async with Client(
        app, raise_app_errors=not own_page, headers={"accept": "text/html"}
    ) as client:
        response = await client.request(row["method"], "/", headers=row["request_headers"])

    sent, expected = dict(response.headers), dict(row["headers"])
    if row["name"] in UNTAGGED:
        del expected["etag"]
    assert response.status_code == row["status"]
    if own_page:
        del sent["content-length"], expected["content-length"]
        assert sent == {**expected, "vary": "Accept"}
    else:
        assert sent == expected
        assert response.text == row["body"]


def test_each_row_has_its_handler():
    assert {row["name"] for row in VECTORS} == HANDLERS.keys() | {"no handler"} | LEFT_OUT


# On purpose: a redirect has a status of 300 to 399, and the URL comes first.
NO_REDIRECT = 999


@pytest.mark.parametrize(
    "row",
    [row for row in REDIRECTS if row["status"] != NO_REDIRECT],
    ids=lambda row: f"{row['args']} for {row['accept']}",
)
async def test_express_redirects_alike(row):
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        await res.redirect(row["args"][-1], row["status"])

    async with Client(app, headers={"accept": row["accept"]}) as client:
        response = await client.get("/")

    assert (response.status_code, response.text) == (row["status"], row["body"])
    assert [response.headers.get(name) for name in ("location", "content-type", "vary")] == [
        row["location"],
        row["content_type"],
        row["vary"],
    ]
