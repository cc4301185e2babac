"""`Headrace`: the client for code without an event loop. It runs `AsyncHeadrace` on a loop in a thread of its own; any
number of threads may share it, and after a fork the child gets a loop and connections of its own."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Unpack, overload

from headrace.batches.arrow_library import arrow
from headrace.batches.build import BatchParams
from headrace.batches.inputs.sources import Source
from headrace.batches.outputs.results import Row
from headrace.chat.completion import Completion
from headrace.client.async_client import AsyncHeadrace
from headrace.client.event_dict import EventDict
from headrace.client.handles import AsyncBatchHandle, AsyncJobHandle, checked_id
from headrace.client.result_rows import Results
from headrace.client.stream import AsyncJobStream
from headrace.events.fold import Fold
from headrace.events.types import JobEvent
from headrace.jobs.build import JobParams, Messages
from headrace.ledger.spend_record import SpendRecord
from headrace.ledger.summaries import Batch, JobSummary
from headrace.portal import LoopThread
from headrace.schema.python_types import AnswerType, answer_type
from headrace.settings import Settings

if TYPE_CHECKING:
    import pyarrow

T = TypeVar("T")
R = TypeVar("R")


class Connected:
    """An `AsyncHeadrace` that lives on a loop in a thread of its own."""

    def __init__(self, make: Callable[[], AsyncHeadrace]):
        self._thread = LoopThread("headrace")
        self.run = self._thread.run
        try:
            self.client = self.run(lambda: made(make))
        except BaseException:
            self._thread.close()
            raise

    def close(self) -> None:
        self.run(self.client.close)
        self._thread.close()


async def made(make: Callable[[], AsyncHeadrace]) -> AsyncHeadrace:
    return await make().__aenter__()


class Headrace:
    """A connection to the service. Use it in a `with`, or `close()` it; methods may be called from any thread.

    It finds the service as the command line does: `url`, else `HEADRACE_REDIS_URL`, else the nearest `.headrace` folder;
    or through a gateway: `api` and its `key`, else `HEADRACE_API`.
    Every method raises `Unreachable` when nothing answers there. Arguments and errors are those of `AsyncHeadrace`.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api: str | None = None,
        key: str | None = None,
        settings: Settings | None = None,
    ):
        self._make = lambda: AsyncHeadrace(url, api=api, key=key, settings=settings)
        self._connection: Connected | None = None
        self._lock = threading.Lock()
        _living.add(self)

    def __enter__(self) -> Headrace:
        self._connected()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. What was submitted goes on; the client connects again when it is used again."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @overload
    def submit(
        self, model: str, messages: Messages, *, schema: type[T], **words: Unpack[JobParams]
    ) -> JobHandle[T]: ...
    @overload
    def submit(
        self, model: str, messages: Messages, *, schema: dict[str, Any], **words: Unpack[JobParams]
    ) -> JobHandle[Any]: ...
    @overload
    def submit(
        self, model: str, messages: Messages, *, schema: None = None, **words: Unpack[JobParams]
    ) -> JobHandle[str]: ...
    def submit(
        self, model: str, messages: Messages, *, schema: Any = None, **words: Unpack[JobParams]
    ) -> JobHandle[Any]:
        """Submit one completion; once accepted, it reaches exactly one terminal state, whichever process dies.

        `messages` is a text or a list in OpenAI's shape; `schema` a type or a JSON Schema for the answer; `words` are those of
        `JobParams` and `Options`. Raises `InputError` before anything is enqueued.
        """
        handle = self.call(lambda client: client.submit(model, messages, schema=schema, **words))
        return JobHandle(self, handle.id, handle.answers)

    @overload
    def submit_many(
        self, model: str, conversations: Iterable[Messages], *, schema: type[T], **words: Unpack[JobParams]
    ) -> list[JobHandle[T]]: ...
    @overload
    def submit_many(
        self, model: str, conversations: Iterable[Messages], *, schema: dict[str, Any], **words: Unpack[JobParams]
    ) -> list[JobHandle[Any]]: ...
    @overload
    def submit_many(
        self, model: str, conversations: Iterable[Messages], *, schema: None = None, **words: Unpack[JobParams]
    ) -> list[JobHandle[str]]: ...
    def submit_many(
        self, model: str, conversations: Iterable[Messages], *, schema: Any = None, **words: Unpack[JobParams]
    ) -> list[JobHandle[Any]]:
        """Submit many jobs that share everything but their messages; all are checked before the first is enqueued."""
        handles = self.call(lambda client: client.submit_many(model, conversations, schema=schema, **words))
        return [JobHandle(self, handle.id, handle.answers) for handle in handles]

    @overload
    def extract(
        self, source: Source, prompt: str = "{text}", *, model: str, schema: type[T], **words: Unpack[BatchParams]
    ) -> BatchHandle[T]: ...
    @overload
    def extract(
        self,
        source: Source,
        prompt: str = "{text}",
        *,
        model: str,
        schema: dict[str, Any],
        **words: Unpack[BatchParams],
    ) -> BatchHandle[Any]: ...
    @overload
    def extract(
        self, source: Source, prompt: str = "{text}", *, model: str, schema: None = None, **words: Unpack[BatchParams]
    ) -> BatchHandle[str]: ...
    def extract(
        self, source: Source, prompt: str = "{text}", *, model: str, schema: Any = None, **words: Unpack[BatchParams]
    ) -> BatchHandle[Any]:
        """Open a batch with one completion for every item of `source`: a file of JSON lines, CSV, TSV, a JSON array, Parquet
        or Arrow, a pattern, a folder or a list of paths; a table (pandas, Polars, PyArrow, DuckDB, or a dict of columns); or an
        iterable of dicts or texts. `{field}` in `prompt` is an item's field.

        `words` are those of `BatchParams` and `Options`. Raises `InputError`, naming the line, before anything is enqueued.
        """
        handle = self.call(lambda client: client.extract(source, prompt, model=model, schema=schema, **words))
        told: Any = {name: getattr(handle, name) for name in ("skipped", "bad_rows", "shows_progress")}
        return BatchHandle(self, handle.id, handle.answers, **told)

    def job(self, job_id: str, *, schema: Any = None) -> JobHandle[Any]:
        """Return a handle of a job submitted earlier, here or elsewhere; `schema` is the type its answer is read as."""
        return JobHandle(self, checked_id(job_id, "job"), answer_type(schema))

    def batch(self, batch_id: str, *, schema: Any = None) -> BatchHandle[Any]:
        """Return a handle of a batch opened earlier, here or elsewhere; `schema` is the type its answers are read as."""
        return BatchHandle(self, checked_id(batch_id, "batch"), answer_type(schema))

    def jobs(self, *, limit: int = 50, states: Collection[str] = ()) -> list[JobSummary]:
        """Return the newest `limit` jobs of the last 8 days, newest first; with `states` only those in one of them."""
        return self.call(lambda client: client.jobs(limit=limit, states=states))

    def batches(self, *, limit: int = 50) -> list[Batch]:
        """Return the newest `limit` batches, newest first."""
        return self.call(lambda client: client.batches(limit=limit))

    def spend(self, *, days: int = 30) -> SpendRecord:
        """Return what was spent and saved, in all and by day (UTC), and what is left of budgets."""
        return self.call(lambda client: client.spend(days=days))

    def call(self, ask: Callable[[AsyncHeadrace], Awaitable[R]]) -> R:
        """Return what `ask(client)` returns, awaited on this client's loop: for whatever `AsyncHeadrace` has and this has not."""
        connection = self._connected()
        return connection.run(lambda: ask(connection.client))

    def _connected(self) -> Connected:
        with self._lock:
            if self._connection is None:
                self._connection = Connected(self._make)
            return self._connection

    def forget(self) -> None:
        """Drop the loop in a child after a fork: thread and connections stayed with the parent."""
        self._connection = None
        self._lock = threading.Lock()


