"""Conversations in OpenAI's shape: builders of messages and parts, `conversation`, which checks one before it is
sent.

Nothing here opens a path or a URL: parts travel as they are, and what a URL points to is the provider's business.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from headrace.errors import InputError
from headrace.text.quoting import quoted, shortened

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
PARTS = ("text", "image_url", "input_audio", "audio_url", "video_url", "file", "refusal", "thinking")
"""The types of parts; each keeps its payload under its own name. `audio_url`, `video_url` and `thinking`
(Mistral) are no part of OpenAI's."""
INSTEAD_OF_CONTENT = (
    "tool_calls",
    "function_call",
    "audio",
    "refusal",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
    "images",
)

Part = dict[str, Any]
Message = dict[str, Any]


def user(content: str | list[Part], media: Part | Sequence[Part | list[Part]] | None = None) -> Message:
    """Return a user's message. With `media` (a part, or parts; `image([…])` gives several at once) its content becomes
    a list: the text first, unless it is empty, then the media (conformance 51 and 52)."""
    if not media:
        return {"role": "user", "content": content}
    parts: list[Part] = list(content) if isinstance(content, list) else [text(content)] if content else []
    for given in [media] if isinstance(media, Mapping) else media:
        parts.extend(given if isinstance(given, list) else [dict(given)])
    return {"role": "user", "content": parts}


def assistant(content: Any) -> Message:
    """Return an assistant's message; what is not a text is written as JSON."""
    return {"role": "assistant", "content": content if isinstance(content, str) else as_json(content)}


def assistant_reasoning(content: str, reasoning: str) -> Message:
    """Return an assistant's message with its reasoning. It is never part of the content, where a model would take it
    for what it said; each provider is sent the field that it knows (`headrace_providers.wire.history`)."""
    return {"role": "assistant", "content": content, "reasoning_content": reasoning}


def assistant_tool_calls(
    calls: list[dict[str, Any]], reasoning: str | None = None, *, text: str = "", field: str = ""
) -> Message:
    """Return an assistant's message that calls tools (`tool_call`). `content` is the text that came with the calls, and
    absent when there is none; the reasoning stands under the name that it came by (`field`, else
    `reasoning_content`)."""
    said: Message = {"role": "assistant"} | ({"content": text} if text else {})
    said |= {field or "reasoning_content": reasoning} if reasoning is not None else {}
    return said | {"tool_calls": calls}


def system(content: str) -> Message:
    """Return a system message."""
    return {"role": "system", "content": content}


def tool(tool_call_id: str, content: str) -> Message:
    """Return the result of the call `tool_call_id`, as text."""
    return {"role": "tool", "tool_call_id": tool_call_id, "content": content}


def tool_call(id: str, name: str, arguments: str) -> dict[str, Any]:
    """Return a call of the function `name`. `arguments` is JSON text, as the model wrote it."""
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def text(content: str) -> Part:
    """Return a text part."""
    return {"type": "text", "text": content}


def image(url: str | list[str], **more: Any) -> Any:
    """Return an image part; a list of URLs gives a list of parts. A URL may be a data URI; `detail` is auto, low, high
    or original."""
    if isinstance(url, list):
        return [image(one, **more) for one in url]
    return {"type": "image_url", "image_url": {"url": url, **more}}


def video(url: str | list[str], **more: Any) -> Any:
    """Return a video part (vLLM, OpenRouter; not OpenAI); a list of URLs gives a list of parts."""
    if isinstance(url, list):
        return [video(one, **more) for one in url]
    return {"type": "video_url", "video_url": {"url": url, **more}}


def audio(data: str, format: str) -> Part:
    """Return an audio part: `data` in base64, `format` wav or mp3 (OpenAI)."""
    return {"type": "input_audio", "input_audio": {"data": data, "format": format}}


def file(filename: str, file_data: str) -> Part:
    """Return a file part: `file_data` is a data URI."""
    return {"type": "file", "file": {"filename": filename, "file_data": file_data}}


