"""`await req.json()`: strict JSON, within limits; anything else is the client's fault."""

import json
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nardis import HTTPError, Limits, Nardis
from nardis._http.strict_json import decode_json
from nardis.testing import Client

pytestmark = pytest.mark.anyio

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    "value", [{"a": [1, 2.5, "€", None, True]}, [], "text", 0, None, False, {"": {}}]
)
async def test_json_gives_the_value(ask, value):
    assert (
        await ask(lambda req: req.json(), "POST", content=json.dumps(value).encode(), headers=JSON)
        == value
    )


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "application/problem+json",
        "Application/JSON",
    ],
)
async def test_json_types_are_read(ask, content_type):
    assert await ask(
        lambda req: req.json(), "POST", content=b"[1]", headers={"content-type": content_type}
    ) == [1]


async def test_a_body_without_a_content_type_is_read_as_json(ask):
    assert await ask(lambda req: req.json(), "POST", content=b"[1]") == [1]


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "nonsense", ""],
)
async def test_another_content_type_is_a_415(refusal, content_type):
    """Also because a browser sends these across origins without asking first."""
    response = await refusal(
        lambda req: req.json(), "POST", content=b"[1]", headers={"content-type": content_type}
    )

    assert response.status_code == 415
    assert "JSON" in response.text


async def test_the_415_comes_before_the_body_is_read():
    app, pulled = Nardis(), []

    @app.post("/")
    async def handler(req, res):
        with pytest.raises(HTTPError):
            await req.json()
        await res.send({"pulled": len(pulled)})

    async def upload():
        pulled.append(1)
        yield b"[]"

    async with Client(app) as client:
        response = await client.post("/", content=upload(), headers={"content-type": "text/plain"})

    assert response.json() == {"pulled": 0}


MALFORMED = [
    b"",
    b" ",
    b"{",
    b"[1,]",
    b"{'a': 1}",
    b'{"a": 1,}',
    b"[1] [2]",
    b"01",
    b"+1",
    b".5",
    b"1.",
    b"NaN",
    b"[Infinity]",
    b'{"a": -Infinity}',
    b"nul",
    b'"tab\there"',
    b'"\\x41"',
    b"// comment\n1",
    b'"\xff"',
    b'"\xed\xa0\x80"',
    b"\xef\xbb\xbf[]",
    "[1]".encode("utf-16"),
    "[1]".encode("utf-32-le"),
    b"1" * 5000,
    b"[" * 201 + b"]" * 201,
    b'{"a":' * 201 + b"1" + b"}" * 201,
    b"[" * 100_000,
    b"[" * 100_000 + b"]" * 100_000,
]


TOO_GREAT = [
    b"1e9999",
    b"-1E400",
    b"[0, 1e+309]",
    b'{"a": {"b": [-1.5e999]}}',
    b"1" * 400 + b".5",
    b"1" * 300 + b"e10",
    b"0.4e00669999999999",
]


@pytest.mark.parametrize("content", TOO_GREAT, ids=lambda content: repr(content[:20]))
async def test_a_number_beyond_a_double_is_a_400(refusal, content):
    """Python makes infinity of it, and no JSON could say that again."""
    response = await refusal(lambda req: req.json(), "POST", content=content, headers=JSON)

    assert response.status_code == 400
    assert "too great" in response.text
    assert len(response.text) < 200


async def test_the_400_of_a_number_shows_it(refusal):
    response = await refusal(lambda req: req.json(), "POST", content=b"[2e308]", headers=JSON)

    assert response.text.rstrip().endswith(
        "the number 2e308 in the JSON body is too great: at most about 1.8e308 is taken"
    )


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"1.7976931348623157e308", sys.float_info.max),
        (b"-1.7976931348623157E+308", -sys.float_info.max),
        (b"1e-9999", 0.0),
        (b"0e9999", 0.0),
        (b"9" * 4300, int("9" * 4300)),
        (b'"1e9999"', "1e9999"),
    ],
    ids=lambda content: repr(content)[:20],
)
async def test_every_other_number_is_taken(ask, content, value):
    assert await ask(lambda req: req.json(), "POST", content=content, headers=JSON) == value


LONE = [
    b'"\\ud800"',
    b'"\\uDFFF"',
    b'["a", {"b": "\\uD83D!"}]',
    b'{"\\ud800": 1}',
    b'{"a": {"\\uDc00": 1}}',
    b'"\\ude00\\ud83d"',
    b'"\\ud83d\\ud83d\\ude00"',
    b'"\\ud83d \\ude00"',
    b'"\\\\\\ud800"',
]


