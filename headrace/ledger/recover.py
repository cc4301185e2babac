"""Recover: queue the records of dead processes again; suspects go into quarantine, or become `dead`."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

from headrace.ledger.due import hints
from headrace.ledger.finish import TOMBSTONE_MS
from headrace.ledger.script import Ledger
from headrace.ledger.submit import GRACE_MS

MAX_CRASHES = 3
"""Consecutive crashes after which a record is a suspect, however many others were in flight beside it."""
MAX_DEATHS_ALONE = 3
"""Crashes of a process with nothing else in flight after which a job or an item is dead."""
MAX_WORKER_CRASHES = 15
"""Crashes of the whole quarantine worker after which a suspect runs alone in it."""
QUARANTINE_CHILDREN = 8
"""Number of groups that suspects are divided into, and that a group is divided into whose process crashed."""
MAX_COMPANY = 32
"""Maximal number of suspects in one process."""
SHARD_WIDTH = 64
"""Maximal number of items of one shard in flight."""
TOGETHER_MS = 1_000
"""Leases of one process that expire within this time of each other belong to one crash (it beats twice a second)."""

MAX_LEASES = 5_000


def process_prefix(role: str, pid: int) -> str:
    """Return the common prefix of a worker process's names in the ledger, for `pid` in this process's own namespace (two
    containers may have the same host name and process ids). Random digits follow, because process ids are reused."""
    space = ""
    with suppress(OSError):
        space = str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]") + "-"
    return f"{role}-{socket.gethostname()}-{space}{pid}-"


async def workers_named(ledger: Ledger, prefix: str) -> list[str]:
    """Return the worker processes in the ledger whose names begin with `prefix`, without their children."""
    names: list[bytes] = await ledger.client.zrange(ledger.keys.processes, 0, -1)
    return [name.decode() for name in names if name.startswith(prefix.encode()) and b"/" not in name]


async def recover(ledger: Ledger, *, limit: int = MAX_LEASES) -> list[tuple[str, str]]:
    """Take back at most `limit` records of processes whose leases have expired. Returns the hints to publish: `(queue,
    record id)`.

    Not to be called within one lease of a restart of the server, or of one's own reconnect: processes that were cut off too
    must have the time to beat.
    """
    return await _recover(ledger, limit=limit)


async def report_end(
    ledger: Ledger, process: str, *, accused: str = "", grace_ms: int = GRACE_MS
) -> list[tuple[str, str]]:
    """Take back the records of `process` (and of its children, `process/…`) at once: the caller saw it end.

    `accused` is the record whose work ended it, if that is known; no other is blamed then. Returns the hints to publish,
    which the leader does after `grace_ms` otherwise. For a process that merely does not answer use `recover`, after its
    leases.
    """
    return await _recover(ledger, ended=process, accused=accused, grace_ms=grace_ms)


async def report_fault(ledger: Ledger, process: str, record_id: str, *, item: str = "") -> list[tuple[str, str]]:
    """Take back one record of a live `process`, whose attempt at it ended in an unexpected error.

    It counts as a crash of this record alone. `item` is the item of a shard whose error it was. Returns the hints to
    publish.
    """
    return await _recover(ledger, ended=process, accused=record_id, only=record_id, item=item)


async def _recover(
    ledger: Ledger,
    *,
    ended: str = "",
    accused: str = "",
    only: str = "",
    item: str = "",
    limit: int = MAX_LEASES,
    grace_ms: int = GRACE_MS,
) -> list[tuple[str, str]]:
    rules = {
        "crashes": MAX_CRASHES,
        "alone": MAX_DEATHS_ALONE,
        "exclusive": MAX_WORKER_CRASHES,
        "children": QUARANTINE_CHILDREN,
        "company": MAX_COMPANY,
        "width": SHARD_WIDTH,
        "together_ms": TOGETHER_MS,
    }
    flat = await ledger.run(
        "recover",
        "recover",
        {"leases": ledger.keys.leases, "due": ledger.keys.due, "processes": ledger.keys.processes},
        {
            "prefix": ledger.keys.prefix,
            "limit": limit,
            "grace_ms": grace_ms,
            "ended": ended,
            "accused": accused,
            "only": only,
            "item": item,
            "keep_ms": TOMBSTONE_MS,
            "result": b'{"code":"worker_lost","message":"its worker died on it three times while it ran alone"}',
            "event": b'{"t":"end","status":"dead","error":{"code":"worker_lost","message":"its worker died on it '
            b'three times while it ran alone","retryable":false}}',
        },
        [part for name, value in rules.items() for part in (name, value)],
    )
    return hints(flat)
