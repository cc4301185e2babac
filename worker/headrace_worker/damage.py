"""Damaged records and messages: logged once, set aside in the ledger, skipped by the loops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from headrace.errors import Damaged, Refused
from headrace.ledger.dead_letter import dead_letter
from headrace.ledger.evict_damaged import evict_damaged, evict_expired, readable
from headrace.ledger.script import UNAVAILABLE, Ledger, is_damage
from headrace.logs import get_logger
from headrace.text.safe_errors import kind_of, where_of

log = get_logger("headrace.worker.damage")

T = TypeVar("T")
MAX_TOLD = 1000


class DamageHandler:
    """The handler of a process. Contents of damaged records are never logged."""

    def __init__(self, ledger: Ledger):
        self._ledger = ledger
        self._told: set[tuple[str, ...]] = set()

    def on_damage(self, name: str, why: str) -> None:
        """Tell that a record was set aside."""
        log.error("a damaged record was set aside", record=name, why=why)

    async def message(self, raw: bytes, queue: str, why: str) -> None:
        """Set aside a message of `queue` that cannot be processed."""
        log.error("a message was set aside: it is no hint", queue=queue, bytes=len(raw), why=why)
        try:
            await dead_letter(self._ledger, "message", raw, where=queue, why=why)
        except (Refused, *UNAVAILABLE) as error:
            log.warning("what was set aside is not kept", error=kind_of(error))

    async def records(self, names: Sequence[str | bytes], where: str, error: BaseException) -> None:
        """Set aside, after `error`, met at `where`, what is damaged among the records `names`. When nothing is, the
        error is logged, once of its kind."""
        try:
            found = await evict_damaged(self._ledger, names, where=where)
        except Refused as refused:
            found, error = [], refused
        for name, why in found:
            self.on_damage(name, why)
        if not found:
            shown = (readable(name.encode() if isinstance(name, str) else name) for name in names)
            self.tell_once("a record cannot be worked with", error, *shown, step=where)

    async def expired(self, error: BaseException) -> None:
        """Set aside, after a recovery that failed, what is damaged among the records whose leases ran out."""
        for name, why in await evict_expired(self._ledger):
            self.on_damage(name, why)
        self.tell_once("recovery failed; it is tried again", error)

    async def guarded(self, step: str, work: Awaitable[list[T]]) -> list[T]:
        """Return the result of `work`, one step of a round of maintenance; nothing when it failed, so that the
        other steps are taken. Raises while Redis is away."""
        try:
            return await work
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if isinstance(error, UNAVAILABLE) and not is_own_fault(error):
                raise
            self.tell_once("maintenance failed; it is tried again", error, step=step)
            return []

    def tell_once(self, event: str, error: BaseException, *names: str, **fields: str) -> None:
        """Log an `error` once of its kind, for the records `names`."""
        key = (event, kind_of(error), *fields.values(), *names)
        if key not in self._told and len(self._told) < MAX_TOLD:
            self._told.add(key)
            log.error(event, kind=kind_of(error), where=where_of(error), names=" ".join(names), **fields)


def is_own_fault(error: BaseException) -> bool:
    """Return True if a record caused the error of a command: the server is available, and would answer the same again."""
    return isinstance(error, Damaged) or is_damage(error)
