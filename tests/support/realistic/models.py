"""Types as people write them: msgspec Structs, Pydantic models, dataclasses, TypedDicts and what is made of them."""

# ruff: noqa: UP007, UP045 (every way of writing it is what is tested)

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, Optional, TypedDict, TypeVar, Union
from uuid import UUID

import msgspec
from msgspec import Meta
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, RootModel
from pydantic.alias_generators import to_camel

T = TypeVar("T")


class Level(enum.Enum):
    LOW = "low"
    HIGH = "high"


class Priority(enum.IntEnum):
    P1 = 1
    P2 = 2


# msgspec


class Address(msgspec.Struct):
    street: str
    city: str
    zip: Annotated[str, Meta(pattern=r"^\d{4,5}$")] | None = None


class Customer(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Who buys."""

    full_name: Annotated[str, Meta(min_length=1, max_length=80)]
    born_on: date | None = None
    home: Address | None = None
    tags: list[str] = []
    level: Level = Level.LOW


class Circle(msgspec.Struct, tag="circle"):
    radius: Annotated[float, Meta(gt=0)]


class Square(msgspec.Struct, tag="square"):
    side: float


class Drawing(msgspec.Struct):
    shapes: list[Circle | Square]
    named: dict[str, Circle | Square] = {}


class Tree(msgspec.Struct):
    value: int
    children: list[Tree] = []


class Event(msgspec.Struct, omit_defaults=True):
    at: datetime
    day: date
    clock: time | None = None
    took: timedelta | None = None
    id: UUID | None = None
    price: Decimal | None = None
    point: tuple[float, float] | None = None


class Page(msgspec.Struct, Generic[T]):
    items: list[T]
    next: str | msgspec.UnsetType = msgspec.UNSET


class Counts(msgspec.Struct):
    by_year: dict[int, int]
    by_day: dict[date, list[float]] = {}


# Pydantic


class Author(BaseModel):
    name: str = Field(min_length=1, description="Who wrote it.")
    email: Optional[str] = None


class Book(BaseModel):
    """A book."""

    model_config = ConfigDict(extra="forbid")
    title: str
    authors: list[Author] = Field(min_length=1)
    year: int = Field(ge=1450, le=2100)
    rating: Annotated[float, Field(ge=0, le=5)] | None = None
    level: Level = Level.LOW
    priority: Priority = Priority.P1
    summary: str = Field("", max_length=500, pattern=r"^[\s\S]{0,500}$")


class Text(BaseModel):
    kind: Literal["text"] = "text"
    text: str


class Image(BaseModel):
    kind: Literal["image"] = "image"
    url: str
    size: tuple[int, int] | None = None


class Group(BaseModel):
    kind: Literal["group"] = "group"
    blocks: list[Annotated[Union[Text, Image, Group], Field(discriminator="kind")]]


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)
    first_name: str
    home_town: str | None = Field(None, validation_alias=AliasChoices("homeTown", "town"), serialization_alias="town")


class Settings(BaseModel):
    values: dict[str, int | float | str | bool | None]
    anything: Any = None
    nested: dict[str, dict[str, list[int]]] = {}


class Names(RootModel[dict[str, list[str]]]): ...


class Moments(BaseModel):
    at: datetime
    day: date
    took: timedelta = timedelta(0)
    either: date | int = 0


class Holder(BaseModel, Generic[T]):
    held: T
    more: list[T] = []


# dataclasses and TypedDicts


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0


@dataclasses.dataclass
class Path:
    name: str
    points: list[Point]
    closed: bool = False
    label: str | None = None
    levels: dict[str, Level] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Linked:
    value: str
    next: Linked | None = None


class Movie(TypedDict):
    title: str
    year: int
    genres: NotRequired[list[str]]


class Cinema(TypedDict, total=False):
    name: str
    movies: list[Movie]
    rooms: dict[str, int]


class Pair(NamedTuple):
    name: str
    count: int = 1


CUSTOMER = Customer("Ada", date(1815, 12, 10), Address("St. James's", "London", "1234"), ["maths"], Level.HIGH)
NAIVE = datetime(2026, 1, 2, 3)  # noqa: DTZ001
NOW = datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=UTC)
BOOK = Book(title="Emma", authors=[Author(name="Jane")], year=1815)
TYPES: list[tuple[Any, list[Any], list[Any]]] = [
    (Address, [Address("a", "b"), Address("a", "b", "3000")], [{"street": "a"}, {"street": "a", "city": "b", "zip": "x"}]),
    (
        Customer,
        [CUSTOMER, Customer("A")],
        [{"fullName": ""}, {"full_name": "A"}, {"fullName": "A", "level": "mid"}, {"fullName": "A", "bornOn": "x"}],
    ),
    (Drawing, [Drawing([]), Drawing([Circle(1), Square(2)], {"a": Square(0)})], [{"shapes": [{"type": "circle", "radius": 0}]}]),
    (Circle | Square, [Circle(2), Square(3)], [{"type": "oval"}, {"type": "square", "radius": 1}]),
    (Tree, [Tree(1), Tree(1, [Tree(2, [Tree(3)]), Tree(4)])], [{"value": "1"}, {"value": 1, "children": [{}]}]),
    (
        Event,
        [
            Event(NOW, date(2026, 1, 2)),
            Event(NOW, date(2026, 1, 2), time(1, 2, tzinfo=UTC), timedelta(hours=3), UUID(int=7), Decimal("1.50"), (1, 2)),
        ],
        [{"at": "x", "day": "2026-01-02"}, {"at": "2026-01-02T03:04:05Z", "day": "2026-01-02", "point": [1]}],
    ),
    (Page[Address], [Page([Address("a", "b")]), Page([], "2")], [{"items": [{"street": "a"}]}, {"items": {}}]),
    (Counts, [Counts({2026: 3}), Counts({}, {date(2026, 1, 2): [0.5]})], [{"by_year": {"2026": "3"}}, {}]),
    (list[Customer], [[], [CUSTOMER]], [[{}], {}]),
    (dict[str, Point], [{}, {"a": Point(1, 2)}], [{"a": {"y": 1}}, []]),
    (
        Book,
        [BOOK, BOOK.model_copy(update={"rating": 4.5, "level": Level.HIGH, "priority": Priority.P2, "summary": "a\nb"})],
        [{"title": "x", "authors": [], "year": 2000}, {"title": "x", "authors": [{"name": "y"}], "year": 1}],
    ),
    (
        Group,
        [Group(blocks=[]), Group(blocks=[Text(text="a"), Group(blocks=[Image(url="u", size=(1, 2))])])],
        [{"blocks": [{"kind": "text"}]}, {"blocks": [{"kind": "video", "url": "u"}]}, {"kind": "text", "blocks": []}],
    ),
    (Camel, [Camel(first_name="A"), Camel(first_name="A", home_town="B")], [{"homeTown": "B"}, {"firstName": 5}]),
    (
        Settings,
        [Settings(values={}), Settings(values={"a": 1, "b": "1", "c": True, "d": None, "e": 1.5}, anything=[{"x": 1}])],
        [{"values": {"a": []}}, {"values": {}, "nested": {"a": {"b": ["1"]}}}],
    ),
    (Names, [Names({}), Names({"a": ["b"]})], [{"a": "b"}, []]),
    (
        Moments,
        [
            Moments(at=NOW, day=date(2026, 1, 2)),
            Moments(at=NAIVE, day=date(2026, 1, 2), took=timedelta(days=1, seconds=0.5), either=date(2026, 1, 2)),
        ],
        [{"at": "2026-W01-1T00:00:00Z", "day": "2026-01-02"}, {"at": "2026-01-02T00:00:00Z", "day": "2026-01-02T01:00:00Z"}],
    ),
    (Holder[Book], [Holder[Book](held=BOOK), Holder[Book](held=BOOK, more=[BOOK])], [{"held": {}}, {}]),
    (list[Author | Text], [[Author(name="a"), Text(text="b")]], [[{"nobody": 1}]]),
    (Optional[Author], [None, Author(name="a")], [{"name": ""}, 5]),
    (Point, [Point(1), Point(1, -2.5)], [{"y": 1}, {"x": "1"}]),
    (
        Path,
        [Path("p", []), Path("p", [Point(1, 2)], True, "l", {"a": Level.LOW})],
        [{"name": "p"}, {"name": "p", "points": [], "levels": {"a": "mid"}}],
    ),
    (Linked, [Linked("a"), Linked("a", Linked("b", Linked("c")))], [{"value": "a", "next": {}}, {"next": None}]),
    (
        Movie,
        [{"title": "x", "year": 1}, {"title": "x", "year": 1, "genres": ["y"]}],
        [{"title": "x"}, {"title": "x", "year": "1"}],
    ),
    (
        Cinema,
        [{}, {"name": "x", "movies": [{"title": "x", "year": 1}], "rooms": {"a": 3}}],
        [{"movies": [{}]}, {"rooms": {"a": "b"}}],
    ),
    (Pair, [Pair("a", 2)], [["a", "b"], {}]),
    (Sequence[Level], [[Level.LOW, Level.HIGH], []], [["mid"], "low"]),
    (Literal["yes", "no", 3], ["yes", 3], ["maybe", 4]),
    (tuple[int, str, bool], [(1, "a", True)], [[1, "a"], [1, 2, True]]),
    (int | str | None, [1, "1", None], [1.5, []]),
    (Level, [Level.LOW], ["mid", None]),
]  # fmt: skip
