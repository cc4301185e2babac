"""The two Celery tasks: a hint is an id, everything else is in the ledger. A superfluous hint costs nothing."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import Any, Protocol

from celery import signals

from headrace.broker import hints as hint
from headrace.errors import Busy, Cancelled, Damaged, Dead, Finished, Paused, Refused, StorageError, Unknown
from headrace.guards.service_address import redis_url
from headrace.ledger.batch_record import batch_record
from headrace.ledger.cancel import cancel
from headrace.ledger.claim import Claimed, claim
from headrace.ledger.keys import batch_of
from headrace.ledger.park import park
from headrace.ledger.pause import pause
from headrace.ledger.queues import QUARANTINE
from headrace.ledger.recover import report_fault
from headrace.ledger.release import release
from headrace.ledger.script import UNAVAILABLE
from headrace.ledger.stop_reason import NOT_WRITABLE, StopReason
from headrace.logs import get_logger
from headrace.settings import Settings
from headrace.text.safe_errors import kind_of, where_of
from headrace.waiting import retry_write
from headrace_worker.engine.deployment_hold import Deferred
from headrace_worker.execution.batch_check import check_input
from headrace_worker.execution.batch_join import join
from headrace_worker.execution.job_attempt import Attempt
from headrace_worker.execution.shard_attempt import ShardRun
from headrace_worker.maintenance.disk_guard import NO_ROOM
from headrace_worker.maintenance.leader import Leader
from headrace_worker.pool import HandBack
from headrace_worker.quarantine import Quarantine
from headrace_worker.worker_process import WorkerProcess

log = get_logger("headrace.worker.tasks")

STORAGE_WAIT_MS = 2_000
KINDS = {"job", "shard", "join", "check"}
NOTHING_TO_DO = (Busy, Finished, Cancelled, Dead, Paused, Unknown)


class Run(Protocol):
    """One attempt at a record, as `hold` needs it."""

    @property
    def calls(self) -> str: ...
    @property
    def epoch(self) -> int: ...
    @property
    def calls_in_flight(self) -> int | None: ...
    @property
    def risk(self) -> str:
        """The calls in flight and what they cost at most, for the beat."""
        ...

    @property
    def bill(self) -> str: ...
    def stop(self, reason: StopReason) -> None: ...


def register(app: Any) -> None:
    """Put both tasks and the service into the worker's Celery app. The process they share is made on the pool's loop."""
    process: WorkerProcess | None = None

    quarantine: Quarantine | None = None

    def service() -> WorkerProcess:
        nonlocal process, quarantine
        settings: Settings = app.headrace_settings
        role = next(iter(app.amqp.queues.consume_from))  # a worker reads one queue, and works as what it is called
        process = made = WorkerProcess(settings, redis_url(settings), role)
        leader = Leader(process)
        process.loops.append(leader.run)
        process.serve_metrics(leads=lambda: leader.is_leading)
        if role == QUARANTINE:
            quarantine = Quarantine(
                process, settings.quarantine_processes, lambda record_id: cancel_revoked(made, record_id)
            )
            process.on_drain, process.on_stop = quarantine.drain, quarantine.stop
        return process

    async def work(record_id: str) -> None:
        if process is None:
            return
        if process.stopping.is_set():
            raise HandBack
        if not (isinstance(record_id, str) and hint.is_hint(process.role, record_id)):
            await process.damage.message(str(record_id).encode(), process.role, "no id of a record")
        elif quarantine is not None:
            await quarantine.run(record_id)
        else:
            await work_on(process, record_id)

    def on_reject(raw: bytes, queue: str, why: str) -> None:
        """Log what was set aside; called by the consumer, in its thread."""
        if process is not None and process.loop is not None:
            asyncio.run_coroutine_threadsafe(process.damage.message(raw, queue, why), process.loop)

    @app.task(name=hint.JOB)
    async def job(record_id: str) -> None:
        await work(record_id)

    @app.task(name=hint.SHARD)
    async def shard(record_id: str) -> None:
        await work(record_id)

    def on_revoked(request: Any = None, terminated: bool = False, **_: Any) -> None:
        # A hint revoked before it ran is thrown away by Celery; without this its record would only be published again.
        # (Of a task that runs, `terminated`, the coroutine is cancelled, and cancels the record itself.)
        if process is None or process.loop is None or terminated or not request.args:
            return
        asyncio.run_coroutine_threadsafe(cancel_revoked(process, request.args[0]), process.loop)

    signals.task_revoked.connect(on_revoked, weak=False)
    app.headrace_service = service
    app.headrace_on_reject = on_reject


async def cancel_revoked(process: WorkerProcess, record_id: str) -> None:
    """Cancel the job, or the batch of the shard, whose hint was revoked in Flower or by `celery control revoke`."""
    subject = record_id if batch_of(record_id) == "-" else batch_of(record_id)
    try:
        await cancel(process.ledger, subject, reason="revoked")
    except (Refused, *UNAVAILABLE) as error:
        log.warning("revoked, but not cancelled", record=record_id, error=type(error).__name__)


async def work_on(process: WorkerProcess, record_id: str) -> None:
    """Claim the record and make one attempt at it. Raises `HandBack` when this process drains."""
    claimed = await begin(process, record_id)
    if claimed is None:
        return
    if batch_of(record_id) != "-":
        run = BatchWork(process, claimed)
        await hold(process, claimed, run, run.run())
        return
    with process.traced(claimed, of=record_id, traceparent=claimed.trace):
        attempt = Attempt(process, claimed)
        await hold(process, claimed, attempt, attempt.run())


async def begin(process: WorkerProcess, record_id: str) -> Claimed | None:
    """Claim the record; None when there is nothing to do. Raises `HandBack` when this process drains."""
    if process.stopping.is_set():
        raise HandBack
    token = secrets.token_hex(8)
    try:
        claimed = await claim(process.ledger, record_id, token=token, owner=process.name, queue=process.role)
        if claimed.kind in KINDS:
            return claimed
        await process.damage.records([record_id], process.role, Damaged(record_id, "no kind"))
    except Damaged as damaged:
        await process.damage.records([record_id], process.role, damaged)
    except NOTHING_TO_DO as refused:
        log.debug("nothing to do", record=record_id, reason=type(refused).__name__)
    except UNAVAILABLE as error:
        # The hint is acked and gone; the record is due again in seconds.
        log.warning("redis is away; the record stays queued", record=record_id, error=type(error).__name__)
    return None


async def hold(process: WorkerProcess, claimed: Claimed, run: Run, work: Any) -> None:
    """Hold the record's lease while `work` runs, and hand it back when it cannot be finished here."""
    record_id = claimed.record_id
    if task := asyncio.current_task():
        task.set_name(record_id)  # whose work it is, should it hold the loop up
    process.leases.add(
        *(record_id, claimed.epoch, run.stop, lambda: run.calls_in_flight, lambda: run.risk),
        is_unbudgeted=claimed.kind == "shard" and not claimed.is_budgeted,
    )
    try:
        await work
    except Damaged as damaged:
        names = [record_id] if batch_of(record_id) == "-" else [record_id, batch_of(record_id)]
        await process.damage.records(names, process.role, damaged)
    except Refused as refused:
        # Fenced, closed, or gone: somebody else's now. Writing anything would be wrong.
        log.warning("the ledger refused; this attempt ends", record=record_id, reason=type(refused).__name__)
    except StorageError as error:
        reason = f"storage: {error}"
        if process.meter is not None:
            process.meter.parked(claimed.kind, "storage")
        log.warning("no room, or no store; it waits", record=record_id, problem=str(error))
        await retry_write(
            lambda: park(
                process.ledger,
                record_id,
                run.epoch,
                delay_ms=STORAGE_WAIT_MS,
                calls=run.calls,
                reason=reason,
                bill=run.bill,
            )
        )
    except asyncio.CancelledError:
        await asyncio.shield(_interrupted(process, claimed, run))
        raise
    except UNAVAILABLE:
        raise  # nobody's fault; its lease runs out
    except BaseException as error:
        await asyncio.shield(_blame(process, claimed, run, error))
        raise
    finally:
        process.leases.remove(record_id)


