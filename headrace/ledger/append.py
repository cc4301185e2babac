"""Append: write numbered events to a job's log and publish them to its viewers, in one call."""

from __future__ import annotations

from collections.abc import Sequence

from redis.exceptions import RedisError

from headrace.errors import Refused
from headrace.ledger.script import Argument, Ledger, ScriptCall


async def append(ledger: Ledger, job_id: str, epoch: int, first_seq: int, events: Sequence[bytes]) -> str:
    """Write `events` (JSON), the first of which is number `first_seq` of the attempt. Returns the reason of a cancellation,
    or an empty string.

    Idempotent: events that are stored already are skipped. Raises `Gap` (the server lost a tail: send again from `detail`),
    `Fenced`, `Closed`, or `Unknown` (use `restore`).
    """
    _, cancel = await ledger.run("append", *append_call(ledger, job_id, epoch, first_seq, events))
    return cancel.decode()


async def append_together(ledger: Ledger, calls: Sequence[ScriptCall]) -> list[str | Refused | RedisError]:
    """Pipeline many appends, of any jobs, in one round trip; return what `append` would return or raise for each. Raises
    what the server answered to all of them alike."""
    if not calls:
        return []
    replies = await ledger.run_group("append", calls)
    return [reply if isinstance(reply, Exception) else reply[1].decode() for reply in replies]


def append_call(ledger: Ledger, job_id: str, epoch: int, first_seq: int, events: Sequence[bytes]) -> ScriptCall:
    """Return the call that `append` makes."""
    job = ledger.keys.job(job_id)
    arguments: dict[str, Argument] = {"epoch": epoch, "first_seq": first_seq, "channel": ledger.keys.channel(job)}
    return ScriptCall(job_id, {"job": job, "log": ledger.keys.log(job)}, arguments, events)
