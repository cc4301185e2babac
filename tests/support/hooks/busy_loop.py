"""A hook for workers: a job whose text says `sleep` or `spin` holds the loop for `BLOCK_S` once it was answered. Leases are
2 s unless `LEASE_MS` says otherwise."""

from __future__ import annotations

import os
import time
from typing import Any

import headrace_worker.engine.engine
from short_lease import shorten

BLOCK_S = float(os.environ.get("BLOCK_S", "8"))


def install(_: Any) -> None:
    shorten(int(os.environ.get("LEASE_MS", "2000")))
    ask = headrace_worker.engine.engine.Engine.ask

    async def busy(self: Any, job: Any, **options: Any) -> Any:
        completion = await ask(self, job, **options)
        text = job.messages[-1]["content"]
        until = time.monotonic() + BLOCK_S
        if "sleep" in text:
            time.sleep(BLOCK_S)
        elif "spin" in text:
            while time.monotonic() < until:
                pass
        return completion

    headrace_worker.engine.engine.Engine.ask = busy
