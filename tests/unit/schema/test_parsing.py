"""From an answer's text to a value: strict first, then mended, then lax where that is asked for; every misfit named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.errors import CallError, InvalidOutput
from headrace.schema import lower
from headrace.schema.coerce import coerce
from headrace.schema.document import Source
from headrace.schema.parse import read_answer

RECORD: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "links"],
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "links": {"type": "array", "items": {"type": "string", "format": "uri"}},
    },
}
WHOLE = {"name": "a", "links": []}


def failure(text: str, schema: dict[str, Any] = RECORD, **words: Any) -> CallError:
    with pytest.raises(CallError) as failed:
        read_answer(text, schema, **words)
    assert failed.value.code == "invalid_output"
    assert failed.value.partial == text
    return failed.value


def test_an_answer_that_fits_is_its_value() -> None:
    assert read_answer('{"name": "a", "links": []}', RECORD) == (WHOLE, False, False)


def test_every_failing_path_is_listed() -> None:
    errors = failure('{"name": "", "links": ["https://a.b/c", "no uri"], "more": 1}').details["errors"]
    assert {error.partition(":")[0] for error in errors} == {"/name", "/links/1", "/"}


def test_of_alternatives_the_one_that_was_meant_is_complained_of() -> None:
    def variant(kind: str, sort: str) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {"kind": {"const": kind}, "v": {"type": sort}},
            "required": ["kind", "v"],
        }

    schema = {"type": "object", "properties": {"a": {"anyOf": [variant("x", "integer"), variant("y", "string")]}}}
    errors = failure('{"a": {"kind": "y", "v": 3}}', schema, mode="json_object").details["errors"]
    assert errors == ['/a/v: 3 is not of type "string"']


@pytest.mark.parametrize("text", ["", "{", "nonsense", '{"name": NaN, "links": []}', "[" * 100_000, "null"])
def test_invalid_answers_fail_and_keep_their_text(text: str) -> None:
    failure(text)


@pytest.mark.parametrize(
    "text",
    [
        'Sure! Here it is:\n```json\n{"name": "a", "links": []}\n```\nAnything else?',
        '{"name": "a", "links": []} That is all.',
        "{'name': 'a', 'links': []}",
        '{"name": "a", "links": [',
        '{"name": "a", "links": [],}',
        '<think>{"name": "no"}</think>{"name": "a", "links": []}',
        '{name: "a", links: []}',
        'As noted [see below]: {"name": "a", "links": []} and {so on}',
        'The template {name}: {"name": "a", "links": []}',
    ],
)
def test_repairs_almost_json_and_marks_it_repaired(text: str) -> None:
    assert read_answer(text, RECORD) == (WHOLE, True, False)


def test_lax_reading_is_asked_for() -> None:
    schema = {
        "type": "object",
        "required": ["n", "flag", "list", "kind", "maybe", "inner"],
        "additionalProperties": False,
        "properties": {
            "n": {"type": "integer"},
            "flag": {"type": "boolean"},
            "list": {"type": "array", "items": {"type": "number"}},
            "kind": {"enum": ["good", "bad"]},
            "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "inner": {"$ref": "#/$defs/In"},
        },
        "$defs": {"In": {"type": "object", "properties": {"t": {"type": "string"}}, "required": ["t"]}},
    }
    text = '{"n":"3","flag":"Yes","list":"1.5","kind":" GOOD","maybe":"null","inner":{"t":7},"more":1}'
    failure(text, schema, mode="json_object")
    answer = read_answer(text, schema, mode="json_object", lax=True)
    assert answer == (
        {"n": 3, "flag": True, "list": [1.5], "kind": "good", "maybe": None, "inner": {"t": "7"}},
        False,
        True,
    )
    assert failure('{"n":"three"}', schema, mode="json_object", lax=True).details["errors"]


def test_lax_reading_leaves_what_fits() -> None:
    schema = {"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    for value in (3, "3", ["a"], []):
        assert coerce(value, Source(schema)) == value


def test_a_map_is_lax_in_its_entries() -> None:
    schema = {"type": "object", "properties": {"m": {"type": "object", "additionalProperties": {"type": "integer"}}}}
    text = '{"m":{"entries":[{"key":"a","value":"1"}]}}'
    assert read_answer(text, schema, lax=True).value == {"m": {"a": 1}}


def test_a_root_that_is_no_object_is_wrapped_in_every_mode() -> None:
    schema = {"type": "array", "items": {"type": "integer"}}
    for mode in ("strict", "json_schema", "json_object", "tool_call", "prompt"):
        assert read_answer('{"value":[1,2]}', schema, mode=mode).value == [1, 2]


def test_a_fence_inside_a_text_ends_nothing() -> None:
    schema = {"type": "object", "properties": {"howto": {"type": "string"}, "n": {"type": "array", "items": {}}}}
    value = {"howto": "Use:\n```py\nx=1\n```\nDone, ```twice```.", "n": ["a"]}
    text = f"```json\n{json.dumps(value)}\n```"
    assert read_answer(text, schema, mode="json_object") == (value, True, False)


def test_json_in_a_text_of_json_is_no_answer() -> None:
    failure(json.dumps(json.dumps(WHOLE)))


@pytest.mark.parametrize("mode", ["json_schema", "json_object", "tool_call", "prompt"])
def test_a_name_twice_is_never_a_silent_loss(mode: Any) -> None:
    schema = {"type": "object", "properties": {"m": {"type": "object", "additionalProperties": {"type": "integer"}}}}
    assert "uplicate" in str(failure('{"m":{"k":1,"k":2}}', schema, mode=mode))


@pytest.mark.parametrize("text", ['{"z": "\\ud800"}', '```json\n{"z": "\\ud800"}\n```', 'so: {"z": ["\\udfff"]} and'])
def test_half_of_a_surrogate_pair_is_no_answer(text: str) -> None:
    """What could not be stored must not be called an answer."""
    failure(text, {"type": "object", "properties": {"z": {}}}, mode="json_object")


def test_a_number_longer_than_python_reads_is_none() -> None:
    text = "0" * 5_000 + "1"
    failure(
        json.dumps({"a": text}),
        {"type": "object", "properties": {"a": {"type": "integer"}}},
        mode="json_object",
        lax=True,
    )


def test_fails_where_json_repair_raises() -> None:
    failure("{'```json1```", {"type": "object"}, mode="json_object")


INTEGER: dict[str, Any] = {"type": "integer"}


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    ("schema", "value", "pointers"),
    [
        (of(**{"": of(a=INTEGER)}), {"": {"a": "x"}}, ["//a"]),
        (of(**{"": INTEGER}), {"": "x"}, ["/"]),
        (of(**{"": of(**{"": of(b=INTEGER)})}), {"": {"": {"b": "x"}}}, ["///b"]),
        (of(a=of(**{"": INTEGER})), {"a": {"": "x"}}, ["/a/"]),
        (of(a={"items": of(**{"": INTEGER})}), {"a": [{"": 1}, {"": "x"}, {}]}, ["/a/1/"]),
        (of(a=INTEGER, **{"": of(a=INTEGER)}), {"a": 1, "": {"a": "x"}}, ["//a"]),
        (of(a=INTEGER, **{"": of(a=INTEGER)}), {"a": "x", "": {"a": 1}}, ["/a"]),
        (of(a=of(b=INTEGER)), {"a": {"b": "x"}, "": {"a": []}}, ["/a/b"]),
        ({**of(**{"": of()}), "required": ["b"]}, {"": {}}, [""]),
        (of(**{"": {"anyOf": [of(b=INTEGER), {"type": "null"}]}}), {"": {"b": "x"}}, ["//b"]),
    ],
)
def test_an_empty_key_is_a_step_of_the_pointer(schema: dict[str, Any], value: Any, pointers: list[str]) -> None:
    with pytest.raises(InvalidOutput) as invalid:
        lower(schema).validate(value)
    assert [misfit.pointer for misfit in invalid.value.errors] == pointers
