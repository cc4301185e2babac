"""Validate the rows of a batch with the caller's type as they arrive: in the client, never in a worker.

A refused row is recorded in the ledger (`refuse_rows`) before it is yielded, so that counters, files, exit code and `retry`
agree with the rows. After the close, refused items are asked again in a re-ask batch, up to `reasks` times. That one has
all rows, so readers of the first batch continue in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from headrace.batches.outputs.output_lines import outcome_of
from headrace.batches.outputs.results import ResultsPage, Row, row_of, wait_at_most
from headrace.batches.type_refusals import BY_TYPE
from headrace.chat.completion import Completion
from headrace.client.backend import BatchTerms
from headrace.errors import InputError
from headrace.ledger.state import BATCH_TERMINAL
from headrace.schema.python_types import AnswerType, as_it_is

if TYPE_CHECKING:
    from headrace.client.async_client import AsyncHeadrace

R = TypeVar("R")

LOOK_S = 1.0
MAX_CHECKED = 1000
"""Maximal number of `(batch, type)` pairs per client whose checked line count is kept; the least recently used is dropped."""


class TypeCheck:
    """The rows of the batch `batch_id` and of its re-ask batches, decoded as `answers` say.

    Without a type nothing is validated and nothing asked again. With another type than the batch was opened with, refusals
    are this reader's alone, unless `counts`: they are not recorded. `on_reask` is called with the id of each re-ask batch
    and the number of its items.
    """

    def __init__(
        self,
        client: AsyncHeadrace,
        batch_id: str,
        answers: AnswerType[Any],
        *,
        counts: bool = False,
        on_reask: Callable[[str, int], None] | None = None,
    ):
        self._client = client
        self._backend = client.backend
        self._first = batch_id
        self._answers = answers
        self._counts = counts
        self._on_reask = on_reask

    async def rows(self, *, reask: bool = True) -> AsyncGenerator[list[Row[Any]]]:
        """Yield all rows in input order, up to 256 at a time, each as soon as all before it are there. From the first row
        that is asked again on, they come from the re-ask batch."""
        given, batch_id = 0, await self._backend.latest(self._first)
        while True:
            terms = await self._backend.terms(batch_id)
            structured = terms.structured
            check_structured(batch_id, self._answers, structured=structured)
            counts, reasks = self._meant(terms)
            reasks *= reask
            waits = False
            async with aclosing(self._backend.lines(batch_id, given)) as pages:
                async for page in pages:
                    rows = [row_of(line, self._answers, structured=structured) for line in page.applied()]
                    if counts:
                        await self._refuse(batch_id, page, rows)
                        self._mark(batch_id, page)
                    if not waits:
                        ready = self._ready(page, rows, reasks) if reasks else len(rows)
                        waits = ready < len(rows)
                        given += ready
                        if ready:
                            yield rows[:ready]
            if not (reasks and (following := await self._asked_again(batch_id))):
                reask = False
                if not waits:
                    return
                continue  # nothing was asked: the rows are what they are
            batch_id = following

    async def run(self, *, reask: bool = True) -> None:
        """Validate all rows without yielding them. After a cancellation a new run continues where it stopped."""
        batch_id = await self._backend.latest(self._first)
        while True:
            terms = await self._backend.terms(batch_id)
            structured = terms.structured
            check_structured(batch_id, self._answers, structured=structured)
            counts, reasks = self._meant(terms)
            if not counts:
                return
            read = self._client.checked.get((batch_id, self._answers), 0)
            async with aclosing(self._backend.lines(batch_id, read)) as pages:
                async for page in pages:
                    rows = [row_of(line, self._answers, structured=structured) for line in page.applied()]
                    await self._refuse(batch_id, page, rows)
                    self._mark(batch_id, page)
                    await asyncio.sleep(0)
            if not (reask and reasks):
                return
            following = await self._asked_again(batch_id)
            if following is None:
                return
            batch_id = following

    def _mark(self, batch_id: str, page: ResultsPage) -> None:
        key, read = (batch_id, self._answers), page.first + len(page.lines)
        checked = self._client.checked
        read = max(read, checked.pop(key, 0))  # the one used last is the last to be forgotten
        if len(checked) >= MAX_CHECKED:
            checked.pop(next(iter(checked)))
        checked[key] = read

    def _meant(self, terms: BatchTerms) -> tuple[bool, int]:
        """Return `(counts, reasks)`: whether refusals are recorded, and how often a refused item may be asked again."""
        if not has_type(self._answers):
            return False, 0
        counts = self._counts or (terms.schema is not None and terms.schema == self._answers.schema)
        return counts, terms.reasks if counts else 0

    async def _refuse(self, batch_id: str, page: ResultsPage, rows: list[Row[Any]]) -> None:
        refused = [
            (page.first + at, row.error.message if row.error is not None else "")
            for at, row in enumerate(rows)
            if refused_completion(row, page.lines[at]) is not None and page.first + at not in page.refused
        ]
        if refused:
            await self._backend.refuse(batch_id, refused)

    def _ready(self, page: ResultsPage, rows: list[Row[Any]], reasks: int) -> int:
        """Return the number of rows before the first one that will be asked again."""
        for at, (line, row) in enumerate(zip(page.lines, rows, strict=True)):
            completion = refused_completion(row, line)
            if completion is not None and completion.reasks < reasks:
                return at
        return len(rows)

    async def _asked_again(self, batch_id: str) -> str | None:
        """Wait for the close of `batch_id`, open its re-ask batch and return that one's id; None when no row was refused."""
        with await self._backend.batch_log(batch_id, "now") as viewer:
            while True:
                state = await self._backend.state_if_refused(batch_id)
                if state is None:
                    return None
                if state in BATCH_TERMINAL:
                    break
                await wait_at_most(viewer.next, LOOK_S)
        opened = await run_to_end(self._backend.reask(batch_id, self._answers))
        if opened is None:
            return None
        following, count = opened
        if count and self._on_reask is not None:
            self._on_reask(following, count)
        return following


async def run_to_end(work: Coroutine[Any, Any, R]) -> R:
    """Return the result of `work`, which is completed before a cancellation takes effect: a batch is opened whole or not at
    all, and a caller who waits in small portions gets one in the end."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # nobody else asks for it
        raise


def refused_completion(row: Row[Any], line: bytes) -> Completion | None:
    """Return the completion in `line` if the type refuses it. None for any other row, also for one that was refused in an
    earlier batch and taken over."""
    if row.error is None or row.error.metadata != BY_TYPE:
        return None
    return outcome_of(line, structured=True)[1]


def has_type(answers: AnswerType[Any]) -> bool:
    """Return True if answers are decoded as a type, which may refuse what its schema allows."""
    return answers.schema is not None and answers.read is not as_it_is


def check_structured(batch_id: str, answers: AnswerType[Any], *, structured: bool) -> None:
    """Raise `InputError` when a type or a schema is to decode the answers of a batch without a schema."""
    if answers.schema is not None and not structured:
        raise InputError(
            f"{batch_id} was asked without a schema: its answers are texts. Read it without one, or extract its input anew with "
            "the schema"
        )
