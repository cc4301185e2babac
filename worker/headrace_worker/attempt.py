"""One attempt at one job: its body through the engine, its events into the log, its outcome into the ledger."""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from headrace.errors import CallError, Failure
from headrace.job import BODY_VERSION, Completion, Job, Outcome
from headrace.ledger.claim import Claimed
from headrace.ledger.finish import finish
from headrace.ledger.park import park
from headrace.ledger.state import JobState
from headrace_worker.engine import Deferred, Tries
from headrace_worker.patience import patiently
from headrace_worker.process import Process
from headrace_worker.publish import Publisher
from headrace_worker.reduce import Delta

log = structlog.get_logger("headrace.worker.attempt")

OTHER_VERSION_WAIT_MS = 30_000


class Attempt:
    """`run()` ends with the job finished or parked, or raises a `Refused`; `stop(reason)` cancels the call."""

    def __init__(self, process: Process, claimed: Claimed):
        self.process = process
        self.claimed = claimed
        self.id = claimed.record_id
        self.epoch = claimed.epoch
        self.tries = Tries.parse(claimed.record.get("calls", b"").decode())
        self.publisher = Publisher(process.ledger, self.id, self.epoch)
        self.stopped: str | None = None
        self._call: asyncio.Task[Completion] | None = None

    @property
    def calls(self) -> str:
        return str(self.tries)

    def stop(self, reason: str) -> None:
        self.stopped = self.stopped or reason
        if self._call is not None:
            self._call.cancel()

    async def run(self) -> None:
        if "cancel" in self.claimed.record:  # it was cancelled while its last attempt was on its way out
            await self.cancelled()
            return
        try:
            job = msgspec.json.decode(self.claimed.record["body"], type=Job)
        except (msgspec.DecodeError, KeyError) as error:
            if self._version() != BODY_VERSION:
                # A newer producer during a rolling deploy: a newer worker will know what this means.
                await self._park(OTHER_VERSION_WAIT_MS, "version")
                return
            await self._fail(Failure("invalid_request", f"the body cannot be read: {type(error).__name__}"))
            return
        if job.v != BODY_VERSION:
            await self._park(OTHER_VERSION_WAIT_MS, "version")
            return
        self.publisher.event("attempt.route", provider=job.model.partition("/")[0], model=job.model, cached=False)
        on_delta = self.publisher.delta if job.stream else None
        self._call = asyncio.create_task(
            self.process.engine.ask(job, identity=self.id, epoch=self.epoch, tries=self.tries, on_delta=on_delta)
        )
        try:
            completion = await self._call
        except CallError as error:
            await self._fail(
                Failure.of(error),
                error.details.get("counters", {}),
            )
            return
        except Deferred as deferred:
            await self._park(int(deferred.delay_s * 1000), deferred.reason)
            return
        except asyncio.CancelledError:
            if self.stopped != "CANCELLED":
                self._call.cancel()
                raise
            await self.cancelled()
            return
        if not job.stream and completion.content:
            self.publisher.delta(Delta("text", completion.content))
        await self._end(
            JobState.SUCCEEDED,
            Outcome(completion=completion),
            {"finish": [{"c": 0, "reason": completion.finish_reason}], "usage": completion.usage},
            completion.counters() | {"jobs": 1},
        )

    async def cancelled(self) -> None:
        """Write the cancellation down; what had come stays in the log."""
        failure = Failure("cancelled", "it was cancelled while it ran")
        await self._end(JobState.CANCELLED, Outcome(error=failure), {"error": {"code": "cancelled"}}, {})

    async def _fail(self, failure: Failure, counters: dict[str, int] | None = None) -> None:
        error = {"code": failure.code, "message": failure.message}
        await self._end(JobState.FAILED, Outcome(error=failure), {"error": error}, counters or {})

    async def _end(
        self, state: JobState, outcome: Outcome, fields: dict[str, object], counters: dict[str, int]
    ) -> None:
        seq = await self.publisher.settled()
        await patiently(
            lambda: finish(
                self.process.ledger,
                self.id,
                self.epoch,
                state,
                seq=seq,
                event=msgspec.json.encode({"t": "end", "status": state, **fields}),
                result=msgspec.json.encode(outcome),
                code=outcome.error.code if outcome.error else "",
                tenant=self.claimed.record.get("tenant", b"default").decode(),
                counters=counters,
            )
        )

    async def _park(self, delay_ms: int, reason: str) -> None:
        await self.publisher.settled()
        await patiently(
            lambda: park(self.process.ledger, self.id, self.epoch, delay_ms=delay_ms, calls=self.calls, reason=reason)
        )

    def _version(self) -> object:
        try:
            return msgspec.json.decode(self.claimed.record["body"]).get("v")
        except (msgspec.DecodeError, KeyError, AttributeError):
            return BODY_VERSION
