"""`POST /v1/ag-ui`: run an agent by AG-UI's protocol. The same run posted again joins its job.

The model is `forwardedProps.model`, or `?model=`. A request with `Last-Event-ID` never starts a job: the id names the job.
Without one, thread and run together are the idempotency key.
"""

from __future__ import annotations

from typing import Any

from litestar import Request, post
from litestar.types import ASGIApp

from headrace.chat.reserved_fields import check_reserved_fields
from headrace.errors import InputError
from headrace_api.auth import EVERY_JOB, READ, SUBMIT
from headrace_api.requests.chat_completions import ChatRequest, read_chat_request, read_object, sized
from headrace_api.requests.synchronous_request import SynchronousRequest
from headrace_api.routes.events import stream
from headrace_api.routes.ui_chat import conversation as ui_conversation
from headrace_api.shapes.jobs import AgentRun, ModelQuery, StreamPart
from headrace_api.shapes.operation import Operation
from headrace_api.state import Gateway
from headrace_api.views import Cursor, Subject
from headrace_api.views.ag_ui import AgUi


@post("/v1/ag-ui", status_code=200, operation=Operation(query=ModelQuery, body=AgentRun, events=StreamPart))
async def run(request: Request[Any, Any, Any], gateway: Gateway) -> ASGIApp:
    """Run an agent (`RunAgentInput`), or with `Last-Event-ID` join its run where the client was cut off."""
    raw = await request.body()
    body = await sized(len(raw), read_object, raw)
    thread, run_id = body.get("threadId"), body.get("runId")
    for name, value in (("threadId", thread), ("runId", run_id)):
        if not isinstance(value, str | None) or (value is not None and not 1 <= len(value) <= 128):
            raise InputError(f"/{name}: must be a text of 1 to 128 characters")
    last = request.headers.get("last-event-id")
    if last:
        job, colon, _ = last.partition(":")
        if not colon:
            raise InputError(f"Last-Event-ID {last!r:.80}: one of this route begins with the job's id and a colon")
        gateway.allow(request, job, READ)
        gateway.record(job)
        return await stream(gateway, AgUi, named(job, thread, run_id), Cursor.parse(last, job))
    gateway.allow(request, EVERY_JOB, SUBMIT)
    asked = await sized(len(raw), read_run, body, request.query_params.get("model"))
    key = f"ag-ui:{thread}:{run_id}" if thread and run_id else None
    gateway.check_stream_limit()
    async with SynchronousRequest(gateway, request, asked, raw, key=key) as question:
        job = await question.submitted()
        return await stream(gateway, AgUi, named(job, thread, run_id), Cursor(), at_end=question.handed_on())


def read_run(body: dict[str, Any], model: str | None) -> ChatRequest:
    """Return the job of a `RunAgentInput`. Raises `InputError`."""
    forwarded = body.get("forwardedProps")
    if not isinstance(forwarded, dict | None):
        raise InputError("/forwardedProps: must be an object")
    check_reserved_fields(body)
    check_reserved_fields(forwarded or {}, "/forwardedProps/")
    wanted = dict(forwarded or {})
    wanted["model"] = wanted.get("model") or body.get("model") or model
    wanted["messages"] = conversation(body.get("messages"))
    wanted["tools"] = tools(body.get("tools"))
    return read_chat_request(wanted | {"stream": True}, streams=True)


def named(job: str, thread: str | None, run_id: str | None) -> Subject:
    return Subject(job=job, thread=thread or "", run=run_id or "")


def conversation(given: Any) -> list[dict[str, Any]]:
    """Return AG-UI's messages as OpenAI's; UI messages, which some clients send, too. Raises `InputError`."""
    if not isinstance(given, list) or not given:
        raise InputError("/messages: must be a list of messages, not empty")
    talk: list[dict[str, Any]] = []
    for place, message in enumerate(given):
        if not isinstance(message, dict):
            raise InputError(f"/messages/{place}: must be an object")
        if message.get("role") in ("activity", "reasoning"):
            continue
        if "content" not in message and "toolCalls" not in message and isinstance(message.get("parts"), list):
            talk += ui_conversation([message | {"parts": [as_ui(part) for part in message["parts"]]}])
            continue
        names = {"toolCalls": "tool_calls", "toolCallId": "tool_call_id"}
        kept = ("role", "content", "name", *names)
        talk.append({names.get(name, name): message[name] for name in kept if message.get(name) is not None})
    return talk


def as_ui(part: Any) -> Any:
    """Return a part in the AI SDK's shape: a text part says `content` in some clients, and `text` there."""
    return (
        part | {"text": part["content"]}
        if isinstance(part, dict) and "text" not in part and "content" in part
        else part
    )


def tools(given: Any) -> list[dict[str, Any]] | None:
    """Return AG-UI's tools (`name`, `description`, `parameters`) in OpenAI's shape."""
    if not given:
        return None
    if not isinstance(given, list) or not all(isinstance(tool, dict) for tool in given):
        raise InputError("/tools: must be a list of tools")
    names = ("name", "description", "parameters")
    return [
        tool
        if "function" in tool
        else {"type": "function", "function": {name: tool[name] for name in names if name in tool}}
        for tool in given
    ]
