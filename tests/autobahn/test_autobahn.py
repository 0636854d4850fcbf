"""
The Autobahn testsuite: half a thousand conversations, each right or broken in its own way.

The session `autobahn` of nox runs this; $WSTEST is the command of the testsuite.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.wire.servers import OURS, serving_to_the_end

WSTEST = shlex.split(os.environ.get("WSTEST", "wstest"))
SECONDS = 3600  # for one of them, on a busy machine

Results = dict[str, dict[str, str]]  # by the number of a case

# 9 is speed, with messages of up to 16 MiB; 12 and 13 are permessage-deflate. There is no 8 or 11.
PLAIN = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*")
COMPRESSED = ("12.*", "13.*")

# NON-STRICT is what the standard allows, and Autobahn does not prefer. An INFORMATIONAL case has no
# right answer.
PASSED = {"OK", "NON-STRICT", "INFORMATIONAL"}

pytestmark = [
    pytest.mark.skipif(shutil.which(WSTEST[0]) is None, reason="the testsuite is not installed"),
    pytest.mark.timeout(SECONDS),
    pytest.mark.parametrize("kind", OURS),
]


def test_no_compressed_conversation_fails(kind, tmp_path):
    """Messages of all sizes, with windows of all sizes."""
    assert findings(fuzz(kind, COMPRESSED, tmp_path, "--ws-compression"), tmp_path) == []


def test_no_conversation_fails(kind, tmp_path):
    """Messages, fragments, UTF-8, what is broken, and each way to close."""
    assert findings(fuzz(kind, PLAIN, tmp_path), tmp_path) == []


def test_compression_is_declined(kind, tmp_path):
    """A server that was not told to compress does not."""
    results = fuzz(kind, ("12.1.1", "13.1.1"), tmp_path)

    assert [result["behavior"] for result in results.values()] == ["UNIMPLEMENTED"] * 2


def fuzz(kind: str, cases: tuple[str, ...], directory: Path, *options: str) -> Results:
    """Have the testsuite talk to a server of *kind*, and return what came of each case."""
    with serving_to_the_end(kind, directory, *options, target="tests.autobahn.app:app") as server:
        specification = {
            "outdir": str(directory),
            "servers": [{"agent": "nardis", "url": f"ws://127.0.0.1:{server.port}"}],
            "cases": cases,
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        (directory / "spec.json").write_text(json.dumps(specification))
        command = [*WSTEST, "--mode=fuzzingclient", f"--spec={directory / 'spec.json'}"]
        with open(directory / "wstest.log", "wb") as log:
            status = subprocess.run(command, cwd=directory, stdout=log, stderr=log).returncode
    assert status == 0, (directory / "wstest.log").read_text()[-2000:]
    assert len(server.unusual()) == 1, server.log()  # the line that greets
    results: Results = json.loads((directory / "index.json").read_text())["nardis"]
    # The testsuite does not say that it knows no case of a name.
    assert {name.split(".")[0] for name in results} == {name.split(".")[0] for name in cases}
    return results


def findings(results: Results, directory: Path) -> list[str]:
    """Return a line about each case that has not passed."""
    found = []
    for name, result in results.items():
        if not {result["behavior"], result["behaviorClose"]} <= PASSED:
            report = json.loads((directory / result["reportfile"]).read_text())
            expected, received = str(report["expected"])[:300], str(report["received"])[:300]
            found.append(
                f"{name}: {report['result']} {report['resultClose']} "
                f"{expected} was expected, and {received} came"
            )
    return found
