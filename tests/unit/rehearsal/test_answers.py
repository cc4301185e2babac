"""Answers: valid under their schema, made of the prompt, the same for the same request."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
from headrace_rehearsal.answers import AnswerWriter
from headrace_rehearsal.faults import missed
from headrace_rehearsal.prompt import Prompt, pieces
from headrace_rehearsal.server import compose
from hypothesis import example, given
from hypothesis import strategies as st

TEXT = """Tables is a small library for reading tables, for developers. It has 12 readers.
License: Apache-2.0
Requires-Python: >=3.10
Classifier: Development Status :: 4 - Beta
Classifier: Programming Language :: Python :: 3.11
Project-URL: Source, https://code.example/tables"""


def write(schema: Any, text: str = TEXT, seed: int = 7) -> Any:
    return AnswerWriter(Prompt(text), seed, schema).document()


def bounded(low_word: str, high_word: str, most: int) -> st.SearchStrategy[dict[str, Any]]:
    """Both bounds, one of them, or none; never a contradiction."""
    pairs = st.tuples(st.integers(0, most), st.integers(0, most)).map(sorted)
    both = pairs.map(lambda pair: {low_word: pair[0], high_word: pair[1]})
    return st.one_of(
        st.just({}), both, pairs.map(lambda pair: {low_word: pair[0]}), pairs.map(lambda pair: {high_word: pair[1]})
    )


names = st.sampled_from(["purpose", "licence", "url", "python_versions", "kind", "name", "émigré", "a b", ""])
patterns = st.sampled_from(
    [r"^[a-z]{2,5}$", r"^\d{4}-\d{2}$", r"^(foo|ba[rz])+$", r"[^,]{3}\.", r"^\S+@\w+\.com$", r"(a)\1"]
)
formats = st.sampled_from(["date", "date-time", "email", "uri", "uuid", "ipv4", "ipv6", "hostname", "time", "duration"])
scalars = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.text(max_size=5))
leaves = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.just(True),
    st.just({}),
    bounded("minLength", "maxLength", 40).map(lambda bounds: {"type": "string"} | bounds),
    patterns.map(lambda pattern: {"type": "string", "pattern": pattern}),
    formats.map(lambda form: {"type": "string", "format": form}),
    bounded("minimum", "maximum", 100).map(lambda bounds: {"type": "integer"} | bounds),
    bounded("minimum", "maximum", 100).map(lambda bounds: {"type": "number"} | bounds),
    st.tuples(st.integers(-50, 50), st.sampled_from([2, 3, 7, 0.5])).map(
        lambda pair: {"type": "number", "exclusiveMinimum": pair[0], "multipleOf": pair[1]}
    ),
    st.integers(-50, 50).map(lambda top: {"type": "integer", "exclusiveMaximum": top}),
    st.lists(scalars, min_size=1, max_size=4).map(lambda options: {"enum": options}),
    scalars.map(lambda value: {"const": value}),
    st.just({"type": ["string", "null"]}),
    st.just({"$ref": "#/$defs/word"}),
    st.just({"$ref": "#/$defs/tree"}),
)


def composed(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    arrays = st.builds(
        lambda item, bounds: {"type": "array", "items": item} | bounds, inner, bounded("minItems", "maxItems", 4)
    )
    tuples = st.lists(inner, min_size=1, max_size=3).map(
        lambda first: {"type": "array", "prefixItems": first, "items": False, "minItems": len(first)}
    )
    objects = st.builds(
        lambda properties, count, closed: {
            "type": "object",
            "properties": properties,
            "required": list(properties)[:count],
            "additionalProperties": not closed,
        },
        st.dictionaries(names, inner, max_size=4),
        st.integers(0, 4),
        st.booleans(),
    )
    joined = st.builds(
        lambda one, two: {"allOf": [one, {"type": "object", "properties": {"added": two}, "required": ["added"]}]},
        objects.map(lambda schema: schema | {"additionalProperties": True}),
        inner,
    )
    choices = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(arrays, tuples, objects, joined, choices.map(lambda part: {"anyOf": part}))


DEFINITIONS = {
    "word": {"type": "string", "minLength": 3},
    "tree": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
        "required": ["name", "children"],
        "additionalProperties": False,
    },
}


THREE = {"type": "array", "prefixItems": [{"type": "boolean"}] * 3, "items": False, "minItems": 3}


