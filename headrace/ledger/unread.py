"""Unread: answers that have not reached their clients' connections, so that who asks the same again is given them.

A hash per tenant and request (`WaitingClient.asked`), job id -> `held`, `left` or `sent`, gateway, token, and the time (ms). The
token is the id that the request would have given to a job of its own; it guards an entry against later calls of other
requests. `submit` creates an entry, or hands one over to an equal request (`fragments/joined.lua`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from headrace.ledger.script import Ledger, ScriptCall

UNREAD_MS = 15 * 60_000
"""Milliseconds after its end for which an unread answer is kept for a repeat, by default."""
GATEWAY_LEASE_MS = 5_000
"""Milliseconds after its last `renew_gateway` for which those who wait at a gateway count as being there."""


class WaitingClient(NamedTuple):
    """A client that waits on a connection for the answer: `gateway` holds the connection, `again` marks a client's own
    retry, `asked` is the digest of the caller and the request (a repeat is the same byte by byte), `keep_ms` the time for
    which an answer that it leaves without is kept after its end."""

    gateway: str
    again: bool
    asked: str
    keep_ms: int = UNREAD_MS


class UnreadAnswer(NamedTuple):
    """One request's hold on the answer of `job`, under its `token`."""

    tenant: str
    asked: str
    job: str
    token: str


async def renew_gateway(ledger: Ledger, gateway: str, *, watched: bool = False) -> bool:
    """Keep the clients that wait at `gateway` from being taken for gone, for `GATEWAY_LEASE_MS`. With `watched` only as long as
    it is subscribed to the channel of its lease's name, too: that ends with its process. Returns True if it is."""
    key = ledger.keys.gateway(gateway)
    async with ledger.client.pipeline(transaction=False) as pipeline:
        pipeline.pubsub_numsub(key)
        pipeline.set(key, b"watched" if watched else b"1", px=GATEWAY_LEASE_MS)
        ((_, subscribers),), _ = await pipeline.execute()
    return int(subscribers) > 0


async def mark_disconnected(ledger: Ledger, answer: UnreadAnswer) -> None:
    """Record that the client disconnected without the answer: the next equal request takes it over."""
    await ledger.run("unread", *_call(ledger, answer, "left"))


async def mark_unconfirmed(ledger: Ledger, answer: UnreadAnswer) -> None:
    """Record that the client disconnected right after the answer was sent, so that delivery is uncertain. A retry gets it
    if no other entry of the same request is `left`."""
    await ledger.run("unread", *_call(ledger, answer, "sent"))


async def mark_read(ledger: Ledger, many: Sequence[UnreadAnswer]) -> None:
    """Record the answers as delivered, in one round trip: no retry takes them over."""
    await ledger.run_group("unread", [_call(ledger, answer, "read") for answer in many])


def _call(ledger: Ledger, answer: UnreadAnswer, word: str) -> ScriptCall:
    keys = {"unread": ledger.keys.unread(answer.tenant, answer.asked)}
    return ScriptCall(answer.job, keys, {"id": answer.job, "token": answer.token, "word": word})
