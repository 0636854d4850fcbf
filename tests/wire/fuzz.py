"""
A fuzz of the runner's HTTP/1.1: mutated requests, the same for trio and for asyncio.

    python -m tests.wire.fuzz --requests 1000000 --seed 1

Each case is a stream of bytes, several requests long, in pieces. It goes to one server of each
backend, on a connection of its own, which is read to its end. These are faults:

- the servers do not answer with the same bytes, but for Date and 100 (Continue);
- an answer is malformed, is followed by what is none, or is 500 though the application did not
  raise;
- a connection does not end in time;
- a server logs what is not usual, or does not answer the next client.

What depends on when the bytes arrive is allowed for answers before the end of a body alone: the
server may keep the connection if the rest is there already (RFC 9112 §9.3). And a client that has
closed its half counts as gone when a handler lasts, which happens on a machine that is busy: an
answer that is cut is a fault if that happens again.
"""

from __future__ import annotations

import argparse
import re
import selectors
import signal
import socket
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random

from tests.wire.answers import Cut, Malformed, statuses
from tests.wire.fuzz_app import PURPOSE
from tests.wire.mutations import Case, cases
from tests.wire.servers import USUAL_LINE, Server, serving

__all__ = ["Findings", "Fuzz", "converse", "main", "smallest", "unusual", "wrong_with"]

TARGET = "tests.wire.fuzz_app:app"

# The client ends all connections, so a server that does so by the clock is seen as a difference.
PATIENCE = ("--keep-alive", "600", "--head-timeout", "600")

# Connections that are open at once, for each server, and cases between two looks at the log.
OPEN = 150
BATCH = 1000

# A client that has heard nothing for so long has all answers, or the server waits for more: its
# half of the connection is closed.
QUIET_S = 0.15
HANG_S = 20.0

# A case whose answers differ is tried so often again.
TRIES = 5

# A shorter stream that shows a fault is looked for in so many steps, and after so many faults the
# rest is not looked at.
STEPS = 400
ENOUGH = 20

# How a server begins that was spoken to in HTTP/2 (RFC 9113 §6.5); text has no NUL.
SETTINGS = b"\0\0*\x04\0"

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
DATE = re.compile(rb"\r\ndate: [^\r]+")
# A line of a log that begins a record; others go on with the one before.
RECORD = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ", re.MULTILINE)
RAISED = f"failed: RuntimeError({PURPOSE!r})"


# --- one connection -------------------------------------------------------------------------------


class Talk:
    """
    One case on its way to one server.

    Attributes:
        heard: What the server said.
        ending: How the connection ended: "end", "reset", "refused" or "hang"; "" while it has
            not.
        at: When the client last did or heard something.
        half_closed: The client has closed its half.
    """

    __slots__ = (
        "_case",
        "_pieces",
        "_reset",
        "at",
        "begun",
        "ending",
        "half_closed",
        "heard",
        "socket",
    )

    def __init__(self, case: Case, port: int) -> None:
        self.heard = bytearray()
        self.ending = ""
        self.begun = self.at = time.monotonic()
        self._case = case
        self._reset = False
        self.half_closed = False
        self._pieces = deque(case.pieces())
        self.socket = socket.socket()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.socket.connect(("127.0.0.1", port))
        except OSError:
            self.ending = "refused"
        self.socket.setblocking(False)

    def send(self) -> bool:
        """Send a piece; return whether there is more to send."""
        try:
            sent = self.socket.send(self._pieces[0])
        except BlockingIOError:  # pragma: no cover  # the server is slow
            return True
        except OSError:  # pragma: no cover  # it was reset, which the system says once
            self._reset = True
            self._pieces.clear()
            return False
        if rest := self._pieces.popleft()[sent:]:  # pragma: no cover  # the server is slow
            self._pieces.appendleft(rest)
        self.at = time.monotonic()
        if not self._pieces and self._case.half_closes:
            self.half_close()
        return bool(self._pieces)

    def half_close(self) -> None:
        """Say that nothing more comes."""
        if not self.half_closed:
            self.half_closed = True
            with suppress(OSError):  # it was reset
                self.socket.shutdown(socket.SHUT_WR)

    def hear(self) -> None:
        """Read what has arrived."""
        try:
            data = self.socket.recv(262_144)
        except OSError:
            self.ending = "reset"
            return
        self.heard += data
        self.at = time.monotonic()
        if not data:
            self.ending = "reset" if self._reset else "end"
        elif (
            not self._pieces
            and data.endswith((b"}", b"\r\n\r\n"))
            and self.heard.count(b"\r\nx-method: ") >= self._case.requests
        ):
            self.half_close()

    def watch(self, now: float, hang_s: float) -> None:
        """Half-close what is quiet; give up what does not end."""
        if now - self.begun > hang_s:
            self.ending = "hang"
        elif not self._pieces and now - self.at > QUIET_S:
            self.half_close()

    def outcome(self) -> tuple[str, bytes]:
        """Return what there is to compare."""
        return self.ending, DATE.sub(b"", self.said().replace(CONTINUE, b""))

    def said(self) -> bytes:
        """Return what was heard of HTTP/1.1; what comes after HTTP/2's preface is not for here."""
        return bytes(self.heard).partition(SETTINGS)[0]


