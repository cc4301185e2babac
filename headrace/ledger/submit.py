"""Submit: create a job. One script writes the record, the body and the due time, so that a caller who dies before its hint
is published costs a delay, not the job."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from headrace.errors import Damaged, Refused
from headrace.ledger.script import Argument, Ledger, ScriptCall
from headrace.ledger.unread import WaitingClient

GRACE_MS = 3_000
TTL_MS = 3600_000  # how long a result stays
TIMEOUT_MS = 24 * 3600_000  # how long a job may take, waits included
IDEMPOTENCY_MS = 24 * 3600 * 1000


async def submit(
    ledger: Ledger,
    job_id: str,
    body: bytes,
    *,
    queue: str,
    tenant: str = "default",
    ttl_ms: int = TTL_MS,
    timeout_ms: int = TIMEOUT_MS,
    idempotency_key: str | None = None,
    retry_of: str = "",
    waiter: WaitingClient | None = None,
    trace: str = "",
) -> str:
    """Write the job and return its id: `job_id`; or the id of the job with this `idempotency_key` in the last 24 h; or of
    one whose answer has not reached whoever asked the same as `waiter`. `retry_of` is the id of the job that it retries,
    `trace` the span within which it is asked (`traceparent`).

    Raises `Conflict` when that key was used with another body, and `Busy` while it is not known whether the gateway at which
    an equal request waits is still there; its detail is the milliseconds after which it will be.
    """
    call = _call(ledger, job_id, body, queue, tenant, ttl_ms, timeout_ms, idempotency_key, retry_of, waiter, trace)
    (known,) = await ledger.run("submit", *call)
    return checked(job_id, known)


def checked(job_id: str, known: bytes) -> str:
    """Return the id that the script gave for `job_id`. Raises `Damaged`."""
    if not known.startswith(b"job_") or not known.isascii():
        raise Damaged(job_id, "what Redis has under its idempotency key is the id of no job")
    return known.decode()


async def submit_many(
    ledger: Ledger,
    jobs: Sequence[tuple[str, bytes]],
    *,
    queue: str,
    tenant: str = "default",
    ttl_ms: int = TTL_MS,
    timeout_ms: int = TIMEOUT_MS,
    waiter: WaitingClient | None = None,
    trace: str = "",
    then: Sequence[Sequence[Argument]] = (),
) -> list[str]:
    """Write `(id, body)` jobs and run the commands `then` (their hints), all in one round trip. Returns and raises for each
    what `submit` does."""
    calls = [
        _call(ledger, job_id, body, queue, tenant, ttl_ms, timeout_ms, None, waiter=waiter, trace=trace)
        for job_id, body in jobs
    ]
    ids: list[str] = []
    for call, outcome in zip(calls, await ledger.run_many("submit", calls, then), strict=True):
        if isinstance(outcome, Refused):
            raise outcome
        ids.append(checked(call.subject, outcome[0]))
    return ids


def _call(
    ledger: Ledger,
    job_id: str,
    body: bytes,
    queue: str,
    tenant: str,
    ttl_ms: int,
    timeout_ms: int,
    idempotency_key: str | None,
    retry_of: str = "",
    waiter: WaitingClient | None = None,
    trace: str = "",
) -> ScriptCall:
    keys = ledger.keys
    gateway, again, asked, keep_ms = waiter or WaitingClient("", False, "")
    return ScriptCall(
        job_id,
        {
            "job": keys.job(job_id),
            "due": keys.due,
            "jobs": keys.jobs(tenant),
            "idem": keys.idempotency(tenant, idempotency_key or ""),
            "unread": keys.unread(tenant, asked),
            "lease": keys.gateway(gateway),
        },
        {
            "id": job_id,
            "tenant": tenant,
            "queue": queue,
            "body": body,
            "sha": sha256(body).hexdigest(),
            "ttl_ms": ttl_ms,
            "timeout_ms": timeout_ms,
            "grace_ms": GRACE_MS,
            "idempotent": int(idempotency_key is not None),
            "idem_ms": IDEMPOTENCY_MS,
            "retry_of": retry_of,
            "gateway": gateway,
            "again": int(again),
            "unread_ms": keep_ms,
            "trace": trace,
        },
    )
