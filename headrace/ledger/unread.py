"""Unread: answers that have not reached those who wait for them on a connection, so that who asks again is not charged again.

A hash per tenant and question (`Asker.asked`), job id -> `held`, `left` or `sent`, gateway, token, and the time (ms). The token
is the id that the request would have given to a job of its own; with it a request's later words touch nobody else's entry.
`submit` makes an entry, or hands one on to a client's own retry.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from headrace.ledger.script import Ledger, ScriptCall

UNREAD_MS = 15 * 60_000
"""Milliseconds after its end that an answer is kept for whoever asks again."""


class Asker(NamedTuple):
    """A client that waits on a connection for the answer: `gateway` holds it, `again` says that it is a client's own retry,
    `asked` is the digest of what is asked for (retries say the same, byte by byte)."""

    gateway: str
    again: bool
    asked: str


class Held(NamedTuple):
    """The hold of one request: the answer of `job`, under its `token`."""

    tenant: str
    asked: str
    job: str
    token: str


async def leave(ledger: Ledger, held: Held) -> None:
    """Record that its client has left without the answer: the next one who asks the same, again, takes it over."""
    await ledger.run("unread", *_call(ledger, held, "left"))


async def doubt(ledger: Ledger, held: Held) -> None:
    """Record that its client has left right after the answer was sent: it may not have come. Who asks again has it if
    nobody has left without one."""
    await ledger.run("unread", *_call(ledger, held, "sent"))


async def read_together(ledger: Ledger, many: Sequence[Held]) -> None:
    """Record that their clients have their answers: nobody takes them over. In one round trip."""
    await ledger.run_group("unread", [_call(ledger, held, "read") for held in many])


def _call(ledger: Ledger, held: Held, word: str) -> ScriptCall:
    keys = {"unread": ledger.keys.unread(held.tenant, held.asked)}
    return ScriptCall(held.job, keys, {"id": held.job, "token": held.token, "word": word})
