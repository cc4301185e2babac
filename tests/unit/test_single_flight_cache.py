"""The one who pays when several ask the same of one model object at once."""

from __future__ import annotations

import asyncio

import pytest
from headrace_providers.cache import MemoryCache, SingleFlightCache

from headrace.chat.completion import Completion, Usage


class Provider:
    """Answers when it is let; `most` is how many waited for it side by side."""

    def __init__(self, finish: str = "stop"):
        self.finish = finish
        self.calls = self.running = self.most = 0
        self.let = asyncio.Event()

    async def pay(self) -> Completion:
        self.calls += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.let.wait()
        finally:
            self.running -= 1
        return Completion(id="x", model="m", created=1, usage=Usage(1, 1), content="said", finish_reason=self.finish)


def asking(remembered: SingleFlightCache, provider: Provider, count: int) -> list[asyncio.Task[Completion]]:
    return [asyncio.create_task(remembered.ask("key", provider.pay)) for _ in range(count)]


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_one_caller_pays_for_all() -> None:
    remembered, provider = SingleFlightCache(MemoryCache()), Provider()
    tasks = asking(remembered, provider, 5)
    await turns()
    provider.let.set()
    answers = await asyncio.gather(*tasks)
    assert provider.calls == 1
    assert [answer.cached for answer in answers] == [False, True, True, True, True]
    assert tuple(await remembered.cache.info())[:2] == (4, 1)


async def test_when_who_pays_is_cancelled_the_next_one_pays_and_nobody_beside_him() -> None:
    remembered, provider = SingleFlightCache(MemoryCache()), Provider()
    first, *waiting = asking(remembered, provider, 3)
    await turns()
    first.cancel()
    await asyncio.sleep(0)
    waiting += asking(remembered, provider, 2)
    await turns()
    assert (provider.calls, provider.most) == (2, 1)
    provider.let.set()
    await asyncio.gather(*waiting)
    assert provider.calls == 2
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_an_answer_that_is_not_kept_holds_nobody_up_for_long() -> None:
    remembered, provider = SingleFlightCache(MemoryCache()), Provider("length")
    tasks = asking(remembered, provider, 8)
    await turns()
    assert provider.most == 1
    provider.let.set()
    await turns()
    assert all(not answer.cached for answer in await asyncio.gather(*tasks))
    assert (provider.calls, remembered._paying) == (8, {})


@pytest.mark.parametrize("kept", [b"", b"x", b"{}", b"null", b'{"id": 7}', b"\xff"])
async def test_replaces_unreadable_entries(kept: bytes) -> None:
    remembered, provider = SingleFlightCache(MemoryCache()), Provider()
    provider.let.set()
    await remembered.cache.set("key", kept)
    assert [(await remembered.ask("key", provider.pay)).cached for _ in range(2)] == [False, True]
    assert provider.calls == 1


async def test_a_failure_is_each_ones_own() -> None:
    remembered = SingleFlightCache(MemoryCache())

    async def fail() -> Completion:
        await asyncio.sleep(0)
        raise ValueError("no")

    results = await asyncio.gather(*(remembered.ask("key", fail) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [ValueError] * 3
    assert remembered._paying == {}
