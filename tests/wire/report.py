"""
What each server gives and lacks: a pytest plugin for the session `servers`.

What is known to be impossible on a server stands in `LACKS`, with the reason. Such a test is
expected to fail, and the session fails when it no longer does. Outcomes are gathered by row and
server, and make the table of docs/servers.md.
"""

from __future__ import annotations

import platform
import re
import resource
from collections.abc import Generator, Iterator
from datetime import date
from importlib.metadata import version

import pytest

from tests.peers import client
from tests.wire.servers import COMMANDS, ROOT, renew

PAGE = ROOT / "docs" / "servers.md"
BEGIN, END = "<!-- nox -s servers writes what follows -->", "<!-- nox -s servers wrote this -->"

# More than any server here needs; one that gathers without end shall fail, and not take the machine
# with it.
MOST_MEMORY_BYTES = 2 * 1024**3

# By its name in the table: whose version counts, and what it runs on.
SERVERS = {
    "nardis serve": ("nardis", {"trio": "hypercorn-trio", "asyncio": "hypercorn-asyncio"}),
    "hypercorn": ("hypercorn", {"trio": "stock-trio", "asyncio": "stock-asyncio"}),
    "anycorn": ("anycorn", {"trio": "anycorn-trio", "asyncio": "anycorn-asyncio"}),
    "uvicorn": ("uvicorn", {"h11": "uvicorn-h11", "httptools": "uvicorn-httptools"}),
    "granian": ("granian", {"": "granian"}),
    "daphne": ("daphne", {"": "daphne"}),
}

# Each promise's facts, and the tests that show them.
ROWS = {
    "a slow reader holds the handler back": [
        "test_a_producer_stays_close_to_a_client_that_stopped_reading"
    ],
    "an upload that nobody reads is held": ["test_an_upload_that_nobody_reads_is_held_back"],
    "an upload is answered while it goes up": [
        "test_an_echo_answers_each_chunk_before_the_next_is_sent"
    ],
    "256 MiB come down, memory stays": ["test_256_mebibytes_come_down"],
    "256 MiB go up, memory stays": ["test_256_mebibytes_go_up"],
    "the client leaves while the handler waits": [
        "test_a_handler_is_cancelled_before_its_first_byte",
        "test_a_handler_is_cancelled_behind_a_small_body_that_it_does_not_read",
        "test_a_handler_is_cancelled_when_its_client_resets_a_used_connection",
    ],
    "… is idle in mid-stream": ["test_a_handler_is_cancelled_while_idle_mid_stream"],
    "… writes": [
        "test_a_handler_is_cancelled_while_it_writes_now_and_then",
        "test_a_handler_is_cancelled_while_it_writes_without_pause",
    ],
    "… reads": ["test_a_handler_is_cancelled_while_it_reads"],
    "… leaves a large upload unread": [
        "test_a_handler_is_cancelled_behind_a_large_body_that_it_does_not_read"
    ],
    "a failed response looks cut: in chunks": ["test_a_failure_mid_stream_sends_no_last_chunk"],
    "… with a length": ["test_a_failure_cuts_a_response_of_declared_length"],
    "a failure before the head is a 500": [
        "test_a_first_write_beyond_the_declared_length_is_a_500",
        "test_a_failure_before_the_head_is_a_500_that_says_nothing",
        "test_an_abort_before_the_head_is_an_empty_500_that_closes",
    ],
    "an early answer is readable": [
        "test_a_413_for_a_declared_length_is_readable_by_a_client_that_keeps_sending",
        "test_a_413_while_streaming_is_readable_by_a_client_that_keeps_sending",
        "test_a_413_reaches_a_client_that_waits_for_it",
    ],
    "… and keeps the connection, if little is unread": [
        "test_a_body_up_to_the_limit_passes",
        "test_a_small_body_that_nobody_read_does_not_cost_the_connection",
    ],
    "`Expect`: no 100 before the handler reads": [
        "test_an_expectation_is_refused_before_the_body_is_sent",
        "test_an_expectation_is_not_met_by_waiting",
        "test_an_expectation_is_met_by_the_first_read",
    ],
    "every answer leaves the connection ready": [
        "test_a_connection_serves_on_after_an_answer",
        "test_pipelined_requests_are_answered_in_order",
        "test_head_of_a_stream_answers_at_once_and_leaves_the_handler",
        "test_a_client_that_closes_is_closed",
    ],
    "limits in seconds: body, handler": [
        "test_a_body_that_stalls_gets_a_408",
        "test_a_slow_body_that_keeps_coming_is_no_stall",
        "test_a_handler_that_takes_too_long_gets_a_503",
        "test_a_handler_that_takes_too_long_after_the_head_is_cut",
        "test_nothing_is_left_of_those_whose_time_was_up",
    ],
    "… a client that does not read": ["test_a_client_that_does_not_read_is_cut"],
    "SIGTERM: streams are told, and may end": ["test_a_stream_that_listens_ends_cleanly"],
    "… handlers are cancelled and clean up": ["test_a_stream_that_does_not_listen_is_cut"],
    "… a stalled reader does not hold it up": [
        "test_a_client_that_does_not_read_does_not_hold_up_the_end"
    ],
    "HTTP/2, in the clear": ["test_http2_is_spoken_in_the_clear"],
    "… a shut window holds the handler back": [
        "test_http2_a_producer_stays_close_to_a_shut_window"
    ],
    "… an unread upload holds up no other stream": [
        "test_http2_an_upload_that_nobody_reads_holds_up_no_other_stream"
    ],
    "… an upload is answered while it goes up": [
        "test_http2_an_echo_answers_each_piece_before_the_next_is_sent"
    ],
    "… a cancelled stream cancels its handler": [
        "test_http2_a_handler_is_cancelled_when_its_stream_is"
    ],
    "… a failed response is reset": ["test_http2_a_failed_response_is_reset"],
    "… trailers": ["test_trailers_follow_a_body"],
}

