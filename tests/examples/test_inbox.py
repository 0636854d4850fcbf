"""examples/inbox.py: uploads go on after a cut, and are checked before they are there."""

from __future__ import annotations

import email
import fcntl
import hashlib
import json
import os
import random
import subprocess
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from email.message import Message
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from examples import inbox as example
from nardis import HTTPError
from nardis.testing import Client

TARGET = "examples/inbox.py:app"
MIB = 1024 * 1024
SOON_S = 20
DAY_S = 24 * 60 * 60
DATA = random.Random(0).randbytes(5000)


@dataclass
class Answer:
    status: int
    fields: Message  # its names are case-insensitive
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def offset(self) -> int | None:
        """Return how much is there, if the answer is about an unfinished upload."""
        offset, complete = self.fields["upload-offset"], self.fields["upload-complete"]
        assert (offset is None) == (complete is None)
        assert complete in (None, "?0")
        return None if offset is None else int(offset)


@dataclass
class Inbox:
    """A running server, and the folder that it fills."""

    folder: Path
    url: str
    curl: Callable[..., Any]

    def ask(self, name: str, *arguments: str, data: bytes | None = None) -> Answer:
        """Let curl ask for a name, with *data* as its stdin."""
        command = ["--include", "--path-as-is", *arguments, f"{self.url}/inbox/{name}"]
        stdin = subprocess.DEVNULL if data is None else subprocess.PIPE
        output, complaint = self.curl(*command, stdin=stdin).communicate(data)
        assert output, complaint
        head, rest = b"HTTP/1.1 100", output
        while head.startswith(b"HTTP/1.1 100"):
            head, _, rest = rest.partition(b"\r\n\r\n")
        line, _, lines = head.partition(b"\r\n")
        return Answer(int(line.split()[1]), email.message_from_bytes(lines), rest)

    def put(self, name: str, data: bytes, *fields: str, chunked: bool = False) -> Answer:
        """Upload *data*."""
        headers = [word for one in fields for word in ("--header", one)]
        if chunked:
            headers += ["--header", "transfer-encoding: chunked"]
        return self.ask(name, "--request", "PUT", "--data-binary", "@-", *headers, data=data)

    def piece(self, name: str, first: int, last: int, *fields: str) -> Answer:
        """Upload some of DATA; both ends are sent."""
        field = f"content-range: bytes {first}-{last}/{len(DATA)}"
        return self.put(name, DATA[first : last + 1], field, *fields)

    def head(self, name: str) -> Answer:
        return self.ask(name, "--head")

    def wait_for_offset(self, name: str) -> int:
        """Wait until something of an upload is there."""
        ends_at = time.monotonic() + SOON_S
        while not (there := self.head(name).offset()):
            assert time.monotonic() < ends_at
        return there

    def wait_for(self, path: Path, *, there: bool) -> None:
        """Wait until a file is there, or no more."""
        ends_at = time.monotonic() + SOON_S
        while path.exists() is not there:
            assert time.monotonic() < ends_at
            time.sleep(0.01)

    def files(self) -> list[str]:
        """List all files, unfinished ones too."""
        found = (path for path in self.folder.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.folder).as_posix() for path in found)


Open = Callable[[], AbstractContextManager[Inbox]]


@pytest.fixture
def opened(serve: Callable[..., Any], curl: Callable[..., Any], tmp_path: Path) -> Open:
    """Serve the example; each time with the same folder."""

    @contextmanager
    def start() -> Generator[Inbox, None, None]:
        folder = tmp_path / "outside" / "inbox"
        with serve(TARGET, INBOX=str(folder)) as server:
            yield Inbox(folder, server.url, curl)

    return start


@pytest.fixture
def inbox(opened: Open) -> Iterator[Inbox]:
    with opened() as running:
        yield running


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.bin"
    path.write_bytes(random.Random(1).randbytes(8 * MIB))
    return path


def digest(data: bytes, algorithm: str = "sha256") -> str:
    return b64encode(hashlib.new(algorithm, data).digest()).decode()


