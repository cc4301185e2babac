"""The Response object of the Responses API, made of its request and of what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from headrace.chat.completion import Completion, Usage
from headrace.chat.responses_items import Item
from headrace.chat.responses_messages import seal
from headrace.chat.responses_request import LOGPROBS, SEALED_REASONING, TIERS
from headrace.chat.responses_tools import listed_choice, listed_tools
from headrace.errors import Failure
from headrace.text.digits import as_written
from headrace.text.readable import UNREADABLE

INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why a response is incomplete, by the finish reason of a chat completion."""
INCOMPLETE_CODES = {"truncated": "max_output_tokens", "content_filter": "content_filter"}
"""Why a response is incomplete, by the code of a job's failure."""
ERROR_CODES = {"rate_limited": "rate_limit_exceeded", "invalid_request": "invalid_prompt"}
"""Codes of a response's error, by the code of a job's failure; `server_error` for any other."""
ID_LETTERS = 26


def response_id(job_id: str) -> str:
    """Return the id of the response that the job `job_…` answers: the same letters."""
    return f"resp_{letters_of(job_id)}"


def letters_of(id: str) -> str:
    """Return what follows the kind in an id."""
    return id.partition("_")[2]


def response_object(
    request: Mapping[str, Any],
    id: str,
    *,
    created_at: int,
    completed_at: int | None = None,
    status: str = "in_progress",
    completion: Completion | None = None,
    failure: Failure | None = None,
) -> dict[str, Any]:
    """Return the Response object of a checked `request` under the id `resp_…`; times are in seconds since 1970.

    With a `completion` it is completed, or incomplete where the answer was cut, with a `failure` failed, incomplete or
    cancelled; with neither its `status` is the given one.
    """
    shown = response_head(request, id, created_at=created_at, status=status)
    if completion is not None:
        reason = INCOMPLETE.get(completion.finish_reason)
        output = output_of(request, letters_of(id), completion)
        shown |= ending(output, completed_at, reason=reason)
        tier = completion.service_tier
        shown |= {
            "model": completion.model or shown["model"],
            "usage": response_usage(completion.usage, completion.raw_usage),
            "service_tier": tier if tier in TIERS else shown["service_tier"],
        }
    elif failure is not None:
        output = (
            [message_item(letters_of(id), [refusal_part(failure.partial or "")])] if failure.code == "refusal" else []
        )
        shown |= failed(failure.code, failure.message) if failure.code != "refusal" else ending(output, completed_at)
        shown["usage"] = failed_usage(failure)
    return shown


def response_head(request: Mapping[str, Any], id: str, *, created_at: int, status: str) -> dict[str, Any]:
    """Return a Response object without an outcome: what was asked for, and null for what is not known."""
    text, reasoning = request.get("text") or {}, request.get("reasoning") or {}
    return {
        "id": id,
        "object": "response",
        "created_at": created_at,
        "status": status,
        "background": bool(request.get("background")),
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "instructions": request.get("instructions"),
        "max_output_tokens": request.get("max_output_tokens"),
        "max_tool_calls": request.get("max_tool_calls"),
        "metadata": request.get("metadata") or {},
        "model": request["model"],
        "output": [],
        "parallel_tool_calls": request.get("parallel_tool_calls") is not False,
        "previous_response_id": request.get("previous_response_id"),
        "prompt_cache_key": request.get("prompt_cache_key"),
        "prompt_cache_retention": request.get("prompt_cache_retention"),
        "reasoning": {
            "effort": reasoning.get("effort"),
            "summary": reasoning.get("summary") or reasoning.get("generate_summary"),
        },
        "safety_identifier": request.get("safety_identifier"),
        "service_tier": request.get("service_tier"),
        "temperature": request.get("temperature"),
        "text": {"format": text.get("format") or {"type": "text"}}
        | ({"verbosity": text["verbosity"]} if text.get("verbosity") else {}),
        "tool_choice": listed_choice(request.get("tool_choice")),
        "tools": listed_tools(request.get("tools")),
        "top_logprobs": request.get("top_logprobs"),
        "top_p": request.get("top_p"),
        "truncation": request.get("truncation") or "disabled",
        "usage": None,
        "user": request.get("user"),
    }


def ending(output: list[Item], completed_at: int | None, *, reason: str | None = None) -> dict[str, Any]:
    """Return the fields of an end with an answer; `reason` is why it is incomplete, if it is."""
    if reason is not None:
        return {"status": "incomplete", "output": output, "incomplete_details": {"reason": reason}}
    return {"status": "completed", "output": output, "completed_at": completed_at}


def failed(code: str, message: str) -> dict[str, Any]:
    """Return the fields of an end without an answer."""
    if code == "cancelled":
        return {"status": "cancelled"}
    if code in INCOMPLETE_CODES:
        return {"status": "incomplete", "incomplete_details": {"reason": INCOMPLETE_CODES[code]}}
    return {"status": "failed", "error": {"code": ERROR_CODES.get(code, "server_error"), "message": message}}


