"""Types as schemas: each kind becomes a JSON Schema, and reads a value back as itself; all else is refused with a reason."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from datetime import date
from typing import Any, Generic, Literal, TypedDict, TypeVar

import msgspec
import pydantic
import pytest

from headrace.errors import SchemaError
from headrace.schema import lower
from headrace.schema.python_types import answer_type

T = TypeVar("T")


class Struct(msgspec.Struct):
    name: str
    verdict: Literal["good", "bad"] = "good"


class Model(pydantic.BaseModel):
    name: str
    verdict: Literal["good", "bad"] = "good"


@dataclasses.dataclass
class Data:
    name: str
    verdict: str = "good"


class Typed(TypedDict):
    name: str
    verdict: str


class Page(msgspec.Struct, Generic[T]):
    items: list[T]


class Node(msgspec.Struct):
    name: str
    children: list[Node] = []


@pytest.mark.parametrize("given", [Struct, Model, Data])
def test_a_type_is_asked_for_and_read_back(given: type[Any]) -> None:
    found = answer_type(given)
    assert found.schema is not None
    assert {*found.schema["properties"]} == {"name", "verdict"}
    assert found.name == given.__name__.lower()
    assert found.read({"name": "n", "verdict": "bad"}) == given(name="n", verdict="bad")


def test_a_typed_dict_and_a_schema_give_dicts() -> None:
    assert answer_type(Typed).read({"name": "n", "verdict": "bad"}) == {"name": "n", "verdict": "bad"}
    schema = {"title": "My Answer!", "type": "object", "properties": {}}
    assert (answer_type(schema).schema, answer_type(schema).name) == (schema, "my_answer_")


def test_a_generic_and_a_recursive_type_are_carried() -> None:
    assert answer_type(Page[Struct]).read({"items": [{"name": "n"}]}) == Page([Struct("n")])
    found = answer_type(Node)
    assert found.schema is not None
    assert found.schema["type"] == "object", "the root is written out"
    assert found.read({"name": "a", "children": [{"name": "b"}]}) == Node("a", [Node("b")])


@pytest.mark.parametrize(
    "given",
    ["Review", 5, Callable, lambda: None, {"type": "strin"}, object, Model(name="x")],
)
def test_refuses_values_that_are_no_type_with_a_remedy(given: Any) -> None:
    with pytest.raises(SchemaError) as raised:
        answer_type(given)
    assert len(str(raised.value)) > 20
    assert isinstance(raised.value, ValueError)


def test_a_field_that_json_cannot_hold_is_named() -> None:
    class Broken(msgspec.Struct):
        call: Callable[[], None]

    with pytest.raises(SchemaError, match="Broken"):
        answer_type(Broken)


def test_a_pydantic_model_with_a_field_that_json_cannot_hold_is_named() -> None:
    class Uncarried(pydantic.BaseModel):
        call: Callable[[], None]

    with pytest.raises(SchemaError, match="Uncarried"):
        answer_type(Uncarried)


def test_the_order_of_fields_is_kept() -> None:
    class Ordered(msgspec.Struct):
        zeta: str
        alpha: str

    found = answer_type(Ordered)
    assert found.schema is not None
    assert list(found.schema["properties"]) == ["zeta", "alpha"]


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (list[Struct], [Struct("n")]),
        (list[Model], [Model(name="n")]),
        (Struct | None, None),
        (dict[str, int], {"a": 1}),
        (Literal["a", "b"], "b"),
        (int, 3),
    ],
)
def test_compositions_of_types_round_trip(given: Any, value: Any) -> None:
    lowered = lower(given)
    assert lowered.restore(lowered.lift(value)) == value


@pytest.mark.parametrize("key", [bool, None, tuple[int, int], int | None])
def test_keys_that_json_has_no_names_for_are_refused_before_anything_is_paid(key: Any) -> None:
    inner = msgspec.defstruct("Inner", [("m", dict[key, int])])
    for given in (dict[key, int], msgspec.defstruct("Outer", [("inside", list[inner])])):
        with pytest.raises(SchemaError, match="keys"):
            answer_type(given)


class Grade(enum.Enum):
    A = "a"


@pytest.mark.parametrize(
    ("key", "value"), [(int, 3), (str, "x"), (float, 1.5), (Grade, Grade.A), (date, date(2026, 1, 2))]
)
def test_keys_that_names_are_read_as_come_back(key: Any, value: Any) -> None:
    lowered = lower(dict[key, int])
    assert lowered.restore(lowered.lift({value: 1})) == {value: 1}
