"""Alias router: which deployment of an alias takes the next call, by priority, weight or load, past those whose breaker is open.

Load is counted in each process: all workers divide their own calls alike, and so the calls of all are divided.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import NamedTuple

from headrace.chat.routing import Routing
from headrace_worker.engine.call_slots import Slots
from headrace_worker.engine.deployment_hold import DRAINING, Deferred
from headrace_worker.limits.circuit_breakers import CircuitBreakers

MAX_ROUTES = 1000
NO_WAIT: AbstractAsyncContextManager[None] = nullcontext()


class BreakerScope(NamedTuple):
    """What has a breaker of its own: one model at a deployment, and its name for people."""

    scope: str
    name: str


class AliasRouter:
    """The routes of one process that has so many `calls` in flight. `scope_of` names the breaker of a model; None for one that
    cannot be called here."""

    def __init__(
        self,
        breakers: CircuitBreakers | None,
        scope_of: Callable[[str], BreakerScope | None],
        *,
        calls: int = 1,
    ):
        self._breakers = breakers
        self._calls = calls
        self._places: dict[tuple[str, ...], Slots] = {}
        self._scope_of = scope_of
        self._under_way: dict[str, int] = {}
        self._credits: dict[tuple[str, ...], dict[str, int]] = {}

    def place(
        self, routing: Routing | None, models: Sequence[str], rank: int, party: str
    ) -> AbstractAsyncContextManager[None]:
        """Return the wait for a place from which a call goes out at once. Where load decides it has to be known then: of those
        that wait in a queue it would say nothing."""
        if routing is None or routing.choose != "least_busy":
            return NO_WAIT
        route = tuple(models)
        if route not in self._places and len(self._places) >= MAX_ROUTES:
            return NO_WAIT
        return self._places.setdefault(route, Slots(self._calls)).hold(rank, party)

    def drain(self) -> None:
        """Send away everybody who waits for a place."""
        for places in self._places.values():
            places.dismiss(lambda: Deferred(0, DRAINING))

    def order(self, routing: Routing | None, models: Sequence[str], free: Sequence[str]) -> list[str]:
        """Return the `free` ones of a job's `models` in the order in which they are to be asked."""
        if routing is None:
            return list(free)
        rows = {model: (routing.priorities[at], routing.weights[at]) for at, model in enumerate(models)}
        ordered: list[str] = []
        for priority in sorted({rows[model][0] for model in free}):
            equals = [model for model in free if rows[model][0] == priority]
            weights = {model: rows[model][1] for model in equals}
            if routing.choose == "least_busy":
                ordered += self._by_load(tuple(models), weights)
            else:
                ordered += self._by_weight(tuple(models), weights)
        return ordered

    def _by_weight(self, route: tuple[str, ...], weights: dict[str, int]) -> list[str]:
        """Smooth weighted round robin: in any row of calls each has its part, and no one comes in lumps. The first takes the
        call; the others follow by what they are owed."""
        if len(weights) == 1:
            return list(weights)
        if route not in self._credits and len(self._credits) >= MAX_ROUTES:
            self._credits.clear()
        credits = self._credits.setdefault(route, {})
        for model, weight in weights.items():
            credits[model] = credits.get(model, 0) + weight
        ordered = sorted(weights, key=lambda model: -credits[model])
        credits[ordered[0]] -= sum(weights.values())
        return ordered

    def _by_load(self, route: tuple[str, ...], weights: dict[str, int]) -> list[str]:
        turns = self._by_weight(route, weights)  # equals take turns
        return sorted(turns, key=lambda model: self._under_way.get(model, 0) / weights[model])

    def begin(self, model: str) -> None:
        self._under_way[model] = self._under_way.get(model, 0) + 1

    def end(self, model: str) -> None:
        left = self._under_way[model] - 1
        if left:
            self._under_way[model] = left
        else:
            del self._under_way[model]

    # Breakers

    def wait_s(self, model: str) -> float | None:
        """Return the seconds until a call may try the model, as `CircuitBreakers.wait_s` does."""
        if self._breakers is None or (scope := self._scope_of(model)) is None:
            return None
        return self._breakers.wait_s(scope.scope)

    async def admitted(self, model: str) -> str | None:
        """Return the token with which a call may go to the model: empty as long as its breaker is closed; None: it may not."""
        if self._breakers is None or (scope := self._scope_of(model)) is None:
            return ""
        wait_s = self._breakers.wait_s(scope.scope)
        if wait_s is None:
            return ""
        return await self._breakers.probe(scope.scope) if wait_s == 0 else None

    async def failed(self, model: str, probe: str) -> None:
        if self._breakers is not None and (scope := self._scope_of(model)) is not None:
            await self._breakers.failed(scope.scope, scope.name, probe)

    def answered(self, model: str, probe: str) -> None:
        if self._breakers is not None and (scope := self._scope_of(model)) is not None:
            self._breakers.answered(scope.scope, scope.name, probe)
