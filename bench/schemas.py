"""What schemas cost: lowering, restoring, refusing what is made to hurt, and watching an answer grow."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import msgspec

from bench.report.figures import Row, row
from headrace.errors import SchemaError
from headrace.schema import lower
from headrace.schema.parse import read_answer
from headrace.schema.partial import Partial

WIDE = {
    "type": "object",
    "additionalProperties": False,
    "required": [f"p{n}" for n in range(1000)],
    "properties": {f"p{n}": {"type": "string", "description": "d", "maxLength": 50} for n in range(1000)},
}
ROW = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "when": {"type": "string", "format": "date"},
        "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
        "of": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/Row"}}, {"type": "null"}]},
    },
    "required": ["name", "when", "counts"],
    "additionalProperties": False,
}
LIST = {
    "type": "object",
    "properties": {"rows": {"type": "array", "items": {"$ref": "#/$defs/Row"}}},
    "$defs": {"Row": ROW},
}


def rows() -> list[Row]:
    value = {
        "rows": [
            {"name": f"row {n}", "when": "2026-01-01", "counts": {"a": n, "b": 2, "c": 3}, "of": None}
            for n in range(140)
        ]
    }
    lowered = lower(LIST, reading="intended")
    answer = json.dumps(lowered.lift(value))
    assert len(answer) > 20_000
    wire = msgspec.json.decode(answer)
    chunks = [answer[at : at + 4] for at in range(0, len(answer), 4)]
    return [
        row("compiling a schema of 1,000 properties", fresh_ms(), "ms", 50, at_most=True),
        row("restoring a 20 KB answer", ms(lambda: lowered.restore(wire)), "ms", 2, at_most=True),
        row("20 KB of text to a validated value", ms(lambda: read_answer(answer, LIST)), "ms", None),
        row("refusing the worst of the schema bombs", worst_ms(), "ms", 200, at_most=True),
        row(f"watching 20 KB grow in {len(chunks)} chunks", ms(lambda: grow(chunks), rounds=5), "ms", None),
    ]


def grow(chunks: list[str]) -> None:
    partial = Partial(LIST)
    for chunk in chunks:
        partial.feed(chunk)


def fresh_ms() -> float:
    """Each round another schema, so that none is remembered."""
    numbers = iter(range(1000))
    return ms(lambda: lower(WIDE | {"title": f"T{next(numbers)}"}), rounds=15)


def worst_ms() -> float:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(10_000):
        deep = {"type": "object", "properties": {"a": deep}}
    doubled = {f"A{n}": {"allOf": [{"$ref": f"#/$defs/A{n + 1}"}] * 2} for n in range(40)} | {"A40": {"type": "null"}}
    bombs: list[dict[str, Any]] = [
        {"enum": list(range(1_000_000))},
        deep,
        {"$ref": "#/$defs/A0", "$defs": doubled},
        {"$ref": "#"},
        {"type": "object", "properties": {f"p{n}": {} for n in range(50_000)}},
        {"type": "string", "pattern": "^(?:(?:a{1,1000}){1,1000}){1,1000}$"},
    ]
    return max(ms(lambda bomb=bomb: refused(bomb), rounds=3) for bomb in bombs)


def refused(schema: dict[str, Any]) -> None:
    try:
        lower(schema)
    except SchemaError:
        return
    raise AssertionError("it was carried")


def ms(work: Callable[[], object], *, rounds: int = 25) -> float:
    """The median time of one round, in milliseconds."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return round(statistics.median(times) * 1000, 2)
