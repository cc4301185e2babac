"""Take back the records of crashed workers, whose leases have expired."""

from __future__ import annotations

from headrace.errors import Damaged
from headrace.ledger.claim import LEASE_MS
from headrace.ledger.recover import recover
from headrace.ledger.server_check import server_uptime_ms
from headrace.logs import get_logger
from headrace_worker.worker_process import WorkerProcess

log = get_logger("headrace.worker.maintenance.lease_rescuer")


class LeaseRescuer:
    """Recovers records, after every process had one lease's time to beat."""

    def __init__(self, process: WorkerProcess):
        self._process = process
        self._ledger = process.ledger
        self._recover_after = 0.0

    def wait_a_lease(self, now: float) -> None:
        """Wait one lease before judging: we were cut off, or stopped, and others may have been too and need the time to
        beat."""
        self._recover_after = now + LEASE_MS / 1000

    async def hints(self, now: float) -> list[tuple[str, str]]:
        """Recover records and return their `(queue, record id)` pairs to publish."""
        if now < self._recover_after or not await self._server_is_old_enough():
            return []
        try:
            crashed = await recover(self._ledger)
        except Damaged as damaged:  # on one of many: the others are recovered in the next round
            crashed = []
            await self._process.damage.expired(damaged)
        for queue, record_id in crashed:
            log.warning("its worker was lost", record=record_id, queue=queue)
        return crashed

    async def _server_is_old_enough(self) -> bool:
        # After a restart of the server every lease looks expired, though the calls may all be running.
        uptime_ms = await server_uptime_ms(self._ledger)
        return uptime_ms is None or uptime_ms >= LEASE_MS
