"""A ledger of each test's own, on Valkey and on fakeredis; afterwards every key left must have a lifetime or be permanent."""

from __future__ import annotations

from collections.abc import AsyncIterator

import fakeredis
import pytest

from headrace.ledger.keys import permanent
from headrace.ledger.script import Ledger

LIVE_UNTIL_THE_END = ("job:", "batch:", "shard:")


@pytest.fixture(params=["valkey", "fakeredis"])
async def ledger(request: pytest.FixtureRequest, valkey_url: str, namespace: str) -> AsyncIterator[Ledger]:
    if request.param == "valkey":
        ledger = Ledger.at(valkey_url, namespace)
    else:
        ledger = Ledger(fakeredis.FakeAsyncRedis(), namespace)
    yield ledger
    await check_lifetimes(ledger)
    await ledger.close()


async def check_lifetimes(ledger: Ledger) -> None:
    """No key may stay for ever by accident: what has ended has a lifetime, the rest is declared permanent or is alive."""
    async for raw in ledger.client.scan_iter(f"{ledger.keys.prefix}:*"):
        key = raw.decode()
        if await ledger.client.pttl(key) >= 0 or permanent(key):
            continue
        name = key.partition("}:")[2]
        record = ledger.keys.prefix + ":" + ":".join(name.split(":")[:2])
        state = await ledger.client.hget(record, "state")
        alive = name.startswith(LIVE_UNTIL_THE_END) and state in {
            b"queued",
            b"running",
            b"parked",
            b"in_progress",
            b"paused",
            b"cancelling",
            b"finalizing",
        }
        # The parts of a batch lie beside it, under the batch's own name.
        assert alive, f"{key} would stay for ever (its record is {state})"
