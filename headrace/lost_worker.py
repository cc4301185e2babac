"""Whoever started a worker and saw it end says so, and its records are taken back at once, not when their leases run out."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

from headrace.ledger.recover import report_end
from headrace.ledger.script import AWAY, Ledger


def report_lost_worker(redis_url: str, namespace: str, ready_file: Path) -> None:
    """Tell the ledger, in the background, that the process which wrote `ready_file` has ended. Its leases are the fallback."""
    try:
        process = json.loads(ready_file.read_bytes())["process"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    threading.Thread(target=asyncio.run, args=(_report(redis_url, namespace, process),), daemon=True).start()


async def _report(redis_url: str, namespace: str, process: str) -> None:
    ledger = Ledger.at(redis_url, namespace, connections=1)
    try:
        await report_end(ledger, process, grace_ms=0)  # due at once: the leader publishes the hints
    except AWAY:
        pass
    finally:
        await ledger.close()
