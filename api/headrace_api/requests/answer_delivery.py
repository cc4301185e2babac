"""At-least-once delivery of answers: one that has not reached its client is kept for the next equal request, which then
costs no call.

Clients repeat a request by themselves after a lost connection or a timeout, those of OpenAI with `x-stainless-retry-count`.
The script that accepts a job enters it in the ledger as unread (`headrace/ledger/unread.py`); this module updates the
entry, and renews the lease of those who wait at this gateway: when the process dies, they count as gone. The ledger sees that by
the end of its subscription at once, and by the lease where the connection stays open without it.
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

from headrace.client.ledger_backend import TENANT, LedgerBackend
from headrace.errors import HeadraceError
from headrace.events.subscription import Subscriber
from headrace.ledger.cancel import cancel
from headrace.ledger.script import UNAVAILABLE
from headrace.ledger.unread import (
    UnreadAnswer,
    WaitingClient,
    mark_disconnected,
    mark_read,
    mark_unconfirmed,
    renew_gateway,
)
from headrace.waiting import retry_read
from headrace_api.requests.chat_completions import sized

RETRY_COUNT = "x-stainless-retry-count"
SETTLED_S = 1.0
"""Seconds after the last byte was written for which a connection has to stay open for the answer to count as read."""
DOUBT_S = 15.0
"""Seconds for which a retry may still get the answer when the connection closed before that. Clients wait 8 s at most
between retries."""
LAST_WORD_S = 1.0
RENEWED_S = 0.5
"""Seconds between two renewals of the lease of those who wait here: `fragments/joined.lua` doubts one that is 0.8 s old, and
looks at the subscription of one that says so."""
EXCHANGE = "headrace.exchange"
"""Key of the exchange's number in an ASGI scope."""
_numbers = itertools.count()

Delivery = Literal["pending", "settled", "read", "closed"]
"""State of a response: `settled`: written in full, and its connection is open. `read`: its client sent the next request on
that connection."""


class Exchange(NamedTuple):
    """The identity of a request and its response on a connection, without references to their objects.

    The number is stored in the request's scope. The scope's `id()` would be ambiguous: the next request on the connection
    may get the same memory.
    """

    peer: tuple[Any, ...]
    number: int

    @classmethod
    def of(cls, scope: Any) -> Exchange:
        return cls(tuple(scope.get("client") or ()), scope.setdefault(EXCHANGE, next(_numbers)))

    def is_of(self, scope: Any) -> bool:
        return scope.get(EXCHANGE) == self.number


class Sent(NamedTuple):
    """An answer that was written to its connection, and the time until which that is watched."""

    answer: UnreadAnswer
    exchange: Exchange
    until_s: float


class Held(NamedTuple):
    """A request that waits for its answer, by what it asked; `over` is done once its handler has told how it ended."""

    asked: str
    number: int
    over: asyncio.Future[None]


class Silence:
    """The listener of a channel on which nothing is published."""

    def on_confirmed(self) -> None: ...

    def on_message(self, payload: bytes) -> None: ...

    def on_failure(self, error: BaseException) -> None: ...


