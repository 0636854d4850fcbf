"""examples/export.py: what csv, json and curl make of an export, whole or cut."""

from __future__ import annotations

import csv
import io
import json
import queue
import re
import sqlite3
import threading
import zlib
from functools import partial
from pathlib import Path

import pytest
from anyio import to_thread

from examples import export
from tests.examples.beside import serving

pytestmark = pytest.mark.anyio

PARTIAL_FILE = 18  # curl's exit status for a body that was cut
SOON_S = 20
KIB = 1024

# A text of each kind that a form has to quote, a number that JavaScript would take for a formula's,
# and nothing at all.
ROWS = [
    (1, 'comma, "quote"\r\nand line', -0.5, None),
    (2, "=1+1", 2**53 + 1, ""),
    (3, "Straße 東京 \u2028", 1e300, "\t\\"),
]
NAMES = ["id", "name, or text", "number", "note"]

COUNT = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n {}) SELECT i"
# The row in the middle has what a form cannot show: bytes in CSV, and infinity in JSON.
HALF = f"{COUNT}, iif(i = 50000, {{}}, i) AS cell FROM n".format("WHERE i < 100000", "{}")
FLOOD = f"{COUNT} FROM n".format("")
SEARCH = f"{COUNT} FROM n WHERE i < 0".format("")  # for a row that never comes


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


