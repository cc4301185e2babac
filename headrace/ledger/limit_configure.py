"""Limit configure: a worker says which limits it was configured with, and hears which ones hold. Of several the strictest does.
It is repeated, so that what a worker said disappears with it, and reappears after a server was emptied."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.ledger.script import Ledger

LIFE_MS = 20_000


class LimitScope(msgspec.Struct, frozen=True):
    """The limits of a deployment or of a model there, `name` for people: per minute, and calls in flight; 0: none. `differ`: the
    workers were configured with different ones."""

    scope: str
    name: str
    requests: int = 0
    tokens: int = 0
    in_flight: int = 0
    held_ms: int = 0
    reason: str = ""
    differ: bool = False


async def limit_configure(
    ledger: Ledger, process: str, configured: Sequence[LimitScope], *, life_ms: int = LIFE_MS
) -> list[LimitScope]:
    """Say what `process` was configured with, for `life_ms`; 0: it ends. Returns every scope that has limits, or is held."""
    rest: list[str | int | bytes] = []
    for each in configured:
        rest += (each.scope, each.name, each.requests, each.tokens, each.in_flight)
    flat = await ledger.run(
        "limit_configure",
        process,
        {"limits": ledger.keys.limits},
        {"prefix": ledger.keys.prefix, "process": process, "life_ms": life_ms},
        rest,
    )
    scopes = []
    for i in range(0, len(flat), 8):
        scope, name, requests, tokens, in_flight, held_ms, reason, differ = flat[i : i + 8]
        scopes.append(
            LimitScope(
                scope.decode(errors="replace"),
                name.decode(errors="replace"),
                requests=int(requests),
                tokens=int(tokens),
                in_flight=int(in_flight),
                held_ms=int(held_ms),
                reason=reason.decode(errors="replace"),
                differ=differ == b"1",
            )
        )
    return scopes
