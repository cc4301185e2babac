"""Delete file: afterwards no index names it, and its bytes are free."""

from __future__ import annotations

import pytest

from headrace import errors
from headrace.ledger.create_file import create_file
from headrace.ledger.creation import Creation
from headrace.ledger.delete_file import delete_file
from headrace.ledger.script import Ledger


async def test_a_deleted_file_leaves_nothing(ledger: Ledger) -> None:
    await create_file(
        ledger,
        "file-a",
        tenant="default",
        purpose="batch",
        filename="a",
        size=7,
        max_bytes=7,
        creation=Creation("d"),
        expires_s=3600,
    )
    await delete_file(ledger, "file-a")
    keys = ledger.keys
    assert not await ledger.client.exists(keys.file("file-a"), keys.files("default"), keys.expiring)
    assert await ledger.client.get(keys.file_bytes("default")) == b"0"
    with pytest.raises(errors.Unknown):
        await delete_file(ledger, "file-a")
    assert await ledger.client.get(keys.file_bytes("default")) == b"0"
