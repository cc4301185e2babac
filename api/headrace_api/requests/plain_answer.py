"""The answer of a synchronous request in one piece, with signs of life before it when it takes long.

JSON may begin with white space, so a blank every ten seconds keeps proxies and clients with an idle timeout. The status
goes out with the first of them, so they are not for a client that repeats nothing once it has a status. A failure after
that breaks the connection off before the end of the body: no client takes that for an answer, and its repeat is given the
job's own status.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from litestar import Request
from litestar.types import ASGIApp, Receive, Scope, Send

from headrace.chat.completion import Completion, Outcome
from headrace.errors import HeadraceError
from headrace_api.errors import ApiError, failed
from headrace_api.requests.synchronous_request import SynchronousRequest
from headrace_api.routes.events import left
from headrace_api.state import Gateway

BLANK_S = 10.0
Render = Callable[[str, Outcome], Awaitable[Any]]
"""Makes the body of the job's id and its outcome. Raises `ApiError` for one that is answered with another status."""


async def plain_answer(
    gateway: Gateway, request: Request[Any, Any, Any], question: SynchronousRequest, render: Render
) -> ASGIApp:
    """Answer `question` with what `render` makes of its outcome. Raises `ApiError` as `render` does, and as
    `SynchronousRequest.answered` does, unless that takes longer than `BLANK_S`."""
    async with question:
        answering = asyncio.create_task(question.answered())
        try:
            while True:
                await asyncio.wait({answering}, timeout=BLANK_S)
                if answering.done():
                    break
                if question.job is not None and takes_blanks(request):
                    return PatientAnswer(gateway, question, answering, render)
            job, outcome = answering.result()
        except BaseException:
            answering.cancel()
            raise
    return Whole(job, msgspec.json.encode(await render(job, outcome)))


def takes_blanks(request: Request[Any, Any, Any]) -> bool:
    """Return True unless the client is OpenAI's for Node: it repeats a request only before the status has come. After 300 s
    without one it does, and is given the same job."""
    return request.headers.get("x-stainless-lang") != "js"


def completion_of(job: str, outcome: Outcome) -> Completion:
    """Return the completion. Raises `ApiError` for a job that ended without one."""
    if outcome.completion is None:
        assert outcome.error is not None
        raise failed(job, outcome.error)
    return outcome.completion


def head(job: str, **more: str) -> dict[str, Any]:
    named = {"content-type": "application/json", "x-headrace-job": job, **more}
    headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()]
    return {"type": "http.response.start", "status": 200, "headers": headers}


class Whole:
    """An answer that is there."""

    def __init__(self, job: str, body: bytes):
        self._job = job
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(head(self._job, content_length=str(len(self._body))))  # type: ignore[arg-type]
        await send({"type": "http.response.body", "body": self._body, "more_body": False})


class PatientAnswer:
    """An answer that is not there yet: blanks go out until it is."""

    def __init__(
        self,
        gateway: Gateway,
        question: SynchronousRequest,
        answering: asyncio.Task[tuple[str, Outcome]],
        render: Render,
    ):
        self._gateway = gateway
        self._question = question
        self._over = question.handed_on()
        self._answering = answering
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sent = False
        try:
            await send(head(self._question.job or ""))  # type: ignore[arg-type]
            while not self._answering.done():
                await send({"type": "http.response.body", "body": b" ", "more_body": True})
                await asyncio.wait({self._answering}, timeout=BLANK_S)
            body = msgspec.json.encode(await self._render(*self._answering.result()))
            await send({"type": "http.response.body", "body": body, "more_body": False})
            sent = True
        except (HeadraceError, ApiError):
            self._gateway.abort(scope, b"")
            await asyncio.wait(
                {asyncio.ensure_future(left(receive))}, timeout=1
            )  # before it is told, returning is an error
        finally:
            self._answering.cancel()
            self._over(sent=sent, left=False)  # the question has noted a client that left
