"""A loop in every worker process, of which one is elected leader by lease and runs the duties each round. There is no beat
process."""

from __future__ import annotations

import asyncio

from headrace.errors import StorageError
from headrace.ledger.lead import lead
from headrace.ledger.script import UNAVAILABLE
from headrace.logs import get_logger
from headrace_worker.maintenance.batch_feeder import BatchFeeder
from headrace_worker.maintenance.due_publisher import DuePublisher
from headrace_worker.maintenance.file_sweeper import FileSweeper
from headrace_worker.maintenance.lease_rescuer import LeaseRescuer
from headrace_worker.maintenance.response_sweeper import ResponseSweeper
from headrace_worker.maintenance.retention_sweeper import RetentionSweeper
from headrace_worker.worker_process import WorkerProcess

SWEEP_S = 0.25
SILENCE_S = 3.0

log = get_logger("headrace.worker.maintenance.leader")


class Leader:
    """The loop, and its state between rounds."""

    def __init__(self, process: WorkerProcess):
        self._process = process
        self._ledger = process.ledger
        self._due, self._rescuer, self._feeder = DuePublisher(process), LeaseRescuer(process), BatchFeeder(process)
        self._responses = ResponseSweeper(process)
        self._sweeper, self._retention = FileSweeper(process), RetentionSweeper(process)
        self._leading = False
        self._last_round: float | None = None

    @property
    def is_leading(self) -> bool:
        return self._leading

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            if self._last_round is not None and began - self._last_round > SILENCE_S:
                self._rescuer.wait_a_lease(began)
            try:
                await self._round(began)
                self._last_round = loop.time()
            except UNAVAILABLE as error:
                log.debug("redis is away", error=type(error).__name__)
            except (OSError, StorageError) as error:
                log.warning("maintenance failed; it is tried again", error=str(error))
            except Exception as error:  # ending would only hand it to the next leader
                self._process.damage.tell_once("maintenance failed; it is tried again", error)
            await asyncio.sleep(SWEEP_S)

    async def _round(self, now: float) -> None:
        leading = await lead(self._ledger, self._process.name)
        if leading != self._leading:
            log.info("maintenance begins here" if leading else "maintenance ends here", process=self._process.name)
            self._leading = leading
        if not leading:
            return
        hints = await self._due.hints()
        hints += await self._rescuer.hints(now)
        hints += await self._process.damage.guarded("batches", self._feeder.hints())
        await self._process.publish(hints)
        await self._process.damage.guarded("responses", self._responses.hints(now))
        await self._process.damage.guarded("files", self._sweeper.hints())
        await self._process.damage.guarded("retention", self._retention.hints(now))
