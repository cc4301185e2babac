"""The circuit breakers that are open, as they stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from headrace.ledger.script import Ledger

MAX_LISTED_BREAKERS = 200


class BreakerRecord(msgspec.Struct, frozen=True):
    """An open breaker: nobody calls the deployment `name` for `wait_ms`; 0: it is half open, one call may try it."""

    scope: str
    name: str
    wait_ms: int


async def open_breakers(ledger: Ledger) -> list[BreakerRecord]:
    """Return the breakers that are open, by name. One round trip where none has ever been, two at most."""
    names = listed(await ledger.client.hgetall(ledger.keys.breakers))
    if not names:
        return []
    async with ledger.client.pipeline(transaction=False) as pipeline:
        pipeline.time()
        for scope in names:
            pipeline.hget(ledger.keys.breaker(scope), "till")
        (seconds, micros), *tills = await pipeline.execute(raise_on_error=False)
    return breakers_of(names, tills, seconds * 1000 + micros // 1000)


def listed(stored: Any) -> dict[str, str]:
    """Return names by scope, as the hash `breakers` has them."""
    if not isinstance(stored, dict):
        return {}
    pairs = list(stored.items())[:MAX_LISTED_BREAKERS]
    return {scope.decode(errors="replace"): name.decode(errors="replace") for scope, name in pairs}


def breakers_of(names: Mapping[str, str], tills: Sequence[Any], now_ms: int) -> list[BreakerRecord]:
    """Return the breakers of these scopes that have a `till`."""
    found = [
        BreakerRecord(scope, name, max(0, int(till) - now_ms))
        for (scope, name), till in zip(names.items(), tills, strict=True)
        if isinstance(till, bytes) and till.isdigit() and len(till) < 16
    ]
    return sorted(found, key=lambda record: record.name)
