"""A structured answer is seen to grow while it streams: each value holds the one before it, the last is the result."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pets
import pytest
from stack import Stack

from headrace import AsyncHeadrace, Headrace
from headrace.errors import InputError
from headrace.settings import Settings

MODEL = "rehearsal/small"


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[AsyncHeadrace]:
    async with AsyncHeadrace(stack.ready["redis"], settings=Settings()) as client:
        yield client


async def test_a_structured_answer_is_seen_to_grow(client: AsyncHeadrace) -> None:
    prompt = "Ada has a cat and a dog. [[rehearsal tps=400]]"
    for mode in ("strict", "json_object", "tool_call"):
        job = await client.submit(MODEL, prompt, schema=pets.Owner, stream=True, mode=mode)
        seen = [value async for value in job.stream().partial_objects()]
        whole = await job.result()
        assert len(seen) > 3
        assert list(seen[0]) == ["name"]
        assert pets.Owner.model_validate(seen[-1]) == whole
        sizes = [len(json.dumps(value)) for value in seen]
        assert sizes == sorted(sizes)
    with pytest.raises(InputError, match="schema"):
        [value async for value in client.job(job.id).stream().partial_objects()]


async def test_an_answer_that_does_not_fit_is_asked_for_again_in_sight(client: AsyncHeadrace) -> None:
    """What was shown of the first answer is void: a new attempt, and the growing object begins anew."""
    prompt = "[[rehearsal fault=miss times=1]] Ada has a cat."
    job = await client.submit(MODEL, prompt, schema=pets.Owner, stream=True, reasks=1, on_retry="reset")
    stream = job.stream()
    events = [event async for event in stream]
    completion = await job.completion()
    starts = [event for event in events if event["t"] == "attempt.start"]
    assert completion.reasks == 1
    assert stream.fold.message["content"] == completion.content
    assert starts[-1]["reset"] is True


def test_the_growing_object_without_a_loop(stack: Stack) -> None:
    with Headrace(stack.ready["redis"], settings=Settings()) as client:
        job = client.submit(MODEL, "Ada has a cat.", schema=pets.Owner, stream=True)
        seen = list(job.stream().partial_objects())
        assert pets.Owner.model_validate(seen[-1]) == job.result()
