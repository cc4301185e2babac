"""Refuse rows: rows that match the schema but not the caller's own type count as failed, `invalid_output`.

Allowed after the close as well: files and rows are not rewritten; readers apply the bitmap of refused lines.
"""

from __future__ import annotations

from collections.abc import Sequence

from headrace.ledger.script import Ledger

MAX_REASONS = 1000
"""Maximal number of stored reasons per batch; further refusals set their bit alone, so that memory is bounded."""
MAX_REASON_CHARS = 500


async def refuse_rows(ledger: Ledger, batch_id: str, rows: Sequence[tuple[int, str]]) -> int:
    """Refuse the `rows` (line of the input from 0, and the reason), which have succeeded. Returns the number of new
    refusals. Idempotent.

    Raises `Unknown`, or `Gap` for a line beyond the batch, and for more lines than have succeeded: nothing has changed
    then.
    """
    batch = ledger.keys.batch(batch_id)
    (fresh,) = await ledger.run(
        "refuse_rows",
        batch_id,
        {
            "batch": batch,
            "refused": ledger.keys.refused(batch),
            "reasons": ledger.keys.reasons(batch),
            "log": ledger.keys.log(batch),
        },
        {"channel": ledger.keys.channel(batch), "max_reasons": MAX_REASONS},
        [part for line, why in rows for part in (line, why[:MAX_REASON_CHARS].encode(errors="replace"))],
    )
    return int(fresh)