HTTP2 = [test for tests in ROWS.values() for test in tests if "http2" in test or "trailers" in test]


def no_http2(word: str, reason: str) -> dict[str, tuple[str, str]]:
    return {test: (word if test == HTTP2[0] else "–", reason) for test in HTTP2}


CUT = ("no: cut", "it tells the application at the end of its patience, by cancellation")

HYPERCORN = {
    "test_a_handler_is_cancelled_behind_a_large_body_that_it_does_not_read": (
        "no",
        "it queues the end of the connection behind the body, of which Nardis takes thirteen "
        "pieces ahead",
    ),
    "test_an_expectation_is_refused_before_the_body_is_sent": (
        "no",
        "it says 100 before it calls the application",
    ),
    "test_an_expectation_is_not_met_by_waiting": (
        "no",
        "it says 100 before it calls the application",
    ),
    "test_a_client_that_does_not_read_is_cut": (
        "no",
        "it shields its write to the socket from cancellation",
    ),
    "test_a_stream_that_listens_ends_cleanly": CUT,
    "test_a_client_that_does_not_read_does_not_hold_up_the_end": (
        "no: hangs",
        "it waits for the write to the socket, for ever",
    ),
    "test_http2_a_producer_stays_close_to_a_shut_window": (
        "no: takes all",
        "a shut window wakes the writer",
    ),
    "test_http2_an_upload_that_nobody_reads_holds_up_no_other_stream": (
        "no",
        "the task that reads the connection waits in the full queue of one stream",
    ),
    "test_http2_a_failed_response_is_reset": (
        "no: stays open",
        "it sends no RST_STREAM; its idle timeout ends the connection",
    ),
}
ANYCORN = {
    **{
        test: lack
        for test, lack in HYPERCORN.items()
        if test != "test_http2_a_producer_stays_close_to_a_shut_window"
    },
    **dict.fromkeys(
        (
            "test_a_connection_serves_on_after_an_answer[no-capture]",
            "test_a_connection_serves_on_after_an_answer[encoding]",
        ),
        ("but for `%ff`", "it refuses a path that is not UTF-8 by itself, and closes"),
    ),
}
UVICORN = {
    **no_http2("no", "it speaks HTTP/1.1"),
    "test_a_stream_that_listens_ends_cleanly": CUT,
}
GRANIAN = {
    "test_a_small_body_that_nobody_read_does_not_cost_the_connection[65536]": (
        "no: closes",
        "it reads a body when it is asked, so that most of 64 KiB is still to come when the "
        "answer leaves",
    ),
    "test_a_stream_that_listens_ends_cleanly": (
        "no: killed",
        "it says nothing, and kills the worker at the end of its patience",
    ),
    "test_a_stream_that_does_not_listen_is_cut": (
        "no: killed",
        "it kills the worker at the end of its patience",
    ),
    "test_a_client_that_does_not_read_does_not_hold_up_the_end": (
        "no: killed",
        "it ends, but without the lifespan's clean-up",
    ),
    "test_trailers_follow_a_body": ("no: dropped", "it does not know of trailers"),
}
DAPHNE = {
    **no_http2("TLS only", "it speaks HTTP/2 where TLS has agreed on it"),
    **dict.fromkeys(
        (
            "test_a_producer_stays_close_to_a_client_that_stopped_reading",
            "test_256_mebibytes_come_down",
            "test_a_client_that_does_not_read_is_cut",
        ),
        (
            "no: takes all",
            "it hands each piece to Twisted, which gathers what the client does not read",
        ),
    ),
    **dict.fromkeys(
        (
            "test_an_echo_answers_each_chunk_before_the_next_is_sent",
            "test_an_upload_that_nobody_reads_is_held_back",
            "test_256_mebibytes_go_up",
            "test_a_handler_is_cancelled_while_it_reads",
            "test_a_handler_is_cancelled_behind_a_large_body_that_it_does_not_read",
            "test_a_413_while_streaming_is_readable_by_a_client_that_keeps_sending",
            "test_a_413_reaches_a_client_that_waits_for_it",
            "test_an_expectation_is_refused_before_the_body_is_sent",
            "test_an_expectation_is_not_met_by_waiting",
            "test_a_body_that_stalls_gets_a_408",
        ),
        ("no: whole first", "it takes the whole body before it calls the application"),
    ),
    "test_a_handler_is_cancelled_behind_a_small_body_that_it_does_not_read": (
        "not behind a body",
        "it queues the end of the connection behind the body, in more pieces than Nardis takes "
        "ahead",
    ),
    **dict.fromkeys(
        (
            "test_a_failure_mid_stream_sends_no_last_chunk",
            "test_a_failure_cuts_a_response_of_declared_length",
            "test_an_abort_before_the_head_is_an_empty_500_that_closes",
            "test_a_handler_that_takes_too_long_after_the_head_is_cut",
        ),
        ("no: stays open", "it does not close the connection of an application that failed"),
    ),
    **dict.fromkeys(
        (
            "test_a_stream_that_listens_ends_cleanly",
            "test_a_stream_that_does_not_listen_is_cut",
            "test_a_client_that_does_not_read_does_not_hold_up_the_end",
        ),
        ("no", "it has no lifespan, and ends at once"),
    ),
}

