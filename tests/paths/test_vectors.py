"""The facts obtained from path-to-regexp 8 and Express 5 hold, except the deviations here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nardis._paths.pattern import compile_pattern
from nardis._paths.segments import split_path
from nardis.errors import HTTPError, PatternError

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "path_vectors.json").read_text()
)["vectors"]

DEVIATIONS = {
    "m31": "text in patterns is compared decoded, so `/café` matches /caf%C3%A9",
    "m73": "the same name twice is an error: one value would be lost without a word",
    "m185": "prefixes are those of use(), where the slashes at their end never count "
    "(Express strips them before it compiles)",
    "m187": "as m185",
}


def vectors(*kinds: str) -> list[Any]:
    return [
        pytest.param(row, id=row["id"])
        for row in VECTORS
        if row["kind"] in kinds and row["id"] not in DEVIATIONS
    ]


def outcome(source: str | list[str], path: str, *, prefix: bool, **options: bool) -> Any:
    """What a pattern makes of a path: None, an exception type, or params."""
    try:
        pattern = compile_pattern(source, **options)
        segments = split_path(path.encode())
        found = pattern.match_prefix(segments) if prefix else pattern.match(segments)
    except (PatternError, HTTPError) as exc:
        return type(exc)
    return found[0] if isinstance(found, tuple) else found


@pytest.mark.parametrize("row", vectors("match"))
def test_path_to_regexp_agrees(row: dict[str, Any]) -> None:
    """Whatever path-to-regexp matches, refuses or cannot decode, Nardis does as well."""
    options, result = row["options"], row["result"]
    found = outcome(
        row["pattern"],
        row["path"],
        prefix=not options.get("end", True),
        case_sensitive=options.get("sensitive", False),
        strict=not options.get("trailing", True),
    )

    if "error" in result:
        assert found is (PatternError if result["when"] == "compile" else HTTPError)
    else:
        assert found == (result["params"] if result["match"] else None)


@pytest.mark.parametrize("row", vectors("express_get", "express_use"))
def test_express_agrees(row: dict[str, Any]) -> None:
    """Status and params are those of a real Express over HTTP."""
    settings, result = row["settings"], row["result"]
    found = outcome(
        row["pattern"],
        row["path"].partition("?")[0],
        prefix=row["kind"] == "express_use",
        case_sensitive=settings.get("case sensitive routing", False),
        strict=settings.get("strict routing", False),
    )

    if "error" in result:
        assert found is PatternError
    else:
        assert found == {200: result.get("params"), 400: HTTPError, 404: None}[result["status"]]


@pytest.mark.parametrize(
    "row", [row for row in vectors("express_use") if row.values[0]["result"]["status"] == 200]
)
def test_express_agrees_on_what_a_prefix_uses_up(row: dict[str, Any]) -> None:
    """The segments a prefix matched are Express's baseUrl."""
    pattern = compile_pattern(row["pattern"], case_sensitive=False)
    raw = row["path"].partition("?")[0]

    found = pattern.match_prefix(split_path(raw.encode()))

    assert found is not None
    used = raw.split("/")[1 : found[1] + 1]
    assert "".join(f"/{segment}" for segment in used) == row["result"]["baseUrl"]


def test_the_deviations_are_what_we_say() -> None:
    """Each deviation is still one, and goes the way that was decided."""
    assert outcome("/café", "/caf%C3%A9", prefix=False) == {}
    assert outcome("/:a/:a", "/1/2", prefix=False) is PatternError
    assert outcome("/", "/x", prefix=True) == {}
    assert outcome("/api/", "/api/x", prefix=True) == {}
    assert DEVIATIONS.keys() <= {row["id"] for row in VECTORS}
