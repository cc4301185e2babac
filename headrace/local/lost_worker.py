"""Report the end of a worker: who started it says so, and its records are taken back at once, not when their leases run out."""

from __future__ import annotations

import asyncio
import threading

from headrace.ledger.recover import process_prefix, report_end, workers_named
from headrace.ledger.script import UNAVAILABLE, Ledger


def report_lost_worker(redis_url: str, namespace: str, role: str, pid: int) -> None:
    """Tell the ledger, in the background, that the worker with this process id has ended. Its leases are the fallback."""
    threading.Thread(target=asyncio.run, args=(_report(redis_url, namespace, role, pid),), daemon=True).start()


async def _report(redis_url: str, namespace: str, role: str, pid: int) -> None:
    ledger = Ledger.at(redis_url, namespace, connections=1)
    try:
        for name in await workers_named(ledger, process_prefix(role, pid)):
            await report_end(ledger, name, grace_ms=0)  # due at once: the leader publishes the hints
    except UNAVAILABLE:
        pass
    finally:
        await ledger.close()