def conversation(messages: Any, *, system_prompt: str | None = None, prefilling: str | None = None) -> list[Message]:
    """Return the messages as they are sent: a copy of the caller's (a text is one user message), `system_prompt` before
    them and a non-empty `prefilling` after them as the beginning of the answer.

    A list that begins with a system message of its own keeps it: there are two then. Raises `InputError` that names the
    place by JSON Pointer (`/messages/2/role`) for anything that is no conversation.
    """
    for name, value in (("system_prompt", system_prompt), ("prefilling", prefilling)):
        if value is not None and not isinstance(value, str):
            raise InputError(f"{name}: must be a text, not {type(value).__name__}")
    if isinstance(messages, str):
        talk = [user(messages)]
    elif isinstance(messages, Sequence) and not isinstance(messages, bytes | bytearray | memoryview):
        talk = [checked(message, f"/messages/{place}") for place, message in enumerate(messages)]
    else:
        raise InputError(f"/messages: must be a text or a list of messages, not {kind(messages)}")
    if system_prompt is not None:
        talk.insert(0, system(system_prompt))
    if not talk:
        raise InputError("/messages: is empty; give at least one message")
    return [*talk, assistant(prefilling)] if prefilling else talk


def check_conversation(messages: Sequence[Any]) -> None:
    """Raise `InputError` naming the place where `messages` are no conversation."""
    if not messages:
        raise InputError("/messages: is empty; give at least one message")
    for index, message in enumerate(messages):
        check_message(message, f"/messages/{index}")


def checked(message: Any, place: str) -> Message:
    """Return a copy of `message`, if it is one. Raises `InputError` naming `place`."""
    check_message(message, place)
    return copy.deepcopy(message)


def check_message(message: Any, place: str) -> None:
    if not isinstance(message, dict):
        raise InputError(f'{place}: must be an object like {{"role": "user", "content": …}}, not {kind(message)}')
    role = message.get("role")
    if role not in ROLES:
        raise InputError(f"{place}/role: must be one of {', '.join(ROLES)}, not {shown(role)}")
    needed = {"tool": "tool_call_id", "function": "name"}.get(role)
    if needed and not (isinstance(message.get(needed), str) and message[needed]):
        raise InputError(f"{place}/{needed}: a message of role {role} needs it, a text that is not empty")
    calls = message.get("tool_calls")
    if calls is not None and not (isinstance(calls, list) and all(isinstance(call, dict) for call in calls)):
        raise InputError(f"{place}/tool_calls: must be a list of calls (objects), not {kind(calls)}")
    check_content(message, role, f"{place}/content")


def check_content(message: Message, role: str, place: str) -> None:
    content = message.get("content")
    if content is None:
        if role == "assistant" and any(message.get(name) for name in INSTEAD_OF_CONTENT):
            return
        unless = " (null goes only beside tool_calls and the like)" if role == "assistant" else ""
        raise InputError(f"{place}: a message of role {role} needs a text or a list of parts{unless}")
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise InputError(f"{place}: must be a text or a list of parts, not {kind(content)}")
    if not content:
        raise InputError(f"{place}: the list of parts is empty; give a text, or at least one part")
    for index, part in enumerate(content):
        check_part(part, f"{place}/{index}")


def check_part(part: Any, place: str) -> None:
    if not isinstance(part, dict):
        raise InputError(f'{place}: must be an object like {{"type": "text", "text": …}}, not {kind(part)}')
    sort = part.get("type")
    if sort == "redacted_thinking":  # Anthropic's: it is given back as it came
        return
    if sort not in PARTS:
        raise InputError(f"{place}/type: must be one of {', '.join(PARTS)}, not {shown(sort)}")
    wanted = str if sort in {"text", "refusal"} else list | str if sort == "thinking" else dict
    if not isinstance(part.get(sort), wanted):
        raise InputError(
            f"{place}/{sort}: a part of type {sort} needs {'a text' if wanted is str else 'an object'} there, "
            f"not {kind(part.get(sort))}"
        )


def as_json(value: Any, what: str = "the content") -> str:
    """Return `value` as JSON text. Raises `InputError` for what JSON cannot hold."""
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{what} cannot be written as JSON: {shortened(str(error))}; give a text or plain values"
        ) from None


def shown(value: Any) -> str:
    return quoted(value) if isinstance(value, str) else kind(value)


def kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__
