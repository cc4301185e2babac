"""Unread: answers that have not reached their clients' connections, so that a client's own retry is not charged again.

A hash per tenant and request (`WaitingClient.asked`), job id -> `held`, `left` or `sent`, gateway, token, and the time (ms). The
token is the id that the request would have given to a job of its own; it guards an entry against later calls of other
requests. `submit` creates an entry, or hands one over to a client's own retry.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from headrace.ledger.script import Ledger, ScriptCall

UNREAD_MS = 15 * 60_000
"""Milliseconds after its end for which an unread answer is kept for a retry."""


class WaitingClient(NamedTuple):
    """A client that waits on a connection for the answer: `gateway` holds the connection, `again` marks a client's own
    retry, `asked` is the digest of the request (retries are the same byte by byte)."""

    gateway: str
    again: bool
    asked: str


class UnreadAnswer(NamedTuple):
    """One request's hold on the answer of `job`, under its `token`."""

    tenant: str
    asked: str
    job: str
    token: str


async def mark_disconnected(ledger: Ledger, answer: UnreadAnswer) -> None:
    """Record that the client disconnected without the answer: its next retry takes it over."""
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
