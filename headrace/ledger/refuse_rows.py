"""Refuse rows: rows that fit the schema and that the caller's own type does not take count as failed, `invalid_output`.

Allowed after the close as well: files and rows stay as they are, and whoever reads them asks which lines were refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from headrace.ledger.script import Ledger

MAX_REASONS = 1000
"""Of the lines after these only the refusal is kept: a bit each, so that memory stays flat."""
MAX_REASON_CHARS = 500


async def refuse_rows(ledger: Ledger, batch_id: str, rows: Sequence[tuple[int, str]]) -> int:
    """Refuse the `rows` (line of the input from 0, and why), which have succeeded. Returns how many had not been refused.

    Raises `Unknown`, or `Gap` for a line that the batch has not, and for more lines than have succeeded: nothing has
    changed then.
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
