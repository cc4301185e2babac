"""Add constraints that the schema of a Python type lacks: msgspec omits the format of a moment, and both msgspec and
Pydantic the valid names of a map whose keys are no texts. With them in the schema, a worker validates them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import msgspec.inspect

from headrace.errors import SchemaError

WHOLE = r"^-?(?:0|[1-9][0-9]{0,38})$"
NUMBER = r"^-?(?:0|[1-9][0-9]{0,38})(?:\.[0-9]{1,38})?(?:[eE][+-]?[0-9]{1,3})?$"
KEYS: tuple[tuple[type[msgspec.inspect.Type], dict[str, Any]], ...] = (
    (msgspec.inspect.IntType, {"pattern": WHOLE}),
    (msgspec.inspect.FloatType, {"pattern": NUMBER}),
    (msgspec.inspect.DecimalType, {"pattern": NUMBER}),
    (msgspec.inspect.DateTimeType, {"format": "date-time"}),
    (msgspec.inspect.DateType, {"format": "date"}),
    (msgspec.inspect.UUIDType, {"format": "uuid"}),
)
SHAPES = {
    "string": (msgspec.inspect.DateTimeType,),
    "object": (msgspec.inspect.DictType,),
    "array": (msgspec.inspect.CollectionType, msgspec.inspect.TupleType),
}


def constrain(given: Any, root: dict[str, Any], definitions: dict[str, Any]) -> None:
    """Add the missing constraints to msgspec's schema of `given` (`root`, with its `definitions`)."""
    waiting, seen = [(msgspec.inspect.type_info(given), root)], set[int]()
    while waiting:
        here, schema = waiting.pop()
        if fields := fields_of(here):
            if id(here) not in seen:
                seen.add(id(here))
                waiting += of_record(here, fields, schema, definitions)
            continue
        waiting += of_value(here, schema)


def of_value(
    here: msgspec.inspect.Type, schema: dict[str, Any]
) -> Iterator[tuple[msgspec.inspect.Type, dict[str, Any]]]:
    """Add constraints to the `schema` of one value; yields the types inside it, with their schemas."""
    if isinstance(here, msgspec.inspect.Metadata):
        yield here.type, schema
    elif isinstance(here, msgspec.inspect.UnionType):
        for inner in here.types:
            yield inner, member(inner, schema)
    elif isinstance(here, msgspec.inspect.DateTimeType):
        # Of one without a time zone JSON Schema has no format.
        if schema.get("type") == "string" and here.tz is not False:
            schema.setdefault("format", "date-time")
    elif isinstance(here, msgspec.inspect.DictType):
        names = names_of(here.key_type)
        if schema.get("type") == "object" and names:
            schema.setdefault("propertyNames", names)
        yield here.value_type, below(schema, "additionalProperties")
    elif isinstance(here, msgspec.inspect.TupleType):
        places = schema.get("prefixItems", [])
        yield from zip(here.item_types, places, strict=False)
    elif isinstance(here, msgspec.inspect.CollectionType):
        yield here.item_type, below(schema, "items")


def names_of(key: msgspec.inspect.Type) -> dict[str, Any] | None:
    """Return the schema of a map's names by the type of its keys; None where any text is valid."""
    if isinstance(key, msgspec.inspect.Metadata):
        return names_of(key.type)
    if isinstance(key, msgspec.inspect.LiteralType):
        return {"enum": [str(value) for value in key.values]}
    if isinstance(key, msgspec.inspect.EnumType):
        return {"enum": [str(each.value) for each in key.cls]}
    if isinstance(key, msgspec.inspect.DateTimeType) and key.tz is False:
        return None
    return next((dict(names) for kind, names in KEYS if isinstance(key, kind)), None)