_living: weakref.WeakSet[Headrace] = weakref.WeakSet()
os.register_at_fork(after_in_child=lambda: [client.forget() for client in list(_living)])


async def found(value: R) -> R:
    return value


class JobHandle(Generic[T]):
    """A handle of one job: its id and a connection. `Headrace().job(id)` makes another, in any process."""

    def __init__(self, client: Headrace, job_id: str, answers: AnswerType[T]):
        self.id = job_id
        self._client = client
        self._answers = answers

    def __repr__(self) -> str:
        return f"JobHandle({self.id!r})"

    def status(self) -> str:
        """Return its state now: queued, running, parked, succeeded, failed, cancelled or dead. Raises `Unknown`."""
        return self._ask(lambda handle: handle.status())

    def result(self, timeout: float | None = None) -> T:
        """Wait for the answer: the value in the type asked for, or the text where no schema was.

        `timeout` is in seconds; after it `WaitTimeout` is raised and the job goes on. Raises `JobFailed`, `Unknown`, and
        `Expired` when the result is past its lifetime.
        """
        return self._ask(lambda handle: handle.result(timeout))

    def completion(self, timeout: float | None = None) -> Completion:
        """Wait as `result` does; return the whole completion: text, finish reason, usage, tool calls, value."""
        return self._ask(lambda handle: handle.completion(timeout))

    def cancel(self) -> str:
        """Cancel it and return its state now; a call in flight is closed at once. Raises `Finished` after its end."""
        return self._ask(lambda handle: handle.cancel())

    def retry(self) -> JobHandle[T]:
        """Submit it again and return the new job; a second retry returns the same one.

        Raises `InputError` while it runs and when it succeeded, `Expired` when its body is past its lifetime.
        """
        return JobHandle(self._client, self._ask(lambda handle: handle.retry()).id, self._answers)

    def stream(self, *, after: str | None = None) -> JobStream:
        """Stream its events as they come (`for`), or the pieces of its text (`.text_deltas()`), from the start or after an
        event's `id`. A job that was not submitted with `stream=True` brings its answer in one piece."""
        return JobStream(self._client, self._ask(lambda handle: found(handle.stream(after=after))))

    def _ask(self, ask: Callable[[AsyncJobHandle[T]], Awaitable[R]]) -> R:
        return self._client.call(lambda client: ask(AsyncJobHandle(client, self.id, self._answers)))


