"""The field `response_format` of a chat-completions body."""

from __future__ import annotations

from typing import Any, NamedTuple

from headrace.errors import InputError

MAX_NAME_CHARS = 64


class ResponseFormat(NamedTuple):
    """A JSON Schema with the name that the provider is told, which headrace checks; or `other`, which goes to the provider."""

    schema: dict[str, Any] | None = None
    name: str | None = None
    other: dict[str, Any] | None = None


def read_response_format(given: Any, place: str = "/response_format") -> ResponseFormat:
    """Return what a body asks for; plain text is nothing. Raises `InputError` with the pointer under `place`."""
    if given is None:
        return ResponseFormat()
    kind = given.get("type") if isinstance(given, dict) else None
    if kind == "text":
        return ResponseFormat()
    if kind == "json_object":
        return ResponseFormat(other={"type": "json_object"})
    if kind != "json_schema":
        raise InputError(f'{place}/type: must be "text", "json_object" or "json_schema"')
    inner = given.get("json_schema")
    schema = inner.get("schema") if isinstance(inner, dict) else None
    if not isinstance(inner, dict) or not isinstance(schema, dict):
        raise InputError(f"{place}/json_schema/schema: must be a JSON Schema, an object")
    name = inner.get("name")
    if name is not None and (not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME_CHARS):
        raise InputError(f"{place}/json_schema/name: must be a text of 1 to {MAX_NAME_CHARS} characters")
    return ResponseFormat(schema, name)
