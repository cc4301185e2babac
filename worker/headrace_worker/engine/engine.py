"""One completion, from the job to a validated answer: the path of a single job and of every item of a batch.

The budget is five calls for a job, kept across waits. Before each call the deployment is asked whether it may be called
(`deployment_hold.py`). A short pause between two tries is slept here, without a slot; a long wait is `Deferred`, and the
ledger remembers it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec
from headrace_providers.cache import Cache, Remembered
from headrace_providers.chat_completion import ChatCompletion
from headrace_providers.registry import Registry
from headrace_providers.retry import ATTEMPTS, backoff_s
from headrace_providers.wire.admission import ADMIT
from headrace_providers.wire.choice_parts import Delta
from headrace_providers.wire.provider_errors import is_configuration
from headrace_providers.wire.response_format import prepared

from headrace.chat.completion import Completion
from headrace.errors import CallError, InputError
from headrace.jobs.job import Job
from headrace.schema.modes import Mode
from headrace_worker.engine.call_slots import Slots
from headrace_worker.engine.deployment_hold import DRAINING, Deferred, DeploymentHold, DeploymentHolds, HeldCall, wake
from headrace_worker.engine.reask import Reasks
from headrace_worker.engine.tries import Tries

MAX_PAUSE_S = 2.0


OnConfiguration = Callable[[CallError], Awaitable[None]]
"""Told of a failure that is not the item's but of how the deployment is configured, before any further call goes out."""


class Watch(Protocol):
    """The listener that is told of the calls that one job makes."""

    def calling(self, provider: str, model: str, mode: Mode | None) -> None:
        """A call goes out: none of the answers that are there already would do. `mode` is how the schema is put to it."""
        ...

    def delta(self, delta: Delta) -> None: ...
    def waiting(self, phase: str, detail: str) -> None: ...
    async def restart(self, reason: str) -> int:
        """Return what was shown is void; returns the epoch of the calls that follow. `reason` is one word."""
        ...


