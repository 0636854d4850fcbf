"""`files=`: a form with files, as a browser writes it, made while the application reads it."""

from __future__ import annotations

import gc
import io
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import parse_qsl, urlencode

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multipart import MultipartSegment, PushMultipartParser

from nardis._http.media_types import parse_media_type
from nardis.errors import FieldError, UsageError
from nardis.testing import Client
from nardis.testing import forms as forms_module
from nardis.testing.forms import BLOCK_BYTES, Files, Form, MultipartForm
from nardis.types import Receive, Scope, Send

pytestmark = pytest.mark.anyio


class Found(NamedTuple):
    """A part as the parser of the library `multipart` reads it."""

    name: str | None
    filename: str | None
    content_type: str | None
    content: bytes


class Recorder:
    """An application that notes what it gets, and reads *most* messages of the body at most."""

    def __init__(self, most: int = 1_000_000) -> None:
        self.most = most
        self.headers: dict[bytes, bytes] = {}
        self.chunks: list[bytes] = []
        self.left = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers, self.chunks = dict(scope["headers"]), []
        more = True
        while more and len(self.chunks) < self.most:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left = True
                return
            self.chunks.append(message["body"])
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def parts(self) -> list[Found]:
        return parsed(self.headers[b"content-type"], [self.body])


def parsed(content_type: bytes, pieces: list[bytes]) -> list[Found]:
    """Read a form; each part has its size, and the end is there."""
    essence, parameters = parse_media_type(content_type.decode("latin-1"))
    assert essence == "multipart/form-data"
    found: list[Found] = []
    head: MultipartSegment | None = None
    content = b""
    with PushMultipartParser(parameters["boundary"], max_header_size=1 << 20) as parser:
        for event in (event for piece in pieces for event in parser.parse(piece)):
            if isinstance(event, MultipartSegment):
                head, content = event, b""
            elif event is None:
                assert head is not None
                assert head.size == len(content)
                found.append(Found(head.name, head.filename, head.content_type, content))
            else:
                content += event
    return found


async def posted(data: Form | None = None, files: Files | None = None, **headers: str) -> Recorder:
    app = Recorder()
    async with Client(app, lifespan=False) as client:
        await client.post("/", data=data, files=files, headers=headers)
    return app


def opened(path: Path | bytes) -> BinaryIO:
    return open(path, "rb")


async def gathered(form: MultipartForm) -> bytes:
    return b"".join([piece async for piece in form.pieces()])


# --- how it is written ----------------------------------------------------------------------------


