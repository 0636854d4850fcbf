"""The types that the tests read into."""

from __future__ import annotations

import dataclasses
from collections import namedtuple
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    NamedTuple,
    NewType,
    NotRequired,
    Required,
    TypedDict,
    TypeVar,
    cast,
)
from uuid import UUID

import msgspec

T = TypeVar("T")
Number = TypeVar("Number", int, float)
Whole = TypeVar("Whole", bound=int)
UserId = NewType("UserId", int)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Size(StrEnum):
    SMALL = "s"
    LARGE = "l"


class Mixed(Enum):
    """What msgspec does not read: an Enum of mixed values."""

    WORD = "word"
    ONE = 1
    HALF = 0.5
    NO = False
    NOTHING = None
    DAY = date(2026, 11, 30)


class Lenient(Enum):
    OTHER = "other"
    KNOWN = "known"

    @classmethod
    def _missing_(cls, value: object) -> Lenient | None:
        return cls.OTHER if value != "never" else None


class Rights(Flag):
    READ = 1
    WRITE = 2


@dataclass
class Item:
    name: str
    count: int = 1
    until: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    id: UUID
    items: list[Item]
    price: Decimal = Decimal(0)
    tags: set[str] = field(default_factory=set[str])
    colour: Colour = Colour.RED
    parent: Order | None = None


@dataclass
class Range:
    low: int
    high: int
    width: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")
        self.width = self.high - self.low


@dataclass
class Silent:
    value: int

    def __post_init__(self) -> None:
        raise TypeError


@dataclass
class Broken:
    value: int

    def __post_init__(self) -> None:
        raise LookupError("a bug")


@dataclass
class WithInitVar:
    value: int
    seed: dataclasses.InitVar[int] = 0


@dataclass
class Box(Generic[T]):
    content: T
    more: list[T] = field(default_factory=list[T])


class Node(TypedDict, total=False):
    name: Required[str]
    children: list[Node]


class Chain(TypedDict):
    child: Chain | None


class Page(TypedDict):
    number: int
    note: NotRequired[str]


class Point(NamedTuple):
    x: int
    y: int = 0


Plain = namedtuple("Plain", ["a", "b"])  # pyright: ignore[reportUntypedNamedTuple]  # it is one


class User(msgspec.Struct, rename="camel"):
    full_name: str
    age: Annotated[int, msgspec.Meta(ge=0)] = 0
    tags: Annotated[list[str], msgspec.Meta(max_length=2)] = []
    seen: datetime | msgspec.UnsetType = msgspec.UNSET


class Closed(msgspec.Struct, forbid_unknown_fields=True):
    value: int


class Cat(msgspec.Struct, tag="cat"):
    lives: int


class Dog(msgspec.Struct, tag="dog"):
    barks: bool


class Fish(msgspec.Struct, tag="fish", tag_field="kind"):
    fins: int


class Line(msgspec.Struct, array_like=True):
    x: int
    y: int = 0


class TaggedLine(msgspec.Struct, array_like=True, tag="line", forbid_unknown_fields=True):
    x: int
    y: int = 0


class Wrapped(msgspec.Struct, Generic[T]):
    content: T


class ModelError(ValueError):
    """As pydantic's: a list of what is wrong."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__("not valid")
        self._errors = errors

    def error_count(self) -> int:
        return len(self._errors)

    def errors(self) -> list[dict[str, Any]]:
        return self._errors


@dataclass
class Annotation:
    """As pydantic describes a member of a model."""

    annotation: Any
    alias: str | None = None


class Model:
    """Validates as pydantic's models do, from JSON and from what was decoded."""

    model_fields: ClassVar = {
        "limit": Annotation(int),
        "tags": Annotation(list[int], alias="tag"),
        "odd": Annotation(complex),
    }

    def __init__(self, **values: Any) -> None:
        self.values = values

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and self.values == other.values

    __hash__ = None  # type: ignore[assignment]  # mypy: object declares a method

    def model_dump(self, *, mode: str, by_alias: bool) -> dict[str, Any]:
        assert mode == "json"
        assert by_alias
        return self.values

    @classmethod
    def model_validate(cls, value: Any) -> Model:
        if not isinstance(value, dict):
            raise ModelError([{"loc": (), "msg": "not an object", "type": "dict_type"}])
        errors: list[dict[str, Any]] = [
            {"loc": (name, "int", index), "msg": "not positive", "type": "positive"}
            for name, numbers in cast("dict[str, Any]", value).items()
            if isinstance(numbers, list)
            for index, number in enumerate(cast("list[Any]", numbers))
            if number in (-1, "-1")
        ]
        if "limit" not in value:
            errors.append({"loc": ("limit",), "msg": "Field required", "type": "missing"})
        elif value["limit"] == "odd":
            errors.append({"loc": ("limit", "even", "x"), "msg": "not even", "type": "even"})
        if errors:
            raise ModelError(errors)
        return cls(**cast("dict[str, Any]", value))

    @classmethod
    def model_validate_json(cls, body: bytes) -> Model:
        return cls.model_validate(msgspec.json.decode(body))
