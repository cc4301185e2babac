"""The metrics that are read from the ledger, for whoever is asked: two round trips, and for a second no other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from headrace import telemetry
from headrace.broker.queue import queue_keys, sent_ms_of
from headrace.instruments.exposition import Samples
from headrace.instruments.meter import Labels
from headrace.ledger.limit_record import LimitRecord
from headrace.ledger.overview import LedgerOverview, ledger_overview
from headrace.ledger.script import UNAVAILABLE, Ledger
from headrace.telemetry import Metric

KEPT_S = 1.0
"""How long a reading is given to all who ask: scrapes in a crowd cost the ledger as much as one."""
ANSWER_S = 2.0
NANO = 1_000_000_000


class LedgerGauges:
    """The readings of one process."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float] = time.monotonic):
        self._ledger = ledger
        self._clock = clock
        self._read_s = float("-inf")
        self._samples: Samples = {}
        self._reading: asyncio.Task[Samples] | None = None

    async def samples(self) -> Samples:
        """Return the numbers, a second old at most. While the ledger does not answer there are none, and `LEDGER_UP` is 0."""
        if self._clock() - self._read_s < KEPT_S:
            return self._samples
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        return await asyncio.shield(self._reading)

    async def _read(self) -> Samples:
        try:
            async with asyncio.timeout(ANSWER_S):
                overview = await ledger_overview(self._ledger, queue_keys(self._ledger.namespace))
            self._samples = {telemetry.LEDGER_UP: {(): 1.0}} | samples_of(overview)
        except (TimeoutError, *UNAVAILABLE):
            self._samples = {telemetry.LEDGER_UP: {(): 0.0}}
        finally:
            self._reading = None
        self._read_s = self._clock()
        return self._samples


def samples_of(overview: LedgerOverview) -> dict[Metric, dict[Labels, float]]:
    """Return the overview of a ledger as metrics."""
    ages: dict[Labels, float] = {}
    for queue, hints in overview.queues.items():
        sent_ms = sent_ms_of(hints.oldest)
        ages[queue,] = 0.0 if sent_ms is None else max(0.0, (overview.at_ms - sent_ms) / 1000)
    return {
        telemetry.QUEUE_LENGTH: {(queue,): hints.length for queue, hints in overview.queues.items()},
        telemetry.QUEUE_AGE: ages,
        telemetry.RECORDS: dict(sorted(overview.records.items())),
        telemetry.OPEN_BATCHES: {(): overview.open_batches},
        telemetry.BATCH_ITEMS: {(state,): count for state, count in overview.items.items()},
        telemetry.LIMITS: {
            (record.name, kind): limit for record in overview.limits for kind, limit in effective(record).items()
        },
        telemetry.LIMIT_USED: {
            (record.name, kind): getattr(record, kind) for record in overview.limits for kind in effective(record)
        },
        telemetry.HOLD_SECONDS: {(record.name,): record.held_s for record in overview.limits},
        telemetry.BREAKER_OPEN: {(record.name,): 1.0 if record.wait_ms else 0.5 for record in overview.breakers},
        telemetry.SPENT: {("answers",): usd(overview.spend.cost), ("unaccounted",): usd(overview.spend.unaccounted)},
        telemetry.SAVED_MONEY: {(): usd(overview.spend.saved)},
        telemetry.BUDGET_LEFT: {(budget,): usd(left) for budget, left in overview.spend.left.items()},
        telemetry.CACHE_BYTES: {(): overview.cache_bytes},
        telemetry.SET_ASIDE: {(): overview.set_aside},
    }


def usd(nano: int) -> float:
    return nano / NANO


def effective(record: LimitRecord) -> dict[str, int]:
    """Return the limits that hold: of what is configured and learnt the stricter."""
    kinds = record.configured.keys() | record.learnt.keys()
    return {
        kind: min(each[kind] for each in (record.configured, record.learnt) if kind in each) for kind in sorted(kinds)
    }
