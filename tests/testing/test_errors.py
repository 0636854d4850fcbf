"""What the application raises, and how the test learns of it."""

import anyio
import pytest

from nardis.errors import ClientDisconnected
from nardis.testing import AppError, Client

pytestmark = pytest.mark.anyio

START, BODY = "http.response.start", "http.response.body"


async def raises_before(scope, receive, send):
    raise KeyError("before")


async def raises_after(scope, receive, send):
    await send({"type": START, "status": 200})
    await send({"type": BODY, "body": b"half", "more_body": True})
    raise KeyError("after")


async def raises_past_the_end(scope, receive, send):
    await send({"type": START, "status": 200})
    await send({"type": BODY, "body": b"whole"})
    raise KeyError("past")


async def answers_500(scope, receive, send):
    scope["extensions"]["nardis.errors"].extend([KeyError("first"), KeyError("second")])
    await send({"type": START, "status": 500})
    await send({"type": BODY, "body": b"sorry"})


@pytest.mark.parametrize("app", [raises_before, raises_after, raises_past_the_end, answers_500])
async def test_an_exception_is_raised_from_the_call(app):
    """With the handler's own as its cause, so that a report shows its traceback."""
    async with Client(app, lifespan=False) as client:
        with pytest.raises(AppError, match=r"GET /x: the app raised KeyError") as caught:
            await client.get("/x")

    assert isinstance(caught.value.__cause__, KeyError)


async def test_the_first_reported_error_counts():
    """The application answered 500 itself, and told the client why."""
    async with Client(answers_500, lifespan=False) as client:
        with pytest.raises(AppError, match="first"):
            await client.get("/")


@pytest.mark.parametrize(
    ("app", "status", "content", "complete"),
    [
        (raises_before, 500, b"", False),
        (raises_after, 200, b"half", False),
        (raises_past_the_end, 200, b"whole", False),
        (answers_500, 500, b"sorry", True),
    ],
)
async def test_errors_can_be_left_to_the_response(app, status, content, complete):
    """Then the test sees what a peer would see."""
    async with Client(app, lifespan=False, raise_app_errors=False) as client:
        response = await client.get("/")

    assert (response.status_code, response.content, response.complete) == (
        status,
        content,
        complete,
    )


async def test_an_exception_before_the_head_is_raised_on_entering_a_stream():
    """There is nothing to stream."""
    async with Client(raises_before, lifespan=False) as client:
        with pytest.raises(AppError, match="before"):
            async with client.stream("GET", "/"):
                pytest.fail("there is a response")  # pragma: no cover - must not happen


async def test_an_exception_after_the_head_is_raised_once_by_reading():
    """The bytes before it stay readable, and leaving the block is quiet about it."""
    async with (
        Client(raises_after, lifespan=False) as client,
        client.stream("GET", "/") as response,
    ):
        with pytest.raises(AppError, match="after"):
            await response.read()
        assert await response.read() == b"half"
        assert not response.complete


async def test_an_exception_that_no_read_met_is_raised_on_leaving():
    """It was not there yet when the last read came back."""
    with pytest.raises(AppError, match="past"):
        async with (
            Client(raises_past_the_end, lifespan=False) as client,
            client.stream("GET", "/") as response,
        ):
            assert await response.read(5) == b"whole"


async def test_an_exception_while_the_body_is_sent_by_hand():
    """A chunk that will not be received tells why, and so does asking for a head."""
    go = anyio.Event()

    async def app(scope, receive, send):
        await receive()
        await go.wait()
        raise KeyError("up")

    async with Client(app, lifespan=False) as client:
        async with client.stream("POST", "/") as response:
            await response.send(b"x")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.wait_all_tasks_blocked)
                go.set()
            with pytest.raises(AppError, match="up"):
                await response.send(b"y")
        async with client.stream("POST", "/") as response:
            await response.send(b"x")
            with pytest.raises(AppError, match="up"):
                await response.head()


class ClientDisconnect(Exception):
    """As Starlette has one."""


@pytest.mark.parametrize(
    "error",
    [
        ClientDisconnected(),
        ClientDisconnect(),
        ExceptionGroup("", [ClientDisconnected(), ClientDisconnect()]),
    ],
    ids=repr,
)
async def test_that_the_client_left_is_not_an_error(error):
    """When it did, and the application says so by raising."""

    async def app(scope, receive, send):
        await receive()
        await receive()
        raise error

    async with Client(app, lifespan=False) as client:
        async with client.stream("GET", "/") as response:
            await response.disconnect()


async def test_it_is_an_error_when_the_client_did_not_leave():
    """An application that sees ghosts has a bug."""

    async def app(scope, receive, send):
        raise ClientDisconnected

    async with Client(app, lifespan=False) as client:
        with pytest.raises(AppError):
            await client.get("/")


@pytest.mark.parametrize("grouped", [False, True])
async def test_other_errors_after_a_disconnect_are_reported(grouped):
    """A clean-up that fails is a bug of the application."""

    async def app(scope, receive, send):
        await receive()
        await receive()
        raise (
            ExceptionGroup("", [ClientDisconnected(), KeyError("clean-up")])
            if grouped
            else KeyError("clean-up")
        )

    async with Client(app, lifespan=False) as client:
        with pytest.raises(AppError, match="clean-up"):
            async with client.stream("GET", "/") as response:
                await response.disconnect()


async def test_an_error_is_not_raised_over_another_exception():
    """The test's own goes first; what was not seen is raised when the client closes."""
    with pytest.raises(AppError, match="after"):
        async with Client(raises_after, lifespan=False) as client:
            with pytest.raises(LookupError):
                async with client.stream("GET", "/") as response:
                    assert await response.read(4) == b"half"
                    raise LookupError


async def test_what_is_no_exception_ends_the_client():
    """Such as `pytest.fail()` in a handler: it comes out of the task group."""

    class Stop(BaseException):
        pass

    async def app(scope, receive, send):
        raise Stop

    with pytest.raises(BaseExceptionGroup) as caught:
        async with Client(app, lifespan=False) as client:
            await client.get("/")
    assert caught.group_contains(Stop)