class Engine:
    """Calls in flight are bounded per process by `calls`, whatever the number of jobs and shards.

    A job with `cache` gets the answer that `cache` keeps, else its own is kept there; of those in this process who ask the
    same at once, one pays.
    """

    def __init__(self, registry: Registry, *, calls: int, cache: Cache | None = None):
        self.registry = registry
        self._remembered = Remembered(cache) if cache is not None else None
        self.calls = calls
        self.slots = Slots(calls)
        self.holds = DeploymentHolds()
        self._draining = False
        self._sleeping: set[asyncio.Future[None]] = set()

    def drain(self) -> None:
        """Calls in flight go on; whoever waits for the next one is `Deferred` at once, `DRAINING`."""
        self._draining = True
        self.holds.drain()
        self.slots.dismiss(lambda: Deferred(0, DRAINING))
        for sleeping in self._sleeping:
            if not sleeping.done():
                sleeping.set_result(None)

    def held(self, model: str) -> Deferred | None:
        """Why the model's deployment may not be called just now and when to come back; None when it may."""
        try:
            return self._hold_of(self.registry.chat_completion(model, retry=False)).held()
        except CallError:
            return None

    def _hold_of(self, provider: ChatCompletion) -> DeploymentHold:
        return self.holds.of(provider.facts.name, provider.base_url, provider.facts.key_variable or "")

    async def ask(
        self,
        job: Job,
        *,
        identity: str,
        epoch: int,
        tries: Tries,
        watch: Watch | None = None,
        tenant: str = "default",
        admit: Callable[[], Awaitable[None]] | None = None,
        on_configuration: OnConfiguration | None = None,
    ) -> Completion:
        """The completion of `job`. `tries` is moved with every call. Raises `CallError` or `Deferred`. One that was kept is
        `cached` and costs nothing; `tenant` is whose answers are looked at.

        A job with `stream` shows its deltas to `watch` as they come. After one was shown it is not asked again, unless the
        job has `on_retry="reset"`: then what was shown is cleared.

        `admit` is awaited before each call, and raises what forbids it.

        With `on_configuration` few calls go to a deployment that has not answered yet, and each failure of its
        configuration is reported there before another goes out.

        `identity` and `epoch` name the call at the provider: `X-Client-Request-Id: <identity>.<epoch>.<call>`.
        """
        try:
            provider = self.registry.chat_completion(job.model, retry=False)
        except CallError as failure:
            if on_configuration is not None:
                call = await self.holds.of(job.model.partition("/")[0]).enter(cautious=True)
                try:
                    await on_configuration(failure)
                finally:
                    call.leave()
            raise

        async def pay() -> Completion:
            return await self._pay(provider, job, identity, epoch, tries, watch, admit, on_configuration)

        if not job.cache or self._remembered is None:
            return await pay()
        try:
            key = provider.cache_key(job, tenant)
        except InputError as error:
            raise CallError("invalid_request", str(error)) from None
        completion = await self._remembered.ask(key, pay, lambda kept: provider.fitting(job, kept))
        return msgspec.structs.replace(completion, cost=0.0) if completion.cached else completion

    async def _pay(
        self,
        provider: ChatCompletion,
        job: Job,
        identity: str,
        epoch: int,
        tries: Tries,
        watch: Watch | None,
        admit: Callable[[], Awaitable[None]] | None,
        on_configuration: OnConfiguration | None,
    ) -> Completion:
        rank, delivered = epoch, ""
        mode = provider.mode_of(job) if job.schema is not None else None
        if job.schema is not None and mode is not None:
            await prepared(job.schema, mode, provider.facts.dialect)
        asked = Reasks(job)
        hold = self._hold_of(provider)

        while True:
            call = await self._enter(hold, watch, cautious=on_configuration is not None)

            def deliver(delta: Delta, call: HeldCall = call) -> None:
                nonlocal shown
                if not shown:
                    call.answered()
                shown = True
                if watch is not None:
                    watch.delta(delta)

            shown = False
            try:
                if delivered and watch is not None:
                    if admit is not None:
                        await admit()  # or a record that is another's would get a new epoch
                    epoch, delivered = await watch.restart(delivered), ""
                async with self.slots.hold(rank):
                    if admit is not None:
                        await admit()
                    if call.void:
                        continue
                    ADMIT.set(admit)
                    tries.calls += 1
                    tries.calling = True
                    try:
                        if watch is not None:
                            watch.calling(provider.facts.name, job.model, mode)
                        completion = await provider.complete(
                            asked.job,
                            request_id=f"{identity}.{epoch}.{tries.calls}",
                            on_delta=deliver if watch is not None and job.stream else None,
                        )
                        call.answered()
                        return asked.completed(completion)
                    except CallError as error:
                        failure = error
                    except InputError as error:  # the request cannot be made
                        failure = CallError("invalid_request", str(error))
                    finally:
                        tries.calling = False
                delivered = failure.code if shown else ""
                held = call.failed(failure)
                if asked.ask(failure):
                    continue
                if failure.code != "rate_limited":
                    tries.spent += 1
                again = not shown or (watch is not None and job.on_retry == "reset")
                if not failure.retryable or not again or tries.spent >= ATTEMPTS:
                    if on_configuration is not None and is_configuration(failure):
                        call.misconfigured()
                        await on_configuration(failure)
                    raise asked.failed(failure)
            finally:
                call.leave()
            if not held:
                await self._pause(failure, tries, watch)

    async def _enter(self, hold: DeploymentHold, watch: Watch | None, *, cautious: bool) -> HeldCall:
        try:
            return await hold.enter(cautious=cautious)
        except Deferred as deferred:
            if watch is not None and deferred.reason != DRAINING:
                watch.waiting("rate_limited" if deferred.reason == "rate_limited" else "retrying", deferred.detail)
            raise

    async def _pause(self, failure: CallError, tries: Tries, watch: Watch | None) -> None:
        """Wait until the next try of one whose call failed. Raises `Deferred` when that is long, or the process stops."""
        wait_s = backoff_s(tries.calls) if failure.retry_after_s is None else failure.retry_after_s
        if watch is not None:
            watch.waiting("retrying", failure.code)
        if not self._draining:
            if wait_s > MAX_PAUSE_S:
                raise Deferred(wait_s, failure.code)
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
