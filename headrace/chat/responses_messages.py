"""A conversation of the Responses API as chat messages.

There every turn is a row of items; in a chat the reasoning, the text and the tool calls of one turn are one assistant message.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.chat.completion import SIGNED
from headrace.chat.messages import Message, shown
from headrace.chat.responses_items import Item
from headrace.errors import InputError
from headrace.text.readable import UNREADABLE

SEALED = "headrace1."
"""Begins an `encrypted_content` of ours: the rest is the provider's own form of the reasoning, as JSON in base64."""
SEALED_FIELDS = frozenset({"reasoning_details", *SIGNED})
MAX_SEALED_VALUES = 100_000
"""Values that all sealed reasoning of a conversation may have together: they are not counted as those of the body are."""


def messages_of(items: Sequence[Item]) -> list[Message]:
    """Return items (`input_items`, or those of an output) as chat messages.

    Raises `InputError` for a call without an output, and for an output without a call: no provider takes them.
    """
    talk: list[Message] = []
    turn: Message | None = None  # the assistant's message that the next item may still belong to
    open_calls: dict[str, str] = {}
    sealed = [text for item in items if (text := item.get("encrypted_content"))]
    if sum(map(values_in, sealed)) > MAX_SEALED_VALUES:
        raise InputError(f"/input: the reasoning in `encrypted_content` has more than {MAX_SEALED_VALUES} values")
    for item in items:
        match item["type"]:
            case "reasoning" | "message" | "function_call" | "custom_tool_call" if (
                item.get("role", "assistant") == "assistant"
            ):
                part = _assistant_part(item)
                # Between calls and their outputs there is room for no other message: it belongs to the same turn.
                if turn is None or (not open_calls and (is_thought(item) or part.keys() & turn.keys())):
                    turn = {"role": "assistant"}
                    talk.append(turn)
                _join(turn, part)
                if "call_id" in item:
                    open_calls[item["call_id"]] = item["type"]
            case "function_call_output" | "custom_tool_call_output":
                if open_calls.pop(item["call_id"], None) is None:
                    raise InputError(
                        f"/input: there is no call with the call_id {shown(item['call_id'])} before its output"
                    )
                turn = None
                talk.append({"role": "tool", "tool_call_id": item["call_id"], "content": _content(item["output"])})
            case _:
                turn = None
                talk.append({"role": item["role"], "content": _content(item["content"])})
    if open_calls:
        raise InputError(f"/input: there is no output of the call with the call_id {shown(next(iter(open_calls)))}")
    return [
        {"content": None} | message if message["role"] == "assistant" else message
        for message in talk
        if message["role"] != "assistant" or message.keys() & {"content", "tool_calls", "refusal"}
    ]


def is_thought(item: Item) -> bool:
    """Return True for reasoning that is told. What is sealed alone may come after the answer that it belongs to."""
    return item["type"] == "reasoning" and bool(item.get("content") or item.get("summary"))


def seal(fields: dict[str, Any]) -> str | None:
    """Return the provider's own form of a message's reasoning as an `encrypted_content`; None when there is none."""
    kept = {name: value for name, value in fields.items() if name in SEALED_FIELDS and value}
    return SEALED + base64.b64encode(msgspec.json.encode(kept)).decode() if kept else None


def values_in(sealed: str) -> int:
    """Return about how many values a sealed reasoning has, without making them."""
    text = opened(sealed)
    return sum(map(text.count, (b",", b"[", b"{")))


def opened(sealed: str) -> bytes:
    """Return the JSON in a sealed reasoning; nothing for what `seal` did not make."""
    if not sealed.startswith(SEALED):
        return b""
    try:
        return base64.b64decode(sealed.removeprefix(SEALED), validate=True)
    except ValueError:
        return b""


def unseal(sealed: str | None) -> dict[str, Any]:
    """Return what `seal` was given; nothing for what it did not make."""
    try:
        fields = msgspec.json.decode(opened(sealed or ""), type=dict[str, Any])
    except UNREADABLE:
        return {}
    return {name: value for name, value in fields.items() if name in SEALED_FIELDS}


def _assistant_part(item: Item) -> dict[str, Any]:
    match item["type"]:
        case "reasoning":
            text = "\n\n".join(part["text"] for part in item.get("content") or item.get("summary") or [])
            return ({"reasoning_content": text} if text else {}) | unseal(item.get("encrypted_content"))
        case "function_call":
            called = {"name": item["name"], "arguments": item["arguments"]}
            return {"tool_calls": [{"id": item["call_id"], "type": "function", "function": called}]}
        case "custom_tool_call":
            called = {"name": item["name"], "input": item["input"]}
            return {"tool_calls": [{"id": item["call_id"], "type": "custom", "custom": called}]}
        case _:
            text = "".join(part["text"] for part in item["content"] if part["type"] == "output_text")
            refusal = "".join(part["refusal"] for part in item["content"] if part["type"] == "refusal")
            return {"refusal": refusal, **({"content": text} if text else {})} if refusal else {"content": text}


def _join(turn: Message, part: dict[str, Any]) -> None:
    for name, value in part.items():
        turn[name] = (
            turn[name] + value if isinstance(turn.get(name), type(value)) and isinstance(value, str | list) else value
        )


def _content(parts: str | list[Item]) -> str | list[dict[str, Any]]:
    """Return parts as a chat message has them: a single text as such, which every provider takes."""
    if isinstance(parts, str):
        return parts
    if not parts:
        return ""
    if len(parts) == 1 and parts[0]["type"] == "input_text":
        return parts[0]["text"]
    return [_part(part) for part in parts]


def _part(part: Item) -> dict[str, Any]:
    match part["type"]:
        case "input_image":
            detail = {} if part["detail"] == "auto" else {"detail": part["detail"]}
            return {"type": "image_url", "image_url": {"url": part["image_url"]} | detail}
        case "input_file":
            return {"type": "file", "file": {name: part[name] for name in ("filename", "file_data") if name in part}}
        case "input_audio":
            return {"type": "input_audio", "input_audio": part["input_audio"]}
        case _:
            return {"type": "text", "text": part["text"]}
