"""Breaker close: a deployment has answered. After a probe everybody calls it again."""

from __future__ import annotations

from headrace.ledger.breaker_fail import BreakerState, breaker_state
from headrace.ledger.script import Ledger


async def breaker_close(ledger: Ledger, scope: str, *, process: str, probe: str = "") -> BreakerState:
    """Tell that a call of this process was answered, and return what holds now. Only the answer to a `probe` closes a breaker
    that is open, however late it comes; any other ends the row of this process's failures."""
    keys = ledger.keys
    return breaker_state(
        await ledger.run(
            "breaker_close",
            scope,
            {"breaker": keys.breaker(scope), "breakers": keys.breakers},
            {"scope": scope, "process": process, "probe": probe, "channel": keys.breakers_channel},
        )
    )
