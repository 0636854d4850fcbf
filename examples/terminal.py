r"""
Show a shell in a browser's page, to the user of this machine alone.

The server prints the address of the page, which has a token in it:

    nardis serve examples/terminal.py:app

What is typed and what is shown are binary messages, bytes as they are. The page tells its size in a
text message, `{"rows":24,"cols":80}`, and hears of the end in one, `{"status":0}`. The shell ends
with its page, and the page with its shell; what `nohup`, `setsid` or `exit` leave running stays, as
with any terminal.

A client of this WebSocket can do whatever you can. So there are four locks:

- A client has to know the token. It stands behind a `#`, which browsers keep for themselves.
- Only clients of this machine are served, whatever address the server is bound to.
- A page of another origin is refused, as always. Without that, each page that you visit could talk
  to a WebSocket of 127.0.0.1: the same-origin policy of browsers does not hold for them.
- Only names of this machine are served. Else a page elsewhere could let its own name point to
  127.0.0.1, and be of the same origin (DNS rebinding).

The page knows lines, and nothing else. For a whole terminal serve xterm.js (`npm install
@xterm/xterm`), set TERM to "xterm-256color" below, and connect `terminal.onData(type)` and
`terminal.write(new Uint8Array(data))`.
"""

import errno
import json
import os
import secrets
import signal
import sys
import termios
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from hmac import compare_digest
from ipaddress import ip_address

import anyio
from anyio.abc import Process

from nardis import HTTPError, Limits, Nardis, Next, Request, Response, WebSocket, shielded

SHELL = [os.environ.get("SHELL", "/bin/sh")]
TOKEN = secrets.token_urlsafe(32)
READ_BYTES = 64 * 1024
MESSAGE_BYTES = 64 * 1024  # the page cuts what is pasted
SIZES = range(1, 1001)  # rows or columns
HANG_UP_S = 2  # from SIGHUP to SIGKILL
REAP_S = 1
# The last output has to be taken within that, after the end of the shell. Where it has left
# something in the background there is no end of the output.
REST_S = 2
SERVICE_RESTART = 1012  # close code, of IANA's registry

# Makes the terminal at its stdin the one that controls it, and becomes the shell. It is no
# preexec_fn, because between fork and exec a process with threads may only run C; and not
# `setsid --ctty`, which only Linux has. The shell would inherit what is ignored: SIGPIPE by Python,
# and SIGHUP where `nohup` has started the server.
BECOME = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
for each in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(each, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
"""

STYLE = """
pre, span { font: 14px/18px monospace; white-space: pre-wrap; word-break: break-all }
span { position: absolute; visibility: hidden }
"""
SCRIPT = r"""
const screen = document.querySelector("pre"), probe = document.querySelector("span");
const state = document.querySelector("output");
const decoder = new TextDecoder(), encoder = new TextEncoder();
const token = location.hash.slice(1) || "none";
const socket = new WebSocket(`${location.origin.replace("http", "ws")}/shell`, ["terminal", token]);
socket.binaryType = "arraybuffer";
socket.onopen = tellSize;
socket.onmessage = ({data}) => {
  if (typeof data !== "string") show(decoder.decode(data, {stream: true}));
  else state.value = `The shell has ended with ${JSON.parse(data).status}.`;
};
socket.onclose = ({code, reason}) => { state.value ||= reason || `It was closed (${code}).` };

let lines = [""], column = 0, unfinished = "";
const SEQUENCE = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])/g;
function show(text) {
  text = (unfinished + text).replace(SEQUENCE, "");
  const end = text.indexOf("\x1b");
  unfinished = end >= 0 && text.length - end < 1000 ? text.slice(end) : "";
  if (unfinished) text = text.slice(0, end);
  for (const piece of text.match(/[\0-\x1f]|[^\0-\x1f]+/g) ?? []) {
    if (piece === "\n") lines.push("");
    if (piece === "\r" || piece === "\n") column = 0;
    else if (piece === "\b") column = Math.max(column - 1, 0);
    else if (piece === "\t" || piece > "\x1f") put(piece);
  }
  lines = lines.slice(-1000);
  screen.textContent = lines.join("\n");
  scrollTo(0, document.body.scrollHeight);
}
function put(text) {
  const line = lines.pop();
  lines.push(line.slice(0, column) + text + line.slice(column + text.length));
  column += text.length;
}

const KEYS = {
  Enter: "\r", Backspace: "\x7f", Tab: "\t", Escape: "\x1b", Delete: "\x1b[3~", Home: "\x1b[H",
  End: "\x1b[F", ArrowUp: "\x1b[A", ArrowDown: "\x1b[B", ArrowRight: "\x1b[C", ArrowLeft: "\x1b[D",
};
function type(text) {
  for (let at = 0; at < text.length; at += 10000)
    socket.send(encoder.encode(text.slice(at, at + 10000)));
}
addEventListener("keydown", event => {
  const {key, ctrlKey} = event;
  if (event.metaKey || event.altKey || ctrlKey && (event.shiftKey || key === "v")) return;
  let text = KEYS[key] ?? ([...key].length === 1 ? key : "");
  if (ctrlKey) text = /^[@-_a-z]$/.test(key) ? String.fromCharCode(key.charCodeAt(0) & 31) : "";
  if (text) { event.preventDefault(); type(text) }
});
addEventListener("paste", event =>
  type(event.clipboardData.getData("text").replace(/\r?\n/g, "\r")));

