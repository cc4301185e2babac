"""Forecast: what a batch will take and cost, before anything of it is sent, or after a few of its items were.

Tokens are counted as the tokenizers of today's models would (`headrace.spend.token_count`), of every item with its template and
schema. A sample of real calls corrects the count, and says how long answers are.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
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
from headrace.ledger.limit_record import LimitRecord
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

    Money is in USD, None where no price is known. `minutes` is the time that limits allow no less than, None where none is known.
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


class CallKind:
    """The calls of a forecast that differ in nothing but their messages: how many there are, and their input tokens."""

    def __init__(self, job: Job, profile: Profile | None):
        self.profile = profile or Profile()
        self.shared = tokens_of_request(job)
        self.tier = job.options.service_tier
        self.calls = 0
        self.tokens = 0.0
        self._answer = guessed_answer(job)

    def answers(self) -> Range:
        """Return the output tokens, as they are guessed."""
        return times(self._answer, self.calls)

    def cost(self, input_factors: Range, answers: Range | None) -> Range | None:
        """Return what the calls cost. `input_factors` are those of the counted tokens, `answers` the tokens of one answer where a
        sample has told them."""
        counted = self.tokens / max(1, self.calls)
        answers = answers or self._answer
        prices = [
            self.profile.cost(Usage(max(0, round(counted * factor)), max(0, round(answer))), self.tier)
            for factor, answer in zip(input_factors, answers, strict=True)
        ]
        expected, low, high = prices
        if expected is None or low is None or high is None:
            return None
        profile = self.profile  # the provider may have all of it in its cache
        cheapest = profile.cache_read / profile.input if profile.cache_read is not None and profile.input else 1.0
        return times(Range(expected, low * min(1.0, cheapest), high), self.calls)


class Forecaster:
    """Counts items one after the other; `sample` of them, at random, are kept to be tried out. `profile` is that of the
    template's model, `profile_of` gives those of items that bring a model of their own."""

    def __init__(
        self,
        template: Template,
        profile: Profile | None,
        *,
        sample: int = 0,
        profile_of: Callable[[str], Profile | None] = lambda model: None,
    ):
        self._template = template
        self._profile = profile
        self._profile_of = profile_of
        self.sample = sample
        self._random = random.Random(0)
        self.sampled: list[tuple[int, float, Item]] = []
        self._joins = of_item(template.cache, template.options) is True
        self._asked = set[bytes]()
        self._kinds: dict[bytes, CallKind] = {}
        self._ratio = (0.0, 0)  # tokens and characters of the items that were counted
        self.items = self.refused = self.too_long = 0
        self.tokens = 0.0

    def add(self, item: Item, *, joins: bool | None = None) -> None:
        """Count an item. `joins`: it is no call where another one asks the same; None: as the template says."""
        self.items += 1
        if item.refused is not None:
            self.refused += 1
            return
        job = self._template.job(item)
        kind = self._kind_of(item, job)
        counted = self._count(job) + kind.shared
        if kind.profile.context_length is not None and counted > kind.profile.context_length:
            self.too_long += 1
        self.tokens += counted
        own = msgspec.structs.replace(item, custom_id="", kept=None)
        digest = blake2b(msgspec.json.encode(own), digest_size=12).digest()
        if joins is None:
            joins = self._joins if item.options is None else of_item(self._template.cache, job.options) is True
        if digest not in self._asked or not joins:
            kind.calls += 1
            kind.tokens += counted
        self._asked.add(digest)
        seen = self.items - self.refused - 1
        if seen < self.sample:
            self.sampled.append((seen, counted, item))
        elif self.sample and (place := self._random.randrange(seen + 1)) < self.sample:
            self.sampled[place] = (seen, counted, item)

    def _kind_of(self, item: Item, job: Job) -> CallKind:
        own = (item.model, item.options, item.schema, item.tools, item.response_format)
        key = b"" if own == (None,) * len(own) else msgspec.json.encode(own)
        kind = self._kinds.get(key)
        if kind is None:
            profile = self._profile if item.model is None else self._profile_of(item.model)
            kind = self._kinds[key] = CallKind(job, profile)
        return kind

    def _count(self, job: Job) -> float:
        texts, media = texts_of(job)
        size = sum(map(len, texts))
        known, characters = self._ratio
        if self.items > ALL_COUNTED and self.items % 10 and characters:
            counted = size * known / characters
        else:
            counted = sum(map(tokens_of, texts))
            self._ratio = known + counted, characters + size
        return counted + media * TOKENS_PER_MEDIUM + TOKENS_PER_MESSAGE * len(job.messages)

    @property
    def calls(self) -> int:
        """The number of calls, where each is answered at once."""
        return sum(kind.calls for kind in self._kinds.values())

    def forecast(self, calls: Sequence[SampledCall] = (), limits: Sequence[CallLimits] = ()) -> Forecast:
        """Return the forecast, by the `calls` of the sample where there are some."""
        kinds = self._kinds.values()
        factors = input_factors(calls)
        counted = sum(kind.tokens for kind in kinds)
        asked = Range(*(counted * factor for factor in factors))
        answer = answer_of_sample(calls)
        answered = times(answer, self.calls) if answer else added(kind.answers() for kind in kinds)
        costs = [call.cost for call in calls if call.cost is not None]
        if len(costs) > 1 and len(costs) == len(calls):
            cost: Range | None = times(spread(costs, 2 * MIN_ERROR), self.calls)
        else:
            each = [kind.cost(factors, answer) for kind in kinds]
            known = [one for one in each if one is not None]
            cost = added(known) if len(known) == len(each) else None
        return Forecast(
            model=self._template.model,
            items=self.items,
            refused=self.refused,
            too_long=self.too_long,
            equal=self.items - self.refused - len(self._asked),
            calls=self.calls,
            input_tokens=asked.rounded(),
            output_tokens=answered.rounded(),
            cost_usd=in_nano(cost),
            minutes=minutes_at(limits, self.calls, asked.expected + answered.expected),
            sampled=len(calls),
        )


