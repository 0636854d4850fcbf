"""The files around the code agree with each other."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest

from nardis._version import __version__

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NOXFILE = ast.parse((ROOT / "noxfile.py").read_text())
SESSIONS = [
    node
    for node in NOXFILE.body
    if isinstance(node, ast.FunctionDef)
    and any("nox.session" in ast.unparse(decorator) for decorator in node.decorator_list)
]


def test_the_installed_version_is_the_written_one():
    """An environment that is out of date is named, before it fails in stranger ways."""
    installed = importlib.metadata.version("nardis")

    assert installed == __version__, (
        f"nardis {installed} is installed: run `pip install -e .` again"
    )


def test_the_changelog_begins_with_what_is_unreleased():
    """A change has a place for its line; every release has its date."""
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert headings[0] == "[Unreleased]"
    assert all(
        re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", heading) for heading in headings[1:]
    )


def test_the_nox_sessions_are_those_we_document():
    """`nox -l` offers what CONTRIBUTING.md documents, no more and no less."""
    documented = re.findall(r"^\| `(\w+)` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)

    assert sorted(session.name for session in SESSIONS) == sorted(documented)


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session.name)
def test_a_nox_session_explains_itself(session):
    """`nox -l` shows the first line of each docstring, so each has one, and it is a sentence."""
    docstring = ast.get_docstring(session)

    assert docstring
    assert docstring.splitlines()[0].endswith(".")


def test_ci_tests_every_python_that_we_promise():
    """The classifiers, the noxfile and .ci/run name the same Pythons."""
    classifiers = PYPROJECT["project"]["classifiers"]
    promised = re.findall(
        r"^Programming Language :: Python :: (3\.\d+)$", "\n".join(classifiers), re.MULTILINE
    )
    assigned = {
        ast.unparse(node.targets[0]): node.value
        for node in NOXFILE.body
        if isinstance(node, ast.Assign)
    }

    assert ast.literal_eval(assigned["PYTHONS"]) == promised
    assert f"for python in {' '.join(promised)}; do" in (ROOT / ".ci" / "run").read_text()
    assert PYPROJECT["project"]["requires-python"] == f">={promised[0]}"


@pytest.mark.parametrize("session", ["tests", "demo"])
def test_two_commands_do_all_the_setup(session):
    """The README gives each command on a line of its own, as CI and a newcomer type it."""
    assert f"pip install nox && nox -s {session}" in (ROOT / "README.md").read_text().splitlines()


def test_ci_takes_its_test_command_from_the_readme():
    """What a newcomer types is what CI runs."""
    assert (
        "grep -m1 -x 'pip install nox && nox -s tests' README.md"
        in (ROOT / ".ci" / "run").read_text()
    )


def test_every_dependency_has_a_lower_bound():
    """The session `lowest` installs just that version: without a bound nothing is tested."""
    extras = PYPROJECT["project"]["optional-dependencies"]
    requirements = PYPROJECT["project"]["dependencies"] + [
        line for lines in extras.values() for line in lines
    ]

    assert [
        line
        for line in requirements
        if not line.startswith("nardis[") and not re.match(r"[\w-]+>=[\d.]+", line)
    ] == []


def test_the_extra_all_names_every_extra():
    """`nardis[all]` is what the tests install."""
    extras = PYPROJECT["project"]["optional-dependencies"]

    assert extras["all"] == [f"nardis[{','.join(name for name in extras if name != 'all')}]"]
