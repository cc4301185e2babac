"""A loop in every worker process, one of them the leader by lease: publishes again what is due, recovers what crashed,
feeds and seals batches, pauses them while the disk is full. There is no beat process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import structlog
from redis.exceptions import RedisError

from headrace.batches.ingest import read_index
from headrace.errors import Busy, Damaged, Refused, StorageError
from headrace.ledger.batch_record import feeding_record, forget_open_batch, open_batches
from headrace.ledger.claim import LEASE_MS
from headrace.ledger.due import EXPIRED, due
from headrace.ledger.expire import expire
from headrace.ledger.feed import feed
from headrace.ledger.keys import shard_id
from headrace.ledger.lead import lead
from headrace.ledger.pause import pause
from headrace.ledger.queues import BULK
from headrace.ledger.recover import recover
from headrace.ledger.resume import resume
from headrace.ledger.script import AWAY
from headrace.ledger.seal import seal
from headrace.ledger.server_check import server_uptime_ms
from headrace.ledger.set_aside import readable
from headrace.ledger.shard_range import ShardRange
from headrace.ledger.state import BatchState
from headrace_worker.damage import is_own_fault
from headrace_worker.service import Process

SWEEP_S = 0.25
SILENCE_S = 3.0
WINDOW = 16
MAX_QUARANTINED = 64
MAX_BATCHES = 200
NO_ROOM = "storage: "

log = structlog.get_logger("headrace.worker.tend")


class Tend:
    """The loop and what it remembers between two rounds."""

    def __init__(self, process: Process):
        self._process = process
        self._ledger = process.ledger
        self._leading = False
        self._last_round: float | None = None
        self._recover_after = 0.0
        self._next_batch = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            if self._last_round is not None and began - self._last_round > SILENCE_S:
                # We were cut off, or stopped. Others may have been too: give them one lease to beat before judging.
                self._recover_after = began + LEASE_MS / 1000
            try:
                await self._round(began)
                self._last_round = loop.time()
            except AWAY as error:
                log.debug("redis is away", error=type(error).__name__)
            except (OSError, StorageError) as error:
                log.warning("tending failed; it is tried again", error=str(error))
            except Exception as error:  # ending would only hand it to the next leader
                self._process.damage.tell_once("tending failed; it is tried again", error)
            await asyncio.sleep(SWEEP_S)

    async def _round(self, now: float) -> None:
        leading = await lead(self._ledger, self._process.name)
        if leading != self._leading:
            log.info("tending the ledger" if leading else "no longer tending the ledger", process=self._process.name)
            self._leading = leading
        if not leading:
            return
        guarded, damage = self._process.damage.guarded, self._process.damage
        found = await guarded("due", due(self._ledger, on_damage=damage.on_damage))
        hints = [hint for hint in found if not await self._expired(*hint)]
        if now >= self._recover_after and await self._server_is_old_enough():
            try:
                crashed = await recover(self._ledger)
            except Damaged as damaged:  # on one of many: the others are recovered in the next round
                crashed = []
                await damage.expired(damaged)
            for queue, record_id in crashed:
                log.warning("its worker was lost", record=record_id, queue=queue)
            hints += crashed
        hints += await guarded("batches", self._batches())
        await self._process.publish(hints)

    async def _expired(self, queue: str, record_id: str) -> bool:
        """Return whether it is a job past its deadline; then it is ended, unless somebody has just begun it."""
        if queue != EXPIRED:
            return False
        with contextlib.suppress(Refused):
            await expire(self._ledger, record_id)
        return True

    async def _server_is_old_enough(self) -> bool:
        # After a restart of the server every lease looks expired, though the calls may all be running.
        uptime_ms = await server_uptime_ms(self._ledger)
        return uptime_ms is None or uptime_ms >= LEASE_MS

    async def _batches(self) -> list[tuple[str, str]]:
        """Feed every open batch up to its window, in turn, so that a small one is not stuck behind a big one."""
        hints: list[tuple[str, str]] = []
        for raw in await self._open_batches():
            batch_id = readable(raw)
            try:
                hints += await self._one_batch(raw.decode())
            except (Damaged, ValueError, LookupError, TypeError) as error:
                await self._process.damage.records([raw], "open", error)
            except RedisError as error:
                if not is_own_fault(error):
                    raise
                await self._process.damage.records([raw], "open", error)
            except Refused as refused:
                log.debug("batch not tended", batch=batch_id, reason=str(refused))
            except StorageError as error:
                log.warning("batch not tended", batch=batch_id, problem=str(error))
        return hints

    async def _open_batches(self) -> Sequence[bytes]:
        """The next ones in turn: hundreds that stand paused must not keep the newer ones from being fed."""
        first = self._next_batch
        found = await open_batches(self._ledger, first, MAX_BATCHES)
        self._next_batch = first + MAX_BATCHES if len(found) == MAX_BATCHES else 0
        return found

    async def _one_batch(self, batch_id: str) -> list[tuple[str, str]]:
        batch = await feeding_record(self._ledger, batch_id)
        if batch is None:
            await forget_open_batch(self._ledger, batch_id)
            return []
        await self._mind_the_disk(batch_id, batch.state, batch.reason)
        queue = batch.queue or BULK
        hints: list[tuple[str, str]] = []
        if batch.state == BatchState.IN_PROGRESS:
            # Shards in quarantine have workers of their own, and do not keep the others waiting.
            room = WINDOW - (batch.shards_under_way - min(batch.quarantined, MAX_QUARANTINED))
            left = batch.shards - batch.fed
            if room > 0 and left > 0:
                hints += await self._feed(batch_id, batch.fed, min(room, left), queue, batch.index)
        with contextlib.suppress(Busy):
            hints.append((await seal(self._ledger, batch_id, queue=queue), f"{batch_id}.join"))
        return hints

    async def _feed(self, batch_id: str, cursor: int, count: int, queue: str, index: str) -> list[tuple[str, str]]:
        store = await self._process.find_store()
        shards: list[ShardRange] = await asyncio.to_thread(read_index, store, index, cursor, count)
        fed = await feed(self._ledger, batch_id, cursor, shards, queue=queue)
        return [(queue, shard_id(batch_id, number)) for number in range(cursor, fed)]

    async def _mind_the_disk(self, batch_id: str, state: str, reason: str) -> None:
        if state not in {"in_progress", "paused"}:
            return
        store = await self._process.find_store()
        free_mb, least_mb = store.free_mb(), self._process.settings.min_free_mb
        if state == "in_progress" and free_mb < least_mb:
            log.warning("batch paused: the disk is nearly full", batch=batch_id, free_mb=free_mb)
            await pause(
                self._ledger, batch_id, reason=f"{NO_ROOM}{free_mb} MiB free, {least_mb} needed; it goes on by itself"
            )
        elif (
            state == "paused" and reason.startswith(NO_ROOM) and free_mb >= least_mb and await self._can_write(batch_id)
        ):
            log.info("batch goes on: there is room again", batch=batch_id)
            await resume(self._ledger, batch_id)

    async def _can_write(self, batch_id: str) -> bool:
        store = await self._process.find_store()
        name = f"{batch_id}/room.{self._process.name}"
        try:
            await asyncio.to_thread(store.commit, name, [b"\0" * 65536])
        except (StorageError, FileExistsError):
            return False
        finally:
            store.remove(name)
        return True
