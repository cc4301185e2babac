"""Several choices of one job (`n`), where one call gives one: as many calls at once, within the budget of the job.

A choice that was paid is kept until the job has ended, so that a job which has to wait for another choice, or whose worker died,
does not pay it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import sha256
from typing import Any, Protocol

import msgspec
from headrace_providers.cache import encode_kept

from headrace.chat.completion import Choice, Completion, Usage
from headrace.errors import CallError
from headrace.jobs.job import Job
from headrace.text.digits import as_written
from headrace.text.readable import UNREADABLE, UNWRITABLE
from headrace_worker.engine.deployment_hold import DRAINING, Deferred

AskChoice = Callable[[Job, bool], Awaitable[Completion]]
"""Asks for one choice; True says that it is the first, the one whose deltas are shown."""


class PaidChoices(Protocol):
    """Choices that were paid, by key; None for one that was not."""

    async def get(self, key: str) -> bytes | None: ...
    async def set(self, key: str, value: bytes) -> None: ...


class ChoiceCalls:
    """The calls for the choices of `job`, each by `ask`; `kept` keeps those that were paid, under the `identity` of the job.
    `sleep` waits for a deployment, where the answer cannot begin anew because its first choice was shown."""

    def __init__(
        self,
        job: Job,
        ask: AskChoice,
        *,
        identity: str,
        kept: PaidChoices | None,
        sleep: Callable[[float], Awaitable[None]],
    ):
        self._job = job
        self._ask = ask
        self._identity = identity
        self._kept = kept
        self._sleep = sleep

    async def completion(self) -> Completion:
        """Return the completion of the first choice with the others beside it, and what all cost together. Raises the first
        `CallError`, then the others are given up, and `Deferred` when all the others have ended."""
        tasks = [asyncio.create_task(self._choice(place)) for place in range(self._job.options.n or 1)]
        try:
            pending, deferred = set(tasks), None
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    error = task.exception()
                    if isinstance(error, Deferred):
                        deferred = error if deferred is None or error.delay_s > deferred.delay_s else deferred
                    elif error is not None:
                        raise with_cost_of(tasks, error) if isinstance(error, CallError) else error
            if deferred is not None:
                raise deferred
            return joined([task.result() for task in tasks])
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _choice(self, place: int) -> Completion:
        key = sha256(f"choice {self._identity} {place}".encode()).hexdigest()
        if (paid := await self._paid(key)) is not None:
            return paid
        job = job_of_choice(self._job, place)
        while True:
            try:
                completion = await self._ask(job, place == 0)
                break
            except Deferred as deferred:
                if not self._job.stream or place == 0 or deferred.reason == DRAINING:
                    raise
                await self._sleep(deferred.delay_s)
        if self._kept is not None:
            with suppress(*UNWRITABLE):  # the job's end will say so
                await self._kept.set(key, encode_kept(completion))
        return completion

    async def _paid(self, key: str) -> Completion | None:
        found = await self._kept.get(key) if self._kept is not None else None
        try:
            return msgspec.json.decode(found, type=Completion) if found else None
        except UNREADABLE:
            return None


def job_of_choice(job: Job, place: int) -> Job:
    """Return the job of one choice: with another seed for each, or all would say the same, and none of them from the cache."""
    seed = job.options.seed
    options = msgspec.structs.replace(job.options, n=None, seed=seed if seed is None else seed + place)
    return msgspec.structs.replace(job, options=options, stream=job.stream and place == 0, cache=False)


def joined(completions: list[Completion]) -> Completion:
    """Return the first completion with the others as its choices, and the usage and cost of all."""
    first, *others = completions
    costs = [each.cost for each in completions]
    return msgspec.structs.replace(
        first,
        other_choices=[choice_of(each) for each in others],
        usage=total_of(completions),
        cost=None if None in costs else sum(cost for cost in costs if cost is not None),
        raw_usage=None,
        reasks=sum(each.reasks for each in completions),
    )


def choice_of(completion: Completion) -> Choice:
    """Return a completion as a choice beside the first; a validated value is its content, as JSON."""
    fields: dict[str, Any] = {name: getattr(completion, name) for name in Choice.__struct_fields__}
    if completion.structured:
        fields["content"] = msgspec.json.encode(as_written(completion.value, completion.content)).decode()
    fields["extra"] = {where: said for where, said in completion.extra.items() if where != "answer"}
    return Choice(**fields)


def total_of(completions: list[Completion]) -> Usage:
    total = Usage()
    for each in completions:
        total += each.usage
    return total


def with_cost_of(tasks: list[asyncio.Task[Completion]], failure: CallError) -> CallError:
    """Return the failure of one choice with what the others cost that were paid."""
    paid = [task.result() for task in tasks if task.done() and not task.cancelled() and task.exception() is None]
    counters = dict(failure.details.get("counters") or {})
    for name, number in total_of(paid).counters().items():
        counters[name] = counters.get(name, 0) + number
    failure.details["counters"] = counters
    return failure
