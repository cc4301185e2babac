"""A job that did not succeed, tried again: a new job with the same body."""

from __future__ import annotations

from contextlib import suppress

from headrace.broker.hints import Hints
from headrace.errors import Expired, InputError, Unknown
from headrace.jobs.job import new_id
from headrace.ledger.script import AWAY, Ledger
from headrace.ledger.state import TERMINAL, JobState
from headrace.ledger.submit import TIMEOUT_MS, TTL_MS, submit


async def retry_job(ledger: Ledger, hints: Hints, job_id: str, *, tenant: str) -> str:
    """Submit a failed, dead or cancelled job again and return the new job's id; its record says `retry_of`.

    Asked for twice it is one new job, until that one has ended without success too: then it is tried in its turn. Raises
    `Unknown`, `InputError` for one that runs or has succeeded, and `Expired` when its body is past its lifetime.
    """
    keys = ledger.keys
    state, home, ttl_ms, timeout_ms, body = await _read(ledger, job_id)
    if state is None:
        raise Unknown(job_id, "never submitted here, or past its retention of 24 h")
    if state not in TERMINAL:
        raise InputError(f"{job_id} is {state}: wait for its end, or cancel it first")
    if state == JobState.SUCCEEDED:
        raise InputError(f"{job_id} has succeeded: its answer is there; for another one, submit it anew")
    if body is None:
        raise Expired(job_id, "it ended, and what it asked is past its lifetime (`ttl_s` of submit)")
    new = new_id("job")
    known = await submit(
        ledger,
        new,
        body,
        queue=home,
        tenant=tenant,
        ttl_ms=ttl_ms,
        timeout_ms=timeout_ms,
        idempotency_key=f"headrace:retry:{job_id}",
        retry_of=job_id,
    )
    if known == new:
        with suppress(*AWAY):  # accepted all the same: `due` publishes the hint
            await hints.publish(ledger.client, [(home, new)])
        return new
    (state,) = await ledger.client.hmget(keys.job(known), ["state"])
    if state is not None and state.decode() in TERMINAL - {JobState.SUCCEEDED}:
        return await retry_job(ledger, hints, known, tenant=tenant)
    return known


async def _read(ledger: Ledger, job_id: str) -> tuple[str | None, str, int, int, bytes | None]:
    record = ledger.keys.job(job_id)
    async with ledger.client.pipeline(transaction=False) as pipeline:
        pipeline.hmget(record, ["state", "home", "ttl", "created", "expires"])
        pipeline.get(f"{record}:body")
        (state, home, ttl, created, expires), body = await pipeline.execute()
    timeout_ms = int(expires) - int(created) if created and expires else TIMEOUT_MS
    return state and state.decode(), (home or b"interactive").decode(), int(ttl or TTL_MS), timeout_ms, body
