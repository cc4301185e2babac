"""The shape that an answer has to have: the schema of a request, wherever it stands in it, and what strict mode refuses."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

import msgspec

from headrace_rehearsal.dialects import RefusedRequest
from headrace_rehearsal.prompt import Prompt

MISSING = "missing_required_parameter"
JSON_OBJECT = {
    "type": "object",
    "properties": {"summary": {"type": "string"}, "keywords": {"type": "array", "items": {"type": "string"}}},
    "required": ["summary", "keywords"],
}
FENCED = re.compile(r"JSON Schema:\s*```json\n(.*?)\n```", re.DOTALL)
FIELDS = re.compile(r"Expected:\n(<([A-Za-z_][\w.-]*)>.*</\2>)", re.DOTALL)
NOT_STRICT = frozenset(
    {
        "allOf", "oneOf", "not", "if", "then", "else", "contains", "dependentRequired", "dependentSchemas",
        "patternProperties", "propertyNames", "prefixItems", "unevaluatedItems", "unevaluatedProperties", "uniqueItems",
        "default", "contentSchema", "contentEncoding",
    }
)  # fmt: skip
TYPES = {"dict": "object", "list": "array", "str": "string", "float": "number", "int": "integer", "bool": "boolean"}


def text_of(message: dict[str, Any]) -> str:
    """Return the text of a message, whether it is a string or a list of parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))


def asked_schema(body: dict[str, Any]) -> Any:
    """Return the schema of `response_format`, or in the words of a system message; None when a text will do. Raises
    `RefusedRequest`."""
    wanted = body.get("response_format") or {}
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind != "json_schema":
        return schema_in_words(body) or (JSON_OBJECT if kind == "json_object" else None)
    schema = wanted["json_schema"].get("schema") if isinstance(wanted.get("json_schema"), dict) else None
    if not isinstance(schema, (dict, bool)):
        where = "response_format.json_schema.schema"
        raise RefusedRequest(400, f"Missing required parameter: '{where}'.", param=where, code=MISSING)
    if wanted["json_schema"].get("strict") is True:
        check_strict(schema, ())
    return schema


def forced_tool(body: dict[str, Any], prompt: Prompt) -> dict[str, Any] | None:
    """Return the function that has to be called, or None when none has to. Raises `RefusedRequest`."""
    choice = body.get("tool_choice")
    if choice != "required" and not isinstance(choice, dict):
        return None
    listed = [tool.get("function") for tool in body.get("tools") or [] if isinstance(tool, dict)]
    functions = {tool["name"]: tool for tool in listed if isinstance(tool, dict) and isinstance(tool.get("name"), str)}
    named = choice.get("function", {}).get("name") if isinstance(choice, dict) else None
    if not functions or (named is not None and named not in functions):
        raise RefusedRequest(400, "Invalid 'tool_choice': no such function in 'tools'.", param="tool_choice")
    return functions[named if named is not None else prompt.rank(list(functions))[0]]


def schema_in_words(body: dict[str, Any]) -> Any:
    """Return the JSON Schema that a system message asks for; None where there is none."""
    for message in body["messages"]:
        found = FENCED.search(text_of(message)) if message["role"] == "system" else None
        if found:
            try:
                return msgspec.json.decode(found[1])
            except msgspec.DecodeError:
                return None
    return None


def check_strict(schema: Any, path: tuple[str, ...]) -> None:
    """Raise `RefusedRequest`, as OpenAI does, for a schema that `strict` is claimed of and that is none."""
    if not isinstance(schema, dict):
        raise refused_schema(path, "a schema must be an object")
    words = NOT_STRICT & schema.keys()
    if words:
        raise refused_schema(path, f"'{min(words)}' is not permitted")
    if not path and schema.get("type") != "object":
        raise refused_schema(path, "schema must be a JSON Schema of 'type: \"object\"'")
    if not {"type", "anyOf", "$ref"} & schema.keys():
        raise refused_schema(path, "schema must have a 'type' key")
    if "$ref" in schema and len(schema) > 1:
        raise refused_schema(path, "$ref cannot have keywords beside it")
    if schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            raise refused_schema(path, "'additionalProperties' is required to be supplied and to be false")
        if set(schema.get("required") or ()) != set(schema.get("properties") or ()):
            raise refused_schema(path, "'required' must be an array including every key in properties")
    for word in ("properties", "$defs"):
        for name, inner in (schema.get(word) or {}).items():
            check_strict(inner, (*path, word, name))
    for at, inner in enumerate(schema.get("anyOf") or ()):
        check_strict(inner, (*path, "anyOf", str(at)))
    if "items" in schema:
        check_strict(schema["items"], (*path, "items"))


def refused_schema(path: tuple[str, ...], what: str) -> RefusedRequest:
    where = repr(path) if path else "()"
    return RefusedRequest(
        400,
        f"Invalid schema for response_format: In context={where}, {what}.",
        param="response_format",
        code="invalid_json_schema",
    )


def asked_xml(body: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Return the root's name and the schema of the XML answer that a system message describes by fields; None for no such."""
    for message in body["messages"]:
        found = FIELDS.search(text_of(message)) if message["role"] == "system" else None
        if found:
            try:
                root = ElementTree.fromstring(found[1])  # noqa: S314 (our own words, on a loopback address)
            except ElementTree.ParseError:
                return None
            definitions = {str(each.get("name")): of_fields(each) for each in root.findall("definition")}
            return root.tag, of_fields(root) | {"$defs": definitions}
    return None


def of_fields(element: ElementTree.Element) -> dict[str, Any]:
    """Return the schema of an object whose properties are the `field`s inside."""
    named = {str(field.get("name")): of_field(field) for field in element.findall("field")}
    return {"type": "object", "properties": named, "required": list(named), "additionalProperties": False}


def of_field(field: ElementTree.Element) -> dict[str, Any]:
    schema = of_dtype(field)
    about = {"description": field.get("description")} if field.get("description") else {}
    return ({"anyOf": [schema, {"type": "null"}]} if field.get("nullable") == "true" else schema) | about


def of_dtype(element: ElementTree.Element) -> dict[str, Any]:
    choices = element.findall("alternative")
    if choices:
        return {"anyOf": [of_dtype(choice) for choice in choices]}
    if element.get("definition"):
        return {"$ref": f"#/$defs/{element.get('definition')}"}
    dtype = element.get("dtype", "str")
    if dtype == "dict":
        return of_fields(element)
    limits = msgspec.json.decode(element.get("limits", "{}"))
    if dtype == "list":
        item = next((each for each in element if each.tag != "field"), None)
        return {"type": "array", "items": of_dtype(item) if item is not None else {"type": "string"}} | limits
    return {"type": TYPES.get(dtype, "null")} | limits


def as_xml(name: str, value: Any) -> str:
    """Return a value as XML elements with a `dtype`, as the prompt wants them."""
    tag = name if re.fullmatch(r"[A-Za-z_][\w.-]*", name) else "item"
    if isinstance(value, dict):
        inside = "".join(as_xml(key, inner) for key, inner in value.items())
        return f'<{tag} dtype="dict">{inside}</{tag}>'
    if isinstance(value, list):
        inside = "".join(as_xml("item", inner) for inner in value)
        return f'<{tag} dtype="list">{inside}</{tag}>'
    dtype = next((word for kind, word in KINDS if isinstance(value, kind)), "none")
    text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return f"<{tag} dtype={quoteattr(dtype)}>{escape(text)}</{tag}>"


KINDS = ((bool, "bool"), (int, "int"), (float, "float"), (str, "str"))
