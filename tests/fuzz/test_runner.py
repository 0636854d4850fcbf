"""`python -m tests.fuzz`: a finding fails, and is printed so that it can be shown again."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

import tests.fuzz.__main__ as runner
from tests.fuzz import TARGETS, ranges

SEEDS = len(list(ranges.seeds()))

# What the runner needs of atheris, whose wheels are for few systems.
ATHERIS = """
    import contextlib
    import pathlib
    import sys

    arguments, options = [], {}

    @contextlib.contextmanager
    def instrument_imports(include):
        assert "nardis" in include
        assert not any(name.startswith("nardis") for name in sys.modules)
        yield

    def Setup(argv, check):
        arguments[:] = [check, *(each for each in argv[1:] if not each.startswith("-"))]
        options.update(each.removeprefix("-").split("=") for each in argv if each.startswith("-"))

    def Fuzz():
        check, corpus, seeds = arguments
        inputs = [each.read_bytes() for each in pathlib.Path(seeds).iterdir()]
        for each in inputs:
            check(each)
        assert not [*pathlib.Path(corpus).iterdir()]
        print(options["max_total_time"], "s,", options["rss_limit_mb"], "MB", file=sys.stderr)
        print("stat::number_of_executed_units:", len(inputs), file=sys.stderr)
"""
CRASHES = """
        print("Uncaught Python exception", file=sys.stderr)
        pathlib.Path(options["artifact_prefix"] + "crash-1f").write_bytes(b"7\\x00'\\xff")
        sys.exit(77)
"""
LEAVES_A_FILE = """
        pathlib.Path(options["artifact_prefix"] + "slow-unit-1f").write_bytes(b"")
"""
STOPS = """
        sys.exit(1)
"""
RUNS_NOTHING = """
    def Fuzz():
        print("stat::number_of_executed_units: 0", file=sys.stderr)
"""
IS_MISSING = """
    raise ModuleNotFoundError("No module named 'atheris'")
"""


Outcome: TypeAlias = tuple[int, str]


@pytest.fixture
def fuzz_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Fuzz `ranges` with an engine of that source; return the status, and what was said."""

    def run(*sources: str) -> Outcome:
        (tmp_path / "atheris.py").write_text(textwrap.dedent("".join(sources)))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        status = runner.main(["ranges", "--seconds", "7"])
        return status, capsys.readouterr().out

    return run


def test_a_target_that_holds_is_well(fuzz_with: Callable[..., Outcome]) -> None:
    assert fuzz_with(ATHERIS) == (0, f"ranges: {SEEDS} inputs, well\n")


def test_a_finding_fails_and_is_shown_as_python(fuzz_with: Callable[..., Outcome]) -> None:
    status, said = fuzz_with(ATHERIS, CRASHES)
    *output, summary, finding = said.splitlines()
    assert status == 1
    assert output[0] == "7 s, 512 MB"
    assert output[-1] == "Uncaught Python exception"
    assert summary == f"ranges: {SEEDS} inputs, FAILED"
    assert finding == 'crash: from tests.fuzz.ranges import check; check(b"7\\x00\'\\xff")'
    line = finding.removeprefix("crash: ")
    exec(line, {})  # it holds, which the engine said that it does not


@pytest.mark.parametrize(
    ("engine", "reason", "inputs"),
    [
        ((ATHERIS, LEAVES_A_FILE), "", SEEDS),
        ((ATHERIS, STOPS), "", SEEDS),
        ((ATHERIS, RUNS_NOTHING), "stat::number_of_executed_units: 0", "no"),
        ((IS_MISSING,), "ModuleNotFoundError: No module named 'atheris'", "no"),
    ],
    ids=["a file is left", "it stops", "nothing is run", "it is missing"],
)
def test_an_engine_that_does_not_do_its_work_fails(
    fuzz_with: Callable[..., Outcome], engine: tuple[str, ...], reason: str, inputs: object
) -> None:
    status, said = fuzz_with(*engine)
    assert status == 1
    assert reason in said
    assert f"ranges: {inputs} inputs, FAILED\n" in said


def test_all_targets_are_fuzzed_after_a_finding_too(monkeypatch: pytest.MonkeyPatch) -> None:
    fuzzed: list[tuple[str, int]] = []

    def fuzz(name: str, seconds: int) -> bool:
        fuzzed.append((name, seconds))
        return name != TARGETS[0]

    monkeypatch.setattr(runner, "fuzz", fuzz)
    assert runner.main([]) == 1
    assert fuzzed == [(name, 60) for name in TARGETS]
    assert runner.main([TARGETS[1], "--seconds=600"]) == 0
    assert fuzzed[-1] == (TARGETS[1], 600)


@pytest.mark.parametrize("arguments", [["nothing"], ["--seconds=0"], ["--seconds=1.5"]])
def test_a_wrong_command_is_refused(arguments: list[str]) -> None:
    """For libFuzzer 0 seconds are no bound."""
    with pytest.raises(SystemExit) as caught:
        runner.main(arguments)
    assert caught.value.code == 2


def test_each_module_with_a_check_is_a_target() -> None:
    folder = Path(runner.__file__).parent
    found = [path.stem for path in folder.glob("*.py") if "\ndef check(" in path.read_text()]
    assert sorted(found) == sorted(TARGETS)
