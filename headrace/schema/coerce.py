"""Coercion (`lax`): values of the wrong type that can only mean one thing are converted to the schema's type.

`"3"` for a number is 3, `3` for a text is "3", a single value for a list is a list of one. Nothing is made up but the
schema's own `default` of a required property that is missing.
"""

from __future__ import annotations

import math
from typing import Any

from headrace.errors import InvalidOutput, Violation
from headrace.schema.document import Source
from headrace.schema.merge import json_type

TRUE, FALSE = {"true", "yes", "1"}, {"false", "no", "0"}
NULLS = {"", "null", "none"}
MAX_DIGITS = 400
"""Maximal characters of a number in a text; Python parses no integer of over 4,300."""
MAX_STEPS = 300_000
"""Maximal number of comparisons with parts of a schema: a second at most."""


def coerce(value: Any, source: Source, schema: Any = None) -> Any:
    """Return `value` coerced to `schema` (default: the source's root) as far as possible; what is valid is unchanged.
    Raises `InvalidOutput` where that takes too much work: nested alternatives multiply."""
    return Coercion(source).coerced(value, source.root if schema is None else schema, 0)


class Coercion:
    """The coercion of one value."""

    def __init__(self, source: Source):
        self.source = source
        self._steps = 0

    def spend(self, steps: int) -> None:
        self._steps += steps
        if self._steps > MAX_STEPS:
            raise InvalidOutput([Violation("", "work", "there are too many ways to read it")])

    def coerced(self, value: Any, schema: Any, depth: int) -> Any:
        if not isinstance(schema, dict) or depth > 100:
            return value
        self.spend(1)
        for _, target in self.source.references(schema):
            value = self.coerced(value, target, depth + 1)
        for inner in schema.get("allOf", ()):
            value = self.coerced(value, inner, depth + 1)
        for word in ("anyOf", "oneOf"):
            if word in schema:
                value = self.choice(value, schema[word], depth)
        if "enum" in schema or "const" in schema:
            allowed = schema["enum"] if "enum" in schema else [schema["const"]]
            self.spend(len(allowed))
            return coerced_constant(value, allowed)
        kinds = schema.get("type", [])
        kinds = kinds if isinstance(kinds, list) else [kinds]
        kind = json_type(value)
        if kinds and kind not in kinds and not (kind == "integer" and "number" in kinds):
            value = coerced_type(value, kinds)
        if isinstance(value, dict):
            return self.object(value, schema, depth)
        if isinstance(value, list) and ("items" in schema or "prefixItems" in schema):
            prefix, rest = schema.get("prefixItems", []), schema.get("items", True)
            prefix, rest = (rest, schema.get("additionalItems", True)) if isinstance(rest, list) else (prefix, rest)
            self.spend(len(value) // 10)
            return [
                self.coerced(inner, prefix[at] if at < len(prefix) else rest, depth + 1)
                for at, inner in enumerate(value)
            ]
        return value

    def object(self, value: dict[str, Any], schema: dict[str, Any], depth: int) -> dict[str, Any]:
        named, rest = schema.get("properties", {}), schema.get("additionalProperties", True)
        made = {}
        self.spend((len(value) + len(schema.get("required", ()))) // 10)
        for name, inner in value.items():
            if name in named:
                made[name] = self.coerced(inner, named[name], depth + 1)
            elif rest is not False or schema.get("patternProperties"):
                made[name] = self.coerced(inner, rest, depth + 1)
        for name in schema.get("required", ()):
            default = named.get(name)
            if name not in made and isinstance(default, dict) and "default" in default:
                made[name] = default["default"]
        return made

    def choice(self, value: Any, choices: list[Any], depth: int) -> Any:
        """Coerce by the first alternative of the value's own type, else by the first one that changes it."""
        for choice in choices:
            if json_type(value) in self.types(choice, 0):
                made = self.coerced(value, choice, depth + 1)
                if not isinstance(value, dict) or not isinstance(made, dict) or value.keys() == made.keys():
                    return made
        for choice in choices:
            made = self.coerced(value, choice, depth + 1)
            if json_type(made) in self.types(choice, 0):
                return made
        return value

    def types(self, schema: Any, depth: int) -> set[str]:
        if not isinstance(schema, dict) or depth > 20:
            return set()
        values = [*(schema.get("enum") or []), *([schema["const"]] if "const" in schema else [])]
        self.spend(1 + len(values))
        kinds = schema.get("type", [])
        found = set(kinds if isinstance(kinds, list) else [kinds]) | {json_type(each) for each in values}
        for _, target in self.source.references(schema):
            found |= self.types(target, depth + 1)
        for inner in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
            found |= self.types(inner, depth + 1)
        return found | ({"integer"} if "number" in found else set())


def coerced_constant(value: Any, allowed: list[Any]) -> Any:
    if value in allowed:
        return value
    for each in allowed:
        if isinstance(each, str) and isinstance(value, str) and each.lower() == value.strip().lower():
            return each
        if not isinstance(each, str) and isinstance(value, str) and coerced_type(value, [json_type(each)]) == each:
            return each
    return value


def coerced_type(value: Any, kinds: list[str]) -> Any:
    word = value.strip().lower() if isinstance(value, str) else None
    for kind in kinds:
        if kind in ("integer", "number") and word is not None:
            number = as_number(word)
            if number is not None and (kind == "number" or number == int(number)):
                return int(number) if kind == "integer" else number
        elif kind == "boolean" and (word in TRUE | FALSE if word is not None else value in (0, 1)):
            return value == 1 if word is None else word in TRUE
        elif kind == "null" and word in NULLS:
            return None
    if "array" in kinds and value in ("", None):
        return []
    if "array" in kinds and not (isinstance(value, dict) and "object" in kinds):
        return [*value.values()] if isinstance(value, dict) and len(value) == 1 and is_list(value) else [value]
    if "object" in kinds and word == "":
        return {}
    if "string" in kinds and isinstance(value, int | float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    return value


def is_list(value: dict[str, Any]) -> bool:
    return "item" in value


def as_number(word: str) -> int | float | None:
    if len(word) > MAX_DIGITS:
        return None
    try:
        number = float(word)
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    return int(word) if word.lstrip("+-").isdecimal() else number
