"""
Hash an upload as it arrives, and report its progress meanwhile.

Bytes flow both ways at once, over plain HTTP/1.1:

    nardis serve examples/upload.py:app

    head -c 50M /dev/zero | curl -N -T - http://127.0.0.1:3000/upload
"""

import hashlib

from nardis import Limits, Nardis, Request, Response

PROGRESS_BYTES = 1024 * 1024

app = Nardis()


# At most 10 GiB, which would cost no more memory than 10 KiB; a client that sends nothing for 15 s
# is cut off.
@app.put("/upload", limits=Limits(streamed_body_bytes=10 * 1024**3, body_idle_s=15))
async def upload(req: Request, res: Response) -> None:
    """Take a body of any length; the last line is its digest, so an answer without one was cut."""
    res.type("text/plain")
    digest = hashlib.sha256()
    size = told = 0
    # A chunk is never empty, and at most a few times 64 KiB: hashing it here holds nobody up.
    async for chunk in req:
        digest.update(chunk)
        size += len(chunk)
        if size - told >= PROGRESS_BYTES:
            told = size
            await res.write(f"{size} bytes\n")
    await res.end(f"{size} bytes, sha256 {digest.hexdigest()}\n")


if __name__ == "__main__":
    app.listen()
