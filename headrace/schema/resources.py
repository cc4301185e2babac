"""Rewrite a schema for the compiler: without what the validator refuses, or compiles badly.

The result has no named subschemas (`$id`): every reference is a pointer into the whole.

The validator compiles a named schema anew for each chain of names that leads to it, because a dynamic reference could
resolve differently each time. The number of chains doubles with every name. So names are removed, and only with dynamic
references a few are kept.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from headrace.errors import SHOWN, SchemaError
from headrace.schema.document import Source
from headrace.schema.patterns import with_lengths
from headrace.schema.size import MAX_TEXT
from headrace.schema.subschemas import pointed

MAX_NAMED = 5
"""Maximal number of named subschemas beside dynamic references: five have 326 chains at most."""
NAMES = ("$id", "id", "$anchor", "$dynamicAnchor")
REFERENCE_KEYWORDS = ("$ref", "$dynamicRef")
NO_URI = re.compile(r"[^A-Za-z0-9._~:/?@!$&'()*+,;=%-]|%(?![0-9A-Fa-f]{2})")
URI = re.compile(
    r"(?:[A-Za-z0-9._~:/?@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*(?:#(?:[A-Za-z0-9._~:/?@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)?"
)


def compilable(source: Source) -> dict[str, Any]:
    """Return the schema to compile: that of `source`, or an equivalent one. Raises `SchemaError`."""
    pointers = pointers_of(source) if source.embedded else None
    if source.embedded and pointers is None and len(source.embedded) > MAX_NAMED:
        here = source.embedded[MAX_NAMED]
        raise SchemaError(
            f"schema at {source.pointer(here)}: more than {MAX_NAMED} schemas inside have an `$id`, beside dynamic references",
            pointer=source.pointer(here),
            keyword="$id",
            remedy="refer by `#/$defs/…` and leave the `$id`s out",
        )
    if pointers is None and not source.programs.lengths and not any(map(has_invalid_uri, source.all_of_it())):
        return source.root
    return rebuilt(source.root, source, pointers)


def has_invalid_uri(here: dict[str, Any]) -> bool:
    """Return True if a reference is no URI: generators of schemas from generic types write `Page<User>` literally."""
    return any(
        isinstance(here.get(word), str) and not (here[word] and URI.fullmatch(here[word]))
        for word in REFERENCE_KEYWORDS
    )


def as_uri(reference: str) -> str:
    """Return a reference percent-encoded to a URI; an empty one, which the validator does not accept, becomes the root's."""
    if not reference:
        return "#"
    base, mark, fragment = reference.partition("#")
    parts = (NO_URI.sub(lambda found: quote(found[0], safe=""), part) for part in (base, fragment))
    return mark.join(parts)


def pointers_of(source: Source) -> dict[int, str] | None:
    """Return the pointers of the references' targets by the subschemas' `id`; None where pointers cannot express all of
    them."""
    found: dict[int, str] = {}
    text = 0
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
        text += len(found[id(here)])
        if text > MAX_TEXT:
            raise too_long_names(source.pointer(here), words[0])
    return found


def too_long_names(pointer: str, word: str) -> SchemaError:
    """Return the refusal of references that, written as pointers, would have more text than a schema may."""
    return SchemaError(
        f"schema at {pointer[:SHOWN]}/{word}: the places that references lead to have too long names: {MAX_TEXT} characters is "
        "the most, all of them together",
        pointer=f"{pointer}/{word}",
        keyword=word,
        remedy="give definitions shorter names",
    )


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
        return made | {word: as_uri(value[word]) for word in REFERENCE_KEYWORDS if isinstance(value.get(word), str)}
    for word in NAMES:
        if isinstance(made.get(word), str) and (word != "id" or source.draft.name == "draft 4"):
            del made[word]
    if id(value) in pointers:
        made.pop("$dynamicRef", None)
        made["$ref"] = "#" + quote(pointers[id(value)], safe="/~!$&'()*+,;=:@")
    return made
