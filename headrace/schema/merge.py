"""Merge the schemas of one place into one: `allOf`, references and their neighbours.

The result may be wider than the schemas, never narrower: what it cannot express is left to validation, and named in
`unsaid`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from headrace.errors import SchemaError
from headrace.schema.document import Source
from headrace.schema.patterns import matches
from headrace.schema.subschemas import subschemas

TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
HINTS = {
    "object": {"properties", "patternProperties", "additionalProperties", "propertyNames", "minProperties", "maxProperties"},
    "array": {"items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems", "contains"},
    "string": {"pattern", "format", "minLength", "maxLength"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
}  # fmt: skip
"""Keywords of one type: they imply it where `type` is missing."""
LARGEST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
SMALLEST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
FIRST = ("pattern", "format", "multipleOf")
LIMITS = frozenset((*LARGEST, *SMALLEST, *FIRST))
SHAPE_KEYWORDS = frozenset(
    {"type", "enum", "const", "properties", "patternProperties", "additionalProperties", "items", "prefixItems"}
)
ONLY_VALIDATED = frozenset(
    {
        "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies", "contains", "minContains",
        "maxContains", "uniqueItems", "minProperties", "maxProperties", "unevaluatedItems", "unevaluatedProperties",
    }
)  # fmt: skip
REFERENCE_KEYWORDS = frozenset({"$ref", "$dynamicRef", "allOf", "$defs", "definitions", "$schema", "$id", "$comment"})
"""Keywords of a part without constraints of its own: places with the same targets are the same place."""
CONDITIONAL = ("if", "then", "else", "not")
NEVER = False
MAX_NAMES = 10_000
MAX_WORK = 100_000
"""Maximal product of an object's property names with the patterns and parts that apply to them."""


class Choices(NamedTuple):
    """An `anyOf` or a `oneOf` of one part; `key` identifies it."""

    key: tuple[int, str]
    word: str
    pointer: str
    branches: list[Any]


BOUNDS: tuple[tuple[str, str, frozenset[str]], ...] = (
    ("minimum", "maximum", frozenset({"integer", "number"})),
    ("minLength", "maxLength", frozenset({"string"})),
    ("minItems", "maxItems", frozenset({"array"})),
    ("minProperties", "maxProperties", frozenset({"object"})),
)


class Merged:
    """The constraints on a value of one place. `types` is None where no part has a type."""

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self.types: set[str] | None = None
        self.values: list[Any] | None = None
        self.names: dict[str, list[Any]] = {}
        self.required: dict[str, None] = {}
        self.patterns: dict[str, list[Any]] = {}
        self.rest: list[Any] = []  # of properties that are not named
        self.keys: list[Any] = []
        self.prefix: list[list[Any]] = []
        self.items: list[Any] = []
        self.limits: dict[str, Any] = {}
        self.about: dict[str, str] = {}
        self.choices: list[Choices] = []
        self.hints: set[str] = set()
        self.unsaid: list[tuple[str, str]] = []
        self.pointer = ""
        self.never = False


def flatten(source: Source, schemas: list[Any]) -> list[Any]:
    """Return `schemas` with their references and `allOf` expanded, each part once: all of them hold for one place."""
    parts: list[Any] = []
    seen: set[int] = set()
    waiting = list(reversed(schemas))
    while waiting:
        here = waiting.pop()
        if here is True or (isinstance(here, dict) and id(here) in seen):
            continue
        if here is NEVER:
            return [NEVER]
        if not here.keys() <= REFERENCE_KEYWORDS:
            parts.append(here)
        seen.add(id(here))
        inner = [target for _, target in source.references(here)]
        if not source.alone(here) and isinstance(here.get("allOf"), list):
            inner += here["allOf"]
        waiting += reversed(inner)
    return parts


