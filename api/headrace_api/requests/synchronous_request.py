"""A synchronous request: submit its job, wait for the answer, and record if it reached the client."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from litestar import Request

from headrace.chat.completion import Outcome
from headrace.jobs.job import new_id
from headrace.ledger.unread import WaitingClient
from headrace_api.errors import ApiError
from headrace_api.requests.chat_completions import ChatRequest
from headrace_api.requests.patience import patience_of
from headrace_api.routes.events import left
from headrace_api.routes.jobs import key_of, submitted
from headrace_api.state import Gateway
from headrace_api.streaming.session import DRAINING

T = TypeVar("T")


class SynchronousRequest:
    """One request, from its submission to the last byte of its answer. `over` has to be called at the end."""

    def __init__(self, gateway: Gateway, request: Request[Any, Any, Any], asked: ChatRequest, raw: bytes):
        self._gateway = gateway
        self._request = request
        self._asked = asked
        self._raw = raw
        self._token = new_id("job")
        self.patience_s = patience_of(request)
        self._waiter: WaitingClient | None = None
        self._begun = False
        self._submission: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def submitted(self) -> str:
        """Submit the job and return its id. Raises `ApiError` when the client disconnects first, or the gateway drains."""
        return await self._while_there(self._submit())

    async def answered(self) -> tuple[str, Outcome]:
        """Return the job's id and outcome. Raises as `submitted` does, and `Expired`."""
        return await self._while_there(self._answer())

    def over(self, *, sent: bool) -> None:
        """Record the end of the request: its answer is being sent, or was not `sent` to anybody and is kept for the
        client's retry."""
        if self._waiter is None or self._submission.cancelled():
            return
        if sent:
            self._gateway.answer_delivery.sent(
                self._waiter, self._token, self._submission.result(), self._request.scope
            )
        else:
            self._gateway.answer_delivery.disconnected(self._waiter, self._token, self._submission)

    async def _submit(self) -> str:
        try:
            if not key_of(self._request, self._asked):  # with a key of its own, asked again it is the same job anyhow
                self._waiter = await self._gateway.answer_delivery.waiter(self._request, self._raw)
            self._begun = True
            job = await submitted(self._gateway, self._request, self._asked, job_id=self._token, waiter=self._waiter)
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
            raise ApiError(499, "client_left", "the client has left")
        where = f"; {self._submission.result()} goes on" if self._submission.done() else ""
        raise ApiError(503, "interrupted", f"{DRAINING}{where}")
