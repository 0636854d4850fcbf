"""What an error looks like in the log: without the frames of Nardis around those of its users."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

import nardis
from nardis import Nardis, Request, Response
from nardis._failures import exc_info_of, message_of
from nardis.errors import FieldError, NoResponse
from nardis.testing import AppError, Client
from nardis.types import Next

PACKAGE = str(Path(nardis.__file__).parent)


def calls(trace: TracebackType | None) -> list[str]:
    """Name the functions of a traceback, those of Nardis with a star."""
    return [
        f"{'*' * frame.f_code.co_filename.startswith(PACKAGE)}{frame.f_code.co_name}"
        for frame, _ in traceback.walk_tb(trace)
    ]


def shown(error: BaseException) -> list[str]:
    return calls(exc_info_of(error)[2])


async def failed(app: Nardis) -> BaseException:
    """Return the error of `GET /` as the application had it, with its whole traceback."""
    async with Client(app) as client:
        with pytest.raises(AppError) as caught:
            await client.get("/")
    error = caught.value.__cause__
    assert error is not None
    return error


def wrapped(handler: Any) -> Nardis:
    """Stand a handler behind a middleware of the user's own."""
    app = Nardis()

    @app.use
    async def around(req: Request, res: Response, next: Next) -> None:
        await next()

    app.get("/", handler)
    return app


@pytest.mark.anyio
async def test_only_the_frames_of_the_user_are_left() -> None:
    async def handler(req: Request, res: Response) -> None:
        raise KeyError("k")

    error = await failed(wrapped(handler))
    before = calls(error.__traceback__)

    kind, value, trace = exc_info_of(error)

    assert (kind, value) == (KeyError, error)
    assert calls(trace) == ["around", "handler"]
    assert len([name for name in before if name[0] == "*"]) > 3
    assert calls(error.__traceback__) == before  # servers and test clients see it all


@pytest.mark.anyio
async def test_the_frame_that_raised_stays_whosever_it_is() -> None:
    async def handler(req: Request, res: Response) -> None:
        res.set("no name", "x")

    error = await failed(wrapped(handler))

    assert isinstance(error, FieldError)
    assert shown(error) == ["around", "handler", "*_check_new_name"]


@pytest.mark.anyio
async def test_the_frames_of_libraries_stay() -> None:
    async def handler(req: Request, res: Response) -> None:
        json.loads("{")

    assert shown(await failed(wrapped(handler))) == [
        "around",
        "handler",
        "loads",
        "decode",
        "raw_decode",
    ]


@pytest.mark.anyio
async def test_all_frames_stay_where_none_is_of_a_user() -> None:
    """It may be a bug of ours: the way to it is all that there is to see."""
    app = Nardis()

    @app.get("/")
    async def silent(req: Request, res: Response) -> None:
        pass

    error = await failed(app)

    assert isinstance(error, NoResponse)
    assert exc_info_of(error)[2] is error.__traceback__
    assert {name[0] for name in shown(error)} == {"*"}


def raised(source: str, **names: Any) -> BaseException:
    """Raise an error in a module of Nardis that there is not."""
    code = compile(source, f"{PACKAGE}/imagined.py", "exec")
    try:
        exec(code, {"__name__": "nardis.imagined", **names})
    except Exception as exc:
        exc.__traceback__ = exc.__traceback__ and exc.__traceback__.tb_next  # without this function
        return exc
    raise AssertionError  # pragma: no cover - it did raise


@pytest.mark.parametrize(
    "module", ["json", "anyio", "trio._core._run", "outcome", "hypercorn", "multipart", "httptools"]
)
def test_what_nardis_stands_on_is_no_users_code(module: str) -> None:
    """A fault that only they and Nardis have a part in shows every frame."""
    below: dict[str, Any] = {"__name__": module}
    exec("def below(): return 1 / 0", below)

    error = raised("def ours(): below()\nours()", below=below["below"])

    assert shown(error) == ["*<module>", "*ours", "below"]


