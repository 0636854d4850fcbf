"""
Send a folder as a tar archive that is made while it is sent.

Its size is not known beforehand, and it is never held: each block of a file is read when the client
has taken the one before.

    FOLDER=photos nardis serve examples/tar.py:app

    curl -s http://127.0.0.1:3000/folder.tar | tar t
    curl -s http://127.0.0.1:3000/folder.tar | tar x -C /tmp
"""

import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

from anyio import to_thread

from nardis import HTTPError, Limits, Nardis, Request, Response

FOLDER = Path(os.environ.get("FOLDER", Path(__file__).parent)).resolve()

# Large enough that a visit to the thread is cheap beside it.
BLOCK_BYTES = 256 * 1024

app = Nardis(limits=Limits(write_stall_s=20))


@app.get("/folder.tar")
async def folder(req: Request, res: Response) -> None:
    """Send the folder for the client to save; a generator has a thread of its own."""
    if not await to_thread.run_sync(FOLDER.is_dir):
        raise HTTPError(404, "there is no such folder")
    res.attachment(f"{FOLDER.name}.tar")  # which sets the type, too
    await res.pipe(archive(FOLDER))


def archive(folder: Path) -> Iterator[bytes]:
    """
    Make a tar archive of the folders and regular files in *folder*, piece by piece.

    What cannot be read, or shrinks while it is read, is an error. The client then has an archive
    that is visibly cut, and not one with a hole.
    """
    # By descriptors: the walk stays in the folder, whatever is renamed or linked meanwhile.
    for root, folders, names, fd in os.fwalk(folder, onerror=give_up):
        folders.sort()
        path = Path(root).relative_to(folder.parent)
        yield header(path, os.fstat(fd))
        for name in sorted(names):
            # Nothing else is even opened: that would wait for a FIFO, and rewind a tape.
            if stat.S_ISREG(os.lstat(name, dir_fd=fd).st_mode):
                yield from member(path / name, name, fd)
    yield bytes(2 * tarfile.BLOCKSIZE)


def member(path: Path, name: str, folder_fd: int) -> Iterator[bytes]:
    """Make the part of the archive that one file is."""

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder_fd)

    with open(name, "rb", buffering=0, opener=opener) as file:
        status = os.fstat(file.fileno())
        # Head and padding go along with blocks: alone they would cost more than they carry.
        head = header(path, status)
        left = status.st_size
        while left:
            block = file.read(min(BLOCK_BYTES, left))
            if not block:
                raise OSError(f"{path} shrank while it was sent")
            left -= len(block)
            if not left:
                block += bytes(-status.st_size % tarfile.BLOCKSIZE)
            yield head + block
            head = b""
        if head:
            yield head


def header(path: Path, status: os.stat_result) -> bytes:
    """Describe a file or a folder; who owns it here is nobody's business."""
    info = tarfile.TarInfo(path.as_posix())
    info.mode = stat.S_IMODE(status.st_mode)
    info.mtime = int(status.st_mtime)
    if stat.S_ISDIR(status.st_mode):
        info.type = tarfile.DIRTYPE
    else:
        info.size = status.st_size
    return info.tobuf(tarfile.PAX_FORMAT)


def give_up(error: OSError) -> None:
    raise error


if __name__ == "__main__":
    app.listen()
