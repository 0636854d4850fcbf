"""`res.set() .get() .append() .remove()` and `res.headers`."""

import pytest

from nardis.errors import FieldError, HeadersAlreadySent

pytestmark = pytest.mark.anyio


async def test_set_sets_and_chains(serve):
    async def handler(req, res):
        assert res.set("X-One", "1") is res
        await res.set("x-two", 2).send()

    headers = (await serve(handler)).headers

    assert (headers["x-one"], headers["x-two"]) == ("1", "2")


async def test_set_takes_a_mapping(serve):
    async def handler(req, res):
        assert res.set({"X-One": "1", "x-two": 2}) is res
        await res.send()

    headers = (await serve(handler)).headers

    assert (headers["x-one"], headers["x-two"]) == ("1", "2")


async def test_set_replaces_every_line_of_a_name_at_the_place_of_the_first(serve):
    async def handler(req, res):
        res.append("x-a", "1").set("x-b", "2").append("x-a", "3").append("x-c", "4")
        await res.set("X-A", "5").send()

    assert (await serve(handler)).headers.pairs()[:3] == [("x-a", "5"), ("x-b", "2"), ("x-c", "4")]


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("json", "application/json; charset=utf-8"),
        ("html", "text/html; charset=utf-8"),
        ("text/html", "text/html"),
        ("application/json", "application/json"),
    ],
)
async def test_a_content_type_without_a_slash_is_an_extension(serve, value, sent):
    """A media type is sent as it is: what is passed on from elsewhere may have another charset."""

    async def handler(req, res):
        await res.set("Content-Type", value).end("x")

    assert (await serve(handler)).headers["content-type"] == sent


async def test_append_adds_a_line(serve):
    async def handler(req, res):
        assert res.append("Set-Cookie", "a=1") is res
        await res.append("set-cookie", "b=2").append("x-n", 3).send()

    headers = (await serve(handler)).headers

    assert headers.get_all("set-cookie") == ["a=1", "b=2"]
    assert headers["x-n"] == "3"


async def test_get_tells_what_was_set(serve):
    async def handler(req, res):
        res.set("x-one", " 1 ")
        await res.send({"one": res.get("X-ONE"), "none": res.get("x-none")})

    assert (await serve(handler)).json() == {"one": "1", "none": None}


async def test_remove_takes_every_line_away_and_does_not_mind_if_there_is_none(serve):
    async def handler(req, res):
        res.append("x-a", "1").append("x-a", "2")
        assert res.remove("X-A") is res
        await res.remove("x-none").send()

    assert "x-a" not in (await serve(handler)).headers


async def test_headers_is_a_mapping_to_change(serve):
    async def handler(req, res):
        res.headers["X-A"] = "1"
        res.headers.update({"x-b": "2", "x-c": "3"})
        del res.headers["x-c"]
        assert dict(res.headers) == {"x-a": "1", "x-b": "2"}
        await res.send()

    headers = (await serve(handler)).headers

    assert (headers["x-a"], headers["x-b"], headers.get("x-c")) == ("1", "2", None)


SETTERS = [
    pytest.param(lambda res, name, value: res.set(name, value), id="set"),
    pytest.param(lambda res, name, value: res.set({name: value}), id="set-mapping"),
    pytest.param(lambda res, name, value: res.append(name, value), id="append"),
    pytest.param(lambda res, name, value: res.headers.__setitem__(name, value), id="headers"),
]


@pytest.mark.parametrize("put", SETTERS)
@pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nb", "a\rb", "a\0b"])
async def test_a_line_break_in_a_value_is_refused(failure, put, value):
    """Response splitting (RFC 9110 §5.5). The message hides the value, which may be a secret."""

    async def handler(req, res):
        put(res, "x-note", value)

    error = await failure(handler)

    assert isinstance(error, FieldError)
    assert "'x-note'" in str(error)
    assert "control character" in str(error)
    assert "evil" not in str(error)


@pytest.mark.parametrize("put", SETTERS)
@pytest.mark.parametrize("name", ["", "x note", "x:note", "x\r\nnote", "ü"])
async def test_a_name_that_is_no_token_is_refused(failure, put, name):
    async def handler(req, res):
        put(res, name, "1")

    assert isinstance(await failure(handler), FieldError)


