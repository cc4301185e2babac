"""Close: set the output and error files of a batch, end it, and delete what its shards left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from headrace.ledger.script import Ledger

KEEP_MS = 7 * 24 * 3600 * 1000


class OutputFile(NamedTuple):
    """A file that a batch has made, for its callers: its id, and its size in bytes."""

    id: str
    size: int


async def close(
    ledger: Ledger,
    batch_id: str,
    epoch: int,
    *,
    output: str,
    errors: str,
    unfinished: int,
    left: Sequence[str],
    taken_over: Mapping[str, int] | None = None,
    output_file: OutputFile | None = None,
    error_file: OutputFile | None = None,
) -> bool:
    """End the batch with its two files; `unfinished` items became error lines, `left` are ids of shards without a part.
    `taken_over` counts the rows of an earlier batch that no shard had set yet, by the batch's counters. `output_file` and
    `error_file` are entered as files of the tenant.

    Returns True for the first such call. Raises `Finished` (naming the winner's output) when another join closed it,
    `Fenced`.
    """
    keys = ledger.keys
    batch = keys.batch(batch_id)
    (first,) = await ledger.run(
        "close",
        batch_id,
        {
            "batch": batch,
            "join": keys.join(batch_id),
            "leases": keys.leases,
            "due": keys.due,
            "log": keys.log(batch),
            "parts": keys.parts(batch),
            "held": keys.held,
            "refusals": keys.refused(batch),
            "reasons": keys.reasons(batch),
        },
        {
            "id": batch_id,
            "epoch": epoch,
            "output": output,
            "errors": errors,
            "unfinished": unfinished,
            "prefix": keys.prefix,
            "keep_ms": KEEP_MS,
            "channel": keys.channel(batch),
            "output_file": output_file.id if output_file else "",
            "output_bytes": output_file.size if output_file else 0,
            "error_file": error_file.id if error_file else "",
            "error_bytes": error_file.size if error_file else 0,
            "kept": len(taken_over or {}),
        },
        [*(part for counter in (taken_over or {}).items() for part in counter), *left],
    )
    return first == b"first"
