"""The job that answers in a chat, so that a page that comes back finds it."""

from __future__ import annotations

from headrace.ledger.script import Ledger

CHAT_MS = 24 * 3600 * 1000


async def name_chat_job(ledger: Ledger, tenant: str, chat_id: str, job_id: str) -> None:
    """Remember for `CHAT_MS` that `job_id` answers in the chat, in place of an earlier one."""
    await ledger.client.set(ledger.keys.chat(tenant, chat_id), job_id, px=CHAT_MS)


async def chat_job(ledger: Ledger, tenant: str, chat_id: str) -> str | None:
    """Return the job that answers in the chat; None when none has for `CHAT_MS`."""
    stored = await ledger.client.get(ledger.keys.chat(tenant, chat_id))
    return None if stored is None else stored.decode()