async def _blame(process: WorkerProcess, claimed: Claimed, run: Run, error: BaseException) -> None:
    """Report an attempt that ended in an unexpected error as a crash of this record alone."""
    record_id, item = claimed.record_id, ""
    if isinstance(run, BatchWork) and run.shard is not None and run.shard.faulty is not None:
        item = str(run.shard.faulty)
    kind, where = kind_of(error), where_of(error)
    log.error("the attempt failed", record=record_id, item=item, kind=kind, where=where)
    with contextlib.suppress(Refused, *UNAVAILABLE):  # then its lease runs out, and tells the same
        hints = await retry_write(
            lambda: report_fault(process.ledger, process.name, record_id, item=item), patience_s=10
        )
        await process.publish(hints)


async def _interrupted(process: WorkerProcess, claimed: Claimed, run: Run) -> None:
    """Handle a cancellation by the pool: at the end of a drain the record goes back; a revoke cancels it."""
    if not process.stopping.is_set():
        if isinstance(run, Attempt):
            await cancel(process.ledger, claimed.record_id, reason="revoked")
            await run.cancelled()
            return
        await cancel(process.ledger, batch_of(claimed.record_id), reason="revoked")
    await hand_back(process, claimed, run)


async def hand_back(process: WorkerProcess, claimed: Claimed, run: Run, *, home: bool = False) -> None:
    """Release the record without a crash, and publish its hint."""
    try:
        queue = await retry_write(
            lambda: release(process.ledger, claimed.record_id, run.epoch, calls=run.calls, home=home, bill=run.bill),
            patience_s=10,
        )
    except (Refused, *UNAVAILABLE) as error:
        log.warning("not handed back; its lease will run out", record=claimed.record_id, error=type(error).__name__)
        return
    await process.publish([(queue, claimed.record_id)])


