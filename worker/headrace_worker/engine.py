"""One completion, from the job to a validated answer: the path of a single job and of every item of a batch.

The budget is five calls for a job, kept across waits. A short wait is slept here, without a slot; a long one is
`Deferred`, and the ledger remembers it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from headrace.errors import CallError
from headrace.job import Completion, Job
from headrace_worker.providers.registry import Registry
from headrace_worker.reasks import Reasks
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
        on_delta: Callable[[Delta], None] | None = None,
    ) -> Completion:
        """The completion of `job`. `tries` is moved with every call. Raises `CallError` or `Deferred`.

        `identity` and `epoch` name the call at the provider: `X-Client-Request-Id: <identity>.<epoch>.<call>`.
        """
        provider = self.registry.chat_completion(job.model, retry=False)
        delivered = False
        again = Reasks(job)

        def deliver(delta: Delta) -> None:
            nonlocal delivered
            delivered = True
            if on_delta is not None:
                on_delta(delta)

        while True:
            async with self.slots.hold(epoch):
                tries.calls += 1
                try:
                    completion = await provider.complete(
                        again.job,
                        request_id=f"{identity}.{epoch}.{tries.calls}",
                        on_delta=deliver if on_delta else None,
                    )
                    return again.completed(completion)
                except CallError as error:
                    failure = error
            if again.ask(failure):
                continue
            if failure.code != "rate_limited":
                tries.spent += 1
            if not failure.retryable or delivered or tries.spent >= ATTEMPTS:
                raise again.failed(failure)
            wait_s = failure.retry_after_s if failure.retry_after_s is not None else backoff_s(tries.calls)
            if wait_s > LONGEST_SLEEP_S:
                raise Deferred(wait_s, failure.code)
            await asyncio.sleep(wait_s)
