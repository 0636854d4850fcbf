r"""
Send Arrow record batches as they are made, and read others as they arrive.

A table may have any length: one batch of it is in memory, here and at a client that reads it so.

    pip install pyarrow && nardis serve examples/arrow.py:app

    python -c '
    import urllib.request, pyarrow as pa
    with urllib.request.urlopen("http://127.0.0.1:3000/squares") as answer:
        for batch in pa.ipc.open_stream(answer):
            print(batch.num_rows, batch["square"][-1])'

    curl -sN http://127.0.0.1:3000/squares | curl -T - http://127.0.0.1:3000/sums
"""

# pyarrow has no types.
# pyright: basic, reportAttributeAccessIssue=false, reportMissingImports=false

import io
import os
import struct
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
from anyio import CapacityLimiter, from_thread, to_thread

from nardis import HTTPError, Limits, Nardis, Request, Response

ROWS = int(os.environ.get("ROWS", "10_000_000"))
BATCH_ROWS = 64 * 1024
SQUARES = pa.schema({"n": pa.int64(), "square": pa.int64()})

ARROW_STREAM = "application/vnd.apache.arrow.stream"
# A message of Arrow says beforehand how much memory it wants; a compressed one may want much more.
MESSAGE_BYTES = 64 * 1024**2
# What stands for the length of a message behind the last one.
END = bytes(4)
# A client that is being read from holds a thread, however slow it is.
READERS = 100

app = Nardis(limits=Limits(streamed_body_bytes=10 * 1024**3, body_idle_s=15, write_stall_s=20))


@app.lifespan
async def lifespan(app: Nardis) -> AsyncGenerator[None, None]:
    """Keep threads for uploads apart from those that everything else shares."""
    app.state.readers = CapacityLimiter(READERS)
    yield


@app.get("/squares")
async def squares(req: Request, res: Response) -> None:
    """Send a batch when the client took the one before."""
    res.attachment("squares.arrows").type(ARROW_STREAM)
    await res.pipe(written(SQUARES, make_squares()))


def make_squares() -> Iterator[pa.RecordBatch]:
    """Make batches; those of a Parquet file, of DuckDB or of ADBC are iterated as well."""
    for start in range(0, ROWS, BATCH_ROWS):
        n = pa.array(range(start, min(start + BATCH_ROWS, ROWS)), pa.int64())
        yield pa.record_batch([n, pc.multiply(n, n)], schema=SQUARES)


class Sink(io.BytesIO):
    """A file for Arrow to write to, emptied after each batch."""

    def take(self) -> bytes:
        data = self.getvalue()
        self.seek(0)
        self.truncate()
        return data


def written(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    """
    Write *batches* as a stream of Arrow, one a piece.

    Arrow's readers take a stream that lacks its end for a whole one. So it is HTTP that tells a
    client of batches that could not be made: the answer is cut.
    """
    sink = Sink()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
            yield sink.take()
    yield sink.take()  # its end, and of a table without rows its schema


@app.put("/sums")
async def sums(req: Request, res: Response) -> None:
    """Sum up a column of a table, batch by batch, while the client sends it."""
    rows = total = 0
    async with aclosing(arriving(req)) as batches:
        async for batch in batches:
            rows += batch.num_rows
            total += pc.sum(batch["square"]).as_py() or 0
    await res.json({"rows": rows, "sum": total})


class Body(io.RawIOBase):
    """The body of a request as a file for Arrow to read from, in a thread of anyio's."""

    def __init__(self, req: Request) -> None:
        self._chunks = aiter(req)
        self._held = bytearray()
        self.last = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Wait for *size* bytes; fewer are there at the end alone."""
        if not 0 <= size <= MESSAGE_BYTES:
            raise HTTPError(
                413, f"{size} bytes are too much for a message, if this is Arrow at all"
            )
        while len(self._held) < size and (chunk := from_thread.run(self._next)):
            self._held += chunk
        self.last = bytes(self._held[:size])
        del self._held[:size]
        return self.last

    def check_end(self) -> None:
        """Arrow takes a stream for whole that breaks off between two batches; this does not."""
        if self.last != END or self.read(1):
            raise HTTPError(400, "the body does not end where the table does: is it whole?")

    async def _next(self) -> bytes:
        return await anext(self._chunks, b"")


async def arriving(req: Request) -> AsyncGenerator[pa.RecordBatch, None]:
    """Read the body as a stream of Arrow; the next chunk is asked for when Arrow wants it."""
    in_thread = partial(to_thread.run_sync, limiter=app.state.readers)
    body = Body(req)
    try:
        messages = await in_thread(begin, body)
        while (batch := await in_thread(read, messages)) is not None:
            yield batch
        await in_thread(body.check_end)
    except (pa.ArrowException, OSError, struct.error) as exc:
        raise HTTPError(400, f"the body is no stream of Arrow: {exc}") from exc


def begin(body: Body) -> pa.ipc.MessageReader:
    """Read the columns, and let nothing but a table of squares pass."""
    messages = pa.ipc.MessageReader.open_stream(body)
    first = next(messages, None)
    if first is None or first.type != "schema":
        raise HTTPError(400, "the body is no stream of Arrow")
    if pa.ipc.read_schema(first) != SQUARES:
        raise HTTPError(422, f"a table of squares has the columns {SQUARES}")
    return messages


def read(messages: pa.ipc.MessageReader) -> pa.RecordBatch | None:
    """Read a batch, None at the end. Offsets that lead out of it would crash this process."""
    message = next(messages, None)
    if message is None:
        return None
    if message.type != "record batch":
        raise HTTPError(400, f"a table of squares has no {message.type}")
    if is_compressed(message):
        raise HTTPError(415, "batches must not be compressed: a KB of them may be gigabytes")
    batch = pa.ipc.read_record_batch(message, SQUARES)
    batch.validate(full=True)
    return batch


def is_compressed(message: pa.Message) -> bool:
    """
    Whether a batch has to be decompressed, which pyarrow neither shows nor bounds.

    It is in the head of the message, a flatbuffer that pyarrow has checked: `compression` is the
    fourth field of a RecordBatch, and that is the third one of a Message (Message.fbs of Arrow).
    Before version 5 it could stand elsewhere, so the versions before count as compressed.
    """
    head = message.metadata.to_pybytes()

    def number(form: str, at: int) -> int:
        return int(struct.unpack_from(form, head, at)[0])

    def place(table: int, field: int) -> int:
        """Return where a field of a table leads to, 0 if it is left out."""
        vtable = table - number("<i", table)
        if number("<H", vtable) <= 4 + 2 * field:
            return 0
        offset = number("<H", vtable + 4 + 2 * field)
        return offset and table + offset + number("<I", table + offset)

    batch = place(number("<I", 0), 2)
    return message.metadata_version < pa.ipc.MetadataVersion.V5 or place(batch, 3) != 0


if __name__ == "__main__":
    app.listen()