def member(inner: msgspec.inspect.Type, schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of one type of a union: at most one of its types is a text, one a list and one a map."""
    word = next((word for word, kinds in SHAPES.items() if isinstance(inner, kinds)), None)
    alike = [each for each in schema.get("anyOf", ()) if word and each.get("type") == word]
    return alike[0] if len(alike) == 1 else {}


def of_record(
    here: msgspec.inspect.Type, fields: tuple[Any, ...], schema: dict[str, Any], definitions: dict[str, Any]
) -> Iterator[tuple[msgspec.inspect.Type, dict[str, Any]]]:
    """Yield the types of a record's fields, each with its schema in the record's definition."""
    name = str(getattr(here, "cls", "") and here.cls.__name__)  # type: ignore[attr-defined]
    for definition in matching(name, fields, [schema, *definitions.values()]):
        places = definition.get("prefixItems")
        for number, field in enumerate(fields):
            if places is None:
                yield field.type, definition["properties"][field.encode_name]
            elif number < len(places):
                yield field.type, places[-len(fields) :][number]
        return
    for field in fields:  # what is in it may be a record with a name of its own
        yield field.type, {}


def matching(name: str, fields: tuple[Any, ...], schemas: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the only definition with a record's name and fields. None when there are two."""
    named = {field.encode_name for field in fields}
    alike = [
        each
        for each in schemas
        if str(each.get("title", "")).partition("[")[0] == name
        and (
            len(each.get("prefixItems", ())) >= len(fields)
            if "prefixItems" in each
            else named <= {*each.get("properties", ())}
        )
    ]
    return alike if len(alike) == 1 else []


def fields_of(here: msgspec.inspect.Type) -> tuple[Any, ...]:
    return getattr(here, "fields", ())


def below(schema: dict[str, Any], word: str) -> dict[str, Any]:
    inner = schema.get(word)
    return inner if isinstance(inner, dict) else {}


@functools.cache
def pydantic_generator() -> Any:
    """Return Pydantic's schema generator, extended by the names of maps."""
    from pydantic.json_schema import GenerateJsonSchema

    class WithKeys(GenerateJsonSchema):
        def dict_schema(self, schema: Any) -> Any:
            made = super().dict_schema(schema)
            known = made.get("propertyNames", {})
            if "keys_schema" in schema:
                keys: Any = self.generate_inner(schema["keys_schema"])
                meant: Any = keys
                while "$ref" in meant:
                    meant = self.get_schema_from_definitions(meant["$ref"]) or {}
                check_names(meant, literal=schema["keys_schema"]["type"] == "literal")
                if "$ref" in known and all(isinstance(value, str) for value in meant.get("enum", ())):
                    return made
                names = (names_by_schema(meant) or {}) | {word: known[word] for word in known if word != "$ref"}
                if names:
                    made["propertyNames"] = names
            return made

    return WithKeys


def check_names(keys: dict[str, Any], *, literal: bool) -> None:
    """Raise `SchemaError` for a map whose keys (by their schema) Pydantic cannot decode from names: it would fail after the
    answer is paid."""
    values = keys.get("enum", [keys["const"]] if "const" in keys else [])
    unread = literal and not all(isinstance(value, str) for value in values)
    if unread or keys.get("type") in ("array", "object", "null"):
        what = " or ".join(map(repr, values)) if unread else f"type {keys['type']}"
        raise SchemaError(
            f"schema: Pydantic reads no keys of {what} from JSON, where keys are texts",
            keyword="propertyNames",
            remedy="use texts, numbers or an enum as keys",
        )


def names_by_schema(keys: dict[str, Any]) -> dict[str, Any] | None:
    """Return the schema of a map's names by the schema of its keys."""
    if "enum" in keys or "const" in keys:
        return {"enum": [str(value) for value in keys.get("enum", [keys.get("const")])]}
    if {each.get("type") for each in keys.get("anyOf", [])} == {"number", "string"}:  # a decimal
        return {"pattern": NUMBER}
    limits = {word: keys[word] for word in ("pattern", "minLength", "maxLength", "format") if word in keys}
    kinds = {"integer": {"pattern": WHOLE}, "number": {"pattern": NUMBER}, "boolean": {"enum": ["true", "false"]}}
    return kinds.get(keys.get("type", ""), limits) or None
