"""Reads an event log from a cursor on. (One reader, one connection; it polls nothing: it waits in `XREAD`.)"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from headrace.ledger.script import Ledger

BLOCK_MS = 2_000


async def events(ledger: Ledger, log_key: str, *, after: str = "0") -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """`(id, event)` of every event after the cursor, the `end` last. The id is the cursor to come back with.

    Never ends for a log that is never ended; the caller's own deadline applies.
    """
    while True:
        found = await ledger.client.xread({log_key: after}, count=500, block=BLOCK_MS)
        for _, entries in found or ():
            for raw_id, fields in entries:
                after = raw_id.decode()
                event = msgspec.json.decode(fields[b"d"])
                yield after, event
                if event["t"] == "end":
                    return
