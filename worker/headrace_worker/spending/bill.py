"""The bill of one attempt at a record: what its calls have cost, and what is not known of them.

It only grows, and every move of the ledger that ends or stores something carries it whole (`fragments/bill.lua`).
"""

from __future__ import annotations

from headrace_providers.wire.call_cost import CallCost

from headrace.chat.completion import Completion
from headrace.spend.money import nano_of_float


class Bill:
    """The sums since the claim with this `id`, its epoch; money in nano-USD."""

    __slots__ = (
        "cached",
        "calls",
        "cost",
        "id",
        "input_tokens",
        "output_tokens",
        "saved",
        "settled",
        "unaccounted",
        "unaccounted_calls",
        "unpriced",
    )

    def __init__(self, id: int):
        self.id = id
        self.settled = self.cost = self.unaccounted = self.unaccounted_calls = self.unpriced = 0
        self.calls = self.input_tokens = self.output_tokens = self.cached = self.saved = 0

    def __str__(self) -> str:
        """Return it as the ledger takes it; empty while there is nothing on it."""
        if not (self.calls or self.cached or self.settled):
            return ""
        return (
            f"{self.id} {self.settled} {self.cost} {self.unaccounted} {self.unaccounted_calls} {self.unpriced} "
            f"{self.calls} {self.input_tokens} {self.output_tokens} {self.cached} {self.saved}"
        )

    @property
    def known(self) -> int:
        """What is on it of money, whichever way."""
        return self.cost + self.unaccounted

    def add(self, call: CallCost, worst: int) -> None:
        """Add a call that is over, and that its provider may have charged for; `worst` is the most that it can have cost."""
        if call.is_free:
            return
        self.calls += 1
        if call.usage is not None:
            self.input_tokens += call.usage.input_tokens
            self.output_tokens += call.usage.output_tokens
        cost = None if call.cost is None else nano_of_float(call.cost)
        if cost is not None:
            self.cost += cost
        if call.usage is None or (cost is None and call.usage.unknown):
            self.unaccounted_calls += 1
            self.unaccounted += worst
        elif cost is None:
            self.unpriced += 1
        elif not call.is_final:
            self.unaccounted_calls += 1
            self.unaccounted += max(0, worst - cost)

    def save(self, completion: Completion) -> None:
        """Add an answer that was not paid for."""
        self.cached += 1
        if completion.saved_cost is not None:
            self.saved += nano_of_float(completion.saved_cost)
