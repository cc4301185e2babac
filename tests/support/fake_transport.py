"""A transport that records what is asked and answers from a script; and one call in each of its three forms."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from headrace_providers import (
    ChatCompletion,
    OpenAIChatCompletion,
    OpenRouterChatCompletion,
    VLLMChatCompletion,
)
from headrace_providers.response import Response, Stream
from headrace_providers.wire.request import Request

from headrace.errors import CallError
from headrace.portal import run

CLASSES = {"openai": OpenAIChatCompletion, "vllm": VLLMChatCompletion, "openrouter": OpenRouterChatCompletion}
FORMS = ("sync", "async", "stream")
T: dict[str, Any] = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def answer(content: str | None = "hi", *, finish: str | None = "stop", **message: Any) -> dict[str, Any]:
    """A plain answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    return {"id": "c", "model": "m", "created": 1, "choices": [choice], "usage": dict(USAGE)}


def piece(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    """A chunk of a stream."""
    return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def call_of(name: str = "f", arguments: Any = "{}", id: str = "call_1") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def as_chunks(plain: dict[str, Any]) -> list[dict[str, Any]]:
    """The same answer as a stream would bring it."""
    chunk = copy.deepcopy(plain)
    for choice in chunk.get("choices") or ():
        if "message" in choice:
            choice["delta"] = choice.pop("message")
            calls = choice["delta"].get("tool_calls")
            for index, call in enumerate(calls if isinstance(calls, list) else ()):
                if isinstance(call, dict):
                    call["index"] = index
    usage = chunk.pop("usage", None)
    return [chunk] + ([{"id": "c", "choices": [], "usage": usage}] if usage else [])


class FakeTransport:
    """Each call takes the next step of `script`, the last one again and again. A step is an answer, a list of chunks (an
    exception among them is raised there, a number is waited), or an exception."""

    def __init__(self, *script: Any):
        self.script = list(script) or [answer()]
        self.requests: list[Request] = []
        self.times: list[float] = []
        self.closed = 0
        self.open = 0

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [request.body for request in self.requests]

    @property
    def body(self) -> dict[str, Any]:
        return self.requests[-1].body

    async def chunks(self, request: Request) -> AsyncIterator[dict[str, Any]]:
        self.requests.append(Request(request.url, dict(request.headers), copy.deepcopy(request.body)))
        self.times.append(asyncio.get_running_loop().time())
        step = self.script[min(len(self.requests), len(self.script)) - 1]
        if isinstance(step, dict):
            step = as_chunks(step) if request.body.get("stream") else [step]
        self.open += 1
        try:
            for part in step if isinstance(step, Sequence) else [step]:
                if isinstance(part, BaseException):
                    raise part
                if isinstance(part, int | float):
                    await asyncio.sleep(part)
                else:
                    yield copy.deepcopy(part)
        finally:
            self.open -= 1
            self.closed += 1

    async def close(self) -> None:
        pass


def model_of(
    provider: str, transport: FakeTransport | None = None, model_id: str = "m", **words: Any
) -> ChatCompletion:
    """A model that answers from a script; its key is `key`."""
    words.setdefault("api_key", "key")
    return CLASSES[provider](model_id, transport=transport or FakeTransport(), **words)


def ask(model: ChatCompletion, form: str, messages: Any = "x", **words: Any) -> Response:
    """The response to one call in one of `FORMS`."""
    if form == "sync":
        return model(messages, **words)
    if form == "async":
        return asyncio.run(model.acall(messages, **words))
    stream = model(messages, stream=True, **words)
    assert isinstance(stream, Stream)
    return run(stream.response())


def body_of(
    provider: str, form: str = "async", *, model_id: str = "m", call: dict[str, Any] | None = None, **words: Any
) -> Any:
    """The body that a call sends, without what only says that it is streamed."""
    transport = FakeTransport()
    ask(model_of(provider, transport, model_id, **words), form, **(call or {}))
    body = transport.body
    if form == "stream":
        assert (body.pop("stream"), body.pop("stream_options")) == (True, {"include_usage": True})
    return body


def refused(
    form: str, wanted: type[Exception], match: str, provider: str = "openai", *, call: Any = None, **words: Any
) -> None:
    """A call that is refused in words that match, and before anything is sent."""
    transport = FakeTransport()
    with pytest.raises(wanted, match=match) as raised:
        ask(model_of(provider, transport, **words), form, **(call or {}))
    assert isinstance(raised.value, ValueError | TypeError)
    assert transport.requests == []


def structured_call(form: str, *script: Any, provider: str = "openai", **words: Any) -> tuple[Response, dict[str, Any]]:
    """The response and the body of one call."""
    transport = FakeTransport(*script)
    mode = words.pop("mode", None)
    model = model_of(provider, transport, retry=False, structured_output_mode=mode)
    response = ask(model, form, **words)
    return response, transport.body


def failure_of(form: str, script: dict[str, Any], **words: Any) -> CallError:
    """The error that such a call raises."""
    with pytest.raises(CallError) as raised:
        structured_call(form, script, **words)
    return raised.value