def converse(asked: Sequence[tuple[Case, int]], hang_s: float = HANG_S) -> list[Talk]:
    """Send each case to its port, many at once; return the connections, which have ended."""
    talks: list[Talk] = []
    sending: set[Talk] = set()
    waiting = deque(asked)
    running: set[Talk] = set()
    looked = 0.0
    with selectors.DefaultSelector() as selector:
        while waiting or running:
            while waiting and len(running) < 2 * OPEN:
                talk = Talk(*waiting.popleft())
                talks.append(talk)
                running.add(talk)
                selector.register(talk.socket, selectors.EVENT_READ, talk)
                if talk.ending:
                    end(talk, selector, running, sending)
                elif talk.send():
                    sending.add(talk)
            for key, _ in selector.select(0 if sending else QUIET_S / 4):
                key.data.hear()
                if key.data.ending:
                    end(key.data, selector, running, sending)
            sending = {talk for talk in sending if talk.send()}
            now = time.monotonic()
            if now - looked > QUIET_S / 4:
                looked = now
                for talk in tuple(running):
                    talk.watch(now, hang_s)
                    if talk.ending:
                        end(talk, selector, running, sending)
    return talks


def end(
    talk: Talk, selector: selectors.BaseSelector, running: set[Talk], sending: set[Talk]
) -> None:
    selector.unregister(talk.socket)
    talk.socket.close()
    running.discard(talk)
    sending.discard(talk)


# --- what is a fault ------------------------------------------------------------------------------


def unusual(log: str) -> list[str]:
    r"""
    Return the records of a log that nothing explains.

    >>> unusual("2026-01-01 00:00:00,000 INFO serving\n2026-01-01 00:00:00,000 ERROR oh\nno\n")
    ['2026-01-01 00:00:00,000 ERROR oh\nno\n']
    """
    starts = [0, *(each.start() for each in RECORD.finditer(log)), len(log)]
    records = [log[a:b] for a, b in pairwise(starts)]
    return [
        each
        for each in records
        if each.strip() and not USUAL_LINE.match(each) and RAISED not in each
    ]


@dataclass
class Findings:
    """
    What came out.

    Attributes:
        requests: How many were sent to each server, before mutations.
        cases: How many streams that were.
        statuses: How many answers had which, of one server.
        endings: How many connections ended in which way, of all servers.
        timely: Cases whose answers depend on when the bytes arrive, as they may.
        gone: Answers that were cut, of clients that had closed their half.
        faults: What is wrong, with the bytes that show it.
    """

    requests: int = 0
    cases: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    timely: int = 0
    gone: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.requests} requests in {self.cases} streams, {sum(self.statuses.values())} "
            f"answers {dict(sorted(self.statuses.items()))}, endings {dict(self.endings)}, "
            f"{self.timely} by time, {self.gone} gone, {len(self.faults)} faults"
        )


def wrong_with(case: Case, talk: Talk) -> str:
    """
    Name what is wrong with one connection; nothing is "".

    Raises:
        Cut: An answer is cut, and its client had closed its half.
    """
    if talk.ending == "hang":
        return "a connection does not end"
    try:
        found = statuses(talk.said(), asked=case.data, cut=b"/raise-late" in case.data)
    except Malformed as exc:
        if isinstance(exc, Cut) and talk.half_closed:
            raise
        return f"malformed: {exc}"
    if 500 in found and b"/raise" not in case.data:
        return "a 500"
    return ""


