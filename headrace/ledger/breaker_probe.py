"""Breaker probe: ask for the one call that may try a deployment whose breaker is half open. One an interval, of all workers."""

from __future__ import annotations

from headrace.ledger.breaker_fail import BreakerState, breaker_state
from headrace.ledger.script import Ledger


async def breaker_probe(ledger: Ledger, scope: str, *, token: str) -> BreakerState:
    """Return `probe` when this call may go out. Sending the same `token` again returns the same; the call's failure is told with
    it (`breaker_fail`), its answer by `breaker_close`."""
    return breaker_state(
        await ledger.run("breaker_probe", scope, {"breaker": ledger.keys.breaker(scope)}, {"token": token})
    )
