"""What a client asks of the service, whichever way it reaches it: the ledger itself (`ledger_backend`), or a gateway over HTTP
(`http_backend`)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple, Protocol, Self

from headrace.batches.inputs.column_choice import KeptColumns
from headrace.batches.media.references import Blob
from headrace.batches.outputs.results import ResultsPage
from headrace.batches.template import Item, Template
from headrace.chat.completion import Outcome
from headrace.events.ids import START, Event, EventId
from headrace.jobs.job import Job
from headrace.ledger.spend_record import SpendRecord
from headrace.ledger.summaries import Batch, JobSummary
from headrace.schema.python_types import AnswerType
from headrace.spend.known_models import KnownModel


class LogView(Protocol):
    """A cursor over one event log, as `headrace.events.reader.Viewer` is: single events by iterating, or groups of them by
    `next`. `ended` is True when the cursor is at the log's end."""

    cursor: EventId
    ended: bool

    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...
    def __aiter__(self) -> Self: ...
    async def __anext__(self) -> Event: ...
    async def next(self) -> list[Event]:
        """Return the next events, at least one. `StopAsyncIteration` after the group that holds `end`."""
        ...


class BatchTerms(NamedTuple):
    """The part of a batch's template that a reader of its rows needs: the schema of its answers, None for texts, and how often
    an answer may be asked for again; and the columns of the input that its rows keep."""

    structured: bool
    schema: dict[str, Any] | None
    reasks: int
    kept: KeptColumns | None = None


class Backend(Protocol):
    """The service, as its clients see it. Every method raises `Unreachable` when nothing answers, `Unknown` for an id that is
    not there, and `Damaged` for what cannot be read."""

    def naming(self) -> AbstractContextManager[None]:
        """Return a block in which names of models mean what they mean to the service."""
        ...

    async def open(self) -> None:
        """Connect."""
        ...

    async def close(self) -> None: ...

    async def known_models(self) -> list[KnownModel]:
        """Return the aliases, then the other models that are known without a call."""
        ...

    async def submit_job(
        self,
        job: Job,
        *,
        ttl_ms: int,
        timeout_ms: int,
        idempotency_key: str | None = None,
        job_id: str | None = None,
    ) -> str:
        """Submit a job and return its id, which a new one may be given (`job_id`). Raises `Conflict`."""
        ...

    async def submit_jobs(self, jobs: Sequence[Job], *, ttl_ms: int, timeout_ms: int) -> list[str]:
        """Submit jobs to one model, and return their ids."""
        ...

    async def job_state(self, job_id: str) -> str: ...

    async def job_outcome(self, job_id: str) -> Outcome:
        """Return the outcome of a job that has ended. Raises `Expired`."""
        ...

    async def job_log(self, job_id: str, after: EventId | Literal["now"] = START) -> LogView:
        """Return a view of a job's events after the cursor. Raises `Gone`."""
        ...

    async def job(self, job_id: str) -> JobSummary: ...

    async def jobs(self, *, limit: int, states: Collection[str]) -> list[JobSummary]: ...

    async def retry_job(self, job_id: str) -> str: ...

    async def cancel(self, subject_id: str) -> str:
        """Cancel a job or a batch. Raises `Finished`."""
        ...

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
        """Open a batch over `items`, or none when they raise. `work` names the input and what is asked of it;
        with `joins` one that does the same, and has not ended, is returned in place of another."""
        ...

    async def batch_of_work(self, work: str) -> Batch | None:
        """Return the last batch that was opened with this `work`, while it is known."""
        ...

    async def batch(self, batch_id: str) -> Batch: ...

    async def batches(self, *, limit: int) -> list[Batch]: ...

    async def latest(self, batch_id: str) -> str:
        """Return the id of the batch that has the rows: its own, or that of its last re-ask batch."""
        ...

    async def batch_log(self, batch_id: str, after: EventId | Literal["now"] = START) -> LogView: ...

    async def resume(self, batch_id: str) -> str: ...

    async def set_budget(self, batch_id: str, nano_usd: int | None, *, allow_unpriced: bool | None = None) -> str:
        """Set what a batch may cost, or nothing (None), and return its state: one that met its budget goes on. Raises
        `Closed`."""
        ...

    async def spend(self, *, days: int) -> SpendRecord: ...

    async def retry(self, batch_id: str, *, codes: Collection[str] | None) -> str: ...

    def lines(self, batch_id: str, given: int = 0) -> AsyncGenerator[ResultsPage]:
        """Yield the output lines from number `given` on in input order, each as soon as all before it are there."""
        ...

    async def output_lines(self, batch_id: str, which: str) -> Callable[[], Iterator[bytes]]:
        """Return what iterates over the lines of a closed batch's `output` or `errors`, in OpenAI's form, in input order."""
        ...

    async def terms(self, batch_id: str) -> BatchTerms: ...

    async def refuse(self, batch_id: str, refused: Sequence[tuple[int, str]]) -> None:
        """Record the lines that the caller's type refuses, each with the reason."""
        ...

    async def state_if_refused(self, batch_id: str) -> str | None:
        """Return the batch's state if lines of it were refused, else None."""
        ...

    async def reask(self, batch_id: str, answers: AnswerType[Any] | None) -> tuple[str, int] | None:
        """Open the batch that asks again for the refused lines of a completed one; see `batches.create.open_reask`."""
        ...
