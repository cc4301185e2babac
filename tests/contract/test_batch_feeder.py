"""How many shards of a batch wait for workers at a time: enough for as many workers as there are, and no more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from headrace_worker.maintenance.batch_feeder import WINDOW, BatchFeeder

from headrace import AsyncHeadrace
from headrace.ledger.claim import claim
from headrace.ledger.queues import BULK
from headrace.settings import Settings

SHARDS = 60


@pytest.fixture
async def client(valkey_url: str, namespace: str, tmp_path: Path) -> AsyncIterator[AsyncHeadrace]:
    async with AsyncHeadrace(
        valkey_url, settings=Settings(files=str(tmp_path / "files"), namespace=namespace)
    ) as client:
        yield client


@pytest.fixture
async def feeder(client: AsyncHeadrace) -> BatchFeeder:
    process: Any = SimpleNamespace(
        ledger=client.ledger, settings=client.settings, find_store=client.ledger_backend.store, damage=None, name="test"
    )
    return BatchFeeder(process)


async def fed(feeder: BatchFeeder) -> list[str]:
    return [record_id for _, record_id in await feeder.hints() if ".s" in record_id]


async def test_as_many_shards_wait_as_workers_may_take_at_once(client: AsyncHeadrace, feeder: BatchFeeder) -> None:
    await client.extract(
        ({"text": f"{number}"} for number in range(SHARDS * 64)), model="rehearsal/small", schema={"type": "object"}
    )
    first = await fed(feeder)
    assert len(first) == WINDOW
    assert await fed(feeder) == []
    for number, shard in enumerate(first):
        await claim(client.ledger, shard, token=f"t{number}", owner="w", queue=BULK)
    # All of them run: others are there for the next worker, however many run.
    assert len(await fed(feeder)) == WINDOW
    assert await fed(feeder) == []
