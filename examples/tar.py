"""
Send a folder as a tar archive that is made while it is sent.

Its size is not known beforehand, and it is never held: each block of a file is read when the client
has taken the one before.

    FOLDER=photos nardis serve examples/tar.py:app

    curl -s http://127.0.0.1:3000/folder.tar | tar t
    curl -s http://127.0.0.1:3000/folder.tar | tar x -C /tmp
"""

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from nardis import Limits, Nardis, Request, Response

FOLDER = Path(os.environ.get("FOLDER", Path(__file__).parent))

# Large enough that a visit to the thread is cheap beside it.
BLOCK_BYTES = 256 * 1024

app = Nardis(limits=Limits(write_stall_s=20))


def archive(folder: Path) -> Iterator[bytes]:
    """
    Make a tar archive of *folder*, piece by piece.

    What cannot be read, or shrinks while it is read, is an error: the client then has an archive
    that is visibly cut, and not one with a hole.
    """
    # It only describes files for us: nothing is ever written to it.
    describe = tarfile.TarFile(os.devnull, "w").gettarinfo
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            continue
        info = describe(str(path), path.relative_to(folder.parent).as_posix())
        info.uid = info.gid = 0  # who owns it here is nobody's business
        info.uname = info.gname = ""
        yield info.tobuf(tarfile.PAX_FORMAT)
        if info.isfile():
            with path.open("rb") as file:
                left = info.size
                while left:
                    block = file.read(min(BLOCK_BYTES, left))
                    if not block:
                        raise OSError(f"{path} shrank while it was sent")
                    left -= len(block)
                    yield block
            yield bytes(-info.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


@app.get("/folder.tar")
async def folder(req: Request, res: Response) -> None:
    """Send the folder for the client to save; a generator has a thread of its own."""
    res.type("application/x-tar").attachment(f"{FOLDER.name}.tar")
    await res.pipe(archive(FOLDER))


if __name__ == "__main__":
    app.listen()
