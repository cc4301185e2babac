"""The schema that is compiled: the caller's, except for what the validator would not take or would do badly.

It has no schemas inside with a name of their own (`$id`): every reference is a pointer into the whole.

The validator compiles a named schema anew for each way in which its names lead there, because a dynamic reference could lead
elsewhere each time. The ways double with every name. So names are written out, and only where a dynamic reference needs
them are there few.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from headrace.errors import SchemaError
from headrace.schema.document import Source, pointed
from headrace.schema.patterns import with_lengths

MAX_NAMED = 5
"""Named schemas inside of one with dynamic references: with five there are 326 ways at most."""
NAMES = ("$id", "id", "$anchor", "$dynamicAnchor")
REFERRING = ("$ref", "$dynamicRef")
NO_URI = re.compile(r"[^A-Za-z0-9._~:/?@!$&'()*+,;=%-]|%(?![0-9A-Fa-f]{2})")
URI = re.compile(
    r"(?:[A-Za-z0-9._~:/?@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*(?:#(?:[A-Za-z0-9._~:/?@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)?"
)


def written_out(source: Source) -> dict[str, Any]:
    """Return the schema to compile: that of `source`, or one that means the same. Raises `SchemaError`."""
    pointers = pointers_of(source) if source.embedded else None
    if source.embedded and pointers is None and len(source.embedded) > MAX_NAMED:
        here = source.embedded[MAX_NAMED]
        raise SchemaError(
            f"schema at {source.pointer(here)}: more than {MAX_NAMED} schemas inside have an `$id`, beside dynamic references",
            pointer=source.pointer(here),
            keyword="$id",
            remedy="refer by `#/$defs/…` and leave the `$id`s out",
        )
    if pointers is None and not source.programs.lengths and not any(map(has_strange, source.all_of_it())):
        return source.root
    return rebuilt(source.root, source, pointers)


def has_strange(here: dict[str, Any]) -> bool:
    """Return True if a reference is no URI: what generates schemas from generic types writes `Page<User>` as it is."""
    return any(isinstance(here.get(word), str) and not (here[word] and URI.fullmatch(here[word])) for word in REFERRING)


def as_uri(reference: str) -> str:
    """Return a reference with what no URI may have percent-encoded; the empty one, which the validator takes for none,
    is the root."""
    if not reference:
        return "#"
    base, mark, fragment = reference.partition("#")
    parts = (NO_URI.sub(lambda found: quote(found[0], safe=""), part) for part in (base, fragment))
    return mark.join(parts)


def pointers_of(source: Source) -> dict[int, str] | None:
    """Return the pointers that the references of subschemas lead to, by their `id`; None where pointers cannot say all
    of it."""
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
        if not isinstance(target, dict) or pointed(source.root, source.pointer(target)) is not target:
            return None
        found[id(here)] = source.pointer(target)
    return found


def rebuilt(value: Any, source: Source, pointers: dict[int, str] | None) -> Any:
    if isinstance(value, list):
        return [rebuilt(inner, source, pointers) for inner in value]
    if not isinstance(value, dict):
        return value
    made = {word: rebuilt(inner, source, pointers) for word, inner in value.items()}
    if id(value) not in source.places:
        return made
    if id(value) in source.programs.lengths:
        made = with_lengths(made, source.programs.lengths[id(value)])
    if pointers is None:
        return made | {word: as_uri(value[word]) for word in REFERRING if isinstance(value.get(word), str)}
    for word in NAMES:
        if isinstance(made.get(word), str) and (word != "id" or source.dialect.name == "draft 4"):
            del made[word]
    if id(value) in pointers:
        made.pop("$dynamicRef", None)
        made["$ref"] = "#" + quote(pointers[id(value)], safe="/~!$&'()*+,;=:@")
    return made
