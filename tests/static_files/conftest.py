"""Trees of files, as the shared cases describe them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

VECTORS = Path(__file__).parents[1] / "vectors"


def load(name: str) -> Any:
    """Read a file of shared cases."""
    return json.loads((VECTORS / name).read_text())


def plant(base: Path, tree: list[dict[str, Any]]) -> None:
    """Make a tree of files."""
    for each in tree:
        path = base / each["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        if each["type"] == "file":
            path.write_text(each["content"])
            path.chmod(int(each.get("mode", "644"), 8))
        elif each["type"] == "symlink":
            path.symlink_to(each["target"].replace("${BASE}", str(base)))
        else:
            os.mkfifo(path)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The tree of `static_paths.json`, with files inside and outside of `site`."""
    plant(tmp_path, load("static_paths.json")["contract"]["tree"])
    return tmp_path
