"""The rows of a batch in input order, as they finish: from parts that are committed, from the ledger what is on its way,
from the output files once the batch has closed. Memory does not grow with the batch."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from headrace.batches.ingest import read_index
from headrace.batches.kept_columns import keeps_columns, kept_part, lines_with_kept, with_kept
from headrace.batches.outputs.merge_by_custom_id import custom_id_of, merge_by_custom_id
from headrace.batches.outputs.output_lines import outcome_of
from headrace.batches.row_codec import is_row, kind_of, line_of
from headrace.batches.type_refusals import BY_TYPE, TypeRefusals, type_refusals_among
from headrace.chat.completion import Completion
from headrace.errors import Damaged, Failure, InputError, JobFailed, StorageError, Unknown
from headrace.events.reader import Reader
from headrace.ledger.batch_record import BatchRecord, FieldName, batch_field, part_of_shard
from headrace.ledger.damage import readable
from headrace.ledger.keys import shard_id
from headrace.ledger.script import Ledger
from headrace.ledger.shard_range import ShardRange
from headrace.ledger.shard_rows import rows_in_order
from headrace.ledger.state import BATCH_TERMINAL, BatchState
from headrace.schema.python_types import AnswerType, places_of
from headrace.storage.file_store import FileStore
from headrace.waiting import retry_read

T = TypeVar("T")

PAGE = 256
LOOK_S = 1.0
"""A row may be checkpointed without an event of its own (they come four times a second): then it is found by looking."""


class Row(Generic[T]):
    """One item's outcome. `value` is the answer in the caller's type; of an item that failed it raises `JobFailed`, and an
    answer that the type refuses has failed: `ok` is False, and the error's code is `invalid_output`. `kept` are the columns
    of the input that `extract` was told to keep, as JSON has them."""

    __slots__ = ("_value", "completion", "custom_id", "error", "kept")

    def __init__(
        self,
        custom_id: str,
        completion: Completion | None,
        error: Failure | None,
        value: T | None = None,
        kept: dict[str, Any] | None = None,
    ):
        self.custom_id = custom_id
        self.kept = kept or {}
        self.completion = completion
        self.error = error
        self._value = value

    @property
    def ok(self) -> bool:
        return self.error is None

    @property
    def value(self) -> T:
        if self.error is not None:
            raise JobFailed(self.custom_id, self.error)
        return self._value  # type: ignore[return-value] (there is one, or an error)

    def __repr__(self) -> str:
        return f"Row({self.custom_id!r}, {'ok' if self.error is None else self.error.code})"


def value_of(subject: str, completion: Completion, answers: AnswerType[Any]) -> Any:
    """Return the answer in the caller's form: the value decoded as their type, or the text without a schema (a refusal's
    text, then). None for a turn that called tools instead: what it said beside them was not validated.
    Raises `JobFailed` for a value that the type does not take (a type may ask for more than its schema says), and for a
    text where a type is wanted: it was asked for without one."""
    if not completion.structured:
        if answers.schema is None:
            return text_of(completion)
        if completion.tool_calls:
            return None
        message = "it was asked without a schema: the answer is a text, and no value of a type; read it without one"
        raise JobFailed(subject, Failure("invalid_output", message, partial=text_of(completion)))
    try:
        return answers.read(completion.value)
    except BaseException as error:  # whatever the caller's own validators raise: nobody else raises in there
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise  # Ctrl-C comes to the main thread
        partial = msgspec.json.encode(completion.value).decode()
        message = f"the answer fits the schema, but not the type: {'; '.join(places_of(error))}"
        raise JobFailed(subject, Failure("invalid_output", message, partial=partial, metadata=BY_TYPE)) from error


def text_of(completion: Completion) -> str:
    return completion.content or completion.refusal or ""


def row_of(line: bytes, answers: AnswerType[Any], *, structured: bool) -> Row[Any]:
    """Return the row in one output line (without the kind byte in front)."""
    custom_id, completion, error = outcome_of(line, structured=structured)
    part = kept_part(line)
    kept = None if part is None else msgspec.json.decode(part)
    if completion is None:
        return Row(custom_id, None, error or Failure("provider_error", "no answer"), kept=kept)
    try:
        return Row(custom_id, completion, None, value_of(custom_id, completion, answers), kept)
    except JobFailed as refused:
        return Row(custom_id, None, refused.failure, kept=kept)


class ResultsPage(NamedTuple):
    """Consecutive output lines, from number `first` on, as they were written, and which of them the caller's type refused."""

    first: int
    lines: list[bytes]
    refused: TypeRefusals

    def applied(self) -> list[bytes]:
        """Return the lines, refused ones replaced by error lines."""
        if not self.refused:
            return self.lines
        return [self.refused.applied(self.first + at, line) for at, line in enumerate(self.lines)]


