"""The items of a shard in the order in which they run, where answers are cached: what is known already does not run.

A group of items is looked up at a time. Of equal items one runs; the others get its answer. An item whose question is being
answered elsewhere (by another shard, or for a single job) is put off until all others of this shard have ended: so two shards can
wait for each other's answers, and neither for what has not begun.

What the cache no longer has is looked for in the outputs of closed batches (`filed_answers.py`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence

import msgspec

from headrace.batches.template import Item, Template
from headrace.chat.completion import Completion
from headrace.jobs.cache_mode import StoredCache, of_item
from headrace.jobs.job import Job
from headrace.jobs.question_key import QuestionKeys, key_of, with_messages
from headrace.ledger.look_up import Flight
from headrace.storage.file_store import FileStore
from headrace.text.readable import UNWRITABLE
from headrace_worker.engine.engine import Engine
from headrace_worker.engine.kept_answer import is_shareable
from headrace_worker.engine.shared_answers import TURN_S, as_cached
from headrace_worker.execution.answer_index import packed_keys
from headrace_worker.execution.filed_answers import FiledAnswers
from headrace_worker.observability.worker_meter import SavedBy

GROUP = 64
"""Items that are looked up together: as many as run side by side, so that those that are led begin at once."""
OWN = ("model", "system", "schema", "schema_name", "tools", "tool_choice", "response_format", "options")
"""Fields of an item that change more of its question than the messages."""

Take = Callable[[int, Completion], None]
"""Is given an item's answer that was not paid for it."""


class ItemKeys:
    """The keys of a batch's items: what its template has of a question is hashed once."""

    def __init__(self, keys: QuestionKeys, template: Template, engine: Engine):
        self._keys = keys
        self._engine = engine
        self._skipped = 0 if template.system is None else 1
        job = template.job(Item(custom_id="", messages=[]))
        deployments = engine.deployments_of(job)
        self._begun = None if deployments is None else with_messages(keys.begun(job, deployments), job.messages)
        # Of batches that ask the same but for the items: whatever else their templates say, of weights or budgets.
        self.family = key_of(self._begun or keys.begun(job, ""), [])

    def of(self, item: Item, job: Job) -> str | None:
        """Return the key of an item's question; None for one that cannot be cached."""
        try:
            if any(getattr(item, name) is not None for name in OWN):
                deployments = self._engine.deployments_of(job)
                return None if deployments is None else self._keys.of_job(job, deployments)
            return None if self._begun is None else key_of(self._begun, job.messages[self._skipped :])
        except UNWRITABLE:
            return None


async def shard_answers(
    engine: Engine,
    record: str,
    tenant: str,
    template: Template,
    items: Sequence[Item],
    todo: Sequence[int],
    *,
    store: FileStore | None = None,
    take: Take,
    may_begin: Callable[[], bool],
) -> ShardAnswers | None:
    """Return the items to run by way of the answer cache, and of the files in `store`; None when their batch has no cache, or
    Redis is unavailable."""
    if not template.cache or engine.answers is None:
        return None
    if (keys := await engine.answers.keys(tenant)) is None:
        return None
    of_items = ItemKeys(keys, template, engine)
    filed = None
    if store is not None and template.cache not in ("write", "refresh"):
        batch_id = record.partition(".")[0]
        filed = FiledAnswers(
            engine.answers, store, await engine.answers.files(tenant, of_items.family, batch_id=batch_id)
        )
    return ShardAnswers(
        engine,
        of_items,
        filed,
        record=record,
        tenant=tenant,
        template=template,
        items=items,
        todo=todo,
        take=take,
        may_begin=may_begin,
    )


