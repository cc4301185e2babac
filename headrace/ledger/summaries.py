"""Summaries of jobs and batches: for lists, for progress, and for lookups by id."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from headrace.errors import Damaged, Unknown
from headrace.ledger.batch_record import BatchRecord, follow_up, known_batch
from headrace.ledger.damage import DAMAGED, readable
from headrace.ledger.script import Ledger
from headrace.ledger.state import BATCH_TERMINAL

NUMBERS = ("total", "succeeded", "failed", "cancelled", "dead", "input_tokens", "output_tokens")
JOB_FIELDS = ["state", "code", "created", "ended", "n", "retry_of"]
PAGE = 1000
ANSWER_COUNTERS = (
    *("repaired", "coerced", "reasks", "retried", "usage_unknown", "refused", "cached", "cached_tokens"),
    *("unaccounted_calls", "unpriced_calls"),
)
SUMMED_COUNTERS = (
    "input_tokens",
    "output_tokens",
    "repaired",
    "coerced",
    "reasks",
    "retried",
    "usage_unknown",
    "cached",
    "cached_tokens",
    "unaccounted_calls",
    "unpriced_calls",
)
SUMMED_MONEY = ("cost_usd", "saved_usd", "unaccounted_usd", "reserved_usd")
"""Counters of which a batch and the one that asks again for it have the sum."""
MAX_FOLLOW_UPS = 8


class JobSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of a job. `code` is the code of its failure, `attempts` the number of attempts that began."""

    id: str
    state: str
    code: str = ""
    attempts: int = 0
    created_ms: int
    ended_ms: int | None = None
    retry_of: str = ""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot of a batch. `reason` is that of a pause or a cancellation, `waiting` the reason why no call goes out at
    present (a provider's limit).

    Counters of answers: `repaired` were JSON only after a repair, `coerced` matched the schema only after coercion,
    `reasks` calls asked for a better one. `retried` calls repeat a failed one, `codes` counts failures by code. The
    provider's token counts of `usage_unknown` answers are missing or unreadable: the tokens are lower bounds. `refused` of
    the failed rows match the schema, but not the caller's type. `cached` answers were not paid for: each is a call saved, and
    `saved_usd` is what they would have cost. `cached_tokens` of the input the provider had cached, a share of `cached_share`.

    `cost_usd` is what its calls have cost, all of them. Of `unaccounted_calls` the usage never arrived: they cost
    `unaccounted_usd` at most. `unpriced_calls` have no known price. Of `budget_usd` (None: none) `left_usd` is left,
    `reserved_usd` beside it for calls under way.

    When refused rows were asked again, outcomes and state are those of the batch `reasked_as` (a `reask_of` this one), and
    tokens and costs are the sum of both.
    """

    id: str
    state: str
    total: int
    succeeded: int
    failed: int
    cancelled: int
    dead: int
    input_tokens: int
    output_tokens: int
    created_ms: int
    ended_ms: int | None = None
    reason: str = ""
    waiting: str = ""
    model: str = ""
    structured: bool = False
    retry_of: str = ""
    reask_of: str = ""
    repaired: int = 0
    coerced: int = 0
    reasks: int = 0
    retried: int = 0
    usage_unknown: int = 0
    refused: int = 0
    cached: int = 0
    cached_tokens: int = 0
    cached_share: float = 0.0
    cost_usd: float = 0.0
    saved_usd: float = 0.0
    unaccounted_calls: int = 0
    unaccounted_usd: float = 0.0
    unpriced_calls: int = 0
    reserved_usd: float = 0.0
    budget_usd: float | None = None
    left_usd: float | None = None
    reasked_as: str = ""
    codes: dict[str, int] = {}

    @property
    def done(self) -> int:
        return self.succeeded + self.failed + self.cancelled + self.dead

    @property
    def ended(self) -> bool:
        return self.state in BATCH_TERMINAL


async def job(ledger: Ledger, job_id: str) -> JobSummary:
    """Return the job `job_id`. Raises `Unknown`, or `Damaged` for a record that is corrupt."""
    with readable(job_id):
        found = _job(job_id, await ledger.client.hmget(ledger.keys.job(job_id), JOB_FIELDS))
    if found is None:
        raise Unknown(job_id, "never submitted here, or past its retention of 24 h")
    return found


async def jobs(ledger: Ledger, tenant: str, *, limit: int, states: Collection[str] = ()) -> list[JobSummary]:
    """Return the newest `limit` jobs of a tenant, of the last 8 days, newest first; with `states` only those in one of them."""
    found: list[JobSummary] = []
    page, at = limit if not states else PAGE, 0
    while len(found) < limit:
        names = await ledger.client.zrevrange(ledger.keys.jobs(tenant), at, at + page - 1)
        ids = [raw.decode() for raw in names if raw.isascii()]
        async with ledger.client.pipeline(transaction=False) as pipeline:
            for job_id in ids:
                pipeline.hmget(ledger.keys.job(job_id), JOB_FIELDS)
            replies = await pipeline.execute(raise_on_error=False)
        read = [_job_or_damage(job_id, values) for job_id, values in zip(ids, replies, strict=True)]
        found += [each for each in read if each is not None and (not states or each.state in states)]
        at += page
        if len(names) < page or not states:
            break
    return found[:limit]


def _job_or_damage(job_id: str, values: list[bytes | None] | Exception) -> JobSummary | None:
    """Return the job, or one that is listed as `damaged` beside the others when it cannot be read."""
    try:
        with readable(job_id):
            if isinstance(values, Exception):
                raise values
            return _job(job_id, values)
    except Damaged:
        return JobSummary(id=job_id, state=DAMAGED, created_ms=0)


def _job(job_id: str, values: list[bytes | None]) -> JobSummary | None:
    state, code, created, ended, attempts, retry_of = ((value or b"").decode() for value in values)
    if not state:
        return None
    return JobSummary(
        id=job_id,
        state=state,
        code=code,
        attempts=int(attempts or 0),
        created_ms=int(created or 0),
        ended_ms=int(ended) if ended else None,
        retry_of=retry_of,
    )


async def batch(ledger: Ledger, batch_id: str) -> Batch:
    """Return the batch `batch_id`. Raises `Unknown`, or `Damaged` for a record that is corrupt."""
    record = await known_batch(ledger, batch_id)
    with readable(batch_id):
        shown = _batch(record)
    for _ in range(MAX_FOLLOW_UPS):
        if not record.reasked_as:
            break
        try:
            record = await known_batch(ledger, record.reasked_as)
        except Unknown:
            break
        with readable(record.id):
            shown = _followed(shown, _batch(record))
    return msgspec.structs.replace(shown, cached_share=round(shown.cached_tokens / max(1, shown.input_tokens), 4))


def _followed(first: Batch, next: Batch) -> Batch:
    """Return `first` merged with its follow-up, which has all of its rows."""
    paid = {name: getattr(first, name) + getattr(next, name) for name in SUMMED_COUNTERS}
    paid |= {name: round(getattr(first, name) + getattr(next, name), 9) for name in SUMMED_MONEY}
    own = {name: getattr(first, name) for name in ("id", "created_ms", "retry_of", "reask_of")}
    return msgspec.structs.replace(next, reasked_as=next.id, **own, **paid)


async def latest(ledger: Ledger, batch_id: str) -> str:
    """Return the batch that has the rows of `batch_id`: itself, or its last re-ask batch."""
    for _ in range(MAX_FOLLOW_UPS):
        with readable(batch_id):
            name = await follow_up(ledger, batch_id)
        if name is None:
            break
        batch_id = name
    return batch_id


def _batch(record: BatchRecord) -> Batch:
    return Batch(
        id=record.id,
        state=record.state,
        created_ms=record.created_ms,
        ended_ms=record.ended_ms,
        reason=record.reason,
        waiting=record.waiting,
        model=record.model,
        structured=record.structured,
        retry_of=record.retry_of,
        reask_of=record.reask_of,
        reasked_as=record.reasked_as,
        codes=record.codes,
        **{name: record.counter(name) for name in (*NUMBERS, *ANSWER_COUNTERS)},
        cost_usd=record.usd("cost_nano_usd"),
        saved_usd=record.usd("saved_nano_usd"),
        unaccounted_usd=record.usd("unaccounted_nano_usd"),
        reserved_usd=record.usd("reserved_nano_usd"),
        budget_usd=None if record.budget is None else record.budget / 1e9,
        left_usd=left_of(record),
    )


def left_of(record: BatchRecord) -> float | None:
    """Return the USD that a batch has left of its budget, beside what calls under way may cost."""
    if record.budget is None:
        return None
    return max(0, record.budget - record.spent - record.counter("reserved_nano_usd")) / 1e9


async def batches(ledger: Ledger, tenant: str, *, limit: int) -> list[Batch]:
    """Return the newest batches of a tenant, newest first."""
    key, found = ledger.keys.batches(tenant), []
    for raw in await ledger.client.zrevrange(key, 0, limit - 1):
        try:
            found.append(await batch(ledger, raw.decode()))
        except Unknown:
            await ledger.client.zrem(key, raw)
        except (Damaged, UnicodeDecodeError):
            name, numbers = raw.decode("utf-8", "replace"), dict.fromkeys(NUMBERS, 0)
            found.append(Batch(id=name, state=DAMAGED, created_ms=0, **numbers))
    return found
