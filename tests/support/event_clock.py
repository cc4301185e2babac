"""A bystander at a log: when each event was in it, by this process's clock, seen past all that is tested."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from redis.exceptions import RedisError

from headrace.events.ids import EventId
from headrace.ledger.script import Ledger
from headrace.waiting import stop

LOOK_S = 0.02


class Bystander:
    """`written_s`: when an event was seen in the log for the first time, by `time.monotonic`."""

    def __init__(self, ledger: Ledger, job: str):
        self.written_s: dict[EventId, float] = {}
        self._ledger = ledger
        self._log = f"{ledger.keys.job(job)}:log"

    async def look(self) -> None:
        last = "-"
        while True:
            with contextlib.suppress(RedisError, OSError):
                for id, _ in await self._ledger.client.xrange(self._log, min=last, max="+"):
                    self.written_s.setdefault(EventId.parse(id.decode()), time.monotonic())
                    last = f"({id.decode()}"
            await asyncio.sleep(LOOK_S)


@contextlib.asynccontextmanager
async def bystanding(ledger: Ledger, job: str) -> AsyncIterator[Bystander]:
    bystander = Bystander(ledger, job)
    looking = asyncio.create_task(bystander.look())
    try:
        yield bystander
    finally:
        await stop(looking)
