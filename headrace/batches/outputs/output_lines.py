"""The lines of a batch's output: OpenAI's batch form on disk, and what `--out` makes of them."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.chat.completion import Completion, Usage
from headrace.errors import Failure, StorageError
from headrace.schema.modes import Mode
from headrace.text import digits
from headrace.text.digits import as_written
from headrace.text.quoting import quoted
from headrace.text.readable import UNREADABLE, UNWRITABLE, checked_encode, is_json

KIND_OF_STATE = {"succeeded": "s", "failed": "f", "cancelled": "c", "dead": "d"}
IN_ROWS = ("refusal", "tool_calls", "audio", "images", "annotations", "citations")
"""Fields of a row beside its value, where the answer has them."""
BESIDE_CONTENT = ("tool_calls", "reasoning", "reasoning_details", "audio", "annotations", "images", "citations")
READING_FIELDS = ("mode", "repaired", "coerced", "reasks", "cached", "extra", "raw", "notes")
"""Fields that tell how an answer was requested and decoded: `headrace` in the body of a line, defaults left out. Beside
them `structured` says that the content is a validated value though no mode says so: a parser's, or a response format's."""
_encode = msgspec.json.Encoder().encode


def success_line(custom_id: str, request_id: str, completion: Completion) -> bytes:
    """Return the line of an item that succeeded, without a line feed. The validated value is the message's content, as JSON.

    It can be read again, if need be without side fields. Raises one of `UNWRITABLE` for an answer of which that is not so.
    """
    try:
        return _success_line(custom_id, request_id, completion)
    except UNWRITABLE:
        return _success_line(custom_id, request_id, completion.without_side_fields())


def _success_line(custom_id: str, request_id: str, completion: Completion) -> bytes:
    content = completion.content
    if completion.structured:
        content = _encode(as_written(completion.value, content)).decode()
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": completion.refusal}
    for name in BESIDE_CONTENT:
        value = getattr(completion, name)
        if value:
            message[name] = value
    usage = completion.usage
    reading = {name: value for name in READING_FIELDS if (value := getattr(completion, name))}
    if completion.reasoning_field != "reasoning":
        reading["reasoning_field"] = completion.reasoning_field
    if completion.structured and completion.mode is None:
        reading["structured"] = True
    return checked_encode(
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
        },
        _Line,
    )


def wire_usage(usage: Usage, cost: float | None) -> dict[str, Any] | None:
    """Return tokens as OpenAI writes them; details and cost (USD) where there are any. Without tokens where these are
    unknown, None where the cost is, too."""
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
    """Return the line of an item that did not succeed. A paid answer that was of no use is kept in `error.partial`."""
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
    images: list[Any] = []
    citations: list[Any] = []


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
    cached: bool = False
    structured: bool = False
    reasoning_field: str = "reasoning"
    extra: dict[str, dict[str, Any]] = {}
    raw: dict[str, Any] = {}
    notes: list[str] = []


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
    kept: msgspec.Raw = msgspec.Raw()


DAMAGED = "the row was changed by somebody else, or comes from another version"


def parse(line: bytes) -> _Line:
    """Parse an output line. Raises `StorageError` for what is none."""
    try:
        parsed = msgspec.json.decode(line, type=_Line)
    except UNREADABLE:
        raise StorageError(f"{quoted(line, 60)} is no row of a batch: {DAMAGED}") from None
    if parsed.response is not None and not parsed.response.body.choices:
        raise StorageError(f"the row of {quoted(parsed.custom_id)} has no answer: {DAMAGED}")
    return parsed


def simple(line: bytes, *, structured: bool) -> bytes:
    """Return `{"custom_id", "value"}` of a success, `{"custom_id", "error"}` of the others; without a line feed. Before the value
    stand the columns that were `kept`.

    With `structured` the value is what was validated, as it is, and null for a turn that called tools instead: then `text` is
    what it said. Otherwise the value is the text. What else the model said stands beside it (`IN_ROWS`).
    """
    return _encode(_simple(line, structured=structured))


def simple_row(line: bytes, *, structured: bool) -> dict[str, Any]:
    """Return what `simple` does, decoded; numbers that have a point as `Raw`."""
    row = _simple(line, structured=structured)
    for name in ("kept", "value", "error"):
        if isinstance(raw := row.get(name), msgspec.Raw):
            row[name] = digits.decode(raw)
    return row


def _simple(line: bytes, *, structured: bool) -> dict[str, Any]:
    parsed = parse(line)
    row: dict[str, Any] = {"custom_id": parsed.custom_id}
    if parsed.kept:
        row["kept"] = parsed.kept
    if parsed.response is None:
        return row | {"error": parsed.error}
    body = parsed.response.body
    message = body.choices[0].message
    row["value"] = message.content
    if structured and message.content is not None:
        if is_value(body):
            row["value"] = msgspec.Raw(message.content.encode())
        else:
            row |= {"value": None, "text": message.content}
    for name in IN_ROWS:
        if said := getattr(message, name):
            row[name] = said
    return row


def is_value(body: _Body) -> bool:
    """Return True if the content of a structured batch's line is a validated value. Lines of earlier versions do not say it of a
    parser's: there it is what is JSON, and no words beside tool calls."""
    if body.headrace.mode is not None or body.headrace.structured:
        return True
    message = body.choices[0].message
    return not message.tool_calls and message.content is not None and is_json(message.content)


def outcome_of(line: bytes, *, structured: bool) -> tuple[str, Completion | None, Failure | None]:
    """Return the custom_id of a line, and its completion or its failure."""
    parsed = parse(line)
    if parsed.response is None:
        try:
            return parsed.custom_id, None, msgspec.json.decode(parsed.error, type=Failure)
        except UNREADABLE:
            raise StorageError(f"the error of {quoted(parsed.custom_id)} cannot be read: {DAMAGED}") from None
    body = parsed.response.body
    choice = body.choices[0]
    message = choice.message
    try:
        value = (
            msgspec.json.decode(message.content)
            if structured and message.content is not None and is_value(body)
            else None
        )
    except UNREADABLE:
        raise StorageError(f"the value of {quoted(parsed.custom_id)} is no JSON: {DAMAGED}") from None
    reading = msgspec.structs.asdict(body.headrace)
    del reading["structured"]
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
        **reading,
    )
    return parsed.custom_id, completion, None


def usage_of(usage: _Usage | None) -> Usage:
    """Return the tokens of a line; unknown where it has none."""
    if usage is None or usage.prompt_tokens is None:
        return Usage(unknown=True)
    return Usage(
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.prompt_tokens_details.cached_tokens,
        usage.completion_tokens_details.reasoning_tokens,
    )
