"""The place of a batch's shard: its items in the input, and the part that it commits."""

from __future__ import annotations

import msgspec


class ShardRange(msgspec.Struct, frozen=True):
    """Consecutive items: the first one's line (from 0), their number, and the offset of their bytes in the input file."""

    line: int
    count: int
    offset: int
    length: int


def part_file(batch_id: str, number: int | str, part: str) -> str:
    """Return the file of the shard's committed part. The ledger keeps only `part`, the epoch that wrote it: a batch has
    many."""
    return f"{batch_id}/parts/s{number}.{part}.jsonl"
