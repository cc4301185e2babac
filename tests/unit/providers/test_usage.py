"""What an answer cost: tokens as each provider tells them, by the service tier that answered; what cannot be read is unknown."""

from __future__ import annotations

from typing import Any

import pytest
from fake_transport import FORMS, FakeTransport, answer, ask, model_of
from headrace_providers.wire.reducer import Reducer
from headrace_providers.wire.usage import usage_of

from headrace.chat.completion import Usage
from headrace.errors import CallError
from headrace.spend.prices import Profile, TierPrices, cost_of, profile_of

USAGE = Usage(input_tokens=1_000_000, cached_tokens=500_000, output_tokens=100_000)
LIST = Profile(input=2, output=8, cache_read=0.5)  # 1.00 + 0.25 + 0.80


SAID = {"prompt_tokens": 9, "completion_tokens": 0}


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}, Usage(9, 2, 4)),
        ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_cache_hit_tokens": 4}, Usage(9, 2, 4)),  # DeepSeek
        ({"prompt_tokens": 9, "completion_tokens": 2, "cached_tokens": 4}, Usage(9, 2, 4)),  # Moonshot
        (
            SAID | {"prompt_tokens_details": {"cached_tokens": 3}, "prompt_cache_hit_tokens": 3},
            Usage(9, 0, 3),
        ),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 0,
                "prompt_tokens_details": {"cached_tokens": None},
                "cached_tokens": 4,
            },
            Usage(9, 0, 4),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 0, "prompt_tokens_details": None}, Usage(9)),
        (
            {"prompt_tokens": 0, "completion_tokens": 0, "completion_tokens_details": {"reasoning_tokens": 5}},
            Usage(reasoning_tokens=5),
        ),
        (5, Usage(unknown=True)),
        ({"prompt_tokens": "many", "completion_tokens": 2}, Usage(0, 2, unknown=True)),
        ({"prompt_tokens": -1, "completion_tokens": True}, Usage(unknown=True)),
        ({"prompt_tokens": 1e400, "completion_tokens": float("nan")}, Usage(unknown=True)),
        ({"prompt_tokens": 10**30, "completion_tokens": 2}, Usage(0, 2, unknown=True)),
        ({"prompt_tokens": 9, "prompt_tokens_details": [4]}, Usage(9, unknown=True)),
    ],
)
def test_tokens_as_each_provider_tells_them(usage: Any, counted: Usage) -> None:
    assert usage_of(usage) == counted


def test_an_unknown_usage_stays_unknown_in_a_sum_and_is_counted() -> None:
    both = Usage(1, 2) + Usage(3, 4, unknown=True)
    assert both == Usage(4, 6, unknown=True)
    assert both.counters() == {"input_tokens": 4, "output_tokens": 6, "usage_unknown": 1}
    assert Usage(1, 2).counters() == {"input_tokens": 1, "output_tokens": 2}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("usage", [5, {"prompt_tokens": "many"}])
def test_a_usage_that_cannot_be_read_costs_no_answer(form: str, usage: Any) -> None:
    response = ask(model_of("openai", FakeTransport(answer() | {"usage": usage}), "gpt-4.1"), form)
    assert response.data == "hi"
    assert "cost" not in response.metadata


@pytest.mark.parametrize(
    ("tier", "cost"),
    [
        (None, 2.05),
        ("default", 2.05),
        ("auto", 2.05),
        ("on_demand", 2.05),
        ("flex", 1.025),
        ("FLEX", 1.025),
        ("batch", 1.025),
        ("priority", None),
        ("scale", None),
    ],
)
def test_the_cost_of_a_tier_that_the_catalogue_does_not_know(tier: str | None, cost: float | None) -> None:
    assert LIST.cost(USAGE, tier) == (cost if cost is None else pytest.approx(cost))


def test_a_tier_with_prices_of_its_own_has_those() -> None:
    profile = Profile(input=2, output=8, tiers={"flex": TierPrices(input=1.5, output=6), "priority": TierPrices()})
    assert profile.cost(Usage(1_000_000, 100_000), "flex") == pytest.approx(2.1)
    assert profile.cost(Usage(1_000_000, 100_000), "priority") is None


@pytest.mark.parametrize("tier", ["flex", "priority", "batch"])
def test_prices_service_tiers_from_the_catalogue(tier: str) -> None:
    known = profile_of("openai", "openai", "gpt-5-mini")
    assert known
    listed, cost = known.cost(USAGE), known.cost(USAGE, tier)
    assert listed
    assert cost
    assert cost / listed == pytest.approx({"flex": 0.5, "batch": 0.5, "priority": 1.8}[tier], rel=0.01)


@pytest.mark.parametrize(
    ("said", "cost"), [(-1, None), (-0.5, None), (0, 0.0), (0.25, 0.25), (True, 2.05), ("1", 2.05)]
)
def test_takes_the_providers_cost_where_it_is_a_number(said: Any, cost: float | None) -> None:
    found = cost_of(LIST, USAGE, {"cost": said})
    assert found == (cost if cost is None else pytest.approx(cost))


def test_an_unknown_usage_has_no_cost() -> None:
    assert LIST.cost(Usage(5, 5, unknown=True)) is None


@pytest.mark.parametrize("form", FORMS)
def test_the_tier_that_answered_is_what_is_paid(form: str) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 100}
    known = profile_of("openai", "openai", "gpt-5-mini")
    assert known
    for tier in ("default", "flex", "priority"):
        script = answer() | {"usage": usage, "service_tier": tier}
        response = ask(model_of("openai", FakeTransport(script), "gpt-5-mini"), form)
        assert response.metadata["cost"] == pytest.approx(known.cost(Usage(1000, 100), tier))


@pytest.mark.parametrize("form", FORMS)
def test_an_aborted_answer_is_no_success(form: str) -> None:
    with pytest.raises(CallError) as raised:
        ask(model_of("vllm", FakeTransport(answer("half", finish="abort")), retry=False), form)
    assert (raised.value.code, raised.value.retryable, raised.value.partial) == ("provider_error", True, "half")


def test_groqs_usage_of_a_stream_is_counted() -> None:
    reducer = Reducer()
    reducer.add({"id": "c", "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]})
    reducer.add(
        {"id": "c", "choices": [], "x_groq": {"id": "req", "usage": {"prompt_tokens": 7, "completion_tokens": 3}}}
    )
    assert (reducer.usage, reducer.raw_usage) == (Usage(7, 3), {"prompt_tokens": 7, "completion_tokens": 3})
    reducer.add({"id": "c", "choices": [], "x_groq": 5})
    assert reducer.usage == Usage(7, 3)


def test_drops_side_fields_that_are_no_texts() -> None:
    reducer = Reducer()
    reducer.add(answer() | {"service_tier": {"a": 1}, "provider": 5, "system_fingerprint": "fp"})
    assert reducer.beside == {"system_fingerprint": "fp"}
    assert reducer.tier is None
