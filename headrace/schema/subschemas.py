"""The subschemas of a JSON Schema, and the steps of JSON Pointers (RFC 6901) to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

ONE = frozenset(
    {
        "additionalProperties", "additionalItems", "contains", "contentSchema", "else", "if", "items", "not",
        "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
    }
)  # fmt: skip
SEVERAL = frozenset({"allOf", "anyOf", "oneOf", "prefixItems", "items"})
NAMED = frozenset({"$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"})


def subschemas(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the subschemas of `schema` and the steps to them, as parts of a JSON Pointer. Not what `enum` or `const` hold."""
    for word, value in schema.items():
        if word in NAMED and isinstance(value, dict):
            for name, inner in value.items():
                if isinstance(inner, dict | bool):
                    yield f"{word}/{escaped(name)}", inner
        elif word in SEVERAL and isinstance(value, list):
            for index, inner in enumerate(value):
                yield f"{word}/{index}", inner
        elif word in ONE and isinstance(value, dict | bool):
            yield word, value


def pointed(here: Any, pointer: str) -> Any:
    """Return the target of a JSON Pointer; None for no such."""
    for step in pointer.split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        try:
            here = here[int(step)] if isinstance(here, list) else here[step]
        except (KeyError, IndexError, ValueError, TypeError):
            return None
    return here


def escaped(name: Any) -> str:
    """Return a step of a JSON Pointer (RFC 6901)."""
    return str(name).replace("~", "~0").replace("/", "~1")


def unescaped(step: str) -> str:
    """Return the name that a step of a JSON Pointer stands for."""
    return step.replace("~1", "/").replace("~0", "~")
