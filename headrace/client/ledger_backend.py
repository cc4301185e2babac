"""The service as a client with access to Redis and to the file store reaches it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, nullcontext, suppress
from typing import Any, Literal

from redis.exceptions import RedisError

from headrace.batches.create import open_new, open_reask, open_retry
from headrace.batches.media.references import Blob
from headrace.batches.outputs.results import ResultLines, ResultsPage, closed_lines
from headrace.batches.revalidation import template_named
from headrace.batches.template import Item, Template
from headrace.batches.type_refusals import type_refusals
from headrace.broker.hints import Hints
from headrace.chat.completion import Outcome, decode_outcome
from headrace.client.backend import BatchTerms
from headrace.client.callable_models import CallableModels
from headrace.client.one_loop import LoopBound
from headrace.errors import Closed, Damaged, Expired, Gap, InputError, SettingsError, Unknown, Unreachable
from headrace.events.ids import START, EventId
from headrace.events.reader import Viewer
from headrace.guards.service_address import files_address
from headrace.instruments.trace_context import current_traceparent
from headrace.jobs.build import encoded
from headrace.jobs.job import Job, new_id
from headrace.jobs.retry import retry_job
from headrace.ledger import summaries
from headrace.ledger.batch_list import batches_paused_by
from headrace.ledger.batch_record import batch_of_work, known_batch, state_if_refused, template_body
from headrace.ledger.cancel import cancel
from headrace.ledger.damage import readable
from headrace.ledger.job_record import job_result, job_state
from headrace.ledger.queues import INTERACTIVE
from headrace.ledger.refuse_rows import refuse_rows
from headrace.ledger.resume import resume
from headrace.ledger.script import UNAVAILABLE, Ledger
from headrace.ledger.set_budget import set_batch_budget, set_tenant_budget
from headrace.ledger.spend_record import SpendRecord, spend_record
from headrace.ledger.state import BATCH_TERMINAL
from headrace.ledger.submit import TIMEOUT_MS, submit, submit_many
from headrace.ledger.summaries import Batch, JobSummary
from headrace.ledger.unread import WaitingClient
from headrace.schema.python_types import AnswerType
from headrace.settings import Settings
from headrace.spend.known_models import KnownModel
from headrace.storage.file_store import FileStore
from headrace.storage.open_store import attach
from headrace.text.masking import masked
from headrace.text.readable import UNREADABLE
from headrace.waiting import retry_read

TENANT = "default"
GROUP = 500
"""Jobs that are written in one round trip."""


class LedgerBackend(LoopBound):
    """A connection to the ledger at `url`, for one event loop. Raises `SettingsError` for an address that cannot be read."""

    def __init__(self, url: str, settings: Settings):
        self.url = url
        self.settings = settings
        try:
            super().__init__(Ledger.at(url, settings.namespace, retries=1))
        except ValueError:
            # Its text may quote a piece of the password: one with a `/` in it is taken for a port.
            raise SettingsError(
                "HEADRACE_REDIS_URL, or the client's `url`, cannot be read: write `redis://host:port/0`, `rediss://…` or "
                "`unix:///path`; a password percent-encoded"
            ) from None
        self.hints = Hints(settings.namespace)
        self._models = CallableModels(self.ledger)
        self._store: FileStore | None = None

    @property
    def models(self) -> CallableModels:
        self.check_loop()
        return self._models

    def naming(self) -> AbstractContextManager[None]:
        return nullcontext()

    async def open(self) -> None:
        self.check_loop()
        async with self.talking():
            await self.ledger.ping()

    async def known_models(self) -> list[KnownModel]:
        return await self.models.known()

    async def submit_jobs(self, jobs: Sequence[Job], *, ttl_ms: int, timeout_ms: int) -> list[str]:
        bodies = [(new_id("job"), encoded(job)) for job in jobs]
        async with self.talking():
            if jobs:
                await self.models.check(jobs[0].model, *jobs[0].fallbacks)
            for at in range(0, len(bodies), GROUP):
                await self._submit_group(bodies[at : at + GROUP], ttl_ms=ttl_ms, timeout_ms=timeout_ms)
        return [job_id for job_id, _ in bodies]

    async def submit_job(
        self,
        job: Job,
        *,
        ttl_ms: int,
        timeout_ms: int = TIMEOUT_MS,
        idempotency_key: str | None = None,
        job_id: str | None = None,
        waiter: WaitingClient | None = None,
    ) -> str:
        """Submit a job; return its id: `job_id`, or that of an existing job with its idempotency key, or of one whose answer
        has not reached whoever asked the same as `waiter`. Raises `Busy` as `ledger.submit` does."""
        job_id, body = job_id or new_id("job"), encoded(job)
        async with self.talking():
            await self.models.check(job.model, *job.fallbacks)
            if idempotency_key is None and not (waiter and waiter.again):
                # Should an earlier job be joined, the hint of one that is not there costs nothing.
                (known,) = await self._submit_group(
                    [(job_id, body)], ttl_ms=ttl_ms, timeout_ms=timeout_ms, waiter=waiter
                )
                return known
            known = await submit(
                self.ledger,
                job_id,
                body,
                queue=INTERACTIVE,
                tenant=TENANT,
                ttl_ms=ttl_ms,
                timeout_ms=timeout_ms,
                idempotency_key=idempotency_key,
                waiter=waiter,
                trace=current_traceparent(),
            )
            if known == job_id:
                with suppress(*UNAVAILABLE):  # accepted all the same: `due` publishes the hint
                    await self.hints.publish(self.ledger, [(INTERACTIVE, job_id)])
        return known

    async def _submit_group(
        self, bodies: list[tuple[str, bytes]], *, ttl_ms: int, timeout_ms: int, waiter: WaitingClient | None = None
    ) -> list[str]:
        return await submit_many(
            self.ledger,
            bodies,
            queue=INTERACTIVE,
            tenant=TENANT,
            ttl_ms=ttl_ms,
            timeout_ms=timeout_ms,
            waiter=waiter,
            trace=current_traceparent(),
            then=self.hints.push((INTERACTIVE, job_id) for job_id, _ in bodies),
        )

    async def job_state(self, job_id: str) -> str:
        state = await retry_read(lambda: job_state(self.ledger, job_id))
        if state is None:
            raise Unknown(job_id, "never submitted here, or past its retention of 24 h")
        return state

    async def job_outcome(self, job_id: str) -> Outcome:
        result = await retry_read(lambda: job_result(self.ledger, job_id))
        if result is None:
            raise Expired(job_id, "it ended, and its result is past its lifetime (`ttl_s` of submit)")
        try:
            return decode_outcome(result)
        except (*UNREADABLE, TypeError):
            raise Damaged(job_id, "its result in Redis cannot be read") from None

    async def job_log(self, job_id: str, after: EventId | Literal["now"] = START) -> Viewer:
        return await self.reader.view(self.ledger.keys.job(job_id), after)

    async def job(self, job_id: str) -> JobSummary:
        async with self.talking():
            return await summaries.job(self.ledger, job_id)

    async def jobs(self, *, limit: int, states: Collection[str]) -> list[JobSummary]:
        async with self.talking():
            return await summaries.jobs(self.ledger, TENANT, limit=limit, states=states)

    async def retry_job(self, job_id: str) -> str:
        async with self.talking():
            return await retry_job(self.ledger, self.hints, job_id, tenant=TENANT)

    async def cancel(self, subject_id: str) -> str:
        async with self.talking():
            if subject_id.startswith("batch_"):
                subject_id = await summaries.latest(self.ledger, subject_id)
            try:
                with readable(subject_id):
                    return await cancel(self.ledger, subject_id)
            except Unknown:
                raise Unknown(subject_id, "never submitted here, or past its retention") from None

    async def open_batch(
        self,
        template: Template,
        items: Iterator[Item | Blob],
        *,
        window_s: float,
        progress: Callable[[int], None] | None = None,
        work: str = "",
        joins: bool = False,
    ) -> str:
        async with self.talking():
            await self.models.check(template.model, *template.fallbacks)
            store = await self.store()
            return await open_new(
                *(self.ledger, store, template, items),
                tenant=TENANT,
                window_s=window_s,
                progress=progress,
                work=work,
                joins=joins,
                check_models=self.models.check,
            )

    async def batch_of_work(self, work: str) -> Batch | None:
        async with self.talking():
            known = await batch_of_work(self.ledger, TENANT, work)
            try:
                return None if known is None else await summaries.batch(self.ledger, known)
            except (Unknown, Damaged):
                return None

    async def batch(self, batch_id: str) -> Batch:
        async with self.talking():
            return await summaries.batch(self.ledger, batch_id)

    async def batches(self, *, limit: int) -> list[Batch]:
        async with self.talking():
            return await summaries.batches(self.ledger, TENANT, limit=limit)

    async def latest(self, batch_id: str) -> str:
        return await retry_read(lambda: summaries.latest(self.ledger, batch_id))

    async def batch_log(self, batch_id: str, after: EventId | Literal["now"] = START) -> Viewer:
        return await self.reader.view(self.ledger.keys.batch(batch_id), after)

    async def resume(self, batch_id: str) -> str:
        async with self.talking():
            batch_id = await summaries.latest(self.ledger, batch_id)
            with readable(batch_id):
                await resume(self.ledger, batch_id)
            return (await summaries.batch(self.ledger, batch_id)).state

    async def set_budget(self, batch_id: str, nano_usd: int | None, *, allow_unpriced: bool | None = None) -> str:
        async with self.talking():
            batch_id = await summaries.latest(self.ledger, batch_id)
            with readable(batch_id):
                if await set_batch_budget(self.ledger, batch_id, nano_usd, allow_unpriced=allow_unpriced):
                    await resume(self.ledger, batch_id)
            return (await summaries.batch(self.ledger, batch_id)).state

    async def spend(self, *, days: int) -> SpendRecord:
        async with self.talking():
            return await spend_record(self.ledger, TENANT, days=days)

    async def limit_spend(self, nano_usd: int | None, *, of_day: bool, allow_unpriced: bool | None) -> None:
        """Set what all work may cost, or each day of it, or nothing (None)."""
        async with self.talking():
            await set_tenant_budget(self.ledger, TENANT, nano_usd, of_day=of_day, allow_unpriced=allow_unpriced)

    async def resume_paused_by(self, scope: str) -> int:
        """Resume the batches that the budget of `scope` has paused, and return how many. One that still does not fit is paused
        again."""
        async with self.talking():
            paused = await batches_paused_by(self.ledger, TENANT, scope)
            for batch_id in paused:
                with suppress(Closed):
                    await resume(self.ledger, batch_id)
            return len(paused)

    async def retry(self, batch_id: str, *, codes: Collection[str] | None) -> str:
        async with self.talking():
            batch_id = await summaries.latest(self.ledger, batch_id)
            with readable(batch_id):
                return await open_retry(self.ledger, await self.store(), batch_id, tenant=TENANT, codes=codes)

    async def lines(self, batch_id: str, given: int = 0) -> AsyncGenerator[ResultsPage]:
        lines = ResultLines(self.ledger, self.reader, await self.store(), batch_id)
        async with aclosing(lines.pages(given)) as pages:
            async for page in pages:
                yield page

    async def output_lines(self, batch_id: str, which: str) -> Callable[[], Iterator[bytes]]:
        async with self.talking():
            batch_id = await summaries.latest(self.ledger, batch_id)
            record = await known_batch(self.ledger, batch_id)
            with readable(batch_id):
                store, refused = await self.store(), await type_refusals(self.ledger, batch_id)
        if record.state not in BATCH_TERMINAL:
            raise InputError(f"{batch_id} is {record.state}; its output is there when it has ended")
        return lambda: closed_lines(store, record, refused, which, kept=True)

    async def terms(self, batch_id: str) -> BatchTerms:
        record = await retry_read(lambda: known_batch(self.ledger, batch_id))
        body = await retry_read(lambda: template_body(self.ledger, record.template))
        template = template_named(body, record.template, batch_id) if body else None
        if template is None:
            return BatchTerms(record.structured, None, 0)
        return BatchTerms(record.structured, template.schema, template.reasks, template.kept)

    async def refuse(self, batch_id: str, refused: Sequence[tuple[int, str]]) -> None:
        # A server that came back from an older copy has fewer rows than were read here: those come again.
        with suppress(Gap):
            await retry_read(lambda: refuse_rows(self.ledger, batch_id, list(refused)))

    async def state_if_refused(self, batch_id: str) -> str | None:
        return await retry_read(lambda: state_if_refused(self.ledger, batch_id))

    async def reask(self, batch_id: str, answers: AnswerType[Any] | None) -> tuple[str, int] | None:
        async with self.talking():
            return await open_reask(self.ledger, await self.store(), batch_id, answers, tenant=TENANT)

    async def store(self) -> FileStore:
        """Return the file store that the ledger names; this client's own when none is named yet. Raises `StorageError`."""
        if self._store is None:
            self._store = await attach(self.ledger, files_address(self.settings))
        return self._store

    @asynccontextmanager
    async def answer_cache(self) -> AsyncIterator[tuple[Ledger, int]]:
        """Yield the server of the answer cache, the ledger's or its own, and the bytes of all answers at most (0: unbounded).
        Raises `Unreachable`."""
        async with self.talking(self.settings.cache_url):
            url = self.settings.cache_url
            server = self.ledger if url is None else Ledger.at(url, self.settings.namespace)
            try:
                yield server, self.settings.cache_bytes
            finally:
                if server is not self.ledger:
                    await server.close()

    @asynccontextmanager
    async def talking(self, url: str | None = None) -> AsyncIterator[None]:
        """Convert every connection error of the block to `Unreachable`."""
        try:
            yield
        except (RedisError, ConnectionError, TimeoutError) as error:
            raise Unreachable(
                f"no answer from Redis at {masked(url or self.url)}: {type(error).__name__}. Start the service with "
                "`headrace up`, or set HEADRACE_REDIS_URL to the server that it uses."
            ) from error
