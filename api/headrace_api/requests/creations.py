"""Requests that create a file or a batch: one that is repeated, because its client left without knowing what it had made, is
given that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from litestar import Request

from headrace.errors import Busy
from headrace.jobs.build import checked_key
from headrace.ledger.creation import Creation
from headrace_api.routes.events import left
from headrace_api.state import Gateway


class CreationRequest:
    """One such request. `made` is what it has made or was given."""

    def __init__(self, creation: Creation):
        self.creation = creation
        self._made: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def make(self, create: Callable[[Creation], Awaitable[str]]) -> str:
        """Return the id that `create` returns, and remember it. While it is not known whether whoever asked the same is still
        there, `create` is called again."""
        while True:
            try:
                made = await create(self.creation)
            except Busy as busy:
                await asyncio.sleep(int(busy.detail) / 1000 + 0.01)
                continue
            self._made.set_result(made)
            return made

    @property
    def made(self) -> asyncio.Future[str]:
        return self._made


@asynccontextmanager
async def creation_of(
    gateway: Gateway, request: Request[Any, Any, Any], digest: str, own_id: str
) -> AsyncIterator[CreationRequest]:
    """Yield the request that creates `own_id`, by the `digest` of what it asks for. At the end of the block its answer is sent,
    or its client has left: then the next equal request is given what was made. Raises `InputError` for a key that is none."""
    key = checked_key(request.headers.get("idempotency-key") or None)
    delivery = gateway.answer_delivery
    waiter = None
    if key is None:
        waiter = await delivery.waiter(request, gateway.caller(request), digest.encode())
    creating = CreationRequest(Creation(digest, key, waiter))
    gone = asyncio.ensure_future(left(request.receive))
    has_left = False
    try:
        yield creating
        await asyncio.wait({gone}, timeout=0)
        has_left = gone.done()
    except BaseException:
        has_left = True
        raise
    finally:
        gone.cancel()
        if waiter is not None:
            delivery.over(request.scope)
        if waiter is not None and creating.made.done():
            if has_left:
                delivery.disconnected(waiter, own_id, creating.made)
            else:
                delivery.sent(waiter, own_id, creating.made.result(), request.scope)
