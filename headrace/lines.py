"""The lines of a batch's output: OpenAI's batch form on disk, and what `--out` makes of them."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.errors import Failure
from headrace.job import Completion, Usage
from headrace.schema.modes import Mode

KIND_OF_STATE = {"succeeded": "s", "failed": "f", "cancelled": "c", "dead": "d"}
BESIDE_CONTENT = ("tool_calls", "reasoning", "reasoning_details", "audio", "annotations")
READING = ("mode", "repaired", "coerced", "reasks")
"""How an answer was asked for and read: `headrace` in the body of a line, what is not so left out."""
_encode = msgspec.json.Encoder().encode


def success_line(custom_id: str, request_id: str, completion: Completion) -> bytes:
    """The line of an item that succeeded, without a line feed. The validated value is the message's content, as JSON."""
    content = completion.content
    if completion.structured:
        content = _encode(completion.value).decode()
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": completion.refusal}
    for name in BESIDE_CONTENT:
        value = getattr(completion, name)
        if value:
            message[name] = value
    usage = completion.usage
    reading = {name: value for name in READING if (value := getattr(completion, name))}
    return _encode(
        {
            "id": f"batch_req_{request_id}",
            "custom_id": custom_id,
            "response": {
                "status_code": 200,
                "request_id": request_id,
                "body": {
                    "id": completion.id,
                    "object": "chat.completion",
                    "created": completion.created,
                    "model": completion.model,
                    "choices": [
                        {
                            "index": 0,
                            "message": message,
                            "finish_reason": completion.finish_reason,
                            "logprobs": completion.logprobs,
                        }
                    ],
                    "usage": wire_usage(usage, completion.cost),
                }
                | ({"headrace": reading} if reading else {}),
            },
            "error": None,
        }
    )


def wire_usage(usage: Usage, cost: float | None) -> dict[str, Any] | None:
    """Tokens as OpenAI writes them; details and cost (USD) where there are any. Without tokens where these are unknown, None
    where the cost is, too."""
    if usage.unknown:
        return None if cost is None else {"cost": cost}
    wire: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    if usage.cached_tokens:
        wire["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    if usage.reasoning_tokens:
        wire["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return wire if cost is None else wire | {"cost": cost}


def error_line(custom_id: str, request_id: str, failure: Failure) -> bytes:
    """The line of an item that did not succeed. A paid answer that was of no use is kept in `error.partial`."""
    error = {"code": failure.code, "message": failure.message}
    optional = {name: getattr(failure, name) for name in ("status", "partial", "errors", "metadata")}
    return _encode(
        {
            "id": f"batch_req_{request_id}",
            "custom_id": custom_id,
            "response": None,
            "error": error | {name: value for name, value in optional.items() if value},
        }
    )


class _Message(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[dict[str, Any]] = []
    reasoning: str | None = None
    reasoning_details: list[Any] | None = None
    audio: dict[str, Any] | None = None
    annotations: list[Any] = []


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str = "stop"
    logprobs: dict[str, Any] | None = None


class _Cached(msgspec.Struct, frozen=True):
    cached_tokens: int = 0


class _Reasoning(msgspec.Struct, frozen=True):
    reasoning_tokens: int = 0


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int = 0
    prompt_tokens_details: _Cached = _Cached()
    completion_tokens_details: _Reasoning = _Reasoning()
    cost: float | None = None


class _Reading(msgspec.Struct, frozen=True):
    mode: Mode | None = None
    repaired: bool = False
    coerced: bool = False
    reasks: int = 0


class _Body(msgspec.Struct):
    choices: list[_Choice]
    headrace: _Reading = _Reading()
    id: str = ""
    model: str = ""
    created: int = 0
    usage: _Usage | None = _Usage()


class _Response(msgspec.Struct):
    body: _Body


class _Line(msgspec.Struct):
    custom_id: str
    response: _Response | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


def simple(line: bytes, *, structured: bool) -> bytes:
    """`{"custom_id", "value"}` of a success, `{"custom_id", "error"}` of the others; without a line feed.

    With `structured` the message's content is JSON and becomes the value as it is; otherwise the value is its text.
    """
    parsed = msgspec.json.decode(line, type=_Line)
    if parsed.response is None:
        return _encode({"custom_id": parsed.custom_id, "error": parsed.error})
    content = parsed.response.body.choices[0].message.content
    value = msgspec.Raw(content.encode()) if structured and content is not None else content
    return _encode({"custom_id": parsed.custom_id, "value": value})


def outcome_of(line: bytes, *, structured: bool) -> tuple[str, Completion | None, Failure | None]:
    """The custom_id of a line, and the completion or the failure that it tells of."""
    parsed = msgspec.json.decode(line, type=_Line)
    if parsed.response is None:
        return parsed.custom_id, None, msgspec.json.decode(parsed.error, type=Failure)
    body = parsed.response.body
    choice = body.choices[0]
    message = choice.message
    value = msgspec.json.decode(message.content) if structured and message.content is not None else None
    completion = Completion(
        id=body.id,
        model=body.model,
        created=body.created,
        content=message.content,
        finish_reason=choice.finish_reason,
        usage=usage_of(body.usage),
        cost=body.usage.cost if body.usage else None,
        refusal=message.refusal,
        value=value,
        logprobs=choice.logprobs,
        **{name: getattr(message, name) for name in BESIDE_CONTENT},
        **msgspec.structs.asdict(body.headrace),
    )
    return parsed.custom_id, completion, None


def usage_of(usage: _Usage | None) -> Usage:
    """The tokens of a line; unknown where it has none."""
    if usage is None or usage.prompt_tokens is None:
        return Usage(unknown=True)
    return Usage(
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.prompt_tokens_details.cached_tokens,
        usage.completion_tokens_details.reasoning_tokens,
    )


class _Named(msgspec.Struct):
    custom_id: str


def custom_id_of(line: bytes) -> str | None:
    """The custom_id of an input or output line; None for no line."""
    return msgspec.json.decode(line, type=_Named).custom_id if line else None
