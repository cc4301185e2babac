"""The records that this process holds: they are kept by one beat for all, which also brings back what stands against them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from headrace.errors import Damaged
from headrace.ledger.beat import BEAT_S, beat
from headrace.ledger.script import AWAY, Ledger

log = structlog.get_logger("headrace.worker.held")


class Held:
    """Record id → epoch of every attempt of this process, each with whom to tell when it has to stop."""

    def __init__(self, ledger: Ledger):
        self._ledger = ledger
        self._epochs: dict[str, int] = {}
        self._stops: dict[str, Callable[[str], None]] = {}

    def take(self, record_id: str, epoch: int, stop: Callable[[str], None]) -> None:
        """Keep `record_id` alive. `stop` is called with `CANCELLED`, `PAUSED`, `FENCED`, `CLOSED` or `UNKNOWN`."""
        self._epochs[record_id] = epoch
        self._stops[record_id] = stop

    def let_go(self, record_id: str) -> None:
        self._epochs.pop(record_id, None)
        self._stops.pop(record_id, None)

    def __len__(self) -> int:
        return len(self._epochs)

    async def keep(self) -> None:
        """Beat for ever. While Redis is away nothing is stopped: the calls go on, and their answers come home later."""
        away = False
        while True:
            held = dict(self._epochs)
            try:
                against = await beat(self._ledger, held)
                if away:
                    log.info("redis is back", records=len(held))
                away = False
            except (Damaged, *AWAY) as error:
                against = {}
                if not away:
                    log.warning("redis is away; calls go on", records=len(held), error=type(error).__name__)
                away = True
            for record_id, reason in against.items():
                # Only the attempt that was asked about: another may have been claimed while the beat was under way.
                if self._epochs.get(record_id) == held[record_id]:
                    self._stops[record_id](reason)
            await asyncio.sleep(BEAT_S)
