"""Single-flight: of those who ask the same at once, in any process, one pays; the others wait for its answer, without a slot."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from headrace.chat.completion import Completion
from headrace.errors import CallError
from headrace.jobs.job import Job
from headrace.ledger.look_up import Flight
from headrace.text.readable import UNWRITABLE
from headrace_worker.engine.answer_cache import AnswerCache
from headrace_worker.engine.kept_answer import is_shareable
from headrace_worker.observability.worker_meter import SavedBy

TURN_S = 0.1
"""Seconds between two looks at a question that another process answers. All of a process fall together, in one round trip."""

Pay = Callable[[], Awaitable[Completion]]
Fits = Callable[[Completion], Awaitable[bool]]
"""A predicate: True if a kept completion answers the present request."""
Sleep = Callable[[float], Awaitable[None]]


class NotShared(Exception):
    """The one who paid has no answer that others can be given."""


class SharedAnswers:
    """The answers of single jobs, by way of `cache`. `sleep` waits without a slot, and raises when the process drains."""

    def __init__(self, cache: AnswerCache, sleep: Sleep):
        self.cache = cache
        self._sleep = sleep
        self._paying: dict[str, asyncio.Future[Completion | None]] = {}  # None: who paid gave the question back

    async def ask(self, job: Job, deployments: str, *, record: str, tenant: str, pay: Pay, fits: Fits) -> Completion:
        """Return the answer to `job` in its cache mode: a kept one, or that of `pay`, for which others may wait."""
        keys = await self.cache.keys(tenant)
        try:
            key = keys.of_job(job, deployments) if keys is not None else None
        except UNWRITABLE:
            key = None
        if key is None:
            return await pay()
        match job.cache:
            case "read":
                (found,) = await self.cache.look_up([(key, "")])
                if isinstance(found, Completion) and await fits(found):
                    self.cache.saved("cache")
                    return as_cached(found)
                return await pay()
            case "write" | "refresh":
                completion = await pay()
                if is_shareable(completion):
                    self.cache.keep(tenant, key, completion, replace=job.cache == "refresh")
                    await self.cache.written()
                return completion
            case _:
                return await self._together(key, record, tenant, pay, fits)

    async def _together(self, key: str, record: str, tenant: str, pay: Pay, fits: Fits) -> Completion:
        while (paying := self._paying.get(key)) is not None:
            try:
                completion = await asyncio.shield(paying)
            except NotShared:
                return await pay()
            if completion is not None:
                self.cache.saved("join")
                return as_cached(completion)
        done = self._paying[key] = asyncio.get_running_loop().create_future()
        done.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may have waited
        try:
            completion, shareable = await self._lead(key, record, tenant, pay, fits)
        except CallError:
            done.set_exception(NotShared())
            raise
        except BaseException:
            done.set_result(None)
            raise
        else:
            if shareable:
                done.set_result(completion)
            else:
                done.set_exception(NotShared())
            return completion
        finally:
            del self._paying[key]

    async def _lead(self, key: str, record: str, tenant: str, pay: Pay, fits: Fits) -> tuple[Completion, bool]:
        """Return the answer, for all who ask the same in this process, and whether they may be given it."""
        found = await self._flight(key, record, fits)
        if isinstance(found, Completion):
            return as_cached(found), True
        record = record if found is Flight.LEAD else ""
        try:
            completion = await pay()
        except CallError:
            self.cache.leave(tenant, key, record, failed=True)
            raise
        except BaseException:
            self.cache.leave(tenant, key, record)
            raise
        if not is_shareable(completion):
            self.cache.leave(tenant, key, record, failed=True)
            return completion, False
        self.cache.keep(tenant, key, completion, record=record)
        await self.cache.written()
        return completion, True

    async def _flight(self, key: str, record: str, fits: Fits) -> Completion | Flight:
        """Return the answer that is kept, or is when another process has paid for it; else whether this one leads now."""
        cause: SavedBy = "cache"
        while True:
            (found,) = await self.cache.look_up([(key, record)])
            if isinstance(found, Completion):
                if await fits(found):
                    self.cache.saved(cause)
                    return found
                if not await self.cache.forget(key):
                    return Flight.NONE
            elif found is not Flight.WAIT:
                return found
            else:
                cause = "join"
                await self._sleep(TURN_S - asyncio.get_running_loop().time() % TURN_S)


def as_cached(completion: Completion) -> Completion:
    """Return the completion as it is given again: it costs nothing."""
    saved = completion.saved_cost if completion.cached else completion.cost
    return msgspec.structs.replace(completion, cached=True, cost=0.0, saved_cost=saved)