@pytest.fixture
async def url(anyio_backend_name):
    async with serving(export.app, anyio_backend_name) as url:
        yield url


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Have the example export `ROWS`, from a file whose name has to be quoted."""
    path = tmp_path / "a shop?.db"
    database = sqlite3.connect(path)
    database.execute('CREATE TABLE items (id, "name, or text", number, note)')
    database.executemany("INSERT INTO items VALUES (?, ?, ?, ?)", ROWS)
    database.commit()
    database.close()
    monkeypatch.setattr(export, "DATABASE", str(path))
    monkeypatch.setattr(export, "QUERY", "SELECT * FROM items ORDER BY id")


@pytest.fixture
def query(monkeypatch):
    return partial(monkeypatch.setattr, export, "QUERY")


@pytest.fixture
def connections(monkeypatch):
    """Queue the connections that are opened, each of which has an event `closed`."""
    opened = queue.SimpleQueue()

    class Watched(sqlite3.Connection):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.closed = threading.Event()
            opened.put(self)

        def close(self):
            super().close()
            self.closed.set()

    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Watched))
    return opened


@pytest.fixture
def fetch(curl, url):
    """Have curl fetch a path; give its status, the head in lower case, and the body."""

    async def fetch(path, *arguments):
        client = curl("--include", *arguments, f"{url}{path}")
        output, _ = await to_thread.run_sync(client.communicate)
        head, _, body = output.partition(b"\r\n\r\n")
        return client.returncode, head.decode().lower(), body

    return fetch


def texts(row):
    return ["" if cell is None else str(cell) for cell in row]


def read_csv(body, encoding="utf-8"):
    return list(csv.reader(io.StringIO(body.decode(encoding), newline="")))


async def test_each_form_has_all_that_the_table_has(table, fetch):
    objects = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
    _, _, as_csv = await fetch("/rows.csv", "--compressed")
    _, _, as_ndjson = await fetch("/rows.ndjson", "--compressed")
    _, _, as_array = await fetch("/rows.json", "--compressed")

    assert read_csv(as_csv) == [NAMES, *map(texts, ROWS)]
    assert [json.loads(line) for line in as_ndjson.split(b"\n")[:-1]] == objects
    assert json.loads(as_array) == objects


async def test_an_empty_table_is_one_in_each_form(query, fetch):
    query("SELECT 1 AS id WHERE 0")

    assert (await fetch("/rows.csv"))[2] == b"id\r\n"
    assert (await fetch("/rows.ndjson"))[2] == b""
    assert json.loads((await fetch("/rows.json"))[2]) == []


@pytest.mark.parametrize(
    ("accept", "status", "extension"),
    [
        ("*/*", 200, "csv"),
        ("application/x-ndjson", 200, "ndjson"),
        ("application/json, text/csv;q=0.5", 200, "json"),
        ("text/html", 406, None),
    ],
)
async def test_a_program_chooses_by_accept(table, fetch, accept, status, extension):
    """The name to save it under, and the type, are those of the form."""
    _, head, _ = await fetch("/rows", "-H", f"accept: {accept}")

    assert head.startswith(f"http/1.1 {status} ")
    assert re.search(r"^vary: .*accept\b", head, re.MULTILINE)
    name = re.search(r"filename=rows-\d{4}-\d\d-\d\d\.(\w+)\r$", head, re.MULTILINE)
    assert (name and name[1]) == extension
    if extension is not None:
        assert re.search(rf"^content-type: \S+[/-]{extension}\b", head, re.MULTILINE)


async def test_a_spreadsheet_gets_a_mark_and_no_formula(table, fetch):
    """Numbers stay numbers, also those below zero."""
    _, _, body = await fetch("/rows.csv?for=excel")

    assert body.startswith(b"\xef\xbb\xbf")
    cells = read_csv(body, "utf-8-sig")
    assert cells[2][1] == "'=1+1"
    assert cells[1][2] == "-0.5"
    assert cells[3] == texts(ROWS[2])
    assert cells[1][1] == ROWS[0][1]


@pytest.mark.parametrize(
    ("text", "harmless"),
    [
        ("=1+1", "'=1+1"),
        ("-1", "'-1"),
        ("\t=1", "\t'=1"),
        ("\n@a", "\n'@a"),
        (" \u3000+1", " \u3000'+1"),
        ("\uff1d1", "'\uff1d1"),
        ("a;=1; =2", "a;'=1; '=2"),
        ('a",=1', "a\",'=1"),
        ("list:\r\n- one", "list:\r\n'- one"),
        ("a-b, c@d.example = +1", "a-b, c@d.example = +1"),
    ],
)
def test_a_formula_is_none_behind_an_apostrophe(text, harmless):
    """Also one where a spreadsheet that separates cells by another sign begins one."""
    (_, line) = export.as_excel([[text]])

    assert read_csv(line.encode()) == [[harmless]]


def test_a_cell_of_a_million_separators_takes_no_longer_for_it():
    """Were it quadratic, this test would take an hour."""
    text = ",\t; " * 250_000

    assert export.harmless([text]) == [text]


@pytest.mark.parametrize("path", ["/rows.csv", "/rows.ndjson", "/rows.json"])
async def test_a_row_that_cannot_be_shown_cuts_the_export(query, fetch, path, caplog):
    """It never looks whole: to curl by its framing, and the array and the gzip have no end."""
    query(HALF.format("x'00'" if path == "/rows.csv" else "9e999"))
    status, _, body = await fetch(path)
    packed_status, head, packed = await fetch(path, "-H", "accept-encoding: gzip")
    unpacked = zlib.decompressobj(wbits=31)

    assert (status, packed_status) == (PARTIAL_FILE, PARTIAL_FILE)
    assert b"40000" in body
    assert not body.rstrip().endswith(b"]")
    assert "\r\ncontent-encoding: gzip\r\n" in head
    assert b"40000" in unpacked.decompress(packed)
    assert not unpacked.eof
    assert ("TypeError" if path == "/rows.csv" else "ValueError") in caplog.text


async def test_two_columns_of_one_name_are_no_object(query, fetch, caplog):
    """Before the first row, and not half-way; CSV can show them."""
    query("SELECT 1 AS '=id', 2 AS '=id'")
    for path in ("/rows.ndjson", "/rows.json"):
        _, head, _ = await fetch(path)

        assert head.split()[1] == "500"
        assert "attachment" not in head
    assert "use AS in the query" in caplog.text
    assert (await fetch("/rows.csv"))[2] == b"=id,=id\r\n1,2\r\n"
    assert (await fetch("/rows.csv?for=excel"))[2] == b"\xef\xbb\xbf'=id,'=id\r\n1,2\r\n"


async def test_one_export_too_many_is_asked_to_come_again(curl, url, query, fetch, monkeypatch):
    """And the place of one that has ended is for the next."""
    query(FLOOD)
    export.app.state.places.total_tokens = 1
    client = curl(f"{url}/rows.ndjson")
    await to_thread.run_sync(client.stdout.read, KIB)
    query("SELECT 1 AS id")
    with monkeypatch.context() as patch:
        patch.setattr(export, "TURN_S", 0.1)
        _, head, _ = await fetch("/rows.csv")
    client.kill()

    assert head.split()[1] == "503"
    assert "\r\nretry-after: 30" in head
    assert (await fetch("/rows.csv"))[2] == b"id\r\n1\r\n"


async def test_a_query_that_fails_at_once_is_an_error_and_no_download(query, fetch, caplog):
    query("SELECT missing")
    status, head, _ = await fetch("/rows.csv")

    assert (status, head.split()[1]) == (0, "500")
    assert "attachment" not in head
    assert "no such column: missing" in caplog.text


async def test_a_database_that_is_not_there_is_not_made(monkeypatch, tmp_path, fetch, caplog):
    path = tmp_path / "missing.db"
    monkeypatch.setattr(export, "DATABASE", str(path))
    _, head, _ = await fetch("/rows.csv")

    assert head.split()[1] == "500"
    assert "unable to open database file" in caplog.text
    assert not path.exists()


@pytest.mark.parametrize("endless", [FLOOD, SEARCH], ids=["rows", "search"])
async def test_a_client_that_leaves_ends_the_query(curl, url, query, connections, endless, caplog):
    """Also where SQLite is still looking for the first row, and nobody has waited for one."""
    query(endless)
    client = curl(f"{url}/rows.ndjson")
    if endless is FLOOD:
        await to_thread.run_sync(client.stdout.read, 64 * KIB)
    connection = await to_thread.run_sync(partial(connections.get, timeout=SOON_S))
    client.kill()

    assert await to_thread.run_sync(connection.closed.wait, SOON_S)
    assert not [each for each in caplog.records if each.levelname == "ERROR"]


async def test_head_opens_no_database(fetch, connections):
    for path in ("/rows.csv", "/rows.ndjson", "/rows.json"):
        _, head, _ = await fetch(path, "--head")

        assert head.startswith("http/1.1 200 ")
        assert "\r\ncontent-disposition: attachment; filename=rows-" in head
    assert connections.empty()


def test_a_million_rows_are_never_held(serve, curl):
    """Served as the docstring says: the export is 29 MB, in the memory of some pieces."""

    def peak_kib():
        (line,) = re.findall(
            r"VmHWM:\s+(\d+) kB", Path(f"/proc/{server.process.pid}/status").read_text()
        )
        return int(line)

    with serve("examples/export.py:app") as server:
        client = curl("--compressed", f"{server.url}/rows.csv")
        assert client.stdout.readline() == b"id,customer,amount\r\n"
        client.stdout.read(KIB * KIB)
        before = peak_kib()
        body, _ = client.communicate()

        assert client.returncode == 0
        assert body.endswith(b"\r\n1000000,customer 0,250000.0\r\n")
        assert peak_kib() - before < 4 * KIB
