"""Tools whose parameters no provider takes are refused by their place; strict ones are as strict mode has them."""

from __future__ import annotations

import copy
import json
import time
from itertools import chain
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from fake_transport import FakeTransport, answer, ask, model_of
from headrace_providers.wire.reducer import Reducer
from headrace_providers.wire.tool_arguments import CHANGED
from headrace_worker.publishing.delta_events import DeltaEvents, rest

from headrace.chat.tool_schemas import check_strict, is_strict, reshaped_tools
from headrace.chat.tools import ToolDefinitions, define, wire_tools
from headrace.errors import InputError, SchemaError
from headrace.events.fold import Fold
from headrace.jobs.build import make_job

OBJECT: dict[str, Any] = {"type": "object", "additionalProperties": False}


def tool(parameters: Any, name: str = "f", **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters, **more}}


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    ("parameters", "pointer", "remedy"),
    [
        ({"type": "dict", "properties": {"a": {"type": "string"}}, "required": ["a"]}, "/type", "`object`"),
        (of(a={"type": "float"}), "/properties/a/type", "`number`"),
        (of(a={"type": "any"}), "/properties/a/type", "any value"),
        (of(a={"type": "tuple", "items": {"type": "integer"}}), "/properties/a/type", "`array`"),
        (of(a={"type": "String"}), "/properties/a/type", "`string`"),
        (of(a={"type": ["string", "None"]}), "/properties/a/type", "`null`"),
        (of(a={"type": "array", "items": {"type": "dict"}}), "/properties/a/items/type", "`object`"),
        (of(a={"type": "kwargs"}), "/properties/a/type", "one of null"),
        ({**of(base={"type": "number"}), "required": "base"}, "/required", '["base"]'),
        (of(a={"type": "string", "required": True}), "/properties/a/required", "object around"),
        (of(a="string"), "/properties/a", '{"type"'),
        (of(a={"$ref": "#/definitions/X"}), "/properties/a/$ref", "name a definition"),
        (of(a={"$ref": "https://x.y/z"}), "/properties/a/$ref", "copy what it names"),
        (of(**{"a/b": {"pattern": "("}}), "/properties/a~1b/pattern", "ECMA"),
        (of(a={"enum": "x"}), "/properties/a/enum", "JSON Schema"),
        ({"type": "array", "items": {}}, "/type", "describe an object"),
        ({"type": "string"}, "/type", "describe an object"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", [0, 1])
def test_parameters_that_are_no_schema_are_refused_by_their_place(
    place: int, parameters: Any, pointer: str, remedy: str
) -> None:
    tools = [tool(of(), "first"), tool(parameters, "math_add")][1 - place :]
    with pytest.raises(SchemaError) as refused:
        make_job("rehearsal/small", "x", tools=tools)
    assert refused.value.pointer == f"/schemas/{place}/function/parameters{pointer}"
    assert remedy in refused.value.remedy
    assert "'math_add'" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "remedy"), [("math.factorial", "math_factorial"), ("a b", "a_b"), ("x" * 65, "x" * 64)]
)
def test_a_name_that_no_provider_takes_is_refused_with_one_that_they_do(name: str, remedy: str) -> None:
    with pytest.raises(InputError, match=f"/schemas/0/function/name.*write {remedy}$"):
        ToolDefinitions(schemas=[tool(of(), name)])


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        None,
        of(),
        {"properties": {"a": {"type": "string"}}},
        of(a={"type": "array", "items": [{"type": "string"}]}),
        of(a={"$ref": "#/$defs/Page<User>"}) | {"$defs": {"Page<User>": {"type": "string"}}},
        of(a={"type": "string", "nullable": True, "pattern": r"^.{1,255}$", "format": "email"}),
        of(a={"type": "object", "properties": {"type": {"type": "string"}, "required": {"type": "boolean"}}}),
        {"$schema": "http://json-schema.org/draft-07/schema#", **of(a={"type": "integer"})},
        {"type": ["object", "null"]},
    ],
)
def test_ordinary_parameters_travel_untouched(parameters: Any) -> None:
    schemas = [tool(parameters)]
    before = copy.deepcopy(schemas)
    assert wire_tools(ToolDefinitions(schemas=schemas), parallel=None)["tools"] == before


