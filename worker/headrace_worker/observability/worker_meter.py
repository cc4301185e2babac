"""The instruments of a worker process: its calls, waits, retries, and ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from headrace import telemetry
from headrace.chat.completion import Completion, Usage
from headrace.errors import CODES, CallError
from headrace.instruments.meter import Meter, ModelNames
from headrace.instruments.tracing import Tracer
from headrace.telemetry import OTHER
from headrace_worker.observability.call_span import CallSpan

MIN_WAIT_S = 0.001
"""A shorter wait is none: the call found all that it needs."""
SavedBy = Literal["cache", "join"]
ROW_STATES = {"s": "succeeded", "f": "failed", "d": "dead"}
"""States of items by the letters of their rows."""
REASONS = frozenset({*CODES, "draining", "version"})


class WorkerMeter:
    """The numbers of one worker, and with `tracer` the spans of its calls. `clock` counts seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, tracer: Tracer | None = None):
        self.clock = clock
        self.tracer = tracer
        self.meter = meter = Meter()
        self.in_flight = 0
        self.models = ModelNames()
        self.calls = meter.counter(telemetry.CALLS)
        self.call_seconds = meter.histogram(telemetry.CALL_SECONDS)
        self.first_token_seconds = meter.histogram(telemetry.FIRST_TOKEN_SECONDS)
        self.tokens = meter.counter(telemetry.TOKENS)
        self.cost = meter.counter(telemetry.COST)
        self.unpriced = meter.counter(telemetry.UNPRICED)
        self.rate_limited = meter.counter(telemetry.RATE_LIMITED)
        self._waits = meter.histogram(telemetry.WAIT_SECONDS)
        self._retries = meter.counter(telemetry.RETRIES)
        self._fallbacks = meter.counter(telemetry.FALLBACKS)
        self._reasks = meter.counter(telemetry.REASKS)
        self._parked = meter.counter(telemetry.PARKED)
        self._saved = meter.counter(telemetry.SAVED)
        self._misses = meter.counter(telemetry.CACHE_MISSES)
        self._ends = meter.counter(telemetry.ENDS)
        meter.gauge(telemetry.CALLS_IN_FLIGHT, lambda: self.in_flight)

    def call(self, provider: str, model: str) -> MeteredCall:
        """Note that a call goes out; say how it ended, then `close` it."""
        self.in_flight += 1
        return MeteredCall(self, provider, model)

    def waited(self, provider: str, seconds: float) -> None:
        if seconds >= MIN_WAIT_S:
            self._waits.observe((provider,), seconds)

    def retried(self, provider: str, failure: CallError) -> None:
        self._retries.add((provider, failure.code))

    def fell_back(self, provider: str, failure: CallError) -> None:
        self._fallbacks.add((provider, failure.code))

    def reasked(self, provider: str) -> None:
        self._reasks.add((provider,))

    def parked(self, kind: str, reason: str) -> None:
        self._parked.add((kind, reason if reason in REASONS else OTHER))

    def saved(self, cause: SavedBy) -> None:
        """Count a call that was not made."""
        self._saved.add((cause,))

    def missed(self, count: int) -> None:
        """Count look-ups that found no answer."""
        if count:
            self._misses.add((), count)

    def ended(self, state: str) -> None:
        """Count the end of a job."""
        self._ends.add(("job", state))

    def ended_item(self, kind: str) -> None:
        """Count the end of an item, by the letter of its row."""
        self._ends.add(("item", ROW_STATES[kind.lower()]))


class MeteredCall:
    """One call to a provider, as it is counted."""

    __slots__ = ("_begun_s", "_is_open", "_meter", "_model", "_provider", "is_streaming", "span")

    def __init__(self, meter: WorkerMeter, provider: str, model: str):
        self._meter = meter
        self._provider = provider
        self._model = model
        self._begun_s = meter.clock()
        self._is_open = True
        self.is_streaming = False
        self.span: CallSpan | None = None

    @property
    def tracer(self) -> Tracer | None:
        return self._meter.tracer

    def first_token(self) -> None:
        """Take account of the first piece of a streamed answer."""
        if not self.is_streaming:
            self.is_streaming = True
            labels = self._provider, self._meter.models.answered(self._model)
            self._meter.first_token_seconds.observe(labels, self._meter.clock() - self._begun_s)
            if self.span is not None:
                self.span.first_token()

    def answered(self, completion: Completion) -> None:
        model = self._meter.models.answered(self._model)
        self._end(model, "ok")
        self._pay(model, completion.usage, completion.cost)
        if self.span is not None:
            self.span.answered(completion)

    def failed(self, failure: CallError) -> None:
        """Take account of a failure, and of what was paid for it."""
        usage = failure.details.get("usage")
        is_answer = isinstance(usage, Usage) and (usage.input_tokens or usage.output_tokens)
        model = self._meter.models.answered(self._model) if is_answer else self._meter.models.of(self._model)
        self._end(model, failure.code)
        if failure.code == "rate_limited":
            self._meter.rate_limited.add((self._provider, model))
        if isinstance(usage, Usage) and is_answer:
            self._pay(model, usage, failure.details.get("cost"))
        if self.span is not None:
            self.span.failed(failure)

    def withdraw(self) -> None:
        """Forget it: nobody has heard of it."""
        self.span = None
        if self._is_open:
            self._is_open = False
            self._meter.in_flight -= 1

    def close(self) -> None:
        """Count it as cancelled, unless it has ended."""
        if self._is_open:
            self._end(self._meter.models.of(self._model), "cancelled")
        if self.span is not None:
            self.span.close()

    def _end(self, model: str, outcome: str) -> None:
        meter, provider = self._meter, self._provider
        self._is_open = False
        meter.in_flight -= 1
        meter.calls.add((provider, model, outcome))
        meter.call_seconds.observe((provider, model), meter.clock() - self._begun_s)

    def _pay(self, model: str, usage: Usage, cost: float | None) -> None:
        meter, provider = self._meter, self._provider
        meter.tokens.add((provider, model, "input"), usage.input_tokens)
        meter.tokens.add((provider, model, "output"), usage.output_tokens)
        if usage.cached_tokens:
            meter.tokens.add((provider, model, "cached"), usage.cached_tokens)
        if usage.reasoning_tokens:
            meter.tokens.add((provider, model, "reasoning"), usage.reasoning_tokens)
        if cost is None:
            meter.unpriced.add((provider, model))
        elif cost > 0:
            meter.cost.add((provider, model), cost)
