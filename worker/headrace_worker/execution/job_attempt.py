"""One attempt at one job: its body through the engine, its events into the log, its outcome into the ledger."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import msgspec
from headrace_providers.off_loop import contained
from headrace_providers.wire.choice_reducer import Delta
from headrace_providers.wire.provider_errors import unstorable

from headrace.batches.revalidation import job_of
from headrace.chat.completion import Completion, Outcome, encode_success
from headrace.chat.tool_schemas import reshaped_tools
from headrace.errors import CODES, CallError, Closed, Damaged, Failure, Fenced, InputError
from headrace.events.types import AttemptRoute, End, FinishReason, JsonObject, Status, encode
from headrace.jobs.job import BODY_VERSION, Job
from headrace.ledger.claim import Claimed
from headrace.ledger.expire import FAILURE
from headrace.ledger.finish import finish
from headrace.ledger.park import park
from headrace.ledger.release import release
from headrace.ledger.state import JobState
from headrace.ledger.stop_reason import StopReason
from headrace.logs import get_logger
from headrace.schema.modes import Mode, is_unchanged
from headrace.text.readable import UNREADABLE, UNWRITABLE
from headrace_worker.engine.deployment_hold import DRAINING, Deferred
from headrace_worker.engine.tries import Tries
from headrace_worker.limits.call_turn import CallTurn
from headrace_worker.publishing.delta_events import DeltaEvents, rest
from headrace_worker.publishing.publisher import Publisher
from headrace_worker.spending.budget_gate import spending_of
from headrace_worker.worker_process import WorkerProcess

log = get_logger("headrace.worker.execution.job_attempt")

MIN_TOLD_S = 1.0
"""A shorter wait is over before anybody reads of its end."""
OTHER_VERSION_WAIT_MS = 30_000
LOST = {StopReason.FENCED: Fenced, StopReason.CLOSED: Closed, StopReason.DAMAGED: Damaged}


class Attempt:
    """`run()` ends with the job finished or parked, or raises a `Refused`; `stop(reason)` cancels the call.

    It is the engine's `Watch`: what it is told goes into the job's log. Its epoch grows when it begins anew.
    """

    def __init__(self, process: WorkerProcess, claimed: Claimed):
        self.process = process
        self.claimed = claimed
        self.id = claimed.record_id
        self.tries = Tries.parse(claimed.calls)
        self.spending = spending_of(process, claimed)
        self.publisher = Publisher(process.flusher, self.id, claimed.epoch, claimed.record, on_stop=self._on_stop)
        self.stopped: StopReason | None = None
        self._call: asyncio.Task[Completion] | None = None
        self._job: Job | None = None
        self._model = ""  # the one that is asked: the job's, or a fallback of it
        self._why: str | None = None  # why it is asked, among those of an alias
        self._restart: asyncio.Task[int] | None = None
        self._events: DeltaEvents | None = None
        self._begun_s = time.monotonic()
        self._first_s: float | None = None

    @property
    def epoch(self) -> int:
        return self.publisher.epoch

    @property
    def calls_in_flight(self) -> int:
        return 1

    @property
    def calls(self) -> str:
        return str(self.tries)

    @property
    def risk(self) -> str:
        return self.spending.risk

    @property
    def bill(self) -> str:
        return self.spending.words

    @property
    def _tenant(self) -> str:
        return self.claimed.tenant

    def stop(self, reason: StopReason) -> None:
        if reason == StopReason.UNKNOWN:
            # The server lost the record; we hold the attempt, so we write it again. Its call goes on.
            self.publisher.mend_lost_record()
            return
        if reason == StopReason.FENCED and self.publisher.restarting:
            return  # the beat still asked with the epoch that we are about to leave
        if reason == StopReason.REQUEUED:
            return  # the call in flight may end; the engine asks before it begins another
        self.stopped = self.stopped or reason
        if self._call is not None:
            self._call.cancel()

    def _on_stop(self, reason: str) -> None:
        """Handle a stop reason of the publisher."""
        self.stop(StopReason(reason))

    async def run(self) -> None:
        if self.claimed.is_cancelled:
            await self.cancelled()
            return
        try:
            job = job_of(self.claimed.body)
        except InputError as error:
            await self._fail(Failure("invalid_request", f"the body in Redis cannot be used: {error}"))
            return
        except (*UNREADABLE, KeyError) as error:
            if self._version() != BODY_VERSION:
                # A newer producer during a rolling deploy: a newer worker will know what this means.
                await self._park(OTHER_VERSION_WAIT_MS, "version")
                return
            await self._fail(Failure("invalid_request", f"the body cannot be read: {type(error).__name__}"))
            return
        if job.v != BODY_VERSION:
            await self._park(OTHER_VERSION_WAIT_MS, "version")
            return
        left_s = self._left_s()
        if left_s is not None and left_s <= 0:
            await self._fail(FAILURE)
            return
        self._job, self._model = job, job.model
        self.spending.width = job.options.n or 1
        deadline = (
            asyncio.get_running_loop().call_later(left_s, self.stop, StopReason.EXPIRED) if left_s is not None else None
        )
        try:
            await self._ask(job)
        finally:
            if deadline is not None:
                deadline.cancel()

    def _left_s(self) -> float | None:
        """Return the seconds until its deadline, by the server's clock."""
        left_ms = self.claimed.left_ms
        return None if left_ms is None else left_ms / 1000

    async def _ask(self, job: Job) -> None:
        self._call = asyncio.create_task(
            contained(
                self.process.engine.ask(
                    job,
                    identity=self.id,
                    epoch=self.epoch,
                    tries=self.tries,
                    spending=self.spending,
                    watch=self,
                    tenant=self._tenant,
                    turn=CallTurn(f"{self._tenant}/{job.options.user or ''}"),
                    admit=lambda: self.process.leases.confirm(self.id),
                )
            ),
            name=self.id,
        )
        if self.stopped:
            self._call.cancel()
        try:
            completion = await self._call
        except CallError as error:
            await self._fail(Failure.of(error), without_tokens(error.details.get("counters", {})))
            return
        except Deferred as deferred:
            if deferred.reason == DRAINING:
                await self._hand_back()
            else:
                await self._park(int(deferred.delay_s * 1000), str(deferred), deferred.reason)
            return
        except asyncio.CancelledError:
            if self.stopped is not None and self.stopped in LOST:
                raise LOST[self.stopped](self.id, "another attempt has it") from None
            if self.stopped == StopReason.EXPIRED:
                await self._fail(
                    msgspec.structs.replace(FAILURE, partial=self.publisher.fold.message["content"] or None)
                )
                return
            if self.stopped != StopReason.CANCELLED:
                self._call.cancel()
                raise
            await self.cancelled()
            return
        if completion.cached:
            self.spending.bill.save(completion)
        counters = without_tokens({} if completion.cached else completion.counters()) | {"jobs": 1}
        try:
            result, completion = encode_success(completion)
        except UNWRITABLE as error:
            await self._fail(Failure.of(unstorable(error, counters, completion.content)), counters)
            return
        if self.publisher.fold.route is None:
            self._route(self._model.partition("/")[0], self._model, cached=completion.cached, mode=completion.mode)
        self.publisher.put(*rest(self.publisher.fold, completion))
        choices = [completion, *completion.other_choices]
        end = End(
            status=JobState.SUCCEEDED,
            finish=[FinishReason(c, choice.finish_reason) for c, choice in enumerate(choices)],
            usage=msgspec.to_builtins(completion.usage),
            cached=completion.cached,
            service_tier=completion.service_tier,
            system_fingerprint=completion.system_fingerprint,
        )
        await self._end(end, Outcome(completion=completion), counters, result)

    # What the engine tells

    def calling(self, provider: str, model: str, mode: Mode | None) -> None:
        route = self.publisher.fold.route
        if route is None or model != self._model:  # another model is asked: nothing of the one before was shown
            self._model, self._events = model, None
            self._route(provider, model, cached=False, mode=mode)

    def routed(self, why: str) -> None:
        self._why = why

    def delta(self, delta: Delta) -> None:
        self._first_s = self._first_s or time.monotonic()
        if self._events is None:
            tools = (self._job.tools if self._job is not None else None) or []
            self._events = DeltaEvents(reshaped_tools(tools, self._dialect))
        self.publisher.put(*self._events.of(delta))

    def waiting(self, phase: str, detail: str, wait_s: float) -> None:
        until_ms = int((time.time() + wait_s) * 1000) if wait_s >= MIN_TOLD_S else None
        self.publisher.put(Status(phase=phase, detail=detail, until_ms=until_ms))

    async def restart(self, reason: str) -> int:
        # Not to be cancelled half-way: whatever comes next has to know the epoch.
        self._restart = asyncio.create_task(self.publisher.restart(reason))
        epoch = await asyncio.shield(self._restart)
        self.process.leases.move(self.id, epoch)
        self._events, self._first_s = None, None
        return epoch

    def _route(self, provider: str, model: str, *, cached: bool, mode: Mode | None) -> None:
        lowered = self._lowers(mode)
        self.publisher.put_soon(
            AttemptRoute(
                provider=provider,
                model=model,
                deployment=provider,
                cached=cached,
                mode=mode,
                lowered=lowered,
                why=None if cached else self._why,
            )
        )

    def _lowers(self, mode: Mode | None) -> bool:
        """Return True if the text that comes has another shape than the answer."""
        job = self._job
        if job is None or job.schema is None:
            return False
        return not is_unchanged(job.schema, mode, self._dialect)

    @property
    def _dialect(self) -> str:
        return self.process.registry.chat_completion(self._model, retry=False).facts.dialect

    # How it ends

    async def cancelled(self) -> None:
        """Write the cancellation down; what had come stays in the log."""
        said = self.publisher.fold.message["content"]
        failure = Failure("cancelled", "it was cancelled while it ran", partial=said or None)
        await self._end(End(status=JobState.CANCELLED, error=error_of(failure)), Outcome(error=failure), {})

    async def _fail(self, failure: Failure, counters: dict[str, int] | None = None) -> None:
        end = End(status=JobState.FAILED, error=error_of(failure))
        await self._end(end, Outcome(error=failure), counters or {})

    async def _end(self, end: End, outcome: Outcome, counters: dict[str, int], result: bytes | None = None) -> None:
        if self._restart is not None:
            await asyncio.wait([self._restart])
        now_s = time.monotonic()
        ms = {"ttft": round(((self._first_s or now_s) - self._begun_s) * 1000)}
        ms["total"] = round((now_s - self._begun_s) * 1000)
        event = encode(msgspec.structs.replace(end, ms=ms))
        await self.publisher.end(
            lambda seq, before: finish(
                self.process.ledger,
                self.id,
                self.epoch,
                JobState(end.status),
                seq=seq,
                before=before,
                event=event,
                result=msgspec.json.encode(outcome) if result is None else result,
                code=outcome.error.code if outcome.error else "",
                tenant=self._tenant,
                counters=counters,
                bill=self.bill,
            )
        )
        if self.process.meter is not None:
            self.process.meter.ended(end.status)
        if self.process.tracer is not None:
            self.process.tracer.ended(
                *(self.id, "job"),
                traceparent=self.claimed.trace,
                created_ms=self.claimed.integer("created"),
                state=end.status,
                code=outcome.error.code if outcome.error else "",
            )

    async def _park(self, delay_ms: int, reason: str, code: str = "") -> None:
        if self.process.meter is not None:
            self.process.meter.parked("job", code or reason)
        await self.publisher.move(
            lambda _: park(
                self.process.ledger,
                self.id,
                self.epoch,
                delay_ms=delay_ms,
                calls=self.calls,
                reason=reason,
                bill=self.bill,
            )
        )

    async def _hand_back(self) -> None:
        """Hand back a job that waits while the process stops: another worker's now, at once."""
        queue = await self.publisher.move(
            lambda _: release(self.process.ledger, self.id, self.epoch, calls=self.calls, bill=self.bill)
        )
        await self.process.publish([(queue, self.id)])

    def _version(self) -> object:
        try:
            return msgspec.json.decode(self.claimed.body).get("v")
        except (*UNREADABLE, KeyError, AttributeError):
            return BODY_VERSION


def without_tokens(counters: Mapping[str, int]) -> dict[str, int]:
    """Return counters without those that the bill has, of every call."""
    return {name: number for name, number in counters.items() if name not in ("input_tokens", "output_tokens")}


def error_of(failure: Failure) -> JsonObject:
    """Return the failure as the `error` of an `end`."""
    error: JsonObject = {"code": failure.code, "message": failure.message}
    error["retryable"] = failure.code in CODES and CODES[failure.code].retryable
    return error if failure.status is None else error | {"provider_status": failure.status}
