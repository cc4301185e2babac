"""Finish a shard: one part wins, once every item has a row; the record, the rows and their bytes then go."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import errors
from headrace.ledger.cancel import cancel
from headrace.ledger.checkpoint import CheckpointRow, checkpoint
from headrace.ledger.finish_shard import finish_shard
from headrace.ledger.recover import recover
from headrace.ledger.script import Ledger
from headrace.ledger.seal import seal

ROWS = [CheckpointRow(0, "s", b"a"), CheckpointRow(1, "s", b"b")]


async def test_a_finished_shard_leaves_its_part_and_nothing_else(
    ledger: Ledger, look: Any, batch: str, shard: Any
) -> None:
    await checkpoint(ledger, shard.record_id, shard.epoch, ROWS)
    assert await finish_shard(ledger, shard.record_id, shard.epoch, "part")
    assert await ledger.client.hgetall(f"{ledger.keys.batch(batch)}:parts") == {b"0": b"part"}
    key = ledger.keys.shard(shard.record_id)
    assert await ledger.client.exists(key, f"{key}:res") == 0
    record = await look.record(batch)
    assert [record[name] for name in ("done", "running", "succeeded")] == ["1", "0", "2"]
    assert (await look.held(), await look.leased(), await look.due()) == (0, set(), {f"{batch}.s1"})


async def test_sent_twice_it_is_finished_once(ledger: Ledger, look: Any, shard: Any) -> None:
    await checkpoint(ledger, shard.record_id, shard.epoch, ROWS)
    await finish_shard(ledger, shard.record_id, shard.epoch, "part")
    before = await look.everything()
    assert not await finish_shard(ledger, shard.record_id, shard.epoch, "part")
    assert await look.everything() == before


async def test_an_item_without_a_row_keeps_it_open(ledger: Ledger, look: Any, shard: Any) -> None:
    await checkpoint(ledger, shard.record_id, shard.epoch, ROWS[:1])
    with pytest.raises(errors.Gap) as gap:
        await finish_shard(ledger, shard.record_id, shard.epoch, "part")
    assert gap.value.detail == "1"
    assert await look.state(shard.record_id) == "running"


async def test_the_loser_learns_which_part_won(ledger: Ledger, zombie_shard: Any, look: Any) -> None:
    shard_id, epoch = zombie_shard.record_id, int(await look.field(zombie_shard.record_id, "epoch"))
    await checkpoint(ledger, shard_id, epoch, ROWS)
    await finish_shard(ledger, shard_id, epoch, "winner")
    with pytest.raises(errors.Finished) as finished:
        await finish_shard(ledger, shard_id, zombie_shard.epoch, "loser")
    assert finished.value.detail == "winner"


async def test_a_zombie_cannot_finish_a_shard(ledger: Ledger, look: Any, zombie_shard: Any) -> None:
    epoch = int(await look.field(zombie_shard.record_id, "epoch"))
    await checkpoint(ledger, zombie_shard.record_id, epoch, ROWS)
    before = await look.everything()
    with pytest.raises(errors.Fenced):
        await finish_shard(ledger, zombie_shard.record_id, zombie_shard.epoch, "part")
    assert await look.everything() == before


async def test_a_part_comes_home_after_the_lease(ledger: Ledger, look: Any, batch: str, take: Any) -> None:
    attempt = await take(f"{batch}.s0")
    await checkpoint(ledger, attempt.record_id, attempt.epoch, ROWS, lease_ms=-1)
    await recover(ledger)
    assert await finish_shard(ledger, attempt.record_id, attempt.epoch, "part")
    assert (await look.field(batch, "running"), await look.field(batch, "done")) == ("0", "1")
    assert attempt.record_id not in await look.due()


async def test_while_cancelling_it_may_finish_after_the_seal_it_may_not(ledger: Ledger, batch: str, take: Any) -> None:
    attempts = [await take(f"{batch}.s{number}") for number in range(2)]
    for attempt in attempts:
        await checkpoint(ledger, attempt.record_id, attempt.epoch, ROWS, lease_ms=-1)
    await cancel(ledger, batch)
    assert await finish_shard(ledger, attempts[0].record_id, attempts[0].epoch, "part0")
    await recover(ledger)
    await seal(ledger, batch, queue="bulk")
    with pytest.raises(errors.Closed, match="finalizing"):
        await finish_shard(ledger, attempts[1].record_id, attempts[1].epoch, "part1")


async def test_refuses_unclaimed_and_unknown_shards(ledger: Ledger, batch: str) -> None:
    with pytest.raises(errors.Fenced):
        await finish_shard(ledger, f"{batch}.s0", 0, "part")
    with pytest.raises(errors.Unknown):
        await finish_shard(ledger, f"{batch}.s7", 1, "part")
