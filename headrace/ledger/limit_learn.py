"""Limit learn: what a provider said of its limits in the headers of an answer."""

from __future__ import annotations

from headrace.ledger.script import Ledger

LEARNT_LIFE_MS = 600_000
"""Milliseconds for which a limit holds that no answer repeats."""


async def limit_learn(
    ledger: Ledger,
    scope: str,
    name: str,
    *,
    requests: int = 0,
    tokens: int = 0,
    empty_requests_ms: int = 0,
    empty_tokens_ms: int = 0,
    life_ms: int = LEARNT_LIFE_MS,
) -> bool:
    """Store the limits of a minute that a provider has told (0: not told), and for how long nothing of them is left. Returns
    True when they are new; then all workers are told."""
    keys = ledger.keys
    (is_new,) = await ledger.run(
        "limit_learn",
        scope,
        {"limit": keys.limit(scope), "limits": keys.limits},
        {
            "scope": scope,
            "name": name,
            "requests": requests,
            "tokens": tokens,
            "empty_requests_ms": empty_requests_ms,
            "empty_tokens_ms": empty_tokens_ms,
            "life_ms": life_ms,
            "channel": keys.limits_channel,
        },
    )
    return is_new == b"1"
