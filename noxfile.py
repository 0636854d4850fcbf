"""
What CI runs, one session for each question: `nox -l` lists them, `nox -s NAME` runs one.

    pip install nox && nox -s tests
    nox -s tests-3.12 -- tests/project -x      # words after `--` go to the tool behind the session
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nox
from packaging.requirements import Requirement

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")

THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
PYTHONS = ["3.11", "3.12", "3.13", "3.14", "3.15"]
# nox skips a Python that the machine lacks, and says so. The one that runs nox is always in the
# list, so at least one runs; where it is newer than we promise, it shows whether we could.
TEST_PYTHONS = PYTHONS if THIS_PYTHON in PYTHONS else [*PYTHONS, THIS_PYTHON]

# Names the Python (`3.11`) whose run of `tests` is measured, so that CI need not run the tests once
# more for their coverage.
MEASURED_PYTHON = os.environ.get("NARDIS_COVERAGE")

# Whatever the machine says of that, keep what was compiled: the tests start hundreds of servers,
# and each would compile all of Nardis again. It is a quarter of their time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

nox.options.sessions = ["lint", "types", "tests", "coverage", "examples", "docs"]
nox.options.reuse_venv = "yes"
# By default nox skips a missing Python on a laptop and fails on it where CI is set; here both skip.
# `.ci/run` then checks by itself that every Python it found was tested.
nox.options.error_on_missing_interpreters = False
nox.options.download_python = "never"


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format with ruff. `-- --fix` mends what it can."""
    session.install(*group("lint"))
    session.run("ruff", "check", *session.posargs, ".")
    session.run("ruff", "format", *([] if "--fix" in session.posargs else ["--diff"]), ".")