@pytest.mark.parametrize("content", LONE)
async def test_half_of_a_surrogate_pair_is_a_400(refusal, content):
    """Such a text has no UTF-8, so it could be neither sent nor written to a file or a database."""
    response = await refusal(lambda req: req.json(), "POST", content=content, headers=JSON)

    assert response.status_code == 400
    assert response.text.rstrip().endswith(
        "the JSON body has half of a surrogate pair, which is no character: \\ud800 or its like"
    )


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'{"\\uD83D\\uDE00": "\\uDBFF\\uDFFF"}', {"\U0001f600": "\U0010ffff"}),
        (b'"\\\\ud800"', "\\ud800"),
        (b'"\\ud7ff\\ue000"', "\ud7ff\ue000"),
        (b'"\\uFFFF"', "\uffff"),
    ],
)
async def test_a_whole_surrogate_pair_is_one_character(ask, content, value):
    assert await ask(lambda req: req.json(), "POST", content=content, headers=JSON) == value


async def test_the_400_of_a_byte_order_mark_says_so(refusal):
    """It cannot be seen in an editor."""
    response = await refusal(
        lambda req: req.json(), "POST", content=b"\xef\xbb\xbf{}", headers=JSON
    )

    assert "it begins with a byte order mark" in response.text


@pytest.mark.parametrize("content", MALFORMED, ids=lambda content: repr(content[:20]))
async def test_anything_that_is_not_json_is_a_400(refusal, content):
    response = await refusal(lambda req: req.json(), "POST", content=content, headers=JSON)

    assert response.status_code == 400
    assert "JSON" in response.text


async def test_the_400_of_a_syntax_error_says_where_it_is(refusal):
    response = await refusal(
        lambda req: req.json(), "POST", content=b'{"a": 1,\n "b" 2}', headers=JSON
    )

    assert "line 2" in response.text


async def test_the_depth_limit_is_the_applications(ask, refusal):
    app = Nardis(limits=Limits(json_depth=2))

    assert await ask(
        lambda req: req.json(), "POST", content=b"[[1], [2], {}]", headers=JSON, app=app
    ) == [[1], [2], {}]
    response = await refusal(
        lambda req: req.json(),
        "POST",
        content=b'[{"a": []}]',
        headers=JSON,
        app=Nardis(limits=Limits(json_depth=2)),
    )
    assert response.status_code == 400
    assert "2 levels" in response.text


@pytest.mark.parametrize("chunked", [True, False])
async def test_json_keeps_the_limit(refusal, chunked):
    async def pieces():
        yield b"[1"
        yield b"]"

    content = pieces() if chunked else b"[1]"

    assert (
        await refusal(lambda req: req.json(limit=2), "POST", content=content, headers=JSON)
    ).status_code == 413


async def test_json_is_decoded_from_the_kept_body_each_time(ask):
    """So that nobody sees the changes of another."""

    async def twice(req):
        first = await req.json()
        first.append(2)
        return await req.json()

    assert await ask(twice, "POST", content=b"[1]", headers=JSON) == [1]


class Codec:
    """What `Nardis(json=...)` takes: here one that decodes to tuples."""

    def __init__(self, error=None):
        self.error = error

    def loads(self, data):
        if self.error is not None:
            raise self.error
        return ("decoded", data)

    def dumps(self, obj):
        raise AssertionError  # pragma: no cover: for responses


async def test_the_codec_of_the_application_decodes(ask):
    assert await ask(
        lambda req: req.json(), "POST", content=b"[1]", headers=JSON, app=Nardis(json=Codec())
    ) == (
        "decoded",
        b"[1]",
    )


async def test_a_module_with_loads_is_a_codec(ask):
    assert await ask(
        lambda req: req.json(), "POST", content=b"[1]", headers=JSON, app=Nardis(json=json)
    ) == [1]


async def test_the_depth_limit_holds_for_a_codec_too(refusal):
    app = Nardis(json=json, limits=Limits(json_depth=1))

    assert (
        await refusal(lambda req: req.json(), "POST", content=b"[[]]", headers=JSON, app=app)
    ).status_code == 400


@pytest.mark.parametrize("content", [*TOO_GREAT, *LONE, b"NaN", b"[Infinity]", b'{"a": -Infinity}'])
async def test_what_could_not_be_sent_again_is_a_400_for_a_codec_too(refusal, content):
    """Python's own takes all of these."""
    json.loads(content)
    response = await refusal(
        lambda req: req.json(), "POST", content=content, headers=JSON, app=Nardis(json=json)
    )

    assert response.status_code == 400


