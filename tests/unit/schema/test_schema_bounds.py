"""Schemas of up to 64 KB that are made to hurt, for every target and reading: carried or refused in proportion to their size."""

# ruff: noqa: E501 (tables read better in one line a row)

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from resource_usage import cost_of

from headrace.errors import SchemaError
from headrace.schema import lower
from headrace.schema.validate import compiled, encoded

MAX_CPU_S = 2.0
MAX_MB = 150
Schema = dict[str, Any]


def closed(**properties: Any) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False, "required": list(properties)}


def shared(levels: int, level: Callable[[Schema, int], Schema], leaf: Any = None, **more: Any) -> Schema:
    """Each level refers to the next more than once."""
    steps = {f"a{n}": level({"$ref": f"#/$defs/a{n + 1}"}, n) for n in range(levels)}
    leaf = {"type": "string"} if leaf is None else leaf
    return {
        "type": "object",
        "properties": {"v": {"$ref": "#/$defs/a0"}, **more},
        "$defs": steps | {f"a{levels}": leaf},
    }


def nested(levels: int, level: Callable[[Any, int], Any]) -> Any:
    schema: Any = {"type": "string"}
    for n in range(levels):
        schema = level(schema, n)
    return schema


def wide(count: int, each: Callable[[int], Any]) -> Schema:
    return {"type": "object", "properties": {f"p{n}": each(n) for n in range(count)}}


def named(count: int, uses: int, **more: Any) -> Schema:
    """Schemas inside with an `$id` of their own, that refer to each other."""
    inner = {
        f"r{n}": {
            "$id": f"http://x/r{n}",
            "type": "object",
            "properties": {f"p{m}": {"$ref": f"http://x/r{(n + m + 1) % count}"} for m in range(uses)},
            **more,
        }
        for n in range(count)
    }
    return {"type": "object", "$defs": inner, "properties": {"v": {"$ref": "http://x/r0"}}}


def text(pattern: str) -> Schema:
    return {"type": "object", "properties": {"v": {"type": "string", "pattern": pattern}}}


