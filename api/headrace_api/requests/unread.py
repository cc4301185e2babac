"""Answers that may not have reached their clients: the client's own retry is to have them, not a call of its own.

OpenAI's clients ask again by themselves, with `x-stainless-retry-count`, when the link breaks or their patience ends. Every
chat is entered with the ledger as unread (`headrace/ledger/unread.py`) by the script that accepts it; here it is told what
became of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Literal, NamedTuple

from litestar import Request

from headrace.client.async_client import TENANT, AsyncHeadrace
from headrace.errors import HeadraceError
from headrace.ledger.script import AWAY
from headrace.ledger.unread import Asker, Held, doubt, leave, read_together
from headrace.waiting import persistently
from headrace_api.requests.chat_completions import sized

RETRY_COUNT = "x-stainless-retry-count"
SETTLED_S = 1.0
"""An answer counts as read when its connection stands so long after the last byte was handed to it."""
DOUBT_S = 15.0
"""Seconds that a retry may still have the answer when the connection was closed before it counts as read. Clients wait
8 s at most between tries."""
LAST_WORD_S = 1.0
EXCHANGE = "headrace.exchange"
"""Key of an ASGI scope for the number of its exchange."""
_numbers = itertools.count()

Delivery = Literal["pending", "settled", "read", "closed"]
"""`settled`: handed over whole, and its connection stands. `read`: its client has asked for something else on that connection."""


class Exchange(NamedTuple):
    """A request and its response on a connection, without what the request holds.

    The number is written into the request's scope: its `id()` would not do, since the next request on the connection may be
    given the same memory.
    """

    peer: tuple[Any, ...]
    number: int

    @classmethod
    def of(cls, scope: Any) -> Exchange:
        return cls(tuple(scope.get("client") or ()), scope.setdefault(EXCHANGE, next(_numbers)))

    def is_of(self, scope: Any) -> bool:
        return scope.get(EXCHANGE) == self.number


class Sent(NamedTuple):
    """An answer that was handed to its connection; until when it is looked at."""

    held: Held
    exchange: Exchange
    until_s: float


class Unread:
    """One for a gateway process. `delivery` says how far a response has come."""

    def __init__(self, client: AsyncHeadrace, delivery: Callable[[Exchange], Delivery]):
        self._client = client
        self._delivery = delivery
        self._gateway = secrets.token_hex(8)
        self._leaving: set[asyncio.Task[None]] = set()
        self._sent: list[Sent] = []
        self._doubted: list[Sent] = []
        self._settling: asyncio.Task[None] | None = None

    async def asker(self, request: Request[Any, Any, Any], raw: bytes) -> Asker:
        """Return who asks. A retry waits until the ledger knows of everybody who has left here."""
        again = request.headers.get(RETRY_COUNT, "").strip().lstrip("0").isdecimal()
        if again:
            await self._look()
            if self._leaving:
                await asyncio.wait(self._leaving)
        return Asker(self._gateway, again, (await sized(len(raw), hashlib.sha256, raw)).hexdigest())

    def left(self, asker: Asker, token: str, submission: asyncio.Future[str]) -> None:
        """Record that the client has left, maybe while its job is still being submitted: whether the ledger has it is
        not known before that has ended."""
        leaving = asyncio.create_task(self._leave(asker, token, submission))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def _leave(self, asker: Asker, token: str, submission: asyncio.Future[str]) -> None:
        with contextlib.suppress(HeadraceError):  # a submission that was refused: there is nothing to take over
            held = Held(TENANT, asker.asked, await submission, token)
            await persistently(lambda: leave(self._client.ledger, held))

    def sent(self, asker: Asker, token: str, job: str, scope: Any) -> None:
        """Record that the answer of `job` is being sent over the connection of `scope`."""
        self._sent.append(Sent(Held(TENANT, asker.asked, job, token), Exchange.of(scope), now_s() + SETTLED_S))
        if self._settling is None or self._settling.done():
            self._settling = asyncio.create_task(self._settle())

    async def close(self) -> None:
        """Settle at the gateway's end: what was sent counts as read, what is left for others is written."""
        if self._settling is not None:
            self._settling.cancel()
        if self._sent:
            await self._say(read_together(self._client.ledger, [sent.held for sent in self._sent]))
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=LAST_WORD_S)

    async def _settle(self) -> None:
        while self._sent or self._doubted:
            await asyncio.sleep(SETTLED_S)
            await self._look()

    async def _look(self) -> None:
        """Tell the ledger which answers have been read, and which may not have been."""
        looked_at, self._sent, read = self._sent, [], []
        for sent in looked_at:
            delivery = self._delivery(sent.exchange)
            if delivery == "closed":
                self._doubted.append(sent._replace(until_s=now_s() + DOUBT_S))
                await self._say(doubt(self._client.ledger, sent.held))
            elif delivery == "pending" or (delivery == "settled" and sent.until_s > now_s()):
                self._sent.append(sent)
            else:
                read.append(sent.held)
        read += [sent.held for sent in self._doubted if sent.until_s <= now_s()]
        self._doubted = [sent for sent in self._doubted if sent.until_s > now_s()]
        if read:
            await self._say(read_together(self._client.ledger, read))

    async def _say(self, word: Awaitable[None]) -> None:
        with contextlib.suppress(*AWAY, HeadraceError):  # unsaid or damaged, the entry runs out by itself
            await word


def now_s() -> float:
    return asyncio.get_running_loop().time()
