"""The stored bytes of the events that the ledger writes itself: logs outlive the release that wrote them."""

from __future__ import annotations

import re
from typing import Any

from headrace.events.types import AttemptStart, End, decode_batch_event, decode_job_event, encode
from headrace.jobs.job import new_id
from headrace.ledger.cancel import cancel
from headrace.ledger.checkpoint import CheckpointRow, checkpoint
from headrace.ledger.close import close
from headrace.ledger.evict_damaged import evict_damaged
from headrace.ledger.pause import pause
from headrace.ledger.script import Ledger
from headrace.ledger.submit import submit


def canonical(event: bytes) -> bool:
    return encode(decode_batch_event(event)) == event


def lines(log: list[tuple[str, bytes]]) -> list[bytes]:
    """The events, at time 0."""
    return [re.sub(rb'"at":[0-9]{13},', b'"at":0,', event) for _, event in log]


async def test_progress_and_states_are_written_with_the_same_bytes(
    ledger: Ledger, look: Any, batch: str, shard: Any
) -> None:
    await ledger.client.hset(ledger.keys.batch(batch), mapping={"reported": 0, "waiting": "openai says wait 20 s"})
    await checkpoint(ledger, shard.record_id, shard.epoch, [CheckpointRow(0, "f", b"row", {"output_tokens": 2})])
    await ledger.client.hdel(ledger.keys.batch(batch), "waiting")
    await pause(ledger, batch, reason='no "room"')
    assert all(canonical(event) for _, event in await look.log(batch))
    assert lines(await look.log(batch))[-2:] == [
        b'{"t":"batch.progress","state":"in_progress","at":0,"total":4,"succeeded":0,"failed":1,"cancelled":0,"dead":0,'
        b'"input_tokens":0,"output_tokens":2,"waiting":"openai says wait 20 s"}',
        b'{"t":"batch.state","state":"paused","at":0,"total":4,"succeeded":0,"failed":1,"cancelled":0,"dead":0,'
        b'"input_tokens":0,"output_tokens":2,"reason":"no \\"room\\""}',
    ]


async def test_money_and_repeated_calls_are_written_where_there_are_some(
    ledger: Ledger, look: Any, batch: str, shard: Any
) -> None:
    counters = {"cost_nano_usd": 12, "retried": 1, "cached": 2}
    await ledger.client.hset(ledger.keys.batch(batch), mapping=counters)
    await pause(ledger, batch, reason="r")
    assert all(canonical(event) for _, event in await look.log(batch))
    assert lines(await look.log(batch))[-1].endswith(b'"reason":"r","cost_nano_usd":12,"retried":1,"cached":2}')


async def test_its_end_is_written_with_the_same_bytes(ledger: Ledger, look: Any, batch: str, join: Any) -> None:
    await close(ledger, batch, join.epoch, output="out", errors="err", unfinished=0, left=[])
    assert all(canonical(event) for _, event in await look.log(batch))
    first, *_, end = lines(await look.log(batch))
    assert first == (
        b'{"t":"batch.state","state":"in_progress","at":0,"total":4,"succeeded":0,"failed":0,"cancelled":0,"dead":0,'
        b'"input_tokens":0,"output_tokens":0}'
    )
    assert end == (
        b'{"t":"end","state":"completed","at":0,"total":4,"succeeded":2,"failed":2,"cancelled":0,"dead":0,'
        b'"input_tokens":0,"output_tokens":6}'
    )


async def test_events_of_the_ledger_equal_their_types_encoding(ledger: Ledger, look: Any, job: str, take: Any) -> None:
    damaged = await submit(ledger, new_id("job"), b"{}", queue="interactive")
    await take(damaged)
    await ledger.client.hset(ledger.keys.job(damaged), "epoch", "x")
    await evict_damaged(ledger, [damaged], where="due")
    await cancel(ledger, job)
    events = [event for record_id in (job, damaged) for _, event in await look.log(record_id)]
    assert [type(decode_job_event(event)) for event in events] == [AttemptStart, End] * 2
    assert all(encode(decode_job_event(event)) == event for event in events)
