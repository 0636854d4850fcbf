"""examples/api.py: a JSON API answers as it should, its errors as problem documents."""

from __future__ import annotations

import email
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from typing import Any

import pytest

from examples import api as example
from nardis.testing import Client

TARGET = "examples/api.py:app"
KEY = "the key of the tests"
ORIGIN = "https://pages.example"
DRAFT = {"title": "tea", "text": "", "tags": ["green"]}


@dataclass
class Answer:
    status: int
    fields: Message  # its names are case-insensitive
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


Ask = Callable[..., Answer]


@pytest.fixture
def ask(serve: Callable[..., Any], curl: Callable[..., Any]) -> Iterator[Ask]:
    """Serve the example, and send requests: `ask(method, path, *fields, body=None, key=KEY)`."""
    with serve(TARGET, API_KEY=KEY, ORIGIN=ORIGIN) as server:

        def send(
            method: str, path: str, *fields: str, body: object = None, key: str | None = KEY
        ) -> Answer:
            arguments = ["--include", "--request", method]
            if key is not None:
                arguments += ["--header", f"authorization: Bearer {key}"]
            if body is not None:
                arguments += ["--header", "content-type: application/json"]
                arguments += ["--data", json.dumps(body)]
            for one in fields:
                arguments += ["--header", one]
            output, _ = curl(*arguments, f"{server.url}{path}").communicate()
            head, _, rest = output.partition(b"\r\n\r\n")
            line, _, lines = head.partition(b"\r\n")
            return Answer(int(line.split()[1]), email.message_from_bytes(lines), rest)

        yield send