@example(schema={"anyOf": [{"type": "null"}, True]}, text="")
@example(schema={"type": "object", "properties": {"licence": THREE}, "required": ["licence"]}, text=TEXT)
@given(schema=st.recursive(leaves, composed, max_leaves=8), text=st.one_of(st.just(TEXT), st.text(max_size=60)))
def test_writes_valid_values_deterministically(schema: Any, text: str) -> None:
    root = {"$defs": DEFINITIONS, "allOf": [schema]}
    written = write(root, text)
    jsonschema_rs.Draft202012Validator(root).validate(written)
    assert write(root, text) == written


@pytest.mark.parametrize(
    "schema",
    [
        {"oneOf": [{"type": "integer"}, {"minimum": 2}]},
        {"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": True, "minItems": 3},
        {"type": "array", "items": {"type": "string"}, "uniqueItems": True, "minItems": 40},
        {"type": "array", "contains": {"const": 5}, "minContains": 2},
        {"type": "object", "minProperties": 3, "propertyNames": {"pattern": "^x_"}},
        {"type": "object", "required": ["a"], "patternProperties": {"^a": {"type": "integer"}}},
        {"type": "object", "properties": {"a": {}, "b": {}}, "maxProperties": 1, "required": ["b"]},
        {"properties": {"a": {"type": "string"}}, "required": ["a"], "dependentRequired": {"a": ["b"]}},
        {"if": {"properties": {"a": {"const": 1}}, "required": ["a"]}, "then": {"required": ["b"]}, "type": "object"},
        {"not": {"type": "string"}, "type": ["string", "integer"]},
        {"type": "string", "minLength": 3000},
        {"type": "integer", "multipleOf": 1.5, "minimum": 1},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b~1c"}, "b/c": {"type": "integer"}}},
        {
            "anyOf": [{"$ref": "#/$defs/node"}],
            "$defs": {
                "node": {
                    "type": "object",
                    "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
                    "required": ["next"],
                }
            },
        },
    ],
)
def test_a_rarer_keyword_is_kept_too(schema: Any) -> None:
    jsonschema_rs.Draft202012Validator(schema).validate(write(schema))


def test_a_tuple_of_draft_7_is_kept() -> None:
    schema = {
        "type": "array",
        "items": [{"type": "integer"}, {"type": "string"}],
        "additionalItems": False,
        "minItems": 2,
    }
    jsonschema_rs.Draft7Validator(schema).validate(write(schema))


@pytest.mark.parametrize("schema", [False, {"$ref": "#"}, {"type": "string", "pattern": "^a$", "minLength": 5}])
def test_an_impossible_schema_gets_an_answer_all_the_same(schema: Any) -> None:
    json.dumps(write(schema))


def test_fields_take_what_the_prompt_says_about_them() -> None:
    fields = ["purpose", "license", "licence", "python_versions", "link", "maturity", "source_kind"]
    properties: dict[str, Any] = {field: {"type": "string"} for field in fields}
    properties["python_versions"] = {"type": "array", "items": {"type": "string"}}
    properties["maturity"] = {"enum": ["alpha", "beta"]}
    written = write({"type": "object", "properties": properties})
    assert written["purpose"] == "Tables is a small library for reading tables, for developers."
    assert written["licence"] == written["license"] == "Apache-2.0"
    assert written["python_versions"] == [">=3.10", "3.11"]
    assert written["link"] == "https://code.example/tables"
    assert written["maturity"] == "beta"


def test_the_seed_is_the_only_chance() -> None:
    schema = {"type": "string", "format": "uuid"}
    assert write(schema, seed=1) == write(schema, seed=1) != write(schema, seed=2)


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_pieces_join_to_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text


@given(schema=st.recursive(leaves.filter(lambda leaf: leaf not in (True, {})), composed, max_leaves=6))
def test_a_miss_violates_whatever_can_be_violated(schema: Any) -> None:
    validator = jsonschema_rs.Draft202012Validator({"$defs": DEFINITIONS, "allOf": [schema]})
    wrong = missed(write({"$defs": DEFINITIONS, "allOf": [schema]}), {"$defs": DEFINITIONS, "allOf": [schema]})
    assert not validator.is_valid(wrong) or all(validator.is_valid(value) for value in (0, "", None, [], {}))


def test_a_re_ask_still_extracts_from_the_first_message() -> None:
    schema = {"type": "object", "properties": {"licence": {"type": "string"}}, "required": ["licence"]}
    body = {
        "model": "m",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": TEXT}]},
            {"role": "assistant", "content": "no JSON"},
            {"role": "user", "content": "That was not valid."},
        ],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
    }
    assert json.loads(compose(body, 1, None).text) == {"licence": "Apache-2.0"}
