"""Limit hold: a provider said `Retry-After`; no worker calls the deployment until then."""

from __future__ import annotations

from headrace.ledger.script import Ledger


async def limit_hold(ledger: Ledger, scope: str, name: str, *, wait_ms: int, reason: str, process: str) -> None:
    """Hold the scope for `wait_ms`, by the server's clock, and tell all workers, on `keys.limits_channel`. The longest holds."""
    keys = ledger.keys
    await ledger.run(
        "limit_hold",
        scope,
        {"limit": keys.limit(scope), "limits": keys.limits},
        {
            "scope": scope,
            "name": name,
            "wait_ms": max(0, wait_ms),
            "reason": reason,
            "process": process,
            "channel": keys.limits_channel,
        },
    )


def parse_hold(payload: bytes) -> tuple[str, int, str, str] | None:
    """Return scope, milliseconds, process and reason of a message on the channel; None for one of another kind."""
    parts = payload.decode(errors="replace").split(" ", 4)
    if len(parts) != 5 or parts[0] != "hold" or not parts[2].isdecimal() or len(parts[2]) > 9:
        return None
    return parts[1], int(parts[2]), parts[3], parts[4]