class BatchWork:
    """The work of a batch's hint: the check of its input, a shard, or the join."""

    def __init__(self, process: WorkerProcess, claimed: Claimed):
        self.process = process
        self.claimed = claimed
        self.batch_id = batch_of(claimed.record_id)
        self.shard: ShardRun | None = None
        self.stopped: StopReason | None = None

    @property
    def epoch(self) -> int:
        return self.claimed.epoch

    @property
    def calls_in_flight(self) -> int | None:
        return self.shard.calls_in_flight if self.shard else None

    @property
    def calls(self) -> str:
        return self.shard.calls if self.shard else self.claimed.calls

    @property
    def risk(self) -> str:
        return self.shard.spending.risk if self.shard else ""

    @property
    def bill(self) -> str:
        return self.shard.spending.words if self.shard else ""

    def stop(self, reason: StopReason) -> None:
        self.stopped = reason
        if self.shard is not None:
            self.shard.stop(reason)

    async def run(self) -> None:
        # From before the batch is read: who reads that it runs is told when it no longer does.
        self.process.running[self.claimed.record_id] = self.batch_id, self.stop
        try:
            with contextlib.ExitStack() as spans:
                await self._run(spans)
        finally:
            self.process.running.pop(self.claimed.record_id, None)

    async def _run(self, spans: contextlib.ExitStack) -> None:
        process, claimed = self.process, self.claimed
        store = await process.find_store()
        ledger = process.ledger
        batch = await retry_write(lambda: batch_record(ledger, self.batch_id))
        spans.enter_context(process.traced(claimed, of=self.batch_id, traceparent=batch.trace))
        if claimed.kind == "join":
            await join(process, self.batch_id, claimed.epoch, batch, store)
            log.info("batch closed", batch=self.batch_id, outcome=batch.outcome)
            if process.tracer is not None:
                process.tracer.ended(
                    *(self.batch_id, "batch"), traceparent=batch.trace, created_ms=batch.created_ms, state=batch.outcome
                )
            return
        if claimed.kind == "check":
            if not await check_input(process, claimed.epoch, batch, store, lambda: self.stopped is not None):
                await hand_back(process, claimed, self)
            return
        if batch.is_paused:
            await hand_back(process, claimed, self)
            return
        held = process.engine.held(batch.model) if batch.model else None
        template = await process.template(batch.template)
        if held is not None and template.fallbacks:
            held = process.engine.held(template.model, *template.fallbacks)
        if held is not None:  # before any item is read: another batch's shard gets the place
            await self._park(held)
            return
        self.shard = ShardRun(process, claimed, store, batch, template)
        if self.stopped:
            self.shard.stop(self.stopped)
        try:
            finished = await self.shard.run()
        except StorageError as error:
            reason = f"{NO_ROOM}{error}"
            await retry_write(lambda: pause(ledger, self.batch_id, reason=reason))
            raise
        if finished:
            return
        if self.shard.stopped in NOT_WRITABLE:
            if self.shard.stopped == StopReason.DAMAGED:
                raise Damaged(claimed.record_id)
            log.warning("lost to another attempt", record=claimed.record_id, reason=self.shard.stopped)
        elif self.shard.deferred is not None:
            await self._park(self.shard.deferred)
        else:
            await hand_back(process, claimed, self, home=self.shard.proven)

    async def _park(self, deferred: Deferred) -> None:
        if self.process.meter is not None:
            self.process.meter.parked("shard", deferred.reason)
        record_id, delay_ms, reason = self.claimed.record_id, int(deferred.delay_s * 1000), str(deferred)
        await retry_write(
            lambda: park(
                self.process.ledger,
                record_id,
                self.epoch,
                delay_ms=delay_ms,
                calls=self.calls,
                reason=reason,
                bill=self.bill,
            )
        )
