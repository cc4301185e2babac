"""Overview: how much waits and runs in the ledger, in two round trips whatever its size. What is damaged counts as nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import msgspec

from headrace.ledger.breaker_record import BreakerRecord, breakers_of, listed
from headrace.ledger.keys import batch_of
from headrace.ledger.limit_record import MAX_LISTED, LimitRecord, records_of
from headrace.ledger.script import Ledger
from headrace.ledger.state import JobState

SAMPLE = 200
"""Records of which the state is read; where more wait, or run, they stand for all."""
MAX_BATCHES = 100
TENANT = "default"
MONEY = (
    *("cost_nano_usd", "unaccounted_nano_usd", "reserved_nano_usd", "saved_nano_usd"),
    *("budget_nano_usd", "day_budget_nano_usd"),
)
ITEMS = ("succeeded", "failed", "cancelled", "dead")
OF_BUDGET = ("budget_nano_usd", "cost_nano_usd", "unaccounted_nano_usd", "reserved_nano_usd")


class QueuedHints(msgspec.Struct, frozen=True):
    """The number of hints in a list of the broker's, and the oldest as it stands there."""

    length: int
    oldest: bytes | None


class SpendOverview(msgspec.Struct, frozen=True):
    """Money of the tenant in nano-USD: what answers cost, what calls may have cost whose answers never came, what cached answers
    have saved, and what is left of each budget that is set (`tenant`, `day`), and of those of the open batches together
    (`batches`)."""

    cost: int
    unaccounted: int
    saved: int
    left: dict[str, int]


class LedgerOverview(msgspec.Struct, frozen=True, kw_only=True):
    """The load of a ledger. `records` counts records that have not ended, by kind and state; `items` those of the open
    batches, by state (`left`: without a result). `at_ms` is the server's clock."""

    at_ms: int
    records: dict[tuple[str, str], int]
    open_batches: int
    items: dict[str, int]
    queues: dict[str, QueuedHints]
    limits: list[LimitRecord]
    breakers: list[BreakerRecord]
    spend: SpendOverview
    cache_bytes: int
    set_aside: int


async def ledger_overview(ledger: Ledger, queues: Mapping[str, str]) -> LedgerOverview:
    """Read the overview. `queues` are the keys of the broker's lists, by queue. Raises what the connection raises."""
    keys = ledger.keys
    async with ledger.client.pipeline(transaction=False) as pipeline:
        pipeline.time()
        for key in (keys.due, keys.leases):
            pipeline.zcard(key)
            pipeline.zrandmember(key, SAMPLE)
        pipeline.zcard(keys.open)
        pipeline.zrange(keys.open, 0, MAX_BATCHES - 1)
        pipeline.hgetall(keys.limits)
        pipeline.hget(keys.cache_use, "bytes")
        pipeline.hgetall(keys.rejections)
        pipeline.hgetall(keys.breakers)
        pipeline.hmget(keys.spend(TENANT), MONEY)
        for key in queues.values():
            pipeline.llen(key)
            pipeline.lindex(key, -1)
        (seconds, micros), *replies = await pipeline.execute(raise_on_error=False)
    waiting, waiting_ids, running, running_ids, open, batches, names, cached, rejections, broken, spent, *hints = (
        replies
    )
    waiting_ids, running_ids, batches = texts(waiting_ids), texts(running_ids), texts(batches)
    names = names if isinstance(names, dict) else {}
    day = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
    scopes, breakers = list(names)[:MAX_LISTED], listed(broken)
    async with ledger.client.pipeline(transaction=False) as pipeline:
        for record_id in waiting_ids:
            pipeline.hget(keys.record(record_id), "state")
        for batch_id in batches:
            pipeline.hmget(keys.batch(batch_id), ["total", *ITEMS, *OF_BUDGET])
        for scope in scopes:
            pipeline.hgetall(keys.limit(scope.decode(errors="replace")))
        for scope in breakers:
            pipeline.hget(keys.breaker(scope), "till")
        pipeline.hmget(keys.spend_of_day(TENANT, day), MONEY)
        found = await pipeline.execute(raise_on_error=False)
    answers = iter(found)
    states, counters, limits, tills = (
        list(islice(answers, len(asked))) for asked in (waiting_ids, batches, scopes, breakers)
    )
    at_ms = seconds * 1000 + micros // 1000
    parked = JobState.PARKED.encode()
    waits = Counter(
        (kind_of_record(record_id), JobState.PARKED.value if state == parked else JobState.QUEUED.value)
        for record_id, state in zip(waiting_ids, states, strict=True)
    )
    runs = Counter((kind_of_record(record_id), JobState.RUNNING.value) for record_id in running_ids)
    return LedgerOverview(
        at_ms=at_ms,
        records=scaled(waits, whole(waiting)) | scaled(runs, whole(running)),
        open_batches=whole(open),
        items=items_of(counters),
        queues={
            queue: QueuedHints(whole(length), oldest if isinstance(oldest, bytes) else None)
            for queue, length, oldest in zip(queues, hints[::2], hints[1::2], strict=True)
        },
        limits=records_of(names, dict(zip(scopes, limits, strict=True)), at_ms),
        breakers=breakers_of(breakers, tills, at_ms),
        spend=spend_of(spent, found[-1], counters),
        cache_bytes=whole(cached),
        set_aside=sum(whole(count) for count in rejections.values()) if isinstance(rejections, dict) else 0,
    )


