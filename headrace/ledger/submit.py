"""Submit: a job comes into being. One script writes the record, the body and the due time, so a caller that dies before
its hint is published loses seconds, not the job."""

from __future__ import annotations

from hashlib import sha256

from headrace.ledger.script import Ledger

GRACE_MS = 3_000
IDEMPOTENCY_MS = 24 * 3600 * 1000


async def submit(
    ledger: Ledger,
    job_id: str,
    body: bytes,
    *,
    queue: str,
    tenant: str = "default",
    ttl_ms: int = 3600_000,
    idempotency_key: str | None = None,
) -> str:
    """Write the job and return its id: `job_id`, or the id of the job that `idempotency_key` made in the last 24 h.

    Raises `Conflict` when that key was used with another body.
    """
    keys = ledger.keys
    (known,) = await ledger.run(
        "submit",
        job_id,
        {
            "job": keys.job(job_id),
            "due": keys.due,
            "jobs": keys.jobs(tenant),
            "idem": keys.idempotency(tenant, idempotency_key or ""),
        },
        {
            "id": job_id,
            "tenant": tenant,
            "queue": queue,
            "body": body,
            "sha": sha256(body).hexdigest(),
            "ttl_ms": ttl_ms,
            "grace_ms": GRACE_MS,
            "idempotent": int(idempotency_key is not None),
            "idem_ms": IDEMPOTENCY_MS,
        },
    )
    return known.decode()
