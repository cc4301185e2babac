"""The cost of each call, told when it is over, however it ended: success, failure, or a cancellation."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import NamedTuple

from headrace.chat.completion import Usage
from headrace.spend.prices import Profile, cost_of
from headrace_providers.wire.reducer import Reducer


class CallCost(NamedTuple):
    """What is known of one call. `usage` is None when none has arrived, `cost` (USD) when no price is known; with
    `is_final` the answer had ended, so nothing more was paid. `is_free`: the provider refused it with an error status."""

    usage: Usage | None
    cost: float | None
    is_final: bool
    is_free: bool


ON_COST: ContextVar[Callable[[CallCost], None] | None] = ContextVar("on_cost", default=None)


def cost_of_call(reducer: Reducer, profile: Profile | None) -> CallCost:
    """Return what is known of the call whose answer `reducer` has, as far as it came. It is worked out once."""
    if not reducer.has_usage:
        return CallCost(None, None, is_final=False, is_free=reducer.is_free)
    if reducer.cost is None:
        known = cost_of(profile, reducer.usage, reducer.raw_usage, reducer.tier) if reducer.raw_usage else None
        reducer.cost = (known,)
    return CallCost(
        reducer.usage, reducer.cost[0], is_final=reducer.plain or reducer.has_finished, is_free=reducer.is_free
    )


def tell_cost(reducer: Reducer, profile: Profile | None) -> None:
    """Tell whoever listens (`ON_COST`) that the call is over, and what it cost."""
    if (told := ON_COST.get()) is not None:
        told(cost_of_call(reducer, profile))
