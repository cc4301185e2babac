"""Tool loops and reasoning through structured output: the built-in schemas, and the contract for one's own (providers
3.9 to 3.11). No native tools are sent with a flow control: the tools are in the schema, or in the prompt.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from headrace.chat.messages import Message, as_json, assistant
from headrace.chat.tools import CHOICES, ToolDefinitions, chosen_names
from headrace.errors import CallError, InputError, InvalidOutput, SchemaError
from headrace.schema.lower import lower_schema
from headrace.schema.parse import read_answer
from headrace.schema.python_types import schema_of, wire_name
from headrace.schema.validate import compiled, encoded

RESERVED_PARAMETERS = frozenset({"name", "_id"})


class ChainOfThought(msgspec.Struct):
    """An answer after thinking."""

    reasoning: Annotated[str, msgspec.Meta(description="Think step by step before the answer.")]
    final_answer: str


class ReasoningPath(msgspec.Struct):
    """One way to the answer."""

    reasoning: Annotated[str, msgspec.Meta(description="This path, step by step.")]
    answer: Annotated[str, msgspec.Meta(description="Where this path leads.")]


class SelfConsistency(msgspec.Struct):
    """The answer that several independent paths agree on."""

    paths: Annotated[list[ReasoningPath], msgspec.Meta(description="Independent paths to the answer.")]
    final_answer: Annotated[str, msgspec.Meta(description="The answer that most paths agree on.")]


class FlowResult(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a step: the end with `final_response`, or `tool_calls` as (id, name, arguments), to be executed."""

    is_complete: bool
    tool_calls: list[tuple[str, str, dict[str, Any] | None]] | None = None
    reasoning: str | None = None
    final_response: Any = None


