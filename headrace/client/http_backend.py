"""The service through a gateway, for a client without access to Redis or to the file store."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, aclosing
from pathlib import Path
from typing import IO, Any, Literal

import msgspec

from headrace.batches.inputs.column_choice import KeptColumns
from headrace.batches.media.references import Blob
from headrace.batches.outputs.output_lines import outcome_of
from headrace.batches.outputs.results import ResultsPage
from headrace.batches.template import Item, Template
from headrace.batches.type_refusals import TypeRefusals
from headrace.chat.completion import Outcome
from headrace.chat.model_aliases import resolved_elsewhere
from headrace.chat.options import set_in
from headrace.client.backend import BatchTerms
from headrace.client.http_connection import PATIENCE_S, RETRY_S, HttpConnection
from headrace.client.http_log import HttpLog
from headrace.errors import Expired, InputError
from headrace.events.ids import START, EventId
from headrace.jobs.build import encoded
from headrace.jobs.job import Job, new_id
from headrace.ledger.spend_record import SpendRecord
from headrace.ledger.state import TERMINAL
from headrace.ledger.summaries import Batch, JobSummary
from headrace.schema.python_types import AnswerType
from headrace.settings import Settings
from headrace.spend.known_models import KnownModel
from headrace.spend.money import usd_text

RESTART_S = 2.0
"""Seconds for which the first request waits for a gateway that is just being started again."""
AT_ONCE = 16
"""Requests in flight of a client that submits many jobs."""


class ShownJob(msgspec.Struct, frozen=True):
    """A job, as `/v1/jobs/{id}` shows it."""

    id: str
    status: str
    created_ms: int
    attempts: int = 0
    ended_ms: int | None = None
    code: str = ""
    retry_of: str = ""
    completion: dict[str, Any] | None = None
    error: dict[str, Any] | None = None

    def summary(self) -> JobSummary:
        return JobSummary(
            id=self.id,
            state=self.status,
            code=self.code,
            attempts=self.attempts,
            created_ms=self.created_ms,
            ended_ms=self.ended_ms,
            retry_of=self.retry_of,
        )


class JobList(msgspec.Struct, frozen=True):
    data: list[JobSummary]


class ShownModel(msgspec.Struct, frozen=True):
    """A model, as `/v1/models` shows it: prices are USD per token, as texts."""

    id: str
    owned_by: str
    context_length: int | None = None
    pricing: dict[str, str] = {}

    def known(self) -> KnownModel:
        prices = {name: float(price) * 1_000_000 for name, price in self.pricing.items()}
        return KnownModel(
            id=self.id,
            provider=self.owned_by,
            context_length=self.context_length,
            input=prices.get("prompt"),
            output=prices.get("completion"),
            cache_read=prices.get("input_cache_read"),
        )


class ModelList(msgspec.Struct, frozen=True):
    data: list[ShownModel]


class ShownBatch(msgspec.Struct, frozen=True):
    """A batch, as `/v1/native/batches/{id}` shows it."""

    batch: Batch
    latest: str
    structured: bool
    reasks: int
    schema: dict[str, Any] | None = None
    state_if_refused: str | None = None
    kept: KeptColumns | None = None


class BatchList(msgspec.Struct, frozen=True):
    data: list[Batch]


class SentPage(msgspec.Struct, frozen=True):
    """Output lines as a gateway sends them; the last one says `end`."""

    first: int = 0
    lines: list[msgspec.Raw] = []
    refused: list[tuple[int, str]] = []
    end: bool = False

    def read(self) -> ResultsPage:
        return ResultsPage(self.first, [bytes(line) for line in self.lines], TypeRefusals.of(dict(self.refused)))


class HttpBackend:
    """A connection to the gateway at `url`, for one event loop."""

    def __init__(self, url: str, key: str | None, settings: Settings):
        self._http = HttpConnection(url, key, settings)
        self._submitting: dict[str, asyncio.Future[str]] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def naming(self) -> AbstractContextManager[None]:
        return resolved_elsewhere()

    async def open(self) -> None:
        await self._http.call("GET", "/healthz", patience_s=RESTART_S)

    async def close(self) -> None:
        await self._http.close()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    async def known_models(self) -> list[KnownModel]:
        return [model.known() for model in (await self._http.call("GET", "/v1/models", type=ModelList)).data]

    async def submit_job(
        self,
        job: Job,
        *,
        ttl_ms: int,
        timeout_ms: int,
        idempotency_key: str | None = None,
        job_id: str | None = None,
    ) -> str:
        encoded(job)  # what JSON cannot hold is told as it is where nothing is sent
        # The gateway names the job: until it has, `job_id` stands for it, for `cancel`.
        key = idempotency_key or new_id("job")
        own = {"ttl_s": ttl_ms / 1000, "timeout_s": timeout_ms / 1000}
        sending = asyncio.ensure_future(
            self._http.call("POST", "/v1/jobs", body=chat_body(job, own), headers={"idempotency-key": key})
        )
        sending.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be left to ask for it
        if job_id is not None:
            self._submitting[job_id] = named = asyncio.get_running_loop().create_future()
            sending.add_done_callback(lambda done: settle(named, done))
        answer = await asyncio.shield(sending)
        return answer["id"]

    async def submit_jobs(self, jobs: Sequence[Job], *, ttl_ms: int, timeout_ms: int) -> list[str]:
        free = asyncio.Semaphore(AT_ONCE)

        async def submit(job: Job) -> str:
            async with free:
                return await self.submit_job(job, ttl_ms=ttl_ms, timeout_ms=timeout_ms)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(submit(job)) for job in jobs]
        return [task.result() for task in tasks]

    async def job_state(self, job_id: str) -> str:
        return (await self._job(job_id)).status

    async def job_outcome(self, job_id: str) -> Outcome:
        shown = await self._job(job_id)
        if shown.completion is None and (shown.error or {}).get("code") == "expired" and shown.code != "expired":
            raise Expired(job_id, "it ended, and its result is past its lifetime (`ttl_s` of submit)")
        return msgspec.convert({"completion": shown.completion, "error": shown.error}, Outcome)

    async def job_log(self, job_id: str, after: EventId | Literal["now"] = START) -> HttpLog:
        if after == "now" and await self.job_state(job_id) in TERMINAL:
            log = HttpLog(self._http, "", job_id, after)
            log.ended = True
            return log
        return await HttpLog(self._http, f"/v1/jobs/{job_id}/events", job_id, after).open()

    async def job(self, job_id: str) -> JobSummary:
        return (await self._job(job_id)).summary()

    async def jobs(self, *, limit: int, states: Collection[str]) -> list[JobSummary]:
        query = {"limit": str(limit)} | ({"state": ",".join(states)} if states else {})
        return (await self._http.call("GET", "/v1/jobs", type=JobList, query=query)).data

    async def retry_job(self, job_id: str) -> str:
        return (await self._http.call("POST", f"/v1/jobs/{job_id}/retry", subject=job_id))["id"]

    async def cancel(self, subject_id: str) -> str:
        if (named := self._submitting.get(subject_id)) is not None:
            subject_id = await named
        what = "native/batches" if subject_id.startswith("batch_") else "jobs"
        return (await self._http.call("POST", f"/v1/{what}/{subject_id}/cancel", subject=subject_id))["status"]

    async def _job(self, job_id: str) -> ShownJob:
        return await self._http.call("GET", f"/v1/jobs/{job_id}", type=ShownJob, subject=job_id)

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
        batch_id = new_id("batch")
        with tempfile.TemporaryFile() as file:
            await asyncio.to_thread(write_items, file, template, items, window_s, progress, work, joins)
            return await self._http.send_file("/v1/native/batches", file, headers={"x-headrace-batch": batch_id})

    async def batch_of_work(self, work: str) -> Batch | None:
        query = {"work": work}
        found = (await self._http.call("GET", "/v1/native/batches", type=BatchList, query=query)).data
        return found[0] if found else None

    async def batch(self, batch_id: str) -> Batch:
        return (await self._batch(batch_id)).batch

    async def batches(self, *, limit: int) -> list[Batch]:
        query = {"limit": str(limit)}
        return (await self._http.call("GET", "/v1/native/batches", type=BatchList, query=query)).data

    async def latest(self, batch_id: str) -> str:
        return (await self._batch(batch_id)).latest

    async def batch_log(self, batch_id: str, after: EventId | Literal["now"] = START) -> HttpLog:
        return await HttpLog(self._http, f"/v1/native/batches/{batch_id}/events", batch_id, after).open()

    async def resume(self, batch_id: str) -> str:
        return (await self._post(batch_id, "resume"))["status"]

    async def set_budget(self, batch_id: str, nano_usd: int | None, *, allow_unpriced: bool | None = None) -> str:
        budget = None if nano_usd is None else usd_text(nano_usd)
        body = {"budget": budget, "allow_unpriced": allow_unpriced}
        return (await self._post(batch_id, "budget", body))["status"]

    async def spend(self, *, days: int) -> SpendRecord:
        return await self._http.call("GET", "/v1/spend", type=SpendRecord, query={"days": str(days)})

    async def retry(self, batch_id: str, *, codes: Collection[str] | None) -> str:
        body = {"codes": None if codes is None else list(codes)}
        return (await self._post(batch_id, "retry", body, patience_s=0.0))["id"]

    async def lines(self, batch_id: str, given: int = 0) -> AsyncGenerator[ResultsPage]:
        path, clock = f"/v1/native/batches/{batch_id}/lines", asyncio.get_running_loop().time
        deadline = clock() + PATIENCE_S
        while True:
            try:
                async with aclosing(self._http.lines(path, {"after": str(given)}, batch_id)) as found:
                    async for line in found:
                        page = msgspec.json.decode(line, type=SentPage)
                        if page.end:
                            return
                        given = page.first + len(page.lines)
                        yield page.read()
                        deadline = clock() + PATIENCE_S
            except OSError as error:
                if clock() > deadline:
                    raise self._http.unreachable(error) from error
            await asyncio.sleep(RETRY_S)

    async def output_lines(self, batch_id: str, which: str) -> Callable[[], Iterator[bytes]]:
        found = await self._batch(batch_id)
        if not found.batch.ended:
            raise InputError(f"{batch_id} is {found.batch.state}; its output is there when it has ended")
        name = await self._kept_lines(found.latest, which)

        def lines() -> Iterator[bytes]:
            with name.open("rb") as kept:
                yield from kept

        return lines

    async def _kept_lines(self, batch_id: str, which: str) -> Path:
        """Return a file with the lines of the output or the errors; it is there until the connection is closed."""
        self._folder = self._folder or tempfile.TemporaryDirectory()
        name = Path(self._folder.name) / f"{batch_id}.{which}"
        with name.open("wb") as file:
            async with aclosing(self.lines(batch_id)) as pages:
                async for page in pages:
                    lines = [line for line in page.applied() if is_success(line) == (which == "output")]
                    await asyncio.to_thread(file.writelines, [line + b"\n" for line in lines])
        return name

    async def terms(self, batch_id: str) -> BatchTerms:
        found = await self._batch(batch_id)
        return BatchTerms(found.structured, found.schema, found.reasks, found.kept)

    async def refuse(self, batch_id: str, refused: Sequence[tuple[int, str]]) -> None:
        await self._post(batch_id, "refusals", {"rows": list(refused)})

    async def state_if_refused(self, batch_id: str) -> str | None:
        return (await self._batch(batch_id)).state_if_refused

    async def reask(self, batch_id: str, answers: AnswerType[Any] | None) -> tuple[str, int] | None:
        opened = await self._post(batch_id, "reask")
        return (opened["id"], opened["count"]) if opened["id"] is not None else None

    async def _batch(self, batch_id: str) -> ShownBatch:
        return await self._http.call("GET", f"/v1/native/batches/{batch_id}", type=ShownBatch, subject=batch_id)

    async def _post(self, batch_id: str, what: str, body: Any = None, *, patience_s: float = PATIENCE_S) -> Any:
        path = f"/v1/native/batches/{batch_id}/{what}"
        return await self._http.call("POST", path, body=body, subject=batch_id, patience_s=patience_s)


def write_items(
    file: IO[bytes],
    template: Template,
    items: Iterator[Item | Blob],
    window_s: float,
    progress: Callable[[int], None] | None,
    work: str = "",
    joins: bool = False,
) -> None:
    """Write a batch as a gateway takes it. Raises what `items` raises."""
    file.write(msgspec.json.encode({"template": template, "window_s": window_s, "work": work, "joins": joins}) + b"\n")
    sent, number = set[str](), 0
    for item in items:
        if isinstance(item, Blob):
            if item.sha in sent:
                continue
            sent.add(item.sha)
        else:
            number += 1
        file.write(msgspec.json.encode(item) + b"\n")  # a blob is a list: its hash, and its bytes as base64
        if progress is not None and number % 1000 == 0:
            progress(number)
    file.flush()


def is_success(line: bytes) -> bool:
    """Return True if an output line has an answer."""
    return outcome_of(line, structured=False)[1] is not None


def settle(named: asyncio.Future[str], done: asyncio.Future[Any]) -> None:
    if named.done():
        return
    if done.cancelled() or done.exception() is not None:
        named.cancel()
    else:
        named.set_result(done.result()["id"])


def chat_body(job: Job, own: dict[str, Any]) -> dict[str, Any]:
    """Return the chat-completions body of a job, as `/v1/jobs` takes it; what that API has no field for is in the object
    `headrace`, beside `own`."""
    body: dict[str, Any] = {
        "model": job.model,
        "messages": job.messages,
        "tools": job.tools,
        "tool_choice": job.tool_choice,
        "stream": job.stream,
    }
    if job.schema is not None:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": job.schema_name, "schema": job.schema},
        }
    defaults = Job(model="", messages=[])
    names = ("prefilling", "on_retry", "cache", "variant", "mode", "reasks", "lax")
    own |= {name: value for name in names if (value := getattr(job, name)) != getattr(defaults, name)}
    if options := set_in(job.options):
        own["options"] = options
    return {name: value for name, value in body.items() if value is not None} | {"headrace": own}
