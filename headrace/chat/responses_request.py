"""A request body of the Responses API, as the chat-completions body that a provider can be asked with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headrace.chat.messages import kind, shown
from headrace.chat.responses_items import Item, input_items
from headrace.chat.responses_messages import messages_of
from headrace.chat.responses_tools import chat_tools, listed_tools
from headrace.errors import InputError, UnknownField

MAX_METADATA = 16
MAX_METADATA_KEY_CHARS = 64
MAX_METADATA_VALUE_CHARS = 512
MAX_TOP_LOGPROBS = 20
LOGPROBS = "message.output_text.logprobs"
SEALED_REASONING = "reasoning.encrypted_content"
INCLUDABLE = (
    *("file_search_call.results", "web_search_call.results", "web_search_call.action.sources"),
    *("message.input_image.image_url", "computer_call_output.output.image_url", "code_interpreter_call.outputs"),
    *(SEALED_REASONING, LOGPROBS),
)
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
SUMMARIES = ("auto", "concise", "detailed")
VERBOSITIES = ("low", "medium", "high")
TIERS = ("auto", "default", "flex", "scale", "priority", "fast", "ultrafast")
NOT_HERE = "a chat-completions provider does not have it; leave it out"
SAME_NAME = (
    *("temperature", "top_p", "parallel_tool_calls", "service_tier", "user", "safety_identifier", "prompt_cache_key"),
    *("prompt_cache_retention", "model", "stream"),
)
"""Fields that a chat-completions body has under the same name."""
UNAVAILABLE_FIELDS = (
    *("conversation", "prompt", "moderation", "context_management", "access_programs", "background_options", "image"),
    "prompt_cache_options",
)
"""Fields of that API that need its own servers."""


def chat_body(
    body: Mapping[str, Any], *, earlier: Sequence[Item] | None = None, known: Mapping[str, Item] | None = None
) -> dict[str, Any]:
    """Return a Responses body as a chat-completions body.

    `earlier` are the items of the conversation that `previous_response_id` names (None: there are none to be had here),
    `known` those that an `item_reference` may name. Raises `InputError` naming the place by JSON Pointer, `UnknownField` for a
    field that the API does not have.
    """
    check_fields(body)
    if body.get("previous_response_id") is not None and earlier is None:
        raise InputError("/previous_response_id: no earlier response can be named here; send its items in `input`")
    given = body.get("input")
    items = [*(earlier or ()), *input_items([] if given is None else given, known=known)]
    messages = messages_of(items)
    if body.get("instructions"):
        messages.insert(0, {"role": "system", "content": body["instructions"]})
    if not messages:
        raise InputError("/input: is empty; give a text, or at least one item")
    tools, choice = chat_tools(listed_tools(body.get("tools")), body.get("tool_choice"))
    text, reasoning = body.get("text") or {}, body.get("reasoning") or {}
    logprobs = LOGPROBS in (body.get("include") or ())
    chat = {name: body.get(name) for name in SAME_NAME} | {
        "messages": messages,
        "tools": tools or None,
        "tool_choice": choice,
        "response_format": _response_format(text.get("format")),
        "verbosity": text.get("verbosity"),
        "reasoning_effort": reasoning.get("effort"),
        "max_completion_tokens": body.get("max_output_tokens"),
        "logprobs": True if logprobs else None,
        "top_logprobs": body.get("top_logprobs") if logprobs else None,
        "headrace": body.get("headrace"),
    }
    return {name: value for name, value in chat.items() if value is not None}


def check_fields(body: Mapping[str, Any]) -> None:
    """Check every field but `input`, `tools` and `tool_choice`. Raises as `chat_body` does."""
    for name, value in body.items():
        check = FIELDS.get(name)
        if check is None:
            raise UnknownField(f"/{name[:MAX_METADATA_KEY_CHARS]}: is no field of a response's request")
        if value is not None:
            check(value, f"/{name}")
    if body.get("model") is None:
        raise InputError("/model: is missing; give the name of a model")
    if body.get("stream_options") is not None and not body.get("stream"):
        raise InputError("/stream_options: is for `stream: true` only")
    if body.get("background") and body.get("store") is False:
        raise InputError("/background: needs `store: true`: the answer is fetched later")


def _any(value: Any, place: str) -> None:
    """Accept a value that is checked elsewhere."""


def _text(value: Any, place: str) -> None:
    if not isinstance(value, str):
        raise InputError(f"{place}: must be a text, not {kind(value)}")


def _flag(value: Any, place: str) -> None:
    if not isinstance(value, bool):
        raise InputError(f"{place}: must be true or false, not {shown(value)}")


def _one_of(*allowed: str) -> Callable[[Any, str], None]:
    def check(value: Any, place: str) -> None:
        if not isinstance(value, str) or value not in allowed:
            raise InputError(f"{place}: must be one of {', '.join(allowed)}, not {shown(value)}")

    return check


def _number(low: float, high: float) -> Callable[[Any, str], None]:
    def check(value: Any, place: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise InputError(f"{place}: must be a number from {low} to {high}")

    return check


def _count(low: int, high: int | None = None) -> Callable[[Any, str], None]:
    def check(value: Any, place: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
            bounds = f"from {low} to {high}" if high is not None else f"of at least {low}"
            raise InputError(f"{place}: must be a whole number {bounds}")

    return check


def _unavailable(value: Any, place: str) -> None:
    raise InputError(f"{place}: {NOT_HERE}")


def _object(value: Any, place: str, **fields: Callable[[Any, str], None]) -> None:
    """Check an object with these fields and no others."""
    if not isinstance(value, dict):
        raise InputError(f"{place}: must be an object, not {kind(value)}")
    for name, inner in value.items():
        if name not in fields:
            raise UnknownField(
                f"{place}/{name[:MAX_METADATA_KEY_CHARS]}: is not known; the fields are {', '.join(fields)}"
            )
        if inner is not None:
            fields[name](inner, f"{place}/{name}")


def _metadata(value: Any, place: str) -> None:
    if not isinstance(value, dict):
        raise InputError(f"{place}: must be an object of texts, not {kind(value)}")
    if len(value) > MAX_METADATA:
        raise InputError(f"{place}: has {len(value)} keys; {MAX_METADATA} are allowed")
    for name, text in value.items():
        if len(name) > MAX_METADATA_KEY_CHARS:
            raise InputError(f"{place}: a key has {len(name)} characters; {MAX_METADATA_KEY_CHARS} are allowed")
        if not isinstance(text, str) or len(text) > MAX_METADATA_VALUE_CHARS:
            raise InputError(f"{place}: every value must be a text of at most {MAX_METADATA_VALUE_CHARS} characters")


def _include(value: Any, place: str) -> None:
    if not isinstance(value, list):
        raise InputError(f"{place}: must be a list of texts, not {kind(value)}")
    for at, name in enumerate(value):
        _one_of(*INCLUDABLE)(name, f"{place}/{at}")


def _reasoning(value: Any, place: str) -> None:
    _object(
        value,
        place,
        effort=_one_of(*EFFORTS),
        summary=_one_of(*SUMMARIES),
        generate_summary=_one_of(*SUMMARIES),
        context=_one_of("auto"),
        mode=_one_of("standard"),
    )


def _text_config(value: Any, place: str) -> None:
    _object(value, place, format=_format, verbosity=_one_of(*VERBOSITIES))


def _format(value: Any, place: str) -> None:
    sort = value.get("type") if isinstance(value, dict) else None
    if sort not in ("text", "json_object", "json_schema"):
        raise InputError(f'{place}/type: must be "text", "json_object" or "json_schema", not {shown(sort)}')
    if sort != "json_schema":
        return
    if not isinstance(value.get("schema"), dict):
        raise InputError(f"{place}/schema: must be a JSON Schema, an object, not {kind(value.get('schema'))}")
    name = value.get("name")
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_METADATA_KEY_CHARS:
        raise InputError(f"{place}/name: must be a text of 1 to {MAX_METADATA_KEY_CHARS} characters")
    for field, wanted in (("description", str | None), ("strict", bool | None)):
        if not isinstance(value.get(field), wanted):
            raise InputError(f"{place}/{field}: must be a {'text' if field == 'description' else 'boolean'}")


def _response_format(given: dict[str, Any] | None) -> dict[str, Any] | None:
    if given is None or given["type"] == "text":
        return None
    if given["type"] == "json_object":
        return {"type": "json_object"}
    schema = {name: given[name] for name in ("name", "schema", "strict", "description") if given.get(name) is not None}
    return {"type": "json_schema", "json_schema": schema}


FIELDS: dict[str, Callable[[Any, str], None]] = {
    "model": _text,
    "input": _any,
    "instructions": _text,
    "tools": _any,
    "tool_choice": _any,
    "parallel_tool_calls": _flag,
    "text": _text_config,
    "reasoning": _reasoning,
    "max_output_tokens": _count(1),
    "max_tool_calls": _count(1),
    "metadata": _metadata,
    "include": _include,
    "store": _flag,
    "stream": _flag,
    "stream_options": lambda value, place: _object(value, place, include_obfuscation=_flag),
    "background": _flag,
    "previous_response_id": _text,
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "top_logprobs": _count(0, MAX_TOP_LOGPROBS),
    "truncation": _one_of("auto", "disabled"),
    "service_tier": _one_of(*TIERS),
    "user": _text,
    "safety_identifier": _text,
    "prompt_cache_key": _text,
    "prompt_cache_retention": _one_of("in_memory", "24h"),
    "headrace": _any,
    **dict.fromkeys(UNAVAILABLE_FIELDS, _unavailable),
}
"""The fields of a request, and what checks each."""
