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
from headrace_worker.providers.registry import Registry
from headrace_worker.reduce import Delta
from headrace_worker.retry import ATTEMPTS, backoff_s
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

    def calling(self, provider: str, model: str) -> None:
        """A call goes out: none of the answers that are there already would do."""
        ...

    def delta(self, delta: Delta) -> None: ...
    def waiting(self, phase: str, detail: str) -> None: ...
    async def restart(self, reason: str) -> int:
        """What was shown is void; returns the epoch of the calls that follow. `reason` is one word."""
        ...


class Engine:
    """Calls in flight are bounded per process by `calls`, whatever the number of jobs and shards."""

    def __init__(self, registry: Registry, *, calls: int):
        self.registry = registry
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
    ) -> Completion:
        """The completion of `job`. `tries` is moved with every call. Raises `CallError` or `Deferred`.

        A job with `stream` shows its deltas to `watch` as they come. After one was shown it is not asked again, unless the
        job has `on_retry="reset"`: then what was shown is cleared.

        `identity` and `epoch` name the call at the provider: `X-Client-Request-Id: <identity>.<epoch>.<call>`.
        """
        provider = self.registry.chat_completion(job.model, retry=False)
        rank, delivered = epoch, False

        def deliver(delta: Delta) -> None:
            nonlocal delivered
            delivered = True
            if watch is not None:
                watch.delta(delta)

        while True:
            async with self.slots.hold(rank):
                tries.calls += 1
                if watch is not None:
                    watch.calling(provider.facts.name, job.model)
                try:
                    return await provider.complete(
                        job,
                        request_id=f"{identity}.{epoch}.{tries.calls}",
                        on_delta=deliver if watch is not None and job.stream else None,
                    )
                except CallError as error:
                    failure = error
            if failure.code != "rate_limited":
                tries.spent += 1
            again = not delivered or (watch is not None and job.on_retry == "reset")
            if not failure.retryable or not again or tries.spent >= ATTEMPTS:
                raise failure
            wait_s = failure.retry_after_s if failure.retry_after_s is not None else backoff_s(tries.calls)
            if watch is not None:
                watch.waiting("rate_limited" if failure.code == "rate_limited" else "retrying", failure.code)
            if wait_s > LONGEST_SLEEP_S:
                raise Deferred(wait_s, failure.code)
            await asyncio.sleep(wait_s)
            if delivered and watch is not None:
                epoch, delivered = await watch.restart(failure.code), False