def test_the_objects_of_a_strict_tool_are_closed() -> None:
    inner = {**of(b={"type": "integer"}), "required": ["b"]}
    parameters = {**of(a=inner, c={"type": ["string", "null"]}), "required": ["a", "c"]}
    job, _ = make_job("openai/gpt-5", "x", tools=[tool(parameters, strict=True)])
    wire = wire_tools(ToolDefinitions(schemas=job.tools), parallel=None)["tools"][0]["function"]
    assert wire["strict"] is True
    assert wire["parameters"]["additionalProperties"] is False
    assert wire["parameters"]["properties"]["a"]["additionalProperties"] is False
    assert parameters.keys() == {"type", "properties", "required"}, "the caller's own stay as they are"


@pytest.mark.parametrize(
    ("parameters", "wire", "own"),
    [
        (of(a={"type": "string"}), '{"a":null}', "{}"),
        (of(a={"type": "string"}), '{"a":"x"}', '{"a":"x"}'),
        (
            {**OBJECT, "properties": {"a": of(b={"type": "string"}, c={"type": "integer"})}, "required": ["a"]},
            '{"a":{"b":null,"c":3}}',
            '{"a":{"c":3}}',
        ),
        (
            {**of(a={"type": "object", "additionalProperties": {"type": "string"}}), "required": ["a"]},
            '{"a":{"entries":[{"key":"k","value":"v"}]}}',
            '{"a":{"k":"v"}}',
        ),
        (
            {"type": "object", "additionalProperties": {"type": "integer"}},
            '{"entries":[{"key":"k","value":1}]}',
            '{"k":1}',
        ),
    ],
)
@pytest.mark.parametrize("model", ["openai/gpt-5", "openrouter/a/b"])
def test_the_arguments_of_a_strict_tool_come_back_in_its_own_shape(
    model: str, parameters: Any, wire: str, own: str
) -> None:
    dialect = model.partition("/")[0]
    job, _ = make_job(model, "x", tools=[tool(of(), "first"), tool(parameters, strict=True)])
    sent = wire_tools(ToolDefinitions(schemas=job.tools), parallel=None, dialect=dialect)["tools"][1]["function"]
    assert is_strict(sent["parameters"])
    assert jsonschema_rs.is_valid(sent["parameters"], json.loads(wire))
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": wire}}
    whole, chunks = Reducer(target=dialect), Reducer(target=dialect)
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    whole.add({"id": "a", "choices": [{"message": message, "finish_reason": "tool_calls"}]})
    events, told = DeltaEvents(reshaped_tools(job.tools or (), dialect)), Fold()
    for piece in (wire[:4], wire[4:]):
        delta = {"tool_calls": [{"index": 0, **call, "function": {"name": "f", "arguments": piece}}]}
        call = {}
        for event in chain.from_iterable(map(events.of, chunks.add({"id": "a", "choices": [{"delta": delta}]}))):
            told.add(event)
    assert not any(tool.pieces for tool in told.choice(0).tools.values()), "nothing of another shape was shown"
    chunks.add({"id": "a", "choices": [{"delta": {}, "finish_reason": "tool_calls"}]})
    for reducer in (whole, chunks):
        completion = reducer.completion(job)
        assert completion.tool_calls[0]["function"]["arguments"] == own
    for event in rest(told, completion):
        told.add(event)
    assert told.message["tool_calls"][0]["function"]["arguments"] == own


