"""What a type says and its generated schema left out: formats and the names of maps, checked where the answer is."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import uuid
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import pytest
from pydantic import BaseModel, StringConstraints, create_model

from headrace.errors import SchemaError
from headrace.schema.python_types import answer_type
from headrace.schema.validate import InvalidOutput, compiled, encoded

NOW = "2026-01-02T03:04:05Z"


class Colour(enum.Enum):
    RED = "red"


class Moment(msgspec.Struct):
    at: datetime.datetime
    perhaps: datetime.datetime | None = None
    days: dict[datetime.date, list[datetime.datetime]] = {}


class Tagged(msgspec.Struct, tag=True):
    pair: tuple[datetime.datetime, int]


class Other(msgspec.Struct, tag=True):
    more: list[Tagged | Other]


class Row(NamedTuple):
    at: datetime.datetime


class Words(TypedDict):
    at: datetime.datetime


@dataclasses.dataclass
class Record:
    at: datetime.datetime
    rows: list[Row]


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Share(float, enum.Enum):
    HALF = 0.5


class Levels(BaseModel):
    by_level: dict[Level, str]
    by_share: dict[Share, list[Level]] = {}


class Numbers(BaseModel):
    by_number: dict[int, str]
    by_colour: dict[Colour, dict[bool, int]] = {}
    by_price: dict[Decimal, int] = {}
    by_name: dict[Annotated[str, StringConstraints(pattern="^a", max_length=3)], int] = {}


def fits(schema: Any, value: Any) -> bool:
    try:
        compiled(encoded(answer_type(schema).schema)).validate(value)
    except InvalidOutput:
        return False
    return True


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (dict[int, str], {"1": "a", "-20": "b"}, {"one": "a"}),
        (dict[int, str], {}, {"1.0": "a"}),
        (dict[float, int], {"1.5": 1, "-2e3": 2}, {"x": 1}),
        (dict[datetime.date, int], {"2026-01-02": 1}, {"today": 1}),
        (dict[uuid.UUID, int], {str(uuid.UUID(int=1)): 1}, {"1": 1}),
        (dict[Literal["a", "b"], int], {"a": 1}, {"c": 1}),
        (dict[Literal[1, 2], int], {"1": 1}, {"3": 1}),
        (dict[Colour, int], {"red": 1}, {"blue": 1}),
        (dict[str, dict[int, int]], {"a": {"1": 1}}, {"a": {"b": 1}}),
        (list[dict[int, int] | None], [{"1": 1}, None], [{"b": 1}]),
        (Moment, {"at": NOW, "perhaps": None, "days": {"2026-01-02": [NOW]}}, {"at": "soon"}),
        (Moment, {"at": NOW, "perhaps": NOW}, {"at": NOW, "perhaps": "soon"}),
        (Moment, {"at": NOW}, {"at": NOW, "days": {"2026-01-02": ["soon"]}}),
        (Moment, {"at": NOW}, {"at": NOW, "days": {"today": []}}),
        (Other, {"type": "Other", "more": [{"type": "Tagged", "pair": [NOW, 1]}]}, None),
        (Other, {"type": "Other", "more": []}, {"type": "Other", "more": [{"type": "Tagged", "pair": ["soon", 1]}]}),
        (Words, {"at": NOW}, {"at": "soon"}),
        (Record, {"at": NOW, "rows": [[NOW]]}, {"at": NOW, "rows": [["soon"]]}),
        (list[Record], [{"at": NOW, "rows": []}], [{"at": "soon", "rows": []}]),
        (Numbers, {"by_number": {"1": "a"}}, {"by_number": {"one": "a"}}),
        (
            Numbers,
            {"by_number": {}, "by_colour": {"red": {"true": 1}}},
            {"by_number": {}, "by_colour": {"red": {"2x": 1}}},
        ),
        (Numbers, {"by_number": {}, "by_price": {"1.50": 1}}, {"by_number": {}, "by_price": {"cheap": 1}}),
        (Levels, {"by_level": {"1": "a"}, "by_share": {"0.5": [2]}}, {"by_level": {"3": "a"}}),
        (Levels, {"by_level": {}}, {"by_level": {}, "by_share": {"0.25": []}}),
        (Numbers, {"by_number": {}, "by_name": {"abc": 1}}, {"by_number": {}, "by_name": {"bcd": 1}}),
    ],
)
def test_the_schema_says_what_the_type_says(schema: Any, good: Any, bad: Any) -> None:
    assert fits(schema, good)
    answer_type(schema).read(good)
    if bad is not None:
        assert not fits(schema, bad)
        with pytest.raises(ValueError, match=r".+"):
            answer_type(schema).read(bad)


@pytest.mark.parametrize("name", ["1", "-1", "0", "12345678901234567890", "1.5", "1e5", "-0", "-7.25"])
def test_types_read_every_key_that_their_schema_allows(name: str) -> None:
    for schema in (dict[int, int], dict[float, int], dict[Decimal, int]):
        if fits(schema, {name: 1}):
            assert len(answer_type(schema).read({name: 1})) == 1


def test_a_moment_without_a_zone_has_no_format() -> None:
    local = Annotated[datetime.datetime, msgspec.Meta(tz=False)]
    assert fits(list[local], ["2026-01-02T03:04:05"])
    answer_type(list[local]).read(["2026-01-02T03:04:05"])


def test_two_records_of_one_name_are_refused() -> None:
    def made(inner: Any) -> Any:
        return msgspec.defstruct("Same", [("at", inner)])

    with pytest.raises(SchemaError, match="the same name"):
        answer_type(tuple[made(datetime.datetime), made(str)])


@pytest.mark.parametrize("key", [Literal[1, 2], Literal["a", 1], Literal[True], tuple[int, int], None])
def test_names_that_pydantic_does_not_read_are_refused_at_once(key: Any) -> None:
    model = create_model("Keyed", inside=(list[dict[key, str]], ...))
    with pytest.raises(SchemaError, match="use texts") as raised:
        answer_type(model)
    assert raised.value.keyword == "propertyNames"
