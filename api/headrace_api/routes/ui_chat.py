"""The AI SDK's routes: `POST /v1/ui/chat` starts the job that answers, `GET /v1/ui/chat/{id}/stream` resumes its stream.

The transport's `body` names the model: `new DefaultChatTransport({api: "/v1/ui/chat", body: {model:
"openai/gpt-5-mini"}})`. Other fields are read as OpenAI's chat-completions body.
"""

from __future__ import annotations

import json
from typing import Any

from litestar import Request, get, post
from litestar.types import ASGIApp

from headrace.client.ledger_backend import TENANT
from headrace.errors import InputError
from headrace.ledger.chat_job import chat_job, name_chat_job
from headrace.ledger.state import TERMINAL
from headrace_api.auth import EVERY_JOB, READ, SUBMIT
from headrace_api.requests.chat_completions import ChatRequest, read_chat_request, read_object, sized
from headrace_api.requests.synchronous_request import SynchronousRequest
from headrace_api.routes.events import NoContent, stream
from headrace_api.shapes.jobs import ModelQuery, StreamPart, UiChatRequest
from headrace_api.shapes.operation import Operation
from headrace_api.state import Gateway
from headrace_api.views import Cursor, Subject
from headrace_api.views.ui_message import UiMessage

SDKS = ("id", "messages", "trigger", "messageId", "metadata")


@post("/v1/ui/chat", status_code=200, operation=Operation(query=ModelQuery, body=UiChatRequest, events=StreamPart))
async def chat(request: Request[Any, Any, Any], gateway: Gateway) -> ASGIApp:
    """Answer the last message of `messages` (UI messages of the AI SDK), as a UI message stream."""
    gateway.allow(request, EVERY_JOB, SUBMIT)
    raw = await request.body()
    body = await sized(len(raw), read_object, raw)
    chat_id = body.get("id")
    if not isinstance(chat_id, str) or not 1 <= len(chat_id) <= 256 or "/" in chat_id:
        raise InputError("/id: must be the chat's id, a text of 1 to 256 characters without a slash")
    if body.get("trigger") not in (None, "submit-message", "regenerate-message"):
        raise InputError(f"/trigger: {body['trigger']!r:.40} is not known here")
    asked = await sized(len(raw), read_chat, body, request.query_params.get("model"))
    gateway.check_stream_limit()
    async with SynchronousRequest(gateway, request, asked, raw) as question:
        job = await question.submitted()
        async with gateway.client.talking():
            await name_chat_job(gateway.client.ledger, TENANT, chat_id, job)
        subject = Subject(job=job, model=asked.job.model)
        return await stream(gateway, UiMessage, subject, Cursor(), at_end=question.handed_on())


def read_chat(body: dict[str, Any], model: str | None) -> ChatRequest:
    """Return the job that answers the chat. Raises `InputError`."""
    wanted = {name: value for name, value in body.items() if name not in SDKS}
    wanted["model"] = body.get("model") or model
    wanted["messages"] = conversation(body.get("messages"))
    return read_chat_request(wanted | {"stream": True}, streams=True)


@get("/v1/ui/chat/{chat_id:str}/stream", operation=Operation(events=StreamPart, empty=204))
async def resume(request: Request[Any, Any, Any], chat_id: str, gateway: Gateway) -> ASGIApp:
    """Stream this chat's current answer from its start; 204 when there is none."""
    gateway.allow(request, EVERY_JOB, READ)
    async with gateway.client.talking():
        job = await chat_job(gateway.client.ledger, TENANT, chat_id)
    if job is None:
        return NoContent()
    state = await gateway.job_state(job)
    if state is None or state in TERMINAL:
        return NoContent()
    return await stream(gateway, UiMessage, Subject(job=job), Cursor())


def conversation(given: Any) -> list[dict[str, Any]]:
    """Return UI messages as OpenAI's. Raises `InputError` naming the place."""
    if not isinstance(given, list) or not given:
        raise InputError("/messages: must be a list of UI messages, not empty")
    talk: list[dict[str, Any]] = []
    for place, message in enumerate(given):
        parts = message.get("parts") if isinstance(message, dict) else None
        if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
            raise InputError(f"/messages/{place}/parts: must be a list of parts")
        role = message.get("role")
        if role == "assistant":
            talk += assistant(parts)
        else:
            talk.append({"role": role, "content": content(parts, f"/messages/{place}/parts")})
    return talk


def content(parts: list[dict[str, Any]], where: str) -> Any:
    """Return texts and images of a user's or a system message."""
    made: list[dict[str, Any]] = []
    for place, part in enumerate(parts):
        if part.get("type") == "text":
            made.append({"type": "text", "text": part.get("text")})
        elif part.get("type") == "file" and str(part.get("mediaType", "")).startswith("image/"):
            made.append({"type": "image_url", "image_url": {"url": part.get("url")}})
        elif part.get("type") == "file":
            file = {"filename": part.get("filename") or "file", "file_data": part.get("url")}
            made.append({"type": "file", "file": file})
        elif not str(part.get("type", "")).startswith("data-"):
            raise InputError(f"{where}/{place}/type: {part.get('type')!r:.40} is not carried")
    if all(part["type"] == "text" for part in made):
        return "".join(str(part["text"]) for part in made)
    return made


def assistant(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return an assistant's messages: its text, its tool calls and their results; a step after results is a message of its
    own."""
    talk: list[dict[str, Any]] = []
    said: list[str] = []
    calls, results = [], []

    def close() -> None:
        nonlocal said, calls, results
        if text := "".join(said):
            talk.append({"role": "assistant", "content": text} | ({"tool_calls": calls} if calls else {}))
        elif calls:
            talk.append({"role": "assistant", "content": None, "tool_calls": calls})
        talk.extend(results)
        said, calls, results = [], [], []

    for part in parts:
        kind = str(part.get("type", ""))
        if kind == "step-start" and results:
            close()
        elif kind == "text":
            said.append(str(part.get("text", "")))
        elif kind == "dynamic-tool" or kind.startswith("tool-"):
            name = part.get("toolName") if kind == "dynamic-tool" else kind.removeprefix("tool-")
            call_id = str(part.get("toolCallId"))
            given = part.get("output") if part.get("state") == "output-available" else part.get("errorText")
            if given is None:
                continue  # a call without its result may not be sent
            function = {"name": name, "arguments": json.dumps(part.get("input") or {})}
            calls.append({"id": call_id, "type": "function", "function": function})
            results.append(
                {
                    "role": "tool",
                    "tool_call_id": call_id,
                    "content": given if isinstance(given, str) else json.dumps(given),
                }
            )
    close()
    return talk
