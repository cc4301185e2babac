"""Expire: a job that waits, in a queue or parked, ends when its deadline has passed. One that runs is ended by its worker."""

from __future__ import annotations

import msgspec

from headrace.errors import Failure
from headrace.ledger.finish import TOMBSTONE_MS
from headrace.ledger.script import Ledger

FAILURE = Failure("expired", "its deadline (`timeout_s`) passed before there was an answer")
EVENT = b'{"t":"end","status":"failed","error":%s}' % msgspec.json.encode(
    {"code": FAILURE.code, "message": FAILURE.message, "retryable": False}
)


async def expire(ledger: Ledger, job_id: str) -> bool:
    """End the job as failed, code `expired`. Returns True for the first such call.

    Raises `Busy` while it runs or has time left, `Finished` when it ended otherwise, `Unknown`.
    """
    record = ledger.keys.job(job_id)
    (first,) = await ledger.run(
        "expire",
        job_id,
        {
            "job": record,
            "log": ledger.keys.log(record),
            "result_key": ledger.keys.result(record),
            "due": ledger.keys.due,
            "leases": ledger.keys.leases,
        },
        {
            "id": job_id,
            "result": msgspec.json.encode({"error": FAILURE}),
            "event": EVENT,
            "channel": ledger.keys.channel(record),
            "keep_ms": TOMBSTONE_MS,
        },
    )
    return first == b"first"