def output_of(request: Mapping[str, Any], letters: str, completion: Completion) -> list[Item]:
    """Return the output items of a completion: its reasoning, its message, its tool calls, each where there is one."""
    status = "incomplete" if completion.finish_reason in INCOMPLETE else "completed"
    include = request.get("include") or ()
    items: list[Item] = []
    sealed = seal(sealable(completion)) if SEALED_REASONING in include else None
    if completion.reasoning or sealed:
        items.append(reasoning_item(letters, completion.reasoning or "", sealed, summarized=is_summarized(request)))
    content = text_of(completion)
    parts: list[Item] = []
    if content or not (completion.refusal or completion.tool_calls or items):
        logprobs = (completion.logprobs or {}).get("content") if LOGPROBS in include else None
        parts.append(text_part(content or "", completion.annotations, logprobs))
    if completion.refusal:
        parts.append(refusal_part(completion.refusal))
    if parts:
        items.append(message_item(letters, parts, status))
    return items + [call_item(letters, place, call, status) for place, call in enumerate(completion.tool_calls)]


def text_of(completion: Completion) -> str | None:
    """Return the text of an answer; of a validated value its JSON."""
    if completion.structured:
        return msgspec.json.encode(as_written(completion.value, completion.content)).decode()
    return completion.content


def is_text_of(text: str, completion: Completion) -> bool:
    """Return True if `text` says what the answer is: of a validated value in any JSON."""
    if not completion.structured:
        return text == (completion.content or "")
    try:
        return msgspec.json.decode(text) == completion.value
    except UNREADABLE:
        return False


def sealable(completion: Completion) -> dict[str, Any]:
    """Return the provider's own form of a completion's reasoning, as far as it wants it back."""
    return {"reasoning_details": completion.reasoning_details} | completion.extra.get("message", {})


def is_summarized(request: Mapping[str, Any]) -> bool:
    """Return True if the reasoning is shown as a summary: its caller asked for one, and there is no other text of it."""
    reasoning = request.get("reasoning") or {}
    return bool(reasoning.get("summary") or reasoning.get("generate_summary"))


def reasoning_item(
    letters: str, text: str, sealed: str | None = None, status: str = "completed", *, summarized: bool = False
) -> Item:
    said = [{"type": "summary_text" if summarized else "reasoning_text", "text": text}] if text else []
    parts = {"summary": said if summarized else [], "content": [] if summarized else said}
    item = {"id": f"rs_{letters}", "type": "reasoning", **parts, "status": status}
    return item if sealed is None else item | {"encrypted_content": sealed}


def message_item(letters: str, parts: list[Item], status: str = "completed") -> Item:
    return {"id": f"msg_{letters}", "type": "message", "role": "assistant", "status": status, "content": parts}


def text_part(text: str, annotations: list[Any] | None = None, logprobs: list[Any] | None = None) -> Item:
    known = [shown for annotation in annotations or () if (shown := annotation_of(annotation)) is not None]
    tokens = [token_of(token) for token in logprobs or () if isinstance(token, dict)]
    return {"type": "output_text", "text": text, "annotations": known, "logprobs": tokens}


def refusal_part(text: str) -> Item:
    return {"type": "refusal", "refusal": text}


def call_item(letters: str, place: int, call: dict[str, Any], status: str = "completed") -> Item:
    """Return the item of a chat's tool call, the `place`-th of its message."""
    if call.get("type") == "custom":
        custom = call["custom"]
        return {
            "id": f"ctc_{letters}_{place}",
            "type": "custom_tool_call",
            "call_id": call["id"],
            "name": custom["name"],
            "input": custom["input"],
        }
    function = call["function"]
    return {
        "id": f"fc_{letters}_{place}",
        "type": "function_call",
        "call_id": call["id"],
        "name": function["name"],
        "arguments": function["arguments"],
        "status": status,
    }


def annotation_of(annotation: Any) -> Item | None:
    """Return a chat's annotation as one of a response's; None for one of a kind that it does not have."""
    cited = annotation.get("url_citation") if isinstance(annotation, dict) else None
    if not isinstance(cited, dict) or not isinstance(cited.get("url"), str):
        return None
    title = cited.get("title")
    places = {name: place if isinstance(place := cited.get(name), int) else 0 for name in ("start_index", "end_index")}
    return {"type": "url_citation", "url": cited["url"], "title": title if isinstance(title, str) else "", **places}


def token_of(token: dict[str, Any]) -> Item:
    """Return the logprob of a token as a response has it."""
    shown = _token(token)
    tops = token.get("top_logprobs") or ()
    return shown | {"top_logprobs": [_token(top) for top in tops if isinstance(top, dict)]}


def _token(token: dict[str, Any]) -> Item:
    text, raw = str(token.get("token", "")), token.get("bytes")
    logprob = token.get("logprob")
    return {
        "token": text,
        "bytes": raw if isinstance(raw, list) else list(text.encode(errors="replace")),
        "logprob": logprob if isinstance(logprob, int | float) else -9999.0,
    }


def failed_usage(failure: Failure) -> dict[str, Any] | None:
    """Return the tokens that were paid for an answer that was of no use; None where they are unknown."""
    raw: Any = failure.metadata.get("usage")
    if not isinstance(raw, dict):
        return None
    read, written = raw.get("prompt_tokens"), raw.get("completion_tokens")
    return response_usage(Usage(read, written), raw) if isinstance(read, int) and isinstance(written, int) else None


def response_usage(usage: Usage, raw: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """Return tokens as a response has them; None where they are unknown. `raw` is the provider's own object."""
    if usage.unknown:
        return None
    details = (raw or {}).get("prompt_tokens_details")
    written = details.get("cache_write_tokens") if isinstance(details, dict) else None
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": written if isinstance(written, int) else 0,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
