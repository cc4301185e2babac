"""One completion, from the job to a validated answer: the path of a single job and of every item of a batch.

Its attempts (`attempts.py`) share what one process has: the slots that bound its calls, the hold on each deployment, the
answers that are kept. A short pause between two attempts is slept here, without a slot; a long wait is `Deferred`, and the
ledger remembers it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from headrace_providers.chat_completion import ChatCompletion
from headrace_providers.registry import Registry
from headrace_providers.wire.provider_errors import is_configuration
from headrace_providers.wire.response_format import prepared

from headrace.chat.completion import Completion
from headrace.chat.options import MAX_CHOICES
from headrace.errors import CallError
from headrace.jobs.job import Job
from headrace.ledger.script import Ledger
from headrace_worker.engine.alias_router import AliasRouter, BreakerScope
from headrace_worker.engine.answer_cache import AnswerCache
from headrace_worker.engine.attempts import Attempts, GaveWay, OnConfiguration, Watch
from headrace_worker.engine.call_slots import Slots
from headrace_worker.engine.choices import ChoiceCalls, PaidChoices
from headrace_worker.engine.deployment_hold import DRAINING, Deferred, DeploymentHold, DeploymentHolds, wake
from headrace_worker.engine.fallbacks import FaultyModels, ModelTurns
from headrace_worker.engine.prefix_warmups import PrefixWarmups, is_worth_it
from headrace_worker.engine.reask import Reasks
from headrace_worker.engine.shared_answers import SharedAnswers
from headrace_worker.engine.tries import Tries
from headrace_worker.limits.adaptive_concurrency import AdaptiveConcurrency
from headrace_worker.limits.call_turn import NO_TURN, CallTurn
from headrace_worker.limits.circuit_breakers import CircuitBreakers
from headrace_worker.limits.shared_limits import SharedLimits, scope_of
from headrace_worker.observability.worker_meter import WorkerMeter
from headrace_worker.spending.spending import Spending

MAX_PAUSE_S = 2.0
MAX_SCOPES = 1000
FLEX = "flex"
SPARE_PART = 8
"""An eighth more calls than the limit are for tenants and users that hold less than their part, where many share a process."""


class Engine:
    """Calls in flight are bounded per process by `calls`, whatever the number of jobs and shards.

    A job with `cache` gets the answer that `answers` keeps, else its own is kept there; of those who ask the same at once, one
    pays. `choices` keeps the choices of a job that are paid before others of it are.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        calls: int,
        choices: PaidChoices | None = None,
        answers: AnswerCache | None = None,
        limits: SharedLimits | None = None,
        shares_calls: bool = False,
        meter: WorkerMeter | None = None,
        breakers: CircuitBreakers | None = None,
        ledger: Ledger | None = None,
    ):
        self.registry = registry
        self.meter = meter
        self.limits = limits
        self._choices = choices
        self.answers = answers
        self._shared = SharedAnswers(answers, self._sleep) if answers is not None else None
        self.calls = calls
        self.slots = Slots(calls, extra=calls // SPARE_PART if shares_calls else 0)
        self.holds = DeploymentHolds()
        self._concurrency: dict[DeploymentHold, AdaptiveConcurrency] = {}
        self.holds.on_new = limits.watch if limits is not None else None
        self.faulty = FaultyModels()
        self.warmups = PrefixWarmups(ledger, self._sleep) if ledger is not None else None
        self.router = AliasRouter(breakers, self._breaker_scope, calls=calls)
        self._breaker_scopes: dict[str, BreakerScope] = {}
        self._draining = False
        self._sleeping: set[asyncio.Future[None]] = set()

    def drain(self) -> None:
        """Drain: calls in flight go on; whoever waits for the next one is `Deferred` at once, `DRAINING`."""
        self._draining = True
        self.holds.drain()
        for concurrency in self._concurrency.values():
            concurrency.drain()
        if self.limits is not None:
            self.limits.drain()
        self.slots.dismiss(lambda: Deferred(0, DRAINING))
        self.router.drain()
        for sleeping in self._sleeping:
            if not sleeping.done():
                sleeping.set_result(None)

    def held(self, *models: str) -> Deferred | None:
        """Return the reason why no deployment of `models` may be called and when to come back; None when one may."""
        held: list[Deferred] = []
        for model in models:
            try:
                deferred = self._hold_of(self.registry.chat_completion(model, retry=False)).held()
            except CallError:
                continue
            if deferred is None:
                return None
            held.append(deferred)
        return min(held, key=lambda deferred: deferred.delay_s, default=None)

    def left_s(self, model: str) -> float:
        """Return the seconds for which the model's deployment is still held."""
        try:
            return self._hold_of(self.registry.chat_completion(model, retry=False)).left_s
        except CallError:
            return 0.0

    def _breaker_scope(self, model: str) -> BreakerScope | None:
        known = self._breaker_scopes.get(model)
        if known is None:
            try:
                provider = self.registry.chat_completion(model, retry=False)
            except CallError:
                return None
            credential = provider.facts.key_variable or ""
            scope = scope_of(provider.facts.name, provider.base_url, credential, provider.model_id)
            if len(self._breaker_scopes) >= MAX_SCOPES:
                self._breaker_scopes.clear()
            known = self._breaker_scopes[model] = BreakerScope(scope, model)
        return known

    def _hold_of(self, provider: ChatCompletion, *, flex: bool = False) -> DeploymentHold:
        """Return the hold of a deployment; the tier `flex` has one of its own: that it is full says nothing of the others."""
        credential = provider.facts.key_variable or ""
        return self.holds.of(provider.facts.name, provider.base_url, f"{credential}#{FLEX}" if flex else credential)

    def _concurrency_of(self, hold: DeploymentHold) -> AdaptiveConcurrency:
        concurrency = self._concurrency.get(hold)
        if concurrency is None:
            concurrency = self._concurrency[hold] = AdaptiveConcurrency(hold.provider, self.calls)
            if self._draining:
                concurrency.drain()
        return concurrency

    async def ask(
        self,
        job: Job,
        *,
        identity: str,
        epoch: int,
        tries: Tries,
        spending: Spending | None = None,
        watch: Watch | None = None,
        tenant: str = "default",
        turn: CallTurn = NO_TURN,
        admit: Callable[[], Awaitable[None]] | None = None,
        on_configuration: OnConfiguration | None = None,
    ) -> Completion:
        """Return the completion of `job`. `tries` is moved with every call. Raises `CallError` or `Deferred`. One that was
        kept is `cached` and costs nothing; `tenant` is whose answers are looked at.

        A job with `stream` shows its deltas to `watch` as they come. After one was shown it is not asked again, unless the
        job has `on_retry="reset"`: then what was shown is cleared.

        `admit` is awaited before each call, and raises what forbids it.

        With `on_configuration` few calls go to a deployment that has not answered yet, and each failure of its
        configuration is reported there before another goes out.

        `turn` says whose turn its calls take where they have to wait; `spending` is what they are charged to.

        `identity` and `epoch` name the call at the provider: `X-Client-Request-Id: <identity>.<epoch>.<call>`.

        A job with `fallbacks` is asked of each of its models in turn (`fallbacks.py`), one with `n` in as many calls where one
        does not give all choices (`choices.py`).
        """

        spending = spending or Spending()

        async def pay() -> Completion:
            return await self._pay(
                job,
                identity=identity,
                epoch=epoch,
                tries=tries,
                spending=spending,
                watch=watch,
                turn=turn,
                admit=admit,
                on_configuration=on_configuration,
            )

        if not job.cache or self._shared is None or (deployments := self.deployments_of(job)) is None:
            return await pay()
        return await self._shared.ask(
            job, deployments, record=identity, tenant=tenant, pay=pay, fits=partial(self.fits, job)
        )

    def deployments_of(self, job: Job) -> str | None:
        """Return who may be asked to answer `job`, and how its schema is put to them; None when one of them is not here."""
        asked = []
        for model in (job.model, *job.fallbacks):
            try:
                provider = self.registry.chat_completion(model, retry=False)
            except CallError:
                return None
            mode = provider.mode_of(job) if job.schema is not None else ""
            asked.append(f"{provider.facts.name} {provider.base_url} {provider.model_id} {mode}")
        return "\n".join(asked)

    async def fits(self, job: Job, kept: Completion) -> bool:
        """Return True if a kept completion is what the job's schema, parser or response format makes of its text."""
        providers = [self.registry.chat_completion(model, retry=False) for model in (job.model, *job.fallbacks)]
        answered = next((each for each in providers if each.facts.name == kept.deployment), providers[0])
        return await answered.fitting(job, kept)

    async def _pay(
        self,
        job: Job,
        *,
        identity: str,
        epoch: int,
        tries: Tries,
        spending: Spending,
        watch: Watch | None,
        turn: CallTurn,
        admit: Callable[[], Awaitable[None]] | None,
        on_configuration: OnConfiguration | None,
    ) -> Completion:
        """Return a new completion of `job`, as `ask` does."""

        async def of_one_model(job: Job, reasks: Reasks, *, gives_way: bool, watch: Watch | None) -> Completion:
            return await self._ask(
                job,
                reasks=reasks,
                gives_way=gives_way,
                identity=identity,
                epoch=epoch,
                tries=tries,
                spending=spending,
                watch=watch,
                turn=turn,
                admit=admit,
                on_configuration=on_configuration,
            )

        async def of_its_models(job: Job, watch: Watch | None) -> Completion:
            if not job.fallbacks:
                return await of_one_model(job, Reasks(job), gives_way=False, watch=watch)
            turns = ModelTurns(
                *(job, tries, watch, self.faulty, self.router),
                rank=epoch,
                party=turn.party,
                left_s=self.left_s,
                pause=self._pause,
            )
            try:
                return await turns.completion(partial(of_one_model, watch=watch))
            except CallError as failure:
                if on_configuration is not None and is_configuration(failure):
                    await on_configuration(failure)
                raise

        if (job.options.n or 1) == 1 or self._gives_choices(job):
            return await of_its_models(job, watch)

        async def of_one_choice(job: Job, is_first: bool) -> Completion:
            return await of_its_models(job, watch if is_first else None)

        if (job.options.n or 1) > MAX_CHOICES:
            raise CallError(
                "invalid_request", f"option `n`={job.options.n}: {MAX_CHOICES} at most, each is a call there"
            )
        calls = ChoiceCalls(job, of_one_choice, identity=identity, kept=self._choices, sleep=self._sleep)
        return await calls.completion()

    def _gives_choices(self, job: Job) -> bool:
        """Return True if one call gives all choices of `job`. Only the first is then read under a schema."""
        if job.schema is not None or job.response_format is not None or job.parser is not None:
            return False
        try:
            models = [self.registry.chat_completion(model, retry=False) for model in (job.model, *job.fallbacks)]
        except CallError:
            return True  # it fails before any call
        return all(model.facts.choices for model in models)

    async def _ask(
        self,
        job: Job,
        *,
        reasks: Reasks,
        gives_way: bool,
        identity: str,
        epoch: int,
        tries: Tries,
        spending: Spending,
        watch: Watch | None,
        turn: CallTurn,
        admit: Callable[[], Awaitable[None]] | None,
        on_configuration: OnConfiguration | None,
    ) -> Completion:
        """Ask one model, as `ask` does. Raises `GaveWay` as well, with `gives_way`."""
        try:
            provider = self.registry.chat_completion(job.model, retry=False)
        except CallError as failure:
            if gives_way:
                raise GaveWay(failure) from None
            if on_configuration is not None:
                call = await self.holds.of(job.model.partition("/")[0]).enter(cautious=True)
                try:
                    await on_configuration(failure)
                finally:
                    call.leave()
            raise

        mode = provider.mode_of(job) if job.schema is not None else None
        if job.schema is not None and mode is not None:
            await prepared(job.schema, mode, provider.facts.dialect)

        async def attempted(job: Job, *, gives_way: bool) -> Completion:
            hold = self._hold_of(provider, flex=job.options.service_tier == FLEX)
            attempts = Attempts(
                provider,
                job,
                mode,
                hold=hold,
                slots=self.slots,
                limits=self.limits,
                concurrency=self._concurrency_of(hold),
                turn=turn,
                pause=self._pause,
                reasks=reasks,
                gives_way=gives_way,
                identity=identity,
                epoch=epoch,
                tries=tries,
                spending=spending,
                watch=watch,
                admit=admit,
                on_configuration=on_configuration,
                meter=self.meter,
            )
            warmups = self.warmups
            if (
                not job.prefix_key
                or warmups is None
                or not is_worth_it(provider)
                or warmups.is_warm(provider, job.prefix_key)
            ):
                return await attempts.completion()
            async with warmups.turn(provider, job.prefix_key):
                return await attempts.completion()

        if job.standard_fallback and job.options.service_tier == FLEX:
            try:
                return await attempted(job, gives_way=True)
            except GaveWay:
                pass
            except Deferred as deferred:  # no room there, nor soon
                if deferred.reason == DRAINING or deferred.of_all_tiers:
                    raise
            job = reasks.leave_flex()
        return await attempted(job, gives_way=gives_way)

    async def _pause(self, wait_s: float, reason: str) -> None:
        """Sleep until the next attempt. Raises `Deferred` when that is long, or the process stops."""
        if wait_s > MAX_PAUSE_S and not self._draining:
            raise Deferred(wait_s, reason)
        await self._sleep(wait_s)

    async def _sleep(self, wait_s: float) -> None:
        """Sleep without a slot. Raises `Deferred` when the process stops."""
        if not self._draining:
            loop = asyncio.get_running_loop()
            sleeping = loop.create_future()
            timer = loop.call_later(wait_s, wake, sleeping)
            self._sleeping.add(sleeping)
            try:
                await sleeping
            finally:
                timer.cancel()
                self._sleeping.discard(sleeping)
        if self._draining:
            raise Deferred(0, DRAINING)