@pytest.mark.parametrize("put", SETTERS)
@pytest.mark.parametrize(
    ("value", "word"), [(b"1", "bytes"), (1.5, "float"), (True, "bool"), (["a"], "list")]
)
async def test_a_value_that_is_neither_text_nor_number_is_refused(failure, put, value, word):
    async def handler(req, res):
        put(res, "x-note", value)

    error = await failure(handler)

    assert isinstance(error, FieldError)
    assert f"not {word}" in str(error)
    assert "'x-note'" in str(error)


async def test_a_name_of_bytes_is_refused(failure):
    async def handler(req, res):
        res.set(b"x-note", "1")

    error = await failure(handler)

    assert isinstance(error, FieldError)
    assert "a str, not bytes" in str(error)


@pytest.mark.parametrize(
    "call", [lambda res: res.set("x-note"), lambda res: res.set("x-note", None)]
)
async def test_a_value_left_out_points_to_remove(failure, call):
    async def handler(req, res):
        call(res)

    error = await failure(handler)

    assert isinstance(error, FieldError)
    assert "needs a value" in str(error)
    assert "res.remove('x-note')" in str(error)


AFTER = [
    pytest.param(lambda res: res.set("x-late", "1"), "set header 'x-late'", id="set"),
    pytest.param(lambda res: res.set({"x-late": "1"}), "set header 'x-late'", id="set-mapping"),
    pytest.param(lambda res: res.append("x-late", "1"), "append header 'x-late'", id="append"),
    pytest.param(lambda res: res.remove("x-late"), "remove header 'x-late'", id="remove"),
    pytest.param(
        lambda res: res.headers.__setitem__("x-late", "1"), "set header 'x-late'", id="headers"
    ),
    pytest.param(
        lambda res: res.headers.__delitem__("x-early"), "remove header 'x-early'", id="del"
    ),
    pytest.param(lambda res: res.type("html"), "set type 'html'", id="type"),
    pytest.param(lambda res: res.vary("x-late"), "set header 'vary'", id="vary"),
    pytest.param(lambda res: res.location("/"), "set header 'location'", id="location"),
    pytest.param(lambda res: res.on_head(print), "on_head hook", id="on_head"),
    pytest.param(lambda res: res.filter(None), "filter", id="filter"),
]


@pytest.mark.parametrize(("change", "words"), AFTER)
async def test_a_change_after_the_head_is_refused_by_name(failure, change, words):
    async def handler(req, res):
        await res.set("x-early", "1").write("x")
        change(res)

    error = await failure(handler)

    assert isinstance(error, HeadersAlreadySent)
    assert words in str(error)
    assert "already started with status 200" in str(error)
    assert "before the first write()" in str(error)


@pytest.mark.parametrize(("change", "words"), AFTER)
async def test_a_change_after_the_end_is_refused_as_well(failure, change, words):
    async def handler(req, res):
        await res.set("x-early", "1").send("x")
        change(res)

    error = await failure(handler)

    assert isinstance(error, HeadersAlreadySent)
    assert words in str(error)


@pytest.mark.parametrize(
    "name", ["connection", "keep-alive", "transfer-encoding", "upgrade", "proxy-connection"]
)
async def test_http2_gets_no_connection_specific_field(serve, name):
    """Which would make the message malformed (RFC 9113 §8.2.2)."""

    async def handler(req, res):
        await res.set(name, "x").set("x-kept", "1").send()

    headers = (await serve(handler, client={"http_version": "2"})).headers

    assert name not in headers
    assert headers["x-kept"] == "1"


async def test_http1_gets_its_connection_field(serve):
    async def handler(req, res):
        await res.set("connection", "close").send()

    assert (await serve(handler)).headers["connection"] == "close"


async def test_a_malformed_length_is_the_handlers_fault(failure, seen_by_client):
    async def handler(req, res):
        await res.set("content-length", "five").write("12345")

    assert isinstance(await failure(handler), FieldError)
    assert (await seen_by_client(handler)).status_code == 500
