"""Values that take their validator long, or much memory: it is another process that does, and it ends."""

# ruff: noqa: E501 (tables read better in one line a row)

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from resource_usage import cost_of

from headrace.errors import InvalidOutput
from headrace.schema.validate import Validator, WouldBlock, compiled, encoded
from headrace.schema.validation_process import MAX_WAIT_S, VALIDATION_PROCESS

MAX_CPU_S = 3.0  # with the beginning of the other process
MAX_MB = 60  # here; the other process has a limit of its own
Schema = dict[str, Any]


def array(items: Schema) -> Schema:
    return {"type": "object", "properties": {"v": {"type": "array", "items": items}}}


def shared(level: Callable[[Schema], Schema]) -> Schema:
    steps = {f"a{n}": level({"$ref": f"#/$defs/a{n + 1}"}) for n in range(26)}
    return {"type": "object", "properties": {"v": {"$ref": "#/$defs/a0"}}, "$defs": steps | {"a26": {"type": "string"}}}


def nested(levels: int = 26) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return {"v": value}


def validator_of(schema: Schema) -> Validator:
    return compiled(encoded(schema))


CASES: dict[str, tuple[Schema, Any]] = {
    "26 levels of anyOf": (shared(lambda r: {"anyOf": [{"properties": {"a": r}}, {"properties": {"a": r}, "minProperties": 1}]}), nested()),
    "26 levels of allOf": (shared(lambda r: {"allOf": [{"properties": {"a": r}}, {"properties": {"a": r}, "maxProperties": 9}]}), nested()),
    "26 levels of if": (shared(lambda r: {"if": {"properties": {"a": r}}, "then": {"properties": {"a": r}}}), nested()),
    "26 levels of names and patterns": (shared(lambda r: {"properties": {"a": r}, "patternProperties": {"a": r}}), nested()),
    "12 levels of four": (shared(lambda r: {"anyOf": [{"properties": {"a": r}, "required": [f"x{n}"]} for n in range(4)]}), nested(12)),
    "values that are objects": (array({"enum": [{"a": n} for n in range(3000)]}), {"v": [{"a": 2999}] * 100_000}),
    "values that are not there": (array({"enum": [f"value{n}" for n in range(5000)]}), {"v": ["no"] * 80_000}),
    "contains": ({"type": "object", "properties": {"v": {"allOf": [{"contains": {"const": f"x{n}"}} for n in range(1000)]}}}, {"v": ["y"] * 200_000}),
    "alternatives of what is large": ({"type": "object", "anyOf": [{"required": [f"x{n}"]} for n in range(240)]}, {"v": [1] * 300_000}),
    "names": ({"type": "object", "propertyNames": {"enum": [f"v{n}" for n in range(8000)]}}, {f"k{n}": 1 for n in range(80_000)}),
    "patterns that backtrack": (array({"allOf": [{"pattern": f"^(?!x)(a+)+{n}$"} for n in range(190)]}), {"v": ["a" * 30] * 30_000}),
    "misfits": (array({"type": "object", "properties": {"k": {"type": "string"}}}), {"v": [{"k": 1}] * 100_000}),
    "multiples": (array({"multipleOf": 1e-9}), {"v": [1e300] * 120_000}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_checking_ends(name: str) -> None:
    schema, value = CASES[name]
    cost = cost_of(lambda: validator_of(schema).validate(value))
    assert cost.cpu_s < MAX_CPU_S, cost
    assert cost.more_mb < MAX_MB, cost
    assert cost.result is None or cost.result.startswith("InvalidOutput"), cost


def test_lists_violations_up_to_a_bound() -> None:
    schema, value = CASES["misfits"]
    with pytest.raises(InvalidOutput) as failed:
        validator_of(schema).validate(value)
    assert str(failed.value.errors[0]) == '/v/0/k: 1 is not of type "string"'
    value = {"v": [{"k": "a"}] * 20_000 + [{"k": 1}, {"k": 2}]}
    with pytest.raises(InvalidOutput) as failed:
        validator_of(schema).validate(value)
    assert [each.pointer for each in failed.value.errors] == ["/v/20000/k", "/v/20001/k"]
    validator_of(schema).validate({"v": [{"k": "a"}] * 200_000})


def test_defers_slow_validation_when_called_on_the_loop() -> None:
    schema, value = CASES["26 levels of anyOf"]
    began = time.process_time()
    with pytest.raises(WouldBlock):
        validator_of(schema).validate(value, at_once=True)
    assert time.process_time() - began < 0.5


def test_ordinary_values_are_checked_here() -> None:
    schema = json.loads(json.dumps(CASES["misfits"][0]))
    validator_of(schema).validate({"v": [{"k": "a"}] * 2000}, at_once=True)
    with pytest.raises(InvalidOutput) as failed:
        validator_of(schema).validate({"v": [{"k": n} for n in range(200)]}, at_once=True)
    assert len(failed.value.errors) == 100


@pytest.mark.slow
def test_after_its_end_another_process_answers() -> None:
    schema, value = CASES["misfits"]
    with pytest.raises(InvalidOutput):
        validator_of(schema).validate(value)
    few = {"v": [{"k": "a"}] * 20_000 + [{"k": 1}]}
    for _ in range(3):
        with pytest.raises(InvalidOutput, match="/v/20000/k"):
            validator_of(schema).validate(few)
        child = VALIDATION_PROCESS._child
        assert child is not None
        os.kill(child.pid, signal.SIGKILL)
        child.wait()


@pytest.mark.slow
def test_a_validator_without_memory_does_not_wait_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `RUST_BACKTRACE` the validator would: what it writes at its end needs memory, too."""
    monkeypatch.setenv("RUST_BACKTRACE", "1")
    schema, value = CASES["misfits"]
    for _ in range(4):
        VALIDATION_PROCESS._end()
        began = time.monotonic()
        with pytest.raises(InvalidOutput):
            validator_of(schema).validate(value)
        assert time.monotonic() - began < MAX_WAIT_S