# By kind of server, by test (or the one case of it in brackets): the word for the table, and the
# reason.
LACKS: dict[str, dict[str, tuple[str, str]]] = {
    "stock-trio": HYPERCORN,
    # Only the trio worker shields.
    "stock-asyncio": {
        test: lack
        for test, lack in HYPERCORN.items()
        if test != "test_a_client_that_does_not_read_is_cut"
    },
    "anycorn-trio": ANYCORN,
    "anycorn-asyncio": ANYCORN,
    "uvicorn-h11": UVICORN,
    "uvicorn-httptools": UVICORN,
    "granian": GRANIAN,
    "daphne": DAPHNE,
}

UNKNOWN = ("**no**", "it is not known why")


# --- what is expected -----------------------------------------------------------------------------


def kind_of(item: pytest.Item) -> str | None:
    """Tell on which kind of server a test runs."""
    params = (
        item.callspec.params.values()
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
        else ()
    )
    return next((value for value in params if isinstance(value, str) and value in COMMANDS), None)


def lack_of(item: pytest.Function, kind: str) -> tuple[str, str] | None:
    """Find what a server is known to lack."""
    case = re.sub(rf"-?{kind}-?", "", item.callspec.id)
    lacks = LACKS.get(kind, {})
    return lacks.get(f"{item.originalname}[{case}]") or lacks.get(item.originalname)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[OUTCOMES] = {}
    resource.setrlimit(
        resource.RLIMIT_DATA, (MOST_MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_DATA)[1])
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    wanted = {test for tests in ROWS.values() for test in tests}
    items[:] = [
        item
        for item in items
        if kind_of(item) and isinstance(item, pytest.Function) and item.originalname in wanted
    ]
    for item in items:
        if (kind := kind_of(item)) and (lack := lack_of(item, kind)):
            item.add_marker(pytest.mark.xfail(reason=": ".join(lack), strict=True))


