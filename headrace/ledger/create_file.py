"""Create file: enter an uploaded file, whose content is in the store already. Before this move nobody sees it."""

from __future__ import annotations

from headrace.errors import Damaged
from headrace.ledger.creation import Creation
from headrace.ledger.script import Ledger


async def create_file(
    ledger: Ledger,
    file_id: str,
    *,
    tenant: str,
    purpose: str,
    filename: str,
    size: int,
    max_bytes: int,
    creation: Creation,
    expires_s: int | None = None,
) -> str:
    """Enter the file and return its id, or that of the file that an equal request before has made. `size` is in bytes,
    `expires_s` counts from now.

    Raises `Spill` when the uploaded files of the tenant would have more than `max_bytes` in all, `Conflict` when the key
    was used with another request, and `Busy` as `submit` does.
    """
    keys = ledger.keys
    (known,) = await ledger.run(
        "create_file",
        file_id,
        {
            "record": keys.file(file_id),
            "bytes_held": keys.file_bytes(tenant),
            **creation.keys(keys, tenant),
        },
        {
            "id": file_id,
            "tenant": tenant,
            "prefix": keys.prefix,
            "purpose": purpose,
            "filename": filename,
            "bytes": size,
            "max_bytes": max_bytes,
            "expires_s": "" if expires_s is None else expires_s,
            **creation.arguments(),
        },
    )
    if not known.startswith(b"file-") or not known.isascii():
        raise Damaged(file_id, "what Redis has under its idempotency key is the id of no file")
    return known.decode()
