"""While an answer that takes long is read, or a large schema lowered, the event loop turns."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fake_transport import FakeTransport, answer
from headrace_providers import OpenAIChatCompletion
from headrace_providers.wire.response_format import prepared

from headrace.errors import CallError
from headrace.jobs.build import make_job
from headrace.schema.modes import form_of

MAX_GAP_S = 0.15
"""CPU time of this process between two turns of its loop. What other processes do meanwhile does not count."""
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"pets": {"type": "array", "items": {"type": "object", "properties": {"k": {"type": "string"}}}}},
}
SIZE = 1_000_000
ROWS = json.dumps({"pets": [{"k": f"v{n}"} for n in range(60_000)]})
ANSWERS = {
    "braces and prose": "{" * 60_000 + " and prose",
    "lines in a fence": "```" + "\n" * SIZE,
    "cut off": ROWS[:-9],
    "whole": ROWS,
    "misfits": json.dumps({"pets": [{"k": n} for n in range(60_000)]}),
    "brackets": "[a] {b} " * (SIZE // 8),
}


@contextlib.asynccontextmanager
async def turning() -> AsyncIterator[list[float]]:
    """The gaps between turns of this loop, in seconds of CPU time of all its threads."""
    gaps: list[float] = []

    async def turn() -> None:
        last = time.process_time()
        while True:
            await asyncio.sleep(0.001)
            now = time.process_time()
            gaps.append(now - last)
            last = now

    gc.collect()
    gc.freeze()  # what the test runner holds is no part of a worker's garbage collections
    turns = asyncio.create_task(turn())
    await asyncio.sleep(0.01)
    try:
        yield gaps
    finally:
        await asyncio.sleep(0.002)
        turns.cancel()
        gc.unfreeze()


@pytest.mark.parametrize("name", ANSWERS)
async def test_reading_an_answer_leaves_the_loop_alone(name: str) -> None:
    model = OpenAIChatCompletion("m", api_key="k", transport=FakeTransport(answer(ANSWERS[name])), retry=False)
    job, _ = make_job("openai/m", "x", schema=SCHEMA)
    async with turning() as gaps:
        with contextlib.suppress(CallError):
            await model.complete(job)
    assert max(gaps) < MAX_GAP_S


async def test_a_large_schema_is_lowered_off_the_loop() -> None:
    names = {f"n{n}": {"type": "string"} for n in range(900)}
    patterns = {f"^n\\w{{1,{n}}}$": {"minLength": 1} for n in range(1, 100)}
    schema = {"type": "object", "properties": names, "patternProperties": patterns}
    async with turning() as gaps:
        await prepared(schema, "strict", "openai")
    assert max(gaps) < MAX_GAP_S
    began = time.process_time()
    form_of(schema, "strict", "openai")
    assert time.process_time() - began < 0.05, "it is remembered"
