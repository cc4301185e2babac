"""The record of a job, for the processes that work with it: one function per question, decoded here. The summaries that
users see are in `summaries`.

Where nothing else is said, a function raises `ValueError` for a field that is no number or not UTF-8, and Redis's error for
a key that is no hash.
"""

from __future__ import annotations

import msgspec

from headrace.ledger.queues import INTERACTIVE
from headrace.ledger.script import Ledger
from headrace.ledger.state import JobState
from headrace.ledger.submit import TIMEOUT_MS, TTL_MS


class JobStatus(msgspec.Struct, frozen=True):
    """The state of a job, the number of its attempts, and when it came and ended (ms of the server's clock). `code` is that
    of its failure, `retry_of` the job that it retries; empty for none."""

    state: JobState
    attempts: int
    created_ms: int
    ended_ms: int | None
    code: str
    retry_of: str


class RetryableJob(msgspec.Struct, frozen=True):
    """The parts of an ended job that a new job takes over: its queue, its lifetimes, and its body, None when that is
    past its own."""

    state: str
    home: str
    ttl_ms: int
    timeout_ms: int
    body: bytes | None


async def job_state(ledger: Ledger, job_id: str) -> str | None:
    """Return the state of a job; None when there is no record of it."""
    state = await ledger.client.hget(ledger.keys.job(job_id), "state")
    return None if state is None else state.decode()


async def job_status(ledger: Ledger, job_id: str) -> JobStatus | None:
    """Return the state, the times and the attempts of a job; None when there is no record of it."""
    state, attempts, created, ended, code, retry_of = await ledger.client.hmget(
        ledger.keys.job(job_id), ["state", "n", "created", "ended", "code", "retry_of"]
    )
    if state is None:
        return None
    return JobStatus(
        JobState(state.decode()),
        int(attempts or 0),
        int(created or 0),
        int(ended) if ended else None,
        (code or b"").decode(),
        (retry_of or b"").decode(),
    )


async def job_body(ledger: Ledger, job_id: str) -> bytes | None:
    """Return the encoded request of a job; None once it has ended."""
    return await ledger.client.hget(ledger.keys.job(job_id), "body")


async def job_result(ledger: Ledger, job_id: str) -> bytes | None:
    """Return the encoded outcome of a job; None before its end, and when it is past its lifetime."""
    return await ledger.client.get(ledger.keys.result(ledger.keys.job(job_id)))


async def job_end(ledger: Ledger, job_id: str) -> tuple[int | None, bytes | None]:
    """Return when a job ended (ms; None when that is not known), and its encoded outcome as `job_result` does. One round trip."""
    record = ledger.keys.job(job_id)
    async with ledger.client.pipeline(transaction=False) as pipeline:
        pipeline.hget(record, "ended")
        pipeline.get(ledger.keys.result(record))
        ended, result = await pipeline.execute()
    return int(ended) if ended else None, result


async def stands_since(ledger: Ledger, job_id: str) -> tuple[JobState, int] | None:
    """Return `(state, since)` of a job that is queued or running: since when it waits, or since its lease ended (ms; in the
    future while its worker beats). None in any other state."""
    state, created, lease = await ledger.client.hmget(ledger.keys.job(job_id), ["state", "created", "lease"])
    since = {b"queued": created, b"running": lease}.get(state)
    return None if since is None else (JobState(state.decode()), int(since))


async def retryable_job(ledger: Ledger, job_id: str) -> RetryableJob | None:
    """Return the parts of a job that a retry takes over; None when there is no record of it. One round trip."""
    record = ledger.keys.job(job_id)
    async with ledger.client.pipeline(transaction=False) as pipeline:
        pipeline.hmget(record, ["state", "home", "ttl", "created", "expires"])
        pipeline.get(ledger.keys.body(record))
        (state, home, ttl, created, expires), body = await pipeline.execute()
    timeout_ms = int(expires) - int(created) if created and expires else TIMEOUT_MS
    if state is None:
        return None
    return RetryableJob(state.decode(), (home or INTERACTIVE.encode()).decode(), int(ttl or TTL_MS), timeout_ms, body)
