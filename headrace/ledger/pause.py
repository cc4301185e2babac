"""Pause: a batch keeps its rows and no shard of it is claimed, for the stored reason."""

from __future__ import annotations

from headrace.ledger.script import Ledger


async def pause(ledger: Ledger, batch_id: str, *, reason: str) -> None:
    """Pause a running batch; it stays paused until `resume`. Raises `Closed` or `Unknown`."""
    batch = ledger.keys.batch(batch_id)
    await ledger.run(
        "pause",
        batch_id,
        {"batch": batch, "log": ledger.keys.log(batch)},
        {"reason": reason, "channel": ledger.keys.channel(batch)},
    )
