"""Flow controls: ReAct on the wire and back, and one's own (statements 80 to 86)."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from fake_transport import FakeTransport, answer, ask, model_of

from headrace.chat.messages import assistant, user
from headrace.chat.tools import ToolDefinitions, define
from headrace.errors import CallError
from headrace.flows.react import ChainOfThought, FlowResult, ReAct, SelfConsistency, ToolFlowControl

FORMS = ("sync", "async")
pytestmark = pytest.mark.parametrize("form", FORMS)


def tool(name: str, properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "parameters": parameters, "strict": True}}


NULLABLE = {"anyOf": [{"type": "integer"}, {"type": "null"}]}
ENTRIES = {
    "type": "object",
    "required": ["entries"],
    "additionalProperties": False,
    "properties": {
        "entries": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["key", "value"],
                "additionalProperties": False,
                "properties": {"key": {"type": "string"}, "value": {"type": "string"}},
            },
        }
    },
}
SEARCH = tool("search", {"q": {"type": "string", "description": "query"}, "k": NULLABLE})
STORE = tool("store", {"fields": ENTRIES})
STRING_OR_NULL = {"anyOf": [{"type": "string"}, {"type": "null"}]}


def variant(name: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["name", *properties],
        "properties": {"name": {"type": "string", "enum": [name]}, **properties},
    }


SEARCH_VARIANT = variant("search", {"q": {"type": "string", "description": "query"}, "k": NULLABLE})
STORE_VARIANT = variant("store", {"fields": ENTRIES})


def step(form: str, content: Any, *tools: Any, flow: Any = ReAct, choice: Any = None) -> tuple[Any, dict[str, Any]]:
    """The data and the body of one call."""
    transport = FakeTransport(answer(json.dumps(content)))
    definitions = ToolDefinitions(schemas=list(tools), choice=choice) if tools else None
    model = model_of("openai", transport, retry=False)
    response = ask(model, form, generation_schema=flow, tool_definitions=definitions)
    assert response.response_type == "structured"
    return response.data, transport.body


def thought(actions: Any = None, final_answer: Any = None, **more: Any) -> dict[str, Any]:
    return {"thought": "t", "actions": actions, "final_answer": final_answer, **more}


def test_c080_two_tools_in_the_schema(form: str) -> None:
    actions = [
        {"name": "search", "q": "x", "k": None},
        {"name": "store", "fields": {"entries": [{"key": "a", "value": "b"}]}},
    ]
    data, body = step(form, thought(actions), SEARCH, STORE)
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {
            "name": "react",
            "strict": True,
            "schema": {
                "type": "object",
                "required": ["thought", "actions", "final_answer"],
                "additionalProperties": False,
                "properties": {
                    "thought": {"type": "string"},
                    "actions": {
                        "anyOf": [
                            {"type": "array", "items": {"anyOf": [SEARCH_VARIANT, STORE_VARIANT]}},
                            {"type": "null"},
                        ]
                    },
                    "final_answer": STRING_OR_NULL,
                },
            },
        },
    }
    assert not body.keys() & {"tools", "tool_choice", "parallel_tool_calls"}
    assert data["actions"] == [
        {"name": "search", "arguments": {"q": "x", "k": None}},
        {"name": "store", "arguments": {"fields": {"a": "b"}}},
    ]


def actions_of(body: dict[str, Any]) -> dict[str, Any]:
    return body["response_format"]["json_schema"]["schema"]["properties"]["actions"]


def test_c081_one_tool_and_none(form: str) -> None:
    _, body = step(form, thought(final_answer="done"), SEARCH)
    assert actions_of(body)["anyOf"][0]["items"] == SEARCH_VARIANT
    data, body = step(form, thought(final_answer="done"))
    assert actions_of(body) == {"type": "null"}
    assert data["final_answer"] == "done"


class Report(msgspec.Struct):
    title: str


class Typed(ReAct):
    final_answer: Report | None
    confidence: float


class Mapped(ReAct):
    final_answer: dict[str, int] | None


def test_c082_a_subclass_types_the_answer_and_adds_fields(form: str) -> None:
    data, body = step(form, thought(final_answer={"title": "x"}, confidence=0.5), flow=Typed)
    schema = body["response_format"]["json_schema"]
    assert schema["name"] == "typed"
    properties = schema["schema"]["properties"]
    assert properties["final_answer"]["anyOf"][0]["properties"] == {"title": {"type": "string"}}
    assert properties["confidence"] == {"type": "number"}
    assert (data["final_answer"], data["confidence"]) == ({"title": "x"}, 0.5)
    data, _ = step(form, thought(final_answer={"entries": [{"key": "a", "value": 1}]}), flow=Mapped)
    assert data["final_answer"] == {"a": 1}


def test_c083_a_parameter_called_name(form: str) -> None:
    greet = tool("greet", {"name": {"type": "string"}})
    data, body = step(form, thought([{"name": "greet", "arguments": {"name": "Ada"}}]), greet)
    item = actions_of(body)["anyOf"][0]["items"]
    assert item["properties"]["name"] == {"type": "string", "enum": ["greet"]}
    assert data["actions"] == [{"name": "greet", "arguments": {"name": "Ada"}}]


class OnlyFormat(ToolFlowControl):
    x: int

    @classmethod
    def provider_response_format(cls, tool_definitions: ToolDefinitions | None) -> dict[str, Any]:
        return {"type": "json_object"}


def test_c084_only_the_format_of_ones_own(form: str) -> None:
    data, body = step(form, {"x": 1}, SEARCH, flow=OnlyFormat)
    assert data == {"x": 1}
    assert body["response_format"] == {"type": "json_object"}
    assert "tools" not in body
    for hook, given in (("extract_flow_result", ({},)), ("inject_results", ({}, {})), ("build_history", ({}, []))):
        with pytest.raises(NotImplementedError, match="OnlyFormat"):
            getattr(OnlyFormat, hook)(*given)


class NoFormat(ToolFlowControl):
    x: int


def test_a_flow_without_a_format_is_its_struct(form: str) -> None:
    data, body = step(form, {"x": 1}, SEARCH, flow=NoFormat)
    assert (data, body["response_format"]["json_schema"]["name"]) == ({"x": 1}, "noformat")
    assert "tools" not in body


@pytest.mark.parametrize("result", [0, "", [], False, None])
def test_c085_a_result_that_is_nothing_is_a_result(form: str, result: Any) -> None:
    data, _ = step(form, thought([{"name": "search", "q": "x", "k": 1}]), SEARCH)
    flow = ReAct.extract_flow_result(data)
    ((call_id, name, arguments),) = flow.tool_calls or []
    assert (flow.is_complete, flow.reasoning, name, arguments) == (False, "t", "search", {"q": "x", "k": 1})
    assert ReAct.inject_results(data, {call_id: result})["observations"] == [{"tool": "search", "result": result}]


def test_c086_history_after_an_ordinary_message(form: str) -> None:
    data, _ = step(form, thought([{"name": "search", "q": "x", "k": 1}]), SEARCH)
    ReAct.inject_results(data, {})
    for last in (assistant("ordinary"), assistant("[1]"), assistant("{}"), user("q")):
        history = ReAct.build_history(data, [last])
        assert history[0] == last
        assert len(history) == 2
    again = ReAct.build_history(data, history)
    assert len(again) == 2
    assert [one["thought"] for one in json.loads(again[-1]["content"])] == ["t", "t"]


def test_d048_an_empty_answer_beside_actions_is_none(form: str) -> None:
    flow = ReAct.extract_flow_result(thought([{"name": "search", "arguments": None}], ""))
    assert flow.is_complete is False
    assert ReAct.extract_flow_result(thought([{"name": "search", "arguments": None}], "done")).is_complete
    assert ReAct.extract_flow_result(thought(None, None)) == FlowResult(
        is_complete=True, reasoning="t", final_response={"thought": "t", "final_answer": None}
    )


def test_d047_nested_arguments_are_taken_too(form: str) -> None:
    data, _ = step(form, thought([{"name": "search", "arguments": {"q": "x", "k": 1}}]), SEARCH)
    assert data["actions"] == [{"name": "search", "arguments": {"q": "x", "k": 1}}]


def test_d044_a_loose_tool_is_made_strict(form: str) -> None:
    loose = tool("search", {"q": {"type": "string"}, "k": {"type": "integer", "default": 3}}, ["q"])
    data, body = step(form, thought([{"name": "search", "q": "x", "k": None}]), loose)
    item = actions_of(body)["anyOf"][0]["items"]
    assert set(item["required"]) == {"name", "q", "k"}
    assert item["properties"]["k"] == NULLABLE
    assert data["actions"] == [{"name": "search", "arguments": {"q": "x"}}]


def test_d049_maps_of_a_function_come_back(form: str) -> None:
    def store(fields: dict[str, int]) -> None:
        """Keep."""

    transport = FakeTransport(
        answer(json.dumps(thought([{"name": "store", "fields": {"entries": [{"key": "a", "value": 1}]}}])))
    )
    response = ask(model_of("openai", transport), form, generation_schema=ReAct, tool_definitions=define(store))
    assert response.data["actions"] == [{"name": "store", "arguments": {"fields": {"a": 1}}}]


@pytest.mark.parametrize(("choice", "names"), [("required", {"search", "store"}), ("store", {"store"})])
def test_d058_a_choice_is_in_the_schema(form: str, choice: str, names: set[str]) -> None:
    _, body = step(form, thought([{"name": "store", "fields": {"entries": []}}]), SEARCH, STORE, choice=choice)
    actions = actions_of(body)
    assert actions["type"] == "array"
    items = actions["items"].get("anyOf", [actions["items"]])
    assert {item["properties"]["name"]["enum"][0] for item in items} == names


def test_an_unknown_tool_is_invalid(form: str) -> None:
    with pytest.raises(CallError) as raised:
        step(form, thought([{"name": "nope"}]), SEARCH)
    assert raised.value.code == "invalid_output"


@pytest.mark.parametrize(
    ("schema", "name", "content"),
    [
        (ChainOfThought, "chainofthought", {"reasoning": "r", "final_answer": "a"}),
        (SelfConsistency, "selfconsistency", {"paths": [{"reasoning": "r", "answer": "a"}], "final_answer": "a"}),
    ],
)
def test_the_built_in_schemas(form: str, schema: Any, name: str, content: Any) -> None:
    data, body = step(form, content, flow=schema)
    assert (data, body["response_format"]["json_schema"]["name"]) == (content, name)


async def test_the_async_twins(form: str) -> None:
    data = thought([{"name": "search", "arguments": None}])
    flow = await ReAct.aextract_flow_result(data)
    assert flow.tool_calls
    await ReAct.ainject_results(data, {flow.tool_calls[0][0]: 1})
    assert await ReAct.abuild_history(data, [])
    assert "search" in ReAct.tools_prompt(ToolDefinitions(schemas=[SEARCH], choice="required"))
    assert "final_answer" in ReAct.system_message()


def test_d047_the_prompt_shows_what_the_wire_asks_for_and_both_shapes_are_read(form: str) -> None:
    counts = {"type": "object", "additionalProperties": {"type": "integer"}}
    parameters = {"type": "object", "properties": {"m": counts, "l": True}, "required": ["m"]}
    tools = ToolDefinitions(schemas=[{"type": "function", "function": {"name": "c", "parameters": parameters}}])
    shown = ReAct.tools_prompt(tools)
    assert '"entries"' in shown
    assert '"required":["name","m","l"]' in shown
    for given in ({"m": {"z": 1}}, {"m": {"entries": [{"key": "z", "value": 1}]}, "l": None}):
        for action in ({"name": "c", **given}, {"name": "c", "arguments": given}):
            response = {"thought": "t", "actions": [action], "final_answer": None}
            step = ReAct.normalize_provider_response(response, tool_definitions=tools)
            assert step["actions"][0]["arguments"]["m"] == {"z": 1}


def test_d044_a_tools_own_definitions_come_along(form: str) -> None:
    parameters = {
        "type": "object",
        "properties": {"t": {"$ref": "#/$defs/T"}},
        "required": ["t"],
        "$defs": {"T": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}},
    }
    tools = ToolDefinitions(schemas=[{"type": "function", "function": {"name": "c", "parameters": parameters}}])
    assert ReAct.provider_response_format(tools)