@nox.session
def types(session: nox.Session) -> None:
    """
    Check types with mypy and pyright, both strict, and that public names have full types.

    The programs of our pages are checked as well: a reader copies them.
    """
    session.install("-e", ".[all]", *group("test"), *group("types"), *group("docs"))
    session.run("mypy")
    # The pin is on purpose: no hint that a newer pyright exists. Without --project a
    # pyrightconfig.json above the checkout wins.
    quiet = {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    session.run("pyright", "--project", "pyproject.toml", env=quiet)
    session.run(
        "pyright",
        "--project",
        "pyproject.toml",
        "--ignoreexternal",
        "--verifytypes",
        "nardis",
        env=quiet,
    )
    programs = Path(session.create_tmp()).resolve() / "programs"
    shutil.rmtree(programs, ignore_errors=True)  # those of pages as they were before
    session.run("python", "-m", "tests.typing.snippets", str(programs))
    session.run("pyright", "--project", str(programs), env=quiet)


@nox.session(python=TEST_PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests and doctests on each supported Python that this machine has."""
    session.install("-e", ".[all]", *group("test"))
    if session.python == MEASURED_PYTHON:
        session.run("coverage", "erase")
        pytest(session, "coverage", "run", "-m")
    else:
        pytest(session)


@nox.session
def lowest(session: nox.Session) -> None:
    """Run the tests with the lowest version of each dependency that pyproject.toml allows."""
    bounds = lower_bounds()
    session.install(
        "-e",
        ".[all]",
        *group("lowest"),
        *(f"{name}=={version}" for name, version in bounds.items()),
    )
    session.run(
        "python",
        "-c",
        "import sys, importlib.metadata as m; print({n: m.version(n) for n in sys.argv[1:]})",
        *bounds,
    )
    pytest(session)


@nox.session
def coverage(session: nox.Session) -> None:
    """
    Run the tests, counting branches: 100 % of nardis/ and tests/.

    `-- report` only reports what `tests` has measured.
    """
    if session.posargs == ["report"]:
        session.install(*(each for each in group("test") if each.startswith("coverage")))
    else:
        session.install("-e", ".[all]", *group("test"))
        session.run("coverage", "erase")
        pytest(session, "coverage", "run", "-m")
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def examples(session: nox.Session) -> None:
    """
    Drive every program in examples/ by its test in tests/examples/, and the page of the demo.

    `browser` is the latter alone; here it needs no environment of its own.
    """
    if not any((ROOT / "tests" / "examples").glob("**/test_*.py")):
        session.skip("tests/examples/ has no tests yet")
    session.install("-e", ".[all]", *group("examples"))
    # Most of them wait, for servers and for a browser.
    spread = ("--numprocesses=3", "--dist=loadfile")
    session.run("pytest", *spread, "tests/examples", "tests/demo", *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """Use the demo's page in headless Chromium, where the machine has it and ChromeDriver."""
    session.install("-e", ".", *group("browser"))
    session.run("pytest", "tests/demo", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """
    Run what our pages show, check their links, and build them as a site.

    It fails where a public name has no place in the reference.
    """
    session.install("-e", ".[all]", *group("test"), *group("docs"))
    session.run("pytest", "tests/test_docs.py", "tests/project/test_reference.py", *session.posargs)
    site = Path(session.create_tmp()).resolve() / "site"
    session.run(
        "mkdocs",
        "build",
        "--quiet",
        "--strict",
        "--config-file",
        "docs/_site/mkdocs.yml",
        "--site-dir",
        str(site),
    )
    session.run("pytest", "tests/project/test_reference.py", env={"NARDIS_SITE": str(site)})
    session.log(f"the pages are in {site / 'index.html'}")


@nox.session
def servers(session: nox.Session) -> None:
    """Run the streaming tests on each server we know, and write the result to docs/servers.md."""
    session.install("-e", ".[all]", *group("servers"))
    # As a module: the plugin is imported before pytest would find the checkout.
    session.run(
        "python",
        "-m",
        "pytest",
        "-p",
        "tests.wire.report",
        "tests/wire",
        *session.posargs,
        env={"NARDIS_SERVERS": "all"},
    )


@nox.session
def bench(session: nox.Session) -> None:
    """
    Measure Nardis beside its peers, for docs/performance.md.

    `-- --quick` only prints, in half a minute.
    """
    session.install("-e", ".[all]", *group("bench"))
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def instructions(session: nox.Session) -> None:
    """
    Fail where a request costs 3 % more instructions than are noted in benchmarks/instructions.json.

    They do not depend on the load of the machine, but on the build of Python; valgrind counts them.
    `-- --write` notes them anew.
    """
    session.install("-e", ".[all]", *group("bench"))
    session.run("python", "-m", "benchmarks.ratchet", *session.posargs)


def fuzz_python() -> str | None:
    """Return a Python that the machine has and atheris has wheels for; `None` if there is none."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return None
    wheels = ["3.11", "3.12", "3.13", "3.14"]
    if THIS_PYTHON in wheels:
        return THIS_PYTHON
    # Run, not only found: pyenv has a command for each Python, and it may fail.
    found = (python for python in wheels if shutil.which(f"python{python}"))
    return next((python for python in found if runs(f"python{python}")), None)


def runs(command: str, program: str = "") -> bool:
    """Return whether a Python starts, and runs *program*."""
    return not subprocess.run([command, "-c", program], stderr=subprocess.DEVNULL).returncode


FUZZ_PYTHON = fuzz_python()


@nox.session(python=FUZZ_PYTHON)
def fuzz(session: nox.Session) -> None:
    """
    Look for inputs that parsers get wrong, for a minute with each target in tests/fuzz/.

    `-- ranges --seconds 600` is one target for ten minutes.
    """
    if FUZZ_PYTHON is None:
        session.skip("atheris has no wheel for a Python of this machine")
    session.install("--only-binary=atheris", "-e", ".", *group("fuzz"))
    session.run("python", "-m", "tests.fuzz", *session.posargs)


@nox.session
def autobahn(session: nox.Session) -> None:
    """
    Have the Autobahn testsuite talk to our WebSockets, on both event loops, for a quarter hour.

    It is the command in $WSTEST, or the `wstest` on the PATH, or is installed for a Python 2.7.
    `-- -k "not compressed"` is half a minute.
    """
    wstest = os.environ.get("WSTEST") or shutil.which("wstest") or new_wstest(session)
    if not wstest:
        session.skip(f"no `wstest` was found, and no python2.7 with pip to install {AUTOBAHN} for")
    session.install("-e", ".[all]", *group("test"))
    # What takes the time is the testsuite itself, in two tests of six.
    spread = ("--numprocesses=2", "--dist=worksteal")
    session.run("pytest", *spread, "tests/autobahn", *session.posargs, env={"WSTEST": wstest})


# It never came to Python 3, and pins what it needs itself.
AUTOBAHN = "autobahntestsuite==25.10.1"


def new_wstest(session: nox.Session) -> str:
    """Return a command of the testsuite, installed for a Python 2.7; empty if there is none."""
    python = shutil.which("python2.7")
    if python is None or not runs(python, "import pip"):
        return ""
    # virtualenv makes no environments for Python 2 any more. A folder of --target would not do: the
    # namespace of zope.interface needs a file that only the folder of a site is read for.
    base = Path(session.create_tmp()).resolve() / "wstest"
    env = {"PYTHONUSERBASE": str(base)}
    install = (python, "-m", "pip", "install", "--quiet", "--no-warn-script-location", "--user")
    session.run(*install, AUTOBAHN, external=True, env=env)
    return shlex.join(["env", f"PYTHONUSERBASE={base}", python, str(base / "bin" / "wstest")])


@nox.session
def demo(session: nox.Session) -> None:
    """Serve the demo on trio and on asyncio: a page to open, and curl lines; Ctrl-C ends it."""
    session.install("-e", ".")
    # Seconds for a clean stop; nox alone would allow half of one.
    session.run(
        "python",
        "-m",
        "nardis",
        "demo",
        *session.posargs,
        interrupt_timeout=10,
        terminate_timeout=5,
    )


def pytest(session: nox.Session, *wrapper: str) -> None:
    """Run all tests except those with a session of their own, or what stands after `--`."""
    # More than there are cores: tests over sockets mostly wait. The tests of a file stay together,
    # as do the servers that they share.
    spread = ("--numprocesses=4", "--dist=loadfile")
    session.run(
        *wrapper,
        "pytest",
        *spread,
        "--ignore=tests/autobahn",
        "--ignore=tests/examples",
        "--ignore=tests/demo",
        *session.posargs,
    )


def group(name: str) -> list[str]:
    """Return the requirements of a PEP 735 group and of the groups that it includes."""
    return list(nox.project.dependency_groups(PROJECT, name))


def lower_bounds() -> dict[str, str]:
    """
    Return the lowest version that pyproject.toml allows of each dependency and each extra.

    All of them must name one with `>=`.
    """
    extras: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
    texts: list[str] = PROJECT["project"]["dependencies"] + [
        text for texts in extras.values() for text in texts
    ]
    requirements = [
        requirement for requirement in map(Requirement, texts) if requirement.name != "nardis"
    ]
    return {
        requirement.name: next(
            part.version for part in requirement.specifier if part.operator == ">="
        )
        for requirement in requirements
    }
