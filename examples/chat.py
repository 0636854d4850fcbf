"""
Talk in rooms: who is there, what was said before, and nobody waits for a slow member.

Open http://127.0.0.1:3000 in several windows:

    nardis serve examples/chat.py:app
    WHEN_SLOW=close nardis serve examples/chat.py:app

Each member has a queue of its own, and one task that sends what is in it. To tell a room something
is to put it into all queues, which waits for nobody. A member whose queue is full misses the oldest
message and is told how many it has missed; or it is closed with 1013, "try again later", and comes
back for the history.

Rooms are in the memory of one process. With several, a broker stands between them: Redis, NATS, or
LISTEN of PostgreSQL. Each process subscribes, and puts what comes into the queues of its members.

A name is not proven here; auth.py does that. Pages of other origins may not open a WebSocket, as
always: they would have the cookies of their visitor. `websocket(origins=[...])` lets some in.
"""

import json
import os
import re
import unicodedata
from base64 import b64encode
from collections import deque
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from hashlib import sha256

import anyio

from nardis import HTTPError, Limits, Nardis, Request, Response, WebSocket

WHEN_SLOW = os.environ.get("WHEN_SLOW", "drop")  # the oldest message; "close" closes the member
ROOMS = 100  # with empty ones, whose history is kept
MEMBERS = 1000  # of a room
HISTORY = 50  # messages that a new member gets
MESSAGE_BYTES = 2000
PACE_S = float(os.environ.get("PACE_S", "0.1"))  # from a member's message to its next one

# So many can leave in one turn of the event loop, before anything is sent. The queues of a room
# share their messages: together they hold 2 MB at most.
QUEUED = int(os.environ.get("QUEUED", str(MEMBERS)))
GOODBYE_S = 5  # for what a member that is closed has not got yet

# Close codes: of IANA's registry, and two of our own (RFC 6455 §7.4).
SERVICE_RESTART = 1012
TRY_AGAIN_LATER = 1013
BAD_NAME = 4000
NAME_IS_TAKEN = 4001

SCRIPT = """
const [join, say] = document.forms, [joining, saying] = document.querySelectorAll("fieldset");
const log = document.querySelector("ol"), here = document.querySelector("ul");
const state = document.querySelector("output");
let joined, tries;
function add(list, text) {
  const item = document.createElement("li");
  item.textContent = text;  // never HTML: somebody has typed it
  list.append(item);
}
function note(text) {
  add(log, text);
  if (log.childElementCount > 500) log.firstChild.remove();
  log.lastChild.scrollIntoView();
}
function show(names) {
  here.replaceChildren();
  for (const name of names) add(here, name);
}
const kinds = {
  here: ({who}) => show(who),
  joined: ({who}) => { add(here, who); note(`${who} is here.`) },
  left: ({who}) => {
    for (const item of [...here.children]) if (who.includes(item.textContent)) item.remove();
    note(`${who.join(", ")} left.`);
  },
  said: ({who, text}) => note(`${who}: ${text}`),
  missed: ({count, here}) => { note(`(${count} messages are missing)`); show(here) },
};
function connect() {
  const url = new URL(`/chat/${encodeURIComponent(join.room.value)}`, location);
  url.protocol = url.protocol.replace("http", "ws");
  url.searchParams.set("name", join.who.value);
  const socket = new WebSocket(url);
  socket.onopen = () => {
    log.replaceChildren();  // the history comes again
    saying.disabled = false;
    state.value = "";
  };
  socket.onmessage = ({data}) => {
    joined = true;
    tries = 0;
    const news = JSON.parse(data);
    kinds[news.kind](news);
  };
  socket.onclose = ({code, reason}) => {
    saying.disabled = true;
    here.replaceChildren();
    state.value = reason || `The connection was lost (${code}).`;
    // Not all at once: a server that restarts has lost everybody at the same time.
    if (joined) setTimeout(connect, Math.random() * Math.min(1000 * 2 ** ++tries, 30000));
    else joining.disabled = false;
  };
  say.onsubmit = event => {
    event.preventDefault();
    socket.send(say.text.value);
    say.reset();
  };
}
join.onsubmit = event => {
  event.preventDefault();
  joining.disabled = true;
  joined = false;
  tries = 0;
  connect();
};
"""
PAGE = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Chat</title>
<form><fieldset>
<label>Room <input name="room" value="lobby" pattern="[A-Za-z0-9_\\-]+" maxlength="40" required>
</label> <label>Name <input name="who" maxlength="20" required></label> <button>Join</button>
</fieldset></form>
<p><output></output></p><ul></ul><ol></ol>
<form><fieldset disabled>
<input name="text" maxlength="{MESSAGE_BYTES // 4}" autocomplete="off" required>
<button>Say</button>
</fieldset></form>
<script>{SCRIPT}</script></html>
"""
DIGEST = b64encode(sha256(SCRIPT.encode()).digest()).decode()
POLICY = f"default-src 'none'; script-src 'sha256-{DIGEST}'; connect-src 'self'; base-uri 'none'"


class Member:
    """
    One who is in a room.

    Others `put` what it is to get. Its own task sends that, and closes it in the end.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.queue, self.waiting = anyio.create_memory_object_stream[str](QUEUED)
        self.missed = 0
        self.sending = anyio.CancelScope()
        self.ending = (1000, "")

    def put(self, text: str) -> bool:
        """Queue a message for it; return False where it is too slow to stay."""
        try:
            self.queue.send_nowait(text)
        except anyio.WouldBlock:
            if WHEN_SLOW == "close":
                return False
            self.waiting.receive_nowait()
            self.missed += 1
            self.queue.send_nowait(text)
        return True

    def dismiss(self, code: int, reason: str) -> None:
        """Let it get what is in its queue, if it takes it soon, and close it then."""
        self.ending = code, reason
        self.queue.close()
        self.sending.deadline = anyio.current_time() + GOODBYE_S

    async def serve(self, ws: WebSocket, room: "Room") -> None:
        """Send what is put, at the pace of this member."""
        with self.sending:
            async for text in self.waiting:
                if self.missed:
                    missed, self.missed = self.missed, 0
                    # Who came and who left may be among it.
                    await ws.send(message("missed", count=missed, here=room.names()))
                await ws.send(text)
        await ws.close(*self.ending)