async def test_a_form_is_written_byte_by_byte_as_browsers_do() -> None:
    """Fields come before files, each in its order; a boundary of the caller's own is used."""
    app = await posted(
        {"a": ["1", 2], "ü": b"\xff"},
        [("f", ("ä.txt", "x")), ("g", b"")],
        **{"Content-Type": 'multipart/form-data; boundary="a b"'},
    )

    assert app.headers[b"content-type"] == b'multipart/form-data; boundary="a b"'
    assert app.headers[b"content-length"] == b"%d" % len(app.body)
    assert app.body == (
        b'--a b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
        b'--a b\r\nContent-Disposition: form-data; name="a"\r\n\r\n2\r\n'
        b'--a b\r\nContent-Disposition: form-data; name="\xc3\xbc"\r\n\r\n\xff\r\n'
        b'--a b\r\nContent-Disposition: form-data; name="f"; filename="\xc3\xa4.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\nx\r\n"
        b'--a b\r\nContent-Disposition: form-data; name="g"; filename="upload"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n\r\n"
        b"--a b--\r\n"
    )


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ('a"b', b'"a%22b"'),
        ("a\r\nb", b'"a%0D%0Ab"'),
        ("a\nb\r", b'"a%0Ab%0D"'),
        ("a\\b%22;=", b'"a\\b%22;="'),
        ("", b'""'),
        ("\U0001f40d", b'"\xf0\x9f\x90\x8d"'),
        ("\udcff", b'"\xff"'),
    ],
)
async def test_names_are_escaped_as_browsers_do(name: str, written: bytes) -> None:
    """HTML, "Multipart form data": only quotes, CR and LF; no name has a line of its own."""
    fields: dict[Any, str] = {name: "", name.encode("utf-8", "surrogateescape"): ""}
    form = MultipartForm(fields, {name: (name, b"")})
    body = await gathered(form)

    assert body.count(b"form-data; name=" + written + b"\r\n") == 2
    assert body.count(b"form-data; name=" + written + b"; filename=" + written + b"\r\n") == 1


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (b"x", ("upload", "application/octet-stream", b"x")),
        ("ü", ("upload", "application/octet-stream", b"\xc3\xbc")),
        (bytearray(b"x"), ("upload", "application/octet-stream", b"x")),
        (memoryview(b"x"), ("upload", "application/octet-stream", b"x")),
        (("a.PNG", b"x"), ("a.PNG", "image/png", b"x")),
        (("png", b"x"), ("png", "application/octet-stream", b"x")),
        (("a.bogus", b"x"), ("a.bogus", "application/octet-stream", b"x")),
        (("", b""), ("", "application/octet-stream", b"")),
        (("a.png", b"x", "text/x-y"), ("a.png", "text/x-y", b"x")),
        (("a.png", b"x", None, {"Content-Type": "text/x-y"}), ("a.png", "text/x-y", b"x")),
        ((None, "{}"), (None, None, b"{}")),
        ((None, "{}", "application/json"), (None, "application/json", b"{}")),
    ],
)
async def test_a_file_is_a_content_or_a_tuple(
    file: Any, expected: tuple[str | None, str | None, bytes]
) -> None:
    """The type is that of the extension, if none is given; without a file name it is a field."""
    app = await posted(files={"f": file})

    assert app.parts == [Found("f", *expected)]


async def test_headers_of_a_file_replace_those_of_the_client() -> None:
    """By name in any case, and others are added in UTF-8."""
    headers = {"X-Note": "ü", "content-disposition": "form-data; name=g"}
    app = await posted(files={"f": ("a.txt", b"x", "text/csv", headers)})

    head = app.body.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    assert head == [
        b"content-disposition: form-data; name=g",
        b"Content-Type: text/csv",
        b"X-Note: \xc3\xbc",
    ]


async def test_several_files_may_have_one_name() -> None:
    """In a list of pairs, or any other iterable of them."""
    pairs: Iterator[tuple[str, bytes]] = iter([("f", b"1"), ("g", b"2"), ("f", b"3")])
    app = await posted({}, pairs)

    assert [(part.name, part.content) for part in app.parts] == [
        ("f", b"1"),
        ("g", b"2"),
        ("f", b"3"),
    ]


async def test_an_empty_mapping_of_files_makes_a_multipart_form() -> None:
    """Of the fields alone, or of nothing; without `files` it is urlencoded."""
    assert (await posted({"a": "1"}, {})).parts == [Found("a", None, None, b"1")]
    assert (await posted(None, {})).parts == []
    plain = await posted({"a": "1"})
    assert (plain.body, plain.headers[b"content-type"]) == (
        b"a=1",
        b"application/x-www-form-urlencoded",
    )


VALUES = st.text() | st.binary() | st.integers() | st.floats() | st.booleans() | st.none()
FIELDS = st.dictionaries(st.text(), VALUES | st.lists(VALUES) | st.tuples(VALUES, VALUES))


@given(FIELDS, st.booleans())
async def test_values_become_text_as_in_urlencoded_forms(
    fields: dict[str, Any], as_pairs: bool
) -> None:
    form = MultipartForm(list(fields.items()) if as_pairs else fields, {})
    parts = parsed(form.media_type, [await gathered(form)])
    pairs = parse_qsl(
        urlencode(fields, doseq=True), keep_blank_values=True, encoding="utf-8", errors="replace"
    )

    assert [part.content.decode("utf-8", "replace") for part in parts] == [
        value for _, value in pairs
    ]


# What the library reads otherwise than it was written: it decodes `%22`, `%0D` and `%0A`, whoever
# wrote them, and takes a backslash in a file name for a path of Windows.
TEXT = st.text(max_size=200).filter(lambda text: "%" not in text)
FILENAMES = TEXT.filter(lambda text: "\\" not in text)