# --- what happens ---------------------------------------------------------------------------------

# By test and kind: the words for what failed; none if nothing did.
OUTCOMES = pytest.StashKey[dict[tuple[str, str], set[str]]]()
FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    kind = kind_of(item)
    if kind is not None and isinstance(item, pytest.Function) and report.when != "teardown":
        words = item.config.stash[OUTCOMES].setdefault((item.originalname, kind), set())
        if call.excinfo is not None:
            item.stash[FAILED] = True
            words.add((lack_of(item, kind) or UNKNOWN)[0])
    return report


@pytest.fixture(autouse=True)
def impatient_and_renewed(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """
    Wait less for what will not come, and replace a server that failed a test: what that left behind
    would fail others.
    """
    if request.node.get_closest_marker("xfail"):
        monkeypatch.setattr(client, "EVENT_S", 2.0)
        monkeypatch.setattr(client, "ANSWER_S", 3.0)
    yield
    if request.node.stash.get(FAILED, False):
        for name in {"server", "quiet"} & set(request.fixturenames):
            renew(request.getfixturevalue(name))


# --- what is told ---------------------------------------------------------------------------------


def cell(outcomes: dict[tuple[str, str], set[str]], tests: list[str], kinds: dict[str, str]) -> str:
    """Say what a server gives: in one word if all that it runs on agree."""
    said = {
        on: "; ".join(sorted(set().union(*(outcomes[test, kind] for test in tests)))) or "yes"
        for on, kind in kinds.items()
    }
    return (
        said.popitem()[1]
        if len(set(said.values())) == 1
        else ", ".join(f"{on}: {word}" for on, word in said.items())
    )


def table(outcomes: dict[tuple[str, str], set[str]]) -> str:
    versions = ", ".join(
        f"{name} {version(name)}"
        for name in [*(name for name, _ in SERVERS.values()), "trio", "h11", "httptools"]
    )
    lines = [
        f"Measured on {date.today():%-d %B %Y} with Python {platform.python_version()} on "
        f"{platform.system()}: {versions}.",
        "",
        f"| | {' | '.join(SERVERS)} |",
        f"|---{'|---' * len(SERVERS)}|",
        *(
            f"| {row} | {' | '.join(cell(outcomes, tests, on) for _, on in SERVERS.values())} |"
            for row, tests in ROWS.items()
        ),
    ]
    return "\n".join(lines)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    outcomes = config.stash[OUTCOMES]
    wanted = {
        (test, kind)
        for tests in ROWS.values()
        for test in tests
        for _, kinds in SERVERS.values()
        for kind in kinds.values()
    }
    if missing := wanted - outcomes.keys():
        terminalreporter.write_line(
            f"docs/servers.md stays as it is: {len(missing)} outcomes are missing"
        )
        return
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{table(outcomes)}\n\n{END}{after}", encoding="utf-8")
    terminalreporter.write_line("docs/servers.md has the new table")
