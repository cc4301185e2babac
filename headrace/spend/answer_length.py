"""The tokens of an answer that is expected, while none has come: by the schema that it has to fit."""

from __future__ import annotations

from typing import Any

from headrace.spend.token_count import tokens_of

WITHOUT_SCHEMA = 256
OF_A_TEXT, OF_A_NUMBER, OF_A_WORD = 12.0, 3.0, 1.0
ITEMS = 3
"""Entries that are expected of a list that does not say how many."""
MAX_DEPTH = 12


def expected_answer(schema: dict[str, Any] | None) -> float:
    """Return the tokens of an answer under `schema`; of a text without one."""
    return WITHOUT_SCHEMA if schema is None else max(1.0, length_of(schema, schema, 0))


def length_of(node: Any, root: dict[str, Any], depth: int) -> float:
    if not isinstance(node, dict) or depth > MAX_DEPTH:
        return OF_A_WORD
    reference = node.get("$ref")
    if isinstance(reference, str):
        return length_of(resolved(root, reference), root, depth + 1)
    choices = node.get("enum") or ([node["const"]] if "const" in node else None)
    if isinstance(choices, list):
        return max(tokens_of(str(choice)) for choice in choices) + 1
    for word in ("anyOf", "oneOf", "allOf"):
        ways = node.get(word)
        if isinstance(ways, list) and ways:
            return max(length_of(way, root, depth + 1) for way in ways)
    kinds = node.get("type")
    kind = next((each for each in kinds if each != "null"), "null") if isinstance(kinds, list) else kinds
    properties = node.get("properties")
    if isinstance(properties, dict):
        return 2 + sum(tokens_of(str(name)) + 3 + length_of(each, root, depth + 1) for name, each in properties.items())
    if kind == "array":
        least = node.get("minItems")
        count = max(ITEMS, least) if isinstance(least, int) else ITEMS
        return 2 + count * (1 + length_of(node.get("items"), root, depth + 1))
    return {"string": OF_A_TEXT, "number": OF_A_NUMBER, "integer": OF_A_NUMBER}.get(str(kind), OF_A_WORD)


def resolved(root: dict[str, Any], reference: str) -> Any:
    """Return the part of a schema that a local reference names; None for any other."""
    node: Any = root
    for name in reference.removeprefix("#/").split("/"):
        node = node.get(name) if isinstance(node, dict) else None
    return node if reference.startswith("#/") else None
