"""The producer's client: submit a job, open a batch, watch either, fetch the results.

`AsyncHeadrace` is it; `Headrace` (`sync_client`) is the same on an event loop of its own. Jobs are built in
`headrace.jobs.build`, templates of batches in `headrace.batches.build`, both without I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

import msgspec

from headrace.batches.build import BatchParams, make_template
from headrace.batches.create import WINDOW_S
from headrace.batches.inputs.reading import MEDIA_WORDS, WORDS, Reading
from headrace.batches.inputs.sources import Source, checked_items
from headrace.batches.media.references import Blob
from headrace.batches.template import Item, Template
from headrace.chat.messages import conversation
from headrace.chat.model_aliases import model_aliases
from headrace.client.backend import Backend
from headrace.client.handles import AsyncBatchHandle, AsyncJobHandle, checked_id
from headrace.client.ledger_backend import LedgerBackend
from headrace.errors import InputError
from headrace.events.reader import Reader
from headrace.guards.service_address import redis_url
from headrace.jobs.build import (
    JobParams,
    Messages,
    checked_count,
    checked_key,
    checked_seconds,
    make_job,
    timeout_ms,
    ttl_ms,
)
from headrace.ledger.script import Ledger
from headrace.ledger.spend_record import SpendRecord
from headrace.ledger.state import JobState
from headrace.ledger.summaries import Batch, JobSummary
from headrace.schema.python_types import AnswerType, answer_type
from headrace.settings import Settings
from headrace.spend.money import checked_budget
from headrace.text.quoting import quoted

if TYPE_CHECKING:
    from headrace.batches.inputs.object_inputs import ObjectAddress

T = TypeVar("T")


class AsyncHeadrace:
    """A connection to the service, for one event loop. Use it in an `async with`, or `close()` it.

    The address is `url`, else `api`, else `HEADRACE_API`, else `HEADRACE_REDIS_URL`, else that of the nearest `.headrace`
    folder. `api` is the address of a gateway, which `key` opens (`HEADRACE_API_KEY`): then neither Redis nor the file store
    have to be reachable from here, and models may be the gateway's aliases. Every method raises `Unreachable` when nothing
    answers.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api: str | None = None,
        key: str | None = None,
        settings: Settings | None = None,
    ):
        self.settings = settings or Settings.load()
        self.backend = backend_at(url, api, key, self.settings)
        self.checked: dict[tuple[str, AnswerType[Any]], int] = {}  # lines of a batch that were read as a handle's type
        # The files, or the objects, that a batch was made from here: its results never replace one.
        self.sources: dict[str, list[Path] | list[ObjectAddress]] = {}

    @property
    def ledger_backend(self) -> LedgerBackend:
        """The connection to the ledger. Raises `InputError` for a client that goes through a gateway."""
        if not isinstance(self.backend, LedgerBackend):
            raise InputError("this needs Redis and the file store, and the client goes through a gateway (`api`)")
        return self.backend

    @property
    def ledger(self) -> Ledger:
        return self.ledger_backend.ledger

    @property
    def reader(self) -> Reader:
        return self.ledger_backend.reader

    async def close(self) -> None:
        """Close the connections. Submitted jobs go on."""
        await self.backend.close()

    async def __aenter__(self) -> AsyncHeadrace:
        try:
            await self.backend.open()
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
        with self.backend.naming():
            job, expected = make_job(model, messages, schema=schema, **words)
        job_id = await self.backend.submit_job(job, ttl_ms=ttl, timeout_ms=timeout, idempotency_key=key)
        return AsyncJobHandle(self, job_id, expected)

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
        with self.backend.naming():
            shared, expected = make_job(model, "", schema=schema, **words)
        system = words.get("system")
        jobs = [
            msgspec.structs.replace(shared, messages=talk)
            for talk in (conversation(messages, system_prompt=system) for messages in conversations)
        ]
        ids = await self.backend.submit_jobs(jobs, ttl_ms=ttl, timeout_ms=timeout)
        return [AsyncJobHandle(self, job_id, expected) for job_id in ids]

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
        """Open a batch with one completion for every item of `source`: a file of JSON lines, CSV, TSV, a JSON array, Parquet
        or Arrow, a pattern, a folder or a list of paths; a table (pandas, Polars, PyArrow, DuckDB, or a dict of columns); or an
        iterable of dicts or texts. `{field}` in `prompt` is an item's field.

        `words` are those of `BatchParams` and `Options`. The input is checked first; `InputError` names the line.
        """
        params: dict[str, Any] = dict(words)
        progress = bool(params.pop("progress", False))
        window_s = checked_seconds("window_s", params.pop("window_s", WINDOW_S))
        reading = {name: params.pop(name) for name in (*WORDS, *MEDIA_WORDS) if name in params}
        told = {"prompt": prompt, "system": params.get("system"), "messages": params.get("messages")}
        with self.backend.naming():
            template, expected = make_template(model, prompt, schema=schema, **params)
            rows = Reading(source, template, language=params.get("template"), **told, **reading)
        batch_id = await self.open(rows.template, rows.items(), window_s=window_s)
        if inputs := rows.inputs():
            self.sources[batch_id] = inputs
        complaints = rows.complaints
        counts: Any = {"skipped": complaints.skipped, "bad_rows": complaints.bad, "shows_progress": progress}
        return AsyncBatchHandle(self, batch_id, expected, **counts)

    async def open(
        self,
        template: Template,
        items: Iterator[Item | Blob],
        *,
        window_s: float = WINDOW_S,
        progress: Callable[[int], None] | None = None,
        work: str = "",
        joins: bool = False,
    ) -> str:
        """Commit `items` and open a batch over them; return its id. Raises what `items` raises; then nothing is enqueued.
        `work` names the input and what is asked of it, so that who asks the same finds the batch; with `joins` one that has not
        ended is returned in place of another.

        `progress` is called with the number of items so far, every thousand items.
        """
        return await self.backend.open_batch(
            template, items, window_s=window_s, progress=progress, work=work, joins=joins
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
        return await self.backend.jobs(limit=checked_count("limit", limit), states=states)

    async def batches(self, *, limit: int = 50) -> list[Batch]:
        """Return the newest `limit` batches, newest first."""
        return await self.backend.batches(limit=checked_count("limit", limit))

    async def cancel(self, subject_id: str) -> str:
        """Cancel a job or a batch, and return its new state. Idempotent before its end; raises `Finished` after it."""
        return await self.backend.cancel(subject_id)

    async def retry_job(self, job_id: str) -> str:
        """Submit a failed, dead or cancelled job again; returns the id of the new job (`retry_of` in its record)."""
        return await self.backend.retry_job(checked_id(job_id, "job"))

    async def set_budget(
        self, batch_id: str, budget: str | float | Decimal | None, *, allow_unpriced: bool | None = None
    ) -> str:
        """Set what a batch may cost, in US dollars, or that it may cost anything (None), and return its state: one that was
        paused by its budget goes on. Raises `Closed` after its end."""
        nano = None if budget is None else checked_budget(budget, "budget")
        return await self.backend.set_budget(checked_id(batch_id, "batch"), nano, allow_unpriced=allow_unpriced)

    async def spend(self, *, days: int = 30) -> SpendRecord:
        """Return what was spent and saved, in all and by day (UTC), and what is left of budgets."""
        return await self.backend.spend(days=checked_count("days", days))

    async def resume(self, batch_id: str) -> str:
        """Resume a paused batch, once the cause of its pause is remedied; returns its state. Raises `Closed` after its end."""
        return await self.backend.resume(checked_id(batch_id, "batch"))

    async def retry(self, batch_id: str, *, codes: Collection[str] | None = None) -> str:
        """Open a new batch that keeps what succeeded in a closed one and pays only for the rest; with `codes` only for what
        failed with one of them. Returns its id."""
        return await self.backend.retry(batch_id, codes=codes)


def backend_at(url: str | None, api: str | None, key: str | None, settings: Settings) -> Backend:
    """Return the backend at the first address that is given. Raises `InputError`, `SettingsError` and `Unreachable`."""
    if url is not None and api is not None:
        raise InputError("url, api: give one of them: the address of Redis, or that of a gateway")
    if url is None and (api := api or settings.api) is not None:
        from headrace.client.http_backend import HttpBackend  # it needs an extra

        return HttpBackend(api, key or settings.api_key, settings)
    model_aliases()  # what is wrong with them is told now
    return LedgerBackend(url or redis_url(settings), settings)
