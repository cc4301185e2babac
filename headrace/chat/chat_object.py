"""An answer as OpenAI's `chat.completion` object: what its own types know, and a few fields beside them that clients read.

Beside them stand `reasoning_content`, `reasoning_details`, `images` and `citations`, what the provider has that has no name here,
and `extra`: the cost, and how the answer was read.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.chat.completion import Choice, Completion, Usage
from headrace.text.digits import as_written

FINISH_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
SERVICE_TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast"})
"""The values that OpenAI's types know."""
IN_MESSAGE = ("tool_calls", "audio", "annotations", "images", "reasoning_details")
IN_EXTRA = (
    "cost",
    "cached",
    "mode",
    "repaired",
    "coerced",
    "reasks",
    "raw",
    "notes",
    "stop_reason",
    "native_finish_reason",
)
_encode = msgspec.json.Encoder().encode


def chat_object(completion: Completion) -> dict[str, Any]:
    """Return the `chat.completion` object. A validated value is the first choice's content, as JSON."""
    content = completion.content
    if completion.structured:
        content = _encode(as_written(completion.value, content)).decode()
    first = choice_object(0, completion, content)
    others = [choice_object(index, each, each.content) for index, each in enumerate(completion.other_choices, 1)]
    body: dict[str, Any] = {
        "id": completion.id,
        "object": "chat.completion",
        "created": completion.created,
        "model": completion.model,
        "choices": [first, *others],
        "usage": usage_object(completion.usage),
    }
    body |= beside(completion.service_tier, completion.system_fingerprint)
    if completion.citations:
        body["citations"] = completion.citations
    extra = {
        name: value for name in IN_EXTRA if (value := getattr(completion, name)) or (name == "cost" and value == 0)
    }
    return completion.extra.get("answer", {}) | body | ({"extra": extra} if extra else {})


def completion_id(job: str) -> str:
    """Return the id under which the answer of a job is given, plain or in chunks, whichever provider answered."""
    return f"chatcmpl-{job}"


def choice_object(index: int, choice: Choice, content: str | None) -> dict[str, Any]:
    """Return one choice. The provider's own fields stand where they stood: a client sends them back unchanged."""
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": choice.refusal}
    message |= {name: value for name in IN_MESSAGE if (value := getattr(choice, name))}
    if choice.reasoning:
        message["reasoning_content"] = choice.reasoning
    return choice.extra.get("choice", {}) | {
        "index": index,
        "message": choice.extra.get("message", {}) | message,
        "finish_reason": finish_reason(choice.finish_reason),
        "logprobs": logprobs_object(choice.logprobs),
    }


def finish_reason(reason: str | None) -> str:
    """Return a finish reason that OpenAI's types know."""
    return reason if reason in FINISH_REASONS else "stop"


def logprobs_object(logprobs: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return log probabilities with both of their fields; None for none."""
    return {"content": None, "refusal": None} | logprobs if logprobs else None


def beside(service_tier: str | None, system_fingerprint: str | None) -> dict[str, Any]:
    """Return the provider's words about itself, as far as it said some and they are OpenAI's."""
    said: dict[str, Any] = {}
    if service_tier in SERVICE_TIERS:
        said["service_tier"] = service_tier
    if system_fingerprint:
        said["system_fingerprint"] = system_fingerprint
    return said


def usage_object(usage: Usage) -> dict[str, Any] | None:
    """Return the tokens, details where there are any; None where they are unknown."""
    if usage.unknown:
        return None
    counts: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    if usage.cached_tokens:
        counts["prompt_tokens_details"] = {"cached_tokens": usage.cached_tokens}
    if usage.reasoning_tokens:
        counts["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return counts
