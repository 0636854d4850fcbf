"""
What left a call: its cancellation, which goes on, or a failure, which ends here.

One call is one failure domain. Everything that leaves it, except its own cancellation, is a failure
of that call and of nothing else: a BaseException, SystemExit out of argparse, the group that a
generator with a task group makes of being closed, a cancellation that was meant for another task.
"""

from __future__ import annotations

import math
import os
import signal
import sys
from contextlib import suppress
from types import CodeType, TracebackType
from typing import Any, Final, TypeAlias, TypeVar, cast

import anyio

from .errors import ClientDisconnected, NardisError, ResponseAborted, SkipRoute

__all__ = [
    "Carried",
    "ExcInfo",
    "as_exception",
    "copied",
    "described",
    "exc_info_of",
    "explained",
    "failure_of",
    "is_ours",
    "is_skip",
    "message_of",
    "name_of",
    "one_line",
    "parted",
    "place_of",
    "reduced",
]

E = TypeVar("E", bound=BaseException)

# The cause and the context of an error, and whether the context is not to be shown.
_Origin: TypeAlias = "tuple[BaseException | None, BaseException | None, bool]"

# Where the copy of a group keeps what the error that stands for it was raised from.
_ORIGIN: Final = "_nardis_origin"

ExcInfo: TypeAlias = "tuple[type[BaseException], BaseException, TracebackType | None]"