class ShardAnswers:
    """The items `todo` of one shard. `take` is given the answers that are not paid; `may_begin` says whether items may begin."""

    def __init__(
        self,
        engine: Engine,
        keys: ItemKeys,
        filed: FiledAnswers | None,
        *,
        record: str,
        tenant: str,
        template: Template,
        items: Sequence[Item],
        todo: Sequence[int],
        take: Take,
        may_begin: Callable[[], bool],
    ):
        assert engine.answers is not None
        self._engine = engine
        self._cache = engine.answers
        self._record = record
        self._tenant = tenant
        self._template = template
        self._plain = msgspec.structs.replace(template, cache=False)
        self._of_template: StoredCache = of_item(template.cache, template.options)
        self._keys = keys
        self._filed = filed
        self._items = items
        self._paid: dict[int, str] = {}  # items whose answers were paid, and may be given to others, with their keys
        self._todo = deque(todo)
        self._take = take
        self._may_begin = may_begin
        self._ready: deque[tuple[int, Job | None]] = deque()
        self._running: dict[
            int, tuple[str, Job, StoredCache]
        ] = {}  # items that were begun or are ready, with their keys
        self._twins: dict[str, list[tuple[int, Job]]] = {}  # of the items that run: those that wait for their answers
        self._answered: dict[str, Completion] = {}
        self._elsewhere: deque[tuple[int, str, Job]] = deque()
        self._put_off = set[int]()  # items whose question was being answered elsewhere
        self._led: set[str] = set()
        self._is_looking = False
        self._looked = asyncio.Event()
        self._waiting = 0  # twins of items that run
        self._idle = 0  # callers of `next` that are there should these have to run after all
        self._ended = asyncio.Event()

    async def next(self) -> tuple[int, Job | None] | None:
        """Return the next item that has to run, and its job, if there is one; None when none is left."""
        while self._may_begin():
            if self._ready:
                return self._ready.popleft()
            if self._is_looking:
                await self._looked.wait()
            elif self._todo or self._elsewhere:
                await self._look()
            elif self._idle < self._waiting:
                self._idle += 1
                self._ended.clear()
                try:
                    await self._ended.wait()
                finally:
                    self._idle -= 1
            else:
                break
        return None

    async def _look(self) -> None:
        """Look up what comes next. Those who wait for it begin together: one after the other their answers would come, and be
        checkpointed, one by one."""
        self._is_looking = True
        self._looked.clear()
        try:
            await (self._look_up_next() if self._todo else self._look_again())
        finally:
            self._is_looking = False
            self._looked.set()
            self.wake()

    async def _look_up_next(self) -> None:
        asked: dict[str, tuple[int, Job]] = {}
        reads: list[tuple[int, Job]] = []
        while self._todo and len(asked) + len(reads) < GROUP and len(self._ready) < GROUP:
            index = self._todo.popleft()
            question = self._question_of(index)
            if question is None:
                self._ready.append((index, None))
                continue
            job, mode, key = question
            if key is None:
                self._ready.append((index, job))
                continue
            if mode is not True:
                self._running[index] = (key, job, mode)
                (reads if mode == "read" else self._ready).append((index, job))
            elif (known := self._answered.get(key)) is not None:
                self._save(index, known, "join")
            elif key in self._twins:
                self._add_twin(key, index, job)
            else:
                asked[key] = (index, job)
                self._twins[key] = []
        if asked:
            await self._look_up([(key, index, job) for key, (index, job) in asked.items()])
        if reads:
            await self._read(reads)

    def _question_of(self, index: int) -> tuple[Job, StoredCache, str | None] | None:
        """Return an item's job, its mode, and the key of its question, None where it has none; None for a line that is no
        request: nothing of it could be a job."""
        item = self._items[index]
        if item.refused is not None:
            return None
        job = self._plain.job(item)
        mode = of_item(self._template.cache, job.options) if item.options is not None else self._of_template
        return job, mode, self._keys.of(item, job) if mode else None

    async def _look_up(self, asked: list[tuple[str, int, Job]]) -> None:
        found = await self._cache.look_up([(key, self._record) for key, _, _ in asked])
        # First of all what has to be given back, whatever happens to the rest.
        self._led.update(key for (key, _, _), each in zip(asked, found, strict=True) if each is Flight.LEAD)
        filed = await self._filed_answers(
            [(key, job) for (key, _, job), each in zip(asked, found, strict=True) if isinstance(each, Flight)]
        )
        for (key, index, job), each in zip(asked, found, strict=True):
            if (known := filed.get(key)) is not None:
                if key in self._led:
                    self._led.discard(key)
                    self._cache.leave(self._tenant, key, self._record)
                self._answered[key] = known
                self._save(index, known, "cache")
                self._give(key, known)
            elif isinstance(each, Completion) and await self._engine.fits(job, each):
                self._answered[key] = each
                self._save(index, each, "join" if index in self._put_off else "cache")
                self._give(key, each)
            elif each is Flight.WAIT:
                self._put_off.add(index)
                self._elsewhere.append((index, key, job))
                self._elsewhere.extend((twin, key, of_twin) for twin, of_twin in self._take_twins(key))
            else:
                self._twins.setdefault(key, [])
                self._running[index] = (key, job, True)
                self._ready.append((index, job))

    async def _read(self, asked: list[tuple[int, Job]]) -> None:
        found = await self._cache.look_up([(self._running[index][0], "") for index, _ in asked])
        filed = await self._filed_answers(
            [
                (self._running[index][0], job)
                for (index, job), each in zip(asked, found, strict=True)
                if isinstance(each, Flight)
            ]
        )
        for (index, job), each in zip(asked, found, strict=True):
            known = each if isinstance(each, Completion) else filed.get(self._running[index][0])
            if known is not None and (known is not each or await self._engine.fits(job, known)):
                del self._running[index]
                self._save(index, known, "cache")
            else:
                self._ready.append((index, job))

    async def _filed_answers(self, asked: Sequence[tuple[str, Job]]) -> dict[str, Completion]:
        return {} if self._filed is None else await self._filed.find(asked)

    async def _look_again(self) -> None:
        """Look at what is answered elsewhere, at the next turn."""
        await asyncio.sleep(TURN_S - asyncio.get_running_loop().time() % TURN_S)
        asked: dict[str, tuple[int, Job]] = {}
        for _ in range(len(self._elsewhere)):
            index, key, job = self._elsewhere.popleft()
            if key in self._answered:
                self._save(index, self._answered[key], "join")
            elif key in asked or key in self._twins:
                self._add_twin(key, index, job)
            elif len(asked) < GROUP:
                asked[key] = (index, job)
            else:
                self._elsewhere.append((index, key, job))
        if asked:
            await self._look_up([(key, index, job) for key, (index, job) in asked.items()])

    def answered(self, index: int, completion: Completion) -> None:
        """Keep the answer that was paid for an item, and give it to those that ask the same."""
        if (run := self._running.pop(index, None)) is None:
            return
        key, _, mode = run
        shareable = is_shareable(completion)
        if shareable and mode != "read":
            self._paid[index] = key
            record = self._record if key in self._led else ""
            self._cache.keep(self._tenant, key, completion, record=record, replace=mode != "write")
            self._led.discard(key)
        if mode is True:
            if shareable:
                self._answered[key] = completion
                self._give(key, completion)
            else:
                self._release(key)

    def failed(self, index: int) -> None:
        """Note that an item has no answer that others could be given: they ask for themselves."""
        run = self._running.pop(index, None)
        if run is not None and run[2] is True:
            self._release(run[0])

    def _give(self, key: str, completion: Completion) -> None:
        for index, _ in self._take_twins(key):
            self._save(index, completion, "join")

    def _save(self, index: int, completion: Completion, cause: SavedBy) -> None:
        self._cache.saved(cause)
        self._take(index, as_cached(completion))

    def _release(self, key: str) -> None:
        if key in self._led:
            self._led.discard(key)
            self._cache.leave(self._tenant, key, self._record, failed=True)
        for index, job in self._take_twins(key):
            self._running[index] = (key, job, True)
            self._ready.append((index, job))

    def _add_twin(self, key: str, index: int, job: Job) -> None:
        self._twins.setdefault(key, []).append((index, job))
        self._waiting += 1

    def _take_twins(self, key: str) -> list[tuple[int, Job]]:
        twins = self._twins.pop(key, [])
        self._waiting -= len(twins)
        return twins

    def packed_keys(self, earlier: Collection[int]) -> bytes:
        """Return the keys by which the answers of this shard are found in its batch's output; empty where there are none. The
        items in `earlier` have rows of earlier attempts."""
        for index in earlier:
            question = self._question_of(index)
            if question is not None and question[1] != "read" and question[2] is not None:
                self._paid[index] = question[2]
        return packed_keys(self._paid, len(self._items)) if self._paid else b""

    def wake(self) -> None:
        """Have those that wait for an item look again, where there is something to see: one has ended, whichever way."""
        if self._idle and (self._ready or self._idle > self._waiting or not self._may_begin()):
            self._ended.set()

    async def close(self) -> None:
        """Give back what was not answered, and return when all answers are kept."""
        for key in self._led:
            self._cache.leave(self._tenant, key, self._record)
        self._led.clear()
        await self._cache.written()
