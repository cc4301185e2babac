"""Forecast: what a batch will take and cost, before anything of it is sent, or after a few of its items were.

Tokens are counted as the tokenizers of today's models would (`headrace.spend.token_count`), of every item with its template and
schema. A sample of real calls corrects the count, and says how long answers are.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from hashlib import blake2b
from math import sqrt
from typing import Any, NamedTuple

import msgspec

from headrace.batches.template import Item, Template
from headrace.chat.call_limits import CallLimits
from headrace.chat.completion import Usage
from headrace.chat.provider_table import PROVIDERS
from headrace.errors import InputError
from headrace.jobs.cache_mode import of_item
from headrace.jobs.job import Job
from headrace.schema.modes import Mode, form_of
from headrace.spend.answer_length import expected_answer
from headrace.spend.prices import Profile
from headrace.spend.token_count import TOKENS_PER_MESSAGE, TOKENS_PER_REQUEST, tokens_of

ALL_COUNTED = 20_000
"""Items of which every one is counted; of further ones every tenth, the others by their length."""
TOKENS_PER_MEDIUM = 800
ERROR_OF_COUNT = 0.15
ERROR_OF_ANSWER = 8.0
"""How many times longer or shorter than expected answers may be while none has come."""
MIN_ERROR = 0.03
SIGMAS = 4.0


class Range(NamedTuple):
    """An estimate, and the interval in which the truth is expected."""

    expected: float
    low: float
    high: float

    def rounded(self) -> Range:
        return Range(round(self.expected), round(self.low), round(self.high))


class SampledCall(NamedTuple):
    """An item of the sample: what was counted for it, what its calls took, and their cost in USD (None: unknown)."""

    counted: float
    usage: Usage
    cost: float | None


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """A forecast of a batch. `equal` items ask what another one asks; only where answers are cached is that one call. `refused`
    lines are no requests, `too_long` ones have more tokens than the model's context.

    Money is in USD, None where no price is known. `minutes` is the time that the limits in `HEADRACE_LIMITS` allow no less than.
    """

    model: str
    items: int
    refused: int
    too_long: int
    equal: int
    calls: int
    input_tokens: Range
    output_tokens: Range
    cost_usd: Range | None
    minutes: float | None
    sampled: int = 0


class Forecaster:
    """Counts items one after the other; `sample` of them, at random, are kept to be tried out."""

    def __init__(self, template: Template, profile: Profile | None, *, sample: int = 0):
        self._template = template
        self._profile = profile or Profile()
        self.sample = sample
        self._random = random.Random(0)
        self.sampled: list[tuple[int, float, Item]] = []
        self._shared = tokens_of_call(template.model, template.schema, template.mode)
        self._joins = of_item(template.cache, template.options) is True
        self._asked = set[bytes]()
        self._ratio = (0.0, 0)  # tokens and characters of the items that were counted
        self.items = self.refused = self.too_long = 0
        self.tokens = self.tokens_of_calls = 0.0

    def add(self, item: Item) -> None:
        self.items += 1
        if item.refused is not None:
            self.refused += 1
            return
        counted = self._count(self._template.job(item))
        if self._profile.context_length is not None and counted > self._profile.context_length:
            self.too_long += 1
        self.tokens += counted
        own = msgspec.structs.replace(item, custom_id="", kept=None)
        digest = blake2b(msgspec.json.encode(own), digest_size=12).digest()
        if digest not in self._asked:
            self._asked.add(digest)
            self.tokens_of_calls += counted
        seen = self.items - self.refused - 1
        if seen < self.sample:
            self.sampled.append((seen, counted, item))
        elif self.sample and (place := self._random.randrange(seen + 1)) < self.sample:
            self.sampled[place] = (seen, counted, item)

    def _count(self, job: Job) -> float:
        texts, media = texts_of(job)
        size = sum(map(len, texts))
        known, characters = self._ratio
        if self.items > ALL_COUNTED and self.items % 10 and characters:
            counted = size * known / characters
        else:
            counted = sum(map(tokens_of, texts))
            self._ratio = known + counted, characters + size
        return counted + self._shared + media * TOKENS_PER_MEDIUM + TOKENS_PER_MESSAGE * len(job.messages)

    @property
    def calls(self) -> int:
        """The number of calls, where each is answered at once."""
        return len(self._asked) if self._joins else self.items - self.refused

    def forecast(self, calls: Sequence[SampledCall] = (), limits: Sequence[CallLimits] = ()) -> Forecast:
        """Return the forecast, by the `calls` of the sample where there are some."""
        counted = self.tokens_of_calls if self._joins else self.tokens
        asked = input_range(counted, calls)
        answered = self._output_range(calls)
        return Forecast(
            model=self._template.model,
            items=self.items,
            refused=self.refused,
            too_long=self.too_long,
            equal=self.items - self.refused - len(self._asked),
            calls=self.calls,
            input_tokens=asked.rounded(),
            output_tokens=answered.rounded(),
            cost_usd=in_nano(self._cost_range(asked, answered, calls)),
            minutes=minutes_at(limits, self.calls, asked.expected + answered.expected),
            sampled=len(calls),
        )

    def _output_range(self, calls: Sequence[SampledCall]) -> Range:
        most = self._template.options.max_tokens
        if len(calls) > 1:
            return times(spread([call.usage.output_tokens for call in calls], 2 * MIN_ERROR), self.calls)
        expected = expected_answer(self._template.schema)
        if calls:
            expected = max(1, calls[0].usage.output_tokens)
        low, high = expected / ERROR_OF_ANSWER, expected * ERROR_OF_ANSWER
        if most is not None:
            expected, low, high = min(expected, most), min(low, most), min(high, most)
        return times(Range(expected, low, high), self.calls)

    def _cost_range(self, asked: Range, answered: Range, calls: Sequence[SampledCall]) -> Range | None:
        costs = [call.cost for call in calls if call.cost is not None]
        if len(costs) > 1 and len(costs) == len(calls):
            return times(spread(costs, 2 * MIN_ERROR), self.calls)
        count = max(1, self.calls)
        prices = [
            self._price(side.expected / count, other.expected / count)
            for side, other in (
                (asked, answered),
                (of(asked.low), of(answered.low)),
                (of(asked.high), of(answered.high)),
            )
        ]
        expected, low, high = prices
        if expected is None or low is None or high is None:
            return None
        profile = self._profile  # the provider may have all of it in its cache
        cheapest = profile.cache_read / profile.input if profile.cache_read is not None and profile.input else 1.0
        return times(Range(expected, low * min(1.0, cheapest), high), self.calls)

    def _price(self, asked: float, answered: float) -> float | None:
        usage = Usage(max(0, round(asked)), max(0, round(answered)))
        return self._profile.cost(usage, self._template.options.service_tier)


def tokens_of_call(model: str, schema: dict[str, Any] | None, mode: Mode | None) -> float:
    """Return the tokens of a call beside its messages: of the request, and of its schema as it is sent."""
    if schema is None:
        return TOKENS_PER_REQUEST
    row = PROVIDERS.get(model.partition("/")[0])
    try:
        sent = form_of(schema, mode or "strict", row.dialect if row else "openai").schema
    except InputError:
        sent = schema
    return TOKENS_PER_REQUEST + tokens_of(msgspec.json.encode(sent).decode())


def texts_of(job: Job) -> tuple[list[str], int]:
    """Return the texts of a conversation, and the number of its parts that are none."""
    texts: list[str] = []
    media = 0
    for message in job.messages:
        content: Any = message.get("content")
        parts = content if isinstance(content, list) else [content]
        for part in parts:
            text = part.get("text") if isinstance(part, dict) else part
            if isinstance(text, str):
                texts.append(text)
            elif part is not None:
                media += 1
    return texts, media


def input_range(counted: float, calls: Sequence[SampledCall]) -> Range:
    known = [call for call in calls if call.counted and not call.usage.unknown]
    if not known:
        return Range(counted, counted * (1 - ERROR_OF_COUNT), counted * (1 + ERROR_OF_COUNT))
    ratio = sum(call.usage.input_tokens for call in known) / sum(call.counted for call in known)
    if len(known) == 1:
        return Range(counted * ratio, counted * ratio * (1 - ERROR_OF_COUNT), counted * ratio * (1 + ERROR_OF_COUNT))
    error = spread([call.usage.input_tokens / call.counted for call in known], MIN_ERROR)
    part = (error.high - error.expected) / error.expected if error.expected else ERROR_OF_COUNT
    return Range(counted * ratio, counted * ratio * (1 - part), counted * ratio * (1 + part))


def spread(values: Sequence[float], least: float) -> Range:
    """Return the mean of a sample, and what that of all is expected to be within: at least a part of `least` around it."""
    mean = sum(values) / len(values)
    deviation = sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    error = max(SIGMAS * deviation / sqrt(len(values)), least * mean)
    return Range(mean, max(0.0, mean - error), mean + error)


def times(each: Range, count: int) -> Range:
    return Range(each.expected * count, each.low * count, each.high * count)


def in_nano(cost: Range | None) -> Range | None:
    return None if cost is None else Range(*(round(usd, 9) for usd in cost))


def of(value: float) -> Range:
    return Range(value, value, value)


def minutes_at(limits: Sequence[CallLimits], calls: int, tokens: float) -> float | None:
    """Return the minutes that limits allow no less than; None without limits."""
    needed = [calls / each.requests_per_min for each in limits if each.requests_per_min]
    needed += [tokens / each.tokens_per_min for each in limits if each.tokens_per_min]
    return round(max(needed), 1) if needed else None
