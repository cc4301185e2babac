"""Delete file: after it nobody sees the file; its content is removed from the store by the caller, or swept."""

from __future__ import annotations

from headrace.ledger.script import Ledger


async def delete_file(ledger: Ledger, file_id: str) -> None:
    """Delete the record of a file. Raises `Unknown` when there is none: also when it was deleted just now."""
    keys = ledger.keys
    await ledger.run(
        "delete_file",
        file_id,
        {"record": keys.file(file_id), "expiring": keys.expiring},
        {"id": file_id, "prefix": keys.prefix},
    )
