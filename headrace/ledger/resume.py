"""Resume: continue a paused batch. Its waiting shards are due within a second."""

from __future__ import annotations

from headrace.ledger.script import Ledger


async def resume(ledger: Ledger, batch_id: str) -> None:
    """Resume a paused batch. Raises `Closed` or `Unknown`."""
    batch = ledger.keys.batch(batch_id)
    await ledger.run(
        "resume", batch_id, {"batch": batch, "log": ledger.keys.log(batch)}, {"channel": ledger.keys.channel(batch)}
    )
