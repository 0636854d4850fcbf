"""What `express.static` answers, as far as Nardis means to answer the same."""

from __future__ import annotations

import os

import pytest

from nardis import Nardis, static
from nardis.testing import Client
from tests.static_files.conftest import load

pytestmark = pytest.mark.anyio

VECTORS = load("static_vectors.json")["vectors"]
FILES = {
    "a.txt": "0123456789",
    "index.html": "<p>root</p>",
    "dir/index.html": "<p>dir</p>",
    ".dot": "x",
    ".secret/k.txt": "k",
    "page.html": "page",
    "empty.txt": "",
    "sp ace.txt": "s",
    "naïve.txt": "n",
    "noext": "n",
    "a.json": "{}",
    "a.tar.gz": "z",
    "pct%41.txt": "p",
}
CHANGED = 1_000_000_000
NAMES = {"maxAge": "max_age"}
AGES = {"1d": 86400, "10y": 315360000}

# On purpose: a strong ETag, without which no If-Range could ever hold (RFC 9110 §13.1.5); of the
# same text, so that a copy from either counts.
# On purpose: the pages of errors and redirects are Nardis' own.
OWN_PAGES = {
    "accept-ranges",
    "cache-control",
    "content-length",
    "content-security-policy",
    "content-type",
    "etag",
    "last-modified",
    "x-content-type-options",
}

# On purpose: what leads outside is not there, and does not look like anything else; no path has a
# NUL.
OTHER_STATUSES = {"/..%2fpub%2fa.txt": 404, "/a%00.txt": 400}


@pytest.fixture
def root(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        os.utime(path, (CHANGED, CHANGED))
    (tmp_path / "nodir").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    "row",
    [row for row in VECTORS if "acceptRanges" not in row["options"]],
    ids=lambda row: f"{row['mount']} {row['request']} {row['options']} {row['headers']}",
)
async def test_express_agrees(root, row):
    options = {
        NAMES.get(name, name): AGES.get(value, value) if isinstance(value, str) else value
        for name, value in row["options"].items()
    }
    app = Nardis()
    app.use(row["mount"], static(root, **options))
    method, path = row["request"].split(" ", 1)
    async with Client(app) as client:
        answer = await client.request(method, path, headers=row["headers"])
    expected = {name: value.replace("W/", "") for name, value in row["response"].items()}
    if row["body"] == "<html page>":
        expected = {name: expected[name] for name in expected if name not in OWN_PAGES}

    assert answer.status_code == OTHER_STATUSES.get(path, row["status"])
    for name, value in expected.items():
        assert answer.headers[name].lower() == value.lower(), name
    if row["body"] is not None and row["body"] != "<html page>":
        assert answer.text == row["body"]
