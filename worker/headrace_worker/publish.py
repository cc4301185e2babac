"""A job's events on their way into its log: numbered here, written in groups.

A flush of everything pending begins as soon as something is pending and the previous one has returned: no timer.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from headrace.ledger.append import append
from headrace.ledger.script import Ledger
from headrace_worker.patience import patiently
from headrace_worker.reduce import Delta


class Publisher:
    """The events of one attempt. `claim` wrote number 1; `next_seq` is the number of the next one."""

    def __init__(self, ledger: Ledger, job_id: str, epoch: int):
        self._ledger = ledger
        self._job_id = job_id
        self._epoch = epoch
        self.next_seq = 2
        self._pending: list[bytes] = []
        self._flushing: asyncio.Task[None] | None = None

    def event(self, kind: str, **fields: Any) -> None:
        """Put an event of type `kind` into the log, soon."""
        self._pending.append(msgspec.json.encode({"t": kind, **fields}))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())

    def delta(self, delta: Delta) -> None:
        """Put what a chunk added into the log. Tool calls and audio are in the result alone, so far."""
        if delta.kind in ("text", "reasoning", "refusal"):
            self.event(f"{delta.kind}.delta", c=0, p=0, d=delta.value)

    async def settled(self) -> int:
        """Wait until everything is written; returns the number that the `end` event has to bear."""
        while self._flushing is not None:
            await asyncio.shield(self._flushing)
        return self.next_seq

    async def _flush(self) -> None:
        try:
            while self._pending:
                events, self._pending = self._pending, []
                await patiently(
                    lambda events=events: append(self._ledger, self._job_id, self._epoch, self.next_seq, events)
                )
                self.next_seq += len(events)
        finally:
            self._flushing = None
