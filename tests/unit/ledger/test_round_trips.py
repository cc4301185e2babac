"""How often a read goes to the server: viewers, gateways and the leader make these by the thousand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio.client import Pipeline, Redis

from headrace.jobs.job import new_id
from headrace.ledger import (
    announce,
    batch_record,
    chat_job,
    event_log,
    job_record,
    queued_record,
    row_refusals,
    shard_rows,
    store_name,
)
from headrace.ledger.script import Ledger

JOBS, BATCH = [new_id("job") for _ in range(3)], new_id("batch")
STORE = store_name.StoreName("file:///x", "id")

READS: dict[str, tuple[Callable[[Ledger], Awaitable[Any]], int]] = {
    "job_status": (lambda ledger: job_record.job_status(ledger, JOBS[0]), 1),
    "retryable_job": (lambda ledger: job_record.retryable_job(ledger, JOBS[0]), 1),
    "stands_since": (lambda ledger: job_record.stands_since(ledger, JOBS[0]), 1),
    "hint_counts": (lambda ledger: queued_record.hint_counts(ledger, JOBS), 1),
    "log_tail": (lambda ledger: event_log.log_tail(ledger, ledger.keys.job(JOBS[0])), 1),
    "log_tails": (lambda ledger: event_log.log_tails(ledger, [ledger.keys.job(job) for job in JOBS]), 1),
    "log_entries": (lambda ledger: event_log.log_entries(ledger, ledger.keys.job(JOBS[0]), "-", "+", 9), 1),
    "batch_record": (lambda ledger: batch_record.batch_record(ledger, BATCH), 1),
    "feeding_record": (lambda ledger: batch_record.feeding_record(ledger, BATCH), 1),
    "batch_counters": (lambda ledger: batch_record.batch_counters(ledger, BATCH), 1),
    "part_of_shard": (lambda ledger: batch_record.part_of_shard(ledger, BATCH, 0), 1),
    "rows_in_order": (lambda ledger: shard_rows.rows_in_order(ledger, f"{BATCH}.s0", 0, 256), 1),
    "refused_bits_between": (lambda ledger: row_refusals.refused_bits_between(ledger, BATCH, 0, 31), 1),
    "chat_job": (lambda ledger: chat_job.chat_job(ledger, "default", "c"), 1),
    "announcements": (announce.announcements, 1),
    "agreed_store": (lambda ledger: store_name.agreed_store(ledger, STORE), 2),
    "send": (lambda ledger: ledger.send([("LPUSH", f"{ledger.keys.prefix}celery:x", "a"), ("PING",)]), 1),
}


@pytest.mark.parametrize("name", READS)
async def test_a_read_takes_as_many_round_trips_as_it_says(
    name: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    trips: list[str] = []
    single, many = Redis.execute_command, Pipeline.execute

    def execute_command(self: Any, *arguments: Any, **options: Any) -> Any:
        trips.append(str(arguments[0]))
        return single(self, *arguments, **options)

    def execute(self: Any, *arguments: Any, **options: Any) -> Any:
        trips.append("pipeline")
        return many(self, *arguments, **options)

    monkeypatch.setattr(Redis, "execute_command", execute_command)
    monkeypatch.setattr(Pipeline, "execute", execute)
    read, count = READS[name]
    await read(ledger)
    monkeypatch.undo()
    assert len(trips) == count, trips
    await ledger.client.delete(f"{ledger.keys.prefix}celery:x")