def problem(answer: Answer) -> tuple[int, str]:
    """Return the status and the detail of a problem document."""
    assert answer.fields["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == answer.status
    return answer.status, document["detail"]


# --- whole files ----------------------------------------------------------------------------------


def test_a_whole_file_is_there_as_it_was_sent(inbox: Inbox, large: Path) -> None:
    """As the docstring has it: curl adds the name of the file."""
    answer = inbox.ask("", "--upload-file", str(large))

    expected = f"sha-256=:{digest(large.read_bytes())}:"
    assert (answer.status, answer.json()) == (201, {"name": "large.bin", "digest": expected})
    assert answer.offset() is None
    assert inbox.files() == ["large.bin"]
    sent = inbox.ask("large.bin")
    assert (sent.status, sent.body) == (200, large.read_bytes())
    assert sent.fields["content-disposition"] == "attachment; filename=large.bin"
    head = inbox.head("large.bin")
    assert (head.status, head.offset()) == (200, None)
    assert head.fields["content-length"] == str(8 * MIB)


def test_a_file_is_replaced_by_the_next_one(inbox: Inbox) -> None:
    assert inbox.put("a.bin", DATA).status == 201
    assert inbox.put("a.bin", b"").status == 200

    assert inbox.ask("a.bin").body == b""


def test_a_file_of_the_right_digest_is_taken(inbox: Inbox) -> None:
    right = f"sha-256=:{digest(DATA)}:"
    for n, value in enumerate(
        (
            right,
            f"{right};of=5000",
            f"sha-512=:{digest(DATA, 'sha512')}:,\t{right}",
            f"sha-256=:{digest(b'')}:, {right}",  # the last one of a key counts (RFC 9651 §3.2)
            f"md5=:{digest(b'', 'md5')}:, unheard-of=:AAAA:",  # ignored, even if they are wrong
            "",
        )
    ):
        answer = inbox.put(f"{n}.bin", DATA, f"repr-digest: {value}" if value else "x: y")
        assert (answer.status, answer.json()["digest"]) == (201, right)
        assert answer.fields["repr-digest"] is None
    two = inbox.put("a.bin", DATA, "repr-digest: md5=:AAAA:", f"repr-digest: {right}")
    assert two.status == 201


def test_a_file_of_another_digest_is_not_there(inbox: Inbox) -> None:
    """And the one that was there before still is."""
    inbox.put("old.bin", b"old")
    field = f"repr-digest: sha-512=:{digest(DATA, 'sha512')}:, sha-256=:{digest(DATA[:-1])}:"

    for name in ("new.bin", "old.bin"):
        answer = inbox.put(name, DATA, field)
        assert problem(answer) == (400, "what arrived is not what Repr-Digest says")
        assert answer.json()["digest"] == f"sha-256=:{digest(DATA)}:"
    assert inbox.files() == ["old.bin"]
    assert inbox.ask("old.bin").body == b"old"
    assert problem(inbox.ask("new.bin"))[0] == 404


def test_a_digest_that_is_none_is_refused(inbox: Inbox) -> None:
    right = digest(DATA)
    for value in (
        "sha-256",
        "sha-256=",
        f"sha-256={right}",
        f"sha-256=:{right}",
        f"sha-256=:{right[:-1]}:",
        f"sha-256=:{hashlib.sha256(DATA).hexdigest()}:",
        f"sha-256=:{digest(DATA, 'sha512')}:",
        f"SHA-256=:{right}:",
        f"sha-256 =:{right}:",
        f"md5=:AAAA:, sha-256=: {right}:",
    ):
        status, detail = problem(inbox.put("a.bin", DATA, f"repr-digest: {value}"))
        assert (status, detail) == (400, "the SHA-256 in Repr-Digest is not that of RFC 9530")
    assert inbox.files() == []


def test_a_whole_file_that_is_cut_leaves_nothing(inbox: Inbox) -> None:
    lock = inbox.folder / ".unfinished" / "a.bin"
    client = inbox.curl("--upload-file", ".", f"{inbox.url}/inbox/a.bin", stdin=subprocess.PIPE)
    client.stdin.write(bytes(2 * MIB))
    inbox.wait_for(lock, there=True)
    client.kill()
    inbox.wait_for(lock, there=False)

    assert inbox.files() == []
    assert inbox.head("a.bin").status == 404


def test_a_file_that_is_too_large_is_refused_beforehand(inbox: Inbox) -> None:
    for field in (
        f"content-length: {10 * 1024**3 + 1}",
        f"content-range: bytes 0-4999/{10 * 1024**3 + 1}",
    ):
        answer = inbox.ask("a.bin", "--request", "PUT", "--header", field, "--header", "expect:")
        assert problem(answer)[0] == 413
    assert inbox.files() == []


# --- files in pieces ------------------------------------------------------------------------------


def test_an_upload_goes_on_where_it_was_cut(inbox: Inbox, large: Path) -> None:
    """As the docstring has it, with the digest of the whole beside each piece."""
    sent = ["--upload-file", str(large), f"{inbox.url}/inbox/"]
    field = f"repr-digest: sha-256=:{digest(large.read_bytes())}:"
    client = inbox.curl("--limit-rate", "2M", "--continue-at", "-", "--header", field, *sent)
    there = inbox.wait_for_offset("large.bin")
    client.kill()

    status, ends_at = 409, time.monotonic() + SOON_S
    while status == 409:  # the server has yet to hear of the cut, or writes what came before it
        assert time.monotonic() < ends_at
        there = inbox.wait_for_offset("large.bin")
        again = ["--continue-at", str(there), "--header", field, "--upload-file", str(large)]
        status = inbox.ask("", *again).status

    assert 0 < there < 8 * MIB
    assert status == 201
    assert inbox.files() == ["large.bin"]
    assert (inbox.folder / "large.bin").read_bytes() == large.read_bytes()


def test_pieces_make_a_file(inbox: Inbox) -> None:
    """Until the last byte there is none, but HEAD tells how much there is."""
    for first, last in ((0, 0), (1, 999), (1000, 4998)):
        answer = inbox.piece("a.bin", first, last)
        assert (answer.status, answer.offset(), answer.body) == (204, last + 1, b"")
        head = inbox.head("a.bin")
        assert (head.status, head.offset()) == (204, last + 1)
        assert head.fields["cache-control"] == "no-store"
        assert inbox.ask("a.bin").status == 404
    last_one = inbox.piece("a.bin", 4999, 4999)

    assert last_one.status == 201
    assert last_one.json() == {"name": "a.bin", "digest": f"sha-256=:{digest(DATA)}:"}
    assert inbox.files() == ["a.bin"]
    assert inbox.ask("a.bin").body == DATA


def test_a_single_piece_may_be_the_whole(inbox: Inbox) -> None:
    assert inbox.piece("a.bin", 0, 4999).status == 201
    wrong = inbox.piece("b.bin", 0, 4999, f"repr-digest: sha-256=:{digest(b'')}:")

    assert problem(wrong)[0] == 400
    assert inbox.files() == ["a.bin"]
    assert inbox.ask("a.bin").body == DATA


def test_pieces_of_another_digest_are_dropped(inbox: Inbox) -> None:
    assert inbox.piece("a.bin", 0, 2999).status == 204
    field = f"repr-digest: sha-256=:{digest(DATA[::-1])}:"

    assert problem(inbox.piece("a.bin", 3000, 4999, field))[0] == 400
    assert inbox.files() == []
    assert inbox.head("a.bin").status == 404
    assert inbox.piece("a.bin", 0, 4999).status == 201


def test_a_piece_has_to_begin_where_the_last_one_ended(inbox: Inbox) -> None:
    for first in (1, 4999):
        answer = inbox.piece("a.bin", first, 4999)
        assert problem(answer) == (409, "the next piece has to begin at byte 0")
        assert answer.offset() == 0
    assert inbox.files() == []
    inbox.piece("a.bin", 0, 999)

    for first in (0, 999, 1001, 2000):
        answer = inbox.piece("a.bin", first, 4999)
        assert problem(answer) == (409, "the next piece has to begin at byte 1000")
        assert answer.offset() == 1000
    assert inbox.piece("a.bin", 1000, 4999).status == 201
    assert inbox.ask("a.bin").body == DATA


def test_a_range_that_cannot_be_is_refused(inbox: Inbox) -> None:
    for value in (
        "",
        "bytes",
        "bytes 0-4999",
        "bytes 0-4999/*",
        "bytes */5000",
        "bytes=0-4999/5000",
        "bytes  0-4999/5000",
        "bytes 0 - 4999/5000",
        "bytes -4999/5000",
        "bytes 0-/5000",
        "bytes +0-4999/5000",
        "bytes 0-4_999/5000",
        "bytes ²-4999/5000",
        "bytes 0-4999/5000, bytes 0-4999/5000",
        "lines 0-4999/5000",
        "bytes 1-0/5000",
        "bytes 0-5000/5000",
        "bytes 5000-5000/5000",
        "bytes 0-0/0",
        f"bytes 0-4999/{'9' * 5000}",
    ):
        # With a semicolon curl sends a field without a value.
        field = f"content-range: {value}" if value else "content-range;"
        assert problem(inbox.put("a.bin", DATA, field))[0] == 416, value
    assert inbox.files() == []
    assert inbox.put("a.bin", DATA, "content-range: BYTES 0-4999/5000").status == 201


def test_a_piece_has_the_length_of_its_range(inbox: Inbox) -> None:
    """Where the length is known beforehand, nothing of it is taken."""
    field = "content-range: bytes 0-999/5000"
    for size in (0, 999, 1001):
        assert problem(inbox.put("a.bin", DATA[:size], field))[0] == 400
        assert inbox.files() == []
    assert problem(inbox.put("a.bin", DATA[:1001], field, chunked=True))[0] == 400
    assert inbox.files() == []
    assert problem(inbox.put("a.bin", DATA[:300], field, chunked=True))[0] == 400
    assert inbox.head("a.bin").offset() == 300
    whole = "content-range: bytes 300-4999/5000"
    assert problem(inbox.put("a.bin", DATA[300:] + b"more", whole, chunked=True))[0] == 400
    assert inbox.ask("a.bin").status == 404
    assert inbox.put("a.bin", DATA[300:], whole, chunked=True).status == 201
    assert inbox.ask("a.bin").body == DATA


def test_a_whole_file_replaces_what_is_unfinished(inbox: Inbox) -> None:
    inbox.piece("a.bin", 0, 999)
    wrong = inbox.put("a.bin", b"whole", f"repr-digest: sha-256=:{digest(b'')}:")
    assert (wrong.status, inbox.head("a.bin").offset()) == (400, 1000)

    assert inbox.put("a.bin", b"whole").status == 201
    assert inbox.files() == ["a.bin"]
    assert inbox.head("a.bin").offset() is None


def test_a_file_stays_until_its_next_version_is_complete(inbox: Inbox) -> None:
    inbox.put("a.bin", b"old")
    inbox.piece("a.bin", 0, 999)

    head = inbox.head("a.bin")
    assert (head.status, head.offset(), head.fields["content-length"]) == (200, 1000, "3")
    assert inbox.ask("a.bin").body == b"old"
    assert inbox.piece("a.bin", 1000, 4999).status == 200
    assert inbox.ask("a.bin").body == DATA


def test_a_file_has_one_sender_at_a_time(inbox: Inbox) -> None:
    """The second one takes nothing away from the first."""
    size = 2 * MIB
    field = f"content-range: bytes 0-{size - 1}/{size}"
    client = inbox.curl(
        *("--upload-file", ".", "--header", field, f"{inbox.url}/inbox/a.bin"),
        stdin=subprocess.PIPE,
    )
    client.stdin.write(bytes(MIB))
    inbox.wait_for_offset("a.bin")

    for second in (inbox.put("a.bin", DATA), inbox.piece("a.bin", 0, 999)):
        assert problem(second) == (409, "this file is being sent already; try again later")
    assert inbox.put("b.bin", DATA).status == 201
    client.stdin.write(bytes(MIB))
    client.stdin.close()
    assert json.loads(client.stdout.read())["digest"] == f"sha-256=:{digest(bytes(size))}:"
    assert client.wait() == 0
    assert inbox.put("a.bin", DATA).status == 200


def test_a_whole_file_has_one_sender_at_a_time(inbox: Inbox) -> None:
    client = inbox.curl("--upload-file", ".", f"{inbox.url}/inbox/a.bin", stdin=subprocess.PIPE)
    client.stdin.write(bytes(MIB))
    inbox.wait_for(inbox.folder / ".unfinished" / "a.bin", there=True)

    for second in (inbox.put("a.bin", DATA), inbox.piece("a.bin", 0, 999)):
        assert problem(second)[0] == 409
    client.stdin.close()
    assert json.loads(client.stdout.read())["digest"] == f"sha-256=:{digest(bytes(MIB))}:"


def test_an_upload_goes_on_after_a_restart(opened: Open) -> None:
    with opened() as inbox:
        assert inbox.piece("a.bin", 0, 999).status == 204
    with opened() as inbox:
        assert inbox.head("a.bin").offset() == 1000
        assert inbox.piece("a.bin", 1000, 1999).status == 204
    with opened() as inbox:
        field = f"repr-digest: sha-256=:{digest(DATA)}:"
        assert inbox.piece("a.bin", 2000, 4999, field).status == 201
        assert inbox.files() == ["a.bin"]


@pytest.mark.anyio
async def test_pieces_arrive_in_chunks_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example, "INBOX", tmp_path)
    monkeypatch.setattr(example, "UNFINISHED", tmp_path / ".unfinished")

    async def chunks(ends: list[int]) -> AsyncIterator[bytes]:
        for first, end in pairwise(ends):
            yield DATA[first:end]

    async with Client(example.app) as client:
        for ends in ([0, 1, 2, 700], [700, 800, 4000, 4999, 5000]):
            field = f"bytes {ends[0]}-{ends[-1] - 1}/5000"
            headers = {"content-range": field, "repr-digest": f"sha-256=:{digest(DATA)}:"}
            answer = await client.put("/inbox/a.bin", content=chunks(ends), headers=headers)

    assert answer.status_code == 201
    assert (tmp_path / "a.bin").read_bytes() == DATA