class Carried(NardisError):
    """
    Carries a failure that is no Exception through other people's code.

    A SystemExit that leaves a task of asyncio's stops the event loop, and such code may run us in a
    task of its own.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"the handler failed: {error!r}")
        self.error = error


def parted(exc: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """
    Split what left a call into the part that goes on and the failure; either may be None.

    What goes on: the cancellation of the running task, Ctrl-C, and the GeneratorExit of a coroutine
    that is thrown away. A cancellation in a task that is not being cancelled is a failure: the task
    awaited something that was cancelled.
    """
    if isinstance(exc, Exception):
        return None, exc
    if isinstance(exc, GeneratorExit):
        return (None, exc) if _in_event_loop() else (exc, None)
    going: tuple[type[BaseException], ...] = (KeyboardInterrupt,) if _may_be_ctrl_c() else ()
    if _is_being_cancelled():
        going = (*going, anyio.get_cancelled_exc_class())
    if isinstance(exc, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", exc).split(going)
    return (exc, None) if isinstance(exc, going) else (None, exc)


def _in_event_loop() -> bool:
    """Whether an event loop runs: a coroutine that it has left behind can no longer await."""
    try:
        anyio.get_cancelled_exc_class()
    except RuntimeError:
        return False
    return True


def _may_be_ctrl_c() -> bool:
    """Whether a KeyboardInterrupt may come of Ctrl-C: not where our own server hears the signal."""
    handler = signal.getsignal(signal.SIGINT)
    return not str(getattr(handler, "__module__", "")).startswith("nardis.server.")


def _is_being_cancelled() -> bool:
    if anyio.current_effective_deadline() == -math.inf:
        return True
    # Servers on asyncio cancel tasks, not scopes. If asyncio was never imported, it does not run.
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or anyio.get_cancelled_exc_class() is not asyncio.CancelledError:
        return False
    task: Any = asyncio.current_task()
    return bool(task.cancelling())


def failure_of(exc: BaseException) -> BaseException:
    """
    Return the failure, reduced to what there is to answer.

    Raises:
        BaseException: *exc* itself, where a cancellation is in it.
    """
    going, failure = parted(exc)
    if failure is not None and going is None:
        return reduced(failure)
    try:
        raise exc
    finally:
        del exc, going, failure  # a circle: its traceback has this frame


def reduced(error: BaseException) -> BaseException:
    """
    Reduce an exception group to what there is to answer.

    Clients that left are dropped, and so is the GeneratorExit of a generator that was closed,
    beside other errors. If one leaf remains, it stands for the group, which stays its `__cause__`.
    If none remains, the client left.
    """
    if isinstance(error, Carried):
        return error.error
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    leaves = [leaf for leaf in _leaves(group) if not isinstance(leaf, ClientDisconnected)]
    telling = [leaf for leaf in leaves if not isinstance(leaf, GeneratorExit)]
    if len(telling) > 1 or (leaves and not telling):
        return group
    leaf = telling[0] if telling else ClientDisconnected("the client left")
    if isinstance(leaf, anyio.get_cancelled_exc_class()):
        return group  # raised by itself it would be taken for a cancellation
    if not isinstance(leaf, SkipRoute):  # a signal: nobody looks at where it came from
        told: BaseException = group
        with suppress(Exception):  # of a class whose errors cannot be copied
            told = _told_of(group, leaf)
            vars(told)[_ORIGIN] = _origin_of(leaf)
        BaseException.__setattr__(leaf, "__cause__", told)  # that of a frozen dataclass refuses
    return leaf.error if isinstance(leaf, Carried) else leaf


def _told_of(error: BaseException, leaf: BaseException) -> BaseException:
    """
    Copy a group, with a copy of *leaf* in it, to be its cause: *leaf* itself there were a circle.

    All that its traceback holds would wait for the garbage collector: the whole request. The copy
    has none, which spares the log half of its lines. It has the cause that *leaf* had. Nor may the
    copy of the group lead there, by its context, or by frames of a task group's own: the
    `__aexit__` of trio's keeps what it was given.
    """
    if error is leaf:
        copy = copied(error)
        copy.__cause__, copy.__context__, copy.__suppress_context__ = _origin_of(error)
        return copy
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    told = group.derive([_told_of(each, leaf) for each in group.exceptions])
    told.__dict__.update(group.__dict__)  # its notes
    told.__cause__ = error.__cause__
    # A task group raises its group `from None`, while it handles what is in there.
    told.__context__ = None if error.__suppress_context__ else error.__context__
    told.__suppress_context__ = error.__suppress_context__
    return told.with_traceback(_joined(_own_links(group)))


def _origin_of(leaf: BaseException) -> _Origin:
    """Return what *leaf* was raised from, also where a group has been made its cause since."""
    cause = leaf.__cause__
    known: _Origin | None = None if cause is None else vars(cause).get(_ORIGIN)
    return known or (cause, leaf.__context__, leaf.__suppress_context__)


def is_skip(error: BaseException) -> bool:
    """Whether *error* is a SkipRoute, or a group of which that remains."""
    return isinstance(error, SkipRoute) or (
        isinstance(error, BaseExceptionGroup)
        and isinstance(failure_of(cast("BaseException", error)), SkipRoute)
    )


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    group = cast("BaseExceptionGroup[BaseException]", error)
    return [leaf for each in group.exceptions for leaf in _leaves(each)]


def as_exception(error: BaseException) -> Exception:
    """Return *error* as a server may see it: a BaseException could end more than this call."""
    if isinstance(error, Exception):
        return error
    aborted = ResponseAborted(f"the response was cut: its handler failed with {error!r}")
    aborted.__cause__ = error
    return aborted


# What the two event loops say of each other's functions, where no frame of the other one shows it.
_WRONG_ON_TRIO: Final = ("no running event loop", "trio.run received unrecognized yield message")
_WRONG_ON_ASYNCIO: Final = ("must be called from async context", "Task got bad yield")


def explained(error: BaseException) -> BaseException:
    """
    Add a note to an error that comes of calling the other event loop's functions.

    Tracebacks show it. An error that already has notes gets none.
    """
    is_of_a_kind = isinstance(error, (RuntimeError, AttributeError, TypeError))
    if not is_of_a_kind or hasattr(error, "__notes__"):
        return error
    if anyio.get_cancelled_exc_class().__module__.startswith("trio"):
        ours, other, said = "trio", "asyncio", _WRONG_ON_TRIO
    else:
        ours, other, said = "asyncio", "trio", _WRONG_ON_ASYNCIO
    if str(error).startswith(said) or _module_of(error).partition(".")[0] == other:
        error.add_note(
            f"This runs on {ours}, where functions of {other} do not work. Use anyio's, such as "
            f"anyio.sleep(), which run on both; or serve with `--backend {other}`, or "
            f"app.listen(backend={other!r})."
        )
    return error


def _module_of(error: BaseException) -> str:
    """Name the module in which *error* was raised."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return "" if traceback is None else str(traceback.tb_frame.f_globals.get("__name__", ""))


def copied(error: E) -> E:
    """
    Copy *error* without its traceback, which holds whatever frames it came through.

    Unlike `copy.copy` it does not call the class, whose `__init__` may want other arguments than
    those that the error has kept.
    """
    kind = type(error)
    copy = kind.__new__(kind, *error.args)
    copy.__dict__.update(error.__dict__)
    return copy


def name_of(handler: object) -> str:
    """Name a handler for a message: `module.function`."""
    name = getattr(handler, "__qualname__", None) or type(handler).__qualname__
    return f"{getattr(handler, '__module__', '?')}.{name}()"


