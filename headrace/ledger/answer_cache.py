"""The answer cache of all workers, beside its moves (`look_up`, `keep_answers`): its secret, its size, what empties it. It may
lie on a server of its own; the secret lies in the ledger."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import msgspec

from headrace.ledger.script import Ledger

SCAN_COUNT = 1000
"""`COUNT` of each `SCAN` call over the cache."""
SECRET_BYTES = 32
BYTES = "bytes:"
"""Prefix of the fields that count the bytes of one tenant."""


class CacheUse(msgspec.Struct, frozen=True):
    """Size of the cached answers, and their use: `hits` are look-ups that found one. `bytes` counts keys and all, 0 where the
    cache has no bound; `tenants` has those of each tenant. `max_bytes` is the bound that the workers keep, 0 for none; None where
    none has said so yet."""

    answers: int
    bytes: int = 0
    hits: int = 0
    tenants: dict[str, int] = {}
    max_bytes: int | None = None


async def cache_secret(ledger: Ledger) -> bytes:
    """Return the secret that keys the hashes of questions; the first one to ask makes it."""
    key = ledger.keys.cache_secret
    while len(known := await ledger.client.get(key) or b"") != SECRET_BYTES:
        if known:  # cut, or somebody else's: what was cached under it is of no use to anybody
            await ledger.client.delete(key)
        await ledger.client.set(key, secrets.token_bytes(SECRET_BYTES), nx=True)
    return known


async def still_calling(ledger: Ledger, process: str, *, lease_ms: int) -> None:
    """Say that the process is alive: who waits for its answers goes on waiting."""
    await ledger.client.set(ledger.keys.caller(process), b"1", px=lease_ms)


async def cache_use(ledger: Ledger) -> CacheUse:
    """Return what the cache takes. It scans all answers: not for every call."""
    fields = {name.decode(errors="replace"): value for name, value in (await _use(ledger)).items()}
    numbers = {name: int(value) for name, value in fields.items() if value.isdigit()}
    tenants = {name.removeprefix(BYTES): number for name, number in numbers.items() if name.startswith(BYTES)}
    count = len([key async for key in _answers(ledger)])
    return CacheUse(count, numbers.get("bytes", 0), numbers.get("hits", 0), tenants, numbers.get("max_bytes"))


async def _use(ledger: Ledger) -> dict[bytes, bytes]:
    if await ledger.client.type(ledger.keys.cache_use) != b"hash":
        return {}
    return await ledger.client.hgetall(ledger.keys.cache_use)


async def drop_answers(ledger: Ledger) -> int:
    """Delete every cached answer, and return how many there were. Those in files of batches are no longer found."""
    count = 0
    async for key in _answers(ledger):
        count += await ledger.client.unlink(key)
    for pattern in (ledger.keys.cached("*"), ledger.keys.answer_files("*", "*")):
        async for key in ledger.client.scan_iter(pattern, count=SCAN_COUNT):
            await ledger.client.unlink(key)
    await ledger.client.unlink(ledger.keys.cache_use)
    return count


async def drop_answer(ledger: Ledger, sha: str) -> None:
    """Delete one cached answer: it cannot be read."""
    await ledger.client.unlink(ledger.keys.cache(sha))


async def paid_choice(ledger: Ledger, sha: str) -> bytes | None:
    """Return a choice of a job that has paid for it; None where there is none."""
    return await ledger.client.get(ledger.keys.choice(sha))


async def keep_choice(ledger: Ledger, sha: str, choice: bytes, *, ttl_ms: int) -> None:
    """Keep a choice that was paid, until its job has ended."""
    await ledger.client.set(ledger.keys.choice(sha), choice, px=ttl_ms)


def _answers(ledger: Ledger) -> AsyncIterator[bytes]:
    return ledger.client.scan_iter(ledger.keys.cache("*"), count=SCAN_COUNT)
