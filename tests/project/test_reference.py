"""The reference has a page for each public module, and each public name is on one."""

from __future__ import annotations

import importlib
import inspect
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, is_typeddict

import pytest

from nardis import Nardis
from nardis.routing.layer import RouteOptions, WebSocketOptions
from tests.project.test_public import OPEN, is_described, offered

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {path.stem: path.read_text() for path in sorted((DOCS / "reference").glob("*.md"))}
MODULES = {name: importlib.import_module(name) for name in OPEN}

# `nox -s docs` builds the pages first, and says where they are.
SITE = Path(os.environ.get("NARDIS_SITE", "no-site"))

# How a docstring begins of what no page shows, and the comment above such members.
HIDDEN = "For Nardis itself"
HEADING = "    # --- for Nardis itself ---"

# What mkdocstrings is told to show. A block with options of its own may leave names out.
BLOCK = re.compile(r"^::: (\S+)$(?!\n+ )", re.MULTILINE)


def without_page(modules: Mapping[str, Iterable[str]], pages: Mapping[str, str]) -> list[str]:
    """Return the names that no page would show; *modules* has those in each `__all__`."""
    shown = {path for text in pages.values() for path in BLOCK.findall(text)}
    return [
        f"{module}.{name}"
        for module, names in modules.items()
        for name in names
        if shown.isdisjoint({module, f"{module}.{name}"})
    ]


def without_types(thing: object) -> list[str]:
    """Return the parameters of a function or a property that have no type, and its result."""
    if isinstance(thing, property):
        thing = thing.fget
    elif isinstance(thing, cached_property):
        thing = cast("cached_property[object]", thing).func
    if not inspect.isfunction(thing):
        return []
    signature = inspect.signature(thing)
    bare = [
        name
        for at, (name, parameter) in enumerate(signature.parameters.items())
        if parameter.annotation is parameter.empty and (at or name not in ("self", "cls"))
    ]
    return bare if signature.return_annotation is not signature.empty else [*bare, "return"]


def members_of(cls: type) -> Iterator[str]:
    """Go through the public members of *cls*, but not through those for Nardis itself."""
    source, words = inspect.getsource(cls), cls.__doc__ or ""
    below = source.partition(HEADING)[2]
    inside = set(re.findall(r"^    (?:async )?def (\w+)", below, re.MULTILINE))
    inside |= set(re.findall(rf"^ +(\w+): {HIDDEN}", words, re.MULTILINE))
    described = {
        name
        for name, member in vars(cls).items()
        if is_described(member) and not (inspect.getdoc(member) or "").startswith(HIDDEN)
    }
    for name in {**vars(cls), **inspect.get_annotations(cls)}:
        is_member = name in described or name in inspect.get_annotations(cls)
        if is_member and name not in inside and not name.startswith("_"):
            yield name


def lineage(cls: type) -> Sequence[type]:
    """
    Return *cls* and its bases.

    Those of a `TypedDict` are not in its MRO: they are those beside it that have no other keys.
    """
    if not is_typeddict(cls):
        return inspect.getmro(cls)
    keys = inspect.get_annotations(cls)
    beside = vars(importlib.import_module(cls.__module__)).values()
    return [
        each
        for each in beside
        if is_typeddict(each) and inspect.get_annotations(each).items() <= keys.items()
    ]


def without_anchor(modules: Mapping[str, Any], anchors: set[str]) -> list[str]:
    """
    Return the public names that have no anchor on the site, and their public members.

    A page may have them under the name of the module that defines them, or of a base.
    """
    missing: list[str] = []
    for module, contents in modules.items():
        for name in contents.__all__:
            path, thing = f"{module}.{name}", getattr(contents, name)
            if path not in anchors:
                missing.append(path)
            classes = lineage(thing) if inspect.isclass(thing) else ()
            ours = [each for each in classes if each.__module__.startswith("nardis")]
            homes = {path, *(f"{each.__module__}.{each.__qualname__}" for each in ours)}
            missing += [
                f"{path}.{member}"
                for member in dict.fromkeys(name for each in ours for name in members_of(each))
                if anchors.isdisjoint(f"{home}.{member}" for home in homes)
            ]
    return missing