def merge(source: Source, parts: list[Any], resolved: frozenset[tuple[int, str]]) -> Merged:
    """Merge the parts; choices in `resolved` are among the parts already."""
    merged = Merged()
    merged.parts = parts
    merged.pointer = source.pointer(parts[0]) if parts else ""
    own = [part for part in parts if part is not NEVER and not source.alone(part)]
    merged.never = len(own) < len(parts) and NEVER in parts
    for part in parts:
        if part is NEVER:
            continue
        for word in ("title", "description"):
            if isinstance(part.get(word), str):
                merged.about.setdefault(word, part[word])
    for part in own:
        add_values(merged, part)
        add_limits(merged, source, part)
        for word in ("anyOf", "oneOf"):
            if isinstance(part.get(word), list) and (id(part), word) not in resolved:
                merged.choices.append(Choices((id(part), word), word, f"{source.pointer(part)}/{word}", part[word]))
    drop_contradictory(merged)
    add_properties(merged, own)
    add_items(merged, source, own)
    return merged


def add_values(merged: Merged, part: dict[str, Any]) -> None:
    if "type" in part:
        named = part["type"] if isinstance(part["type"], list) else [part["type"]]
        types = set(named) | ({"integer"} if "number" in named else set())
        merged.types = types if merged.types is None else merged.types & types
    for values in ([part["const"]] if "const" in part else None, part.get("enum")):
        if values is not None:
            kept = {canonical(value): value for value in values}
            if merged.values is not None:
                earlier = {canonical(value) for value in merged.values}
                kept = {form: value for form, value in kept.items() if form in earlier}
            merged.values = list(kept.values())
    merged.hints |= {kind for kind, words in HINTS.items() if not words.isdisjoint(part)}


def add_limits(merged: Merged, source: Source, part: dict[str, Any]) -> None:
    for word in part.keys() & LIMITS:
        value = part[word]
        if word in FIRST:
            if merged.limits.setdefault(word, value) != value:
                merged.unsaid.append((source.pointer(part), word))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            pick = max if word in LARGEST else min
            merged.limits[word] = pick(merged.limits.get(word, value), value)
    merged.unsaid += [(source.pointer(part), word) for word in part if word in ONLY_VALIDATED]


def drop_contradictory(merged: Merged) -> None:
    """Drop the types whose minimum is larger than their maximum."""
    for low, high, kinds in BOUNDS:
        if merged.types is not None and low in merged.limits and merged.limits[low] > merged.limits.get(high, math.inf):
            merged.types -= kinds


def add_properties(merged: Merged, parts: list[dict[str, Any]]) -> None:
    """Apply each part's `additionalProperties` to the properties that this part does not name."""
    for part in parts:
        for name in part.get("properties") or {}:
            merged.names.setdefault(name, [])
        for name in listed_names(part):
            merged.names.setdefault(name, [])
            merged.required[name] = None
        for pattern, inner in (part.get("patternProperties") or {}).items():
            merged.patterns.setdefault(pattern, []).append(inner)
        if "propertyNames" in part:
            merged.keys.append(part["propertyNames"])
    work = 0
    if len(merged.names) > MAX_NAMES:
        raise SchemaError(
            f"schema at {merged.pointer or '/'}: {len(merged.names)} properties are too many",
            pointer=merged.pointer,
            keyword="properties",
            remedy="name fewer",
        )
    for part in parts:
        named, rest = part.get("properties") or {}, part.get("additionalProperties")
        patterns = part.get("patternProperties") or {}
        concerned = merged.names if rest is not None or patterns else named
        work += len(concerned) * (1 + len(patterns))
        if work > MAX_WORK:
            raise SchemaError(
                f"schema at {merged.pointer or '/'}: too many names and patterns that speak of each other",
                pointer=merged.pointer,
                keyword="patternProperties" if patterns else "additionalProperties",
                remedy="name fewer properties, or fewer patterns",
            )
        for name in concerned:
            held = merged.names[name]
            fitting = [inner for pattern, inner in patterns.items() if matches(pattern, name)]
            held += ([named[name]] if name in named else []) + fitting
            if name not in named and not fitting and rest is not None:
                held.append(rest)
        if rest is None:
            continue
        for pattern, held in merged.patterns.items():
            if pattern not in patterns:
                held.append(rest)
        merged.rest.append(rest)


def listed_names(part: dict[str, Any]) -> list[str]:
    """Return the names in `required`; draft 4's boolean is ignored."""
    names = part.get("required")
    return names if isinstance(names, list) else []


