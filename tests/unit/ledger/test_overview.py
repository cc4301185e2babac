"""The overview: counts by kind and state, in two round trips whatever there is, and past damage."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from redis.asyncio.client import Pipeline, Redis

from headrace import telemetry
from headrace.broker.hints import Hints
from headrace.broker.queue import queue_key, queue_keys, sent_ms_of
from headrace.instruments.ledger_gauges import LedgerGauges, samples_of
from headrace.jobs.job import new_id
from headrace.ledger import overview as of_ledger
from headrace.ledger.claim import claim
from headrace.ledger.limit_configure import LimitScope, limit_configure
from headrace.ledger.overview import LedgerOverview, ledger_overview
from headrace.ledger.park import park
from headrace.ledger.script import Ledger
from headrace.ledger.set_budget import set_batch_budget, set_tenant_budget
from headrace.ledger.submit import submit


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    sent: list[str] = []
    single, many = Redis.execute_command, Pipeline.execute

    def execute_command(self: Any, *arguments: Any, **options: Any) -> Any:
        sent.append(str(arguments[0]))
        return single(self, *arguments, **options)

    def execute(self: Any, *arguments: Any, **options: Any) -> Any:
        sent.append("pipeline")
        return many(self, *arguments, **options)

    monkeypatch.setattr(Redis, "execute_command", execute_command)
    monkeypatch.setattr(Pipeline, "execute", execute)
    return sent


async def read(ledger: Ledger) -> LedgerOverview:
    return await ledger_overview(ledger, queue_keys(ledger.namespace))


async def submitted(ledger: Ledger, count: int) -> list[str]:
    jobs = [new_id("job") for _ in range(count)]
    for job in jobs:
        await submit(ledger, job, b"{}", queue="interactive")
    return jobs


async def test_counts_what_waits_runs_and_is_parked(ledger: Ledger, trips: list[str]) -> None:
    jobs = await submitted(ledger, 6)
    claimed = [await claim(ledger, job, token=job, owner="w", queue="interactive") for job in jobs[:3]]
    await park(ledger, jobs[0], claimed[0].epoch, delay_ms=60_000, calls="", reason="rate_limited")
    trips.clear()
    overview = await read(ledger)
    assert trips == ["pipeline", "pipeline"]
    assert overview.records == {("job", "parked"): 1, ("job", "queued"): 3, ("job", "running"): 2}
    assert overview.items == dict.fromkeys(("succeeded", "failed", "cancelled", "dead", "left"), 0)


async def test_many_records_are_estimated_from_a_sample_in_as_many_trips(
    ledger: Ledger, trips: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_ledger, "SAMPLE", 10)
    await submitted(ledger, 37)
    trips.clear()
    assert (await read(ledger)).records == {("job", "queued"): 37}
    assert trips == ["pipeline", "pipeline"]


async def test_the_oldest_hint_says_how_long_it_has_waited(ledger: Ledger) -> None:
    hints = Hints(ledger.namespace)
    await hints.publish(ledger, [("interactive", "job_a"), ("bulk", "batch_a.s1")])
    await hints.publish(ledger, [("interactive", "job_b")])
    overview = await read(ledger)
    assert {queue: load.length for queue, load in overview.queues.items()} == {
        "interactive": 2,
        "bulk": 1,
        "quarantine": 0,
    }
    oldest = overview.queues["interactive"].oldest
    assert oldest is not None
    assert b"job_a" in oldest
    sent_ms = sent_ms_of(oldest)
    assert sent_ms is not None
    assert abs(sent_ms - time.time() * 1000) < 60_000
    ages = samples_of(overview)[telemetry.QUEUE_AGE]
    assert ages["quarantine",] == 0
    assert 0 <= ages["interactive",] < 60
    await ledger.client.delete(*queue_keys(ledger.namespace).values())


async def test_what_is_no_hint_of_ours_has_no_age(ledger: Ledger) -> None:
    for message in (
        b"",
        b"{",
        b"[]",
        b'{"headers": {}}',
        b'{"headers": {"sent_ms": "-1"}}',
        b"\xff",
        None,
        b'{"headers": 1}',
    ):
        assert sent_ms_of(message) is None
    await ledger.client.lpush(queue_key(ledger.namespace, "bulk"), b"garbage")
    assert samples_of(await read(ledger))[telemetry.QUEUE_AGE]["bulk",] == 0
    await ledger.client.delete(queue_key(ledger.namespace, "bulk"))


async def test_limits_are_shown_as_they_hold(ledger: Ledger) -> None:
    await limit_configure(ledger, "p", [LimitScope("openai.0", "openai", requests=60, tokens=0, in_flight=4)])
    samples = samples_of(await read(ledger))
    assert samples[telemetry.LIMITS] == {("openai", "requests"): 60, ("openai", "in_flight"): 4}
    assert samples[telemetry.LIMIT_USED] == {("openai", "requests"): 0, ("openai", "in_flight"): 0}
    assert samples[telemetry.HOLD_SECONDS] == {("openai",): 0}


async def test_damaged_keys_count_as_nothing(ledger: Ledger) -> None:
    keys = ledger.keys
    damaged = [keys.due, keys.open, keys.limits, keys.cache_use, keys.rejections, keys.leases]
    for key in damaged:
        await ledger.client.set(key, b"damaged")
    overview = await read(ledger)
    assert (overview.records, overview.open_batches, overview.limits, overview.cache_bytes) == ({}, 0, [], 0)
    await ledger.client.delete(*damaged)


async def test_a_crowd_of_scrapes_reads_once(ledger: Ledger, trips: list[str]) -> None:
    now = [0.0]
    gauges = LedgerGauges(ledger, clock=lambda: now[0])
    for _ in range(5):
        assert (await gauges.samples())[telemetry.LEDGER_UP] == {(): 1.0}
    assert trips == ["pipeline", "pipeline"]
    now[0] = 1.5
    await gauges.samples()
    assert len(trips) == 4


async def test_a_ledger_that_is_away_is_told_as_such() -> None:
    away = Ledger.at("redis://127.0.0.1:1", retries=0)
    assert await LedgerGauges(away).samples() == {telemetry.LEDGER_UP: {(): 0.0}}
    await away.close()


async def test_what_is_left_of_batches_budgets_is_told_together(ledger: Ledger, batch: str) -> None:
    assert (await read(ledger)).spend.left == {}
    await set_batch_budget(ledger, batch, 2_000_000_000)
    used = {"cost_nano_usd": 500_000_000, "unaccounted_nano_usd": 100_000_000, "reserved_nano_usd": 400_000_000}
    await ledger.client.hset(ledger.keys.batch(batch), mapping=used)
    overview = await read(ledger)
    assert samples_of(overview)[telemetry.BUDGET_LEFT] == {("batches",): 1.0}
    assert overview.items["left"] > 0


async def test_money_is_told_as_spent_saved_and_left(ledger: Ledger) -> None:
    assert (await read(ledger)).spend.left == {}, "no budget is set"
    await set_tenant_budget(ledger, "default", 5_000_000_000, of_day=False)
    await set_tenant_budget(ledger, "default", 1_000_000_000, of_day=True)
    seconds, _ = await ledger.client.time()
    day = ledger.keys.spend_of_day("default", datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d"))
    counted = {"cost_nano_usd": 700_000_000, "unaccounted_nano_usd": 100_000_000, "reserved_nano_usd": 50_000_000}
    await ledger.client.hset(ledger.keys.spend("default"), mapping=counted | {"saved_nano_usd": 30_000_000})
    await ledger.client.hset(day, mapping=counted)
    samples = samples_of(await read(ledger))
    assert samples[telemetry.SPENT] == {("answers",): 0.7, ("unaccounted",): 0.1}
    assert samples[telemetry.SAVED_MONEY] == {(): 0.03}
    assert samples[telemetry.BUDGET_LEFT] == {("tenant",): 4.15, ("day",): 0.15}
    await ledger.client.hset(day, "cost_nano_usd", 9_000_000_000)
    assert samples_of(await read(ledger))[telemetry.BUDGET_LEFT]["day",] == 0
    await ledger.client.delete(day)
