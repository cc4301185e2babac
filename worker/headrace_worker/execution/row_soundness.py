"""The soundness of rows that come back from Redis: one that cannot be written into the output becomes a failure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from headrace.batches.outputs.output_lines import error_line
from headrace.batches.row_codec import is_row
from headrace.batches.template import Item
from headrace.errors import Failure
from headrace.logs import get_logger

log = get_logger("headrace.worker.execution.row_soundness")


def sound_rows(
    rows: Mapping[int, bytes], items: Sequence[Item], shard_id: str, first_line: int, request_id: Callable[[int], str]
) -> dict[int, bytes]:
    """Return the rows of these items; one that cannot be written into the output has become the row of a failure."""
    sound: dict[int, bytes] = {}
    for index, row in rows.items():
        if 0 <= index < len(items) and not is_row(row):
            log.error("a damaged row became a failure", record=shard_id, line=first_line + index)
            failure = Failure("damaged", "its row in Redis cannot be read")
            row = b"f" + error_line(items[index].custom_id, request_id(index), failure)
        if 0 <= index < len(items):
            sound[index] = row
    return sound
