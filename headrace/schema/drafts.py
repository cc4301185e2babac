"""The versions of JSON Schema, and in which of them a schema is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote

import jsonschema_rs

from headrace.errors import SchemaError
from headrace.schema.subschemas import pointed, subschemas
from headrace.text.quoting import quoted

SINCE_2019 = (
    "unevaluatedItems", "unevaluatedProperties", "dependentRequired", "dependentSchemas", "minContains", "maxContains", "$anchor",
)  # fmt: skip
SINCE_2020 = ("prefixItems", "$dynamicRef", "$dynamicAnchor")
CONSTRAINTS = frozenset(
    {
        "type", "enum", "const", "format", "multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum",
        "maxLength", "minLength", "pattern", "items", "additionalItems", "maxItems", "minItems", "uniqueItems", "contains",
        "maxProperties", "minProperties", "required", "properties", "patternProperties", "additionalProperties",
        "dependencies", "propertyNames", "if", "allOf", "anyOf", "oneOf", "not", *SINCE_2019, *SINCE_2020,
    }
)  # fmt: skip


class Draft(NamedTuple):
    """A version of JSON Schema."""

    name: str
    validator: Any
    reference_alone: bool  # what stands beside a `$ref` counts for nothing
    lists_in_items: bool  # a tuple is `items: […]` and `additionalItems`
    asserts_formats: bool
    uri: str


OLD, NEW = "http://json-schema.org/draft-0{}/schema#", "https://json-schema.org/draft/{}/schema"
DRAFT_7 = Draft("draft 7", jsonschema_rs.Draft7Validator, True, True, True, OLD.format(7))
DRAFT_2019 = Draft("2019-09", jsonschema_rs.Draft201909Validator, False, True, False, NEW.format("2019-09"))
DRAFT_2020 = Draft("2020-12", jsonschema_rs.Draft202012Validator, False, False, False, NEW.format("2020-12"))
DRAFTS = {
    "json-schema.org/schema": DRAFT_2020._replace(asserts_formats=True),
    "json-schema.org/draft-04/schema": Draft("draft 4", jsonschema_rs.Draft4Validator, True, True, True, OLD.format(4)),
    "json-schema.org/draft-06/schema": Draft("draft 6", jsonschema_rs.Draft6Validator, True, True, True, OLD.format(6)),
    "json-schema.org/draft-07/schema": DRAFT_7,
    "json-schema.org/draft/2019-09/schema": DRAFT_2019,
    "json-schema.org/draft/2020-12/schema": DRAFT_2020,
}
UNNAMED = DRAFT_2020._replace(asserts_formats=True)
UNNAMED_2019 = DRAFT_2019._replace(asserts_formats=True)
"""The drafts without `$schema`: formats are asserted, as authors expect."""


def draft_of(schema: dict[str, Any]) -> Draft:
    """Return the version of JSON Schema that `$schema` names. Without it that is 2020-12, or 2019-09 for a schema with a list in
    `items`: what older versions have counts there, too.

    Raises `SchemaError` for an unknown version, and for keywords of which no version has all.
    """
    named = schema.get("$schema")
    if isinstance(named, str):
        found = DRAFTS.get(named.removesuffix("#").partition("://")[2])
        if found is None:
            raise SchemaError(
                f"schema at /$schema: {quoted(named)} is no known version of JSON Schema",
                pointer="/$schema",
                keyword="$schema",
                remedy="leave it out, or name https://json-schema.org/draft/2020-12/schema",
            )
        return found
    lists = tuples = ""
    for here, at in reachable(schema):
        lists = lists or (f"{at}/items" if isinstance(here.get("items"), list) else "")
        tuples = tuples or next((word for word in SINCE_2020 if word in here), "")
    if lists and tuples:
        raise SchemaError(
            f"schema at {lists}: 2020-12 has no list there, and no version before it has `{tuples}`, which is there as well",
            pointer=lists,
            keyword="items",
            remedy="name the version in `$schema`, or write `prefixItems` for the list",
        )
    return UNNAMED_2019 if lists else UNNAMED


def reachable(schema: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each subschema and its pointer, those too that only a pointer leads to: OpenAPI has its definitions elsewhere."""
    waiting: list[tuple[Any, str]] = [(schema, "")]
    seen: set[int] = set()
    while waiting:
        here, at = waiting.pop()
        if not isinstance(here, dict) or id(here) in seen:
            continue
        seen.add(id(here))
        yield here, at
        waiting += [(inner, f"{at}/{step}") for step, inner in subschemas(here)]
        if isinstance(here.get("$ref"), str) and here["$ref"].startswith("#/"):
            pointer = unquote(here["$ref"][1:])
            waiting.append((pointed(schema, pointer), pointer))


def ignored_word(here: dict[str, Any], draft: Draft) -> str:
    """Return a constraint in a subschema that counts for nothing in `draft`; "" for none."""
    newer = (*SINCE_2019, *SINCE_2020) if draft.reference_alone else SINCE_2020 if draft.lists_in_items else ()
    found = next((word for word in newer if word in here), "")
    if not found and draft.reference_alone and isinstance(here.get("$ref"), str):
        found = next((word for word in here if word in CONSTRAINTS), "")
    return found
