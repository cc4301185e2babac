"""One completion, from the job to a validated answer: the path of a single job and of every item of a batch.

The budget is five calls for a job, kept across waits. A short wait is slept here, without a slot; a long one is
`Deferred`, and the ledger remembers it.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import msgspec

from headrace.errors import CallError
from headrace.job import Completion, Job
from headrace.schema.modes import Mode
from headrace_worker.cache import Cache, Remembered
from headrace_worker.providers.chat import ChatCompletion
from headrace_worker.providers.registry import Registry
from headrace_worker.reasks import Reasks
from headrace_worker.reduce import Delta
from headrace_worker.retry import ATTEMPTS, backoff_s
from headrace_worker.schema_request import prepared
from headrace_worker.slots import Slots

LONGEST_SLEEP_S = 2.0


class Tries(msgspec.Struct):
    """What was asked so far: `calls` numbers every deliberate call, `spent` counts those that use up the budget."""

    calls: int = 0
    spent: int = 0

    @classmethod
    def parse(cls, text: str) -> Tries:
        calls, _, spent = text.partition(":")
        return cls(int(calls or 0), int(spent or 0))

    def __str__(self) -> str:
        return f"{self.calls}:{self.spent}"


class Deferred(Exception):
    """The next call has to wait `delay_s`: give the slot up and come back."""

    def __init__(self, delay_s: float, reason: str):
        super().__init__(reason)
        self.delay_s = delay_s
        self.reason = reason


class Watch(Protocol):
    """Who is told of the calls that one job makes."""

    def calling(self, provider: str, model: str, mode: Mode | None) -> None:
        """A call goes out: none of the answers that are there already would do. `mode` is how the schema is put to it."""
        ...

    def delta(self, delta: Delta) -> None: ...
    def waiting(self, phase: str, detail: str) -> None: ...
    async def restart(self, reason: str) -> int:
        """What was shown is void; returns the epoch of the calls that follow. `reason` is one word."""
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

    async def ask(
        self,
        job: Job,
        *,
        identity: str,
        epoch: int,
        tries: Tries,
        watch: Watch | None = None,
        tenant: str = "default",
    ) -> Completion:
        """The completion of `job`. `tries` is moved with every call. Raises `CallError` or `Deferred`. One that was kept is
        `cached` and costs nothing; `tenant` is whose answers are looked at.

        A job with `stream` shows its deltas to `watch` as they come. After one was shown it is not asked again, unless the
        job has `on_retry="reset"`: then what was shown is cleared.

        `identity` and `epoch` name the call at the provider: `X-Client-Request-Id: <identity>.<epoch>.<call>`.
        """
        provider = self.registry.chat_completion(job.model, retry=False)

        async def pay() -> Completion:
            return await self._pay(provider, job, identity, epoch, tries, watch)

        if not job.cache or self._remembered is None:
            return await pay()
        completion = await self._remembered.ask(provider.cache_key(job, tenant), pay)
        return msgspec.structs.replace(completion, cost=0.0) if completion.cached else completion

    async def _pay(
        self, provider: ChatCompletion, job: Job, identity: str, epoch: int, tries: Tries, watch: Watch | None
    ) -> Completion:
        rank, delivered = epoch, False
        mode = provider.mode_of(job) if job.schema is not None else None
        if job.schema is not None and mode is not None:
            await prepared(job.schema, mode, provider.facts.dialect)
        asked = Reasks(job)

        def deliver(delta: Delta) -> None:
            nonlocal delivered
            delivered = True
            if watch is not None:
                watch.delta(delta)

        while True:
            async with self.slots.hold(rank):
                tries.calls += 1
                if watch is not None:
                    watch.calling(provider.facts.name, job.model, mode)
                try:
                    completion = await provider.complete(
                        asked.job,
                        request_id=f"{identity}.{epoch}.{tries.calls}",
                        on_delta=deliver if watch is not None and job.stream else None,
                    )
                    return asked.completed(completion)
                except CallError as error:
                    failure = error
            if asked.ask(failure):
                if delivered and watch is not None:
                    epoch, delivered = await watch.restart(failure.code), False
                continue
            if failure.code != "rate_limited":
                tries.spent += 1
            again = not delivered or (watch is not None and job.on_retry == "reset")
            if not failure.retryable or not again or tries.spent >= ATTEMPTS:
                raise asked.failed(failure)
            wait_s = failure.retry_after_s if failure.retry_after_s is not None else backoff_s(tries.calls)
            if watch is not None:
                watch.waiting("rate_limited" if failure.code == "rate_limited" else "retrying", failure.code)
            if wait_s > LONGEST_SLEEP_S:
                raise Deferred(wait_s, failure.code)
            await asyncio.sleep(wait_s)
            if delivered and watch is not None:
                epoch, delivered = await watch.restart(failure.code), False