class ToolFlowControl(msgspec.Struct):
    """A subclass steers a tool loop through structured output. `response` is always the step as plain values.

    The last three hooks must be written; each has an async twin that calls it. `system_message` belongs into the prompt.
    """

    @classmethod
    def provider_response_format(cls, tool_definitions: ToolDefinitions | None) -> dict[str, Any] | None:
        """Return a whole `response_format`, or None: then the Struct itself is the schema."""
        return None

    @classmethod
    def normalize_provider_response(
        cls, response: Any, *, tool_definitions: ToolDefinitions | None = None
    ) -> dict[str, Any]:
        """Return the decoded answer as the step it means. Raises `CallError("invalid_output")`."""
        return response

    @classmethod
    def extract_flow_result(cls, response: dict[str, Any]) -> FlowResult:
        raise NotImplementedError(f"{cls.__name__}.extract_flow_result")

    @classmethod
    def inject_results(cls, response: dict[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
        """Return the step with what its calls gave, by their ids."""
        raise NotImplementedError(f"{cls.__name__}.inject_results")

    @classmethod
    def build_history(cls, response: dict[str, Any], messages: list[Message]) -> list[Message]:
        """Return the conversation with this step in it."""
        raise NotImplementedError(f"{cls.__name__}.build_history")

    @classmethod
    async def aextract_flow_result(cls, response: dict[str, Any]) -> FlowResult:
        return cls.extract_flow_result(response)

    @classmethod
    async def ainject_results(cls, response: dict[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
        return cls.inject_results(response, results)

    @classmethod
    async def abuild_history(cls, response: dict[str, Any], messages: list[Message]) -> list[Message]:
        return cls.build_history(response, messages)


def flow_of(schema: Any) -> type[ToolFlowControl] | None:
    """Return the flow control that a schema is; None for any other."""
    return schema if isinstance(schema, type) and issubclass(schema, ToolFlowControl) else None


class Action(msgspec.Struct):
    """A call of a tool."""

    name: str
    arguments: dict[str, Any] | None = None


class ReAct(ToolFlowControl):
    """Rounds of thought, actions and observations until there is a final answer. A subclass may type `final_answer`, and
    add fields."""

    thought: str
    actions: list[Action] | None
    final_answer: str | None

    @classmethod
    def system_message(cls) -> str:
        return (
            "Work in rounds. In each, write down your thought, then either the actions to take, each naming one of the "
            "tools with its arguments, or the final answer. Their results come back to you as observations. Give "
            "`final_answer` only once you are done, and no actions with it."
        )

    @classmethod
    def tools_prompt(cls, tool_definitions: ToolDefinitions | None) -> str:
        """Return the tools for the prompt, in the shape that the wire schema asks for."""
        actions = lower_schema(cls.flow_schema(tool_definitions)).wire["properties"]["actions"]
        listed = next((one for one in actions.get("anyOf", [actions]) if one.get("type") == "array"), {"items": {}})
        shown = [as_json(one) for one in listed["items"].get("anyOf", [listed["items"]]) if one]
        choice = tool_definitions.choice if tool_definitions else None
        said = [] if choice in (None, "auto") else [f"<tool_choice>{as_json(choice)}</tool_choice>"]
        return "\n".join(["<actions>", *shown, *said, "</actions>"])

    @classmethod
    def flow_schema(cls, tool_definitions: ToolDefinitions | None) -> dict[str, Any]:
        """Return the JSON Schema of a step: that of the Struct, its actions one variant for each tool."""
        schema = schema_of(cls)
        actions: dict[str, Any] = {"type": "null"}
        choice = tool_definitions.choice if tool_definitions else None
        wanted = variants(tool_definitions)
        if wanted and choice != "none":
            items = wanted[0] if len(wanted) == 1 else {"anyOf": wanted}
            listed = {"type": "array", "items": items}
            # A choice that demands a call is kept by the schema, not only by the prompt (conformance D58).
            forced = choice == "required" or isinstance(choice, dict) or (choice or "auto") not in CHOICES
            actions = listed | {"minItems": 1} if forced else {"anyOf": [listed, {"type": "null"}]}
        properties = {**schema["properties"], "actions": actions}
        definitions = {name: body for name, body in schema.get("$defs", {}).items() if name != "Action"}
        for parameters in tools_by_name(tool_definitions).values():
            definitions |= parameters.get("$defs", {})  # what a tool's parameters refer to, from the root as they do
        fields = {name: value for name, value in schema.items() if name not in {"$defs", "title", "description"}}
        return (
            fields
            | {"properties": properties, "required": list(properties), "additionalProperties": False}
            | ({"$defs": definitions} if definitions else {})
        )

    @classmethod
    def provider_response_format(cls, tool_definitions: ToolDefinitions | None) -> dict[str, Any] | None:
        try:
            lowered = lower_schema(cls.flow_schema(tool_definitions))
        except SchemaError as error:
            raise InputError(f"{cls.__name__}: the tools cannot be carried by strict mode: {error}") from None
        envelope = {"name": wire_name(cls.__name__), "strict": True, "schema": lowered.wire}
        return {"type": "json_schema", "json_schema": envelope}

    @classmethod
    def normalize_provider_response(
        cls, response: Any, *, tool_definitions: ToolDefinitions | None = None
    ) -> dict[str, Any]:
        tools = tools_by_name(tool_definitions)
        actions = response.get("actions") if isinstance(response, dict) else None
        if isinstance(actions, list):
            # A model without constrained decoding nests the arguments, as prompts like to say it (conformance D47).
            response = {**response, "actions": [flat(action, tools) for action in actions]}
        schema = cls.flow_schema(tool_definitions)
        try:
            step = read_answer(msgspec.json.encode(response).decode(), schema).value
        except CallError:
            try:  # maps as the tools' own schemas have them, from a model that no schema held
                compiled(encoded(schema)).validate(response)
            except InvalidOutput:
                pass
            else:
                step = response
                actions = step.get("actions")
                return step | {"actions": actions and [called(action, tools) for action in actions]}
            raise
        if step.get("actions") is not None:
            step["actions"] = [called(action, tools) for action in step["actions"]]
        return step

    @classmethod
    def extract_flow_result(cls, response: dict[str, Any]) -> FlowResult:
        answer, actions = response.get("final_answer"), response.get("actions") or []
        if answer not in (None, "") or not actions:
            response.pop("actions", None)
            return FlowResult(is_complete=True, reasoning=response.get("thought"), final_response=response)
        for action in actions:
            action.setdefault("_id", f"call_{secrets.token_hex(12)}")
        calls = [(action["_id"], action["name"], action.get("arguments")) for action in actions]
        return FlowResult(is_complete=False, tool_calls=calls, reasoning=response.get("thought"))

    @classmethod
    def inject_results(cls, response: dict[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
        response["observations"] = [
            {"tool": action["name"], "result": results[action["_id"]]}
            for action in response.get("actions") or ()
            if action.get("_id") in results
        ]
        return response

    @classmethod
    def build_history(cls, response: dict[str, Any], messages: list[Message]) -> list[Message]:
        actions = [
            {"name": action["name"], "arguments": action.get("arguments")} for action in response.get("actions") or ()
        ]
        step = {
            "thought": response.get("thought"),
            "actions": actions,
            "observations": response.get("observations", []),
        }
        steps = steps_of(messages[-1]) if messages else None
        if steps is None:
            return [*messages, assistant(as_json([step]))]
        return [*messages[:-1], assistant(as_json([*steps, step]))]


def variants(tool_definitions: ToolDefinitions | None) -> list[dict[str, Any]]:
    """Return one schema for each tool that may be called. A tool whose parameters would hide its own name has them nested."""
    choice = tool_definitions.choice if tool_definitions else None
    allowed = set(chosen_names(choice)) if choice is not None else set()
    made = []
    for name, parameters in tools_by_name(tool_definitions).items():
        if allowed and name not in allowed:
            continue
        own = parameters.get("properties") or {}
        required = [one for one in parameters.get("required", ()) if one in own]
        if not RESERVED_PARAMETERS.isdisjoint(own):
            own, required = {"arguments": {"additionalProperties": False} | parameters}, ["arguments"]
        made.append(
            {
                "type": "object",
                "properties": {"name": {"type": "string", "enum": [name]}, **own},
                "required": ["name", *required],
                "additionalProperties": False,
            }
        )
    return made


def tools_by_name(tool_definitions: ToolDefinitions | None) -> dict[str, dict[str, Any]]:
    functions = [
        schema["function"] for schema in (tool_definitions and tool_definitions.schemas) or () if "function" in schema
    ]
    return {function["name"]: function.get("parameters") or {"type": "object"} for function in functions}


def flat(action: Any, tools: dict[str, dict[str, Any]]) -> Any:
    """Return an action as the wire schema has it, whether its arguments came nested or not."""
    own = tools.get(str(action.get("name")), {}).get("properties", {}) if isinstance(action, dict) else {}
    if not isinstance(action, dict) or action.keys() != {"name", "arguments"} or "arguments" in own:
        return action
    if not RESERVED_PARAMETERS.isdisjoint(own):
        return action
    return {"name": action["name"]} | (action["arguments"] or {})


def called(action: dict[str, Any], tools: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return a wire action as name and arguments, maps out of their entries; no parameters are None."""
    properties = tools.get(action["name"], {}).get("properties") or {}
    given = action["arguments"] if not RESERVED_PARAMETERS.isdisjoint(properties) else action
    arguments = {name: unwrapped(value, properties[name]) for name, value in given.items() if name in properties}
    return {"name": action["name"], "arguments": arguments or None}


def unwrapped(value: Any, schema: Any) -> Any:
    """Return maps out of the entries that a tool's own schema has for them (conformance D49)."""
    if not isinstance(schema, dict):
        return value
    choices = [one for one in schema.get("anyOf", ()) if isinstance(one, dict) and one.get("type") != "null"]
    schema = choices[0] if choices else schema
    if isinstance(value, list):
        return [unwrapped(item, schema.get("items", {})) for item in value]
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties", {})
    entry = properties.get("entries", {}).get("items", {}).get("properties", {})
    if properties.keys() == {"entries"} and entry.keys() == {"key", "value"}:
        return {pair["key"]: unwrapped(pair["value"], entry["value"]) for pair in value.get("entries", ())}
    return {name: unwrapped(inner, properties.get(name, {})) for name, inner in value.items()}


def steps_of(message: Message) -> list[Any] | None:
    """Return the steps that an assistant's message holds; None for any other message (conformance D46)."""
    if message.get("role") != "assistant" or not isinstance(message.get("content"), str):
        return None
    try:
        steps = msgspec.json.decode(message["content"])
    except (msgspec.DecodeError, RecursionError):
        return None
    known = (
        isinstance(steps, list) and bool(steps) and all(isinstance(step, dict) and "thought" in step for step in steps)
    )
    return steps if known else None
