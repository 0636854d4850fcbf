"""`nardis.server.load`: an application by its name."""

import itertools
import sys

import pytest

from nardis import Nardis, UsageError
from nardis.server import load

NUMBERS = itertools.count()

APP = "from nardis import Nardis\napp = Nardis()\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a module of a name that no other test has; give its name."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def write_module(text, folder="."):
        name = f"nardis_loaded_{next(NUMBERS)}"
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"{name}.py").write_text(text)
        return name

    return write_module


def test_a_module_and_a_name(write):
    name = write(f"{APP}other = Nardis(debug=True)\n")

    assert isinstance(load(f"{name}:app"), Nardis)
    assert load(f"{name}:other").debug is True


def test_the_name_may_be_left_out(write):
    name = write(APP)

    assert load(name) is load(f"{name}:") is load(f"{name}:app")


def test_a_name_may_have_dots(write):
    name = write(f"{APP}\nclass Holder:\n    inner = app\n")

    assert load(f"{name}:Holder.inner") is load(name)


def test_a_module_in_a_package(write, tmp_path):
    name = write(APP, f"package_{next(NUMBERS)}")
    [package] = tmp_path.glob("package_*")

    assert isinstance(load(f"{package.name}.{name}:app"), Nardis)


def test_a_file(write, tmp_path):
    """With its folder on the path, so that it finds its neighbours."""
    neighbour = write("value = 7\n", "elsewhere")
    name = write(f"from {neighbour} import value\n{APP}app.state.value = value\n", "elsewhere")

    app = load(str(tmp_path / "elsewhere" / f"{name}.py") + ":app")

    assert app.state.value == 7


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"there is no file \S+/nosuch\.py$"):
        load(str(tmp_path / "nosuch.py") + ":app")


@pytest.mark.parametrize(
    "target",
    [
        "nosuchmodule:app",
        "nosuchmodule",
        "nosuch.module:app",
        "nardis.nosuch:app",
        "json.nosuch:app",
    ],
)
def test_a_missing_module_is_named(target):
    with pytest.raises(UsageError, match=rf"cannot serve '{target}'.*no module"):
        load(target)


@pytest.mark.parametrize("place", ["", ":app", ":Nardis", ":Nardis.get"])
def test_a_missing_name_is_named_with_what_lacks_it(write, place):
    module = write(APP)
    target = f"{module}{place}.nosuch" if place else f"{module}:nosuch"

    with pytest.raises(UsageError, match=rf"'{module}{place}' has no 'nosuch'"):
        load(target)


@pytest.mark.parametrize("target", ["", ":app", ".module:app", "..:app"])
def test_what_cannot_be_a_name_is_refused(target):
    """Not with an error from inside importlib."""
    with pytest.raises(UsageError, match="cannot serve"):
        load(target)


def test_what_is_no_application_is_refused(write):
    """A module with the name of an application's settings, say; before anything is bound."""
    module = write("app = 'text'\n")

    with pytest.raises(UsageError, match="cannot serve"):
        load(f"{module}:app")


@pytest.mark.parametrize("name", ["make", "Nardis"])
def test_what_makes_an_application_is_none(write, name):
    """It would answer each request with a 500."""
    module = write(f"{APP}\ndef make(*, debug=False):\n    return app\n")

    with pytest.raises(UsageError, match=rf"{name}': it takes no arguments.*app = make_app\(\)"):
        load(f"{module}:{name}")


def test_a_callable_that_does_not_say_what_it_takes_may_be_one(write):
    module = write("class App:\n    __signature__ = '?'\n    __call__ = print\napp = App()\n")

    assert callable(load(module))


@pytest.mark.parametrize("name", ["queue", "sys"])
def test_a_file_with_the_name_of_another_module_is_told_so(write, tmp_path, name):
    """Python has that one loaded, and would not look at the file."""
    (tmp_path / f"{name}.py").write_text(APP)

    with pytest.raises(UsageError, match=rf"another module '{name}': give the file a name"):
        load(str(tmp_path / f"{name}.py"))


def test_an_import_that_fails_inside_the_module_is_told_as_it_is(write):
    """The module is there; what it lacks is named, not the module."""
    module = write("import nosuchdependency\n")

    with pytest.raises(ModuleNotFoundError, match="nosuchdependency"):
        load(f"{module}:app")


def test_an_error_inside_the_module_is_told_as_it_is(write):
    module = write("1 / 0\n")

    with pytest.raises(ZeroDivisionError):
        load(f"{module}:app")


def test_a_file_in_another_folder_can_be_named_from_here(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "beside_here.py").write_text("app = print")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path / "here")

    assert load("../beside_here.py:app") is print
    del sys.modules["beside_here"]