@given(
    st.lists(st.tuples(TEXT, st.text())),
    st.lists(st.tuples(TEXT, FILENAMES, st.lists(st.binary()), st.booleans())),
    st.integers(1, 100),
)
async def test_what_is_written_is_read_by_the_library_in_any_pieces(
    fields: list[tuple[str, str]], files: list[tuple[str, str, list[bytes], bool]], size: int
) -> None:
    """Names, file names, sizes and bytes; the length is what was promised."""

    async def source(chunks: list[bytes]) -> AsyncGenerator[bytes, None]:
        for chunk in chunks:
            yield chunk

    form = MultipartForm(
        fields,
        [
            (name, (filename, source(chunks) if is_source else b"".join(chunks)))
            for name, filename, chunks, is_source in files
        ],
    )
    body = await gathered(form)
    parts = parsed(form.media_type, [body[n : n + size] for n in range(0, len(body), size)])

    assert form.length == (None if any(file[3] for file in files) else len(body))
    assert [(part.name, part.filename, part.content) for part in parts] == [
        *((name, None, value.encode()) for name, value in fields),
        *((name, filename, b"".join(chunks)) for name, filename, chunks, _ in files),
    ]


# --- the boundary ---------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"--0", b"--0\r\n", b"x\r\n--0", b"\r\n--0--"])
async def test_a_boundary_does_not_occur_in_what_is_known(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one is made; one of the caller's own is refused."""
    boundaries = iter(["0", "0", "1"])

    def token(size: int) -> str:
        return next(boundaries)

    monkeypatch.setattr(forms_module, "token_hex", token)
    app = await posted(files={"f": content})

    assert app.headers[b"content-type"] == b"multipart/form-data; boundary=1"
    assert app.parts[0].content == content
    with pytest.raises(UsageError, match="the boundary '0' .* occurs in the form"):
        await posted({"a": content}, {}, **{"Content-Type": "multipart/form-data; boundary=0"})


async def test_a_boundary_may_stand_elsewhere_in_a_content() -> None:
    """Only a line that begins with it ends a part."""
    app = await posted({"a": "x--0 0"}, {}, **{"Content-Type": "multipart/form-data; boundary=0"})

    assert app.parts == [Found("a", None, None, b"x--0 0")]


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=a; boundary=b",
        "text/plain",
        "",
    ],
)
async def test_a_content_type_without_a_boundary_is_sent_as_it_is(content_type: str) -> None:
    """So that a test can see it refused; the boundary of the body is a random one."""
    app = await posted({"a": "1"}, {}, **{"Content-Type": content_type})

    assert app.headers[b"content-type"] == content_type.encode()
    assert len(app.body.partition(b"\r\n")[0]) == len("--") + 32


async def test_each_form_has_a_boundary_of_its_own() -> None:
    forms = [MultipartForm({}, {}).media_type for _ in range(2)]

    assert forms[0] != forms[1]


# --- sources --------------------------------------------------------------------------------------


async def test_a_path_is_opened_and_closed(tmp_path: Path) -> None:
    """Its name and its size are sent; what is no regular file has no size."""
    path = tmp_path / "ä.csv"
    path.write_bytes(b"x" * (BLOCK_BYTES + 1))
    app = await posted(files={"f": path, "n": Path(os.devnull)})

    assert app.parts == [
        Found("f", "ä.csv", "text/csv", b"x" * (BLOCK_BYTES + 1)),
        Found("n", "null", "application/octet-stream", b""),
    ]
    assert app.headers[b"transfer-encoding"] == b"chunked"
    sized = await posted(files={"f": path})
    assert sized.headers[b"content-length"] == b"%d" % len(sized.body)


async def test_a_path_without_a_file_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    app = Recorder()
    async with Client(app, lifespan=False) as client:
        with pytest.raises(FileNotFoundError):
            await client.post("/", files={"f": tmp_path / "missing"})

    assert app.headers == {}


