"""A schema in a request, in each mode: as `response_format`, as a tool, or in words."""

from __future__ import annotations

import contextlib
from typing import Any

from headrace.chat.messages import Message, as_json
from headrace.errors import SchemaError
from headrace.schema.modes import Form, Mode, form_of
from headrace.schema.validate import encoded
from headrace_providers.off_loop import off_loop
from headrace_providers.parsers import typed_xml

JSON_WANTED = """Answer with one JSON value and nothing else: no words around it, no code fence. It must be valid under this \
JSON Schema:
```json
{schema}
```"""


LARGE = 4096
"""Bytes of a schema that is not lowered on the event loop."""


async def prepared(schema: dict[str, Any], mode: Mode, target: str) -> None:
    """Lower a large schema off the event loop, before it is needed there: the result is cached. Its errors are raised where
    it is used."""
    if len(encoded(schema)) > LARGE:
        with contextlib.suppress(SchemaError):
            await off_loop(form_of, schema, mode, target)


def with_schema(body: dict[str, Any], form: Form, name: str) -> dict[str, Any]:
    """Return the fields that put a schema to the model: its envelope, a tool that it has to call, or words."""
    if form.mode in ("strict", "json_schema"):
        envelope = {"name": name, "strict": form.mode == "strict", "schema": form.schema}
        return {"response_format": {"type": "json_schema", "json_schema": envelope}}
    if form.mode == "tool_call":
        function = {"name": name, "description": "Give the answer.", "parameters": form.schema}
        return {
            "tools": [{"type": "function", "function": function}],
            "tool_choice": {"type": "function", "function": {"name": name}},
        }
    if form.mode == "typed_xml":
        instructions = (
            f"{typed_xml.TEMPLATE.format(instructions='')}\nExpected:\n{typed_xml.schema_text(name, form.schema)}"
        )
        return {"messages": instructed(body["messages"], instructions.strip())}
    said = {"messages": instructed(body["messages"], JSON_WANTED.format(schema=as_json(form.schema)))}
    return said | ({"response_format": {"type": "json_object"}} if form.mode == "json_object" else {})


def instructed(messages: list[Message], instructions: str) -> list[Message]:
    """Return the conversation with `instructions` in its first system message: many chat templates allow one, at the
    beginning."""
    first = messages[0] if messages else {}
    if first.get("role") == "system" and isinstance(first.get("content"), str):
        return [first | {"content": f"{first['content']}\n\n{instructions}"}, *messages[1:]]
    return [{"role": "system", "content": instructions}, *messages]