class Room:
    """Who is there, and what was said. Nothing in it awaits, so nothing comes in between."""

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self.history: deque[str] = deque(maxlen=HISTORY)

    def names(self) -> list[str]:
        return [member.name for member in self.members.values()]

    @contextmanager
    def joined(self, name: str) -> Generator[Member]:
        """Be in the room for a block, however that ends."""
        member, key = Member(name), name.casefold()
        for text in self.history:
            member.put(text)
        self.tell(message("joined", who=name))
        self.members[key] = member
        member.put(message("here", who=self.names()))
        try:
            with member.queue, member.waiting:
                yield member
        finally:
            if self.members.get(key) is member:
                del self.members[key]
                self.tell(message("left", who=[name]))

    def say(self, member: Member, text: str) -> None:
        if self.members.get(member.name.casefold()) is member:  # else it was dismissed
            said = message("said", who=member.name, text=text)
            self.history.append(said)
            self.tell(said)

    def tell(self, text: str) -> None:
        """Tell everybody; and if some are too slow for that, the others that those have left."""
        while slow := {key: each for key, each in self.members.items() if not each.put(text)}:
            for key, each in slow.items():
                del self.members[key]
                each.dismiss(TRY_AGAIN_LATER, "you are too slow for this room")
            text = message("left", who=[each.name for each in slow.values()])


def message(kind: str, **more: object) -> str:
    """Encode once what everybody gets."""
    return json.dumps({"kind": kind, **more}, ensure_ascii=False)


rooms: dict[str, Room] = {}  # the one that was entered last is the last
app = Nardis(limits=Limits(write_stall_s=20, websocket_message_bytes=MESSAGE_BYTES))


@app.lifespan
async def lifespan(app: Nardis) -> AsyncIterator[None]:
    app.tasks.start_soon(say_goodbye, app)
    yield


async def say_goodbye(app: Nardis) -> None:
    """Close everybody when the server is about to stop, which has nothing to wait for then."""
    await app.draining.wait()
    for room in rooms.values():
        members = list(room.members.values())
        room.members.clear()  # nobody has to hear that the others leave as well
        for member in members:
            member.dismiss(SERVICE_RESTART, "the server restarts")


@app.get("/")
async def index(req: Request, res: Response) -> None:
    await res.set("content-security-policy", POLICY).send(PAGE)


@app.param("room")
def checked(room: str) -> str:
    """Take short names: for a ValueError there is no such route."""
    if not re.fullmatch("[A-Za-z0-9_-]{1,40}", room):
        raise ValueError(room)
    return room


@app.websocket("/chat/:room")
async def chat(req: Request, ws: WebSocket) -> None:
    """Let a member hear everything, and everybody hear what it says."""
    if app.draining.is_set():
        raise HTTPError(503, "the server restarts")
    # It is refused after that, by a Close: a page does not see why a handshake failed.
    await ws.accept()
    name = name_of(req)
    if not name:
        return await ws.close(BAD_NAME, "a name has up to 20 characters, none of them hidden")
    room = entered(req.params["room"])
    if room is None:
        return await ws.close(TRY_AGAIN_LATER, "there is no place left")
    if name.casefold() in room.members:
        return await ws.close(NAME_IS_TAKEN, "somebody of this name is here")
    with room.joined(name) as member:
        async with anyio.create_task_group() as group:
            group.start_soon(member.serve, ws, room)
            async for text in ws:
                if isinstance(text, bytes):
                    raise HTTPError(415, "only text can be said here")
                room.say(member, text)
                await anyio.sleep(PACE_S)  # what is said faster waits with the client
            group.cancel_scope.cancel()


def name_of(req: Request) -> str:
    """Return the name that a member wants, or "" where nobody may have it."""
    # Letters that look the same are the same.
    name = unicodedata.normalize("NFKC", req.query.get("name", "")).strip()
    return name if len(name) <= 20 and name.isprintable() else ""


def entered(name: str) -> Room | None:
    """
    Return a room that has a place left, or None.

    A new room takes that of the empty one that nobody has entered for the longest time.
    """
    room = rooms.pop(name, None) or Room()
    empty = (each for each, other in rooms.items() if not other.members)
    if len(rooms) >= ROOMS:
        oldest = next(empty, None)
        if oldest is None:
            return None
        del rooms[oldest]
    rooms[name] = room
    return room if len(room.members) < MEMBERS else None


if __name__ == "__main__":
    app.listen()
