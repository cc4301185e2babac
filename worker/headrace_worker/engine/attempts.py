"""The attempts at one completion: each waits for its deployment and a slot, calls, and decides what its failure means.

The budget is five calls for a job, kept across waits (`tries`). What a rate limit refused does not count.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from headrace_providers.chat_completion import ChatCompletion
from headrace_providers.model_gateway import FAULTS
from headrace_providers.retry import DEFAULT, with_retries
from headrace_providers.wire.admission import ADMIT
from headrace_providers.wire.call_cost import ON_COST
from headrace_providers.wire.choice_reducer import Delta
from headrace_providers.wire.limit_headers import ON_HEADERS
from headrace_providers.wire.provider_errors import is_configuration

from headrace.chat.completion import Completion, Usage
from headrace.errors import CallError, InputError, Shown
from headrace.jobs.job import Job
from headrace.schema.modes import Mode
from headrace_worker.engine.attachments import ATTACH
from headrace_worker.engine.call_slots import Slots
from headrace_worker.engine.deployment_hold import DRAINING, Deferred, DeploymentHold, HeldBack, HeldCall
from headrace_worker.engine.reask import Reasks
from headrace_worker.engine.tries import Tries
from headrace_worker.limits.adaptive_concurrency import AdaptiveConcurrency, AdaptivePlace
from headrace_worker.limits.call_turn import CallTurn
from headrace_worker.limits.permit_gate import Permit
from headrace_worker.limits.shared_limits import ModelScopes, SharedLimits
from headrace_worker.observability.call_span import CallSpan
from headrace_worker.observability.worker_meter import WorkerMeter
from headrace_worker.spending.spending import CallCharge, Spending

OnConfiguration = Callable[[CallError], Awaitable[None]]
"""Told of a failure that is not the item's but of how the deployment is configured, before any further call goes out."""


PATIENCE_S = 2.0
"""With another model to ask, a deployment that is held for longer is passed over; a shorter hold is waited out."""


class Watch(Protocol):
    """The listener that is told of the calls that one job makes."""

    def calling(self, provider: str, model: str, mode: Mode | None) -> None:
        """Note that a call goes out: no answer that is there already would do. `mode` is how the schema is put to it."""
        ...

    def routed(self, why: str) -> None:
        """Note why the deployment that the next call goes to was chosen among those of its alias."""
        ...

    def delta(self, delta: Delta) -> None: ...
    def waiting(self, phase: str, detail: str, wait_s: float) -> None: ...
    async def restart(self, reason: str) -> int:
        """Void what was shown, and return the epoch of the calls that follow. `reason` is one word. Raises `Shown` when it
        cannot be taken back."""
        ...


class GaveWay(Exception):
    """A call failed by a fault of its provider's before anything was shown: another model may be tried."""

    def __init__(self, failure: CallError):
        super().__init__(failure.code)
        self.failure = failure