def anchors_of(site: Path) -> set[str]:
    """Return each `id` on the pages of the reference."""
    pages = (site / "reference").glob("*.html")
    return {anchor for page in pages for anchor in re.findall(r'\bid="([^"]+)"', page.read_text())}


def test_each_public_module_has_a_page_and_no_page_is_of_anything_else() -> None:
    assert sorted(PAGES) == sorted(OPEN)


def test_each_public_name_is_on_a_page() -> None:
    assert without_page({name: module.__all__ for name, module in MODULES.items()}, PAGES) == []


def test_a_name_without_a_page_is_found() -> None:
    """A check that cannot fail checks nothing: a module without a page, and a block that picks."""
    modules = {"nardis.a": ["A", "B"], "nardis.b": ["C"], "nardis.c": ["D"]}
    pages = {
        "nardis.a": "# a\n\n::: nardis.a.A\n",
        "nardis.b": "# b\n\n::: nardis.b\n\nMore.\n",
        "nardis.c": "# c\n\n::: nardis.c\n    options:\n      members: [E]\n",
    }

    assert without_page(modules, pages) == ["nardis.a.B", "nardis.c.D"]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_a_title_some_words_and_its_module(name: str) -> None:
    """A block below the words is all: what it shows stands in the docstrings."""
    assert re.fullmatch(rf"# {name}\n\n[^#:].*\n::: {name}\n", PAGES[name], re.DOTALL)


def test_each_page_is_in_the_menu() -> None:
    """In the order of the modules, each under its name."""
    config = (DOCS / "_site" / "mkdocs.yml").read_text()
    listed = re.findall(r"^ +- (nardis[\w.]*): reference/(\S+)\.md$", config, re.MULTILINE)

    assert listed == [(name, name) for name in OPEN]


@pytest.mark.parametrize("name", OPEN)
def test_each_public_name_has_a_docstring_and_types(name: str) -> None:
    """So do the methods and properties of a class; a constant may be explained by a comment."""
    bare = {
        label: without_types(thing) if inspect.getdoc(thing) else ["docstring"]
        for label, thing in offered(MODULES[name])
    }

    assert {label: missing for label, missing in bare.items() if missing} == {}


def test_a_name_without_types_is_found() -> None:
    def hold(self: object, first: int, *rest: str) -> None: ...

    assert without_types(hold) == []
    del hold.__annotations__["first"], hold.__annotations__["return"]
    assert without_types(hold) == ["first", "return"]
    getter: Any = hold
    assert without_types(property(getter)) == ["first", "return"]


@pytest.mark.skipif(not SITE.exists(), reason="`nox -s docs` builds the pages first")
def test_each_public_name_has_its_anchor_on_the_site() -> None:  # pragma: no cover  # as it says
    """So does each public member of a class, and nothing is shown that is for Nardis itself."""
    assert without_anchor(MODULES, anchors_of(SITE)) == []
    assert [
        page.name for page in (SITE / "reference").glob("*.html") if HIDDEN in page.read_text()
    ] == []


def test_a_name_without_an_anchor_is_found(tmp_path: Path) -> None:
    """A member counts as well, and one of a base has its place on the page of that."""
    (tmp_path / "reference").mkdir()
    ids = ["nardis.Nardis", "nardis.app.Nardis.listen", "nardis.routing.router.Router.get"]
    text = "".join(f'<h2 id="{each}"></h2>' for each in ids)
    (tmp_path / "reference" / "nardis.app.html").write_text(text)
    modules = {"nardis": SimpleNamespace(__all__=["Nardis", "T"], Nardis=Nardis, T=None)}

    missing = without_anchor(modules, anchors_of(tmp_path))

    assert "nardis.T" in missing
    assert "nardis.Nardis.tasks" in missing
    assert {"nardis.Nardis", "nardis.Nardis.listen", "nardis.Nardis.get"} & {*missing} == set()
    assert "nardis.Nardis.begin_trail" not in missing


def test_a_key_of_a_typed_dict_may_have_its_place_with_the_base() -> None:
    assert lineage(WebSocketOptions) == [RouteOptions, WebSocketOptions]
    assert lineage(RouteOptions) == [RouteOptions]