def guessed_answer(job: Job) -> Range:
    """Return the tokens of an answer, by its schema: no more than its maximum, and any may be shorter."""
    expected, most = expected_answer(job.schema), job.options.max_tokens
    if most is not None:
        expected = min(expected, most)
    high = expected_answer(job.schema) * ERROR_OF_ANSWER
    return Range(expected, expected / ERROR_OF_ANSWER, high if most is None else min(high, most))


def tokens_of_request(job: Job) -> float:
    """Return the tokens of a call beside its messages: of its tools, and what `tokens_of_call` counts."""
    beside = [part for part in (job.tools, job.response_format) if part is not None]
    return tokens_of_call(job.model, job.schema, job.mode) + sum(
        tokens_of(msgspec.json.encode(part).decode()) for part in beside
    )


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


def input_factors(calls: Sequence[SampledCall] = ()) -> Range:
    """Return by what the counted tokens are to be multiplied."""
    known = [call for call in calls if call.counted and not call.usage.unknown]
    if not known:
        return Range(1.0, 1 - ERROR_OF_COUNT, 1 + ERROR_OF_COUNT)
    ratio = sum(call.usage.input_tokens for call in known) / sum(call.counted for call in known)
    if len(known) == 1:
        return Range(ratio, ratio * (1 - ERROR_OF_COUNT), ratio * (1 + ERROR_OF_COUNT))
    error = spread([call.usage.input_tokens / call.counted for call in known], MIN_ERROR)
    part = (error.high - error.expected) / error.expected if error.expected else ERROR_OF_COUNT
    return Range(ratio, ratio * (1 - part), ratio * (1 + part))


def answer_of_sample(calls: Sequence[SampledCall]) -> Range | None:
    """Return the tokens of an answer, by those of the sample; None without one."""
    if not calls:
        return None
    if len(calls) > 1:
        return spread([call.usage.output_tokens for call in calls], 2 * MIN_ERROR)
    expected = max(1, calls[0].usage.output_tokens)
    return Range(expected, expected / ERROR_OF_ANSWER, expected * ERROR_OF_ANSWER)


def added(ranges: Iterable[Range]) -> Range:
    """Return the sum: what is wrong of one is taken to be wrong of all, so the interval is no narrower for their number."""
    expected = low = high = 0.0
    for each in ranges:
        expected, low, high = expected + each.expected, low + each.low, high + each.high
    return Range(expected, low, high)


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


def limits_in_force(records: Iterable[LimitRecord], model: str) -> list[CallLimits]:
    """Return the limits that workers keep for a model, `provider/model`: its own and its provider's, configured and learnt."""
    return [
        CallLimits(
            requests_per_min=kept.get("requests"), tokens_per_min=kept.get("tokens"), in_flight=kept.get("in_flight")
        )
        for record in records
        if record.name in (model, model.partition("/")[0])
        for kept in (record.configured, record.learnt)
        if kept
    ]


def minutes_at(limits: Sequence[CallLimits], calls: int, tokens: float) -> float | None:
    """Return the minutes that limits allow no less than; None without limits."""
    needed = [calls / each.requests_per_min for each in limits if each.requests_per_min]
    needed += [tokens / each.tokens_per_min for each in limits if each.tokens_per_min]
    return round(max(needed), 1) if needed else None
