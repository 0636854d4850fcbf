"""`req.accepts_encodings()`, `accepts_charsets()`, `accepts_languages()` (RFC 9110 §12.5)."""

import pytest

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("method", "field", "value", "offers", "best"),
    [
        ("encodings", "accept-encoding", "gzip;q=0.5, br", ("gzip", "br"), "br"),
        ("encodings", "accept-encoding", "gzip", ("br",), None),
        ("encodings", None, None, ("gzip",), None),
        ("encodings", None, None, ("gzip", "identity"), "identity"),
        ("charsets", "accept-charset", "utf-8", ("iso-8859-1", "utf-8"), "utf-8"),
        ("charsets", None, None, ("utf-8",), "utf-8"),
        ("languages", "accept-language", "de-CH, en;q=0.8", ("en", "fr"), "en"),
        ("languages", "accept-language", "de, en;q=0.8", ("en", "de-CH"), "de-CH"),
        ("languages", "accept-language", "fr", ("en", "de"), None),
        ("languages", None, None, ("en", "de"), "en"),
    ],
)
async def test_the_clients_first_choice_comes_as_it_was_offered(
    ask, method, field, value, offers, best
):
    headers = {} if field is None else {field: value}
    choose = f"accepts_{method}"
    assert await ask(lambda req: getattr(req, choose)(*offers), headers=headers) == best


@pytest.mark.parametrize(
    ("method", "field", "value", "wanted"),
    [
        ("encodings", "accept-encoding", "gzip;q=0.5, br", ["br", "gzip", "identity"]),
        ("charsets", "accept-charset", "a, b;q=0.9", ["a", "b"]),
        ("languages", "accept-language", "en;q=0.8, de-CH", ["de-CH", "en"]),
    ],
)
async def test_without_offers_the_clients_list_comes(ask, method, field, value, wanted):
    choose = f"accepts_{method}"
    assert await ask(lambda req: getattr(req, choose)(), headers={field: value}) == wanted
