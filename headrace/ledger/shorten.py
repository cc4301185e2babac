"""Shorten: what an ended job has left (its result, its log, its body) goes earlier; its record stays."""

from __future__ import annotations

from headrace.ledger.script import Ledger


async def shorten(ledger: Ledger, job_id: str, *, ttl_ms: int) -> None:
    """Let what the job leaves behind live for `ttl_ms` milliseconds from now, or from its end if that is still to come; never
    longer than before. Idempotent. Raises `Unknown`."""
    keys = ledger.keys
    job = keys.job(job_id)
    await ledger.run(
        "shorten",
        job_id,
        {"job": job, "log": keys.log(job), "body": keys.body(job), "result": keys.result(job)},
        {"ttl_ms": ttl_ms},
    )