def problem(answer: Answer) -> tuple[int, Any]:
    """Return the status and the detail of a problem document."""
    assert answer.fields["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == answer.status
    return answer.status, document["detail"]


def faults(answer: Answer, where: str) -> dict[str, str]:
    """Return what a 422 says of each place."""
    assert problem(answer)[0] == 422
    return {fault[where]: fault["detail"] for fault in answer.json()["errors"]}


def test_a_note_is_created_read_replaced_and_deleted(ask: Ask) -> None:
    created = ask("POST", "/notes", body=DRAFT)
    place, first = created.fields["location"], created.fields["etag"]
    read = ask("GET", place, key=None)

    assert (created.status, place) == (201, "/notes/1")
    assert read.status == 200
    assert read.json() == created.json()
    assert read.json() == {"id": 1, "version": first.strip('"'), "draft": DRAFT}
    assert read.fields["etag"] == first

    replaced = ask("PUT", place, f"if-match: {first}", body={"title": "coffee"})
    second = replaced.fields["etag"]

    assert replaced.status == 200
    assert replaced.json()["draft"] == {"title": "coffee", "text": "", "tags": []}
    assert second != first

    deleted = ask("DELETE", place, f"if-match: {second}")

    assert (deleted.status, deleted.body) == (204, b"")
    assert problem(ask("GET", place)) == (404, "there is no note 1")


def test_a_copy_that_is_still_good_is_not_sent_again(ask: Ask) -> None:
    etag = ask("POST", "/notes", body=DRAFT).fields["etag"]

    same = ask("GET", "/notes/1", f"if-none-match: {etag}")
    other = ask("GET", "/notes/1", 'if-none-match: "of-another-time"')
    page = ask("GET", "/notes", f"if-none-match: {ask('GET', '/notes').fields['etag']}")

    assert (same.status, same.body, same.fields["etag"]) == (304, b"", etag)
    assert other.status == 200
    assert page.status == 304


def test_another_version_is_neither_replaced_nor_deleted(ask: Ask) -> None:
    etag = ask("POST", "/notes", body=DRAFT).fields["etag"]

    for method in ("PUT", "DELETE"):
        for stale in ('"of-another-time"', f"W/{etag}"):
            refused = ask(method, "/notes/1", f"if-match: {stale}", body=DRAFT)
            assert problem(refused)[0] == 412
    assert problem(ask("PUT", "/notes/1", body=DRAFT))[0] == 428
    assert ask("GET", "/notes/1").fields["etag"] == etag
    assert ask("PUT", "/notes/1", "if-match: *", body=DRAFT).status == 200


def test_a_list_comes_in_pages(ask: Ask) -> None:
    for n in range(3):
        assert ask("POST", "/notes", body={"title": f"note {n}"}).status == 201

    def ids(query: str) -> list[int]:
        page = ask("GET", f"/notes{query}", key=None).json()
        assert page["total"] == 3
        return [note["id"] for note in page["notes"]]

    assert ids("") == [1, 2, 3]
    assert ids("?limit=2") == [1, 2]
    assert ids("?limit=2&offset=2") == [3]
    assert ids("?offset=3&unknown=x") == []


def test_a_page_that_cannot_be_is_refused_with_each_fault(ask: Ask) -> None:
    several = faults(ask("GET", "/notes?limit=many&offset=-1"), "parameter")

    assert sorted(several) == ["limit", "offset"]
    assert all(several.values())
    for query in ("limit=0", "limit=101", "limit=1&limit=2", "limit="):
        assert list(faults(ask("GET", f"/notes?{query}"), "parameter")) == ["limit"]


def test_a_body_that_does_not_fit_is_refused_with_each_fault(ask: Ask) -> None:
    created = ask("POST", "/notes", body=DRAFT)
    wrong = {"title": "", "text": None, "tags": ["green", 7, None]}

    for method in ("POST", "PUT"):
        path = "/notes" if method == "POST" else "/notes/1"
        field = f"if-match: {created.fields['etag']}"
        given = faults(ask(method, path, field, body=wrong), "pointer")
        assert list(given) == ["#/title", "#/text", "#/tags/1", "#/tags/2"]
        assert all(given.values())
        assert list(faults(ask(method, path, field, body={}), "pointer")) == ["#/title"]
        assert list(faults(ask(method, path, field, body=[]), "pointer")) == ["#"]
    assert ask("GET", "/notes").json()["notes"] == [created.json()]


def test_a_body_that_is_no_json_or_too_large_is_refused(ask: Ask) -> None:
    media_type = "content-type: application/x-www-form-urlencoded"

    assert problem(ask("POST", "/notes"))[0] == 400
    assert problem(ask("POST", "/notes", media_type))[0] == 415
    assert problem(ask("POST", "/notes", body={"title": "t", "text": "x" * 40_000}))[0] == 413


def test_nothing_is_changed_without_the_key(ask: Ask) -> None:
    """It is asked for before the note is looked for, and before the body is read."""
    for key in (None, "", "another key", KEY.upper(), "clé"):
        for method, path in (
            ("POST", "/notes"),
            ("PUT", "/notes/1"),
            ("DELETE", "/notes/1"),
        ):
            answer = ask(method, path, key=key)
            assert problem(answer) == (401, "the key is needed")
            assert answer.fields["www-authenticate"] == 'Bearer realm="notes"'
    basic = ask("POST", "/notes", f"authorization: Basic {KEY}", key=None, body=DRAFT)
    assert problem(basic)[0] == 401
    assert ask("GET", "/notes", key=None).json() == {"total": 0, "notes": []}


def test_what_is_not_there_is_404(ask: Ask) -> None:
    assert problem(ask("GET", "/notes/7")) == (404, "there is no note 7")
    assert problem(ask("PUT", "/notes/7", "if-match: *", body=DRAFT))[0] == 404
    assert problem(ask("DELETE", "/notes/7"))[0] == 404
    for path in ("/notes/seven", "/", "/notes/1/tags"):
        assert problem(ask("GET", path)) == (404, "no route answers GET for this path")


def test_another_method_is_405(ask: Ask) -> None:
    answer = ask("PATCH", "/notes/1", body={})

    assert problem(answer)[0] == 405
    assert {"GET", "PUT", "DELETE"} <= set(answer.fields["allow"].split(", "))


def test_an_export_has_one_note_a_line(ask: Ask) -> None:
    assert ask("GET", "/notes/export", key=None).body == b""
    created = [ask("POST", "/notes", body={"title": f"né\n{n}"}).json() for n in range(3)]

    answer = ask("GET", "/notes/export", key=None)

    assert answer.fields["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in answer.body.splitlines()] == created


def test_a_preflight_lets_pages_of_one_origin_change_notes(ask: Ask) -> None:
    def preflight(origin: str, method: str) -> Answer:
        return ask(
            "OPTIONS",
            "/notes/1",
            f"origin: {origin}",
            f"access-control-request-method: {method}",
            "access-control-request-headers: authorization, content-type, if-match",
            key=None,
        )

    allowed = preflight(ORIGIN, "PUT")

    assert allowed.status == 200
    assert allowed.fields["access-control-allow-origin"] == ORIGIN
    assert "PUT" in allowed.fields["access-control-allow-methods"]
    assert "if-match" in allowed.fields["access-control-allow-headers"].lower()
    assert preflight(ORIGIN, "PATCH").status == 400
    other = preflight("https://elsewhere.example", "PUT")
    assert (other.status, other.fields["access-control-allow-origin"]) == (400, None)


def test_pages_of_that_origin_see_errors_too(ask: Ask) -> None:
    asked: list[tuple[int, Callable[[str], Answer]]] = [
        (201, lambda origin: ask("POST", "/notes", origin, body=DRAFT)),
        (200, lambda origin: ask("GET", "/notes/1", origin)),
        (304, lambda origin: ask("GET", "/notes/1", origin, "if-none-match: *")),
        (401, lambda origin: ask("POST", "/notes", origin, key=None)),
        (404, lambda origin: ask("GET", "/notes/7", origin)),
        (404, lambda origin: ask("GET", "/nowhere", origin)),
        (405, lambda origin: ask("PATCH", "/notes/1", origin)),
        (412, lambda origin: ask("DELETE", "/notes/1", origin, 'if-match: "x"')),
        (422, lambda origin: ask("POST", "/notes", origin, body={})),
    ]
    for status, call in asked:
        answer = call(f"origin: {ORIGIN}")
        assert answer.status == status
        assert answer.fields["access-control-allow-origin"] == ORIGIN
        assert "etag" in answer.fields["access-control-expose-headers"]
        assert "Origin" in answer.fields["vary"]
    assert (
        ask("GET", "/notes", "origin: https://elsewhere.example").fields[
            "access-control-allow-origin"
        ]
        is None
    )


@pytest.mark.anyio
async def test_there_is_room_for_so_many_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    """And each start begins with none."""
    monkeypatch.setattr(example, "MAX_NOTES", 1)
    fields = {"authorization": f"Bearer {example.KEY}"}
    for _ in range(2):
        async with Client(example.app, headers=fields) as client:
            statuses = [(await client.post("/notes", json=DRAFT)).status_code for _ in range(2)]
            replaced = await client.put("/notes/1", json=DRAFT, headers={"if-match": "*"})

        assert (statuses, replaced.status_code) == ([201, 507], 200)


@pytest.mark.anyio
async def test_a_client_that_leaves_an_export_is_no_error() -> None:
    fields = {"authorization": f"Bearer {example.KEY}"}
    async with Client(example.app, headers=fields) as client:
        for _ in range(3):
            await client.post("/notes", json=DRAFT)
        async with client.stream("GET", "/notes/export") as response:
            assert await response.read(1) == b"{"
            await response.disconnect()

        assert (await client.get("/notes")).json()["total"] == 3
