"""The current job of a chat, so that a reloaded page can rejoin it."""

from __future__ import annotations

from headrace.ledger.script import Ledger

CHAT_MS = 24 * 3600 * 1000


async def name_chat_job(ledger: Ledger, tenant: str, chat_id: str, job_id: str) -> None:
    """Store `job_id` as the chat's current job for `CHAT_MS`, replacing an earlier one."""
    await ledger.client.set(ledger.keys.chat(tenant, chat_id), job_id, px=CHAT_MS)


async def chat_job(ledger: Ledger, tenant: str, chat_id: str) -> str | None:
    """Return the current job of the chat; None when there was none for `CHAT_MS`."""
    stored = await ledger.client.get(ledger.keys.chat(tenant, chat_id))
    return None if stored is None else stored.decode()
