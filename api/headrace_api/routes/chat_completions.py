"""`POST /v1/chat/completions`: a durable job, seen through OpenAI's clients."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, post
from litestar.types import ASGIApp

from headrace.batches.output_lines import success_line
from headrace.chat.completion import Completion
from headrace_api.auth import EVERY_JOB, SUBMIT
from headrace_api.requests.chat_completions import read_chat_request, read_object, sized
from headrace_api.requests.plain_answer import plain_answer
from headrace_api.requests.synchronous_request import SynchronousRequest
from headrace_api.routes.events import stream
from headrace_api.state import Gateway
from headrace_api.views import Cursor, Subject
from headrace_api.views.openai import OpenAI


@post("/v1/chat/completions", status_code=200)
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
        return await plain_answer(gateway, request, question, body_of)
    async with question:
        job = await question.submitted()
        subject = Subject(job=job, model=asked.job.model, include_usage=asked.include_usage)
        return await stream(gateway, OpenAI, subject, Cursor(), at_end=question.handed_on())


def body_of(job: str, completion: Completion) -> dict[str, Any]:
    """Return OpenAI's body, with provider-specific fields at their places: a client sends them back unchanged."""
    body: dict[str, Any] = msgspec.json.decode(success_line("", job, completion))["response"]["body"]
    choice, extra = body["choices"][0], completion.extra
    message = extra.get("message", {}) | choice["message"]
    if completion.reasoning and completion.reasoning_field not in ("", "content"):
        message[completion.reasoning_field] = completion.reasoning
    citations = {"citations": message.pop("citations")} if "citations" in message else {}
    body["choices"] = [extra.get("choice", {}) | choice | {"message": message}]
    return extra.get("answer", {}) | body | citations
