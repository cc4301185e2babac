"""One client for one event loop: a second loop is told so, and harms nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from headrace.client.async_client import AsyncHeadrace
from headrace.errors import HeadraceError


def test_a_second_event_loop_is_told(valkey_url: str) -> None:
    client, loop = AsyncHeadrace(valkey_url), asyncio.new_event_loop()
    loop.run_until_complete(again(client))
    calls: tuple[Callable[[], Awaitable[Any]], ...] = (
        lambda: client.submit("rehearsal/small", "Hi"),
        lambda: client.submit_many("rehearsal/small", ["Hi"]),
        lambda: client.extract(["a text"], model="rehearsal/small"),
        lambda: client.jobs(),
        lambda: client.batches(),
        lambda: client.job("job_x").status(),
        lambda: client.job("job_x").result(timeout=5),
        lambda: client.batch("batch_x").progress(),
        lambda: client.cancel("job_x"),
        lambda: client.close(),
        lambda: client.__aenter__(),
    )
    for call in calls:
        with pytest.raises(HeadraceError, match="another event loop before, one that is still there") as raised:
            asyncio.run(awaited(call))
        assert type(raised.value) is HeadraceError
    loop.run_until_complete(client.close())
    loop.close()


async def awaited(call: Callable[[], Awaitable[Any]]) -> None:
    await call()


def test_a_loop_that_has_ended_is_called_so(valkey_url: str) -> None:
    client = AsyncHeadrace(valkey_url)

    async def named() -> str:
        return client.ledger.keys.job("job_x")

    asyncio.run(named())
    with pytest.raises(HeadraceError, match="one that has ended"):
        asyncio.run(named())


async def again(client: AsyncHeadrace) -> None:
    for _ in range(2):
        await client.batches()


def test_two_loops_at_once_are_told(valkey_url: str) -> None:
    client = AsyncHeadrace(valkey_url)

    async def first() -> None:
        await client.batches()
        with pytest.raises(HeadraceError, match="one that is still there"):
            await asyncio.to_thread(lambda: asyncio.run(again(client)))
        await client.close()

    asyncio.run(first())


def test_a_client_that_was_closed_goes_on_another_loop(valkey_url: str) -> None:
    client = AsyncHeadrace(valkey_url)

    async def once() -> None:
        async with client:
            await again(client)

    for _ in range(2):
        asyncio.run(once())
