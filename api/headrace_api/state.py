"""The state that the routes of a gateway process share: the ledger, the reader, authorization, and the drain."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Literal

import msgspec

from headrace import telemetry
from headrace.batches.outputs.results import ResultLines
from headrace.chat.completion import Outcome, decode_outcome
from headrace.chat.model_aliases import model_aliases
from headrace.client.ledger_backend import LedgerBackend
from headrace.errors import Damaged, Expired, Gone, InputError, Unknown
from headrace.events.ids import START, EventId
from headrace.events.reader import Reader, Viewer
from headrace.guards.service_address import redis_url
from headrace.instruments.ledger_gauges import LedgerGauges
from headrace.instruments.loop_lag import measure_loop_lag
from headrace.instruments.meter import Meter
from headrace.jobs.job import Job
from headrace.ledger.job_record import JobStatus, job_body, job_end, job_result, job_state, job_status
from headrace.ledger.state import TERMINAL
from headrace.settings import Settings
from headrace.storage.file_store import FileStore
from headrace.text.readable import UNREADABLE
from headrace.waiting import retry_read, stop
from headrace_api.access.callers import CallerPolicy
from headrace_api.auth import Gate, tokens_of
from headrace_api.errors import ApiError
from headrace_api.expendable_jobs import ExpendableJobs
from headrace_api.requests.answer_delivery import AnswerDelivery, Delivery, Exchange
from headrace_api.requests.patience import limit_of

JOB_ID_CHARS = 64
CHANGED = "its record was changed by somebody else"
GAUGES = {telemetry.STREAMS: "streams", telemetry.FOLLOWED: "rooms", telemetry.BUFFERED: "ring_bytes"}
"""What a gateway holds, as metrics."""
MAX_UPLOADS = 64
"""Uploads of files at a time: each holds a piece in memory, and a place on the disk."""


class Gateway:
    """The state of one process. `draining` is set at shutdown: every stream ends at once, no job does."""

    def __init__(self, settings: Settings, gate: Gate, callers: CallerPolicy):
        self.settings = settings
        self.gate = gate
        self.callers = callers
        self.draining = asyncio.Event()
        self.abort: Callable[[Any, bytes], None] = lambda scope, last: None
        self.delivery: Callable[[Exchange], Delivery] = lambda _: "read"
        self.on_lost: Callable[[tuple[Any, ...]], None] = lambda peer: None
        self.streams = 0
        self._client: LedgerBackend | None = None
        self.uploads = 0
        self.opening = set[str]()  # batches that are being opened
        self._reader: Reader | None = None
        self.meter = meter = Meter()
        self.responses = meter.counter(telemetry.RESPONSES)
        for metric, name in GAUGES.items():
            meter.gauge(metric, lambda name=name: self.held()[name])

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Stay connected to the ledger for the block. Raises `Unreachable` when Redis does not answer."""
        model_aliases()  # what is wrong with them is told now
        self._client = client = LedgerBackend(redis_url(self.settings), self.settings)
        try:
            await client.open()
            self._reader = Reader(client.ledger)
            self.answer_delivery = AnswerDelivery(client, self.delivery, self.settings.join_s)
            self.on_lost = self.answer_delivery.connection_lost
            self.expendable = ExpendableJobs(client.ledger)
            self.ledger_gauges = LedgerGauges(client.ledger)
            lag = asyncio.create_task(measure_loop_lag(self.meter))
            async with client.talking():
                await self.answer_delivery.start()
            try:
                yield
            finally:
                await stop(lag)
                await self.answer_delivery.close()
                await self.expendable.close()
                await self._reader.close()
        finally:
            await client.close()

    @property
    def client(self) -> LedgerBackend:
        assert self._client is not None
        return self._client

    def held(self) -> dict[str, int]:
        """Return the gauges that grow with viewers, and return to their old values after them."""
        assert self._reader is not None
        return {"streams": self.streams, **self._reader.held(), "tasks": len(asyncio.all_tasks())}

    def allow(self, connection: Any, job: str, scope: str, more: tuple[str, ...] = ()) -> float | None:
        """Authorize this request to do `scope` on `job`; return the seconds that a connection may last, None for no end. Raises
        `Denied`."""
        self.check_caller(connection)
        return self.gate.authorize([*self.tokens(connection), *more], job, scope)

    def caller(self, connection: Any) -> str:
        """Return whom a request comes from, as far as its tokens say; empty for everyone at an open gateway."""
        return self.gate.subject(self.tokens(connection))

    def check_caller(self, connection: Any) -> None:
        """Raise `Denied` for cross-site pages, and for host names that anybody may have made up."""
        headers, server = connection.headers, connection.scope.get("server")
        self.callers.check(headers.get("host", ""), headers.get("origin"), server[0] if server else None)

    def tokens(self, connection: Any) -> list[str]:
        """Return every token that came with a request."""
        return tokens_of(connection.headers, connection.query_params, connection.scope.get("subprotocols") or ())

    def urls(self, request: Any, job: str) -> dict[str, str]:
        """Return the URLs of a job's stream and result, as its callers reach this gateway."""
        return urls_of(self.settings.gateway_url or str(request.base_url).rstrip("/"), job)

    def check_stream_limit(self) -> None:
        """Raise `ApiError` when the maximal number of streams and WebSockets is open. Call it before a job is accepted: a
        client that is refused afterwards retries, and pays again."""
        if self.streams >= self.settings.gateway_streams:
            raise ApiError(
                429, "too_many_streams", "too many streams are open here; try again", headers={"retry-after": "5"}
            )

    @contextlib.contextmanager
    def stream_slot(self) -> Iterator[None]:
        """Hold a stream slot for the block. Raises `ApiError` when there is none."""
        self.check_stream_limit()
        self.streams += 1
        try:
            yield
        finally:
            self.streams -= 1

    @contextlib.contextmanager
    def upload_slot(self) -> Iterator[None]:
        """Hold a place for the upload of a file. Raises `ApiError` when there is none."""
        if self.uploads >= MAX_UPLOADS:
            raise ApiError(
                429, "too_many_uploads", "too many files are uploaded here; try again", headers={"retry-after": "5"}
            )
        self.uploads += 1
        try:
            yield
        finally:
            self.uploads -= 1

    async def store(self) -> FileStore:
        """Return the file store. Raises `StorageError` where it cannot be reached from here, `Unreachable`."""
        async with self.client.talking():
            return await self.client.store()

    async def lines_of(self, batch_id: str) -> ResultLines:
        """Return a reader of a batch's output lines, which can be read while it runs."""
        assert self._reader is not None
        return ResultLines(self.client.ledger, self._reader, await self.store(), batch_id)

    async def view(self, job: str, after: EventId | Literal["now"] = START) -> Viewer:
        """Return a viewer of a job's events. Raises `Unknown`."""
        assert self._reader is not None
        return await self._reader.view(self.record(job), after)

    async def follow(self, record: str, after: EventId) -> Viewer:
        """Return a viewer of the log of a job or a batch, by its key. Raises `Unknown`."""
        assert self._reader is not None
        return await self._reader.view(record, after)

    def expect(self, job: str) -> Viewer:
        """Return a viewer of the events of a job that is about to be submitted under this id (`Reader.expect`)."""
        assert self._reader is not None
        return self._reader.expect(self.record(job))

    def record(self, job: str) -> str:
        """Return the key of a job. Raises `Unknown` for a malformed id."""
        if not job.startswith("job_") or not job.isascii() or not job.isidentifier() or len(job) > JOB_ID_CHARS:
            raise Unknown(job[:JOB_ID_CHARS], "no id of a job: those begin with `job_`")
        return self.client.ledger.keys.job(job)

    async def job_state(self, job: str) -> str | None:
        """Return the state of a job; None when there is no record of it. Raises `Unknown` for a malformed id."""
        self.record(job)
        return await retry_read(lambda: job_state(self.client.ledger, job))

    async def job_status(self, job: str) -> JobStatus | None:
        """Return the state of a job as `job_state` does, with its times and attempts. Raises `Damaged`."""
        self.record(job)
        try:
            return await retry_read(lambda: job_status(self.client.ledger, job))
        except ValueError:
            raise Damaged(job, CHANGED) from None

    async def asked(self, job: str) -> Job | None:
        """Return the request of a job that has not ended; None once it has, or when it cannot be read."""
        self.record(job)
        body = await retry_read(lambda: job_body(self.client.ledger, job))
        try:
            return msgspec.json.decode(body, type=Job) if body else None
        except UNREADABLE:  # of another version, or damaged
            return None

    async def outcome(self, job: str) -> Outcome | None:
        """Return a job's outcome; None before its end. Raises `Unknown`, or `Expired` when its result is past its lifetime."""
        state = await self.job_state(job)
        if state is None:
            raise Unknown(job, "never submitted here, or past its retention of 24 h")
        if state not in TERMINAL:
            return None
        outcome = await self._result(job)
        if outcome is None:
            raise Expired(job, "it ended, and its result is past its lifetime (`ttl_s` of its submission)")
        return outcome

    async def end_of(self, job: str) -> tuple[int | None, Outcome | None]:
        """Return when a job that has ended did so (ms), and its outcome; None for what is past its lifetime. Raises `Damaged`."""
        try:
            ended_ms, result = await retry_read(lambda: job_end(self.client.ledger, job))
        except ValueError:
            raise Damaged(job, CHANGED) from None
        return ended_ms, None if result is None else decoded(job, result)

    async def _result(self, job: str) -> Outcome | None:
        """Return the outcome of a job; None when there is none, or none any more."""
        result = await retry_read(lambda: job_result(self.client.ledger, job))
        return None if result is None else decoded(job, result)

    async def ended(self, job: str, *, patience_s: float) -> Outcome:
        """Wait for a job's end and return its outcome. Raises `Expired`, and `ApiError` when the job waits longer than
        `patience_s` for its provider."""
        try:
            return await self._ended(job, START, patience_s)
        except Gone:  # it waits for its end all the same
            return await self._ended(job, "now", patience_s)

    async def _ended(self, job: str, after: EventId | Literal["now"], patience_s: float) -> Outcome:
        with await self.view(job, after) as viewer:
            while (outcome := await self.outcome(job)) is None:
                await to_end(viewer, job, patience_s)
        return outcome

    async def ended_within(self, job: str, seconds: float) -> bool:
        """Wait for a job's end, for some seconds at most; return True if it has come."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.ended(job, patience_s=math.inf)
                return True
        return False

    async def ended_under(self, viewer: Viewer, job: str, *, patience_s: float) -> Outcome:
        """Wait for a job's end as `ended` does, with a viewer that has been there from its first event on."""
        await to_end(viewer, job, patience_s)
        return await self._result(job) or await self.ended(job, patience_s=patience_s)


