"""Fallbacks: the models of one job take turns when a provider fails, until one answers or the budget of calls is spent.

A fault of the provider's moves the job to the next model at once; when all have failed it begins again at the first, after the
backoff. A deployment that is held, or whose circuit breaker is open, is passed over while another is free. What would be the same
elsewhere (a refused request, an invalid answer) and what comes after something was shown never moves it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec
from headrace_providers.model_gateway import FAULTS
from headrace_providers.retry import DEFAULT
from headrace_providers.wire.provider_errors import is_configuration

from headrace.chat.completion import Completion
from headrace.errors import CallError
from headrace.jobs.job import Job
from headrace_worker.engine.alias_router import AliasRouter
from headrace_worker.engine.attempts import PATIENCE_S, GaveWay, Watch
from headrace_worker.engine.deployment_hold import DRAINING, Deferred
from headrace_worker.engine.reask import Reasks
from headrace_worker.engine.tries import Tries

PASSED_OVER_S = 10.0
"""Seconds for which a model whose provider has failed is tried last, by jobs that have another one."""
MAX_FAULTY = 1000
MIN_WAIT_S = 0.5


class Ask(Protocol):
    """One model is asked: `Engine.ask` without fallbacks, which raises `GaveWay` with `gives_way`."""

    def __call__(self, job: Job, reasks: Reasks, *, gives_way: bool) -> Awaitable[Completion]: ...


class FaultyModels:
    """The models of a process whose provider has failed a moment ago."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._until: dict[str, float] = {}

    def __contains__(self, model: str) -> bool:
        return self._until.get(model, 0.0) > self._clock()

    def add(self, model: str) -> None:
        if len(self._until) >= MAX_FAULTY:
            self._until.clear()
        self._until[model] = self._clock() + PASSED_OVER_S

    def remove(self, model: str) -> None:
        self._until.pop(model, None)


def opens_breaker(failure: CallError) -> bool:
    """Return True if a failure speaks against its deployment. A limit has a hold of its own, and a key that is refused is told to
    whoever configured it."""
    return failure.code in FAULTS and failure.code != "rate_limited" and not is_configuration(failure)