async def test_else_the_rules_of_the_codec_hold(ask):
    """Here it takes a byte order mark, and two keys that are no text."""

    class Codec:
        dumps = staticmethod(json.dumps)

        def loads(self, data):
            return {1: json.loads(data.decode("utf-8-sig")), None: (float("inf"),)}

    value = await ask(
        lambda req: req.json(),
        "POST",
        content=b"\xef\xbb\xbf[1.5]",
        headers=JSON,
        app=Nardis(json=Codec()),
    )

    assert value == {1: [1.5], None: (float("inf"),)}


@pytest.mark.parametrize(
    "error",
    [ValueError("no"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), RecursionError("deep")],
)
async def test_a_codec_that_refuses_is_a_400(refusal, error):
    app = Nardis(json=Codec(error))

    assert (
        await refusal(lambda req: req.json(), "POST", content=b"[1]", headers=JSON, app=app)
    ).status_code == 400


# --- properties of the decoder --------------------------------------------------------------------

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def accepted(body, depth=200):
    """False for a 400; any other error passes outward."""
    try:
        decode_json(body, depth)
    except HTTPError as exc:
        if exc.status == 400:
            return False
        raise  # pragma: no cover: there is no other
    return True


@given(
    st.binary(max_size=60)
    | st.text(alphabet='[]{}",:0123456789.eE+-truefalsn \\u\t\n', max_size=40).map(str.encode)
)
@example(b"[" * 100_000)
@example(b"9" * 100_000)
@example(b"1e" + b"9" * 400)
def test_any_bytes_give_a_value_or_a_400(body):
    """And a value only where Python's own decoder, which takes more, gives the same one."""
    if accepted(body):
        assert decode_json(body, 200) == json.loads(body)


@given(json_values)
def test_what_is_json_comes_back_as_it_was(value):
    assert (
        decode_json(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"), 200)
        == value
    )


@given(st.from_regex(r"-?(0|[1-9][0-9]{0,3})(\.[0-9]{1,3})?([eE][+-]?[0-9]{1,4})?", fullmatch=True))
@example("1e308")
@example("1.8e308")
def test_a_number_is_taken_if_and_only_if_it_is_finite(text):
    if accepted(f"[{text}]".encode()):
        assert decode_json(text.encode(), 1) == float(text)
    else:
        assert float(text) in (float("inf"), float("-inf"))


halves = st.text("\ud800\udbff\udc00\udfff\\u\U0001f600d8", max_size=5)


@given(halves, halves)
def test_a_text_is_taken_if_and_only_if_it_has_utf_8(key, text):
    """Whatever its neighbours are, and where it stands; Python joins two halves where they meet."""
    body = json.dumps([{key: text}]).encode()
    value = json.loads(body)

    try:
        "".join(each for pair in value[0].items() for each in pair).encode()
    except UnicodeEncodeError:
        assert not accepted(body)
    else:
        assert decode_json(body, 2) == value


@given(st.integers(1, 60), st.lists(st.booleans(), min_size=60, max_size=60), st.integers(0, 20))
def test_the_depth_limit_is_exact(depth, objects, siblings):
    """Whatever the containers are, and however many lie beside each other."""
    value = 0
    for is_object in objects[:depth]:
        value = {"a": value} if is_object else [value]
    body = json.dumps([*([] for _ in range(siblings)), value]).encode()

    assert accepted(body, depth + 1)
    assert not accepted(body, depth)


@given(st.text(alphabet='[]{}"\\', max_size=30))
def test_brackets_in_a_string_are_no_levels(text):
    assert decode_json(json.dumps(text).encode(), 1) == text


def test_a_depth_beyond_what_python_can_decode_is_a_400():
    assert not accepted(b"[" * 100_000 + b"]" * 100_000, sys.maxsize)


@pytest.mark.parametrize("charset", ["utf-16", "ibm037", "latin-1", "nonsense"])
async def test_a_body_that_names_another_charset_than_utf_8_is_a_415(refusal, charset):
    """A filter in front of us that believes it reads another text."""
    headers = {"content-type": f"application/json; charset={charset}"}
    response = await refusal(lambda req: req.json(), "POST", content=b"[]", headers=headers)
    assert response.status_code == 415
    assert "UTF-8" in response.text


@pytest.mark.parametrize("charset", ["UTF-8", "utf8", "us-ascii"])
async def test_utf_8_by_another_of_its_names_is_utf_8(ask, charset):
    headers = {"content-type": f"application/json; charset={charset}"}
    assert await ask(lambda req: req.json(), "POST", content=b"[]", headers=headers) == []