def kind_of_record(record_id: str) -> str:
    """Return `job`, `shard`, `join` or `check`, by the form of an id."""
    if batch_of(record_id) == "-":
        return "job"
    last = record_id.rpartition(".")[2]
    return last if last in ("join", "check") else "shard"


def scaled(sample: Counter[tuple[str, str]], count: int) -> dict[tuple[str, str], int]:
    """Return the numbers of a sample as those of all `count`."""
    drawn = sum(sample.values())
    return {key: round(number * max(1.0, count / drawn)) for key, number in sample.items()}


def spend_of(tenant: Any, day: Any, batches: Sequence[Any]) -> SpendOverview:
    """Return the money in the replies about a tenant, its day, and its open batches. What is reserved for calls under way is not
    left."""
    money, of_day = (
        dict(zip(MONEY, reply, strict=True)) if isinstance(reply, list) else dict.fromkeys(MONEY)
        for reply in (tenant, day)
    )
    left: dict[str, int] = {}
    for name, limit, used in (("tenant", "budget_nano_usd", money), ("day", "day_budget_nano_usd", of_day)):
        if money[limit] is not None:
            left[name] = max(0, whole(money[limit]) - sum(whole(used[each]) for each in MONEY[:3]))
    for reply in batches:
        budget, *used = reply[1 + len(ITEMS) :] if isinstance(reply, list) else [None]
        if budget is not None:
            left["batches"] = left.get("batches", 0) + max(0, whole(budget) - sum(map(whole, used)))
    return SpendOverview(
        whole(money["cost_nano_usd"]), whole(money["unaccounted_nano_usd"]), whole(money["saved_nano_usd"]), left
    )


def items_of(counters: Sequence[Any]) -> dict[str, int]:
    items: dict[str, int] = dict.fromkeys((*ITEMS, "left"), 0)
    for reply in counters:
        total, *ended = map(whole, reply[: 1 + len(ITEMS)] if isinstance(reply, list) else [0] * (1 + len(ITEMS)))
        for name, number in zip(ITEMS, ended, strict=True):
            items[name] += number
        items["left"] += max(0, total - sum(ended))
    return items


def texts(reply: Any) -> list[str]:
    return [name.decode() for name in reply if name.isascii()] if isinstance(reply, list) else []


def whole(reply: Any) -> int:
    """Return a number of the server's, or in a field; 0 for anything else."""
    if isinstance(reply, int):
        return reply
    return int(reply) if isinstance(reply, bytes) and reply.isdigit() and len(reply) < 19 else 0
