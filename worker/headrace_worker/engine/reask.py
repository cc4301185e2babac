"""An answer that does not fit the schema is asked for again, with what was wrong: each time counted, and paid.

The counter is of one attempt at the job, apart from the budget of failed calls: nothing was wrong with the provider.
"""

from __future__ import annotations

import msgspec

from headrace.batches.template import Item
from headrace.chat.completion import Completion, Usage
from headrace.chat.feedback import feedback
from headrace.errors import CallError
from headrace.jobs.job import Job


class Reasks:
    """The re-asks of one job. `job` is what to ask now."""

    def __init__(self, job: Job):
        self.job = job
        self._first = job
        self._left = job.reasks
        self._done = 0
        self._usage = Usage()
        self._cost: float | None = None

    def move(self, model: str) -> None:
        """Put the conversation so far to another model."""
        self.job = msgspec.structs.replace(self.job, model=model)
        self._first = msgspec.structs.replace(self._first, model=model)

    def leave_flex(self) -> Job:
        """Put the conversation so far to the standard service tier, and return the job."""
        options = msgspec.structs.replace(self.job.options, service_tier="default")
        self.job = msgspec.structs.replace(self.job, options=options)
        self._first = msgspec.structs.replace(self._first, options=options)
        return self.job

    def ask(self, failure: CallError) -> bool:
        """Return whether to ask again after `failure`; then `job` is the conversation with the answer and what was wrong."""
        if failure.code not in ("invalid_output", "empty_output") or self._left <= 0:
            return False
        self._left -= 1
        self._done += 1
        self._pay(failure)
        errors = failure.details.get("errors") or [failure.message]
        self.job = msgspec.structs.replace(
            self._first, messages=[*self._first.messages, *feedback(failure.partial, errors)]
        )
        return True

    def completed(self, completion: Completion) -> Completion:
        """Return the completion with what all the calls cost together."""
        if not self._done:
            return completion
        cost = None if completion.cost is None and self._cost is None else (completion.cost or 0) + (self._cost or 0)
        return msgspec.structs.replace(completion, usage=self._usage + completion.usage, cost=cost, reasks=self._done)

    def failed(self, failure: CallError) -> CallError:
        """Return the failure with what all the calls cost together."""
        if self._done:
            self._pay(failure)
            failure.details["counters"] = self._usage.counters() | {"reasks": self._done}
            failure.details["usage"], failure.details["cost"] = self._usage, self._cost
        return failure

    def _pay(self, failure: CallError) -> None:
        self._usage += failure.details.get("usage") or Usage()
        cost = failure.details.get("cost")
        if cost is not None:
            self._cost = (self._cost or 0) + cost


def reasked(item: Item, counters: dict[str, int]) -> dict[str, int]:
    """Return `counters` with the call that asked again for what the caller's type had refused."""
    return counters | {"reasks": counters.get("reasks", 0) + 1} if item.reasks else counters


def with_earlier(item: Item, completion: Completion) -> Completion:
    """Return the completion with what the answers before it have cost: the line of an item says what it cost in all."""
    if not item.reasks:
        return completion
    usage = (item.usage or Usage()) + completion.usage
    cost = None if completion.cost is None and item.cost is None else (completion.cost or 0) + (item.cost or 0)
    return msgspec.structs.replace(completion, reasks=item.reasks + completion.reasks, usage=usage, cost=cost)