class Fuzz:
    """
    A run against some servers.

    Args:
        servers: They run the same application.
        seed: The same one gives the same cases.
        hang_s: How long a connection may take.
        steps: How long a shorter stream that shows a fault is looked for.
    """

    def __init__(
        self, servers: Sequence[Server], seed: int, *, hang_s: float = HANG_S, steps: int = STEPS
    ) -> None:
        self.findings = Findings()
        self._servers = servers
        self._seed = seed
        self._hang_s = hang_s
        self._steps = steps
        self._batches = 0
        # Of each log, so much is known.
        self._read = [len(server.log().encode()) for server in servers]

    def run(self, requests: int, seconds: float = float("inf")) -> Iterator[Findings]:
        """Send so many requests in so much time, or one batch more; stop after each batch."""
        until, findings = time.monotonic() + seconds, self.findings
        while (
            findings.requests < requests
            and len(findings.faults) < ENOUGH
            and time.monotonic() < until
        ):
            self._batches += 1
            self.send(cases(Random(f"{self._seed}/{self._batches}"), BATCH))
            yield findings

    def send(self, batch: Sequence[Case]) -> None:
        """Send some cases, and look at what comes of them."""
        for case, talks in zip(batch, self._ask(batch, self._hang_s), strict=True):
            self.findings.cases += 1
            self.findings.requests += case.requests
            self.findings.endings.update(talk.ending for talk in talks)
            if fault := self._fault_of(case, talks):
                self._report(fault, case)
        for number, server in enumerate(self._servers):
            self._look_at(number, server)

    def _ask(self, batch: Sequence[Case], hang_s: float) -> list[list[Talk]]:
        ports = [server.port for server in self._servers]
        talks = iter(converse([(case, port) for case in batch for port in ports], hang_s))
        return [[next(talks) for _ in ports] for _ in batch]

    def _fault_of(self, case: Case, talks: Sequence[Talk]) -> str:
        """Name what is wrong; nothing is "". One that only differs is tried again."""
        try:
            faults = [fault for talk in talks if (fault := wrong_with(case, talk))]
        except Cut:
            again = self._ask([case] * TRIES, self._hang_s)
            try:
                faults = [wrong_with(case, talk) for talks in again for talk in talks]
            except Cut as exc:
                return f"cut: {exc}"
            self.findings.gone += 1
            talks = again[0]
        if any(faults):
            return max(faults)
        outcomes = [{talk.outcome()} for talk in talks]
        if len(set.union(*outcomes)) > 1:
            for talks in self._ask([case] * TRIES, self._hang_s):
                for known, talk in zip(outcomes, talks, strict=True):
                    known.add(talk.outcome())
            if not set.intersection(*outcomes):
                return "the answers differ"
            if b"/early" not in case.data:
                return "the answers depend on time"
            self.findings.timely += 1
        self.findings.statuses.update(statuses(talks[0].said(), cut=True))
        return ""

    def _report(self, fault: str, case: Case) -> None:
        hang_s = min(self._hang_s, 2.0)
        known = self.findings.timely, self.findings.gone

        def shows(data: bytes) -> bool:
            shorter = Case(data, (), True, case.requests)
            return self._fault_of(shorter, self._ask([shorter], hang_s)[0]) == fault

        shown = smallest(case.data, shows, self._steps)
        self.findings.timely, self.findings.gone = known
        heard = [talk.outcome() for talk in self._ask([case], self._hang_s)[0]]
        self.findings.faults.append(
            f"{fault}: {shown!r}\n  of {case!r}\n  batch {self._batches}; heard "
            + "\n  and ".join(map(repr, heard))
        )

    def _look_at(self, number: int, server: Server) -> None:
        """Ask a server for a plain answer, and read what is new in its log."""
        plain = Case(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", (), False, 1)
        (talk,) = converse([(plain, server.port)], self._hang_s)
        if statuses(talk.said()) != [200]:
            self.findings.faults.append(f"{server.kind} does not answer after {self._batches}")
        with open(server.directory / "log", "rb") as log:
            log.seek(self._read[number])
            new = log.read()
        self._read[number] += len(new)
        self.findings.faults += [
            f"logged by {server.kind} in batch {self._batches}: {each}"
            for each in unusual(new.decode(errors="replace"))
        ]


def smallest(data: bytes, shows: Callable[[bytes], bool], most: int = STEPS) -> bytes:
    """
    Leave out of *data* what is not needed for it to show the same, in *most* steps.

    >>> smallest(b"abcdefgh", lambda data: b"b" in data and b"g" in data)
    b'bg'
    """
    size, steps = len(data) // 2, 0
    while size and steps < most:
        at = 0
        while at < len(data) and steps < most:
            steps += 1
            shorter = data[:at] + data[at + size :]
            if shorter and shows(shorter):
                data = shorter
            else:
                at += size
        size //= 2
    return data


# --- the command ----------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the fuzz as the command line wants it; return 1 if there is a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.wire.fuzz")
    parser.add_argument("--requests", type=int, default=10_000, help="for each backend")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--backends", default="trio,asyncio")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end after that")
    given = parser.parse_args(arguments)
    begun = time.monotonic()
    with ExitStack() as stack:
        servers = []
        for backend in given.backends.split(","):
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            serve = serving(f"hypercorn-{backend}", directory, *PATIENCE, target=TARGET)
            servers.append(stack.enter_context(serve))
        fuzz = Fuzz(servers, given.seed)
        for findings in fuzz.run(given.requests, given.seconds):
            say(f"{time.monotonic() - begun:.0f} s: {findings}")
    rate = fuzz.findings.requests * len(servers) / (time.monotonic() - begun)
    say("\n".join([*fuzz.findings.faults, f"{rate:.0f} requests a second"]))
    return bool(fuzz.findings.faults)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    # A command that is told to end takes its servers along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
