"""Submit the job of a request, under the idempotency key that came with it."""

from __future__ import annotations

import asyncio
from typing import Any

from litestar import Request

from headrace.errors import Busy
from headrace.jobs.build import CHAT_TIMEOUT_S, checked_key, timeout_ms, ttl_ms
from headrace.ledger.unread import WaitingClient
from headrace_api.requests.chat_completions import ChatRequest
from headrace_api.state import Gateway


async def submitted(
    gateway: Gateway,
    request: Request[Any, Any, Any],
    asked: ChatRequest,
    key: str | None = None,
    *,
    timeout_s: float = CHAT_TIMEOUT_S,
    job_id: str | None = None,
    waiter: WaitingClient | None = None,
) -> str:
    """Submit the job and return its id. The idempotency key is the header's (`Idempotency-Key`), or the body's own.
    `timeout_s` is the default timeout. A new job has the id `job_id`; `waiter` waits on a connection."""
    given = checked_key(key or key_of(request, asked))
    while True:
        try:
            return await gateway.client.submit_job(
                asked.job,
                ttl_ms=ttl_ms(asked.own.get("ttl_s")),
                timeout_ms=timeout_ms(asked.own.get("timeout_s"), timeout_s),
                idempotency_key=given,
                job_id=job_id,
                waiter=waiter,
            )
        except Busy as busy:  # whoever asked the same waits at a gateway that has been silent for a moment
            await asyncio.sleep(int(busy.detail) / 1000 + 0.01)


def key_of(request: Request[Any, Any, Any], asked: ChatRequest) -> Any:
    return asked.own.get("idempotency_key") or request.headers.get("idempotency-key")
