"""Prefix warm-up: of all calls that begin with one prefix the first goes alone, until the provider has it cached."""

from __future__ import annotations

from typing import Literal

from headrace.ledger.script import Ledger

WARM = b"warm"
LEASE_MS = 120_000
"""Milliseconds after which a first call that has not ended is no longer waited for."""
WARM_MS = 240_000
"""How long a provider is taken to keep a prefix that nobody asks for; they say five to ten minutes."""


async def begin_warmup(ledger: Ledger, scope: str, *, owner: str) -> Literal["lead", "wait", "warm"]:
    """Return `lead` where the caller's is the first call, `wait` while that of another one is under way. Sent twice by the same
    `owner` it returns the same."""
    key = ledger.keys.warm(scope)
    if await ledger.client.set(key, owner, nx=True, px=LEASE_MS):
        return "lead"
    known = await ledger.client.get(key)
    if known == owner.encode():
        return "lead"
    return "warm" if known == WARM else "wait"


async def end_warmup(ledger: Ledger, scope: str, *, is_warm: bool) -> None:
    """Let the others go: together when the first call was answered, else the next one goes alone."""
    key = ledger.keys.warm(scope)
    if is_warm:
        await ledger.client.set(key, WARM, px=WARM_MS)
    else:
        await ledger.client.delete(key)
