"""A schema without schemas inside that have a name of their own (`$id`): every reference is a pointer into the whole.

The validator compiles a named schema anew for each way in which its names lead there, because a dynamic reference could lead
elsewhere each time. The ways double with every name. So names are written out, and only where a dynamic reference needs
them are there few.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from headrace.errors import SchemaError
from headrace.schema.source import Source

MAX_NAMED = 5
"""Named schemas inside of one with dynamic references: with five there are 326 ways at most."""
NAMES = ("$id", "id", "$anchor", "$dynamicAnchor")


def written_out(source: Source) -> dict[str, Any]:
    """The schema to compile: that of `source`, or one that means the same. Raises `SchemaError`."""
    if not source.embedded:
        return source.root
    pointers = pointers_of(source)
    if pointers is not None:
        return rebuilt(source.root, source, pointers)
    if len(source.embedded) > MAX_NAMED:
        here = source.embedded[MAX_NAMED]
        raise SchemaError(
            f"schema at {source.pointer(here)}: more than {MAX_NAMED} schemas inside have an `$id`, beside dynamic references",
            pointer=source.pointer(here),
            keyword="$id",
            remedy="refer by `#/$defs/…` and leave the `$id`s out",
        )
    return source.root


def pointers_of(source: Source) -> dict[int, str] | None:
    """Where the reference of each subschema leads, by its `id`; None where pointers cannot say all of it."""
    found: dict[int, str] = {}
    for here in source.all_of_it():
        words = [word for word in ("$ref", "$dynamicRef", "$recursiveRef") if isinstance(here.get(word), str)]
        if source.alone(here):
            words = ["$ref"]
        if len(words) > 1 or "$recursiveRef" in words:
            return None
        if not words:
            continue
        target = source.target(here, words[0])
        if not isinstance(target, dict) or source.pointed(source.root, source.pointer(target)) is not target:
            return None
        found[id(here)] = source.pointer(target)
    return found


def rebuilt(value: Any, source: Source, pointers: dict[int, str]) -> Any:
    if isinstance(value, list):
        return [rebuilt(inner, source, pointers) for inner in value]
    if not isinstance(value, dict):
        return value
    made = {word: rebuilt(inner, source, pointers) for word, inner in value.items()}
    if id(value) not in source.places:
        return made
    for word in NAMES:
        if isinstance(made.get(word), str) and (word != "id" or source.dialect.name == "draft 4"):
            del made[word]
    if id(value) in pointers:
        made.pop("$dynamicRef", None)
        made["$ref"] = "#" + quote(pointers[id(value)], safe="/~!$&'()*+,;=:@")
    return made
