"""The answer cache as one worker process uses it: look-ups and writes go to Redis in groups.

A look-up takes along all that are asked for while the one before is under way, so load makes the groups. Answers of single jobs
are written at once, those of batches when enough of them are there. While Redis is unavailable every look-up is a miss, and
nothing is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from headrace.chat.completion import Completion
from headrace.errors import Refused
from headrace.jobs.question_key import QuestionKeys
from headrace.ledger.answer_cache import cache_secret, drop_answer, still_calling
from headrace.ledger.answer_files import add_answer_file, answer_files
from headrace.ledger.claim import LEASE_MS
from headrace.ledger.keep_answers import Kept, keep_answers
from headrace.ledger.look_up import Flight, look_up
from headrace.ledger.script import UNAVAILABLE, Ledger
from headrace.logs import get_logger
from headrace.text.readable import UNWRITABLE
from headrace_worker.engine.kept_answer import FILED, MAX_BYTES, pack, signature, unpack
from headrace_worker.observability.worker_meter import SavedBy, WorkerMeter

log = get_logger("headrace.worker.engine.answer_cache")

MAX_GROUP = 128
"""Questions of one look-up, and answers of one write, at most."""
WRITE_AFTER_S = 0.25
"""Seconds that an answer of a batch waits for others to be written with it."""
MAX_BATCHES = 64
"""Batches of which it is known where answers to them may lie."""
STILL_CALLING_S = LEASE_MS / 1000 / 4
AGAIN_S = 1.0
"""Seconds until the questions are given back that could not be, while Redis was away."""

Asked = Sequence[tuple[str, str]]
"""Questions by their keys, each with the record that would answer it (`headrace.ledger.look_up`)."""


class AnswerCache:
    """The answers that all workers share. The secret lies in `ledger`; the answers lie at `server`, the same one or another. They
    take `max_bytes` there at most, those of one tenant `tenant_bytes` (0: unbounded), and last `ttl_s`."""

    def __init__(
        self,
        ledger: Ledger,
        server: Ledger,
        *,
        process: str,
        ttl_s: float,
        max_bytes: int = 0,
        tenant_bytes: int = 0,
        meter: WorkerMeter | None = None,
    ):
        self._ledger = ledger
        self._server = server
        self._process = process
        self._meter = meter
        self._ttl_ms = int(ttl_s * 1000)
        self._max_bytes, self._tenant_bytes = max_bytes, tenant_bytes
        self._secret: bytes | None = None
        self._keys: dict[str, QuestionKeys] = {}
        self._files: dict[str, list[str]] = {}  # by batch
        self._asked: list[tuple[Asked, asyncio.Future[list[bytes | Flight]]]] = []
        self._looking: asyncio.Task[None] | None = None
        self._kept: dict[str, list[Kept]] = {}  # by tenant
        self._writing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._led: set[tuple[str, str]] = set()
        self._calling: asyncio.Task[None] | None = None

    async def keys(self, tenant: str) -> QuestionKeys | None:
        """Return what makes the keys of a tenant's questions; None while Redis is unavailable."""
        if (known := self._keys.get(tenant)) is not None:
            return known
        try:
            self._secret = self._secret or await cache_secret(self._ledger)
        except UNAVAILABLE as error:
            log.warning("no look at the kept answers", error=type(error).__name__)
            return None
        return self._keys.setdefault(tenant, QuestionKeys(self._secret, tenant))

    # Answers in files of batches

    def seal(self, key: str, line: bytes) -> bytes:
        """Return the signature of an output line that holds the answer to a question. Only after `keys`."""
        assert self._secret is not None
        return signature(self._secret, key, FILED, line)

    async def files(self, tenant: str, family: str, *, batch_id: str) -> list[str]:
        """Return the files that may have answers to the questions of a batch, the newest first; none while Redis is unavailable.
        They are read once for a batch: its shards are many."""
        if (known := self._files.get(batch_id)) is not None:
            return known
        try:
            found = await answer_files(self._server, tenant, family, ttl_ms=self._ttl_ms)
        except UNAVAILABLE as error:
            log.warning("no look at the kept answers", error=type(error).__name__)
            return []
        if len(self._files) >= MAX_BATCHES:
            self._files.pop(next(iter(self._files)))
        return self._files.setdefault(batch_id, found)

    async def add_file(self, tenant: str, family: str, name: str, *, paid_from_ms: int) -> None:
        """Let the answers in a file be found that were paid from a time on."""
        try:
            await add_answer_file(*(self._server, tenant, family, name), paid_from_ms=paid_from_ms, ttl_ms=self._ttl_ms)
        except UNAVAILABLE as error:
            log.warning("an answer is not kept", error=type(error).__name__)

    # Look-ups

    async def look_up(self, asked: Asked) -> list[Completion | Flight]:
        """Return the kept answer to each question, or who answers it; `LEAD` ends with `keep` or `leave`."""
        group: asyncio.Future[list[bytes | Flight]] = asyncio.get_running_loop().create_future()
        self._asked.append((asked, group))
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        try:
            replies = await group
        except asyncio.CancelledError:
            if group.done() and not group.cancelled():
                self._leave_led(asked, group.result())
            raise
        found: list[Completion | Flight] = []
        for (key, record), reply in zip(asked, replies, strict=True):
            found.append(reply if isinstance(reply, Flight) else await self._read(key, record, reply))
        if self._meter is not None:
            self._meter.missed(sum(each is Flight.LEAD or each is Flight.NONE for each in found))
        return found

    def saved(self, cause: SavedBy) -> None:
        """Count a call that was not made."""
        if self._meter is not None:
            self._meter.saved(cause)

    async def _read(self, key: str, record: str, value: bytes) -> Completion | Flight:
        assert self._secret is not None
        completion = unpack(self._secret, key, value)
        if completion is not None:
            return completion
        if not await self.forget(key):
            return Flight.NONE
        (again,) = await self.look_up([(key, record)])
        return again

    async def forget(self, key: str) -> bool:
        """Drop the kept answer to a question: it is of no use to whoever asks it. Return False if it is still there."""
        try:
            await drop_answer(self._server, key)
        except UNAVAILABLE as error:
            log.warning("no look at the kept answers", error=type(error).__name__)
            return False
        return True

    async def _look(self) -> None:
        while self._asked:
            groups: list[tuple[Asked, asyncio.Future[list[bytes | Flight]]]] = []
            while self._asked and (not groups or sum(len(each) for each, _ in groups) < MAX_GROUP):
                groups.append(self._asked.pop(0))
            everything = [question for asked, _ in groups for question in asked]
            replies: list[bytes | Flight]
            try:
                replies = await look_up(self._server, everything, process=self._process, ttl_ms=self._ttl_ms)
            except (Refused, *UNAVAILABLE) as error:
                log.warning("no look at the kept answers", error=type(error).__name__)
                replies = [*(Flight.NONE for _ in everything)]
            for asked, group in groups:
                own, replies = replies[: len(asked)], replies[len(asked) :]
                self._led.update(each for each, reply in zip(asked, own, strict=True) if reply is Flight.LEAD)
                if group.cancelled():
                    self._leave_led(asked, own)
                else:
                    group.set_result(own)
            if self._led and self._calling is None:
                self._calling = asyncio.create_task(self._keep_calling())
        self._looking = None

    def _leave_led(self, asked: Asked, replies: Sequence[bytes | Flight]) -> None:
        for (key, record), reply in zip(asked, replies, strict=True):
            if reply is Flight.LEAD:
                self.leave("", key, record)

    async def _keep_calling(self) -> None:
        """Tell those who wait that this process lives, as long as it leads."""
        while True:
            await asyncio.sleep(STILL_CALLING_S)
            if not self._led:
                break
            try:
                await still_calling(self._server, self._process, lease_ms=LEASE_MS)
            except UNAVAILABLE as error:
                log.warning("those who wait for an answer were not told", error=type(error).__name__)
        self._calling = None

    # Writes

    def keep(self, tenant: str, key: str, completion: Completion, *, record: str = "", replace: bool = True) -> None:
        """Keep the completion as the answer to a question, soon, and give the question back if `record` led it. Without `replace`
        only where none is kept."""
        assert self._secret is not None
        try:
            answer = pack(self._secret, key, completion)
        except UNWRITABLE as error:  # the job's end says so
            log.info("an answer is not kept: it cannot be read again", error=type(error).__name__)
            self.leave(tenant, key, record, failed=True)
            return
        if len(answer) > MAX_BYTES:
            log.info("an answer is not kept: it is too large", bytes=len(answer), max_bytes=MAX_BYTES)
            self.leave(tenant, key, record, failed=True)
            return
        self._write_soon(tenant, Kept(key, record, "set" if replace else "add", answer))

    def leave(self, tenant: str, key: str, record: str, *, failed: bool = False) -> None:
        """Give a question back that `record` led: the next one leads it, or if its call has `failed` nobody waits any more."""
        if record:
            self._write_soon(tenant, Kept(key, record, "fail" if failed else "leave"))

    async def written(self) -> None:
        """Return when all that is to be kept by now is, or could not be."""
        if self._writing is not None:
            await asyncio.shield(self._writing)  # it may have begun before the last of it was there
        if self._kept:
            await asyncio.shield(self._start_writing())

    def _write_soon(self, tenant: str, kept: Kept) -> None:
        group = self._kept.setdefault(tenant, [])
        group.append(kept)
        self._settle(len(group))

    def _settle(self, waiting: int) -> None:
        """Write when enough is waiting, or in a moment. What comes while a write is under way waits as long: or each one would
        be followed by another of the few answers that came meanwhile."""
        if waiting >= MAX_GROUP and self._writing is None:
            self._start_writing()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WRITE_AFTER_S, self._start_writing)

    def _start_writing(self) -> asyncio.Task[None]:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        return self._writing

    async def _write(self) -> None:
        kept, self._kept = self._kept, {}
        try:
            for tenant, group in kept.items():
                for at in range(0, len(group), MAX_GROUP):
                    await self._write_group(tenant, group[at : at + MAX_GROUP])
        finally:
            self._writing = None
            if self._kept:
                self._settle(max(map(len, self._kept.values())))

    async def _write_group(self, tenant: str, group: list[Kept]) -> None:
        try:
            await keep_answers(
                self._server,
                group,
                tenant=tenant,
                process=self._process,
                ttl_ms=self._ttl_ms,
                max_bytes=self._max_bytes,
                tenant_bytes=self._tenant_bytes,
            )
        except (Refused, *UNAVAILABLE) as error:
            log.warning("an answer is not kept", error=type(error).__name__, answers=len(group))
            # Whoever waits for these must not wait for ever: the process lives.
            asyncio.get_running_loop().call_later(AGAIN_S, self._leave_again, tenant, group)
            return
        self._led.difference_update((kept.sha, kept.record) for kept in group)

    def _leave_again(self, tenant: str, group: list[Kept]) -> None:
        for kept in group:
            self.leave(tenant, kept.sha, kept.record, failed=True)

    async def close(self) -> None:
        """Write what is to be kept, and let go of the server."""
        try:
            async with asyncio.timeout(1):
                await self.written()
        except TimeoutError:
            pass
        for task in (self._calling, self._looking, self._writing):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._server is not self._ledger:
            await self._server.close()
