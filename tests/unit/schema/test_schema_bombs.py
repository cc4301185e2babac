"""Schemas that are made to hurt: refused, or carried, at once."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import pytest

from headrace.errors import InputError, InvalidOutput, SchemaError
from headrace.schema import bundle, lower

DEADLINE_S = 1.0  # of a machine that does other things; `make bench` holds the figure itself
MAX_BYTES = 50_000_000


def nested(depth: int, step: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {step: {"a": schema} if step == "properties" else schema}
    return schema


def doubled(levels: int, word: str) -> dict[str, Any]:
    steps = {f"A{n}": {word: [{"$ref": f"#/$defs/A{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/A0", "$defs": steps | {f"A{levels}": {"type": "string"}}}


def doubled_properties(levels: int) -> dict[str, Any]:
    def level(n: int) -> dict[str, Any]:
        inner = {"$ref": f"#/$defs/A{n + 1}"}
        return {"type": "object", "properties": {"l": inner, "r": inner}}

    return {
        "$ref": "#/$defs/A0",
        "$defs": {f"A{n}": level(n) for n in range(levels)} | {f"A{levels}": {"type": "null"}},
    }


def shared_objects(levels: int) -> dict[str, Any]:
    schema: Any = {"type": "string"}
    for n in range(levels):
        schema = {"anyOf": [schema, {"type": "object", "properties": {f"a{n}": schema, f"b{n}": schema}}]}
    return schema


LONG = "k" * 400_000


def named(count: int, **words: Any) -> dict[str, Any]:
    return {f"p{n}": words for n in range(count)}


REFUSED: dict[str, dict[str, Any]] = {
    "a long name above many parts": {"properties": {LONG: {"properties": named(4000, type="integer")}}},
    "a long name that many refer to": {
        "$defs": {LONG: {"$anchor": "a", "type": "integer"}, "e": {"$id": "http://x.y/e"}},
        "properties": named(4000, **{"$ref": "#a"}),
    },
    "a long `$id`": {"$id": f"http://x.y/{LONG}", "properties": named(4000, **{"$ref": "#"})},
    "a long title above many maps": {
        "title": LONG,
        "properties": {f"p{n}": {"type": "object", "additionalProperties": True} for n in range(2000)},
    },
    "a million values": {"enum": list(range(1_000_000))},
    "a million texts": {"type": "object", "properties": {"a": {"enum": ["v"] * 1_000_000}}},
    "ten thousand deep": nested(10_000, "properties"),
    "ten thousand lists deep": nested(10_000, "items"),
    "allOf doubles": doubled(40, "allOf"),
    "anyOf doubles": doubled(40, "anyOf"),
    "oneOf doubles": doubled(25, "oneOf"),
    "one object a million times": shared_objects(20),
    "itself": {"$ref": "#"},
    "itself in allOf": {"allOf": [{"$ref": "#"}]},
    "itself in anyOf": {"anyOf": [{"$ref": "#"}, {"type": "string"}]},
    "each other": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    "a hundred thousand names": {"type": "object", "required": [f"p{n}" for n in range(100_000)]},
    "names and patterns": {
        "type": "object",
        "properties": {f"p{n}": {} for n in range(3000)},
        "patternProperties": {f"^q{n}": {} for n in range(3000)},
    },
    "many patterns": {"allOf": [{"pattern": f"(a{{1,900}}){{1,{n}}}"} for n in range(2, 60)]},
    "three thousand patterns": {"type": "object", "patternProperties": {f"^{n}.*a": {} for n in range(3000)}},
    "twenty thousand objects": {"enum": [{"a": n} for n in range(20_000)]},
    "five thousand places": {"prefixItems": [{"type": "integer"}] * 5000},
    "twenty thousand properties": {
        "type": "object",
        "properties": {f"p{n}": {"type": "string"} for n in range(20_000)},
    },
    "looking around everywhere": {"type": "string", "pattern": "(?!x)(a*)*b"},
    "looking around in one of two": {"type": "string", "pattern": "^x|(?!x)(a*)*b"},
    "looking back everywhere": {"type": "object", "patternProperties": {r"(a)\\1": {}}},
    "a pattern as large as a book": {"type": "string", "pattern": "^(?:(?:a{1,1000}){1,1000}){1,1000}$"},
    "megabytes of description": {"type": "string", "description": "x" * 5_000_000},
}
CARRIED: dict[str, dict[str, Any]] = {
    "properties double": doubled_properties(16),
    "a chain of references": {
        "$ref": "#/$defs/a0",
        "$defs": {f"a{n}": {"$ref": f"#/$defs/a{n + 1}"} for n in range(1000)} | {"a1000": {"type": "string"}},
    },
    "sixty negations": nested(60, "not"),
    "ten choices of ten": {
        "allOf": [{"anyOf": [{"properties": {f"p{n}{m}": {"type": "null"}}} for m in range(10)]} for n in range(10)]
    },
    "twenty thousand values": {"type": "object", "properties": {"a": {"enum": [f"v{n}" for n in range(20_000)]}}},
    "three thousand alternatives": {
        "anyOf": [{"type": "object", "properties": {f"k{n}": {"type": "string"}}} for n in range(3000)]
    },
    "a thousand alike": {
        "anyOf": [{"type": "object", "properties": {"k": {"type": "string", "minLength": n}}} for n in range(1000)]
    },
    "ninety lists deep": nested(90, "items"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_schema_bombs_at_once(name: str) -> None:
    for tries_left in (2, 1, 0):  # a busy machine makes CPU time longer: caches are shared
        began = time.process_time()
        with pytest.raises(SchemaError) as refused:
            lower(REFUSED[name])
        if (taken_s := time.process_time() - began) < DEADLINE_S:
            break
        assert tries_left, taken_s
    assert refused.value.keyword or refused.value.remedy


@pytest.mark.parametrize("name", REFUSED)
def test_refusing_takes_little_memory(name: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(SchemaError):
            lower(REFUSED[name])
        assert tracemalloc.get_traced_memory()[1] < MAX_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", CARRIED)
def test_lowers_schemas_that_only_look_like_bombs(name: str) -> None:
    began = time.process_time()
    lowered = lower(CARRIED[name])
    assert time.process_time() - began < DEADLINE_S
    assert lowered.wire["additionalProperties"] is False


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|a)*$", "^(?=a)(a+)+(a+)+$", "^(?!x)(a*|c)*b"])
def test_a_pattern_that_backtracks_for_ever_answers_at_once(pattern: str) -> None:
    lowered = lower({"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}})
    began = time.process_time()
    with pytest.raises(InvalidOutput):
        lowered.validate({"a": "a" * 30_000 + "!"})
    assert time.process_time() - began < DEADLINE_S


def test_a_value_that_is_too_deep_is_no_crash() -> None:
    lowered = lower({"type": "object", "properties": {"a": {"items": {"$ref": "#/properties/a"}}}})
    value: Any = []
    for _ in range(5000):
        value = [value]
    for move in (lowered.validate, lowered.lift):
        with pytest.raises(InvalidOutput):
            move({"a": value})
    with pytest.raises(InvalidOutput):
        lowered.restore("[" * 100_000)


@pytest.mark.parametrize(
    ("schema", "documents"),
    [
        ({"$ref": "d"}, {"d": REFUSED["a long name that many refer to"]}),
        ({"$ref": LONG}, {LONG: {"properties": named(4000, items={"$ref": "#"})}}),
        (
            {"properties": {f"p{n}": {"$ref": f"d{n}"} for n in range(100)}},
            {f"d{n}": {"properties": named(500)} for n in range(100)},
        ),
    ],
    ids=["a long name that many refer to", "a long name of a document", "many parts together"],
)
def test_documents_that_are_made_to_hurt_are_refused_at_once(schema: Any, documents: Any) -> None:
    tracemalloc.start()
    began = time.process_time()
    try:
        with pytest.raises((SchemaError, InputError)):
            bundle(schema, documents)
        assert tracemalloc.get_traced_memory()[1] < MAX_BYTES
    finally:
        tracemalloc.stop()
    assert time.process_time() - began < 4 * DEADLINE_S  # it is slower while memory is traced
