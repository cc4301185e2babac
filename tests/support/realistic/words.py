"""Short words for schemas, and the wordings in which one schema can be put: drafts of JSON Schema, and OpenAPI's."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

Schema = dict[str, Any]


class Case(NamedTuple):
    """A schema as somebody would write it, with values that fit it and values that do not."""

    name: str
    schema: Schema
    valid: list[Any]
    invalid: list[Any]


def obj(required: str = "", **properties: Any) -> Schema:
    """An object; `required` are names, `*` all of them; closed unless `more` says otherwise."""
    more = properties.pop("more", False)
    names = list(properties) if required == "*" else required.split()
    return {
        "type": "object",
        "properties": properties,
        **({"required": names} if names else {}),
        **({"additionalProperties": more} if more is not None else {}),
    }


def text(**words: Any) -> Schema:
    return {"type": "string", **words}


def whole(**words: Any) -> Schema:
    return {"type": "integer", **words}


def number(**words: Any) -> Schema:
    return {"type": "number", **words}


def items(inner: Schema, **words: Any) -> Schema:
    return {"type": "array", "items": inner, **words}


def one_of(*values: Any) -> Schema:
    return {"enum": list(values)}


def ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def maybe(inner: Schema) -> Schema:
    return {"anyOf": [inner, {"type": "null"}]}


def table(inner: Schema, **words: Any) -> Schema:
    return {"type": "object", "additionalProperties": inner, **words}


YES: Schema = {"type": "boolean"}
DAY = text(format="date")
MOMENT = text(format="date-time")
LATER = frozenset({"if", "contains", "propertyNames", "unevaluatedProperties", "dependentSchemas", "minContains"})
"""Words that some older drafts do not have."""


def words_in(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return set().union(*map(words_in, schema)) if schema else set()
    if not isinstance(schema, dict):
        return set()
    return set(schema).union(*map(words_in, schema.values())) if schema else set()


def rewritten(value: Any, change: Any) -> Any:
    """`value` with `change` made to each of its objects, the inner ones first."""
    if isinstance(value, list):
        return [rewritten(each, change) for each in value]
    if not isinstance(value, dict):
        return value
    return change({name: rewritten(each, change) for name, each in value.items()})


def with_definitions(schema: Schema, path: str) -> Schema:
    """The definitions at `path`, and references there."""

    def change(here: Schema) -> Schema:
        if isinstance(here.get("$ref"), str):
            here["$ref"] = here["$ref"].replace("#/$defs/", f"#/{path}/")
        return here

    made = rewritten(copy.deepcopy(schema), change)
    definitions = made.pop("$defs", None)
    if definitions is not None:
        *outer, last = path.split("/")
        inside: Schema = {last: definitions}
        for step in reversed(outer):
            inside = {step: inside}
        made |= inside
    return made


def lists_in_items(here: Schema) -> Schema:
    if isinstance(here.get("prefixItems"), list):
        rest = here.pop("items", None)
        here["items"] = here.pop("prefixItems")
        if rest is not None:
            here["additionalItems"] = rest
    return here


def dependencies(here: Schema) -> Schema:
    if isinstance(here.get("dependentRequired"), dict):
        here["dependencies"] = here.pop("dependentRequired")
    return lists_in_items(here)


def draft_4_words(here: Schema) -> Schema:
    for word, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(here.get(word), int | float) and not isinstance(here.get(word), bool):
            here[limit] = here[word]
            here[word] = True
    if "const" in here:
        here["enum"] = [here.pop("const")]
    return dependencies(here)


def open_api(here: Schema) -> Schema:
    """What OpenAPI adds to schemas, and JSON Schema leaves alone."""
    if here.get("type") in ("string", "integer", "number"):
        here |= {"nullable": False, "example": "an example", "xml": {"attribute": True}}
    if "const" in here:
        here["enum"] = [here.pop("const")]
    return dependencies(here)


def draft(number: int) -> str:
    return f"http://json-schema.org/draft-0{number}/schema#"


def wordings(schema: Schema) -> dict[str, Schema]:
    """One schema in all wordings that have its words."""
    used = words_in(schema)
    found = {
        "unnamed": schema,
        "2020-12": {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema},
        "2019-09": {"$schema": "https://json-schema.org/draft/2019-09/schema", **rewritten(schema, lists_in_items)},
    }
    if used & {"unevaluatedProperties", "dependentSchemas", "minContains"}:
        return found
    found["draft 7"] = {"$schema": draft(7), **with_definitions(rewritten(schema, dependencies), "definitions")}
    found["definitions"] = with_definitions(rewritten(schema, dependencies), "definitions")
    if not used & LATER:
        found["draft 6"] = {"$schema": draft(6), **with_definitions(rewritten(schema, dependencies), "definitions")}
        found["draft 4"] = {"$schema": draft(4), **with_definitions(rewritten(schema, draft_4_words), "definitions")}
        found["OpenAPI"] = with_definitions(rewritten(schema, open_api), "components/schemas")
    return found