def message_of(thing: object) -> str:
    """Return what an error, or anything else, says of itself; one whose `__str__` fails, a note."""
    try:
        # A str of a class of its own may know better how it is escaped, as markup does.
        return str.__str__(str(thing))
    except BaseException as exc:
        failure_of(exc)  # lets a cancellation go on; the rest is a failure of that `__str__`
        return f"<{type(thing).__qualname__} that fails to say more>"


def described(error: BaseException) -> str:
    """
    Return what an error says of itself, behind the name of its class where that is not ours.

    >>> described(KeyError(9999)), described(TimeoutError())
    ('KeyError: 9999', 'TimeoutError')
    >>> described(ClientDisconnected())
    'the client left'
    """
    said = message_of(error)
    if isinstance(error, NardisError):
        return said
    kind = type(error).__name__
    return f"{kind}: {said}" if said else kind


# --- for the log ----------------------------------------------------------------------------------


def one_line(text: str) -> str:
    r"""
    Write what a client sent so that it cannot be a line of the log, or a command to a terminal.

    >>> print(one_line("/a\n\x1b[2J"))
    /a\n\x1b[2J
    """
    return text.encode("unicode_escape").decode("ascii")


# The folder of Nardis, as code objects name it: that may be relative, where they were compiled
# elsewhere.
_PACKAGE: Final = parted.__code__.co_filename.removesuffix("_failures.py")

# What Nardis stands on, beside the standard library. Their frames are nobody's handler. It is here
# itself for what a dataclass generates, which has no file.
_FOUNDATIONS: Final = frozenset(
    {"anyio", "httptools", "hypercorn", "multipart", "nardis", "outcome", "trio"}
)


def exc_info_of(error: BaseException) -> ExcInfo:
    """
    Return *error* as a logger takes it, without the frames of Nardis around those of its users.

    The last frame, where it was raised, stays whosever it is. All of them stay where Nardis was
    given none of the code: the bug is ours then. The error itself keeps its whole traceback, for
    servers and test clients. So do its `__cause__`, its `__context__` and the members of a group,
    which loggers print as they are: a shorter one would have to be set on them.

    Returns:
        What the argument `exc_info` of a logger's methods takes.
    """
    links = _links(error)
    shown = error.__traceback__
    if any(_is_given(each.tb_frame.f_code, each.tb_frame.f_globals) for each in links):
        shown = _joined(
            [each for each in links[:-1] if not is_ours(each.tb_frame.f_code)] + links[-1:]
        )
    return type(error), error, shown


def _links(error: BaseException) -> list[TracebackType]:
    """List what the traceback of *error* is a chain of, from the outside in."""
    links: list[TracebackType] = []
    link = error.__traceback__
    while link is not None:
        links.append(link)
        link = link.tb_next
    return links


def _own_links(error: BaseException) -> list[TracebackType]:
    """List those that are in code of programs, or of Nardis."""
    return [
        each
        for each in _links(error)
        if is_ours(each.tb_frame.f_code) or _is_given(each.tb_frame.f_code, each.tb_frame.f_globals)
    ]


def _joined(links: list[TracebackType]) -> TracebackType | None:
    """Make a traceback anew, of links that are not changed."""
    made: TracebackType | None = None
    for each in reversed(links):
        line = each.tb_lineno or -1  # None for an instruction without a line, in spite of its type
        made = TracebackType(made, each.tb_frame, each.tb_lasti, line)
    return made


# Where the packages of others are installed: their code is not that of a program.
_INSTALLED: Final = ("site-packages", "dist-packages")


def place_of(error: BaseException) -> str:
    """
    Say in which line of a program *error* was raised, or what raised it was called.

    It is for the end of a sentence, `" (app.py, line 3)"`, and empty where no program's code is in
    its traceback, or the error says it.
    """
    given: list[tuple[bool, str, int]] = []
    for link in _links(error):
        code = link.tb_frame.f_code
        if _is_given(code, link.tb_frame.f_globals):
            folder, name = os.path.split(code.co_filename)
            is_own = not any(each in folder for each in _INSTALLED)
            given.append((is_own, name, link.tb_lineno or code.co_firstlineno))
    if isinstance(error, SyntaxError) or not given:
        return ""
    _, name, line = ([each for each in given if each[0]] or given)[-1]
    return f" ({name}, line {line})"


def is_ours(code: CodeType) -> bool:
    """Whether *code* is a part of Nardis."""
    return code.co_filename.startswith(_PACKAGE)


def _is_given(code: CodeType, names: dict[str, Any]) -> bool:
    """Whether Nardis was given *code* to run, as handlers and foreign middlewares are."""
    root = str(names.get("__name__", "")).partition(".")[0]
    return not (is_ours(code) or root in sys.stdlib_module_names or root in _FOUNDATIONS)
