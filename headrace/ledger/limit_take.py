"""Limit take: permits for calls at a deployment, by the limits that all workers share. Only the server's clock counts.

Both rates are paced (GCRA): whatever the workers do, no more than a limit and `BURST_S` of it begin in any time. The burst is
less than the second that providers allow, so that calls which are late on their way do not meet others there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from headrace.ledger.script import Ledger

BURST_S = 0.4
PERMIT_LEASE_MS = 16_000
"""Milliseconds after which the calls in flight of a process that asks no more are no longer counted."""
CallClass = Literal["interactive", "bulk"]


class Settled(msgspec.Struct, frozen=True):
    """A call that is over, or was not made: when it was granted, and what it took beyond its estimate (less: negative)."""

    granted_us: int
    requests: int
    tokens: int


class Granted(msgspec.Struct, frozen=True):
    """The first `count` calls may begin now; the next after `wait_us`, for `reason`: `requests`, `tokens`, `in_flight` (their
    limit is `limit`), `held` by a `Retry-After`, or `urgent`: interactive calls wait. `none`: nothing limits them."""

    count: int
    wait_us: int
    pace_us: int
    reason: str
    limit: int
    at_us: int


async def limit_take(
    ledger: Ledger,
    deployment: str,
    model: str,
    tokens: Sequence[int],
    *,
    process: str,
    token: str,
    call_class: CallClass,
    held: int = 0,
    held_of_model: int = 0,
    settled: Sequence[Settled] = (),
    burst_s: float = BURST_S,
) -> Granted:
    """Ask for a call of so many `tokens` each, in this order, at the scopes `deployment` and `model` (equal: one scope).

    `held` are the calls that this process has in flight at each; `settled` those that are over since it last asked. Sending the
    same `token` again returns the same grant.
    """
    keys = ledger.keys
    rest = [*tokens, *(part for each in settled for part in (each.granted_us, each.requests, each.tokens))]
    count, wait, pace, reason, limit, at = await ledger.run(
        "limit_take",
        deployment,
        {"deployment": keys.limit(deployment), "model": keys.limit(model)},
        {
            "process": process,
            "token": token,
            "class": call_class,
            "held": held,
            "held_of_model": held_of_model,
            "lease_ms": PERMIT_LEASE_MS,
            "burst_us": int(burst_s * 1e6),
            "n": len(tokens),
        },
        rest,
    )
    return Granted(int(count), int(wait), int(pace), reason.decode(), int(limit), int(at))
