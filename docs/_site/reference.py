"""
Shapes the pages of the reference: what mkdocstrings shows of the package beyond its defaults.

It is an extension of Griffe, which reads the package for mkdocstrings. What it goes by stands in
the package itself:

- A page has the names in the `__all__` of its module. A name that comes from the module of another
  page is a row with a link, in a table.
- What is there for Nardis itself is left out: its docstring begins so, or it stands below the
  comment that says so. A special method is shown where it has a docstring.
- An entry of an `Attributes:` section is the docstring of that attribute. A comment above a name of
  a module stands for the docstring that it lacks.
- What a class has from a base that no page has is shown as its own, and so is what it has from a
  base on another page. A base on the same page is linked.
- A type that no page has is written out where it has a short name only, and so is a default.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any, Final, cast

from griffe import (
    Alias,
    AliasResolutionError,
    Attribute,
    Class,
    Docstring,
    DocstringAttribute,
    DocstringSection,
    DocstringSectionAttributes,
    DocstringSectionText,
    Expr,
    ExprName,
    Extension,
    Function,
    Module,
    Object,
    ParameterKind,
)

PAGES: Final = frozenset(
    path.stem for path in (Path(__file__).parents[1] / "reference").glob("*.md")
)

HIDDEN: Final = "For Nardis itself"
HEADING: Final = re.compile(r" {4}# --- (.*?) -+$")
DOCTEST: Final = re.compile(r"^>>> .*(?:\n(?!\n).*)*", re.MULTILINE)

# Of what Griffe says of a name, all that its signature does not show.
LABELS: Final = frozenset({"async", "classmethod", "staticmethod"})
STARS: Final[dict[ParameterKind | None, str]] = {
    ParameterKind.var_positional: "*",
    ParameterKind.var_keyword: "**",
}

# Defaults of these types look the same in a signature as in Python.
SIMPLE: Final = (bool, bytes, float, int, str, tuple, type(None))


class Reference(Extension):
    """
    Shapes the package once it is loaded.

    Attributes:
        homes: The page of each public name, by the path of what it means.
    """

    def __init__(self) -> None:
        self.homes: dict[str, str] = {}

    def on_package(self, *, pkg: Module, **kwargs: Any) -> None:
        """Shape all of it, from the inside out: a class shows members of its bases."""
        modules = [pkg, *modules_in(pkg)]
        pages = [module for module in modules if module.path in PAGES]
        self.homes = homes_of(pages)
        for module in modules:
            if module.docstring:
                fence(module.docstring)
            for member in own_members(module):
                self.shape(member)
        members = [each for module in modules for each in own_members(module)]
        classes = [each for each in members if isinstance(each, Class)]
        for cls in classes:
            describe_attributes(cls)
            leave_out(cls)
        for cls in classes:
            inherit(cls)
        for cls in classes:
            cls.bases = [base for base in cls.bases if self.is_known(path_of(base), pkg)]
        for module in pages:
            self.list_others(module)

    def is_known(self, path: str, package: Module) -> bool:
        """Whether *path* names something on a page, or in somebody else's package."""
        return path in self.homes or not path.startswith(f"{package.path}.")

    # --- names ----------------------------------------------------------------------------------

    def shape(self, thing: Attribute | Class | Function) -> None:
        """Shape *thing* and its members."""
        thing.labels &= LABELS
        if thing.docstring:
            fence(thing.docstring)
        if isinstance(thing, Function):
            self.shape_function(thing)
        elif isinstance(thing, Attribute):
            self.shape_attribute(thing)
        else:
            init = thing.members.get("__init__")
            if isinstance(init, Function):
                self.shape(init)  # first: attributes have its types and defaults
                if thing.docstring:
                    name_stars(thing.docstring, init)
            for member in own_members(thing):
                if member is not init:
                    self.shape(member)

    def shape_function(self, function: Function) -> None:
        """Write out types and defaults, those of overloads as well."""
        for each in (function, *(function.overloads or ())):
            each.returns = self.written_out(each.returns)
            for parameter in each.parameters:
                parameter.annotation = self.written_out(parameter.annotation)
                if parameter.kind in STARS:
                    parameter.default = None  # Griffe has an empty tuple or dict there
                elif parameter.default is not None:
                    parameter.default = default_of(function, parameter.name, parameter.default)
        if function.docstring:
            name_stars(function.docstring, function)

    def shape_attribute(self, attribute: Attribute) -> None:
        """Write out the type, which may be that of a parameter of the constructor."""
        cls = attribute.parent
        if str(attribute.annotation) == "TypeAlias":
            value = str(attribute.value)
            if value[0] in "\"'":
                attribute.value = value[1:-1]  # a type of what is defined further below
        if isinstance(cls, Module):
            take_comment(attribute, cls)
        elif isinstance(cls, Class):
            init = cls.members.get("__init__")
            for parameter in init.parameters if isinstance(init, Function) else ():
                if parameter.name == str(attribute.value) and parameter.kind not in STARS:
                    attribute.annotation = attribute.annotation or parameter.annotation
                if parameter.name == attribute.name:
                    attribute.value = parameter.default  # of a dataclass
            if is_set_in_constructor(attribute):
                attribute.value = None  # it says how that works
        attribute.annotation = self.written_out(attribute.annotation)

    def written_out(self, annotation: Any) -> Any:
        """Put what it stands for in the place of a name that no page explains."""
        if isinstance(annotation, ExprName):
            meant = self.meaning_of(annotation)
            return annotation if meant is None else self.written_out(meant)
        if isinstance(annotation, Expr):
            for field in fields(cast("Any", annotation)):
                value = getattr(annotation, field.name)
                if isinstance(value, Expr):
                    setattr(annotation, field.name, self.written_out(value))
                elif isinstance(value, list):
                    parts = [self.written_out(each) for each in cast("list[Any]", value)]
                    setattr(annotation, field.name, parts)
        return annotation

    def meaning_of(self, name: ExprName) -> Expr | None:
        """Return the type that *name* is short for, if no page has the name."""
        scope = name.parent
        while isinstance(scope, Object) and not isinstance(scope, Module):
            scope = scope.parent
        found = scope.members.get(name.name) if isinstance(scope, Module) else None
        if isinstance(found, Alias):
            try:
                found = found.final_target
            except AliasResolutionError:  # somebody else's
                return None
        if not isinstance(found, Attribute) or found.path in self.homes:
            return None
        is_alias = str(found.annotation) == "TypeAlias"
        return found.value if is_alias and isinstance(found.value, Expr) else None

    # --- modules --------------------------------------------------------------------------------

    def list_others(self, module: Module) -> None:
        """Make a table of the names that stand on other pages, with their first sentences."""
        rows: list[str] = []
        for name in map(str, module.exports or ()):
            target = target_of(module, name)
            home = self.homes[target.path]
            if home == module.path:
                continue
            words = target.docstring.value.split("\n\n")[0] if target.docstring else ""
            words = words.replace("\n", " ").replace("|", "\\|")
            anchor = f'<a id="{module.path}.{name}"></a>'
            rows.append(f"| {anchor}[`{name}`][{home}.{name}] | {words} | `{home}` |")
            module.members[name].public = False
        if rows:
            table = "\n".join(["| name | what it is | on the page of |", "|---|---|---|", *rows])
            module.docstring = module.docstring or Docstring("", parent=module)
            module.docstring.parsed = [*module.docstring.parsed, DocstringSectionText(table)]


