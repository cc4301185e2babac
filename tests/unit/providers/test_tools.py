"""Tools as they travel, and the schema of a Python function with its way back."""

from __future__ import annotations

import copy
import enum
from datetime import date
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.chat.tools import ToolDefinitions, define, wire_tools
from headrace.errors import InputError
from headrace.schema.function_schema import call_arguments, function_schema
from headrace.schema.lower import lower_schema
from headrace.schema.python_types import schema_of


def schema(name: str = "f") -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}


NAMED = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (None, None),
        ("auto", "auto"),
        ("required", "required"),
        ("none", "none"),
        ("f", NAMED),
        (NAMED, NAMED),
        ({"type": "openrouter:web_search"}, {"type": "openrouter:web_search"}),
    ],
)
def test_c087_a_choice_travels_in_the_providers_shape(choice: Any, sent: Any) -> None:
    schemas = [schema("f"), schema("g")]
    before = copy.deepcopy(schemas)
    wire = wire_tools(ToolDefinitions(schemas=schemas, choice=choice), parallel=None)
    assert wire == {"tools": before} | ({} if sent is None else {"tool_choice": sent})
    wire["tools"][0]["function"]["name"] = "changed"
    assert schemas == before


@pytest.mark.parametrize("schemas", [None, []])
def test_c088_without_schemas_nothing_travels_not_even_a_choice(schemas: Any) -> None:
    assert wire_tools(ToolDefinitions(schemas=schemas, choice="required"), parallel=True) == {}
    assert wire_tools(None, parallel=True) == {}


@pytest.mark.parametrize("parallel", [True, False])
def test_c089_parallel_calls_travel_beside_tools(parallel: bool) -> None:
    assert wire_tools(ToolDefinitions(schemas=[schema()]), parallel=parallel)["parallel_tool_calls"] is parallel


@pytest.mark.parametrize(
    "choice", ["nope", "", 5, {"type": "function"}, {"type": "function", "function": {"name": "x"}}]
)
def test_c090_a_choice_that_is_not_there_is_refused(choice: Any) -> None:
    with pytest.raises(InputError, match="/choice"):
        ToolDefinitions(schemas=[schema()], choice=choice)


