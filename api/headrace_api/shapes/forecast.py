"""`/v1/forecast`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from headrace_api.shapes.chat import ChatCompletionRequest

MAX_REQUESTS = 1000


class ForecastRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Chat-completions bodies as `/v1/jobs` takes them, in one list."""

    requests: Annotated[Sequence[ChatCompletionRequest], Meta(min_length=1, max_length=MAX_REQUESTS)]


class Interval(msgspec.Struct, frozen=True):
    """An estimate, and the bounds between which the truth is expected."""

    expected: float
    low: float
    high: float


class ForecastObject(msgspec.Struct, frozen=True, kw_only=True):
    """The calls, tokens and cost that are expected of the requests, each called once. `cost_usd` is in US dollars, null when a
    model's price is not known: such are `unpriced`. `too_long` requests have more tokens than their model's context. Answers are
    guessed by their schema, and by `max_tokens`."""

    object: Literal["forecast"] = "forecast"
    requests: int
    calls: int
    input_tokens: Interval
    output_tokens: Interval
    cost_usd: Interval | None
    too_long: int
    unpriced: Sequence[str]
