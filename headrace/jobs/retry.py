"""Retry of a job that did not succeed: a new job with the same body."""

from __future__ import annotations

from contextlib import suppress

from headrace.broker.hints import Hints
from headrace.errors import Expired, InputError, Unknown
from headrace.instruments.trace_context import current_traceparent
from headrace.jobs.job import new_id
from headrace.ledger.job_record import job_state, retryable_job
from headrace.ledger.script import UNAVAILABLE, Ledger
from headrace.ledger.state import TERMINAL, JobState
from headrace.ledger.submit import submit


async def retry_job(ledger: Ledger, hints: Hints, job_id: str, *, tenant: str) -> str:
    """Submit a failed, dead or cancelled job again and return the new job's id; its record has `retry_of`.

    Idempotent: a second retry returns the same new job, until that one has ended without success; then that one is retried.
    Raises `Unknown`, `InputError` for a job that runs or has succeeded, and `Expired` when its body is past its lifetime.
    """
    old = await retryable_job(ledger, job_id)
    if old is None:
        raise Unknown(job_id, "never submitted here, or past its retention of 24 h")
    if old.state not in TERMINAL:
        raise InputError(f"{job_id} is {old.state}: wait for its end, or cancel it first")
    if old.state == JobState.SUCCEEDED:
        raise InputError(f"{job_id} has succeeded: its answer is there; for another one, submit it anew")
    if old.body is None:
        raise Expired(job_id, "it ended, and what it asked is past its lifetime (`ttl_s` of submit)")
    new = new_id("job")
    known = await submit(
        ledger,
        new,
        old.body,
        queue=old.home,
        tenant=tenant,
        ttl_ms=old.ttl_ms,
        timeout_ms=old.timeout_ms,
        idempotency_key=f"headrace:retry:{job_id}",
        retry_of=job_id,
        trace=current_traceparent(),
    )
    if known == new:
        with suppress(*UNAVAILABLE):  # accepted all the same: `due` publishes the hint
            await hints.publish(ledger, [(old.home, new)])
        return new
    if await job_state(ledger, known) in TERMINAL - {JobState.SUCCEEDED}:
        return await retry_job(ledger, hints, known, tenant=tenant)
    return known
