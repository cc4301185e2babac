"""A structured answer that grows."""

# ruff: noqa: E501 (tables read better in one line a row)

from __future__ import annotations

import itertools
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from headrace.schema.partial import FREE_WORK, WORK_PER_CHAR, Partial

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
        "pets": {
            "type": "array",
            "items": {
                "anyOf": [
                    {"type": "object", "properties": {"kind": {"const": "cat"}, "m": {"type": "object", "additionalProperties": {"type": "integer"}}}, "required": ["kind"]},
                    {"type": "object", "properties": {"kind": {"const": "dog"}, "m": {"type": "string"}}, "required": ["kind"]},
                ]
            },
        },
        "note": {"type": "string"},
    },
}  # fmt: skip
WIRE = (
    '{"name":"a, \\"b\\" }","counts":{"entries":[{"key":"x","value":1},{"key":"y","value":2}]},'
    '"pets":[{"kind":"dog","m":"w"},{"kind":"cat","m":{"entries":[{"key":"k","value":3}]}}],"note":null}'
)
WHOLE = {
    "name": 'a, "b" }',
    "counts": {"x": 1, "y": 2},
    "pets": [{"kind": "dog", "m": "w"}, {"kind": "cat", "m": {"k": 3}}],
}


@given(st.lists(st.integers(1, len(WIRE) - 1)))
def test_the_values_are_the_same_however_the_text_is_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(WIRE)]
    partial = Partial(SCHEMA)
    seen = [value for at, end in itertools.pairwise(places) for value in partial.feed(WIRE[at:end])]
    assert seen == Partial(SCHEMA).feed(WIRE)
    assert seen[0] == {"name": 'a, "b" }'}
    assert {"name": 'a, "b" }', "counts": {"x": 1}} in seen
    assert seen[-1] == WHOLE


def test_each_value_has_what_the_one_before_it_had() -> None:
    seen = Partial(SCHEMA).feed(WIRE)
    assert [len(value) for value in seen] == sorted(len(value) for value in seen)
    assert any(value.get("pets") == [{"kind": "dog"}] for value in seen), "a union is told by what has come of it"


def test_without_lowering_the_text_is_the_value() -> None:
    plain = {"name": "a", "counts": {"x": 1}, "pets": []}
    assert Partial(SCHEMA, "json_object").feed(json.dumps(plain))[-1] == plain
    assert Partial(SCHEMA, "typed_xml").feed("<answer><name>a</name></answer>") == []


def test_the_cost_is_linear() -> None:
    """Counted in characters that are read again, not in seconds."""
    rows = [{"kind": "dog", "m": "w" * 20} for _ in range(20_000)]
    text = json.dumps({"pets": rows})
    partial = Partial(SCHEMA, "json_object")
    for at in range(0, len(text), 7):
        partial.feed(text[at : at + 7])
    assert partial._work <= FREE_WORK + (WORK_PER_CHAR + 1) * len(text)
    assert partial._last == {"pets": rows}