DEEP = nested(14, lambda s, n: closed(a=s))
OBJECT = {"type": "object", "properties": {"a": True}}
SCHEMAS: dict[str, Schema] = {
    "nine deep, six times each, beside something too deep": shared(9, lambda r, n: closed(**{f"p{m}": r for m in range(6)}), deep=DEEP),
    "nine deep of lists, beside something too deep": shared(9, lambda r, n: {"type": "array", "prefixItems": [r] * 4}, deep=DEEP),
    "nine deep of maps, beside something too deep": shared(9, lambda r, n: {"type": "object", "additionalProperties": closed(a=r, b=r, c=r)}, deep=DEEP),
    "nine deep of choices, beside something too deep": shared(9, lambda r, n: {"anyOf": [closed(**{f"x{n}": r, "z": r}), closed(**{f"y{n}": r})]}, deep=DEEP),
    "nine deep, described each time": shared(9, lambda r, n: closed(**{f"p{m}": {**r, "description": f"d{m}"} for m in range(6)}), deep=DEEP),
    "nine deep of allOf": shared(9, lambda r, n: {"allOf": [r, {"properties": {"x": r, "y": r}}]}),
    "nine deep of a hundred": shared(9, lambda r, n: closed(**{f"p{m}": r for m in range(100)})),
    "thirty deep of two": shared(30, lambda r, n: closed(x=r, y=r)),
    "nine deep of if": shared(9, lambda r, n: {"if": r, "then": r, "else": r}),
    "nine deep of dependentSchemas": shared(9, lambda r, n: {"dependentSchemas": {"a": {"properties": {"b": r}}, "b": {"properties": {"a": r}}}}),
    "nine deep of unevaluatedProperties": shared(9, lambda r, n: {"type": "object", "anyOf": [r, r], "unevaluatedProperties": False}, OBJECT),
    "twelve deep of unevaluatedProperties": shared(12, lambda r, n: {"allOf": [r, r], "unevaluatedProperties": r}, {"type": "object"}),
    "named schemas": named(12, 6),
    "named schemas, dynamic": named(14, 6, **{"$dynamicAnchor": "n", "additionalProperties": {"$dynamicRef": "#n"}}),
    "chains of described references": {**wide(500, lambda n: {"$ref": f"#/$defs/a{n}"}), "$defs": {f"a{n}": {"$ref": f"#/$defs/a{n + 1}", "description": "d"} for n in range(800)} | {"a800": {"type": "string"}}},
    "chains of references and properties": {**wide(300, lambda n: {"$ref": f"#/$defs/a{n}"}), "$defs": {f"a{n}": {"$ref": f"#/$defs/a{n + 1}", "properties": {f"x{n}": {}}} for n in range(600)} | {"a600": {"type": "object"}}},
    "recursive unions": {"type": "object", "$defs": {f"u{m}": {"anyOf": [closed(**{f"k{n}": {"$ref": f"#/$defs/u{(n * 7 + m) % 20}"}}) for n in range(20)]} for m in range(20)}, "properties": {"v": {"$ref": "#/$defs/u0"}}},
    "alternatives": {"type": "object", "properties": {"v": {"anyOf": [closed(**{f"k{n}": {"type": "string"}}) for n in range(240)]}}},
    "alternatives of one": wide(18, lambda n: {"oneOf": [{"type": "object", "properties": {"a": {"minLength": m}}} for m in range(50)]}),
    "alternatives in alternatives": {"type": "object", "properties": {"v": nested(40, lambda s, n: {"anyOf": [s, closed(**{f"k{n}": {"type": "string"}})]})}},
    "combined parts": {"type": "object", "$defs": {f"s{n}": {"type": "object", "properties": {f"q{m}": {"allOf": [{"$ref": f"#/$defs/s{(n * 3 + m * 5 + k) % 23}"} for k in (0, 1, 4)]} for m in range(6)}} for n in range(23)}, "properties": {"v": {"$ref": "#/$defs/s0"}}},
    "names and rests": wide(300, lambda n: {"type": "string"}) | {"allOf": [{"additionalProperties": {"minLength": n}} for n in range(300)]},
    "names and patterns": wide(900, lambda n: {"type": "string"}) | {"patternProperties": {f"^n\\w{{1,{n}}}$": {} for n in range(1, 100)}},
    "nested repeats": text("(a{1,1000}){1,1000}"),
    "nested repeats, looking around": text("^((?=a)b{1,1000}){1,1000}$"),
    "many looks": text("^" + "(?=\\pL{1,400})" * 100),
    "large patterns": wide(200, lambda n: {"type": "string", "pattern": f"^[a-z]{{1,{900 + n}}}$"}),
    "classes": text("[\\w\\s]" * 8000),
    "patterns of names": {"type": "object", "patternProperties": {f"^\\w{{{n}}}": {"type": "string"} for n in range(1, 199)}},
    "large numbers": {"type": "object", "properties": {"v": {"type": "array", "minItems": 10**9, "maxItems": 10**18, "items": {"type": "string", "maxLength": 10**15}}, "n": {"multipleOf": 1e-300, "maximum": 1e308}, "i": {"type": "integer", "multipleOf": 10**40}}},
    "values": {"type": "object", "properties": {"v": {"enum": [f"v{n}" for n in range(7000)]}}},
    "objects as values": {"type": "object", "properties": {"v": {"enum": [{"a": n} for n in range(5000)]}}},
    "places of lists": wide(10, lambda n: {"type": "array", "prefixItems": [{"type": "integer"}] * 240}),
    "conditions": {"type": "object", "allOf": [{"if": {"properties": {f"a{n}": {"const": 1}}}, "then": {"properties": {f"b{n}": {"type": "string"}}}} for n in range(600)]},
    "conditions in conditions": nested(45, lambda s, n: {"type": "object", "if": {"properties": {f"a{n}": {"const": 1}}}, "then": {"properties": {f"b{n}": {}}}, "else": s}),
    "dependentSchemas": {"type": "object", "dependentSchemas": {f"a{n}": {"properties": {f"a{n + 1}": {}}} for n in range(900)}},
    "deep and wide": wide(40, lambda n: nested(40, lambda s, m: {"type": "object", "properties": {"a": s}})),
    "maps of maps": wide(400, lambda n: {"type": "object", "additionalProperties": {"type": "object", "additionalProperties": {"type": "string"}}}),
}  # fmt: skip


def carried(schema: Schema) -> str:
    refused = ""
    for target in ("openai", "vllm", "openrouter"):
        for reading in ("literal", "intended"):
            try:
                lower(schema, target, reading=reading)
            except SchemaError as error:
                refused = f"{error.keyword} {error.remedy} {error}"
    try:
        compiled(encoded(schema))
    except SchemaError as error:
        refused = str(error)
    return refused


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_costs_what_its_size_says(name: str) -> None:
    assert len(json.dumps(SCHEMAS[name])) < 70_000
    cost = cost_of(lambda: carried(SCHEMAS[name]))
    assert cost.cpu_s < 6 * MAX_CPU_S / 2, cost  # six forms of it
    assert cost.more_mb < MAX_MB, cost
    assert isinstance(cost.result, str), cost


@pytest.mark.slow
def test_one_form_of_a_schema_costs_less_than_two_seconds() -> None:
    for name, schema in SCHEMAS.items():
        cost = cost_of(lambda schema=schema: lower(schema).wire and None)
        assert cost.cpu_s < MAX_CPU_S, (name, cost)


def test_names_inside_mean_the_same_written_out() -> None:
    schema = named(12, 3, additionalProperties=False) | {"$id": "http://x/root"}
    validator = compiled(encoded(schema))
    validator.validate({"v": {"p0": {"p1": {"p2": {}}}}})
    with pytest.raises(Exception, match="no") as failed:
        validator.validate({"v": {"p0": {"no": {}}}})
    assert failed.value.errors[0].pointer == "/v/p0"  # type: ignore[attr-defined]


def test_too_many_names_with_dynamic_references_are_refused() -> None:
    with pytest.raises(SchemaError) as refused:
        lower(SCHEMAS["named schemas, dynamic"])
    assert (refused.value.keyword, refused.value.pointer.startswith("/$defs/r")) == ("$id", True)