def add_items(merged: Merged, source: Source, parts: list[dict[str, Any]]) -> None:
    listed: list[tuple[list[Any], Any]] = []
    for part in parts:
        prefix, rest = part.get("prefixItems") or [], part.get("items")
        if source.draft.lists_in_items:
            prefix, rest = (rest, part.get("additionalItems")) if isinstance(rest, list) else ([], rest)
        listed.append((prefix, rest))
    longest = max((len(prefix) for prefix, _ in listed), default=0)
    merged.prefix = [[] for _ in range(longest)]
    for prefix, rest in listed:
        for at, held in enumerate(merged.prefix):
            if at < len(prefix):
                held.append(prefix[at])
            elif rest is not None:
                held.append(rest)
        if rest is not None:
            merged.items.append(rest)


def is_shaping(source: Source, branch: Any) -> bool:
    """Return True if a branch defines a shape, and does not only prohibit."""
    if not isinstance(branch, dict):
        return False
    return any(
        part is not NEVER and (not SHAPE_KEYWORDS.isdisjoint(part) or "anyOf" in part or "oneOf" in part)
        for part in flatten(source, [branch])
    )


def conditional_names(
    source: Source, parts: list[Any], resolved: frozenset[tuple[int, str]] = frozenset()
) -> dict[str, list[Any]]:
    """Return the properties that are only defined under a condition, with their schemas; of `resolved` choices the branch
    taken is among the parts."""
    found: dict[str, list[Any]] = {}
    for here, counts in conditions(source, parts, resolved):
        if counts:
            for name, inner in (here.get("properties") or {}).items():
                found.setdefault(name, []).append(inner)
            for name in listed_names(here):
                found.setdefault(name, [])
        for name in dependent_names(here):
            found.setdefault(name, [])
    return found


def conditions(
    source: Source, parts: list[Any], resolved: frozenset[tuple[int, str]] = frozenset()
) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield `(part, binding)`: the parts (False), and the conditional branches for the same value, which are binding unless
    they stand under `if` or `not`."""
    waiting = [(part, False) for part in parts if part is not NEVER and not source.alone(part)]
    seen: set[int] = set()
    while waiting:
        here, counts = waiting.pop()
        if id(here) in seen:
            continue
        seen.add(id(here))
        yield here, counts
        for step, inner in subschemas(here):
            word = step.partition("/")[0]
            if (
                isinstance(inner, dict)
                and word in {*CONDITIONAL, "dependentSchemas", "dependencies", "anyOf", "oneOf"}
                and (id(here), word) not in resolved
            ):
                below = flatten(source, [inner])
                waiting += [(part, word not in {"if", "not"}) for part in below if part is not NEVER]


def dependent_names(here: dict[str, Any]) -> Iterator[str]:
    for names in (here.get("dependentRequired") or {}, here.get("dependencies") or {}):
        for name, then in names.items():
            yield name
            yield from then if isinstance(then, list) else ()


def present_names(source: Source, parts: list[Any]) -> set[str] | None:
    """Return the names whose presence matters, whatever their value; None where that is every name."""
    found: set[str] = set()
    own = {id(part) for part in parts}
    for here, _ in conditions(source, parts):
        if "maxProperties" in here:
            return None
        if id(here) not in own:
            found.update(listed_names(here))
        found.update(dependent_names(here), here.get("dependentSchemas") or ())
    return found


def canonical(value: Any) -> Any:
    """Return a hashable form of a JSON value, equal where JSON values are equal: 1 is 1.0, and not true."""
    if isinstance(value, bool) or value is None:
        return (type(value).__name__, value)
    if isinstance(value, int | float):
        return ("number", value)
    if isinstance(value, list):
        return ("array", *map(canonical, value))
    if isinstance(value, dict):
        return ("object", *sorted((name, canonical(inner)) for name, inner in value.items()))
    return value


def json_type(value: Any) -> str:
    """Return the JSON type of a value; a number without a fraction is an `integer`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "integer" if isinstance(value, int) or value.is_integer() else "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list | tuple) else "object"
