"""A judge of wire schemas, written from the providers' tables alone: what strict mode takes, and nothing of how it is made."""

from __future__ import annotations

from typing import Any

TYPES = {"string", "number", "integer", "boolean", "null", "object", "array"}
FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
ABOUT = {"title", "description"}
OF_TYPE = {
    "string": {"pattern", "format", "minLength", "maxLength"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
    "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
    "array": {"items", "minItems", "maxItems"},
    "object": {"properties", "required", "additionalProperties"},
    "boolean": set(),
    "null": set(),
}
NOT_TAKEN = {"vllm": {"multipleOf"}}


def complaints(wire: dict[str, Any], target: str = "openai") -> list[str]:
    """What a strict mode would refuse in `wire`; nothing for a schema that it takes."""
    found: list[str] = []
    definitions = wire.get("$defs", {})

    def say(place: str, what: str) -> None:
        found.append(f"{place or '/'}: {what}")

    def check(schema: Any, place: str) -> None:
        if not isinstance(schema, dict):
            say(place, "a schema must be an object")
            return
        words = set(schema) - ({"$defs"} if not place else set())
        if "$ref" in words:
            name = schema["$ref"].removeprefix("#/$defs/")
            if name not in definitions:
                say(place, f"{schema['$ref']} leads nowhere")
            if words != {"$ref"}:
                say(place, "nothing may stand beside a $ref")
            return
        if "anyOf" in words:
            if words - ABOUT != {"anyOf"}:
                say(place, f"beside anyOf stand {words - ABOUT - {'anyOf'}}")
            if not schema["anyOf"]:
                say(place, "anyOf is empty")
            for at, inner in enumerate(schema["anyOf"]):
                check(inner, f"{place}/anyOf/{at}")
            return
        kinds = schema.get("type")
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if not kinds or not all(kind in TYPES for kind in kinds):
            say(place, f"no type: {schema}")
            return
        allowed = ABOUT | {"type"} | set().union(*(OF_TYPE[kind] for kind in kinds)) - NOT_TAKEN.get(target, set())
        if not {"array", "object"} & set(kinds):
            allowed |= {"enum"}
        if words - allowed:
            say(place, f"not taken: {sorted(words - allowed)}")
        if "format" in words and schema["format"] not in FORMATS:
            say(place, f"no such format: {schema['format']}")
        if "enum" in words and (not schema["enum"] or not all(fits(value, kinds) for value in schema["enum"])):
            say(place, f"an enum of {kinds}: {schema['enum']}")
        if "object" in kinds:
            if len(kinds) > 1 or schema.get("additionalProperties") is not False:
                say(place, "an object must be closed")
            if list(schema.get("properties", {})) != schema.get("required") and set(
                schema.get("properties", {})
            ) != set(schema.get("required", ())):
                say(place, "every property must be required")
            for name, inner in schema.get("properties", {}).items():
                check(inner, f"{place}/properties/{name}")
        if "array" in kinds:
            check(schema.get("items"), f"{place}/items")

    if wire.get("type") != "object":
        say("", "the root must be an object")
    check(wire, "")
    for name, definition in definitions.items():
        check(definition, f"/$defs/{name}")
    return found


def fits(value: Any, kinds: list[str]) -> bool:
    kind = (
        "null"
        if value is None
        else "boolean"
        if isinstance(value, bool)
        else "string"
        if isinstance(value, str)
        else "number"
        if isinstance(value, int | float)
        else "other"
    )
    return kind in kinds or (kind == "number" and "integer" in kinds and float(value).is_integer())
