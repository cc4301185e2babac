"""Forecast of jobs: what a list of requests will take and cost, before any of it is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from headrace.batches.forecast import (
    TOKENS_PER_MEDIUM,
    CallKind,
    Range,
    in_nano,
    input_factors,
    texts_of,
    tokens_of_request,
)
from headrace.jobs.job import Job
from headrace.spend.prices import Profile
from headrace.spend.token_count import TOKENS_PER_MESSAGE, tokens_of


class JobForecast(msgspec.Struct, frozen=True, kw_only=True):
    """A forecast of jobs. `cost_usd` is in US dollars, None when the price of one of the models is not known: these are
    `unpriced`. `too_long` jobs have more tokens than their model's context. Several choices (`n`) are several calls."""

    calls: int
    input_tokens: Range
    output_tokens: Range
    cost_usd: Range | None
    too_long: int = 0
    unpriced: Sequence[str] = ()


def forecast_jobs(jobs: Sequence[Job], profiles: Mapping[str, Profile]) -> JobForecast:
    """Return the forecast of `jobs`. `profiles` has the prices and context lengths of their models by name."""
    calls, too_long = 0, 0
    asked, answered, cost = Range(0, 0, 0), Range(0, 0, 0), Range(0, 0, 0)
    unpriced = set[str]()
    for job in jobs:
        kind, tokens = CallKind(job, profiles.get(job.model)), tokens_of_job(job)
        kind.calls = job.options.n or 1
        kind.tokens = tokens * kind.calls
        calls += kind.calls
        if kind.profile.context_length is not None and tokens > kind.profile.context_length:
            too_long += 1
        asked = added(asked, Range(*(kind.tokens * factor for factor in input_factors())))
        answered = added(answered, kind.answers())
        if (priced := kind.cost(input_factors(), None)) is None:
            unpriced.add(job.model)
        else:
            cost = added(cost, priced)
    return JobForecast(
        calls=calls,
        input_tokens=asked.rounded(),
        output_tokens=answered.rounded(),
        cost_usd=None if unpriced else in_nano(cost),
        too_long=too_long,
        unpriced=sorted(unpriced),
    )


def tokens_of_job(job: Job) -> float:
    texts, media = texts_of(job)
    own = sum(map(tokens_of, texts)) + media * TOKENS_PER_MEDIUM + TOKENS_PER_MESSAGE * len(job.messages)
    return own + tokens_of_request(job)


def added(total: Range, more: Range) -> Range:
    return Range(*map(sum, zip(total, more, strict=True)))
