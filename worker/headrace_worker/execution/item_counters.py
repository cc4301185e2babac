"""The counters that one item adds to those of its batch."""

from __future__ import annotations

from headrace.batches.template import Item
from headrace.chat.completion import Completion, Usage
from headrace_worker.engine.reask import reasked
from headrace_worker.engine.tries import Tries

CACHED = "cached"
"""Counts the items whose answer was not paid for them: each is a call saved."""


def success_counters(item: Item, tries: Tries, completion: Completion) -> dict[str, int]:
    """Return the counters of an item that has an answer."""
    if completion.cached:
        return reasked(item, {CACHED: 1})
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
