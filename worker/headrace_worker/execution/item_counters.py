"""The counters that one item adds to those of its batch, and failures that are counted without being an item's."""

from __future__ import annotations

from headrace.batches.template import Item
from headrace.chat.completion import Completion, Usage
from headrace.errors import CallError
from headrace.ledger.checkpoint import Failing
from headrace.spend.money import nano_of_float
from headrace_worker.engine.reask import reasked
from headrace_worker.engine.tries import Tries

MAX_REASON = 300
CACHED = "cached"
"""Counts the items whose answer was not paid for them: each is a call saved."""
SAVED = "saved_nano_usd"
"""What those calls would have cost, where that is known."""


def success_counters(item: Item, tries: Tries, completion: Completion) -> dict[str, int]:
    """Return the counters of an item that has an answer."""
    if completion.cached:
        saved = {} if completion.saved_cost is None else {SAVED: nano_of_float(completion.saved_cost)}
        return reasked(item, {CACHED: 1} | saved)
    paid = completion.counters() | usage_details(completion.usage) | retried(tries, completion.reasks)
    return reasked(item, paid)


def failure_counters(item: Item, tries: Tries, code: str, paid: dict[str, int]) -> dict[str, int]:
    """Return the counters of an item that failed with `code`, after `paid` for it."""
    return reasked(item, paid | retried(tries, paid.get("reasks", 0)) | {f"code:{code}": 1})


def usage_details(usage: Usage) -> dict[str, int]:
    """Return the counters of tokens that are a part of others, where there are any."""
    counted = {"cached_tokens": usage.cached_tokens, "reasoning_tokens": usage.reasoning_tokens}
    return {name: count for name, count in counted.items() if count}


def retried(tries: Tries, reasks: int) -> dict[str, int]:
    """Return the counter of an item's calls that were made because one before had failed."""
    again = tries.calls - 1 - reasks
    return {"retried": again} if again > 0 else {}


def failing_of(last: CallError, count: int) -> Failing:
    """Return what a checkpoint is told of `count` failures of the configuration, by the last of them."""
    why = f"{last.code}: {last.message[:MAX_REASON]}"
    return Failing(last.code, count, f"{why} (to go on once that is put right: headrace batches resume)")
