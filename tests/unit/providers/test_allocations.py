"""What a call of a provider class leaves in memory: nothing, and no cycle for the garbage collector to find."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fake_transport import CLASSES, answer, as_chunks
from headrace_providers.wire.request import Request

from headrace.jobs.job import Job

WARM_UP, CALLS = 200, 2000
MAX_BLOCKS = 500
"""Of memory, that `CALLS` calls may leave: caches fill a little, one object a call would be 2,000."""
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "price"],
    "properties": {"name": {"type": "string"}, "price": {"type": "integer"}},
}
PLAIN = Job(model="openai/m", messages=[{"role": "user", "content": "What does it cost?"}])
STRUCTURED = Job(model="openai/m", messages=PLAIN.messages, schema=SCHEMA)
STREAMED = Job(model="openai/m", messages=PLAIN.messages, stream=True)
TEXT = '{"name": "kettle", "price": 12}'


class MemoryTransport:
    """Answers at once, and keeps nothing."""

    async def chunks(self, request: Request) -> AsyncIterator[dict[str, Any]]:
        for chunk in as_chunks(answer(TEXT)) if request.body.get("stream") else [answer(TEXT)]:
            yield chunk

    async def close(self) -> None:
        pass


@contextmanager
def no_collections() -> Iterator[None]:
    """Within it only what is free of cycles is freed."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def ignored(delta: object) -> None:
    pass


@pytest.mark.parametrize("job", [PLAIN, STRUCTURED, STREAMED], ids=["plain", "structured", "streamed"])
@pytest.mark.parametrize("provider", CLASSES)
async def test_a_call_leaves_nothing_in_memory(provider: str, job: Job) -> None:
    model = CLASSES[provider]("m", transport=MemoryTransport(), api_key="key", retry=False)
    on_delta: Callable[[object], None] | None = ignored if job.stream else None

    async def calls(count: int) -> None:
        for number in range(count):
            await asyncio.sleep(0)  # the loop forgets the timers that were cancelled
            completion = await model.complete(job, request_id=f"batch.{number}", on_delta=on_delta)
            assert completion.content

    await calls(WARM_UP)
    with no_collections():
        before = sys.getallocatedblocks()
        await calls(CALLS)
        left = sys.getallocatedblocks() - before
    await model.close()
    assert left <= MAX_BLOCKS
