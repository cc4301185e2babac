"""Handles of jobs and batches: an id and a connection; everything else is read on demand."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from headrace.batches.arrow_library import arrow
from headrace.batches.outputs.export import (
    check_free,
    check_is_no_input,
    check_suffix,
    errors_beside,
    holds,
    writable,
    write_results,
)
from headrace.batches.outputs.result_columns import TEXT, ResultColumns
from headrace.batches.outputs.results import Row, value_of
from headrace.chat.completion import Completion
from headrace.client.checking import TypeCheck, has_type
from headrace.client.event_dict import EventDict, batch_event_dict
from headrace.client.result_rows import AsyncResults, gathered_table, record_batches, surveyed_table
from headrace.client.stream import AsyncJobStream
from headrace.errors import Failure, InputError, JobFailed, WaitTimeout
from headrace.events.types import BatchEvent
from headrace.ledger.damage import readable
from headrace.ledger.state import BATCH_TERMINAL, TERMINAL
from headrace.ledger.summaries import Batch
from headrace.schema.python_types import AnswerType
from headrace.text.object_urls import OBJECT_URL
from headrace.text.quoting import quoted

if TYPE_CHECKING:
    import pyarrow

    from headrace.batches.outputs.arrow_results import ResultTable
    from headrace.client.async_client import AsyncHeadrace

T = TypeVar("T")
R = TypeVar("R")

LOOK_S = 2.0
"""Timeout of a single ledger read, in seconds, however short the caller's timeout is."""


class AsyncJobHandle(Generic[T]):
    """A handle of one job: its id and a connection. `Headrace().job(id)` makes another, in any process."""

    def __init__(self, client: AsyncHeadrace, job_id: str, answers: AnswerType[T]):
        self.id = job_id
        self._client = client
        self.answers = answers

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"

    async def status(self) -> str:
        """Return its state now: queued, running, parked, succeeded, failed, cancelled or dead. Raises `Unknown`."""
        return await self._client.backend.job_state(self.id)

    async def result(self, timeout: float | None = None) -> T:
        """Wait for the answer: a value of the requested type, or the text without a schema.

        `timeout` is in seconds; after it `WaitTimeout` is raised, and the job goes on. Raises `JobFailed`, `Unknown`, and
        `Expired` when the result is past its lifetime.
        """
        return value_of(self.id, await self.completion(timeout), self.answers)

    async def completion(self, timeout: float | None = None) -> Completion:
        """Wait as `result` does; return the whole completion: text, finish reason, usage, tool calls, value."""
        # With a timeout of 0 as well: an answer that is there is given.
        state = await within(at_least(timeout, LOOK_S), self.status(), self.id)
        if state not in TERMINAL:
            await within(timeout, self._end(), self.id)
        outcome = await within(at_least(timeout, LOOK_S), self._client.backend.job_outcome(self.id), self.id)
        if outcome.completion is None:
            raise JobFailed(self.id, outcome.error or Failure("provider_error", "it ended without an answer"))
        return outcome.completion

    def stream(self, *, after: str | None = None) -> AsyncJobStream:
        """Stream its events as they come (`async for`), the pieces of its text (`.text_deltas()`), or its structured answer
        as it grows (`.partial_objects()`), from the start or after an event's `id`. The answer of a job that was not
        submitted with `stream=True` comes as one event."""
        return AsyncJobStream(self._client.backend, self.id, after, schema=self.answers.schema)

    async def cancel(self) -> str:
        """Cancel it and return its new state; the connection of a call in flight is closed at once. Raises `Finished` after
        its end."""
        return await self._client.cancel(self.id)

    async def retry(self) -> AsyncJobHandle[T]:
        """Submit it again as a new job and return that one's handle. Idempotent: a second retry returns the same job.

        Raises `InputError` while it runs and when it succeeded, `Expired` when its body is past its lifetime.
        """
        return AsyncJobHandle(self._client, await self._client.retry_job(self.id), self.answers)

    async def _end(self) -> None:
        with await self._client.backend.job_log(self.id, "now") as view:
            while not view.ended:
                await view.next()


def checked_id(given: str, kind: str) -> str:
    """Return `given` if it has the form of the id of a `job` or a `batch`. Raises `InputError`."""
    if not isinstance(given, str) or not given.startswith(f"{kind}_"):
        raise InputError(f"{quoted(given)} is no id of a {kind}: those begin with `{kind}_`")
    return given