class ModelTurns:
    """The turns of one job's models, in the order of `router`. `left_s` says how long a model's deployment is held, `pause` waits
    between two rounds."""

    def __init__(
        self,
        job: Job,
        tries: Tries,
        watch: Watch | None,
        faulty: FaultyModels,
        router: AliasRouter,
        *,
        rank: int = 0,
        party: str = "",
        left_s: Callable[[str], float],
        pause: Callable[[float, str], Awaitable[None]],
    ):
        self._job = msgspec.structs.replace(job, fallbacks=[], routing=None)
        self._routing = job.routing
        self._models = [job.model, *job.fallbacks]
        self._reasks = Reasks(self._job)
        self._tries = tries
        self._watch = watch
        self._faulty = faulty
        self._router = router
        self._rank, self._party = rank, party
        self._left_s = left_s
        self._pause = pause
        self._failures: dict[str, CallError] = {}

    async def completion(self, ask: Ask) -> Completion:
        """Return the first completion. Raises `CallError`, that of the last model, or `Deferred`."""
        while True:
            async with self._router.place(self._routing, self._models, self._rank, self._party):
                completion = await self._one_round(ask)
            if completion is not None:
                return completion
            await self._wait(self._failures[self._last])

    async def _one_round(self, ask: Ask) -> Completion | None:
        """Ask every model that may be asked now, until one answers; None when another round has to follow, after a pause."""
        for model in self._round():
            if (probe := await self._router.admitted(model)) is None:
                continue
            try:
                return await self._turn(ask, model, probe)
            except GaveWay as fault:
                self._failures.pop(model, None)  # the last one is the last to have failed
                self._failures[model] = fault.failure
                self._faulty.add(model)
            except Deferred as deferred:
                if deferred.reason == DRAINING or deferred.delay_s <= PATIENCE_S:
                    raise
                continue
            if self._tries.spent >= DEFAULT.attempts:
                raise self._all_failed()
        if not self._left():
            raise self._all_failed()
        closed = [model for model in self._left() if self._router.wait_s(model) is None]
        if not closed:
            self._tries.spent += 1  # as a failed call does: nobody waits for ever
            raise self._none_is_called()
        if not self._failures or all(self._left_s(model) > PATIENCE_S for model in closed):
            # Every deployment is held: the job comes back.
            return await self._turn(ask, min(closed, key=self._left_s), gives_way=False)
        return None

    @property
    def _last(self) -> str:
        return next(reversed(self._failures))

    def _left(self) -> list[str]:
        """Return the models that another call may be put to: without those whose key or name is refused."""
        return [model for model in self._models if model not in self._failures or self._failures[model].retryable]

    def _round(self) -> list[str]:
        """Return the models to ask now, in order: those that are free, then those that have failed a moment ago."""
        waits = {model: self._router.wait_s(model) for model in self._left() if self._left_s(model) <= PATIENCE_S}
        free = self._router.order(self._routing, self._models, [model for model, wait_s in waits.items() if not wait_s])
        # One that is half open is tried although it has failed: or nobody would see that it is well again.
        return sorted(free, key=lambda model: waits[model] is None and model in self._faulty)

    async def _turn(self, ask: Ask, model: str, probe: str = "", *, gives_way: bool = True) -> Completion:
        self._reasks.move(model)
        if self._watch is not None:
            self._watch.routed(self._why(model, probe))
        self._router.begin(model)
        try:
            completion = await ask(msgspec.structs.replace(self._job, model=model), self._reasks, gives_way=gives_way)
        except GaveWay as fault:
            if opens_breaker(fault.failure):
                await self._router.failed(model, probe)
            raise
        except CallError as failure:
            if opens_breaker(failure):
                await self._router.failed(model, probe)
            elif failure.code not in FAULTS:  # it did answer
                self._router.answered(model, probe)
            raise
        finally:
            self._router.end(model)
        self._router.answered(model, probe)
        self._faulty.remove(model)
        return completion

    def _why(self, model: str, probe: str) -> str:
        """Return why it is `model` that is asked now, as `attempt.route` says it."""
        if probe:
            return "probe"
        routing, at = self._routing, self._models.index(model)
        if self._failures or (at > 0 if routing is None else routing.priorities[at] > min(routing.priorities)):
            return "fallback"  # the others have failed, are held, or not called
        if routing is None or routing.priorities.count(routing.priorities[at]) == 1:
            return "first"
        return routing.choose

    def _none_is_called(self) -> Deferred | CallError:
        """Return the wait until one of the deployments is tried again, or the failure of a job that has waited often enough."""
        if self._tries.spent >= DEFAULT.attempts:
            last = CallError("provider_unavailable", "its calls fail, so it is not called for a while", status=503)
            self._failures = self._failures or {self._left()[-1]: last}
            return self._all_failed()
        wait_s = min(self._router.wait_s(model) or 0.0 for model in self._left())
        deferred = Deferred(
            max(wait_s, MIN_WAIT_S), "provider_unavailable", "all models fail; one call tries each of them soon"
        )
        if self._watch is not None:
            self._watch.waiting("retrying", deferred.detail, deferred.delay_s)
        return deferred

    async def _wait(self, failure: CallError) -> None:
        wait_s = DEFAULT.backoff_s(max(1, self._tries.calls))
        if self._watch is not None:
            self._watch.waiting("retrying", failure.code, wait_s)
        await self._pause(wait_s, failure.code)

    def _all_failed(self) -> CallError:
        """Return the failure of the last model, which also says what the others did."""
        last = self._last
        failure = self._reasks.failed(self._failures[last])
        others = [f"{model}: {each.code}" for model, each in self._failures.items() if model != last]
        return CallError(
            failure.code,
            f"{last}: {failure.message}" + (f" (before it {', '.join(others)})" if others else ""),
            status=failure.status,
            retry_after_s=failure.retry_after_s,
            partial=failure.partial,
            details=failure.details,
            retryable=failure.retryable,
        )
