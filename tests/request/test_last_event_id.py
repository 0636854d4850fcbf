"""`req.last_event_id`: where a client that comes back goes on."""

from __future__ import annotations

import pytest

from nardis import Nardis
from nardis.testing import Client

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({}, ""),
        ({"last-event-id": "41"}, "41"),
        ({"last-event-id": b"\xc3\xa9\xf0\x9f\x8e\x89"}, "é🎉"),
        ({"last-event-id": b"\xff"}, "\ufffd"),
    ],
    ids=["none", "ascii", "utf-8", "latin-1"],
)
async def test_the_last_id_is_what_the_client_says(sent, expected):
    """Browsers send it in UTF-8: WHATWG HTML §9.2.4."""
    app, seen = Nardis(), []

    @app.get("/")
    async def index(req, res):
        seen.append(req.last_event_id)
        await res.send("")

    async with Client(app) as client:
        await client.get("/", headers=sent)

    assert seen == [expected]