class AnswerDelivery:
    """The unread answers of a gateway process. `delivery` returns the state of a response. `keep_s`: seconds after its end
    for which one is kept."""

    def __init__(self, client: LedgerBackend, delivery: Callable[[Exchange], Delivery], keep_s: float):
        self._client = client
        self._delivery = delivery
        self._keep_ms = int(keep_s * 1000)
        self._gateway = secrets.token_hex(8)
        self._subscriber = Subscriber(client.ledger)
        self._leaving: dict[asyncio.Task[None], str] = {}
        self._held: dict[tuple[Any, ...], Held] = {}  # by the address of the client
        # By what was asked: requests whose connections are lost, and whose handlers have not noticed.
        self._lost: dict[str, set[asyncio.Future[None]]] = {}
        self._sent: list[Sent] = []
        self._doubted: list[Sent] = []
        self._settling: asyncio.Task[None] | None = None
        self._looking = asyncio.Lock()

    async def start(self) -> None:
        """Take the lease of those who wait here, and go on renewing it. Raises what Redis does."""
        await renew_gateway(self._client.ledger, self._gateway)
        self._subscriber.listen(self._client.ledger.keys.gateway(self._gateway), Silence())
        self._renewing = asyncio.create_task(self._renew())

    async def waiter(self, request: Request[Any, Any, Any], caller: str, raw: bytes) -> WaitingClient | None:
        """Return the client's identity for the ledger, None when nothing is kept for repeats here. It waits until those who
        asked the same and have left are recorded. With the end of the request, `over` is due."""
        if not self._keep_ms:
            return None
        again = request.headers.get(RETRY_COUNT, "").strip().lstrip("0").isdecimal()
        path = f"{request.url.path}?{request.url.query}"
        asked = await sized(len(raw), digest, path, caller, raw)
        if again:
            await self._look()
        await asyncio.sleep(0)  # a connection that was lost before this request came is told by now
        if lost := self._lost.get(asked):
            await asyncio.wait(lost, timeout=LAST_WORD_S)
        if leaving := [task for task, left in self._leaving.items() if left == asked]:
            await asyncio.wait(leaving)
        self._hold(Exchange.of(request.scope), asked)
        return WaitingClient(self._gateway, again, asked, self._keep_ms)

    def _hold(self, exchange: Exchange, asked: str) -> None:
        if not exchange.peer:  # a socket of the file system: its clients have no addresses
            return
        if before := self._held.get(exchange.peer):
            self._release(exchange.peer, before)
        self._held[exchange.peer] = Held(asked, exchange.number, asyncio.get_running_loop().create_future())
        if self._delivery(exchange) == "closed":
            self.connection_lost(exchange.peer)

    def connection_lost(self, peer: tuple[Any, ...]) -> None:
        """Take note that the connection of `peer` is gone. Its handler learns that some turns of the loop later, and a repeat
        may come in between."""
        if held := self._held.get(peer):
            self._lost.setdefault(held.asked, set()).add(held.over)

    def over(self, scope: Any) -> None:
        """Take note that the request of `scope` has ended: what is to be recorded of that is said in the same turn."""
        exchange = Exchange.of(scope)
        if (held := self._held.get(exchange.peer)) and held.number == exchange.number:
            self._release(exchange.peer, held)

    def _release(self, peer: tuple[Any, ...], held: Held) -> None:
        del self._held[peer]
        held.over.set_result(None)
        if lost := self._lost.get(held.asked):
            lost.discard(held.over)
            if not lost:
                del self._lost[held.asked]

    def disconnected(self, waiter: WaitingClient, token: str, submission: asyncio.Future[str]) -> None:
        """Record that the client disconnected. Its job may still be being submitted: the entry is updated after that."""
        leaving = asyncio.create_task(self._leave(waiter, token, submission))
        self._leaving[leaving] = waiter.asked
        leaving.add_done_callback(self._leaving.pop)

    def given_up(self, waiter: WaitingClient | None, token: str, submission: asyncio.Future[str]) -> None:
        """Cancel the job of a client that disconnected and wanted it cancelled then: no repeat is given it."""
        leaving = asyncio.create_task(self._give_up(waiter, token, submission))
        self._leaving[leaving] = waiter.asked if waiter else ""
        leaving.add_done_callback(self._leaving.pop)

    async def _give_up(self, waiter: WaitingClient | None, token: str, submission: asyncio.Future[str]) -> None:
        with contextlib.suppress(HeadraceError):  # refused, or ended by now
            job = await submission
            if waiter is not None:
                await self._say(mark_read(self._client.ledger, [UnreadAnswer(TENANT, waiter.asked, job, token)]))
            await retry_read(lambda: cancel(self._client.ledger, job))

    async def _leave(self, waiter: WaitingClient, token: str, submission: asyncio.Future[str]) -> None:
        with contextlib.suppress(HeadraceError):  # a submission that was refused: there is nothing to take over
            answer = UnreadAnswer(TENANT, waiter.asked, await submission, token)
            await retry_read(lambda: mark_disconnected(self._client.ledger, answer))

    def sent(self, waiter: WaitingClient, token: str, job: str, scope: Any) -> None:
        """Record that the answer of `job` is being sent over the connection of `scope`, and start to watch its delivery."""
        self._sent.append(Sent(UnreadAnswer(TENANT, waiter.asked, job, token), Exchange.of(scope), now_s() + SETTLED_S))
        if self._settling is None or self._settling.done():
            self._settling = asyncio.create_task(self._settle())

    async def close(self) -> None:
        """Record pending entries at shutdown: sent answers count as read, disconnects are written."""
        self._renewing.cancel()
        async with self._looking:
            if self._settling is not None:
                self._settling.cancel()
        if self._sent:
            await self._say(mark_read(self._client.ledger, [sent.answer for sent in self._sent]))
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=LAST_WORD_S)
        await self._subscriber.close()

    async def _renew(self) -> None:
        watched = False
        while True:
            await asyncio.sleep(RENEWED_S)
            try:
                watched = await renew_gateway(self._client.ledger, self._gateway, watched=watched)
            except UNAVAILABLE:
                watched = False  # the subscription is most likely gone as well

    async def _settle(self) -> None:
        while self._sent or self._doubted:
            await asyncio.sleep(SETTLED_S)
            await self._look()

    async def _look(self) -> None:
        """Update the ledger's entries: which answers were read, and which may not have been. A retry that comes while another
        look's words are on their way waits for them: it would be given an answer that was read."""
        async with self._looking:
            looked_at, self._sent, read = self._sent, [], []
            for sent in looked_at:
                delivery = self._delivery(sent.exchange)
                if delivery == "closed":
                    self._doubted.append(sent._replace(until_s=now_s() + DOUBT_S))
                    await self._say(mark_unconfirmed(self._client.ledger, sent.answer))
                elif delivery == "pending" or (delivery == "settled" and sent.until_s > now_s()):
                    self._sent.append(sent)
                else:
                    read.append(sent.answer)
            read += [sent.answer for sent in self._doubted if sent.until_s <= now_s()]
            self._doubted = [sent for sent in self._doubted if sent.until_s > now_s()]
            if read:
                await self._say(mark_read(self._client.ledger, read))

    async def _say(self, word: Awaitable[None]) -> None:
        with contextlib.suppress(*UNAVAILABLE, HeadraceError):  # unsaid or damaged, the entry runs out by itself
            await word


def digest(path: str, caller: str, raw: bytes) -> str:
    """Return what equal requests of one caller have in common."""
    found = hashlib.sha256(f"{path}\n{caller}\n".encode())
    found.update(raw)
    return found.hexdigest()


def now_s() -> float:
    return asyncio.get_running_loop().time()