class Attempts:
    """The attempts at `job` with `provider`, each within `hold` and one of `slots`; `pause` waits between two of them. With
    `gives_way` a fault of the provider raises `GaveWay` instead of another attempt. The other arguments are those of
    `Engine.ask`."""

    def __init__(
        self,
        provider: ChatCompletion,
        job: Job,
        mode: Mode | None,
        *,
        hold: DeploymentHold,
        slots: Slots,
        limits: SharedLimits | None,
        concurrency: AdaptiveConcurrency,
        turn: CallTurn,
        pause: Callable[[float, str], Awaitable[None]],
        reasks: Reasks,
        gives_way: bool,
        identity: str,
        epoch: int,
        tries: Tries,
        spending: Spending,
        watch: Watch | None,
        admit: Callable[[], Awaitable[None]] | None,
        on_configuration: OnConfiguration | None,
        meter: WorkerMeter | None = None,
    ):
        self._provider = provider
        self._job = job
        self._mode: Mode | None = mode
        self._hold = hold
        self._slots = slots
        self._limits = limits
        self._concurrency = concurrency
        self._turn = turn
        self._pause = pause
        self._identity = identity
        self._rank = self._epoch = epoch
        self._tries = tries
        self._spending = spending
        self._reserved = 0
        self._watch = watch
        self._admit = admit
        self._on_configuration = on_configuration
        self._meter = meter
        self._reasks = reasks
        self._gives_way = gives_way
        self._shown = False
        self._void = ""  # why what was shown is void: the code of the failure after it
        self._failure: CallError | None = None
        self._again = False
        self._waits: tuple[float, str] | None = None

    async def completion(self) -> Completion:
        """Return the completion. Raises `CallError`, `GaveWay` or `Deferred`."""
        try:
            return await with_retries(self._attempt, wait_s=lambda _: 0.0 if self._again else None, pause=self._wait)
        finally:
            self._spending.give_back(self._reserved)
            self._reserved = 0

    async def _attempt(self) -> Completion:
        meter = self._meter
        came_s = meter.clock() if meter is not None else 0.0
        while True:
            call = await self._enter()
            permit: Permit | None = None
            place: AdaptivePlace | None = None
            try:
                if self._void and self._watch is not None:
                    await self._admitted()  # or a record that is another's would get a new epoch
                    try:
                        self._epoch, self._void = await self._watch.restart(self._void), ""
                    except Shown:
                        self._again = False
                        assert self._failure is not None
                        raise self._reasks.failed(self._failure) from None
                self._shown = False
                if self._spending.reserve is not None and not self._reserved:
                    self._reserved = await self._reserve()
                scopes = self._limits.of(self._provider) if self._limits is not None else None
                if scopes is not None:
                    permit = await self._permitted(scopes)
                else:
                    place = await self._borne()
                async with self._slots.hold(self._rank, self._turn.party, self._turn.weight):
                    await self._admitted()
                    if call.void or (permit is not None and permit.is_stale):
                        continue
                    if meter is not None:
                        meter.waited(self._provider.facts.name, meter.clock() - came_s)
                    try:
                        completion = await self._call(call, permit, scopes)
                        if place is not None:
                            place.answered()
                        return completion
                    except HeldBack:
                        continue
                    except CallError as error:
                        failure = error
                        if place is not None:
                            place.failed(error)
                    except InputError as error:  # the request cannot be made
                        failure = CallError("invalid_request", str(error))
                raise await self._failed(call, failure)
            finally:
                if permit is not None:
                    permit.close()
                if place is not None:
                    place.close()
                call.leave()

    async def _reserve(self) -> int:
        """Reserve what the next call can cost. Raises `Deferred`, or `CallError` with the code `budget`."""
        try:
            return await self._spending.reserved(self._epoch, self._provider, self._reasks.job)
        except CallError as failure:
            self._again = False
            raise self._reasks.failed(failure) from None
        except Deferred as deferred:
            self._tell(deferred)
            raise

    async def _borne(self) -> AdaptivePlace:
        """Wait until the deployment, of which no limit is known, may bear another call. Raises `Deferred`."""
        try:
            return await self._concurrency.enter(patient=self._on_configuration is not None)
        except Deferred as deferred:
            self._tell(deferred)
            raise

    async def _permitted(self, scopes: ModelScopes) -> Permit:
        """Wait for a permit of the limits that all workers share. Raises `Deferred`."""
        assert self._limits is not None
        assert scopes.gate is not None
        tokens = scopes.estimate.of(self._reasks.job) if self._limits.counts_tokens(scopes) else 0
        try:
            return await scopes.gate.enter(tokens, self._turn, rank=self._rank)
        except Deferred as deferred:
            self._tell(deferred)
            raise

    async def _call(self, call: HeldCall, permit: Permit | None, scopes: ModelScopes | None) -> Completion:
        watch, tries = self._watch, self._tries
        charge = CallCharge(self._spending, self._provider, self._reasks.job, self._reserved)

        async def admit() -> None:
            await self._admitted()
            if call.void or (permit is not None and permit.is_stale):
                raise HeldBack
            if permit is not None:
                permit.begun = True
            charge.begin()

        def learn(usage: Usage | None) -> None:
            if permit is not None and scopes is not None and usage is not None and not usage.unknown:
                permit.used(usage.input_tokens + usage.output_tokens)
                scopes.estimate.learn(self._reasks.job, usage)

        def deliver(delta: Delta) -> None:
            if not self._shown:
                call.answered()
                if metered is not None:
                    metered.first_token()
            self._shown = True
            if watch is not None:
                watch.delta(delta)

        attach, job = ATTACH.get(), self._reasks.job
        if attach is not None:
            job = await attach(job)
        ADMIT.set(admit)
        ON_HEADERS.set(self._hear)
        ON_COST.set(charge.tell)
        tries.calls += 1
        tries.calling = True
        metered = self._meter.call(self._provider.facts.name, self._provider.model_id) if self._meter else None
        if metered is not None and metered.tracer is not None:
            metered.span = CallSpan(metered.tracer, self._provider, self._job, self._identity, tries.calls)
        try:
            if watch is not None:
                watch.calling(self._provider.facts.name, self._job.model, self._mode)
            completion = await self._provider.complete(
                job,
                request_id=f"{self._identity}.{self._epoch}.{tries.calls}",
                on_delta=deliver if watch is not None and self._job.stream else None,
            )
            call.answered()
            if metered is not None:
                metered.answered(completion)
            learn(completion.usage)
            return self._reasks.completed(completion)
        except CallError as failure:
            if metered is not None:
                metered.failed(failure)
            learn(failure.details.get("usage"))
            raise
        except HeldBack:
            tries.calls -= 1  # nobody has heard of it
            if metered is not None:
                metered.withdraw()
            raise
        finally:
            tries.calling = False
            if metered is not None:
                metered.close()
            if charge.close():
                self._reserved = 0

    def _hear(self, headers: Mapping[str, Any]) -> None:
        if self._limits is not None:
            self._limits.heard(self._provider, headers)

    async def _failed(self, call: HeldCall, failure: CallError) -> CallError | GaveWay:
        """Decide whether and when another attempt follows; return what to raise."""
        self._void, self._failure = failure.code if self._shown else "", failure
        held = call.failed(failure)
        self._waits, self._again = None, True
        meter, provider = self._meter, self._provider.facts.name
        if self._reasks.ask(failure):
            if meter is not None:
                meter.reasked(provider)
            return failure
        if failure.code != "rate_limited":
            self._tries.spent += 1
            if self._gives_way and not self._shown and failure.code in FAULTS:
                if is_configuration(failure):
                    call.misconfigured()
                if meter is not None:
                    meter.fell_back(provider, failure)
                return GaveWay(failure)
        showable = not self._shown or (self._watch is not None and self._job.on_retry == "reset")
        if showable and DEFAULT.is_left(failure, self._tries.spent):
            if meter is not None:
                meter.retried(provider, failure)
            if not held:
                self._waits = DEFAULT.pause_s(failure, self._tries.calls), failure.code
            return failure
        self._again = False
        if self._on_configuration is not None and is_configuration(failure):
            call.misconfigured()
            await self._on_configuration(failure)
        return self._reasks.failed(failure)

    async def _wait(self, _: float) -> None:
        if self._waits is None:  # asked again at once, or the deployment's hold says when
            return
        wait_s, reason = self._waits
        if self._watch is not None:
            self._watch.waiting("retrying", reason, wait_s)
        await self._pause(wait_s, reason)

    async def _enter(self) -> HeldCall:
        try:
            return await self._hold.enter(cautious=self._on_configuration is not None)
        except Deferred as deferred:
            self._tell(deferred)
            raise

    def _tell(self, deferred: Deferred) -> None:
        moves_on = self._gives_way and deferred.delay_s > PATIENCE_S
        if self._watch is not None and deferred.reason != DRAINING and not moves_on:
            phase = "rate_limited" if deferred.reason == "rate_limited" else "retrying"
            self._watch.waiting(phase, deferred.detail, deferred.delay_s)

    async def _admitted(self) -> None:
        if self._admit is not None:
            await self._admit()
