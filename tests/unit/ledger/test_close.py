"""Close: the two files are named, the batch ends, and what its shards left is cleared away."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import errors
from headrace.jobs.job import new_id
from headrace.ledger.cancel import cancel
from headrace.ledger.checkpoint import CheckpointRow, checkpoint
from headrace.ledger.close import KEEP_MS, OutputFile, close
from headrace.ledger.file_record import file_record, unknown_files
from headrace.ledger.recover import recover
from headrace.ledger.release import release
from headrace.ledger.script import Ledger
from headrace.ledger.seal import seal


async def end(ledger: Ledger, batch: str, epoch: int, output: str = "out", **changes: Any) -> bool:
    return await close(
        ledger, batch, epoch, **{"output": output, "errors": "err", "unfinished": 0, "left": [], **changes}
    )


async def test_a_closed_batch_names_its_files_and_has_a_lifetime(
    ledger: Ledger, look: Any, batch: str, join: Any
) -> None:
    assert await end(ledger, batch, join.epoch)
    record = await look.record(batch)
    assert (record["state"], record["output"], record["errors"]) == ("completed", "out", "err")
    assert b'"t":"end","state":"completed"' in (await look.log(batch))[-1][1]
    assert await look.record(join.record_id) == {}
    assert (await look.due(), await look.leased(), await look.held()) == (set(), set(), 0)
    key = ledger.keys.batch(batch)
    for name in (key, f"{key}:log", f"{key}:parts"):
        assert KEEP_MS - 60_000 < await ledger.client.pttl(name) <= KEEP_MS


async def test_every_item_is_counted_in_one_place(ledger: Ledger, look: Any, batch: str, join: Any) -> None:
    await end(ledger, batch, join.epoch)
    record = await look.record(batch)
    assert [record[name] for name in ("succeeded", "failed", "output_tokens")] == ["2", "2", "6"]
    assert record["total"] == "4"


async def test_sent_twice_it_ends_once(ledger: Ledger, look: Any, batch: str, join: Any) -> None:
    assert await end(ledger, batch, join.epoch)
    before = await look.everything()
    assert not await end(ledger, batch, join.epoch)
    assert await look.everything() == before


async def test_the_loser_learns_which_output_won(ledger: Ledger, batch: str, join: Any) -> None:
    await end(ledger, batch, join.epoch, "winner")
    with pytest.raises(errors.Finished) as finished:
        await end(ledger, batch, join.epoch, "loser")
    assert finished.value.detail == "winner"


async def test_clears_what_the_shards_of_a_cancelled_batch_left(
    ledger: Ledger, look: Any, batch: str, shard: Any, take: Any
) -> None:
    await checkpoint(ledger, shard.record_id, shard.epoch, [CheckpointRow(0, "s", b"paid")])
    await cancel(ledger, batch)
    await release(ledger, shard.record_id, shard.epoch, calls="")
    await seal(ledger, batch, queue="bulk")
    join = await take(f"{batch}.join")
    assert await look.held() == 5
    left = [f"{batch}.s0", f"{batch}.s1"]
    assert await end(ledger, batch, join.epoch, unfinished=3, left=left)
    record = await look.record(batch)
    assert [record[name] for name in ("state", "succeeded", "cancelled")] == ["cancelled", "1", "3"]
    assert (await look.held(), await look.due(), await look.leased()) == (0, set(), set())
    for shard_id in left:
        assert await ledger.client.exists(ledger.keys.shard(shard_id), f"{ledger.keys.shard(shard_id)}:res") == 0
    assert not await end(ledger, batch, join.epoch, unfinished=3, left=left)
    assert await look.field(batch, "cancelled") == "3"


async def test_a_join_that_was_replaced_cannot_close(
    ledger: Ledger, look: Any, batch: str, join: Any, take: Any
) -> None:
    await ledger.client.zadd(ledger.keys.leases, {join.record_id: 0})
    await recover(ledger)
    other = await take(join.record_id, token="t2", owner="w2")
    with pytest.raises(errors.Fenced):
        await end(ledger, batch, join.epoch)
    assert await look.state(batch) == "finalizing"
    assert await end(ledger, batch, other.epoch)


async def test_a_join_comes_home_after_its_lease(ledger: Ledger, look: Any, batch: str, join: Any) -> None:
    await ledger.client.zadd(ledger.keys.leases, {join.record_id: 0})
    await recover(ledger)
    assert await end(ledger, batch, join.epoch)
    assert await look.due() == set()


async def test_a_batch_closes_only_after_its_seal_and_by_its_join(
    ledger: Ledger, look: Any, batch: str, take: Any
) -> None:
    with pytest.raises(errors.Unknown):
        await end(ledger, batch, 1)
    with pytest.raises(errors.Unknown):
        await end(ledger, new_id("batch"), 1)
    await cancel(ledger, batch)
    await seal(ledger, batch, queue="bulk")
    with pytest.raises(errors.Fenced):
        await end(ledger, batch, 0)
    assert await look.state(batch) == "finalizing"


async def test_its_files_are_entered_with_its_end_and_by_the_winner_alone(
    ledger: Ledger, batch: str, join: Any
) -> None:
    await ledger.client.hset(ledger.keys.batch(batch), mapping={"tenant": "default", "output_expires_s": 3600})
    words: dict[str, Any] = {"errors": "e", "unfinished": 0, "left": []}
    with pytest.raises(errors.Fenced):
        await close(ledger, batch, join.epoch - 1, output="x", output_file=OutputFile("file-x", 1), **words)
    files = {"output_file": OutputFile("file-a", 5), "error_file": OutputFile("file-b", 6)}
    assert await close(ledger, batch, join.epoch, output="o", **files, **words)
    assert not await close(ledger, batch, join.epoch, output="o", **files, **words)
    found = [await file_record(ledger, name, tenant="default") for name in ("file-a", "file-b")]
    assert [(file.purpose, file.filename, file.bytes) for file in found] == [
        ("batch_output", f"{batch}_output.jsonl", 5),
        ("batch_output", f"{batch}_error.jsonl", 6),
    ]
    assert found[0].expires_ms == found[0].created_ms + 3_600_000
    assert await unknown_files(ledger, ["file-x"]) == ["file-x"]