class AsyncBatchHandle(Generic[T]):
    """A handle of one batch: its id and a connection. `Headrace().batch(id)` makes another, in any process."""

    def __init__(
        self,
        client: AsyncHeadrace,
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
        self.answers = answers

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"

    async def progress(self) -> Batch:
        """Return the batch as it is now: state, counters of items by outcome, tokens. Raises `Unknown`."""
        return await self._client.backend.batch(self.id)

    async def wait(self, timeout: float | None = None, *, progress: bool | None = None) -> Batch:
        """Wait until it has ended, and return it. Raises `WaitTimeout` after `timeout` seconds; the batch goes on. `progress`
        shows a bar meanwhile, on a terminal and in a notebook, lines on standard error elsewhere.

        With a type, every row is validated with it as it arrives: refused rows count as failed, and are asked again up to
        `reasks` times.
        """
        found = await within(at_least(timeout, LOOK_S), self.progress(), self.id)
        if found.state in BATCH_TERMINAL and not has_type(self.answers):
            return found
        async with self._displayed(progress):
            # What has ended was perhaps read as the type before: then it is there, with a timeout of 0 as well.
            await within(at_least(timeout, LOOK_S) if found.ended else timeout, self._end(), self.id)
        return await self.progress()

    def _displayed(self, progress: bool | None = None) -> AbstractAsyncContextManager[None]:
        if not (self.shows_progress if progress is None else progress):
            return nullcontext()
        from headrace.client.batch_progress import displayed  # with it comes rich

        return displayed(self.events())

    async def check(self, *, reask: bool = True, on_reask: Callable[[str, int], None] | None = None) -> None:
        """Validate all rows with the handle's type, until the batch ends: refused rows count as failed from then on, and
        are asked again up to `reasks` times (`on_reask` is called with the re-ask batch's id and its number of items),
        unless `reask` is False. Without a type it does nothing.

        `wait` and `results` do so themselves if the type is the one that the batch was opened with. The refusals of another
        type are recorded only by this method.
        """
        if has_type(self.answers):
            check = TypeCheck(self._client, self.id, self.answers, counts=True, on_reask=on_reask)
            await check.run(reask=reask)
            if reask:
                await self._ended()

    async def _end(self) -> None:
        await self._check().run()
        await self._ended()

    def _check(self) -> TypeCheck:
        return TypeCheck(self._client, self.id, self.answers)

    async def _ended(self) -> None:
        async with aclosing(self.events()) as found:
            async for _ in found:
                pass

    async def events(self) -> AsyncGenerator[EventDict[BatchEvent]]:
        """Yield its counters, at most four times a second, the `end` last. Each is a dict; its `event` is the same as
        one of `headrace.events.types`."""
        with await self._client.backend.batch_log(await self.latest()) as view:
            async for entry in view:
                yield batch_event_dict(entry, self.id)

    def results(self) -> AsyncResults[T]:
        """Return its rows in input order (`async for`), each as soon as all before it are there, with memory that does not depend
        on the batch's size; or all of them as a table (`await batch.results().to_arrow()`, `to_pandas`, `to_polars`)."""
        return AsyncResults(self._rows(), self.table, self.record_batches)

    async def table(self) -> pyarrow.Table:
        """Return what `results().to_arrow()` does."""
        arrow("to_arrow()")
        found = await self.progress()
        async with self._displayed():
            await self._end()
        return await gathered_table(self.line_pages(), await self._columns(), structured=found.structured)

    async def table_columns(self) -> ResultTable:
        """Wait for the end and return the table of `results().to_arrow()` without its rows."""
        arrow("to_batches()")
        found = await self.progress()
        async with self._displayed():
            await self._end()
        return await surveyed_table(self.line_pages(), await self._columns(), structured=found.structured)

    async def record_batches(self, table: ResultTable | None = None) -> AsyncGenerator[pyarrow.RecordBatch]:
        """Yield the rows of `results().to_arrow()` as record batches of `table`, that of `table_columns` by default."""
        table = table or await self.table_columns()
        found = await self.progress()
        async with aclosing(record_batches(self.line_pages(), table, structured=found.structured)) as batches:
            async for batch in batches:
                yield batch

    async def _rows(self) -> AsyncGenerator[Row[T]]:
        async with aclosing(self.result_pages()) as pages:
            async for page in pages:
                for row in page:
                    yield row

    async def result_pages(self) -> AsyncGenerator[list[Row[T]]]:
        """Yield the rows of `results` in lists of up to 256."""
        await self.progress()  # an id that is not there is said at once
        async with self._displayed(), aclosing(self._check().rows()) as pages:
            async for page in pages:
                yield page

    async def line_pages(self) -> AsyncGenerator[list[bytes]]:
        """Yield its rows as lines in OpenAI's batch form, without line feeds, in lists of up to 256."""
        async with aclosing(self._client.backend.lines(await self.latest())) as pages:
            async for page in pages:
                yield page.applied()

    async def save(
        self, path: str | Path, *, whole: bool = False, overwrite: bool = True, excel: bool = False
    ) -> Path | str | None:
        """Write the results of an ended batch to `path` (`.jsonl`; `.csv`, `.tsv`: flattened into columns; `.parquet`; texts also
        `.gz`, `.zst`), and the failures to a file beside it, whose path is returned (None without failures). A text may be the
        address of an object (`s3://bucket/rows.parquet`); the errors' is returned then. `whole` writes
        OpenAI's batch form, `excel` a CSV as Excel opens it. Raises `InputError` before the end, for another suffix, for the
        batch's own input, and without `overwrite` for what exists."""
        form = {"whole": whole, "overwrite": overwrite, "excel": excel}
        if isinstance(path, str) and OBJECT_URL.match(path):
            return await self._save_to_object(path, **form)
        return await self._save(Path(path), **form)

    async def _save_to_object(self, url: str, *, whole: bool, overwrite: bool, excel: bool) -> str | None:
        from headrace.batches.outputs.object_outputs import ObjectOut

        remote = await asyncio.to_thread(ObjectOut, url)
        try:
            remote.check_is_no_input(self._client.sources.get(self.id, ()))
            await asyncio.to_thread(remote.check_bucket)
            if not overwrite:
                await asyncio.to_thread(remote.check_free, "give results another name")
            errors = await self._save(remote.path, whole=whole, overwrite=True, excel=excel)
            await asyncio.to_thread(remote.upload, overwrite=overwrite)
            return None if errors is None else remote.name_of(errors)
        except InputError as error:
            raise InputError(remote.named(str(error))) from None
        finally:
            remote.close()

    async def _save(self, path: Path, *, whole: bool, overwrite: bool, excel: bool) -> Path | None:
        check_suffix(path, whole=whole, excel=excel)
        for source in self._client.sources.get(self.id, ()):
            if isinstance(source, Path):
                check_is_no_input(path, source)
        path, found = writable(path), await self.progress()
        structured = found.structured
        if found.ended:
            await self._check().run(reask=False)
        errors = errors_beside(path)
        if not overwrite:
            check_free(path, errors, remedy="give results another name")
        columns = await self._columns()
        for which, target in (("output", path), ("errors", errors)):
            lines = await self._client.backend.output_lines(self.id, which)
            form: Any = {"structured": structured, "whole": whole, "excel": excel}
            form["columns"] = columns if which == "output" else columns.errors()
            with readable(self.id):
                count = await asyncio.to_thread(write_results, lines, target, overwrite=overwrite, **form)
        if not count:
            errors.unlink()
        return errors if count else None

    async def _columns(self) -> ResultColumns:
        terms = await self._client.backend.terms(await self.latest())
        return ResultColumns.of(terms.schema if terms.structured else TEXT, terms.kept)

    async def wrote(self, path: Path, *, whole: bool = False, excel: bool = False) -> bool:
        """Return True if the files at `path` and beside it are the results of this batch, ended, as `save` writes them."""
        path, found = writable(path), await self.progress()
        if not found.ended:
            return False
        columns = await self._columns()
        for which, target in (("output", path), ("errors", errors_beside(path))):
            lines = await self._client.backend.output_lines(self.id, which)
            form: Any = {"structured": found.structured, "whole": whole, "excel": excel}
            form["columns"] = columns if which == "output" else columns.errors()
            if os.path.lexists(target) and not await asyncio.to_thread(holds, lines, target, **form):
                return False
        return True

    async def cancel(self) -> str:
        """Cancel it and return its new state: paid rows are kept, the rest become error rows."""
        return await self._client.cancel(self.id)

    async def resume(self) -> str:
        """Resume it after a pause (`progress().reason` is the cause) and return its new state. Raises `Closed` after its
        end."""
        return await self._client.resume(self.id)

    async def set_budget(self, budget: str | float | Decimal | None) -> str:
        """Set what it may cost, in US dollars, or that it may cost anything (None), and return its state: paused by its budget,
        it goes on. Raises `Closed` after its end."""
        return await self._client.set_budget(self.id, budget)

    async def retry(self, codes: Collection[str] | None = None) -> AsyncBatchHandle[T]:
        """Open a new batch that keeps the successes of this one, which has ended, and pays only for the rest. With `codes`
        (`["invalid_output"]`) only failures with one of them are run again, other failures are kept. Raises `InputError`
        for an unknown code, and when nothing failed with one of them."""
        if (await self.progress()).ended:
            await self._check().run(reask=False)
        new = await self._client.retry(self.id, codes=codes)
        return AsyncBatchHandle(self._client, new, self.answers, shows_progress=self.shows_progress)

    async def latest(self) -> str:
        """Return the id of the batch that has its rows: its own, or that of its last re-ask batch."""
        return await self._client.backend.latest(self.id)


def at_least(timeout: float | None, seconds: float) -> float | None:
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0:
        return timeout  # `within` refuses what is no time
    return max(timeout, seconds)


async def within(timeout: float | None, wait: Coroutine[Any, Any, R], subject: str) -> R:
    """Return the result of `wait`. Raises `WaitTimeout` about `subject` after `timeout` seconds."""
    if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0):
        wait.close()
        raise InputError(f"timeout={quoted(timeout)}: must be a number of seconds, 0 or more, or None")
    # Not `asyncio.timeout`: its cancellation can get lost inside a read of the client, and then nothing ends the wait.
    task = asyncio.create_task(wait)
    try:
        done, _ = await asyncio.wait({task}, timeout=timeout)
        if done:
            return task.result()
    finally:
        task.cancel()
    raise WaitTimeout(
        f"{subject} has not ended within {timeout:g} s. It goes on: wait again, or come back with its id."
    )
