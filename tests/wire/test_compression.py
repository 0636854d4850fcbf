"""Compressed answers over real sockets: curl, httpx2 and Node decode them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import httpx2
import pytest

from tests.wire.compression_app import BODY, EVENTS
from tests.wire.servers import OURS, Server, Sharing

TARGET = "tests.wire.compression_app:app"
CURL, NODE = shutil.which("curl"), shutil.which("node")

# Says of each event when it could be read, and how long all took.
READER = """
const [url, coding] = process.argv.slice(1);
const began = performance.now();
const name = `${coding}-${process.pid}`;
const answer = await fetch(`${url}/events/${name}`, {headers: {"accept-encoding": coding}});
const lines = [], reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
let text = "";
for (;;) {
  const {value, done} = await reader.read();
  if (done) break;
  text += value;
  const events = text.split("\\n\\n");
  text = events.pop();
  for (const event of events) {
    lines.push(event);
    await fetch(`${url}/read/${name}`, {method: "POST"});
  }
}
const coded = answer.headers.get("content-encoding");
console.log(JSON.stringify({coded, lines, took: performance.now() - began}));
"""


@pytest.fixture(params=OURS)
def server(request: pytest.FixtureRequest, shared: Sharing) -> Server:
    return shared(request.param, target=TARGET)


@pytest.mark.skipif(CURL is None, reason="curl is not installed")
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_curl_decodes_it(server: Server, coding: str, tmp_path: Path) -> None:
    """deflate as well, which has two forms."""
    says = subprocess.run([str(CURL), "--version"], capture_output=True, text=True).stdout
    if {"br": "brotli", "zstd": "zstd"}.get(coding, "libz") not in says:  # pragma: no cover
        pytest.skip(f"this curl has no {coding}")
    urls = [f"http://127.0.0.1:{server.port}/{path}" for path in ("whole", "pieces")]
    command = [str(CURL), "-s", "--max-time", "20", "--compressed", "-D", str(tmp_path / "head")]
    done = subprocess.run(
        [*command, "-H", f"Accept-Encoding: {coding}", *urls], capture_output=True, check=True
    )

    assert done.stdout == BODY * 2
    assert (tmp_path / "head").read_text().count(f"content-encoding: {coding}") == 2


@pytest.mark.skipif(CURL is None, reason="curl is not installed")
def test_curl_sees_that_it_was_cut(server: Server) -> None:
    """18 is `CURLE_PARTIAL_FILE`: the connection said so, before the decoder could."""
    url = f"http://127.0.0.1:{server.port}/cut"
    command = [str(CURL), "-s", "--max-time", "20", "--compressed", url]

    assert subprocess.run(command, stdout=subprocess.DEVNULL).returncode == 18


def test_httpx2_decodes_it(server: Server) -> None:
    with httpx2.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as client:
        for path in ("/whole", "/pieces"):
            answer = client.get(path)

            assert answer.content == BODY
            assert answer.headers["content-encoding"] in client.headers["accept-encoding"]


@pytest.mark.skipif(NODE is None, reason="Node.js is not installed")
@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_node_reads_each_event_as_it_is_written(server: Server, coding: str) -> None:
    """None is sent before the last was read; half a second each would be too late."""
    url = f"http://127.0.0.1:{server.port}"
    command = [str(NODE), "--input-type=module", "-e", READER, url, coding]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    told = json.loads(done.stdout)

    assert told["coded"] == coding
    assert told["lines"] == [f"data: event {n}" for n in range(EVENTS)]
    assert told["took"] < EVENTS * 500 / 2