class ResultLines:
    """The output lines of one batch, page by page, in input order, each as soon as all before it are there."""

    def __init__(self, ledger: Ledger, reader: Reader, store: FileStore, batch_id: str):
        self._ledger = ledger
        self._reader = reader
        self._store = store
        self._id = batch_id
        self._key = ledger.keys.batch(batch_id)

    async def pages(self, given: int = 0) -> AsyncGenerator[ResultsPage]:
        """Yield pages of lines from line `given` on. Raises `Unknown` for a batch that is not there (any more)."""
        async with aclosing(self._written(given)) as pages:
            while True:
                with readable(self._id):
                    lines = await anext(pages, None)
                    if lines is None:
                        return
                    page = ResultsPage(
                        given, lines, await type_refusals_among(self._ledger, self._id, given, len(lines))
                    )
                yield page
                given += len(lines)

    async def _written(self, given: int) -> AsyncGenerator[list[bytes]]:
        if not await self._has_begun():
            return
        index = await self._field("index")
        shards = int(await self._field("shards"))
        source = await self._field("input")
        keeps = await asyncio.to_thread(keeps_columns, self._store, source)
        first = await asyncio.to_thread(read_index, self._store, index, 0, 1)
        begun = given // first[0].count if first else 0  # all but the last have as many
        with await self._reader.view(self._key, "now") as viewer:
            for number in range(begun, shards):
                (shard,) = await asyncio.to_thread(read_index, self._store, index, number, 1)
                items = await asyncio.to_thread(self._items, source, shard) if keeps else []
                while given < shard.line + shard.count:
                    page, moved = await self._next(number, shard, given - shard.line)
                    if moved:  # the batch has closed: its parts are in its output
                        async for page in self._closed(given):
                            yield page
                        return
                    if page:
                        if keeps:
                            at = given - shard.line
                            page = list(lines_with_kept(page, items[at : at + len(page)]))
                        given += len(page)
                        yield page
                    else:
                        await wait_at_most(viewer.next, LOOK_S)

    def _items(self, source: str, shard: ShardRange) -> list[bytes]:
        return self._store.read(source, shard.offset, shard.length).split(b"\n")

    async def _has_begun(self) -> bool:
        """Wait for the check of an uploaded input. False for a batch that ended with it: there are no lines then."""
        with await self._reader.view(self._key, "now") as viewer:
            while (state := await self._field("state")) == BatchState.VALIDATING:
                await wait_at_most(viewer.next, LOOK_S)
        if state not in BATCH_TERMINAL:
            return True
        return await retry_read(lambda: batch_field(self._ledger, self._id, "index")) is not None

    async def _next(self, number: int, shard: ShardRange, done: int) -> tuple[list[bytes], bool]:
        """Return the next lines of the shard that are there, and whether the closed batch has to be read instead."""
        part, state = await retry_read(lambda: self._part_and_state(number))
        if part is not None:
            try:
                return await asyncio.to_thread(self._of_part, part, done), False
            except StorageError:
                if await self._field("state") in BATCH_TERMINAL:  # swept after the join
                    return [], True
                raise
        if state in BATCH_TERMINAL:
            return [], True
        end = min(done + PAGE, shard.count)
        ready = await retry_read(lambda: rows_in_order(self._ledger, shard_id(self._id, number), done, end))
        return await asyncio.to_thread(self._lines_of, ready), False

    async def _part_and_state(self, number: int) -> tuple[str | None, str]:
        part, state = await part_of_shard(self._ledger, self._id, number)
        if state is None:
            raise Unknown(self._id, "past its retention")
        return part, state

    def _of_part(self, part: str, done: int) -> list[bytes]:
        return [line[1:].rstrip(b"\n") for line in islice(self._store.lines(part), done, done + PAGE)]

    def _lines_of(self, rows: list[bytes]) -> list[bytes]:
        for row in rows:
            kind = kind_of(row)
            if kind is None or (kind.isupper() and not is_row(row)):
                raise Damaged(self._id, "one of its rows in Redis cannot be read")
        return [line_of(row, self._store) for row in rows]

    async def _closed(self, given: int) -> AsyncGenerator[list[bytes]]:
        output, errors = await self._field("output"), await self._field("errors")
        source = await self._field("input")
        lines = islice(merge(self._store, source, output, errors, kept=True), given, None)
        while page := await asyncio.to_thread(lambda: list(islice(lines, PAGE))):
            yield page

    async def _field(self, name: FieldName) -> str:
        value = await retry_read(lambda: batch_field(self._ledger, self._id, name))
        if value is None:
            raise Unknown(self._id, "no such batch, or past its retention")
        return value


def closed_lines(
    store: FileStore, batch: BatchRecord, refused: TypeRefusals, which: str, *, kept: bool = False
) -> Iterator[bytes]:
    """Yield the lines of the `output` or the `errors` of a closed batch (its record), lines in `refused` among the errors; with
    the columns that its rows have `kept`, if asked."""
    if not batch.has_begun:
        return
    kept = kept and keeps_columns(store, batch.input)
    if not refused and not kept:
        yield from store.lines(batch.output if which == "output" else batch.errors)
        return
    for number, (good, line) in enumerate(merged(store, batch.input, batch.output, batch.errors, kept=kept)):
        if (good and number not in refused) == (which == "output"):
            yield refused.applied(number, line) + b"\n"


def merge(store: FileStore, source: str, output: str, errors: str, *, kept: bool = False) -> Iterator[bytes]:
    """Yield the lines of both files of a closed batch in the order of its input."""
    return (line for _, line in merged(store, source, output, errors, kept=kept))


def merged(
    store: FileStore, source: str, output: str, errors: str, *, kept: bool = False
) -> Iterator[tuple[bool, bytes]]:
    """Yield the lines as `merge` does, each with True if it is of the output; if asked, with the columns that are `kept`."""
    files = [((custom_id_of(line), line) for line in store.lines(name)) for name in (output, errors)]
    for item, file, line in merge_by_custom_id(store.lines(source), *files):
        if line is None:
            raise InputError(f"{output} and {errors} do not hold all items of {source}")
        line = line.rstrip(b"\n")
        yield file == 0, with_kept(line, item) if kept else line


async def wait_at_most(wait: Callable[[], Any], seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await wait()
    except (TimeoutError, StopAsyncIteration):
        pass
