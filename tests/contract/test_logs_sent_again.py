"""A log whose end the server lost, and whose writer sends it again while a viewer reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from written_logs import end, ids, running, text

from headrace.events.log_buffer import Tail
from headrace.events.reader import Reader
from headrace.ledger.append import append
from headrace.ledger.script import Ledger
from headrace.local.valkey import EmbeddedServer


@pytest.fixture
async def ledger(own_valkey: Callable[..., EmbeddedServer], namespace: str) -> AsyncIterator[Ledger]:
    ledger = Ledger.at(own_valkey().url, namespace)
    yield ledger
    await ledger.close()


async def lose_all_but_the_first(ledger: Ledger, record: str) -> None:
    (first, fields), *_ = await ledger.client.xrange(f"{record}:log")
    await ledger.client.delete(f"{record}:log")
    await ledger.client.xadd(f"{record}:log", fields, id=first)
    await ledger.client.hset(record, "seq", 1)


async def test_what_is_sent_again_together_with_the_end_is_not_gone(
    ledger: Ledger, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, epoch = await running(ledger)
    record = ledger.keys.job(job_id)
    events = [text(0), text(1)]
    await append(ledger, job_id, epoch, 2, events)
    viewer = await reader.view(record)
    async with asyncio.timeout(10):
        first = (await viewer.next())[0]
    viewer.cursor = first.id  # it has shown one
    buffer = viewer._buffer
    buffer.drop_ring()
    await lose_all_but_the_first(ledger, record)
    look = buffer.tail

    async def looked_a_little_later() -> Tail | None:
        monkeypatch.setattr(buffer, "tail", look)
        await append(ledger, job_id, epoch, 2, events)
        await end(ledger, job_id, epoch, 4)
        return await look()

    monkeypatch.setattr(buffer, "tail", looked_a_little_later)
    async with asyncio.timeout(10):
        assert [id.seq for id in await ids(viewer)] == [2, 3, 4]