def modules_in(package: Module) -> Iterator[Module]:
    """Go through the modules below *package*."""
    for member in package.members.values():
        if isinstance(member, Module):
            yield member
            yield from modules_in(member)


def own_members(scope: Module | Class) -> list[Attribute | Class | Function]:
    """List what is defined in *scope*, without what is imported there."""
    members = scope.members.values()
    return [each for each in members if isinstance(each, Attribute | Class | Function)]


def homes_of(pages: Iterable[Module]) -> dict[str, str]:
    """Find the page of each public name: that of its own module, or else the innermost with it."""
    homes: dict[str, str] = {}
    for page in sorted(pages, key=lambda page: page.path.count(".")):
        for name in page.exports or ():
            target = target_of(page, str(name))
            own = target.module.path
            homes[target.path] = own if own in PAGES else page.path
    return homes


def target_of(module: Module, name: str) -> Object:
    """Return what *name* means in *module*, wherever it is defined."""
    member = module.members[name]
    return member.final_target if isinstance(member, Alias) else member


def path_of(base: str | Expr) -> str:
    """Return the path of a base of a class."""
    return base if isinstance(base, str) else base.canonical_path


# --- docstrings -----------------------------------------------------------------------------------


def fence(docstring: Docstring) -> None:
    """Make blocks of code of the doctests."""
    docstring.value = DOCTEST.sub(r"\n```pycon\n\g<0>\n```", docstring.value)


