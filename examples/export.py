r"""
Send the rows of a query as a download of any length: as CSV, as NDJSON, or as a JSON array.

The rows are read while the client takes them, and a client that leaves ends the query, also one
that has not found its first row.

    DATABASE=shop.db QUERY="SELECT * FROM orders" nardis serve examples/export.py:app

    curl --compressed -OJ http://127.0.0.1:3000/rows.csv  # or rows.ndjson, or rows.json
    curl -H "Accept: application/x-ndjson" http://127.0.0.1:3000/rows
    curl -OJ "http://127.0.0.1:3000/rows.csv?for=excel"
"""

import csv
import os
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from contextlib import closing
from datetime import date
from typing import Any, TypeAlias
from urllib.parse import quote

from anyio import CapacityLimiter, fail_after

from nardis import HTTPError, Limits, Nardis, Next, Request, Response
from nardis.middleware import compression

DATABASE = os.environ.get("DATABASE", ":memory:")
# Without one from outside, a million rows are made up.
QUERY = os.environ.get(
    "QUERY",
    "WITH RECURSIVE n(id) AS (VALUES (1) UNION ALL SELECT id + 1 FROM n WHERE id < 1000000) "
    "SELECT id, 'customer ' || (id % 1000) AS customer, id * 0.25 AS amount FROM n",
)

# What one visit to the thread brings back of CSV. A visit costs as much as twenty rows, so an
# export in pieces of one row would take twenty times as long. The verbs for items see to that
# themselves.
PIECE_CHARS = 64 * 1024
# How often SQLite asks whether to go on: after so many steps of its machine, which take less than a
# millisecond.
STEPS = 10_000

# An export holds a thread and a view of the data, at the pace of its client. So there are not many
# at once, a client waits some seconds for its turn, and nobody may take for ever.
EXPORTS = 50
TURN_S = 5
EXPORT_S = 15 * 60

# Where a spreadsheet finds a formula, which may send the other cells elsewhere: at the beginning of
# a text, and behind what some of them take for the end of a cell, whatever we say. Those of East
# Asia know the wide signs.
FORMULA = re.compile(r"""(^|[;,"\t\r\n])([^\S\t\r\n]*)(?=[-=+@\uff0d\uff1d\uff0b\uff20])""")

Row: TypeAlias = Iterable[Any]
# Makes the text of a table, a line at a time; the first row has the names of the columns.
Form: TypeAlias = Callable[[Iterable[Row]], Iterable[str]]

# A client that has taken nothing for 20 s is cut off as well.
app = Nardis(limits=Limits(write_stall_s=20, handler_s=EXPORT_S))
app.use(compression())


@app.lifespan
async def lifespan(app: Nardis) -> AsyncIterator[None]:
    app.state.places = CapacityLimiter(EXPORTS)
    yield


async def in_turn(req: Request, res: Response, next: Next) -> None:
    """Wait for one of the places, and hold it until the export has ended."""
    places: CapacityLimiter = app.state.places
    try:
        with fail_after(TURN_S):
            await places.acquire()
    except TimeoutError as exc:
        raise HTTPError(503, "too many exports at once", headers={"retry-after": "30"}) from exc
    try:
        await next()
    finally:
        places.release()


@app.get("/rows", in_turn)
async def rows(req: Request, res: Response) -> None:
    """Let programs choose by Accept; a link in a page cannot, and has names below."""
    types = {"csv": csv_rows, "application/x-ndjson": ndjson_rows, "json": json_rows}
    await res.format(types)


@app.get("/rows.csv", in_turn)
async def csv_rows(req: Request, res: Response) -> None:
    res.attachment(f"rows-{date.today()}.csv")
    await res.pipe(pieces(req, as_excel if req.query.get("for") == "excel" else as_csv))


@app.get("/rows.ndjson", in_turn)
async def ndjson_rows(req: Request, res: Response) -> None:
    res.attachment(f"rows-{date.today()}.ndjson")
    await res.ndjson(records(req))


@app.get("/rows.json", in_turn)
async def json_rows(req: Request, res: Response) -> None:
    res.attachment(f"rows-{date.today()}.json")
    await res.json_array(records(req))


def table(req: Request) -> Generator[Row, None, None]:
    """
    Give the names of the columns, and then the rows.

    A generator has a thread of its own. The connection is opened, used and closed in that thread,
    whatever happens, and nothing is opened for HEAD.
    """
    uri = f"file:{quote(DATABASE)}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as database:
        # A thread cannot be cancelled, but SQLite can be asked to stop.
        database.set_progress_handler(lambda: req.close_reason is not None, STEPS)
        try:
            rows = database.execute(QUERY)
            yield [column[0] for column in rows.description]
            yield from rows
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise


def records(req: Request) -> Iterator[dict[str, Any]]:
    """Give the rows by the names of their columns, for `res.ndjson()` and `res.json_array()`."""
    with closing(table(req)) as rows:
        names = list(next(rows, ()))  # none where the query was ended before
        if len(set(names)) < len(names):
            raise ValueError(f"an object has each name once: use AS in the query, for {names}")
        for row in rows:
            yield dict(zip(names, row, strict=True))


def pieces(req: Request, form: Form) -> Iterator[str]:
    """Make CSV, in pieces by size and not by number, because rows may be long."""
    held: list[str] = []
    size = 0
    with closing(table(req)) as rows:
        for line in form(rows):
            held.append(line)
            size += len(line)
            if size >= PIECE_CHARS:
                yield "".join(held)
                held.clear()
                size = 0
    yield "".join(held)


class Echo:
    """A file for the csv module: `writerow` returns what `write` does."""

    def write(self, line: str) -> str:
        return line


def as_csv(rows: Iterable[Row]) -> Iterator[str]:
    """Make CSV as RFC 4180 has it, with a head. Each cell is as the database has it."""
    line = csv.writer(Echo()).writerow
    for row in rows:
        if bytes in map(type, row):
            raise TypeError("CSV is text, and would show bytes as b'...': select hex(column)")
        yield line(row)


def as_excel(rows: Iterable[Row]) -> Iterator[str]:
    """Make CSV for spreadsheets: with a mark that it is UTF-8, and no text that is a formula."""
    yield "\ufeff"
    yield from as_csv(map(harmless, rows))


def harmless(row: Row) -> list[Any]:
    """Put an apostrophe before what a spreadsheet would compute in a text; numbers are numbers."""
    return [FORMULA.sub(r"\1\2'", cell) if isinstance(cell, str) else cell for cell in row]


if __name__ == "__main__":
    app.listen()