@pytest.mark.parametrize("arguments", ['{"a":{"b":', "[1]", ""])
def test_arguments_that_cannot_be_read_back_stay_as_they_came(arguments: str) -> None:
    job, _ = make_job("openai/gpt-5", "x", tools=[tool(of(a=of(b={"type": "string"})), strict=True)])
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    reducer = Reducer()
    reducer.add({"id": "a", "choices": [{"message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]})
    completion = reducer.completion(job)
    assert completion.tool_calls[0]["function"]["arguments"] == arguments
    assert completion.notes == [CHANGED]


def test_vllm_is_sent_the_callers_own_shape() -> None:
    parameters = of(a={"type": "string"})
    job, _ = make_job("vllm/x", "x", tools=[tool(parameters, strict=True)])
    assert wire_tools(ToolDefinitions(schemas=job.tools), parallel=None, dialect="vllm")["tools"] == job.tools
    assert not reshaped_tools(job.tools or (), "vllm")


def test_a_function_is_strict_already() -> None:
    def search(query: str, count: int = 3, tags: dict[str, int] | None = None) -> None: ...

    definitions = define(search)
    assert wire_tools(definitions, parallel=None)["tools"] == definitions.schemas
    make_job("openai/gpt-5", "x", tools=definitions)


def test_many_tools_cost_what_their_length_says() -> None:
    tools = [tool({**of(a={"type": "string"}), "title": f"t{n}"}, f"f{n}") for n in range(5000)]
    began = time.process_time()
    ToolDefinitions(schemas=tools)
    assert time.process_time() - began < 2


SCHEMA = {**OBJECT, "properties": {"a": {"type": "string"}}, "required": ["a"]}


class Answered(msgspec.Struct):
    a: str


def test_a_mode_that_sends_a_tool_is_no_mode_beside_tools() -> None:
    with pytest.raises(InputError, match="tool_call"):
        make_job("rehearsal/small", "x", schema=SCHEMA, mode="tool_call", tools=[tool(of())])


def test_tools_are_not_replaced_where_a_model_only_knows_them() -> None:
    """A model older than strict mode takes its schema as a tool; beside the caller's it is put in words."""
    transport = FakeTransport(answer('{"a": "x"}'))
    model = model_of("openai", transport, model_id="gpt-4-turbo")
    words = {"generation_schema": Answered, "tool_definitions": ToolDefinitions(schemas=[tool(of())])}
    response = ask(model, "sync", "x", **words)
    sent = transport.body
    assert [each["function"]["name"] for each in sent["tools"]] == ["f"]
    assert "tool_choice" not in sent
    assert '"required":["a"]' in str(sent["messages"])
    assert response.data == {"a": "x"}
    with pytest.raises(InputError, match="tool_call"):
        ask(model_of("openai", mode="tool_call"), "sync", "x", **words)


def test_tools_that_take_too_long_to_look_at_are_refused_together() -> None:
    def tool(n: int, properties: dict[str, Any]) -> dict[str, Any]:
        parameters = {"type": "object", "properties": properties}
        return {"type": "function", "function": {"name": f"f{n}", "parameters": parameters}}

    patterns = [tool(n, {f"p{i}": {"type": "string", "pattern": f"^{n}x{i}"} for i in range(100)}) for n in range(11)]
    ToolDefinitions(schemas=patterns[:10])
    with pytest.raises(InputError, match=r"^/schemas/10: .* 1000 patterns"):
        ToolDefinitions(schemas=patterns)
    large = {f"p{i}": {"$ref": "#/properties/p0"} for i in range(1, 1500)} | {"p0": {"type": "string"}}
    with pytest.raises(InputError, match="512 KiB"):
        ToolDefinitions(schemas=[tool(n, large) for n in range(20)])


@pytest.mark.parametrize("tool", [{"type": "x", "function": "x"}, {"type": "web_search", "function": 5}])
def test_a_tool_of_another_sort_travels_whatever_it_holds(tool: dict[str, Any]) -> None:
    assert wire_tools(ToolDefinitions(schemas=[tool]), parallel=None)["tools"] == [tool]
    make_job("openai/m", "x", tools=[tool])


def test_a_tool_that_is_too_deep_is_named_among_others() -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(200):
        deep = of(x=deep)
    with pytest.raises(SchemaError, match="too deep") as raised:
        ToolDefinitions(schemas=[tool(of()), tool(deep, "g")])
    assert raised.value.pointer.startswith("/schemas/1/function/parameters/properties/x/properties/x")
    assert str(raised.value).startswith("/schemas/1/function/parameters/properties/x")


@pytest.mark.parametrize("inner", [{"enum": []}, {"type": "object", "required": ["zz"], "additionalProperties": False}])
def test_a_strict_tool_that_nothing_fits_is_refused_with_its_place_and_one_remedy(inner: dict[str, Any]) -> None:
    with pytest.raises(SchemaError) as raised:
        check_strict([tool(of(a=inner) | {"required": ["a"]}, strict=True)])
    assert raised.value.pointer.startswith("/schemas/0/function/parameters/properties/a")
    assert "schema at" not in str(raised.value)
    assert str(raised.value).count(raised.value.remedy) == 1