@pytest.mark.anyio
async def test_an_upload_that_was_complete_and_not_published_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is always a byte left to send: without one, no piece could end it any more."""

    def fail(*arguments: object) -> None:
        raise OSError("the disk has gone")

    monkeypatch.setattr(example, "INBOX", tmp_path)
    monkeypatch.setattr(example, "UNFINISHED", tmp_path / ".unfinished")
    async with Client(example.app, raise_app_errors=False) as client:

        async def piece(first: int, last: int) -> int:
            headers = {"content-range": f"bytes {first}-{last}/5000"}
            content = DATA[first : last + 1]
            return (await client.put("/inbox/a.bin", content=content, headers=headers)).status_code

        with monkeypatch.context() as patch:
            patch.setattr(example, "publish", fail)
            statuses = [await piece(0, 999), await piece(1000, 4999)]
        there = (await client.head("/inbox/a.bin")).headers["upload-offset"]
        statuses.append(await piece(int(there), 4999))

    assert statuses == [204, 500, 201]
    assert (tmp_path / "a.bin").read_bytes() == DATA


# --- names and remains ----------------------------------------------------------------------------


def test_names_that_lead_elsewhere_are_not_there(inbox: Inbox) -> None:
    before = sorted(inbox.folder.parent.parent.rglob("*"))
    for name in (
        *("", ".", "..", ".hidden", ".unfinished", ".unfinished/a.bin", "a/b", "../a"),
        *("%2e%2e", "..%2fa", "a%2fb", "%2fetc%2fpasswd", "..%5ca", "c:a", "a%0a"),
        *("a%20b", "%c3%a9", "%d9%a3", "a.", "con", "AUX.txt", "com1", "a" * 101),
    ):
        assert inbox.put(name, DATA).status == 404, name
        assert inbox.piece(name, 0, 999).status == 404, name
        assert inbox.ask(name).status == 404, name
        assert inbox.head(name).status == 404, name
    assert inbox.put("a%00", DATA).status == 400  # which no route ever sees
    assert sorted(inbox.folder.parent.parent.rglob("*")) == before


def test_other_names_are_taken(inbox: Inbox) -> None:
    names = ["a", "_", "-", "A..b", "com10.txt", "console", "x.tar.gz", "9", "a" * 100]
    for name in names:
        assert inbox.put(name, DATA).status == 201, name
        assert inbox.ask(name).body == DATA, name
    assert inbox.files() == sorted(names)


def test_uploads_that_nobody_goes_on_with_are_removed(opened: Open, tmp_path: Path) -> None:
    folder = tmp_path / "outside" / "inbox" / ".unfinished"
    folder.mkdir(parents=True)
    for name in ("old.bin", ".old.bin", "new.bin", "busy.bin"):
        (folder / name).write_bytes(DATA[:1000])
    for name, age_s in (("old.bin", DAY_S), (".old.bin", DAY_S), ("new.bin", DAY_S - 600)):
        os.utime(folder / name, times=(0, time.time() - age_s - 10))
    with opened() as inbox:
        inbox.wait_for(folder / "old.bin", there=False)
        inbox.wait_for(folder / ".old.bin", there=False)

        assert inbox.piece("new.bin", 1000, 4999).status == 201
        assert inbox.files() == [".unfinished/busy.bin", "new.bin"]


def test_an_upload_that_somebody_goes_on_with_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(example, "UNFINISHED", tmp_path)
    path = tmp_path / "a.bin"
    part = example.begin(path)
    part.write(DATA)
    part.flush()
    os.utime(path, times=(0, 0))

    example.remove_forgotten()
    assert path.exists()
    example.end(path, part)
    example.remove_forgotten()
    assert not path.exists()


def test_a_file_that_was_published_meanwhile_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the moment when an upload is opened and when it is locked, another one may end."""
    path, published = tmp_path / "a.bin", tmp_path / "published"
    lock = fcntl.flock

    def publish_and_lock(file: Any, operation: int) -> None:
        path.rename(published)
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", publish_and_lock)
    with pytest.raises(HTTPError, match="409"):
        example.begin(path)

    assert not path.exists()
    assert published.read_bytes() == b""


def test_a_piece_that_came_meanwhile_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.bin"
    lock = fcntl.flock

    def write_and_lock(file: Any, operation: int) -> None:
        path.write_bytes(DATA)
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", write_and_lock)
    with example.begin(path) as part:
        assert part.tell() == len(DATA)


def test_the_end_of_an_upload_leaves_the_next_one_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    first = example.begin(path)
    path.unlink()
    second = example.begin(path)

    example.end(path, first)
    assert path.exists()
    example.end(path, second)
    assert not path.exists()