@pytest.mark.parametrize(
    ("schemas", "said"),
    [
        (5, "/schemas"),
        ([schema(), schema()], "twice"),
        ([schema(), {}], "/schemas/1"),
        ([schema("no spaces")], "/schemas/0/function/name"),
        ([{"type": "function", "function": {"name": "f", "parameters": []}}], "parameters"),
    ],
)
def test_a_schema_without_a_shape_is_named_by_its_place(schemas: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        ToolDefinitions(schemas=schemas)


class Unit(enum.Enum):
    C = "celsius"
    F = "fahrenheit"


class Place(msgspec.Struct):
    """Where to look."""

    city: str
    country: str | None = None


def forecast(
    place: Place,
    days: int = 3,
    unit: Unit | None = None,
    weights: dict[str, int] | None = None,
    kind: Literal["rain", "sun"] = "sun",
    tags: tuple[str, ...] = (),
) -> str:
    """Tell the weather.

    Args:
        place: where,
            exactly
        days (int): how many days
    """
    return f"{place}{days}{unit}{weights}{kind}{tags}"


def test_a_function_becomes_a_strict_schema() -> None:
    body = function_schema(forecast)["function"]
    assert (body["name"], body["description"], body["strict"]) == ("forecast", "Tell the weather.", True)
    parameters = body["parameters"]
    assert parameters["required"] == ["place", "days", "unit", "weights", "kind", "tags"]
    assert parameters["additionalProperties"] is False
    assert parameters["properties"]["days"] == {
        "anyOf": [{"type": "integer"}, {"type": "null"}],
        "description": "how many days",
    }
    assert parameters["properties"]["place"]["description"] == "where, exactly"
    assert parameters["properties"]["place"]["additionalProperties"] is False
    assert [*parameters["properties"]["weights"]["anyOf"][0]["properties"]] == ["entries"]


def test_a_function_without_anything_has_an_empty_schema() -> None:
    def nothing() -> None: ...

    assert function_schema(nothing)["function"] == {
        "name": "nothing",
        "description": "Function for nothing",
        "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
        "strict": True,
    }


def parameter_of(hint: Any) -> dict[str, Any]:
    """Return the schema of a function's parameter with the hint."""

    def f(a: Any) -> None: ...

    f.__annotations__ = {"a": hint}
    return function_schema(f)["function"]["parameters"]["properties"]["a"]


class Tally(msgspec.Struct):
    count: int = 3
    by_number: dict[int, str] = {}


class Cat(msgspec.Struct, tag=True):
    lives: int | None


class Dog(msgspec.Struct, tag=True):
    """A dog, not a cat."""

    owners: dict[str, list[float]]


@pytest.mark.parametrize(
    "hint",
    [
        int,
        None,
        int | str | None,
        list[bool],
        tuple[float, ...] | None,
        dict[str, dict[str, int]],
        list[dict[str, int] | None],
        Annotated[str, msgspec.Meta(pattern="^a", min_length=1, description="x")],
        Annotated[int, msgspec.Meta(ge=1, lt=9, multiple_of=2)],
        Annotated[list[int], msgspec.Meta(min_length=1, max_length=3)],
        Annotated[dict[str, int], msgspec.Meta(min_length=1, description="x")],
    ],
)
def test_parameters_and_answers_have_one_schema(hint: Any) -> None:
    answer = msgspec.defstruct("f", [("a", hint)])
    assert parameter_of(hint) == lower_schema(schema_of(answer)).wire["properties"]["a"]


@pytest.mark.parametrize(
    ("hint", "fragment"),
    [
        (Literal["a", 1, None], {"enum": ["a", 1, None]}),
        (Unit, {"title": "Unit", "enum": ["celsius", "fahrenheit"]}),
        (date | None, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
    ],
)
def test_parameters_have_enums_without_type_and_dates_without_format(hint: Any, fragment: Any) -> None:
    assert parameter_of(hint) == fragment


def test_parameters_have_no_nullable_fields_for_defaults_and_typed_keys() -> None:
    fields = parameter_of(Tally)["properties"]
    assert fields["count"] == {"type": "integer"}
    assert fields["by_number"]["properties"]["entries"]["items"]["properties"]["key"] == {"type": "integer"}

    def f(a: Tally, b: dict[tuple[int, ...], Cat | Dog]) -> None: ...

    told = {"type": "Dog", "owners": {"entries": [{"key": "x", "value": [1.5]}]}}
    entries = {"entries": [{"key": [1, 2], "value": told}]}
    taken = call_arguments(f, {"a": {"count": 1, "by_number": {"entries": [{"key": 7, "value": "x"}]}}, "b": entries})
    assert taken == {"a": Tally(1, {7: "x"}), "b": {(1, 2): Dog({"x": [1.5]})}}


def with_set(a: set[str]) -> None: ...
def with_any(a: Any) -> None: ...
def with_bare_dict(a: dict) -> None: ...  # pyright: ignore[reportMissingTypeArgument]
def with_bytes(a: bytes) -> None: ...
def with_fixed_tuple(a: tuple[int, str]) -> None: ...
def without_hint(a) -> None: ...  # pyright: ignore[reportMissingParameterType]
def with_stars(*a: int) -> None: ...


@pytest.mark.parametrize(
    "function", [with_set, with_any, with_bare_dict, with_bytes, with_fixed_tuple, without_hint, with_stars]
)
def test_a_type_that_strict_mode_cannot_carry_is_refused_with_its_place_and_a_remedy(function: Any) -> None:
    with pytest.raises(InputError, match=f"tool {function.__name__}, parameter a: .*(write|add|make)"):
        define(function)


places = st.builds(Place, st.text(), st.none() | st.text())


@given(
    places,
    st.integers(-(2**53), 2**53),
    st.none() | st.sampled_from(Unit),
    st.none() | st.dictionaries(st.text(), st.integers(-(2**53), 2**53)),
    st.lists(st.text()).map(tuple),
)
def test_arguments_come_back_as_the_function_takes_them(
    place: Place, days: int, unit: Unit | None, weights: dict[str, int] | None, tags: tuple[str, ...]
) -> None:
    entries = None if weights is None else {"entries": [{"key": k, "value": v} for k, v in weights.items()]}
    sent = {"place": place, "days": days, "unit": unit, "weights": entries, "tags": tags, "kind": None}
    taken = call_arguments(forecast, msgspec.json.decode(msgspec.json.encode(sent)))
    wanted = {"place": place, "days": days, "unit": unit, "weights": weights, "tags": tags}
    assert taken == {name: value for name, value in wanted.items() if value is not None}
    assert forecast(**taken)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "argument place: is missing"),
        ({"place": {"city": 5}}, "argument place"),
        ({"place": {"city": "x"}, "dayz": 1}, "no parameter 'dayz'"),
        ({"place": {"city": "x"}, "weights": {"a": 1}}, "entries"),
        ({"place": {"city": "x"}, "weights": {"entries": [{"key": "a", "value": 1}] * 2}}, "twice"),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        call_arguments(forecast, arguments)