def decoded(job: str, result: bytes) -> Outcome:
    """Return the outcome of a job as it is stored. Raises `Damaged`."""
    try:
        return decode_outcome(result)
    except (*UNREADABLE, TypeError, msgspec.ValidationError):
        raise Damaged(job, "its result was changed by somebody else") from None


async def to_end(viewer: Viewer, job: str, patience_s: float) -> None:
    """Wait for the end of a log. Raises `ApiError` when the job waits longer than `patience_s` for its provider."""
    with contextlib.suppress(StopAsyncIteration):
        while not viewer.ended:
            for event in await viewer.next():
                if (limited := limit_of(event, job, patience_s)) is not None:
                    raise limited


def urls_of(base: str, job: str) -> dict[str, str]:
    """Return the URLs of a job's stream and result."""
    websocket = base.replace("http", "ws", 1)
    return {
        "events": f"{base}/v1/jobs/{job}/events",
        "websocket": f"{websocket}/v1/stream?job={job}",
        "result": f"{base}/v1/jobs/{job}",
    }


def flag(given: str | None, name: str) -> bool:
    """Parse a boolean of the query. Raises `InputError`."""
    known = {None: False, "0": False, "false": False, "1": True, "true": True}
    if given not in known:
        raise InputError(f"{name}: must be true or false, not {given!r:.40}")
    return known[given]
