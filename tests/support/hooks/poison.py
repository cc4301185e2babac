"""A hook for workers: an item whose text says `poison` kills its worker once it was answered, one that says `plague` the whole
process group, one that says `venom` raises an error that nobody expects, one that says `exit` asks its
process to end. Leases are 3 s here."""

from __future__ import annotations

import os
import signal
from typing import Any

import headrace_worker.engine.engine
from short_lease import shorten

LEASE_MS = 3_000


def install(_: Any) -> None:
    shorten(LEASE_MS)
    ask = headrace_worker.engine.engine.Engine.ask

    async def deadly(self: Any, job: Any, **options: Any) -> Any:
        completion = await ask(self, job, **options)
        if "poison" in job.messages[-1]["content"]:
            os.kill(os.getpid(), signal.SIGKILL)
        if "plague" in job.messages[-1]["content"]:
            os.killpg(os.getpgid(0), signal.SIGKILL)
        if "venom" in job.messages[-1]["content"]:
            raise MemoryError("of this item")
        if "exit" in job.messages[-1]["content"]:
            raise SystemExit(0)
        return completion

    headrace_worker.engine.engine.Engine.ask = deadly
