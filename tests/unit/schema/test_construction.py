"""What a type's author checks runs, by whatever means they wrote it, and what comes back is made as they make it."""

from __future__ import annotations

import dataclasses
import sys
from typing import Annotated, Any, NamedTuple

import msgspec
import pydantic
import pytest
from annotated_types import Ge
from typing_extensions import TypedDict

from headrace.errors import SchemaError
from headrace.schema.python_types import answer_type


def even(number: int) -> int:
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number


Even = Annotated[int, pydantic.AfterValidator(even)]


@pydantic.dataclasses.dataclass
class Checked:
    a: int

    @pydantic.field_validator("a")
    @classmethod
    def is_even(cls, a: int) -> int:
        return even(a)


class Typed(TypedDict):
    a: Even


class Inner(NamedTuple):
    a: Even


@dataclasses.dataclass
class Outer:
    a: int
    inner: list[Inner]


@dataclasses.dataclass
class Made:
    a: int

    def __init__(self, a: int) -> None:
        self.a = even(a)


@dataclasses.dataclass
class Heir(Made):
    def __init__(self, a: int) -> None:
        super().__init__(a)


class Pair(NamedTuple):
    a: int


class EvenPair(Pair):
    def __new__(cls, a: int) -> EvenPair:
        return super().__new__(cls, even(a))


class Holder(msgspec.Struct, frozen=True):
    made: list[Made]


class Model(pydantic.BaseModel):
    made: dict[str, Made]


@dataclasses.dataclass
class After:
    a: int

    def __post_init__(self) -> None:
        even(self.a)


@pytest.mark.parametrize(
    ("given", "good", "bad"),
    [
        (Checked, {"a": 2}, {"a": 3}),
        (list[Checked], [{"a": 2}], [{"a": 3}]),
        (dict[str, Checked | None], {"x": {"a": 2}, "y": None}, {"x": {"a": 3}}),
        (Typed, {"a": 2}, {"a": 3}),
        (Even, 2, 3),
        (list[Even], [2], [3]),
        (Outer, {"a": 1, "inner": [[2]]}, {"a": 1, "inner": [[3]]}),
        (Made, {"a": 2}, {"a": 3}),
        (Heir, {"a": 2}, {"a": 3}),
        (EvenPair, [2], [3]),
        (tuple[Made, int], [{"a": 2}, 1], [{"a": 3}, 1]),
        (Holder, {"made": [{"a": 2}]}, {"made": [{"a": 3}]}),
        (Model, {"made": {"x": {"a": 2}}}, {"made": {"x": {"a": 3}}}),
        (After, {"a": 2}, {"a": 3}),
    ],
)
def test_runs_the_types_own_validation(given: Any, good: Any, bad: Any) -> None:
    answer_type(given).read(good)
    with pytest.raises(ValueError, match="3 is odd"):
        answer_type(given).read(bad)


def test_values_are_made_by_their_own_constructor() -> None:
    assert answer_type(Holder).read({"made": [{"a": 2}]}) == Holder([Made(2)])
    assert answer_type(Model).read({"made": {"x": {"a": 2}}}) == Model(made={"x": Made(2)})
    read = answer_type(list[EvenPair]).read([[2]])
    assert (read, type(read[0])) == ([EvenPair(2)], EvenPair)


@pytest.mark.parametrize("limit", [pydantic.Field(ge=10), Ge(10)])
def test_limits_are_in_the_schema(limit: Any) -> None:
    schema = answer_type(dict[str, Annotated[int, limit]]).schema
    assert schema
    assert schema["additionalProperties"] == {"type": "integer", "minimum": 10}


@pytest.mark.parametrize("part", [Even, Checked, Typed])
def test_a_struct_with_something_of_pydantic_in_it_is_refused_at_once(part: Any) -> None:
    struct = msgspec.defstruct("Mixed", [("inside", list[part])])
    with pytest.raises(SchemaError, match=r"Mixed.*Pydantic"):
        answer_type(struct)


def test_without_pydantic_its_annotations_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(SchemaError, match="install pydantic"):
        answer_type(list[Annotated[int, Ge(10)]])
