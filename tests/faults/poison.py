"""A hook for workers: an item whose text says `poison` kills its worker once it was answered. Leases are 3 s here."""

from __future__ import annotations

import os
import signal
from typing import Any

import headrace_worker.engine
import headrace_worker.tend

from headrace.ledger import beat, checkpoint, claim

LEASE_MS = 3_000


def install(_: Any) -> None:
    for move in (claim.claim, beat.beat, checkpoint.checkpoint):
        assert move.__kwdefaults__ is not None
        move.__kwdefaults__["lease_ms"] = LEASE_MS
    headrace_worker.tend.LEASE_MS = LEASE_MS
    ask = headrace_worker.engine.Engine.ask

    async def deadly(self: Any, job: Any, **options: Any) -> Any:
        completion = await ask(self, job, **options)
        if "poison" in job.messages[-1]["content"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return completion

    headrace_worker.engine.Engine.ask = deadly
