"""
Show a clock and the progress of jobs in a browser, which goes on where it was when it comes back.

Open http://127.0.0.1:3000 in several windows, and cut them off:

    nardis serve examples/events.py:app

    curl -N http://127.0.0.1:3000/clock
    curl -i -X POST http://127.0.0.1:3000/jobs
    curl -N -H "Last-Event-ID: 3" http://127.0.0.1:3000/jobs/1234abcd/events
"""

import os
import re
import secrets
import time
from base64 import b64encode
from datetime import datetime
from hashlib import sha256

import anyio

from nardis import HTTPError, Limits, Nardis, Request, Response

STEPS = int(os.environ.get("STEPS", "20"))  # of a job
STEP_S = float(os.environ.get("STEP_S", "0.5"))
RUNNING = 8  # jobs at a time
KEPT = 1000  # jobs that can still be asked for, with those that run

SCRIPT = """
const clock = document.querySelector("time"), jobs = document.querySelector("ul");
const button = document.querySelector("button"), said = document.querySelector("output");
new EventSource("/clock").onmessage = ({data}) => { clock.textContent = data };
button.onclick = async () => {
  const answer = await fetch("/jobs", {method: "POST"});
  said.value = answer.ok ? "" : "Too many jobs, try again soon.";
  if (answer.ok) watch(answer.headers.get("location"));
};
function watch(events) {
  const item = jobs.appendChild(document.createElement("li"));
  const bar = item.appendChild(document.createElement("progress"));
  const text = item.appendChild(document.createElement("span"));
  const source = new EventSource(events);
  source.addEventListener("progress", ({data}) => {
    const {step, steps} = JSON.parse(data);
    bar.max = steps;
    bar.value = step;
  });
  for (const end of ["done", "failed"])  // the server calls none "error": that is the browser's
    source.addEventListener(end, () => { text.textContent = end; source.close() });
  source.onerror = () => {  // unless it is closed, the browser is going to come back
    if (source.readyState === EventSource.CLOSED) text.textContent ||= "lost";
  };
}
"""
PAGE = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Events</title>
<p><time>…</time></p><p><button>Start a job</button> <output></output></p><ul></ul>
<script>{SCRIPT}</script></html>
"""
DIGEST = b64encode(sha256(SCRIPT.encode()).digest()).decode()
POLICY = f"default-src 'none'; script-src 'sha256-{DIGEST}'; connect-src 'self'; base-uri 'none'"


class Job:
    """
    What a job has said, and a notice of more.

    Each watcher reads the log at its own pace. Nobody has a queue, and nobody waits for a slow one.
    """

    def __init__(self) -> None:
        self.log: list[tuple[str, object]] = []
        self.is_over = False
        self.news = anyio.Event()

    def say(self, event: str, data: object) -> None:
        self.log.append((event, data))
        self.is_over = event != "progress"
        news, self.news = self.news, anyio.Event()
        news.set()

    async def run(self) -> None:
        """Work, and end with a word about it, whatever happens."""
        try:
            for step in range(1, STEPS + 1):
                await anyio.sleep(STEP_S)
                self.say("progress", {"step": step, "steps": STEPS})
        except BaseException:  # cancelled, too: nobody is to wait for it
            self.say("failed", None)
            raise  # the log of the server has it
        self.say("done", {"steps": STEPS})


# In the memory of one process. With several, or to survive a restart, a database has the logs.
jobs: dict[str, Job] = {}
app = Nardis(limits=Limits(write_stall_s=20))


@app.get("/")
async def index(req: Request, res: Response) -> None:
    await res.set("content-security-policy", POLICY).send(PAGE)


@app.get("/clock")
async def clock(req: Request, res: Response) -> None:
    """Send the time each second; who missed some does not want them."""
    async with res.sse(retry=1) as events:
        while True:
            await events.send(datetime.now().astimezone().isoformat(timespec="seconds"))
            await anyio.sleep(1 - time.time() % 1)


@app.post("/jobs")
async def start(req: Request, res: Response) -> None:
    """Start a job, unless there are too many, and forget the oldest that is over."""
    over = [name for name, job in jobs.items() if job.is_over]
    if len(jobs) - len(over) >= RUNNING:
        raise HTTPError(503, "too many jobs are running", headers={"retry-after": "5"})
    for name in over[: max(0, len(jobs) - KEPT + 1)]:
        del jobs[name]
    name = secrets.token_hex(8)
    job = jobs[name] = Job()
    app.tasks.start_soon(job.run)
    await res.status(202).location(f"/jobs/{name}/events").json({"job": name})


@app.get("/jobs/:job/events")
async def watch(req: Request, res: Response) -> None:
    """Send what a job says: all of it, or what is behind the last event that the client has."""
    job = jobs.get(req.params["job"])
    if job is None:
        raise HTTPError(404, "there is no such job")  # the browser does not come back
    last = req.last_event_id
    seen = int(last) if re.fullmatch("[0-9]{1,9}", last) else 0
    if job.is_over and seen >= len(job.log):
        await res.status(204).send()  # nor here: it has everything
        return
    async with res.sse(retry=1) as events:
        while seen < len(job.log) or not job.is_over:
            if seen >= len(job.log):
                await job.news.wait()
            for event, data in job.log[seen:]:
                seen += 1
                await events.send(data, event=event, id=str(seen))


if __name__ == "__main__":
    app.listen()