class JobStream:
    """`AsyncJobStream` for code without an event loop: `for event in job.stream()`, `for text in job.stream().text_deltas()`."""

    def __init__(self, client: Headrace, stream: AsyncJobStream):
        self._client = client
        self._stream = stream

    @property
    def fold(self) -> Fold:
        return self._stream.fold

    @property
    def cursor(self) -> str:
        return self._stream.cursor

    def __iter__(self) -> Iterator[EventDict[JobEvent]]:
        for event in self._flat(self._stream.pages()):
            self._stream.take(event)
            yield event

    def text_deltas(self) -> Iterator[str]:
        """Yield the text of the answer as it comes. Raises `JobFailed` and `Restarted`."""
        return self._flat(self._stream.text_pages())

    def partial_objects(self) -> Iterator[Any]:
        """Yield the structured answer as it grows. Raises `JobFailed`, and `InputError` for a job without schema."""
        return self._flat(self._stream.object_pages())

    def _flat(self, pages: AsyncGenerator[list[R]]) -> Iterator[R]:
        try:
            while page := self._client.call(lambda _: anext(pages, None)):
                yield from page
        finally:
            self._client.call(lambda _: pages.aclose())


class BatchHandle(Generic[T]):
    """A handle of one batch: its id and a connection. `Headrace().batch(id)` makes another, in any process."""

    def __init__(
        self,
        client: Headrace,
        batch_id: str,
        answers: AnswerType[T],
        *,
        skipped: int = 0,
        bad_rows: int = 0,
        shows_progress: bool = False,
    ):
        self.id = batch_id
        self.shows_progress = shows_progress  # while `wait` and `results` wait (`progress=True`)
        self.skipped = skipped  # items that `extract` left out (`on_empty="skip"`)
        self.bad_rows = bad_rows  # rows that could not be used (`on_bad_row`)
        self._client = client
        self._answers = answers

    def __repr__(self) -> str:
        return f"BatchHandle({self.id!r})"

    def progress(self) -> Batch:
        """Return the batch as it is now: state, counters of items by outcome, tokens. Raises `Unknown`."""
        return self._ask(lambda handle: handle.progress())

    def wait(self, timeout: float | None = None, *, progress: bool | None = None) -> Batch:
        """Wait until it has ended, and return it. Raises `WaitTimeout` after `timeout` seconds; the batch goes on. `progress`
        shows a bar meanwhile, on a terminal and in a notebook, lines on standard error elsewhere."""
        return self._ask(lambda handle: handle.wait(timeout, progress=progress))

    def check(self, *, reask: bool = True) -> None:
        """Read all rows as the type of the handle, to the batch's end: what it refuses counts as failed from then on, and is
        asked for again up to `reasks` times, unless `reask` is False. `wait` and `results` do it by themselves."""
        self._ask(lambda handle: handle.check(reask=reask))

    def results(self) -> Results[T]:
        """Return its rows in input order, each as soon as all before it are there, with memory that does not grow with the batch;
        or all of them as a table (`batch.results().to_arrow()`, `to_pandas`, `to_polars`)."""
        return Results(self._rows(), lambda: self._ask(lambda handle: handle.table()), self._record_batches)

    def _record_batches(self) -> pyarrow.RecordBatchReader:
        table = self._ask(lambda handle: handle.table_columns())
        pages = self._ask(lambda handle: found(handle.record_batches(table)))

        def batches() -> Iterator[pyarrow.RecordBatch]:
            try:
                while (batch := self._client.call(lambda _: anext(pages, None))) is not None:
                    yield batch
            finally:
                self._client.call(lambda _: pages.aclose())

        return arrow("to_batches()").RecordBatchReader.from_batches(table.schema, batches())

    def _rows(self) -> Iterator[Row[T]]:
        pages = self._ask(lambda handle: found(handle.result_pages()))
        try:
            while page := self._client.call(lambda _: anext(pages, None)):
                yield from page
        finally:
            self._client.call(lambda _: pages.aclose())

    def save(
        self, path: str | Path, *, whole: bool = False, overwrite: bool = True, excel: bool = False
    ) -> Path | str | None:
        """Write the results of an ended batch to `path` (`.jsonl`; `.csv`, `.tsv`: flattened into columns; `.parquet`; texts also
        `.gz`, `.zst`), and what failed beside it: returns that file, if there is one. A text may be the address of an object
        (`s3://bucket/rows.parquet`); that of the errors is returned then. `whole` writes OpenAI's batch form,
        `excel` a CSV as Excel opens it. Raises `InputError` before the end, for another suffix, for a file that the batch
        was made from, and without `overwrite` for one that is there.
        """
        return self._ask(lambda handle: handle.save(path, whole=whole, overwrite=overwrite, excel=excel))

    def cancel(self) -> str:
        """Cancel it and return its state now: rows that are paid for are kept, the rest become error rows."""
        return self._ask(lambda handle: handle.cancel())

    def resume(self) -> str:
        """Resume it after a pause (`progress().reason` says why) and return its state now. Raises `Closed` after its end."""
        return self._ask(lambda handle: handle.resume())

    def set_budget(self, budget: str | float | Decimal | None) -> str:
        """Set what it may cost, in US dollars, or that it may cost anything (None), and return its state: paused by its budget,
        it goes on. Raises `Closed` after its end."""
        return self._ask(lambda handle: handle.set_budget(budget))

    def retry(self, codes: Collection[str] | None = None) -> BatchHandle[T]:
        """Open a new batch that keeps what succeeded in this one, which has ended, and pays only for the rest. With `codes`
        (`["invalid_output"]`) it runs only what failed with one of them, and keeps the other failures as they are. Raises
        `InputError` for a code that is none, and when nothing failed with one of them."""
        new = self._ask(lambda handle: handle.retry(codes))
        return BatchHandle(self._client, new.id, self._answers, shows_progress=self.shows_progress)

    def _ask(self, ask: Callable[[AsyncBatchHandle[T]], Awaitable[R]]) -> R:
        return self._client.call(lambda client: ask(self._on(client)))

    def _on(self, client: AsyncHeadrace) -> AsyncBatchHandle[T]:
        return AsyncBatchHandle(client, self.id, self._answers, shows_progress=self.shows_progress)
