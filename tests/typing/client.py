"""What an editor knows of the client's answers. `make check` reads this file; nothing runs it."""

from __future__ import annotations

from typing import Any, TypedDict, assert_type

import msgspec
import pydantic

from headrace import AsyncHeadrace, Batch, BatchHandle, Completion, Headrace, JobHandle, Row


class Campaign(msgspec.Struct):
    audience: str


class Model(pydantic.BaseModel):
    audience: str


class Typed(TypedDict):
    audience: str


def blocking(client: Headrace) -> None:
    job = client.submit("openai/m", "q", schema=Campaign, temperature=0, ttl_s=60)
    assert_type(job, JobHandle[Campaign])
    assert_type(job.result(), Campaign)
    assert_type(job.result().audience, str)
    assert_type(job.completion(), Completion)
    assert_type(client.submit("openai/m", "q").result(), str)
    assert_type(client.submit("openai/m", "q", schema={"type": "object"}).result(), Any)
    assert_type(client.submit("openai/m", "q", schema=Typed).result(), Typed)
    assert_type(client.submit_many("openai/m", ["q"], schema=Model), list[JobHandle[Model]])
    batch = client.extract(["text"], model="openai/m", schema=Model, limit=3)
    assert_type(batch, BatchHandle[Model])
    assert_type(batch.wait(), Batch)
    for row in batch.results():
        assert_type(row, Row[Model])
        assert_type(row.value.audience, str)
    client.submit("openai/m", "q", temprature=0)  # pyright: ignore[reportCallIssue]
    client.extract(["text"], model="openai/m", limt=3)  # pyright: ignore[reportCallIssue]


async def awaited(client: AsyncHeadrace) -> None:
    assert_type(await (await client.submit("openai/m", "q", schema=Campaign)).result(), Campaign)
    batch = await client.extract("in.jsonl", "{text}", model="openai/m", schema=Campaign)
    async for row in batch.results():
        assert_type(row.value.audience, str)
