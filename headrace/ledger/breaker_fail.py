"""Breaker fail: calls to a deployment failed by its fault. With too many in a row no worker calls it for a while."""

from __future__ import annotations

from typing import Literal

import msgspec

from headrace.ledger.script import Ledger

MAX_FAILURES = 5
"""Failures in a row, those of all workers together, with which the breaker opens."""
WINDOW_MS = 60_000
INTERVAL_MS = 5_000
"""Milliseconds until one call may try it again; doubled each time that this one fails, `MAX_INTERVAL_MS` at most."""
MAX_INTERVAL_MS = 60_000


class BreakerState(msgspec.Struct, frozen=True):
    """`closed`: everybody may call. `open`: nobody, for `wait_ms` (0: one may ask for the probe). `probe`: whoever asked may."""

    state: Literal["closed", "open", "probe"]
    wait_ms: int = 0


async def breaker_fail(
    ledger: Ledger,
    scope: str,
    name: str,
    *,
    process: str,
    failures: int,
    probe: str = "",
    most_failures: int = MAX_FAILURES,
    window_ms: int = WINDOW_MS,
    interval_ms: int = INTERVAL_MS,
) -> BreakerState:
    """Tell that the last `failures` calls of this process have failed, and return what holds now. `probe` is the token of the
    probe that the last one was."""
    keys = ledger.keys
    return breaker_state(
        await ledger.run(
            "breaker_fail",
            scope,
            {"breaker": keys.breaker(scope), "breakers": keys.breakers},
            {
                "scope": scope,
                "name": name,
                "process": process,
                "failures": failures,
                "probe": probe,
                "most_failures": most_failures,
                "window_ms": window_ms,
                "interval_ms": interval_ms,
                "max_interval_ms": max(interval_ms, MAX_INTERVAL_MS),
                "channel": keys.breakers_channel,
            },
        )
    )


def breaker_state(reply: list[bytes]) -> BreakerState:
    """Return the state in the reply of a move of the breaker."""
    return msgspec.convert({"state": reply[0].decode(), "wait_ms": int(reply[1])}, BreakerState)


def parse_breaker(payload: bytes) -> tuple[str, int | None] | None:
    """Return scope and milliseconds of a message on `keys.breakers_channel` (None: it has closed); None for any other."""
    parts = payload.decode(errors="replace").split(" ")
    if len(parts) == 2 and parts[0] == "closed":
        return parts[1], None
    if len(parts) == 3 and parts[0] == "open" and parts[2].isascii() and parts[2].isdecimal() and len(parts[2]) < 10:
        return parts[1], int(parts[2])
    return None