@pytest.mark.parametrize("module", ["__main__", "app", "jsonapi", "starlette.middleware", None])
def test_everything_else_is(module: str | None) -> None:
    """Foreign middlewares too: Nardis was given them to run."""
    given: dict[str, Any] = {} if module is None else {"__name__": module}
    exec("def given(): return 1 / 0", given)

    error = raised("def ours(): given()\nours()", given=given["given"])

    assert shown(error) == ["given"]


def test_an_error_that_was_never_raised_has_no_traceback() -> None:
    error = KeyError("k")
    assert exc_info_of(error) == (KeyError, error, None)


def test_lines_are_those_of_the_error() -> None:
    try:
        raise KeyError("k")
    except KeyError as exc:
        error = exc

    trace = exc_info_of(error)[2]

    assert trace is not None
    assert error.__traceback__ is not None
    assert trace is not error.__traceback__
    assert (trace.tb_lineno, trace.tb_lasti, trace.tb_frame) == (
        error.__traceback__.tb_lineno,
        error.__traceback__.tb_lasti,
        error.__traceback__.tb_frame,
    )


def test_an_instruction_without_a_line_is_no_obstacle() -> None:
    code = compile("1 / 0", "nowhere.py", "exec").replace(co_linetable=b"")
    with pytest.raises(ZeroDivisionError) as caught:
        exec(code, {})

    assert shown(caught.value)[-1] == "<module>"


def test_a_deep_recursion_is_trimmed_as_well() -> None:
    def recursive(depth: int) -> None:
        raised_here(depth - 1) if depth else 1 / 0

    names: dict[str, Any] = {"__name__": "nardis.imagined", "recursive": recursive}
    exec(compile("def ours(depth): recursive(depth)", f"{PACKAGE}/imagined.py", "exec"), names)
    raised_here: Callable[[int], None] = names["ours"]
    with pytest.raises(ZeroDivisionError) as caught:
        recursive(200)

    assert calls(caught.value.__traceback__)[1:].count("*ours") == 200
    assert shown(caught.value)[1:] == ["recursive"] * 201


@pytest.mark.anyio
async def test_a_cause_keeps_its_whole_traceback() -> None:
    """Loggers print it from the error itself."""

    async def handler(req: Request, res: Response) -> None:
        try:
            res.set("no name", "x")
        except FieldError as exc:
            raise KeyError("k") from exc

    error = await failed(wrapped(handler))
    written = logging.Formatter().formatException(exc_info_of(error))

    first, second = written.split("direct cause")
    assert "_http/fields.py" in first.replace("\\", "/")
    assert "_sending/head.py" in first.replace("\\", "/")
    assert PACKAGE not in second
    assert 'raise KeyError("k") from exc' in second


def test_a_logger_takes_it(caplog: pytest.LogCaptureFixture) -> None:
    error = raised("def ours(): given()\nours()", given=lambda: 1 // 0)

    logging.getLogger("nardis").error("failed", exc_info=exc_info_of(error))

    [record] = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[:2] == (ZeroDivisionError, error)
    assert "imagined" not in caplog.text
    assert "<lambda>" in caplog.text


class Markup(str):
    """A str of a class of its own, as those of template engines."""


class Marked(Exception):
    def __str__(self) -> str:
        return Markup("<b>")


class Silent(Exception):
    def __str__(self) -> str:
        raise ValueError


class Endless(Exception):
    def __str__(self) -> str:
        return str(self)


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (KeyError("k"), "'k'"),
        (ValueError(), ""),
        (None, "None"),
        ("x\ud800", "x\ud800"),
        (Marked(), "<b>"),
        (Silent(), "<Silent that fails to say more>"),
        (Endless(), "<Endless that fails to say more>"),
    ],
)
def test_whatever_an_error_says_of_itself_is_a_plain_str(thing: object, message: str) -> None:
    said = message_of(thing)
    assert (said, type(said)) == (message, str)