def name_stars(docstring: Docstring, function: Function) -> None:
    """Name `*args` and `**options` as the signature does, so that they get their types."""
    for parameter in function.parameters:
        if parameter.kind in STARS:
            starred = f"    {STARS[parameter.kind]}{parameter.name}:"
            docstring.value = re.sub(
                rf"^    {parameter.name}:", starred, docstring.value, flags=re.MULTILINE
            )


def take_comment(attribute: Attribute, module: Module) -> None:
    """Give a public name the comment above it for a docstring, where it has none."""
    if attribute.docstring or not attribute.is_public or not attribute.lineno:
        return
    first = attribute.lineno - 1
    while first and module.lines[first - 1].startswith("# "):
        first -= 1
    comment = [line.removeprefix("# ") for line in module.lines[first : attribute.lineno - 1]]
    if comment:
        attribute.docstring = Docstring("\n".join(comment), parent=attribute)


def describe_attributes(cls: Class) -> None:
    """Give each attribute its entry in the section of its class for a docstring."""
    if cls.docstring is None:
        return
    sections: list[DocstringSection] = []
    for section in cls.docstring.parsed:
        if not isinstance(section, DocstringSectionAttributes):
            sections.append(section)
        elif left := [entry for entry in section.value if not takes(cls, entry)]:
            shown = [entry for entry in left if not entry.description.startswith(HIDDEN)]
            sections.append(DocstringSectionAttributes(shown))
    cls.docstring.parsed = sections


def takes(cls: Class, entry: DocstringAttribute) -> bool:
    """Whether a member of *cls* has a docstring now, this *entry* or one of its own."""
    member = cls.members.get(entry.name)
    if member is None:
        return any(entry.name in base.members for base in cls.mro())
    if isinstance(member, Attribute) and member.docstring is None:
        member.docstring = Docstring(entry.description, parent=member)
    return True


# --- members --------------------------------------------------------------------------------------


def is_set_in_constructor(attribute: Attribute) -> bool:
    """Whether `self.name = ...` is what makes *attribute*."""
    if not attribute.lineno:
        return False
    return attribute.module.lines[attribute.lineno - 1].lstrip().startswith("self.")


def default_of(function: Function, name: str, default: str | Expr) -> str | Expr:
    """Return a default as a reader would write it, where it is a name or a call of its module."""
    if not isinstance(default, Expr) or not any(isinstance(each, ExprName) for each in default):
        return default
    found: Any = import_module(function.module.path)
    if isinstance(function.parent, Class):
        found = getattr(found, function.parent.name)
    if function.name != "__init__":
        found = getattr(found, function.name)
    value: object = inspect.signature(found).parameters[name].default
    return repr(cast("object", value)) if isinstance(value, SIMPLE) else default


def leave_out(cls: Class) -> None:
    """Take out what is there for Nardis itself, and special methods that nobody calls by name."""
    for member in [*cls.members.values()]:
        words = member.docstring.value if member.docstring else ""
        special = member.name.startswith("__") and not words and member.name != "__init__"
        if words.startswith(HIDDEN) or special or part_of(cls, member) == HIDDEN.lower():
            del cls.members[member.name]


def part_of(cls: Class, member: Object | Alias) -> str:
    """Return the comment that heads the part of *cls* that *member* stands in."""
    for line in reversed(cls.module.lines[(cls.lineno or 1) - 1 : member.lineno or 0]):
        if match := HEADING.match(line):
            return match[1].lower()
    return ""


def inherit(cls: Class) -> None:
    """Give a class the members that no base on its page shows."""
    place = cls.endlineno or 0
    for base in cls.mro():
        is_here = base.is_public and base.module is cls.module
        for name, member in [*base.members.items()]:
            own = cls.members.get(name)
            if isinstance(own, Attribute) and not own.docstring and own.value is None:
                del cls.members[name]  # the base says more of it
            is_shown = member.is_public and not name.startswith("__")
            if is_shown and not is_here and name not in cls.members:
                place += 1  # behind its own: members are shown in the order of lines
                cls.set_member(name, Alias(name, member, lineno=place))
