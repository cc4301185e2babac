"""Announce: a worker says which providers it can call, for whoever submits. What it says is forgotten soon after it has
died, and is there again soon after a server was emptied."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import msgspec

from headrace.ledger.script import Ledger

EVERY_S = 5.0
LIFE_MS = 20_000
MAX_DIGITS = 16  # of a time in milliseconds


class Announcement(msgspec.Struct, frozen=True):
    """The providers that one worker can call. `configured` are providers that its environment speaks of; `lacking` says, of those
    that it knows and cannot call, what is missing; `usable` are all others that it knows."""

    configured: list[str] = []
    usable: list[str] = []
    lacking: dict[str, str] = {}


async def announce(ledger: Ledger, process: str, announcement: Announcement | None, *, life_ms: int = LIFE_MS) -> None:
    """Say it for `life_ms`; None takes back what `process` said."""
    body = b"" if announcement is None else msgspec.json.encode(announcement)
    await ledger.run(
        "announce",
        process,
        {"workers": ledger.keys.providers},
        {"process": process, "announcement": body, "life_ms": life_ms},
    )


async def announcements(ledger: Ledger) -> list[Announcement]:
    """Return the announcements of all live workers, by the server's clock."""
    async with ledger.client.pipeline(transaction=False) as pipeline:
        pipeline.time()
        pipeline.hgetall(ledger.keys.providers)
        (seconds, _), stored = await pipeline.execute()
    return live(stored, seconds * 1000)


def live(stored: Mapping[bytes, bytes], now_ms: int) -> list[Announcement]:
    """Return what is still said at `now_ms`; anything in another form is nobody's."""
    found = []
    for value in stored.values():
        until, _, body = value.partition(b" ")
        if not until.isdigit() or len(until) > MAX_DIGITS or int(until) < now_ms:
            continue
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            found.append(msgspec.json.decode(body, type=Announcement))
    return found
