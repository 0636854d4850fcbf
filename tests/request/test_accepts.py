"""`req.accepts()`: what the client likes best. The rules themselves are tested in `tests/http`."""

import pytest

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("accept", "offers", "best"),
    [
        ("text/html, application/json;q=0.5", ("json", "html"), "html"),
        ("application/json", ("json", "html"), "json"),
        ("application/*", ("text/plain", "application/json"), "application/json"),
        ("image/png", ("json", "html"), None),
        ("text/html;q=0", ("html",), None),
        ("*/*", ("json", "html"), "json"),
    ],
)
async def test_accepts_gives_the_clients_first_choice_as_it_was_offered(ask, accept, offers, best):
    assert await ask(lambda req: req.accepts(*offers), headers={"accept": accept}) == best


async def test_without_an_accept_field_the_first_offer_wins(ask):
    assert await ask(lambda req: req.accepts("json", "html")) == "json"


async def test_without_offers_accepts_lists_what_the_client_likes(ask):
    assert await ask(lambda req: req.accepts(), headers={"accept": "text/html;q=0.5, a/b"}) == [
        "a/b",
        "text/html",
    ]
