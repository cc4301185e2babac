"""Begin batch: the lines of its input are in order, so its shards may be fed."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.ledger.script import Argument, Ledger


async def begin_batch(ledger: Ledger, batch_id: str, epoch: int, *, record: Mapping[str, Argument]) -> bool:
    """Move the batch from `validating` to `in_progress`, under the `epoch` of the check. `record` holds `total`, `shards` and
    what workers need to read its input. Returns True for the first such call.

    Raises `Closed` when it was cancelled meanwhile, `Fenced`, `Unknown`.
    """
    keys = ledger.keys
    batch = keys.batch(batch_id)
    (first,) = await ledger.run(
        "begin_batch",
        batch_id,
        {
            "batch": batch,
            "check": keys.check(batch_id),
            "due": keys.due,
            "leases": keys.leases,
            "open": keys.open,
            "log": keys.log(batch),
        },
        {"id": batch_id, "epoch": epoch, "channel": keys.channel(batch)},
        [part for name, value in record.items() for part in (name, value)],
    )
    return first == b"first"
