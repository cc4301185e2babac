"""`HEADRACE_LIMITS`: what cannot be used is refused with the variable and the place in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.chat.call_limits import CallLimits, call_limits
from headrace.chat.provider_table import PROVIDERS, providers
from headrace.errors import SettingsError


def limits(value: Any) -> dict[str, CallLimits]:
    text = value if isinstance(value, str) else json.dumps(value)
    return call_limits({"HEADRACE_LIMITS": text}, PROVIDERS)


def test_limits_by_provider_and_by_model() -> None:
    found = limits({"openai": {"requests_per_min": 500, "in_flight": 8}, "vllm/m/x": {"tokens_per_min": 10**6}})
    assert found == {
        "openai": CallLimits(requests_per_min=500, in_flight=8),
        "vllm/m/x": CallLimits(tokens_per_min=10**6),
    }
    assert limits("") == limits("  ") == {}


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"openai": {"requests_per_min": 0}}, "/openai/requests_per_min: Expected `int` >= 1"),
        ({"openai": {"tokens_per_min": -5}}, "/openai/tokens_per_min: Expected `int` >= 1"),
        ({"openai": {"in_flight": 10**7}}, "/openai/in_flight: Expected `int` <= 1000000"),
        ({"openai": {"requests_per_min": 10**15}}, "/openai/requests_per_min: Expected `int` <="),
        ({"openai": {"requests_per_min": 1.5}}, "/openai/requests_per_min: Expected `int"),
        ({"openai": {"requests_per_min": "5 EUR"}}, "/openai/requests_per_min: Expected `int"),
        ({"vllm/m": {"rpm": 5}}, "/vllm~1m: Object contains unknown field `rpm`"),
        ({"vllm/m": {}}, "/vllm~1m: names no limit"),
        ({"vllm/": {"in_flight": 5}}, "/vllm~1: must be `provider` or `provider/model`"),
        ({"nobody": {"in_flight": 5}}, "/nobody: must be `provider` or `provider/model`; providers are openai"),
        ({"openai": 5}, "/openai: Expected `object`"),
        ([], "must be an object of limits"),
        ("{", "must be an object of limits"),
        ("/no/such/file", "(/no/such/file): cannot be read: No such file"),
    ],
)
def test_refuses_what_is_no_limit_and_says_where(value: Any, place: str) -> None:
    with pytest.raises(SettingsError) as refused:
        limits(value)
    assert str(refused.value).startswith("HEADRACE_LIMITS")
    assert place in str(refused.value)


def test_limits_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "limits.json").write_text('{"openai": {"in_flight": 3}}')
    assert limits(str(tmp_path / "limits.json")) == {"openai": CallLimits(in_flight=3)}


def test_a_registered_provider_may_have_limits_of_its_own() -> None:
    row = {"base_url": "http://127.0.0.1:9/v1", "limits": {"requests_per_min": 60}}
    rows = providers({"HEADRACE_PROVIDERS": json.dumps({"mine": row})})
    assert rows["mine"].limits == CallLimits(requests_per_min=60)
    with pytest.raises(SettingsError, match=r"HEADRACE_PROVIDERS.*requests_per_min"):
        providers({"HEADRACE_PROVIDERS": json.dumps({"mine": row | {"limits": {"requests_per_min": 0}}})})
