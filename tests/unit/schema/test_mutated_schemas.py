"""Schemas as people write them, with something wrong in them: carried or refused by name, never anything else."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from realistic import commerce, systems, texts
from realistic.words import wordings

from headrace.chat.tools import ToolDefinitions
from headrace.errors import InputError, InvalidOutput, SchemaError
from headrace.schema import TARGETS, lower

CASES = [
    (case, schema)
    for case in (*commerce.CASES, *texts.CASES, *systems.CASES)
    for schema in wordings(case.schema).values()
]
OTHERS: list[Any] = [
    None, True, False, 0, -1, 1.5, "", "x", [], {}, ["a"], [{}], {"a": 1}, {"type": "string"}, "object", ["string", "null"],
    [1, 2], {"$ref": "#"}, {"$ref": "#/$defs/X"}, {"$ref": ""}, {"enum": []}, {"not": {}}, 1e308, 10**30, "^.{1,255}$", "(",
    {"$ref": "http://json-schema.org/draft-07/schema#"}, "dict",
]  # fmt: skip
MUTANTS = 400


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, each in inner:
        yield (*at, step)
        yield from places(each, (*at, step))


def mutant(schema: Any, chosen: random.Random) -> Any:
    schema = copy.deepcopy(schema)
    for _ in range(chosen.choice((1, 1, 1, 2, 3))):
        *outer, last = chosen.choice(list(places(schema)) or [("type",)])
        here = schema
        for step in outer:
            here = here[step]
        here[last] = copy.deepcopy(chosen.choice(OTHERS))
    return schema


@pytest.mark.parametrize("seed", range(5))
def test_a_mutant_is_carried_or_refused_by_name(seed: int) -> None:
    chosen = random.Random(seed)
    for _ in range(MUTANTS):
        case, schema = chosen.choice(CASES)
        schema = mutant(schema, chosen)
        for reading in ("literal", "intended"):
            refused = None
            try:
                lowered = lower(schema, chosen.choice(sorted(TARGETS)), reading=reading)
            except SchemaError as error:
                refused = bool(error.keyword), bool(error.remedy)
            assert refused in (None, (True, True)), schema
            for value in case.valid if refused is None else ():
                try:
                    lowered.validate(value)
                except InvalidOutput:
                    continue
                if reading == "literal":
                    assert lowered.restore(json.dumps(lowered.lift(value))) == value, schema


def test_a_mutant_of_a_tool_is_a_tool_or_refused_by_name() -> None:
    chosen = random.Random(7)
    for _ in range(MUTANTS):
        parameters = mutant(chosen.choice(CASES)[1], chosen)
        said = "/schemas/0/function/parameters"
        try:
            ToolDefinitions(schemas=[{"type": "function", "function": {"name": "f", "parameters": parameters}}])
        except InputError as error:
            said = str(error)
        assert said.startswith(("/schemas/0/function/parameters", "schema at /")), said


@pytest.mark.parametrize("most", [1.0, 2.0, 1e308, 10**30])
def test_a_size_may_be_written_with_a_point_or_be_beyond_all_lists(most: float) -> None:
    pair = {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "integer"}, "maxItems": most}
    for schema in (pair, {"type": "array", "items": {"type": "string"}, "minItems": 1.0, "maxItems": most}):
        lowered = lower(schema)
        assert lowered.restore(lowered.lift(["a"])) == ["a"]
