"""Set aside: a damaged record leaves every index, ends where it can, and costs its neighbours nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headrace.chat.completion import decode_outcome
from headrace.jobs.job import new_id
from headrace.ledger.cancel import cancel
from headrace.ledger.dead_letter import dead_letters
from headrace.ledger.evict_damaged import evict_damaged, evict_expired, readable
from headrace.ledger.recover import recover
from headrace.ledger.script import Ledger
from headrace.ledger.seal import seal
from headrace.ledger.submit import submit

EXPIRED = -1

DAMAGE: dict[str, dict[str, str | None]] = {
    "no kind": {"kind": None},
    "no state": {"state": None},
    "no epoch": {"epoch": "yesterday"},
    "no queue": {"queue": None},
    "hints is no number": {"hints": "many"},
    "crashes is no number": {"crashes": "1e3"},
    "seq is no number": {"seq": "\udcff"},
}


async def damage(ledger: Ledger, record_id: str, fields: dict[str, str | None]) -> None:
    for name, value in fields.items():
        if value is None:
            await ledger.client.hdel(ledger.keys.record(record_id), name)
        else:
            await ledger.client.hset(ledger.keys.record(record_id), name, value.encode("utf-8", "surrogateescape"))


@pytest.mark.parametrize("why", DAMAGE)
async def test_a_damaged_job_ends_and_leaves_the_indexes(ledger: Ledger, look: Any, take: Any, why: str) -> None:
    sound, running, queued = [await submit(ledger, new_id("job"), b"{}", queue="interactive") for _ in range(3)]
    await take(running)
    for bad in (running, queued):
        await damage(ledger, bad, DAMAGE[why])
    assert await evict_damaged(ledger, [sound, running, queued], where="due") == [(running, why), (queued, why)]
    assert (await look.due(), await look.leased()) == ({sound}, set())
    for bad in (running, queued):
        assert (await look.state(bad), await look.field(bad, "code")) == ("failed", "damaged")
        assert [msgspec.json.decode(event)["t"] for _, event in await look.log(bad)] == ["attempt.start", "end"]
        failure = decode_outcome(await ledger.client.get(f"{ledger.keys.job(bad)}:result")).error
        assert failure is not None
        assert failure.code == "damaged"
    assert await look.state(sound) == "queued"
    assert [(each.kind, each.where, each.why) for each in await dead_letters(ledger)] == [("record", "due", why)] * 2
    before = await look.everything()
    assert await evict_damaged(ledger, [sound, running, queued], where="due") == []  # sent twice
    assert await look.everything() == before


async def test_evicts_wrong_types_and_malformed_ids_by_name(ledger: Ledger, look: Any) -> None:
    text, rubbish = new_id("job"), b"job_\xff\xfe"
    await ledger.client.set(ledger.keys.job(text), "x", px=60_000)
    await ledger.client.zadd(ledger.keys.due, {text: 0, rubbish: 0})
    assert await evict_damaged(ledger, [text, rubbish], where="due") == [(text, "no hash"), ("6 bytes", "no id")]
    assert await look.due() == set()
    assert [(each.kind, each.data) for each in await dead_letters(ledger)] == [
        ("name", rubbish),
        ("record", text.encode()),
    ]


async def test_leaves_sound_and_missing_records_alone(ledger: Ledger, look: Any, batch: str, job: str) -> None:
    before = await look.everything()
    assert await evict_damaged(ledger, [job, batch, f"{batch}.s0", new_id("job"), new_id("batch")], where="due") == []
    assert await evict_damaged(ledger, [], where="due") == []
    assert await look.everything() == before


async def test_a_damaged_shard_pauses_its_batch_which_can_be_cancelled(
    ledger: Ledger, look: Any, batch: str, take: Any
) -> None:
    await take(f"{batch}.s0")
    await damage(ledger, f"{batch}.s0", {"kind": None})
    assert await evict_damaged(ledger, [f"{batch}.s0"], where="leases") == [(f"{batch}.s0", "no kind")]
    assert await look.state(batch) == "paused"
    assert "s0 is damaged" in await look.field(batch, "reason")
    await cancel(ledger, batch)
    assert await seal(ledger, batch, queue="bulk") == "bulk"


async def test_a_damaged_batch_ends_and_is_tended_no_more(ledger: Ledger, look: Any, batch: str) -> None:
    await ledger.client.hdel(ledger.keys.batch(batch), "fed")
    assert await evict_damaged(ledger, [batch], where="open") == [(batch, "fed is no number")]
    assert await look.state(batch) == "failed"
    assert await ledger.client.zscore(ledger.keys.open, batch) is None
    assert await ledger.client.pttl(ledger.keys.batch(batch)) > 0
    for number in range(2):
        await ledger.client.delete(ledger.keys.shard(f"{batch}.s{number}"))


async def test_after_a_failed_recovery_the_expired_are_looked_at(ledger: Ledger, look: Any, take: Any) -> None:
    sound, bad = [await submit(ledger, new_id("job"), b"{}", queue="interactive") for _ in range(2)]
    for each in (sound, bad):
        await take(each, lease_ms=EXPIRED)
    await damage(ledger, bad, {"epoch": "x", "crashes": "x"})
    assert await evict_expired(ledger) == [(bad, "no epoch")]
    assert await recover(ledger) == [("quarantine", sound)]


@pytest.mark.parametrize("field", ["", "running"])
async def test_a_shard_of_a_damaged_batch_stops_no_recovery(
    ledger: Ledger, look: Any, batch: str, take: Any, job: str, field: str
) -> None:
    await take(f"{batch}.s0", lease_ms=EXPIRED)
    await take(job, lease_ms=EXPIRED)
    if field:
        await ledger.client.hset(ledger.keys.batch(batch), field, "x")
    else:
        await ledger.client.set(ledger.keys.batch(batch), "no hash")
    assert (f"{batch}.s0", "its batch is damaged") in await evict_expired(ledger)
    await evict_damaged(ledger, [batch], where="open")
    assert await recover(ledger) == [("quarantine", job)]
    for number in range(2):
        await ledger.client.delete(ledger.keys.shard(f"{batch}.s{number}"))
    await ledger.client.delete(ledger.keys.batch(batch), f"{ledger.keys.batch(batch)}:log")


def test_a_name_that_is_no_id_is_not_shown() -> None:
    assert readable(b"batch_1a.s7") == "batch_1a.s7"
    assert readable(b"a b") == "3 bytes"
    assert readable(b"\xff" * 9) == "9 bytes"
    assert readable(b"a" * 200) == "200 bytes"
