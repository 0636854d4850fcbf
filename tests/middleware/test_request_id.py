"""`request_id()`: a name for each request, in its answer and in the logs."""

import logging
import time
import uuid
from contextlib import asynccontextmanager

import anyio
import pytest

from nardis import HTTPError, Nardis, UsageError
from nardis._asgi.extensions import ACCESS
from nardis.errors import FieldError
from nardis.middleware import RequestIDFilter, current_request_id, request_id
from nardis.testing import Client

pytestmark = pytest.mark.anyio


def numbered():
    """Make ids that can be told apart at a glance."""
    numbers = iter(range(1, 100))
    return lambda: f"r{next(numbers)}"


@asynccontextmanager
async def serving(handler=None, **options):
    app = Nardis()
    app.use(request_id(**{"make": numbered(), **options}))

    @app.get("/")
    async def index(req, res):
        await (res.json(req.state.request_id) if handler is None else handler(req, res))

    async with Client(app, raise_app_errors=False) as client:
        yield client


# --- the id ---------------------------------------------------------------------------------------


async def test_each_request_has_an_id_of_its_own():
    async with serving() as client:
        answers = [await client.get("/") for _ in range(2)]

    assert [answer.headers["x-request-id"] for answer in answers] == ["r1", "r2"]
    assert [answer.json() for answer in answers] == ["r1", "r2"]


async def test_an_id_that_is_made_is_a_uuid_that_sorts_by_time(monkeypatch):
    now = time.time_ns()
    app = Nardis()
    app.use(request_id())
    async with Client(app) as client:
        ids = []
        for later in range(3):
            monkeypatch.setattr("time.time_ns", lambda at=now + later * 1_000_000: at)
            ids.append((await client.get("/")).headers["x-request-id"])
    made = [uuid.UUID(each) for each in ids]

    assert ids == sorted(set(ids))
    assert {(each.version, each.variant) for each in made} == {(7, uuid.RFC_4122)}
    assert [each.int >> 80 for each in made] == [now // 1_000_000 + later for later in range(3)]
    assert {len(each) for each in ids} == {32}


@pytest.mark.parametrize(
    ("trust", "taken"),
    [
        (False, False),
        (True, True),
        (lambda req: req.client[0] == "127.0.0.1", True),
        (lambda req: req.client[0] == "192.0.2.1", False),
    ],
)
async def test_the_id_of_a_request_is_taken_from_who_is_trusted(trust, taken):
    async with serving(trust=trust) as client:
        answer = await client.get("/", headers={"X-Request-ID": "theirs"})

    assert answer.headers["x-request-id"] == ("theirs" if taken else "r1")


@pytest.mark.parametrize(
    ("proxy", "fields", "taken"),
    [
        ("loopback", {"x-forwarded-for": "198.51.100.7"}, True),
        ("loopback", {}, False),
        ("192.0.2.1", {"x-forwarded-for": "198.51.100.7"}, False),
    ],
)
async def test_that_of_a_trusted_proxy_is_known_by_the_addresses_it_wrote(proxy, fields, taken):
    app = Nardis(trust_proxy=proxy)
    app.use(request_id(trust=lambda req: bool(req.ips), make=numbered()))
    async with Client(app) as client:
        answer = await client.get("/", headers={"x-request-id": "theirs", **fields})

    assert answer.headers["x-request-id"] == ("theirs" if taken else "r1")


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("3f2c-._~+/=:;@Z", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("", False),
        ("a b", False),
        ('a"', False),
        ("a\\n", False),
        ("a\x1b[2J", False),
        ("é", False),
        ("%0a", False),
    ],
)
async def test_only_a_sane_id_is_taken(given, taken):
    """One that no form of log can be led astray by."""
    async with serving(trust=True) as client:
        answer = await client.get("/", headers={"X-Request-ID": given})

    assert answer.headers["x-request-id"] == (given if taken else "r1")


async def test_of_two_fields_none_is_taken():
    async with serving(trust=True) as client:
        answer = await client.get("/", headers=[("X-Request-ID", "a"), ("X-Request-ID", "b")])

    assert answer.headers["x-request-id"] == "r1"


async def test_the_field_can_have_another_name():
    async with serving(trust=True, field="X-Correlation-ID") as client:
        answer = await client.get("/", headers={"X-Correlation-ID": "a", "X-Request-ID": "b"})

    assert answer.headers["x-correlation-id"] == "a"
    assert "x-request-id" not in answer.headers


