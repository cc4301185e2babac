"""One shard: its items run concurrently through the engine, and every finished one is made durable at once.

The writer takes whatever is finished since its last call returned; load makes the groups, no timer does. What has no
row after a crash runs again, nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

import msgspec
from headrace_providers.off_loop import contained
from headrace_providers.wire.provider_errors import is_configuration, unstorable

from headrace.batches.outputs.output_lines import error_line, success_line
from headrace.batches.prefill import kept_rows
from headrace.batches.template import Item, Template
from headrace.chat.completion import Completion
from headrace.errors import CallError, Failure, Finished, Refused, Spill, StorageError
from headrace.jobs.job import Job
from headrace.ledger.batch_record import BatchRecord
from headrace.ledger.checkpoint import ROW_BYTES, CheckpointRow, Failing, checkpoint, is_settled
from headrace.ledger.claim import Claimed
from headrace.ledger.finish_shard import finish_shard
from headrace.ledger.keys import shard_number
from headrace.ledger.prefill import prefill
from headrace.ledger.recover import MAX_DEATHS_ALONE, SHARD_WIDTH
from headrace.ledger.script import UNAVAILABLE
from headrace.ledger.shard_range import part_file
from headrace.ledger.shard_rows import rows_of
from headrace.ledger.stop_reason import CALLS_MAY_END, StopReason
from headrace.logs import get_logger
from headrace.storage.file_store import FileStore
from headrace.text.readable import UNWRITABLE
from headrace.waiting import retry_write
from headrace_worker.engine.attachments import attach_files_of
from headrace_worker.engine.deployment_hold import DRAINING, Deferred
from headrace_worker.engine.reask import with_earlier
from headrace_worker.engine.tries import Tries, format_item_tries, parse_item_tries
from headrace_worker.execution.item_counters import failing_of, failure_counters, success_counters
from headrace_worker.execution.part_file import commit_part, successes
from headrace_worker.execution.row_soundness import sound_rows
from headrace_worker.execution.segment_files import SegmentFiles
from headrace_worker.execution.shard_answers import ShardAnswers, shard_answers
from headrace_worker.flower_progress import report_progress
from headrace_worker.limits.call_turn import CallTurn
from headrace_worker.spending.budget_gate import spending_of
from headrace_worker.worker_process import WorkerProcess

log = get_logger("headrace.worker.execution.shard_attempt")

WIDTH = SHARD_WIDTH
"""Items of one shard in flight at most. They begin in order, so what was in flight at a crash is among the first 64 that
have no row: those are the suspects of a shard in quarantine, and when they survive the shard goes home."""
SETTLE_S = 10.0
"""Seconds that a shard whose other items are done waits to hear whether a failure of the configuration is everybody's."""


