"""The producer's client: submit a job, open a batch, watch either, fetch the results.

`AsyncHeadrace` is it; `Headrace` (`sync_client`) is the same on an event loop of its own. Jobs are built in
`headrace.jobs.build`, templates of batches in `headrace.batches.build`, both without I/O.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, Unpack, overload

import msgspec
from redis.exceptions import RedisError

from headrace.batches import sources
from headrace.batches.build import BatchParams, make_template
from headrace.batches.create import WINDOW_S, open_new, open_retry
from headrace.batches.ingest import read_items
from headrace.batches.results import ResultLines, closed_lines
from headrace.batches.sources import Complaints, Source, checked_items, sampled
from headrace.batches.template import Item, Template
from headrace.batches.type_refusals import type_refusals
from headrace.broker.hints import Hints
from headrace.chat.messages import conversation
from headrace.chat.model_aliases import model_aliases
from headrace.client.callable_models import CallableModels
from headrace.client.handles import AsyncBatchHandle, AsyncJobHandle, checked_id
from headrace.client.one_loop import LoopBound
from headrace.errors import InputError, SettingsError, Unknown, Unreachable
from headrace.jobs.build import (
    JobParams,
    Messages,
    checked_count,
    checked_key,
    checked_seconds,
    encoded,
    make_job,
    timeout_ms,
    ttl_ms,
)
from headrace.jobs.job import Job, new_id
from headrace.jobs.retry import retry_job
from headrace.ledger import summaries
from headrace.ledger.batch_record import known_batch
from headrace.ledger.cancel import cancel
from headrace.ledger.damage import readable
from headrace.ledger.queues import INTERACTIVE
from headrace.ledger.resume import resume
from headrace.ledger.script import UNAVAILABLE, Ledger
from headrace.ledger.state import BATCH_TERMINAL, JobState
from headrace.ledger.submit import TIMEOUT_MS, submit, submit_many
from headrace.ledger.summaries import Batch, JobSummary
from headrace.ledger.unread import WaitingClient
from headrace.schema.python_types import AnswerType, answer_type
from headrace.settings import Settings, files_root, redis_url
from headrace.storage.local import FileStore, attach
from headrace.text.masking import masked
from headrace.text.quoting import quoted

T = TypeVar("T")
TENANT = "default"
GROUP = 500
"""Jobs that `submit_many` writes in one round trip."""


class AsyncHeadrace(LoopBound):
    """A connection to the service, for one event loop. Use it in an `async with`, or `close()` it.

    The address is `url`, else `HEADRACE_REDIS_URL`, else that of the nearest `.headrace` folder. Every method raises
    `Unreachable` when Redis does not answer there.
    """

    tenant = TENANT

    def __init__(self, url: str | None = None, *, settings: Settings | None = None):
        self.settings = settings or Settings.load()
        model_aliases()  # what is wrong with them is told now
        self.url = url or redis_url(self.settings)
        try:
            super().__init__(Ledger.at(self.url, self.settings.namespace, retries=1))
        except ValueError:
            # Its text may quote a piece of the password: one with a `/` in it is taken for a port.
            raise SettingsError(
                "HEADRACE_REDIS_URL, or the client's `url`, cannot be read: write `redis://host:port/0`, `rediss://…` or "
                "`unix:///path`; a password percent-encoded"
            ) from None
        self.hints = Hints(self.settings.namespace)
        self.checked: dict[tuple[str, AnswerType[Any]], int] = {}  # lines of a batch that were read as a handle's type
        self.sources: dict[str, Path] = {}  # the file that a batch was made from here: its results never replace it
        self.models = CallableModels(self.ledger)
        self._store: FileStore | None = None

    async def __aenter__(self) -> AsyncHeadrace:
        self.check_loop()
        try:
            async with self.talking():
                await self.ledger.ping()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    @overload
    async def submit(
        self, model: str, messages: Messages, *, schema: type[T], **words: Unpack[JobParams]
    ) -> AsyncJobHandle[T]: ...
    @overload
    async def submit(
        self, model: str, messages: Messages, *, schema: dict[str, Any], **words: Unpack[JobParams]
    ) -> AsyncJobHandle[Any]: ...
    @overload
    async def submit(
        self, model: str, messages: Messages, *, schema: None = None, **words: Unpack[JobParams]
    ) -> AsyncJobHandle[str]: ...
    async def submit(
        self, model: str, messages: Messages, *, schema: Any = None, **words: Unpack[JobParams]
    ) -> AsyncJobHandle[Any]:
        """Submit one completion; once accepted, it reaches exactly one terminal state, whichever process dies.

        `messages` is a text or a list in OpenAI's shape, `schema` what the answer is to be: a JSON Schema (dict), a msgspec
        Struct, a Pydantic model, a dataclass, a TypedDict. `words` are those of `JobParams` and `Options`. Raises `InputError`
        before anything is enqueued.
        """
        ttl, key = ttl_ms(words.pop("ttl_s", None)), checked_key(words.pop("idempotency_key", None))
        timeout = timeout_ms(words.pop("timeout_s", None))
        job, expected = make_job(model, messages, schema=schema, **words)
        job_id = await self.submit_job(job, ttl_ms=ttl, timeout_ms=timeout, idempotency_key=key)
        return AsyncJobHandle(self, job_id, expected)

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
        """Submit a built job; return its id: `job_id`, or that of an existing job with its idempotency key, or of the one
        whose answer an `waiter` who retries has not received."""
        job_id, body = job_id or new_id("job"), encoded(job)
        async with self.talking():
            await self.models.check(job.model, *job.fallbacks)
            hints = self.hints.push([(INTERACTIVE, job_id)])
            if idempotency_key is None and not (waiter and waiter.again):
                await submit_many(
                    self.ledger,
                    [(job_id, body)],
                    queue=INTERACTIVE,
                    tenant=TENANT,
                    ttl_ms=ttl_ms,
                    timeout_ms=timeout_ms,
                    waiter=waiter,
                    then=hints,
                )
                return job_id
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
            )
            if known == job_id:
                with suppress(*UNAVAILABLE):  # accepted all the same: `due` publishes the hint
                    await self.hints.publish(self.ledger, [(INTERACTIVE, job_id)])
        return known

    @overload
    async def submit_many(
        self, model: str, conversations: Iterable[Messages], *, schema: type[T], **words: Unpack[JobParams]
    ) -> list[AsyncJobHandle[T]]: ...
    @overload
    async def submit_many(
        self, model: str, conversations: Iterable[Messages], *, schema: dict[str, Any], **words: Unpack[JobParams]
    ) -> list[AsyncJobHandle[Any]]: ...
    @overload
    async def submit_many(
        self, model: str, conversations: Iterable[Messages], *, schema: None = None, **words: Unpack[JobParams]
    ) -> list[AsyncJobHandle[str]]: ...
    async def submit_many(
        self, model: str, conversations: Iterable[Messages], *, schema: Any = None, **words: Unpack[JobParams]
    ) -> list[AsyncJobHandle[Any]]:
        """Submit many jobs that share everything but their messages; records and hints are written in pipelined groups.

        All conversations are validated before the first is enqueued. From some thousands on, prefer `extract`: it keeps no
        record per item in Redis.
        """
        ttl, timeout = ttl_ms(words.pop("ttl_s", None)), timeout_ms(words.pop("timeout_s", None))
        checked_items(conversations, "conversations:", "texts or conversations (`submit` takes a single one)")
        if words.pop("idempotency_key", None) is not None:
            raise InputError("idempotency_key: one key names one job; use `submit` for each")
        shared, expected = make_job(model, "", schema=schema, **words)
        system = words.get("system")
        bodies = [
            (new_id("job"), encoded(msgspec.structs.replace(shared, messages=talk)))
            for talk in (conversation(messages, system_prompt=system) for messages in conversations)
        ]
        async with self.talking():
            await self.models.check(shared.model, *shared.fallbacks)
            for at in range(0, len(bodies), GROUP):
                group = bodies[at : at + GROUP]
                hints = self.hints.push((INTERACTIVE, job_id) for job_id, _ in group)
                await submit_many(
                    self.ledger,
                    group,
                    queue=INTERACTIVE,
                    tenant=TENANT,
                    ttl_ms=ttl,
                    timeout_ms=timeout,
                    then=hints,
                )
        return [AsyncJobHandle(self, job_id, expected) for job_id, _ in bodies]

    @overload
    async def extract(
        self, source: Source, prompt: str = "{text}", *, model: str, schema: type[T], **words: Unpack[BatchParams]
    ) -> AsyncBatchHandle[T]: ...
    @overload
    async def extract(
        self,
        source: Source,
        prompt: str = "{text}",
        *,
        model: str,
        schema: dict[str, Any],
        **words: Unpack[BatchParams],
    ) -> AsyncBatchHandle[Any]: ...
    @overload
    async def extract(
        self, source: Source, prompt: str = "{text}", *, model: str, schema: None = None, **words: Unpack[BatchParams]
    ) -> AsyncBatchHandle[str]: ...
    async def extract(
        self, source: Source, prompt: str = "{text}", *, model: str, schema: Any = None, **words: Unpack[BatchParams]
    ) -> AsyncBatchHandle[Any]:
        """Open a batch with one completion for every item of `source`: a `.jsonl`, `.csv` or `.tsv` file, a folder of texts, or
        an iterable of dicts or texts. `{field}` in `prompt` is an item's field.

        `words` are those of `BatchParams` and `Options`. The input is checked first; `InputError` names the line.
        """
        limit, sample, on_empty = words.pop("limit", None), words.pop("sample", None), words.pop("on_empty", "refuse")
        encoding, window_s = words.pop("encoding", None), checked_seconds("window_s", words.pop("window_s", WINDOW_S))
        template, expected = make_template(model, prompt, schema=schema, **words)
        name = str(source) if isinstance(source, str | Path) else "the input"
        complaints = Complaints(name)
        found = sampled(sources.records(source, encoding=encoding, complaints=complaints), limit=limit, sample=sample)
        items = read_items(found, template, name, complaints=complaints, on_empty=on_empty)
        batch_id = await self.open(template, items, window_s=window_s)
        if isinstance(source, str | Path):
            self.sources[batch_id] = Path(source).resolve()
        return AsyncBatchHandle(self, batch_id, expected, skipped=complaints.skipped)

    async def open(
        self,
        template: Template,
        items: Iterator[Item],
        *,
        window_s: float = WINDOW_S,
        progress: Callable[[int], None] | None = None,
    ) -> str:
        """Commit `items` and open a batch over them; return its id. Raises what `items` raises; then nothing is enqueued.

        `progress` is called with the number of items so far, every thousand items.
        """
        async with self.talking():
            await self.models.check(template.model, *template.fallbacks)
            store = await self.store()
            return await open_new(
                self.ledger, store, template, items, tenant=TENANT, window_s=window_s, progress=progress
            )

    def job(self, job_id: str, *, schema: Any = None) -> AsyncJobHandle[Any]:
        """Return a handle of a job submitted earlier, here or elsewhere; `schema` is the type its answer is read as."""
        return AsyncJobHandle(self, checked_id(job_id, "job"), answer_type(schema))

    def batch(self, batch_id: str, *, schema: Any = None) -> AsyncBatchHandle[Any]:
        """Return a handle of a batch opened earlier, here or elsewhere; `schema` is the type its answers are read as."""
        return AsyncBatchHandle(self, checked_id(batch_id, "batch"), answer_type(schema))

    async def jobs(self, *, limit: int = 50, states: Collection[str] = ()) -> list[JobSummary]:
        """Return the newest `limit` jobs of the last 8 days, newest first; with `states` only those in one of them."""
        wrong = [state for state in states if state not in list(JobState)]
        if wrong:
            raise InputError(f"state {quoted(wrong[0])}: use one of {', '.join(JobState)}")
        async with self.talking():
            return await summaries.jobs(self.ledger, TENANT, limit=checked_count("limit", limit), states=states)

    async def batches(self, *, limit: int = 50) -> list[Batch]:
        """Return the newest `limit` batches, newest first."""
        async with self.talking():
            return await summaries.batches(self.ledger, TENANT, limit=checked_count("limit", limit))

    async def cancel(self, subject_id: str) -> str:
        """Cancel a job or a batch, and return its new state. Idempotent before its end; raises `Finished` after it."""
        async with self.talking():
            if subject_id.startswith("batch_"):
                subject_id = await summaries.latest(self.ledger, subject_id)
            try:
                with readable(subject_id):
                    return await cancel(self.ledger, subject_id)
            except Unknown:
                raise Unknown(subject_id, "never submitted here, or past its retention") from None

    async def retry_job(self, job_id: str) -> str:
        """Submit a failed, dead or cancelled job again; returns the id of the new job (`retry_of` in its record)."""
        async with self.talking():
            return await retry_job(self.ledger, self.hints, checked_id(job_id, "job"), tenant=TENANT)

    async def resume(self, batch_id: str) -> str:
        """Resume a paused batch, once the cause of its pause is remedied; returns its state. Raises `Closed` after its end."""
        async with self.talking():
            batch_id = await summaries.latest(self.ledger, checked_id(batch_id, "batch"))
            with readable(batch_id):
                await resume(self.ledger, batch_id)
            return (await summaries.batch(self.ledger, batch_id)).state

    async def retry(self, batch_id: str, *, codes: Collection[str] | None = None) -> str:
        """Open a new batch that keeps what succeeded in a closed one and pays only for the rest; with `codes` only for what
        failed with one of them. Returns its id."""
        async with self.talking():
            batch_id = await summaries.latest(self.ledger, batch_id)
            with readable(batch_id):
                return await open_retry(self.ledger, await self.store(), batch_id, tenant=TENANT, codes=codes)

    async def output_lines(self, batch_id: str, *, which: str = "output") -> Callable[[], Iterator[bytes]]:
        """Return an iterator over the lines of a closed batch's `output` or `errors`, in OpenAI's batch form, in input order."""
        async with self.talking():
            batch_id = await summaries.latest(self.ledger, batch_id)
            record = await known_batch(self.ledger, batch_id)
            with readable(batch_id):
                store, refused = await self.store(), await type_refusals(self.ledger, batch_id)
        if record.state not in BATCH_TERMINAL:
            raise InputError(f"{batch_id} is {record.state}; its output is there when it has ended")
        return lambda: closed_lines(store, record, refused, which)

    async def lines_of(self, batch_id: str) -> ResultLines:
        """Return a reader of the batch's output lines; it can be read while the batch runs."""
        return ResultLines(self.ledger, self.reader, await self.store(), batch_id)

    async def store(self) -> FileStore:
        """Return the file store that the ledger names; this client's own when none is named yet. Raises `StorageError`."""
        if self._store is None:
            self._store = await attach(self.ledger, FileStore(files_root(self.settings)))
        return self._store

    @asynccontextmanager
    async def talking(self) -> AsyncIterator[None]:
        """Convert every connection error of the block to `Unreachable`."""
        try:
            yield
        except (RedisError, ConnectionError, TimeoutError) as error:
            raise Unreachable(
                f"no answer from Redis at {masked(self.url)}: {type(error).__name__}. Start the service with "
                "`headrace up`, or set HEADRACE_REDIS_URL to the server that it uses."
            ) from error
