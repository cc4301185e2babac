"""Open: create a batch. Its input is committed and indexed already; its shards are fed in steps."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.errors import Damaged
from headrace.ledger.creation import Creation
from headrace.ledger.script import Argument, Ledger

UNREPEATED = Creation("")
TEMPLATE_MS = 31 * 24 * 3600 * 1000


async def open_batch(
    ledger: Ledger,
    batch_id: str,
    *,
    template_sha: str,
    template: bytes,
    window_ms: int,
    tenant: str,
    record: Mapping[str, Argument],
    follows: str | None = None,
    creation: Creation | None = None,
    work: str = "",
    joins: bool = False,
) -> str:
    """Write the batch with its template, and return its id, or that of the batch that an equal request before (`creation`)
    has made. `record` holds `total`, `shards` and what workers need to read its input.

    `work` names the input and what is asked of it: the last batch over the same is found by it (`batch_of_work`).
    With `joins` one that has not ended is returned in place of another.

    A re-ask batch (`follows`) is named in the record of the batch that it follows. Raises `Finished`, whose `detail` is the
    existing follow-up, when that one has one, `Conflict` when the idempotency key was used with
    another request, and `Busy` as `submit` does.
    """
    keys = ledger.keys
    (known,) = await ledger.run(
        "open",
        batch_id,
        {
            "batch": keys.batch(batch_id),
            "open": keys.open,
            "template": keys.template(template_sha),
            "log": keys.log(keys.batch(batch_id)),
            "batches": keys.batches(tenant),
            "work": keys.work(tenant, work or "-"),
            "origin": keys.batch(follows or batch_id),
            **(creation or UNREPEATED).keys(keys, tenant),
        },
        {
            "id": batch_id,
            "body": template,
            "template_ms": TEMPLATE_MS,
            "window_ms": window_ms,
            "channel": keys.channel(keys.batch(batch_id)),
            "prefix": keys.prefix,
            "named": (2 if joins else 1) if work else 0,
            **(creation or UNREPEATED).arguments(),
        },
        [part for name, value in record.items() for part in (name, value)],
    )
    if not known.startswith(b"batch_") or not known.isascii():
        raise Damaged(batch_id, "what Redis has under its idempotency key is the id of no batch")
    return known.decode()
