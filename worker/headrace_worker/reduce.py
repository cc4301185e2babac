"""Chunks become a completion. A plain answer passes through as a single chunk, so there is no second path."""

from __future__ import annotations

import time
from typing import Any

from headrace.errors import CallError
from headrace.job import Completion, Job, Usage
from headrace.schema.validate import parse_answer


class Reducer:
    """Feed it every chunk with `add`, then ask for the `completion`. `text` is what has come so far."""

    def __init__(self) -> None:
        self.id = ""
        self.model = ""
        self.created = 0
        self.text: list[str] = []
        self.refusal: list[str] = []
        self.tool_calls: dict[tuple[int, str], dict[str, Any]] = {}
        self.finish_reason: str | None = None
        self.usage = Usage()

    def add(self, chunk: dict[str, Any]) -> str:
        """Take one chunk; returns the text that it adds. Raises `CallError` for an error inside an HTTP 200."""
        error = chunk.get("error")
        if error:
            message = error.get("message") if isinstance(error, dict) else error
            raise CallError("provider_error", f"the provider failed while answering: {str(message)[:300]}")
        self.id = chunk.get("id") or self.id
        self.model = chunk.get("model") or self.model
        self.created = chunk.get("created") or self.created
        if chunk.get("usage"):
            self.usage = usage_of(chunk["usage"])
        added = ""
        for choice in (chunk.get("choices") or ())[:1]:
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
            said = choice.get("message") or choice.get("delta") or {}
            added = said.get("content") or ""
            if added:
                self.text.append(added)
            if said.get("refusal"):
                self.refusal.append(said["refusal"])
            for position, call in enumerate(said.get("tool_calls") or ()):
                self._add_tool_call(position, call)
        return added

    def completion(self, job: Job, *, deployment: str = "") -> Completion:
        """The completion, its `value` valid under the job's schema. Raises `CallError` for an answer of no use."""
        if self.finish_reason is None:
            raise CallError("incomplete_stream", "the answer ended before it was complete", partial=self.said)
        if self.finish_reason == "error":
            raise CallError("provider_error", "the provider ended its answer with an error", partial=self.said)
        refusal = "".join(self.refusal) or None
        calls = [self.tool_calls[key] for key in sorted(self.tool_calls)]
        value = None
        if job.schema is not None and not calls:
            if refusal is not None:
                raise CallError("refusal", "the model declined to answer", partial=refusal)
            if self.finish_reason == "length":
                raise CallError("truncated", "the answer was cut at max_tokens", partial=self.said)
            if self.finish_reason == "content_filter":
                raise CallError("content_filter", "the provider's filter stopped the answer", partial=self.said)
            if not self.text:
                raise CallError("empty_output", "the provider sent no text")
            value = parse_answer(self.said, job.schema)
        return Completion(
            id=self.id,
            model=self.model,
            created=self.created or int(time.time()),
            content=self.said if self.text or not (calls or refusal) else None,
            finish_reason=self.finish_reason,
            usage=self.usage,
            refusal=refusal,
            tool_calls=calls,
            value=value,
            deployment=deployment,
        )

    @property
    def said(self) -> str:
        return "".join(self.text)

    def _add_tool_call(self, position: int, fragment: dict[str, Any]) -> None:
        index = fragment.get("index", position)
        known = [key for key in self.tool_calls if key[0] == index]
        # Some providers reuse index 0 for every call: another id is another call.
        call_id = fragment.get("id") or (known[-1][1] if known else "")
        call = self.tool_calls.setdefault(
            (index, call_id), {"id": call_id, "type": "function", "function": {"name": "", "arguments": ""}}
        )
        function = fragment.get("function") or {}
        call["function"]["name"] += function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""


def usage_of(usage: dict[str, Any]) -> Usage:
    """A provider's `usage` object, in our terms."""
    return Usage(
        input_tokens=usage.get("prompt_tokens") or 0,
        output_tokens=usage.get("completion_tokens") or 0,
        cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
        reasoning_tokens=(usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0,
    )