async def test_an_open_file_is_sent_from_where_it_stands_and_stays_open(tmp_path: Path) -> None:
    """With the name that it has, if that is one."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"0123456789")
    with (
        opened(path) as named,
        opened(os.fsencode(path)) as by_bytes,
        tempfile.TemporaryFile() as nameless,
    ):
        named.seek(3)
        nameless.write(b"abc")
        app = await posted(files=[("f", named), ("g", by_bytes), ("h", nameless)])
        assert [named.closed, by_bytes.closed, nameless.closed] == [False] * 3

    assert app.parts == [
        Found("f", "a.txt", "text/plain", b"3456789"),
        Found("g", "a.txt", "text/plain", b"0123456789"),
        Found("h", "upload", "application/octet-stream", b""),
    ]
    assert app.headers[b"content-length"] == b"%d" % len(app.body)


class Pipe:
    """A file that cannot seek, and whose reads are short."""

    def __init__(self, *pieces: Any) -> None:
        self.pieces = [*pieces]
        self.asked: list[int] = []

    def read(self, n: int, /) -> bytes:
        self.asked.append(n)
        return self.pieces.pop(0) if self.pieces else b""


class SeekablePipe(Pipe):
    """One that knows what it is, as files of the standard library do."""

    def seekable(self) -> bool:
        return False


@pytest.mark.parametrize("kind", [Pipe, SeekablePipe])
async def test_a_file_that_cannot_seek_is_read_to_its_end(kind: type[Pipe]) -> None:
    """In blocks, and without a length."""
    pipe = kind(b"ab", bytearray(b"c"), memoryview(b"d"))
    app = await posted(files={"f": pipe})

    assert app.parts == [Found("f", "upload", "application/octet-stream", b"abcd")]
    assert app.headers[b"transfer-encoding"] == b"chunked"
    assert pipe.asked == [BLOCK_BYTES] * 4


async def test_a_large_file_is_never_read_whole() -> None:
    """One block is read for each that the application takes; small pieces are joined to blocks."""

    class Watched(io.BytesIO):
        asked: list[int]

        def read(self, n: int | None = -1, /) -> bytes:
            self.asked.append(n or 0)
            return super().read(n)

    file = Watched(b"x" * (3 * BLOCK_BYTES + 5))
    file.asked = []
    counts: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        while more:
            await anyio.wait_all_tasks_blocked()
            counts.append(len(file.asked))
            message = await receive()
            more = message["more_body"]
            assert len(message["body"]) <= BLOCK_BYTES
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    fields = {"a": "x" * BLOCK_BYTES, "b": ["1"] * 100}
    async with Client(app, lifespan=False) as client:
        await client.post("/", data=fields, files={"f": file})

    assert file.asked == [BLOCK_BYTES] * 3 + [5]
    assert counts == [0, 0, 0, 1, 2, 3, 4, 4]


@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_blocks_are_full_but_for_the_last(more: int) -> None:
    """What is in memory comes in blocks, however it is divided into parts."""
    around = MultipartForm({"a": ["", ""]}, {}).length or 0
    form = MultipartForm({"a": ["x" * 5, "x" * (2 * BLOCK_BYTES + more - around - 5)]}, {})
    sizes = [len(piece) async for piece in form.pieces()]

    assert (
        sizes
        == {
            -1: [BLOCK_BYTES, BLOCK_BYTES - 1],
            0: [BLOCK_BYTES, BLOCK_BYTES],
            1: [BLOCK_BYTES, BLOCK_BYTES, 1],
        }[more]
    )


async def test_an_async_iterable_is_pulled_only_as_the_application_asks() -> None:
    """Part one is seen before part two was made."""
    pulled: list[int] = []
    seen: list[tuple[int, bytes]] = []

    async def chunks() -> AsyncGenerator[bytes, None]:
        for n in range(3):
            pulled.append(n)
            yield b"%d" % n

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        while more:
            message = await receive()
            await anyio.wait_all_tasks_blocked()
            seen.append((len(pulled), message["body"]))
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    async with Client(app, lifespan=False) as client:
        await client.post(
            "/",
            files=[("f", ("a", b"first", None)), ("g", chunks())],
            headers={"Content-Type": "multipart/form-data; boundary=0"},
        )

    count, first = seen.pop(0)
    assert count == 0
    assert first.count(b"first\r\n--0\r\n") == 1
    assert seen == [
        (1, b"0"),
        (2, b"1"),
        (3, b"2"),
        (3, b"\r\n--0--\r\n"),
        (3, b""),
    ]


async def test_any_async_iterable_will_do(tmp_path: Path) -> None:
    """One that has nothing to close, and an open file of anyio."""

    class Chunks:
        def __init__(self) -> None:
            self.rest: list[Any] = [b"a", bytearray(b"b")]

        def __aiter__(self) -> AsyncIterator[Any]:
            return self

        async def __anext__(self) -> Any:
            if not self.rest:
                raise StopAsyncIteration
            return self.rest.pop(0)

    path = tmp_path / "a.txt"
    path.write_bytes(b"c\nd\n")
    async with await anyio.open_file(path, "rb") as file:
        app = await posted(files=[("f", Chunks()), ("g", file)])

    contents = [(part.filename, part.content) for part in app.parts]
    assert contents == [("upload", b"ab"), ("a.txt", b"c\nd\n")]


async def test_a_form_works_with_stream_too() -> None:
    """It is no body sent by hand."""
    app = Recorder()
    async with (
        Client(app, lifespan=False) as client,
        client.stream("POST", "/", data={"a": "1"}, files={"f": Pipe(b"x")}) as response,
    ):
        assert response.status_code == 200
        with pytest.raises(UsageError, match="by hand"):
            await response.send(b"x")

    assert [part.content for part in app.parts] == [b"1", b"x"]


# --- faults ---------------------------------------------------------------------------------------


async def test_a_source_that_raises_breaks_the_body_off() -> None:
    """The application sees a client that left; the test sees what its source raised."""

    async def chunks() -> AsyncGenerator[bytes, None]:
        yield b"1"
        raise LookupError("no more")

    class Broken(Pipe):
        def read(self, n: int, /) -> bytes:
            raise LookupError("no more")

    for source in (chunks(), Broken()):
        app = Recorder()
        async with Client(app, lifespan=False) as client:
            with pytest.raises(LookupError, match="no more"):
                await client.post("/", files={"f": source})
        assert app.left


@pytest.mark.parametrize(
    ("piece", "why"), [("text", "gives bytes, not str"), (None, "gives bytes, not NoneType")]
)
async def test_a_source_of_something_else_breaks_the_body_off(piece: object, why: str) -> None:
    app = Recorder()
    async with Client(app, lifespan=False) as client:
        with pytest.raises(UsageError, match=why):
            await client.post("/", files={"f": Pipe(piece)})

    assert app.left


async def test_a_file_that_ends_before_its_size_breaks_the_body_off() -> None:
    """The length was promised: here one file is given twice."""
    app, file = Recorder(), io.BytesIO(b"abc")
    async with Client(app, lifespan=False) as client:
        with pytest.raises(UsageError, match="ended 3 bytes early"):
            await client.post("/", files=[("f", file), ("g", file)])

    assert app.left
    assert b"abc" in app.body


async def test_a_file_that_grows_is_sent_with_the_size_it_had() -> None:
    file = io.BytesIO(b"abc")
    form = MultipartForm({}, {"f": file})
    file.seek(0, os.SEEK_END)
    file.write(b"def")
    file.seek(0)
    body = await gathered(form)

    assert (len(body), parsed(form.media_type, [body])[0].content) == (form.length, b"abc")


async def test_a_file_past_its_end_is_empty() -> None:
    file = io.BytesIO(b"abc")
    file.seek(5)
    app = await posted(files={"f": file})

    assert app.parts[0].content == b""
    assert app.headers[b"content-length"] == b"%d" % len(app.body)


@pytest.mark.parametrize("leaves", ["before the source", "at its yield", "while it is pulled"])
async def test_an_early_answer_closes_a_generator_that_was_begun(leaves: str) -> None:
    """Its clean-up may await, and a task group in it is left in order."""
    log: list[str] = []

    async def chunks() -> AsyncGenerator[bytes, None]:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep_forever)
                log.append("begun")
                yield b"x"
                await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            log.append("closed")

    most = {"before the source": 1, "at its yield": 2, "while it is pulled": 2}[leaves]

    async def take(receive: Receive) -> None:
        await receive()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(most):
            await receive()
        if leaves == "while it is pulled":
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(take, receive)
                await anyio.wait_all_tasks_blocked()
                tasks.cancel_scope.cancel()
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    async with Client(app, lifespan=False) as client:
        response = await client.post("/", files={"f": chunks()})

    assert response.status_code == 200
    assert log == ([] if most == 1 else ["begun", "closed"])


async def test_an_early_answer_closes_a_path_and_leaves_a_file_open(tmp_path: Path) -> None:
    """A path that is left open is a ResourceWarning, which is an error here."""
    path = tmp_path / "a"
    path.write_bytes(b"x" * 3 * BLOCK_BYTES)
    with opened(path) as file:
        for source in (path, file):
            app = Recorder(2)
            async with Client(app, lifespan=False) as client:
                assert (await client.post("/", files={"f": source})).status_code == 200
            assert [len(chunk) for chunk in app.chunks[1:]] == [BLOCK_BYTES]
            gc.collect()
        assert not file.closed


NO_FILES: list[tuple[Any, type[Exception], str]] = [
    ({"f": 1}, UsageError, "the file 'f' is int"),
    ({"f": None}, UsageError, "the file 'f' is NoneType"),
    ({"f": [b"1", b"2"]}, UsageError, "several files of one name are a list of pairs"),
    ({None: b"x"}, UsageError, "a file has the name None"),
    ([(1, b"x")], UsageError, "a file has the name 1"),
    ({"f": io.StringIO("x")}, UsageError, "open for text: open it with mode 'rb'"),
    ({"f": ("a",)}, UsageError, "a tuple of 1"),
    ({"f": ("a", b"", None, {}, 5)}, UsageError, "a tuple of 5"),
    ({"f": ("a", b"", "a/b\r\nX: y")}, FieldError, "control character"),
    ({"f": ("a", b"", None, {"X": "a\nb"})}, FieldError, "control character"),
    ({"f": ("a", b"", None, {"X:": "a"})}, FieldError, "cannot be a header name"),
]


@pytest.mark.parametrize(("files", "error", "why"), NO_FILES)
async def test_what_is_no_file_is_refused_before_anything_is_sent(
    files: Any, error: type[Exception], why: str
) -> None:
    app = Recorder()
    async with Client(app, lifespan=False) as client:
        with pytest.raises(error, match=why):
            await client.post("/", files=files)

    assert app.headers == {}


@pytest.mark.parametrize("data", ["a=1", b"a=1", "", 1])
@pytest.mark.parametrize("files", [{"f": b"x"}, {}, None])
async def test_fields_are_a_mapping_or_pairs(data: Any, files: Any) -> None:
    """A body that was written by hand has no place in a form, and is no `data` alone either."""
    app = Recorder()
    async with Client(app, lifespan=False) as client:
        with pytest.raises(UsageError, match="data is a mapping or a list of pairs, not"):
            await client.post("/", data=data, files=files)

    assert app.headers == {}


@pytest.mark.parametrize("other", [{"content": b""}, {"json": 1}])
async def test_files_are_no_second_body(other: dict[str, Any]) -> None:
    async with Client(Recorder(), lifespan=False) as client:
        with pytest.raises(UsageError, match="one body"):
            await client.post("/", files={}, **other)


@pytest.mark.parametrize("what", ["fields", "files"])
def test_a_form_twice_as_long_is_twice_the_work(what: str, count_calls: Callable[..., int]) -> None:
    async def drain(form: MultipartForm) -> None:
        async for _ in form.pieces():
            pass

    def make(size: int) -> None:
        form = (
            MultipartForm({"a": ["x"] * size}, {})
            if what == "fields"
            else MultipartForm({}, [("f", ("a.txt", b"x"))] * size)
        )
        with pytest.raises(StopIteration):  # nothing in it waits
            drain(form).send(None)

    assert count_calls(make, 2_000) <= 2.6 * count_calls(make, 1_000)
