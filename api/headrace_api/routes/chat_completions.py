"""`POST /v1/chat/completions`: a durable job, seen through OpenAI's clients."""

from __future__ import annotations

from typing import Any

from litestar import Request, post
from litestar.types import ASGIApp

from headrace.chat.chat_object import chat_object, completion_id
from headrace.chat.completion import Outcome
from headrace_api.auth import EVERY_JOB, SUBMIT
from headrace_api.requests.chat_completions import read_chat_request, read_object, sized
from headrace_api.requests.plain_answer import completion_of, plain_answer
from headrace_api.requests.synchronous_request import SynchronousRequest
from headrace_api.routes.events import stream
from headrace_api.shapes.chat import ChatCompletionChunk, ChatCompletionObject, ChatCompletionRequest
from headrace_api.shapes.operation import Operation
from headrace_api.state import Gateway
from headrace_api.views import Cursor, Subject
from headrace_api.views.openai import OpenAI


@post(
    "/v1/chat/completions",
    status_code=200,
    operation=Operation(body=ChatCompletionRequest, answer=ChatCompletionObject, events=ChatCompletionChunk),
)
async def complete(request: Request[Any, Any, Any], gateway: Gateway) -> ASGIApp:
    """Answer a chat completion; with `"stream": true` its chunks. Leaving does not stop the job; its id is in
    `x-headrace-job`. An equal request is given an answer whose client left without it."""
    gateway.allow(request, EVERY_JOB, SUBMIT)
    raw = await request.body()
    asked = await sized(len(raw), read_chat_request, await sized(len(raw), read_object, raw))
    if asked.stream:
        gateway.check_stream_limit()
    question = SynchronousRequest(gateway, request, asked, raw)
    if not asked.stream:
        return await plain_answer(gateway, request, question, rendered)
    async with question:
        job = await question.submitted()
        subject = Subject(job=job, model=asked.job.model, include_usage=asked.include_usage)
        return await stream(
            gateway, OpenAI, subject, Cursor(), patience_s=question.patience_s, at_end=question.handed_on()
        )


async def rendered(job: str, outcome: Outcome) -> dict[str, Any]:
    """Return the answer under the id that its chunks would have; the provider's own is in `extra`."""
    completion = completion_of(job, outcome)
    body = chat_object(completion)
    return body | {"id": completion_id(job), "extra": body.get("extra", {}) | {"id": completion.id}}
