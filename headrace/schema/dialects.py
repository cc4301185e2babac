"""The versions of JSON Schema, and in which of them a schema is written."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import unquote

import jsonschema_rs

from headrace.errors import SchemaError
from headrace.schema.subschemas import pointed, subschemas
from headrace.text.quoting import quoted

ONLY_2020 = (
    "prefixItems", "unevaluatedItems", "unevaluatedProperties", "dependentRequired", "dependentSchemas", "minContains",
    "maxContains", "$anchor", "$dynamicRef", "$dynamicAnchor",
)  # fmt: skip
"""Words that draft 7 ignores."""


class Dialect(NamedTuple):
    """A version of JSON Schema."""

    name: str
    validator: Any
    reference_alone: bool  # what stands beside a `$ref` counts for nothing
    lists_in_items: bool  # a tuple is `items: […]` and `additionalItems`
    asserts_formats: bool
    uri: str


OLD, NEW = "http://json-schema.org/draft-0{}/schema#", "https://json-schema.org/draft/{}/schema"
DRAFT_7 = Dialect("draft 7", jsonschema_rs.Draft7Validator, True, True, True, OLD.format(7))
DRAFT_2019 = Dialect("2019-09", jsonschema_rs.Draft201909Validator, False, True, False, NEW.format("2019-09"))
DRAFT_2020 = Dialect("2020-12", jsonschema_rs.Draft202012Validator, False, False, False, NEW.format("2020-12"))
DIALECTS = {
    "json-schema.org/schema": DRAFT_2020._replace(asserts_formats=True),
    "json-schema.org/draft-04/schema": Dialect(
        "draft 4", jsonschema_rs.Draft4Validator, True, True, True, OLD.format(4)
    ),
    "json-schema.org/draft-06/schema": Dialect(
        "draft 6", jsonschema_rs.Draft6Validator, True, True, True, OLD.format(6)
    ),
    "json-schema.org/draft-07/schema": DRAFT_7,
    "json-schema.org/draft/2019-09/schema": DRAFT_2019,
    "json-schema.org/draft/2020-12/schema": DRAFT_2020,
}
UNNAMED = DRAFT_2020._replace(asserts_formats=True)
"""The dialect without `$schema`: 2020-12, except that formats are asserted, as authors expect."""


def dialect_of(schema: dict[str, Any]) -> Dialect:
    """Return the version of JSON Schema that `$schema` names. Without it the words tell that only one version has.

    Raises `SchemaError` for an unknown version, and for words of two: in either some would be ignored.
    """
    named = schema.get("$schema")
    if isinstance(named, str):
        found = DIALECTS.get(named.removesuffix("#").partition("://")[2])
        if found is None:
            raise SchemaError(
                f"schema at /$schema: {quoted(named)} is no known version of JSON Schema",
                pointer="/$schema",
                keyword="$schema",
                remedy="leave it out, or name https://json-schema.org/draft/2020-12/schema",
            )
        return found
    if "$defs" in schema:
        return UNNAMED
    old, new = telling_words(schema)
    if old and new:
        raise two_versions(f"schema at {old}: `{old.rpartition('/')[2]}`", f"`{new}`", old)
    return DRAFT_7 if old else UNNAMED


def telling_words(schema: dict[str, Any]) -> tuple[str, str]:
    """Return the pointer of a word that draft 7 has and 2020-12 has not, and a word of which the opposite is true; "" for none.

    `definitions` is neither: 2020-12 finds what lies there as well.
    """
    old = new = ""
    waiting: list[tuple[Any, str]] = [(schema, "")]
    seen: set[int] = set()
    while waiting and not (old and new):
        here, at = waiting.pop()
        if not isinstance(here, dict) or id(here) in seen:
            continue
        seen.add(id(here))
        if "dependencies" in here or isinstance(here.get("items"), list):
            old = old or f"{at}/{'dependencies' if 'dependencies' in here else 'items'}"
        new = new or next((word for word in ONLY_2020 if word in here), "")
        waiting += [(inner, f"{at}/{step}") for step, inner in subschemas(here)]
        if isinstance(here.get("$ref"), str) and here["$ref"].startswith("#/"):  # OpenAPI has its definitions elsewhere
            pointer = unquote(here["$ref"][1:])
            waiting.append((pointed(schema, pointer), pointer))
    return old, new


def two_versions(what: str, other: str, pointer: str) -> SchemaError:
    return SchemaError(
        f"{what} is draft 7's, and there is {other}, which only 2020-12 has: in either one of them would be ignored",
        pointer=pointer,
        keyword=pointer.rpartition("/")[2],
        remedy="name the version in `$schema`, or write `prefixItems`, `dependentRequired` and `dependentSchemas`",
    )
