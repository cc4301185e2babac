"""A deadline that is set anew all the time: late when nothing came, never before."""

from __future__ import annotations

import asyncio

from headrace_api.streaming.inactivity_timer import InactivityTimer

LIMIT_S = 0.05


async def test_fires_once_after_the_last_start() -> None:
    loop, late = asyncio.get_running_loop(), asyncio.Event()
    said: list[float] = []

    def on_late() -> None:
        said.append(loop.time())
        late.set()

    overdue = InactivityTimer(LIMIT_S, on_late)
    for _ in range(20):
        overdue.start()
        await asyncio.wait([loop.create_future()], timeout=LIMIT_S / 10)
    assert not said, "each start sets it anew"
    overdue.start()
    began = loop.time()
    async with asyncio.timeout(5):
        await late.wait()
    assert said[0] - began >= LIMIT_S * 0.99
    await asyncio.wait([loop.create_future()], timeout=LIMIT_S * 3)
    assert len(said) == 1
    overdue.close()


async def test_does_not_fire_when_stopped_or_closed() -> None:
    loop, said = asyncio.get_running_loop(), list[str]()
    stopped = InactivityTimer(LIMIT_S, lambda: said.append("stopped"))
    closed = InactivityTimer(LIMIT_S, lambda: said.append("closed"))
    stopped.start()
    stopped.stop()
    closed.start()
    closed.close()
    await asyncio.wait([loop.create_future()], timeout=LIMIT_S * 3)
    assert said == []
    stopped.close()
