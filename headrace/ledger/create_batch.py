"""Create batch: a batch over an uploaded file, whose lines a worker checks (`<batch>.check`) before any of them runs."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.errors import Damaged
from headrace.ledger.creation import Creation
from headrace.ledger.open import TEMPLATE_MS
from headrace.ledger.queues import BULK
from headrace.ledger.script import Argument, Ledger
from headrace.ledger.submit import GRACE_MS


async def create_batch(
    ledger: Ledger,
    batch_id: str,
    *,
    template_sha: str,
    template: bytes,
    window_ms: int,
    tenant: str,
    creation: Creation,
    record: Mapping[str, Argument],
) -> str:
    """Write the batch, `validating`, and queue the check of its input; return its id, or that of the batch that an equal
    request before has made. `record` holds what the check needs.

    Raises `Conflict` when the idempotency key was used with another request, and `Busy` as `submit` does.
    """
    keys = ledger.keys
    batch = keys.batch(batch_id)
    (known,) = await ledger.run(
        "create_batch",
        batch_id,
        {
            "batch": batch,
            "check": keys.check(batch_id),
            "template": keys.template(template_sha),
            "log": keys.log(batch),
            "batches": keys.batches(tenant),
            "due": keys.due,
            **creation.keys(keys, tenant),
        },
        {
            "id": batch_id,
            "prefix": keys.prefix,
            "body": template,
            "template_ms": TEMPLATE_MS,
            "window_ms": window_ms,
            "queue": BULK,
            "grace_ms": GRACE_MS,
            "channel": keys.channel(batch),
            **creation.arguments(),
        },
        [part for name, value in record.items() for part in (name, value)],
    )
    if not known.startswith(b"batch_") or not known.isascii():
        raise Damaged(batch_id, "what Redis has under its idempotency key is the id of no batch")
    return known.decode()
