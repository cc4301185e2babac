"""What cannot be read in one log, or on its channel, is that log's own affair: all the others in the process go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from written_logs import end, holds, ids, running, text

from headrace.errors import Damaged
from headrace.events.ids import EventId
from headrace.events.reader import Reader, Viewer
from headrace.ledger.append import append
from headrace.ledger.script import Ledger


@pytest.fixture
async def ledger(valkey_url: str, namespace: str) -> AsyncIterator[Ledger]:
    ledger = Ledger.at(valkey_url, namespace)
    yield ledger
    await ledger.close()


class Watched:
    """A log that is written, and its viewer, who has caught up with it."""

    def __init__(self, ledger: Ledger, job: str, epoch: int, viewer: Viewer):
        self.ledger, self.job, self.epoch = ledger, job, epoch
        self.viewer = viewer
        self.key = ledger.keys.job(job)

    @classmethod
    async def begin(cls, ledger: Ledger, reader: Reader) -> Watched:
        job, epoch = await running(ledger)
        watched = cls(ledger, job, epoch, await reader.view(ledger.keys.job(job)))
        await watched.viewer.next()
        assert await subscribed(ledger, f"{watched.key}:ch")
        return watched

    async def ends(self) -> None:
        """Its viewer sees every event that is still written."""
        await append(self.ledger, self.job, self.epoch, 2, [text(0), text(1)])
        await end(self.ledger, self.job, self.epoch, 4)
        assert await ids(self.viewer) == [EventId(self.epoch, seq) for seq in (2, 3, 4)]


async def subscribed(ledger: Ledger, channel: str) -> bool:
    async def heard() -> bool:
        return (await ledger.client.pubsub_numsub(channel))[0][1] > 0

    await holds(heard)
    return True


@pytest.mark.parametrize(
    "rubbish", [b"\xff\xfe", b"no id", b"", b"1-1-1 {}", b"99999999999999999-1 {}", b"99999999999999-1 x"]
)
async def test_rubbish_on_a_channel(ledger: Ledger, reader: Reader, rubbish: bytes) -> None:
    one, other = [await Watched.begin(ledger, reader) for _ in range(2)]
    await ledger.client.publish(f"{one.key}:ch", rubbish)
    async with asyncio.timeout(5):
        await other.ends()
        await one.ends()


@pytest.mark.parametrize("damage", ["no hash", "epoch", "state"])
async def test_a_record_that_cannot_be_read(ledger: Ledger, reader: Reader, damage: str) -> None:
    one, other = [await Watched.begin(ledger, reader) for _ in range(2)]
    if damage == "no hash":
        await ledger.client.set(one.key, "x")
    else:
        await ledger.client.hset(one.key, damage, b"\xff")
    async with asyncio.timeout(10):
        with pytest.raises(Damaged):  # the look at its tail, a second later
            await one.viewer.next()
        with pytest.raises(Damaged):
            await reader.view(one.key)
        await other.ends()


@pytest.mark.parametrize("entry", [{"x": "y"}, None])
async def test_a_log_that_cannot_be_read(ledger: Ledger, reader: Reader, entry: dict[str, str] | None) -> None:
    one, other = [await Watched.begin(ledger, reader) for _ in range(2)]
    if entry is None:
        await ledger.client.delete(f"{one.key}:log")
        await ledger.client.set(f"{one.key}:log", "x")
    else:
        await ledger.client.xadd(f"{one.key}:log", entry, id=f"{one.epoch}-2")
    await ledger.client.publish(f"{one.key}:ch", f"{one.epoch}-2")  # a doorbell: read it
    async with asyncio.timeout(10):
        with pytest.raises(Damaged) as failed:
            await one.viewer.next()
        assert "job_" in failed.value.record
        await other.ends()
