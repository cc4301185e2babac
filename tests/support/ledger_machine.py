"""What the machines of the model-based tests have in common: a ledger that they move, on a loop of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from headrace import errors
from headrace.jobs.job import new_id
from headrace.ledger.script import Ledger

EXPIRED, LONG = -1, 10**9
LOOP = asyncio.new_event_loop()


class LedgerMachine(RuleBasedStateMachine):
    """Moves a ledger of its own, and says beforehand what each move will do."""

    client: Any = None  # set by `run`: makes a redis client on the loop
    steps = 30

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(type(self).client(), new_id("job")[4:20])

    def do(self, awaitable: Any) -> Any:
        return LOOP.run_until_complete(awaitable)

    def expect(self, refusal: type[errors.Refused] | None, awaitable: Any) -> Any:
        if refusal is None:
            return self.do(awaitable)
        with pytest.raises(refusal):
            self.do(awaitable)
        return None


def run(machine: type[LedgerMachine], client: Callable[[], Any], examples: int) -> None:
    """Try `examples` sequences of moves, or as many as the profile allows: ledger and model must not differ after any."""
    machine.client = staticmethod(client)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=min(examples, settings().max_examples),
            stateful_step_count=machine.steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