addEventListener("resize", tellSize);
function tellSize() {
  const {width, height} = probe.getBoundingClientRect();
  const count = (space, each) => Math.max(1, Math.min(Math.floor(space / each), 1000));
  const rows = count(innerHeight, height), cols = count(screen.clientWidth, width / 10);
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({rows, cols}));
}
"""
PAGE = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Terminal</title>
<style>{STYLE}</style><pre></pre><p><output></output></p><span>0123456789</span>
<script>{SCRIPT}</script></html>
"""


def source(text: str) -> str:
    """Name an inline text in a Content-Security-Policy, by its digest."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


POLICY = (
    f"default-src 'none'; script-src {source(SCRIPT)}; style-src {source(STYLE)}; "
    "connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)

app = Nardis(
    allowed_hosts=["127.0.0.1", "[::1]", "localhost"],
    limits=Limits(websocket_message_bytes=MESSAGE_BYTES),
)


@app.lifespan
async def lifespan(app: Nardis) -> AsyncIterator[None]:
    print(f"http://127.0.0.1:3000/#{TOKEN} (or another port that it is bound to)", flush=True)
    yield


@app.use
async def only_from_here(req: Request, res: Response, next: Next) -> None:
    """Refuse other machines. Behind a proxy on this one all clients are here; the token remains."""
    if req.client is None or not ip_address(req.client[0]).is_loopback:
        raise HTTPError(403, "this is for the user of that machine")
    await next()


@app.get("/")
async def index(req: Request, res: Response) -> None:
    await res.set("content-security-policy", POLICY).send(PAGE)


@app.websocket("/shell", subprotocols=["terminal"])
async def shell(req: Request, ws: WebSocket) -> None:
    """Run a shell for as long as its page is there."""
    # A page can set no field of a handshake but this one, and a URL would be in logs.
    if not any(compare_digest(each.encode(), TOKEN.encode()) for each in ws.subprotocols):
        raise HTTPError(403, "the token is wrong: take the address that the server has printed")
    await ws.accept()
    async with opened(SHELL) as terminal, anyio.create_task_group() as group:
        leave = group.cancel_scope.cancel
        group.start_soon(terminal.look_after)
        group.start_soon(show, terminal, ws, leave)
        group.start_soon(stop, ws, leave)
        async for message in ws:
            if isinstance(message, bytes):
                await terminal.write(message)
            else:
                terminal.resize(*size_of(message))
        leave()


async def show(terminal: "Terminal", ws: WebSocket, leave: Callable[[], None]) -> None:
    """Send what the shell writes, and how it has ended. What is not taken stops the shell."""
    with terminal.output:
        while data := await terminal.read():
            await ws.send(data)
    await ws.send_json({"status": await terminal.process.wait()})
    await ws.close()
    leave()


async def stop(ws: WebSocket, leave: Callable[[], None]) -> None:
    """Close when the server is about to stop: no shell ends by itself meanwhile."""
    await app.draining.wait()
    await ws.close(SERVICE_RESTART, "the server restarts")
    leave()


def size_of(message: str) -> tuple[int, int]:
    """Read the rows and columns of a page."""
    with suppress(ValueError):
        match json.loads(message[:100]):
            case {"rows": int(rows), "cols": int(cols)} if rows in SIZES and cols in SIZES:
                return rows, cols
            case _:
                pass
    raise HTTPError(422, 'a text message is the size of the page: {"rows":24,"cols":80}')


class Terminal:
    """
    A shell, and our end of its terminal.

    Attributes:
        output: The scope in which it is shown.
    """

    def __init__(self, fd: int, process: Process) -> None:
        self.fd = fd
        self.process = process
        self.output = anyio.CancelScope()

    async def read(self) -> bytes:
        """Wait for output; b"" where nothing has the other end open any more."""
        while True:
            try:
                return os.read(self.fd, READ_BYTES)
            except BlockingIOError:
                await anyio.wait_readable(self.fd)
            except OSError as exc:
                if exc.errno != errno.EIO:  # Linux says that at the end
                    raise
                return b""

    async def write(self, data: bytes) -> None:
        """Write what was typed, as fast as it is read there; nothing where nobody reads."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self.fd, rest) :]
            except BlockingIOError:
                await anyio.wait_writable(self.fd)
            except OSError as exc:
                if exc.errno != errno.EIO:
                    raise
                return

    def resize(self, rows: int, cols: int) -> None:
        """Tell the size; the program in front gets a SIGWINCH."""
        termios.tcsetwinsize(self.fd, (rows, cols))

    async def look_after(self) -> None:
        """Bound the output when the shell has ended."""
        await self.process.wait()
        self.output.deadline = anyio.current_time() + REST_S


@asynccontextmanager
async def opened(command: list[str]) -> AsyncGenerator[Terminal]:
    """Run a command at a terminal of its own, for a block."""
    ours, its = os.openpty()  # no other child inherits them
    try:
        os.set_blocking(ours, False)
        process = await anyio.open_process(
            [sys.executable, "-I", "-S", "-c", BECOME, *command],
            stdin=its,
            stdout=its,
            stderr=its,
            start_new_session=True,  # a session has one terminal, and a group of processes
            env={**os.environ, "TERM": "dumb"},
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(its)
    try:
        yield Terminal(ours, process)
    finally:
        os.close(ours)  # hangs up: the kernel tells the shell, and the program in front
        await ended(process)


async def ended(process: Process) -> None:
    """End a process and its group, and wait for it: what is not waited for stays a zombie."""
    for number, seconds in ((signal.SIGHUP, HANG_UP_S), (signal.SIGKILL, REAP_S)):
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with shielded(seconds):
                await process.wait()


if __name__ == "__main__":
    app.listen()
