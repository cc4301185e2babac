"""Feeds every open batch its next shards, and seals it when all have ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from redis.exceptions import RedisError

from headrace.batches.ingest import read_index
from headrace.errors import Busy, Damaged, Refused, StorageError
from headrace.ledger.batch_list import forget_open_batch, open_batches
from headrace.ledger.batch_record import feeding_record
from headrace.ledger.evict_damaged import readable
from headrace.ledger.feed import feed
from headrace.ledger.keys import shard_id
from headrace.ledger.queues import BULK
from headrace.ledger.seal import seal
from headrace.ledger.shard_range import ShardRange
from headrace.ledger.state import BatchState
from headrace.logs import get_logger
from headrace_worker.damage import is_own_fault
from headrace_worker.maintenance.disk_guard import DiskGuard
from headrace_worker.worker_process import WorkerProcess

WINDOW = 16
"""Maximal number of shards of a batch that wait for a worker at a time: whatever number of workers there is, none waits for the
next round."""
MAX_QUARANTINED = 64
MAX_BATCHES = 200

log = get_logger("headrace.worker.maintenance.batch_feeder")


class BatchFeeder:
    """Feeds the open batches round-robin."""

    def __init__(self, process: WorkerProcess):
        self._process = process
        self._ledger = process.ledger
        self._disk = DiskGuard(process)
        self._next_batch = 0
        self._heaviest = 1
        self._weights: dict[str, int] = {}  # of the batches that had shards to feed in the last round

    async def hints(self) -> list[tuple[str, str]]:
        """Feed every open batch up to its window, round-robin, so that a small one is not stuck behind a big one."""
        hints: list[tuple[str, str]] = []
        self._heaviest, self._weights = max(self._weights.values(), default=1), {}
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
                log.debug("batch not fed", batch=batch_id, reason=str(refused))
            except StorageError as error:
                log.warning("batch not fed", batch=batch_id, problem=str(error))
        return hints

    async def _open_batches(self) -> Sequence[bytes]:
        """Return the next open batches in turn: hundreds that stand paused must not keep the newer ones from being fed."""
        first = self._next_batch
        found = await open_batches(self._ledger, first, MAX_BATCHES)
        self._next_batch = first + MAX_BATCHES if len(found) == MAX_BATCHES else 0
        return found

    async def _one_batch(self, batch_id: str) -> list[tuple[str, str]]:
        batch = await feeding_record(self._ledger, batch_id)
        if batch is None:
            await forget_open_batch(self._ledger, batch_id)
            return []
        await self._disk.look(batch_id, batch.state, batch.reason)
        queue = batch.queue or BULK
        hints: list[tuple[str, str]] = []
        if batch.state == BatchState.IN_PROGRESS:
            # Shards in quarantine have workers of their own, and do not keep the others waiting.
            room = self._window(batch_id, batch.weight) - max(
                0, batch.shards_under_way - batch.running - min(batch.quarantined, MAX_QUARANTINED)
            )
            left = batch.shards - batch.fed
            if room > 0 and left > 0:
                hints += await self._feed(batch_id, batch.fed, min(room, left), queue, batch.index)
        with contextlib.suppress(Busy):
            hints.append((await seal(self._ledger, batch_id, queue=queue), f"{batch_id}.join"))
        return hints

    def _window(self, batch_id: str, weight: int) -> int:
        """Return how many shards of a batch may wait. Workers take them in order, so that a batch is worked on as often as its
        part of all that wait."""
        self._weights[batch_id] = weight
        return max(1, round(WINDOW * min(1.0, weight / self._heaviest)))

    async def _feed(self, batch_id: str, cursor: int, count: int, queue: str, index: str) -> list[tuple[str, str]]:
        store = await self._process.find_store()
        shards: list[ShardRange] = await asyncio.to_thread(read_index, store, index, cursor, count)
        fed = await feed(self._ledger, batch_id, cursor, shards, queue=queue)
        return [(queue, shard_id(batch_id, number)) for number in range(cursor, fed)]
