"""Tool definitions (`ToolDefinitions`), the schema of a Python function (`define`), and the arguments of a call as the
function takes them (`call_arguments`).

Nothing here executes a call.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from headrace.chat.messages import kind
from headrace.chat.tool_schemas import check_total_size, schema_name, wire_tool
from headrace.errors import InputError
from headrace.schema.function_schema import called, function_schema, hints
from headrace.text.quoting import quoted

CHOICES = ("auto", "required", "none")


class ToolDefinitions(msgspec.Struct, frozen=True, kw_only=True):
    """The tools of one request.

    `schemas` are tools in the provider's shape; they are sent unchanged, except that the objects of a strict one are
    closed. `annotations` are `{tool: {parameter: type}}` and are never sent. `choice` is auto, required, none, a tool's
    name, or a choice in the provider's shape.

    Raises `InputError` for a schema that has no tool's shape, for a duplicate name, and for a choice of an unknown tool
    (without schemas nothing is sent, so only `""` is refused then), and `SchemaError` for parameters that are no JSON
    Schema of an object.
    """

    schemas: list[dict[str, Any]] | None = None
    annotations: dict[str, dict[str, Any]] | None = None
    choice: str | dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.schemas, list):
            check_total_size(self.schemas)
        names = [name for _, name in self.named()]
        if len(set(names)) < len(names):
            twice = next(name for name, count in Counter(names).items() if count > 1)
            raise InputError(f"/schemas: the tool {quoted(twice)} is there twice; rename one")
        if self.choice == "" or not isinstance(self.choice, str | dict | None):
            raise InputError(
                f"/choice: must be {', '.join(CHOICES)}, a tool's name or an object; leave it out for none"
            )
        for name in chosen_names(self.choice) if self.schemas else ():
            if name not in names:
                raise InputError(
                    f"/choice: there is no tool {quoted(name)}; the tools are {', '.join(names) or 'without names'}"
                )

    def named(self) -> list[tuple[str, str]]:
        """Return type and name of every function and custom tool. Tools of the provider's own types have no name."""
        if not isinstance(self.schemas, list | None):
            raise InputError(f"/schemas: must be a list of tools, not {kind(self.schemas)}")
        names = [
            (place, schema_name(schema, f"/schemas/{place}"))
            for place, schema in enumerate(self.schemas or ())
            if not foreign(schema)
        ]
        return [(self.schemas[place]["type"], name) for place, name in names] if self.schemas else []


def foreign(schema: Any) -> bool:
    """Return True if a tool is of a type of the provider's own, such as `openrouter:web_search`."""
    sort = schema.get("type") if isinstance(schema, dict) else None
    return isinstance(sort, str) and sort not in {"", "function", "custom"}


def chosen_names(choice: Any) -> Iterator[Any]:
    """Yield the names of tools that a `choice` demands or allows."""
    if isinstance(choice, str) and choice not in CHOICES:
        yield choice
    elif isinstance(choice, dict):
        sort = choice.get("type")
        body = choice.get(sort) if isinstance(sort, str) else None
        if not isinstance(body, dict) and (
            not isinstance(sort, str) or sort in {"function", "custom", "allowed_tools"}
        ):
            raise InputError('/choice: must be like {"type": "function", "function": {"name": …}}')
        if isinstance(body, dict) and sort in {"function", "custom"}:
            yield body.get("name")
        elif isinstance(body, dict) and sort == "allowed_tools":
            for allowed in body.get("tools") or ():
                yield from chosen_names(allowed)


def wire_tools(
    definitions: ToolDefinitions | None, *, parallel: bool | None, dialect: str = "openai"
) -> dict[str, Any]:
    """Return `tools`, `tool_choice` and `parallel_tool_calls` as OpenAI and vLLM take them; what is not set is left
    out, and without schemas everything is, even a choice (conformance 87 to 89)."""
    if definitions is None or not definitions.schemas:
        return {}
    choice = definitions.choice
    if isinstance(choice, str) and choice not in CHOICES:
        sort = next(sort for sort, name in definitions.named() if name == choice)
        choice = {"type": sort, sort: {"name": choice}}
    tools = [wire_tool(schema, dialect) for schema in definitions.schemas]
    wire = {"tools": tools, "tool_choice": choice, "parallel_tool_calls": parallel}
    return {name: copy.deepcopy(value) for name, value in wire.items() if value is not None}


def define(*callables: Callable[..., Any], choice: str | dict[str, Any] | None = None) -> ToolDefinitions:
    """Return the definitions of Python functions: `function_schema` of each, and their parameters' types."""
    return ToolDefinitions(
        schemas=[function_schema(function) for function in callables],
        annotations={called(function): hints(function) for function in callables},
        choice=choice,
    )
