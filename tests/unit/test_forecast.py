"""Forecasts of items that differ: each with its own model, schema, tools and longest answer."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.batches.build import make_template
from headrace.batches.forecast import Forecast, Forecaster, Range, SampledCall, limits_in_force
from headrace.batches.template import Item
from headrace.chat.call_limits import CallLimits
from headrace.chat.completion import Usage
from headrace.chat.options import Options
from headrace.ledger.limit_record import LimitRecord
from headrace.spend.prices import Profile

CHEAP, DEAR = Profile(input=1, output=1, context_length=4000), Profile(input=100, output=100)
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer", "description": "a number " * 40}}}


def item(number: int, **own: Any) -> Item:
    return Item(custom_id=str(number), messages=[{"role": "user", "content": "What is it?"}], **own)


def forecast(items: list[Item], *, cache: bool = False, **words: Any) -> Forecast:
    template, _ = make_template("openai/cheap", "{text}", cache=cache)
    forecaster = Forecaster(template, CHEAP, profile_of={"openai/dear": DEAR}.get)
    for each in items:
        forecaster.add(each)
    return forecaster.forecast(**words)


def test_an_item_costs_what_its_own_model_costs() -> None:
    of_cheap, of_both = forecast([item(1), item(2)]), forecast([item(1), item(2, model="openai/dear")])
    assert of_cheap.cost_usd is not None
    assert of_both.cost_usd is not None
    assert of_both.cost_usd.expected == pytest.approx(of_cheap.cost_usd.expected / 2 * 101)
    assert forecast([item(1), item(2, model="openai/unknown")]).cost_usd is None


def test_schemas_and_tools_of_an_items_own_are_counted() -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}
    plain = forecast([item(1)]).input_tokens.expected
    assert forecast([item(1, schema=SCHEMA)]).input_tokens.expected > plain + 40
    assert forecast([item(1, tools=[tool])]).input_tokens.expected > plain + 40


def test_no_answer_is_longer_than_its_maximum_and_any_may_be_shorter() -> None:
    answers = forecast([item(1, options=Options(max_tokens=30)), item(2, options=Options(max_tokens=30))]).output_tokens
    assert (answers.expected, answers.high) == (60, 60)
    assert answers.low < 10


def test_equal_items_are_one_call_where_answers_are_cached() -> None:
    items = [item(1), item(2), item(3, model="openai/dear")]
    assert (forecast(items).calls, forecast(items).equal) == (3, 1)
    cached = forecast(items, cache=True)
    assert (cached.calls, cached.equal) == (2, 1)
    assert cached.input_tokens.expected == pytest.approx(forecast(items).input_tokens.expected * 2 / 3, abs=1)


def test_a_sample_tells_how_long_answers_are() -> None:
    calls = [SampledCall(10.0, Usage(20, tokens), 0.5) for tokens in (90, 110)]
    told = forecast([item(1), item(2)], calls=calls)
    assert told.output_tokens.expected == 200
    assert told.cost_usd is not None
    assert told.cost_usd.expected == pytest.approx(1.0)
    assert isinstance(told.cost_usd, Range)


def test_the_time_is_that_of_the_limits_in_force() -> None:
    records = [
        LimitRecord(name="openai", configured={"requests": 600}),
        LimitRecord(name="openai/cheap", learnt={"requests": 2, "tokens": 10**6}),
        LimitRecord(name="openai/dear", configured={"requests": 1}),
    ]
    limits = limits_in_force(records, "openai/cheap")
    assert limits == [CallLimits(requests_per_min=600), CallLimits(requests_per_min=2, tokens_per_min=10**6)]
    assert forecast([item(n) for n in range(10)], limits=limits).minutes == 5.0
    assert forecast([item(1)], limits=limits_in_force([], "openai/cheap")).minutes is None
