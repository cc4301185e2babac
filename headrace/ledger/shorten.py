"""Shorten: what an ended job has left (its result, its log, its body) goes earlier; its record stays."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.ledger.script import Ledger, ScriptCall


async def shorten(ledger: Ledger, job_id: str, *, ttl_ms: int) -> None:
    """Let what the job leaves behind live for `ttl_ms` milliseconds from now, or from its end if that is still to come; never
    longer than before. Idempotent. Raises `Unknown`."""
    await ledger.run("shorten", *_call(ledger, job_id, ttl_ms))


async def shorten_many(ledger: Ledger, job_ids: Sequence[str], *, ttl_ms: int) -> None:
    """Do as `shorten` does for each of the jobs, in one round trip. Those that are not known are passed over."""
    await ledger.run_group("shorten", [_call(ledger, job_id, ttl_ms) for job_id in job_ids])


def _call(ledger: Ledger, job_id: str, ttl_ms: int) -> ScriptCall:
    job = ledger.keys.job(job_id)
    keys = {"log": ledger.keys.log(job), "body": ledger.keys.body(job), "result": ledger.keys.result(job)}
    return ScriptCall(job_id, {"job": job, **keys}, {"ttl_ms": ttl_ms})
