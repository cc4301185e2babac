"""The span of one call to a provider, in the names of OpenTelemetry's conventions for generative AI.

They are still under way there, so they are written out here and in `headrace.telemetry`.
"""

from __future__ import annotations

import time
from urllib.parse import urlsplit

from headrace_providers.chat_completion import ChatCompletion

from headrace.chat.completion import Completion, Usage
from headrace.errors import CallError
from headrace.instruments.tracing import Attributes, Tracer, fail
from headrace.jobs.job import Job


class CallSpan:
    """The span of a call for the job or item `record`, its `number`-th."""

    __slots__ = ("_begun_s", "_span")

    def __init__(self, tracer: Tracer, provider: ChatCompletion, job: Job, record: str, number: int):
        attributes: Attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": provider.facts.name,
            "gen_ai.request.model": provider.model_id,
            "gen_ai.request.stream": job.stream,
            "server.address": urlsplit(provider.base_url).hostname or "",
            "headrace.record": record,
            "headrace.call": number,
        }
        self._span = tracer.call(provider.model_id, attributes)
        self._begun_s = time.monotonic()

    def first_token(self) -> None:
        self._span.set_attribute("gen_ai.response.time_to_first_chunk", time.monotonic() - self._begun_s)

    def answered(self, completion: Completion) -> None:
        span = self._span
        span.set_attribute("gen_ai.response.model", completion.model)
        span.set_attribute("gen_ai.response.id", completion.id)
        reasons = [choice.finish_reason for choice in (completion, *completion.other_choices)]
        span.set_attribute("gen_ai.response.finish_reasons", reasons)
        self._use(completion.usage)
        span.end()

    def failed(self, failure: CallError) -> None:
        usage = failure.details.get("usage")
        if isinstance(usage, Usage):
            self._use(usage)
        fail(self._span, failure.code)
        self._span.end()

    def close(self) -> None:
        """End it as cancelled, unless it has ended."""
        if self._span.is_recording():
            fail(self._span, "cancelled")
            self._span.end()

    def _use(self, usage: Usage) -> None:
        span = self._span
        span.set_attribute("gen_ai.usage.input_tokens", usage.input_tokens)
        span.set_attribute("gen_ai.usage.output_tokens", usage.output_tokens)
        if usage.cached_tokens:
            span.set_attribute("gen_ai.usage.cache_read.input_tokens", usage.cached_tokens)
        if usage.reasoning_tokens:
            span.set_attribute("gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens)
