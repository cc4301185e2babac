"""Schemas in a call: what is sent, what comes back (statements 31, 48 to 50, 54 to 75)."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Optional

import msgspec
import pytest
from fake_transport import USAGE, FakeTransport, T, answer, ask, call_of, failure_of, model_of, structured_call
from headrace_providers.call_arguments import TypedParserNotFoundError

from headrace.chat.tools import ToolDefinitions
from headrace.errors import InputError
from headrace.schema.lower import _lower

FORMS = ("sync", "async")

pytestmark = pytest.mark.parametrize("form", FORMS)


class P(msgspec.Struct):
    a: int


class Inner(msgspec.Struct):
    """What is inside."""

    x: Annotated[int, msgspec.Meta(description="a number")]


class Outer(msgspec.Struct):
    inner: Annotated[Inner, msgspec.Meta(description="the one here")]
    plain: Inner


class Node(msgspec.Struct):
    name: str
    children: list[Node] = []


class Optionals(msgspec.Struct):
    a: Optional[int]  # noqa: UP045 (both ways of writing it are what is tested)
    b: int | None = None
    c: int = 3


class D1(msgspec.Struct):
    m: dict[str, int]


class Deep(msgspec.Struct):
    m: dict[int, list[dict[str, Inner]]]


class Renamed(msgspec.Struct, rename="camel"):
    first_name: str


def wire(form: str, schema: Any, content: str) -> dict[str, Any]:
    return structured_call(form, answer(content), generation_schema=schema)[1]["response_format"]["json_schema"]


def data(form: str, schema: Any, content: str) -> Any:
    response, _ = structured_call(form, answer(content), generation_schema=schema)
    assert response.response_type == "structured"
    return response.data


def refused(form: str, match: str, wanted: type[Exception] = InputError, *, stream: bool = False, **words: Any) -> None:
    transport = FakeTransport()
    model = model_of("openai", transport)
    messages = words.pop("messages", "x")
    with pytest.raises(wanted, match=match):
        ask(model, form, messages, **words, **({"stream": True} if stream else {}))
    assert transport.requests == []


def places(schema: Any, keyword: str) -> bool:
    """Whether `keyword` is a keyword anywhere in `schema`."""
    if isinstance(schema, dict):
        return keyword in schema or any(places(inner, keyword) for inner in schema.values())
    return isinstance(schema, list) and any(places(inner, keyword) for inner in schema)


@pytest.mark.parametrize(
    ("mode", "path"),
    [
        (None, ("response_format", "json_schema", "schema")),
        ("structured_outputs", ("structured_outputs", "json")),
        ("guided_json", ("guided_json",)),
    ],
)
def test_c031_vllm_takes_the_schema_where_its_version_reads_it(
    form: str, mode: str | None, path: tuple[str, ...]
) -> None:
    _, body = structured_call(form, answer('{"a":1}'), provider="vllm", generation_schema=P, mode=mode)
    here: Any = body
    for step in path:
        here = here[step]
    assert here["type"] == "object"
    others = {"response_format", "structured_outputs", "guided_json"} - {path[0]}
    assert not body.keys() & others


def test_c048_a_schemas_answer_has_no_beginning_given(form: str) -> None:
    refused(form, "prefilling", prefilling="{", generation_schema=P)


def test_c049_a_tuple_is_a_conversation(form: str) -> None:
    _, body = structured_call(form, answer(), messages=({"role": "user", "content": "x"},), system_prompt="s")
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


def test_c050_no_conversation_no_request(form: str) -> None:
    refused(form, "messages", messages=None)


def test_c046_the_callers_list_stays(form: str) -> None:
    talk = [{"role": "user", "content": "x"}]
    _, body = structured_call(form, answer(), messages=talk, system_prompt="s", prefilling="p")
    assert body["messages"] == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "p"},
    ]
    assert talk == [{"role": "user", "content": "x"}]


def test_c054_a_struct_on_the_wire(form: str) -> None:
    _, body = structured_call(form, answer('{"a":1}'), generation_schema=P)
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {
            "name": "p",
            "strict": True,
            "schema": {
                "type": "object",
                "properties": {"a": {"type": "integer"}},
                "required": ["a"],
                "additionalProperties": False,
            },
        },
    }


def test_c055_c056_optional_means_nullable(form: str) -> None:
    schema = wire(form, Optionals, '{"a":1,"b":null,"c":null}')["schema"]
    assert set(schema["required"]) == {"a", "b", "c"}
    nullable = {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    assert schema["properties"] == {"a": nullable, "b": nullable, "c": nullable}
    assert not places(schema, "default")
    assert data(form, Optionals, '{"a":1,"b":null,"c":null}') == {"a": 1, "b": None, "c": 3}


def test_c057_descriptions_survive(form: str) -> None:
    schema = wire(form, Outer, '{"inner":{"x":1},"plain":{"x":2}}')["schema"]
    assert not places(schema, "$ref")
    properties = schema["properties"]
    assert properties["inner"]["description"] == "the one here"
    assert properties["plain"]["description"] == "What is inside."
    assert properties["plain"]["properties"]["x"]["description"] == "a number"


def test_c058_a_struct_that_contains_itself(form: str) -> None:
    content = '{"name":"a","children":[{"name":"b","children":null}]}'
    schema = wire(form, Node, content)["schema"]
    assert places(schema, "$ref")
    assert schema["$defs"]["Node"]["additionalProperties"] is False
    assert data(form, Node, content) == {"name": "a", "children": [{"name": "b", "children": []}]}


def test_c059_a_map_is_a_list_of_entries(form: str) -> None:
    content = '{"m":{"entries":[{"key":"a","value":1},{"key":"b","value":2}]}}'
    entry = {
        "title": "D1MEntry",
        "type": "object",
        "required": ["key", "value"],
        "additionalProperties": False,
        "properties": {"key": {"type": "string"}, "value": {"type": "integer"}},
    }
    assert wire(form, D1, content) == {
        "name": "d1",
        "strict": True,
        "schema": {
            "type": "object",
            "required": ["m"],
            "additionalProperties": False,
            "properties": {
                "m": {
                    "title": "D1MMap",
                    "type": "object",
                    "required": ["entries"],
                    "additionalProperties": False,
                    "properties": {"entries": {"type": "array", "items": entry}},
                }
            },
        },
    }
    assert data(form, D1, content) == {"m": {"a": 1, "b": 2}}


def test_c060_maps_in_lists_in_maps(form: str) -> None:
    inner = '{"entries":[{"key":"k","value":{"x":1}}]}'
    content = f'{{"m":{{"entries":[{{"key":"7","value":[{inner}]}}]}}}}'
    assert data(form, Deep, content) == {"m": {7: [{"k": {"x": 1}}]}}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param('{"m":{"entries":[{"key":"a","value":1},{"key":"a","value":2}]}}', id="c061"),
        pytest.param('{"m":{"a":1}}', id="c062"),
    ],
)
def test_c061_c062_a_map_that_is_none(form: str, content: str) -> None:
    error = failure_of(form, answer(content), generation_schema=D1)
    assert error.code == "invalid_output"
    assert error.partial == content
    assert error.details["errors"][0].startswith("/m")


class TupleKeys(msgspec.Struct):
    m: dict[tuple[int, int], str]


class Anything(msgspec.Struct):
    inside: list[Any]


class BareDict(msgspec.Struct):
    inside: dict


class ASet(msgspec.Struct):
    inside: set[int]


class FixedTuple(msgspec.Struct):
    inside: tuple[int, str]


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param(TupleKeys, id="c063"),
        pytest.param(msgspec.defstruct("BoolKeys", [("inside", dict[bool, int])]), id="c063-bool"),
        pytest.param(msgspec.defstruct("NoneKeys", [("inside", dict[None, int])]), id="c063-none"),
        pytest.param(Anything, id="c064-any"),
        pytest.param(BareDict, id="c064-dict"),
        pytest.param(ASet, id="c064-set"),
    ],
)
def test_c063_c064_refuses_types_that_strict_mode_cannot_carry_by_field(form: str, schema: Any) -> None:
    refused(form, "inside|field m", ValueError, generation_schema=schema)


def test_c065_a_tuple_of_unlike_items_comes_back_as_one(form: str) -> None:
    content = '{"inside":{"item_1":3,"item_2":"x"}}'
    assert not places(wire(form, FixedTuple, content)["schema"], "prefixItems")
    assert data(form, FixedTuple, content) == {"inside": [3, "x"]}


@pytest.mark.parametrize("schema", [5, "P", object])
def test_d034_a_schema_that_is_none(form: str, schema: Any) -> None:
    refused(form, "schema", ValueError, generation_schema=schema)


def test_c066_fields_have_their_python_names(form: str) -> None:
    assert data(form, Renamed, '{"firstName":"a"}') == {"first_name": "a"}


@pytest.mark.parametrize("name", ["Größe", "L" * 80])
def test_c067_a_name_that_providers_take(form: str, name: str) -> None:
    schema = msgspec.defstruct(name, [("a", int)])
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", wire(form, schema, '{"a":1}')["name"])


def test_c068_a_schema_is_lowered_once(form: str) -> None:
    model = model_of("openai", FakeTransport(answer('{"a":1}')))
    ask(model, form, generation_schema=P)
    before = _lower.cache_info().currsize
    for _ in range(1000 if form == "sync" else 50):
        ask(model, "sync", generation_schema=P)
    assert _lower.cache_info().currsize == before
    assert _lower.cache_info().maxsize


def test_c069_unknown_keys_are_ignored_and_types_are_not(form: str) -> None:
    assert data(form, P, '{"a":1,"zz":2}') == {"a": 1}
    assert failure_of(form, answer('{"a":"1"}'), generation_schema=P).code == "invalid_output"


def test_c070_an_answer_that_was_cut(form: str) -> None:
    error = failure_of(form, answer('{"a": 1', finish="length"), generation_schema=P)
    assert (error.code, error.partial, error.retryable) == ("truncated", '{"a": 1', False)
    assert error.details["metadata"]["usage"] == USAGE


def test_c071_a_refusal(form: str) -> None:
    error = failure_of(form, answer(None, refusal="No."), generation_schema=P)
    assert (error.code, error.partial, error.retryable) == ("refusal", "No.", False)
    assert "No." in str(error)


def test_d023_a_filtered_answer(form: str) -> None:
    assert failure_of(form, answer("{", finish="content_filter"), generation_schema=P).code == "content_filter"


def test_d024_no_answer_at_all(form: str) -> None:
    assert failure_of(form, answer(None), generation_schema=P).code == "empty_output"


def test_d041_invalid_output_keeps_the_text(form: str) -> None:
    error = failure_of(form, answer("Sure!"), generation_schema=P)
    assert (error.code, error.partial) == ("invalid_output", "Sure!")


class Choosy(msgspec.Struct):
    a: int

    def __post_init__(self) -> None:
        if self.a < 0:
            raise ValueError("a must not be negative")


def test_a_type_may_ask_for_more_than_its_schema(form: str) -> None:
    error = failure_of(form, answer('{"a":-1}'), generation_schema=Choosy)
    assert (error.code, error.partial) == ("invalid_output", '{"a":-1}')
    assert "negative" in str(error)


class Unsettable(msgspec.Struct):
    a: int
    b: int | msgspec.UnsetType = msgspec.UNSET


def test_unset_fields_are_absent(form: str) -> None:
    assert data(form, Unsettable, '{"a":1,"b":null}') == {"a": 1}


@pytest.mark.parametrize("key", ["7", 7])
def test_keys_that_are_no_texts(form: str, key: Any) -> None:
    schema = msgspec.defstruct("Keys", [("m", dict[int, int])])
    assert data(form, schema, json.dumps({"m": {"entries": [{"key": key, "value": 1}]}})) == {"m": {7: 1}}


def test_c072_tool_calls_beside_a_schema(form: str) -> None:
    response, _ = structured_call(
        form,
        answer(None, finish="tool_calls", tool_calls=[call_of()]),
        generation_schema=P,
        tool_definitions=ToolDefinitions(schemas=[T]),
    )
    assert response.response_type == "tool_call"


def test_c073_no_stream_with_a_schema(form: str) -> None:
    refused(form, "stream", stream=True, generation_schema=P)


def test_c074_no_stream_with_a_parser(form: str) -> None:
    refused(form, "stream", stream=True, typed_parser="typed_xml")


def test_c075_an_unknown_parser(form: str) -> None:
    refused(form, "typed_xml", TypedParserNotFoundError, typed_parser="nope")
