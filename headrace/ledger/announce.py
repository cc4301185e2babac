"""Announce: a worker publishes the providers that it can call, for submitters. An announcement has a short TTL and is
renewed, so that it disappears with its worker, and reappears after a server was emptied."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import msgspec

from headrace.ledger.script import Ledger

EVERY_S = 5.0
LIFE_MS = 20_000
MAX_DIGITS = 16  # of a time in milliseconds


class Announcement(msgspec.Struct, frozen=True):
    """The providers that one worker can call. `configured` are providers that its environment configures; `lacking` maps
    those that it knows and cannot call to what is missing; `usable` are all others that it knows. `metrics` is where its
    metrics are read (`host:port`; empty: nowhere), `role` the queue that it serves."""

    configured: list[str] = []
    usable: list[str] = []
    lacking: dict[str, str] = {}
    role: str = ""
    metrics: str = ""


async def announce(ledger: Ledger, process: str, announcement: Announcement | None, *, life_ms: int = LIFE_MS) -> None:
    """Publish the announcement with a TTL of `life_ms`; None deletes that of `process`."""
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
    """Return the announcements that have not expired at `now_ms`; malformed ones are ignored."""
    found = []
    for value in stored.values():
        until, _, body = value.partition(b" ")
        if not until.isdigit() or len(until) > MAX_DIGITS or int(until) < now_ms:
            continue
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            found.append(msgspec.json.decode(body, type=Announcement))
    return found