@pytest.mark.parametrize("status", [304, 404, 405, 410, 500])
async def test_each_answer_has_it(status):
    async def handler(req, res):
        if status == 500:
            raise KeyError
        if status == 410:
            raise HTTPError(410)
        await res.etag("v1").send("x")

    async with serving(handler) as client:
        method, path = {404: ("GET", "/else"), 405: ("PUT", "/")}.get(status, ("GET", "/"))
        answer = await client.request(method, path, headers={"if-none-match": '"v1"'})

    assert (answer.status_code, answer.headers["x-request-id"]) == (status, "r1")


async def test_the_access_log_has_it():
    notes = {}
    app = Nardis()
    app.use(request_id(make=numbered()))
    async with Client(app, extensions={ACCESS: notes}) as client:
        await client.get("/")

    assert notes["fields"] == {"request_id": "r1"}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"field": "X Request"}, FieldError),
        ({"trust": anyio.sleep}, UsageError),
        ({"trust": "loopback"}, UsageError),
        ({"trust": 1}, UsageError),
        ({"make": "x"}, UsageError),
        ({"make": anyio.sleep}, UsageError),
    ],
)
def test_mistakes_are_found_when_it_is_made(options, error):
    """An async `trust` would trust anybody: what it returns is never false."""
    with pytest.raises(error):
        request_id(**options)


# --- the context ----------------------------------------------------------------------------------


async def test_outside_of_a_request_there_is_none():
    assert current_request_id() is None


async def test_tasks_threads_and_deferred_calls_have_it():
    seen = {}

    def note(where):
        seen[where] = current_request_id()

    async def noted(where):
        note(where)

    def rows():
        note("generator")
        yield b"row"

    async def handler(req, res):
        note("handler")
        async with anyio.create_task_group() as group:
            group.start_soon(noted, "task")
        await anyio.to_thread.run_sync(note, "thread")
        req.defer(noted, "deferred")
        await res.pipe(rows())

    async with serving(handler) as client:
        await client.get("/")

    assert seen == dict.fromkeys(["handler", "task", "thread", "generator", "deferred"], "r1")


async def test_it_is_gone_behind_the_middleware():
    seen = []
    app = Nardis()

    @app.use
    async def around(req, res, next):
        await next()
        seen.append(current_request_id())

    app.use(request_id())
    async with Client(app) as client:
        await client.get("/")

    assert seen == [None]


class Lines(logging.Handler):
    """A handler that keeps its lines."""

    def __init__(self):
        super().__init__()
        self.setFormatter(logging.Formatter("%(request_id)s %(levelname)s"))
        self.addFilter(RequestIDFilter())
        self.lines = []

    def emit(self, record):
        self.lines.append(self.format(record).splitlines()[0])


@pytest.fixture
def lines():
    handler = Lines()
    logging.getLogger().addHandler(handler)
    yield handler.lines
    logging.getLogger().removeHandler(handler)


async def test_log_records_have_it(lines):
    async def handler(req, res):
        logging.getLogger("shop").warning("low on tea")
        await res.send("ok")

    async with serving(handler) as client:
        await client.get("/")
    logging.getLogger("shop").warning("closing")

    assert lines == ["r1 WARNING", "- WARNING"]


async def test_a_record_keeps_the_id_that_it_has(lines):
    """Behind a queue it is another thread that handles it."""
    logging.getLogger("shop").warning("sold", extra={"request_id": "r9"})

    assert lines == ["r9 WARNING"]


@pytest.mark.parametrize("past_the_head", [False, True])
async def test_what_nardis_logs_of_a_failure_has_it_and_nothing_later(lines, past_the_head):
    """That is logged outside of all middlewares, by a task that may serve other requests."""
    seen = []

    async def handler(req, res):
        if past_the_head:
            await res.write("x")
        raise KeyError

    app = Nardis()
    app.get("/", request_id(make=numbered()), handler)

    async def answer(scope, receive, send):
        try:
            await app(scope, receive, send)
        finally:
            seen.append((scope["type"], current_request_id()))

    async with Client(answer, raise_app_errors=False) as client:
        await client.get("/")

    assert lines == ["r1 ERROR"]
    assert seen == [("http", None), ("lifespan", None)]
