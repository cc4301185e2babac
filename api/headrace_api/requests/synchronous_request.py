"""A synchronous request: submit its job, wait for the answer, and record if it reached the client."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

from litestar import Request

from headrace.chat.completion import Outcome
from headrace.jobs.build import CHAT_TIMEOUT_S
from headrace.jobs.job import new_id
from headrace.ledger.unread import WaitingClient
from headrace_api.errors import ApiError
from headrace_api.requests.chat_completions import ChatRequest
from headrace_api.requests.patience import patience_of
from headrace_api.requests.submission import key_of, submitted
from headrace_api.routes.events import AtEnd, left
from headrace_api.state import Gateway
from headrace_api.streaming.session import DRAINING

T = TypeVar("T")


class SynchronousRequest:
    """One request, from its submission to the last byte of its answer. A context manager whose block ends when the answer
    is about to be sent; where that goes on after the block, it is `handed_on`.

    `raw` is its body: an equal one is given what this one's client left without. `key` is an idempotency key, and
    `timeout_s` the timeout of the job where the body says none.
    """

    def __init__(
        self,
        gateway: Gateway,
        request: Request[Any, Any, Any],
        asked: ChatRequest,
        raw: bytes,
        *,
        key: str | None = None,
        timeout_s: float = CHAT_TIMEOUT_S,
    ):
        self._gateway = gateway
        self._request = request
        self._asked = asked
        self._raw = raw
        self._key = key or key_of(request, asked)
        self._timeout_s = timeout_s
        self._token = new_id("job")
        self.patience_s = patience_of(request)
        self._waiter: WaitingClient | None = None
        self._begun = False
        self._left = False
        self._is_handed_on = False
        self._submission: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def submitted(self) -> str:
        """Submit the job and return its id. Raises `ApiError` when the client disconnects first, or the gateway drains."""
        return await self._while_there(self._submit())

    async def answered(self) -> tuple[str, Outcome]:
        """Return the job's id and outcome. Raises as `submitted` does, and `Expired`."""
        return await self._while_there(self._answer())

    @property
    def job(self) -> str | None:
        """Its job's id, None before that was accepted."""
        return self._submission.result() if self._submission.done() and not self._submission.cancelled() else None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None or not self._is_handed_on:
            self._over(sent=kind is None)

    def handed_on(self) -> AtEnd:
        """Return what has to be called at the end of the answer in place of the end of the block."""
        self._is_handed_on = True
        return self._over

    def _over(self, *, sent: bool, left: bool = False) -> None:
        """Record the end of the request: its answer is being sent, or was not `sent` to anybody and is kept for the next
        equal request, unless its client `left` and the job is to be cancelled with it (`on_disconnect`)."""
        if self._waiter is not None:
            self._gateway.answer_delivery.over(self._request.scope)
        if self._submission.cancelled():
            return
        if not sent and (left or self._left) and self._asked.own.get("on_disconnect") == "cancel":
            self._gateway.answer_delivery.given_up(self._waiter, self._token, self._submission)
        elif self._waiter is None:
            return
        elif sent:
            self._gateway.answer_delivery.sent(
                self._waiter, self._token, self._submission.result(), self._request.scope
            )
        else:
            self._gateway.answer_delivery.disconnected(self._waiter, self._token, self._submission)

    async def _submit(self) -> str:
        try:
            if not self._key and self._asked.own.get("join") is not False:  # with its own key it is the same job anyhow
                caller = self._gateway.caller(self._request)
                self._waiter = await self._gateway.answer_delivery.waiter(self._request, caller, self._raw)
            self._begun = True
            job = await submitted(
                *(self._gateway, self._request, self._asked, self._key),
                timeout_s=self._timeout_s,
                job_id=self._token,
                waiter=self._waiter,
            )
        except BaseException:
            self._submission.cancel()
            raise
        self._submission.set_result(job)
        return job

    async def _answer(self) -> tuple[str, Outcome]:
        with self._gateway.expect(self._token) as viewer:
            await viewer.creating()
            job = await self._submit()
            if job == self._token:
                viewer.created()
                return job, await self._gateway.ended_under(viewer, job, patience_s=self.patience_s)
        return job, await self._gateway.ended(job, patience_s=self.patience_s)

    async def _while_there(self, steps: Coroutine[Any, Any, T]) -> T:
        work = asyncio.create_task(steps)
        gone = asyncio.create_task(left(self._request.receive))
        drain = asyncio.create_task(self._gateway.draining.wait())
        try:
            await asyncio.wait({work, gone, drain}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
        finally:
            gone.cancel()
            drain.cancel()
            work.add_done_callback(lambda task: task.cancelled() or task.exception())
            # A submission that was begun is ended: whether the ledger has it would be unknown.
            if self._begun:
                self._submission.add_done_callback(lambda _: work.cancel())
            else:
                self._submission.cancel()
                work.cancel()
        if gone.done():
            self._left = True
            raise ApiError(499, "client_left", "the client has left")
        where = f"; {self._submission.result()} goes on" if self._submission.done() else ""
        raise ApiError(503, "interrupted", f"{DRAINING}{where}")