class ShardRun:
    """One attempt at one shard. `stop(reason)` makes `run()` end early; `deferred` says that it has to wait. Rows that
    were paid for are checkpointed in every case but a fence."""

    def __init__(
        self, process: WorkerProcess, claimed: Claimed, store: FileStore, batch: BatchRecord, template: Template
    ):
        self.process = process
        self.ledger, self.store = process.ledger, store
        self.engine, self._meter = process.engine, process.meter
        self.id, self.claimed, self.epoch = claimed.record_id, claimed, claimed.epoch
        self.batch_id, _, name = self.id.partition(".")
        self.batch, self.template = batch, template
        self._turn = CallTurn(self.batch_id, template.weight, self.id)
        self._uncached = msgspec.structs.replace(template, cache=False)
        self._answers: ShardAnswers | None = None
        self.range, self.first_line = claimed.shard_range, claimed.shard_range.line
        self.tries = parse_item_tries(claimed.calls)
        self.spending = spending_of(process, claimed, width=WIDTH)
        self.stopped: StopReason | None = None
        self.deferred: Deferred | None = None
        self.proven = False  # in quarantine: its suspects survived
        self._pending: list[CheckpointRow] = []
        self._withheld: list[CheckpointRow] = []  # of failures that are perhaps no item's: see `_settle`
        self._uncounted: list[tuple[CallError, asyncio.Future[None]]] = []
        self.faulty: int | None = None  # the item that ended in an error which is no answer
        self._at: dict[asyncio.Task[None], int] = {}  # which item a runner is at
        self._wake = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._begun: dict[int, int] = {}  # the items under way, each with its number of calls before
        self._closing = False
        self._segments = SegmentFiles(store, f"{self.batch_id}/segments/{name}.{self.epoch}")
        self._rows: dict[int, bytes] = {}  # every row that the ledger has
        self._counted = self._failed = self._tokens = 0  # of this attempt, for `report_progress`
        self._failure: BaseException | None = None

    @property
    def calls_in_flight(self) -> int | None:
        """Items whose call has begun: the others wait for a slot, and are to blame for nothing. None before the first item."""
        if not self._running:
            return None
        tries = self.tries.copy()  # it is the thread of the leases that asks
        return sum(index in tries and tries[index].calls > before for index, before in self._begun.copy().items())

    @property
    def calls(self) -> str:
        """The tries of the items that have no row yet, for `park` and `release`."""
        return format_item_tries(self.tries)

    def stop(self, reason: StopReason) -> None:
        """End early. Some reasons let the calls in flight finish; any other closes their connections."""
        self.stopped = self.stopped or reason
        for task in self._running:
            tries = self.tries.get(self._at.get(task, -1))
            if reason not in CALLS_MAY_END or (tries is not None and not tries.calling):
                task.cancel()

    async def run(self) -> bool:
        """Run what has no row yet; when every item has one, commit the part and finish the shard. True when finished.

        Raises `StorageError`, or a `Refused` from the ledger.
        """
        items = await self._items()
        rows = await retry_write(lambda: rows_of(self.ledger, self.id))
        if not rows and self.batch.is_prefilled:
            await self._prefill()
            rows = await retry_write(lambda: rows_of(self.ledger, self.id))
        self._rows = rows = sound_rows(rows, items, self.id, self.first_line, self._request_id)
        todo = [index for index in range(len(items)) if index not in rows]
        earlier = successes(rows)
        writer = asyncio.create_task(self._write())
        try:
            if self.claimed.is_quarantined:
                await self._run_suspects(items, todo)
            else:
                self._answers = await self._answers_to(items, todo)
                await self._run_together(items, todo)
            await self._settle()
        finally:
            # Also when we are cancelled: what is paid is written down first.
            self._closing = True
            self._wake.set()
            await asyncio.shield(writer)
            if self._answers is not None:
                await asyncio.shield(self._answers.close())
        if self._failure is not None:
            raise self._failure
        if len(self._rows) < len(items):
            return False
        if (answers := self._answers) is None:  # what was paid in quarantine is found again as well
            answers, earlier = await self._answers_to(items, []), successes(self._rows)
        await self._commit(answers.packed_keys(earlier) if answers else b"")
        return True

    async def _answers_to(self, items: list[Item], todo: list[int]) -> ShardAnswers | None:
        return await shard_answers(
            *(self.engine, self.id, self.batch.tenant, self.template, items, todo),
            store=self.store,
            take=lambda index, completion: self._take(index, items[index], completion),
            may_begin=self._may_begin,
        )

    async def _items(self) -> list[Item]:
        data = await asyncio.to_thread(self.store.read, self.batch.input, self.range.offset, self.range.length)
        return [msgspec.json.decode(line, type=Item) for line in data.splitlines()]

    async def _prefill(self) -> None:
        rows, codes = await asyncio.to_thread(kept_rows, self.store, self.batch_id, self.first_line, self.range.count)
        if rows:
            await retry_write(lambda: prefill(self.ledger, self.id, self.epoch, rows, codes))

    async def _run_together(self, items: list[Item], todo: list[int], width: int = WIDTH) -> None:
        queue = iter(todo)

        async def runner() -> None:
            for index in queue:
                if not self._may_begin():
                    return
                await self._run_item(index, items[index])

        async def runner_of_answers(answers: ShardAnswers) -> None:
            while (following := await answers.next()) is not None:
                try:
                    await self._run_item(following[0], items[following[0]], following[1])
                finally:
                    answers.wake()

        width, answers = min(len(todo), self.engine.calls, width), self._answers
        work = [runner() if answers is None else runner_of_answers(answers) for _ in range(width)]
        self._running = {asyncio.create_task(each, name=self.id) for each in work}
        try:
            for outcome in await asyncio.gather(*self._running, return_exceptions=True):
                if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
                    self._failure = self._failure or outcome
        except asyncio.CancelledError:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
            raise

    def _may_begin(self) -> bool:
        return not (self.stopped or self.deferred or self._failure or self.process.stopping.is_set())

    async def _run_suspects(self, items: list[Item], todo: list[int]) -> None:
        """Run suspects in quarantine, in a process with nothing else in it: those in flight when it last died, `company` at
        a time, which is fewer after each death. Of those alone the ledger knows which one runs, so that a crash counts
        against it."""
        suspect = self.claimed.item
        if self.claimed.deaths_alone >= MAX_DEATHS_ALONE:
            index = suspect if suspect is not None and suspect in todo else todo[0]
            failure = Failure("worker_lost", "its worker died on it three times while it ran alone")
            line = error_line(items[index].custom_id, self._request_id(index), failure)
            await self._checkpoint([CheckpointRow(index, "d", line, {f"code:{failure.code}": 1})])
            self.proven = self._may_begin()
            return
        if suspect is not None and suspect in todo:
            todo = [suspect, *(other for other in todo if other != suspect)]
        suspects = todo[: self.claimed.suspects or WIDTH]
        width = self.claimed.company
        if width > 1:
            await self._run_together(items, suspects, width)
        else:
            for index in suspects:
                if not self._may_begin():
                    break
                await retry_write(lambda index=index: checkpoint(self.ledger, self.id, self.epoch, [], item=str(index)))
                await self._run_together(items, [index])
        self.proven = self._may_begin()

    async def _run_item(self, index: int, item: Item, job: Job | None = None) -> None:
        if item.refused is not None:
            self._refuse(index, item, item.refused)
            return
        tries = self.tries.setdefault(index, Tries())
        self._begun[index] = tries.calls
        if (task := asyncio.current_task()) is not None:
            self._at[task] = index
        identity = self._name_of(index)
        attach_files_of(item, self.store, self.batch_id)
        try:
            asked = self.engine.ask(
                job or self._uncached.job(item),
                identity=identity,
                epoch=self.epoch,
                tries=tries,
                spending=self.spending,
                turn=self._turn,
                admit=lambda: self.process.leases.confirm(self.id),
                on_configuration=self._count,
            )
            completion = await contained(asked)
            row = self._success(index, item, tries, completion)
            if self._answers is not None:
                self._answers.answered(index, completion)
        except CallError as error:
            if self._answers is not None:
                self._answers.failed(index)
            failure = Failure.of(error)
            line = error_line(item.custom_id, f"{identity}.{self.epoch}.{tries.calls}", failure)
            counters = failure_counters(item, tries, failure.code, error.details.get("counters", {}))
            row = CheckpointRow(index, "f", line, counters)
            if is_configuration(error):
                tries.spent = 0
                self._withheld.append(row)
                return
        except Deferred as deferred:
            if deferred.reason != DRAINING and (self.deferred is None or deferred.delay_s > self.deferred.delay_s):
                self.deferred = deferred
            return
        except (asyncio.CancelledError, Refused, StorageError, *UNAVAILABLE):
            raise
        except BaseException:
            self.faulty = index
            raise
        finally:
            self._begun.pop(index, None)
        self.tries.pop(index, None)
        self._pending.append(row)
        self._wake.set()

    def _success(self, index: int, item: Item, tries: Tries, completion: Completion) -> CheckpointRow:
        """Return the row of an item that has an answer. Raises `CallError` for one that cannot be written down."""
        counters = success_counters(item, tries, completion)
        completion = with_earlier(item, completion)
        try:
            line = success_line(item.custom_id, f"{self._name_of(index)}.{self.epoch}.{tries.calls}", completion)
        except UNWRITABLE as error:
            raise unstorable(error, counters, completion.content) from None
        return CheckpointRow(index, "s", line, counters)

    def _take(self, index: int, item: Item, completion: Completion) -> None:
        """Take an answer that was not paid for this item."""
        self.spending.bill.save(completion)
        self._pending.append(self._success(index, item, Tries(), completion))
        self._wake.set()

    def _name_of(self, index: int) -> str:
        return f"{self.batch_id}.{self.first_line + index}"

    def _refuse(self, index: int, item: Item, why: str) -> None:
        """Fail the item of a line that is no request, without a call."""
        failure = Failure("invalid_request", why)
        line = error_line(item.custom_id, self._request_id(index), failure)
        self._pending.append(CheckpointRow(index, "f", line, {f"code:{failure.code}": 1}))
        self._wake.set()

    async def _count(self, failure: CallError) -> None:
        """Have `failure` counted, and wait for it: nobody calls in its place before the batch may have been paused."""
        counted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._uncounted.append((failure, counted))
        self._wake.set()
        await counted

    async def _settle(self) -> None:
        """Decide about failures of the configuration: they get no row while they may be everybody's, and when the batch is
        paused, their items run after it. They are the items' own when others succeed (a refused input, say), or when none
        is left that could."""
        until = asyncio.get_running_loop().time() + SETTLE_S
        while self._withheld and self._may_begin():
            if await retry_write(lambda: is_settled(self.ledger, self.id)) or asyncio.get_running_loop().time() > until:
                self._pending += self._withheld
                self._withheld = []
                self._wake.set()
                return
            await asyncio.sleep(0.25)

    def _request_id(self, index: int) -> str:
        return f"{self._name_of(index)}.{self.epoch}.0"

    async def _write(self) -> None:
        """Checkpoint what is pending, again and again, until the shard is closing and nothing is left."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            rows, self._pending = self._pending, []
            uncounted, self._uncounted = self._uncounted, []
            if rows or uncounted or self.spending.is_unwritten:
                try:
                    await self._checkpoint(rows, [failure for failure, _ in uncounted])
                except BaseException as error:
                    self._failure = error
                    for task in self._running:
                        task.cancel()
                    return
                finally:
                    for _, counted in uncounted:
                        if not counted.done():
                            counted.set_result(None)
            if self._closing and not self._pending:
                return
            if self._pending or self._uncounted:
                self._wake.set()

    async def _checkpoint(self, rows: list[CheckpointRow], failures: Sequence[CallError] = ()) -> None:
        failing, bill = self._failing(failures), self.spending.words
        large = [row for row in rows if len(row.line) > ROW_BYTES]
        rows = [row for row in rows if len(row.line) <= ROW_BYTES]
        if large:
            rows += await self._segments.place(large)

        def write() -> Awaitable[str]:
            return checkpoint(self.ledger, self.id, self.epoch, rows, failing=failing, bill=bill)

        try:
            state = await retry_write(write)
        except Spill:
            rows = await self._segments.place(rows)
            state = await retry_write(write)
        self.spending.written(bill)
        self._rows.update((row.index, row.stored) for row in rows)
        for row in rows:
            self._failed += row.kind.lower() != "s"
            if self._meter is not None:
                self._meter.ended_item(row.kind)
            self._tokens += row.counters.get("input_tokens", 0) + row.counters.get("output_tokens", 0)
        report_progress(done=len(self._rows), failed=self._failed, tokens=self._tokens, total=self.range.count)
        if state == "cancelling":
            self.stop(StopReason.CANCELLED)
        if state == "paused":
            if failing is not None and not self.stopped:
                log.warning("batch paused", batch=self.batch_id, reason=failing.code)
            self.process.stop_batch(self.batch_id, StopReason.PAUSED)

    def _failing(self, failures: Sequence[CallError]) -> Failing | None:
        """Return what a checkpoint is told of them. Of several codes at once the last one: the others come again."""
        if not failures:
            return None
        self._counted += len(failures)
        return failing_of(failures[-1], self._counted)

    async def _commit(self, keys: bytes) -> None:
        part = str(self.epoch)
        name = part_file(self.batch_id, shard_number(self.id), part)
        await asyncio.to_thread(commit_part, self.store, name, self._rows, keys)
        try:
            await retry_write(lambda: finish_shard(self.ledger, self.id, self.epoch, part, bill=self.spending.words))
        except Refused as refused:
            if not (isinstance(refused, Finished) and refused.detail == part):
                await asyncio.to_thread(self.store.remove, name)
            raise
