"""Open: create a batch. Its input is committed and indexed already; its shards are fed in steps."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.ledger.script import Argument, Ledger

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
) -> None:
    """Write the batch with its template. `record` holds `total`, `shards` and what workers need to read its input.

    A re-ask batch (`follows`) is named in the record of the batch that it follows. Raises `Finished`, whose `detail` is the
    existing follow-up, when that one has one.
    """
    keys = ledger.keys
    await ledger.run(
        "open",
        batch_id,
        {
            "batch": keys.batch(batch_id),
            "open": keys.open,
            "template": keys.template(template_sha),
            "log": keys.log(keys.batch(batch_id)),
            "batches": keys.batches(tenant),
            "origin": keys.batch(follows or batch_id),
        },
        {
            "id": batch_id,
            "body": template,
            "template_ms": TEMPLATE_MS,
            "window_ms": window_ms,
            "channel": keys.channel(keys.batch(batch_id)),
        },
        [part for name, value in record.items() for part in (name, value)],
    )
