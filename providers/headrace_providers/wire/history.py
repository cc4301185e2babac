"""A conversation's earlier turns in the form that the provider wants them: reasoning under the name it knows, signatures with
the turn they sign, and nothing that it would refuse.

Some providers need what they gave (DeepSeek refuses a tool's turn without its reasoning, Google's models one without its
signature), others refuse the whole request for a field that is not theirs (OpenAI, Mistral).
"""

from __future__ import annotations

from typing import Any

from headrace.chat.completion import CALL
from headrace.chat.messages import Message
from headrace.chat.provider_table import Provider
from headrace.text.reasoning import HIDDEN_PART, KEPT_PARTS, REASONING_FIELDS, THINKING_PART

OPENAI = frozenset({"role", "content", "name", "refusal", "tool_calls", "function_call", "audio"})
"""Fields of an assistant's message at OpenAI (openai 3.54, `ChatCompletionAssistantMessageParam`)."""


def as_wanted(messages: list[Message], provider: Provider) -> list[Message]:
    """Return the conversation as `provider` takes it. Messages that need no change are the same objects."""
    return [turn(each, provider) if each.get("role") == "assistant" else each for each in messages]


def turn(message: Message, provider: Provider) -> Message:
    if any(said is None or said == [] for name, said in message.items() if name != "content"):
        # What a client's `model_dump()` writes for nothing is refused: OpenAI wants a list of calls, or none.
        message = {
            name: said for name, said in message.items() if name == "content" or not (said is None or said == [])
        }
    thoughts = message.get(KEPT_PARTS)
    if isinstance(thoughts, list):  # out of an answer of ours, which had them beside the text
        said = message.get("content")
        parts = [{"type": "text", "text": said}] if isinstance(said, str) and said else listed(said)
        message = {name: each for name, each in message.items() if name != KEPT_PARTS}
        message["content"] = parts if is_thinking(parts) else [*thoughts, *parts]
    sound = message.get("audio")
    if isinstance(sound, dict) and sound.get("id") and len(sound) > 1:
        message = message | {"audio": {"id": sound["id"]}}
    if provider.reasoning_history is None and provider.history_beyond_openai:
        return message
    content, calls = message.get("content"), message.get("tool_calls")
    thought = is_thinking(content)
    plain = message.keys() <= OPENAI and not thought
    if plain and not any(call.keys() - CALL for call in calls or ()):
        return message
    made = {name: said for name, said in message.items() if name not in REASONING_FIELDS}
    reasoning = next((message[name] for name in REASONING_FIELDS if message.get(name)), None)
    if thought:
        made["content"], said = without_thinking(message["content"])
        reasoning = reasoning or said
    names = provider.reasoning_history or ()
    if not provider.history_beyond_openai:
        made = {name: said for name, said in made.items() if name in OPENAI}
        if made.get("content") is None and made.keys() <= {"role", "content", "name"}:
            made["content"] = ""  # what else was said is not taken there, and null alone is refused
        if calls:
            made["tool_calls"] = [{name: said for name, said in call.items() if name in CALL} for call in calls]
    return made | (dict.fromkeys(names, reasoning) if isinstance(reasoning, str) and reasoning else {})


def listed(content: Any) -> list[Any]:
    return content if isinstance(content, list) else []


def is_thinking(content: Any) -> bool:
    return isinstance(content, list) and any(part.get("type") in (THINKING_PART, HIDDEN_PART) for part in content)


def without_thinking(content: list[dict[str, Any]]) -> tuple[list[dict[str, Any]] | str | None, str]:
    """Return the content without thoughts (None when there is nothing else), and the text of these (Mistral's form)."""
    said: list[Any] = []
    for part in content:
        if part.get("type") == THINKING_PART:
            inner = part.get(THINKING_PART)
            pieces = inner if isinstance(inner, list) else [{"text": inner}]
            said += [
                piece["text"] for piece in pieces if isinstance(piece, dict) and isinstance(piece.get("text"), str)
            ]
    rest = [part for part in content if part.get("type") not in (THINKING_PART, HIDDEN_PART)]
    if all(part.get("type") == "text" for part in rest):
        return "".join(part["text"] for part in rest) or None, "".join(said)
    return rest, "".join(said)
