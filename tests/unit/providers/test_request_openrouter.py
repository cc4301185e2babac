"""Bodies for OpenRouter (statements 33 to 45): reasoning, plug-ins, web search, attribution, routing."""

from __future__ import annotations

from typing import Any

import pytest
from fake_transport import FORMS, FakeTransport, T, ask, body_of, model_of, refused

from headrace.chat.tools import ToolDefinitions
from headrace.errors import InputError

pytestmark = [pytest.mark.parametrize("form", FORMS), pytest.mark.usefixtures("no_provider_variables")]


def test_c033_openrouter_without_tools(form: str) -> None:
    assert not body_of("openrouter", form).keys() & {"tools", "tool_choice"}


def test_c034_openrouter_with_tools_chooses_by_itself(form: str) -> None:
    assert body_of("openrouter", form, call={"tool_definitions": ToolDefinitions(schemas=[T])})["tool_choice"] == "auto"


def test_c035_effort_is_in_the_reasoning_object(form: str) -> None:
    body = body_of("openrouter", form, reasoning_effort="high")
    assert body["reasoning"] == {"effort": "high"}
    assert "reasoning_effort" not in body


def test_c036_the_budget_is_in_the_reasoning_object(form: str) -> None:
    body = body_of("openrouter", form, reasoning_max_tokens=2000)
    assert body["reasoning"] == {"max_tokens": 2000}
    assert "reasoning_max_tokens" not in body


@pytest.mark.parametrize(
    "words",
    [
        {"reasoning_effort": "high", "reasoning_max_tokens": 5},
        {"reasoning_effort": "high", "extra_body": {"reasoning": {"max_tokens": 5}}},
        {"reasoning_max_tokens": 5, "extra_body": {"reasoning": {"effort": "low"}}},
    ],
)
def test_c037_effort_and_budget_exclude_each_other(form: str, words: dict[str, Any]) -> None:
    refused(form, InputError, "reasoning_max_tokens", "openrouter", **words)
    assert model_of("openrouter", reasoning_effort="", reasoning_max_tokens=5)


def test_c038_reasoning_is_merged(form: str) -> None:
    body = body_of("openrouter", form, reasoning_effort="high", extra_body={"reasoning": {"exclude": True}})
    assert body["reasoning"] == {"effort": "high", "exclude": True}


SEARCH = {"model_id": "anthropic/x", "web_search_options": {"max_results": 3}}


def test_c039_web_search_is_a_plugin(form: str) -> None:
    body = body_of("openrouter", form, **SEARCH)
    assert body["plugins"] == [{"id": "web", "max_results": 3}]
    assert "web_search_options" not in body


def test_c040_plugins_are_merged_by_id(form: str) -> None:
    body = body_of("openrouter", form, **SEARCH, extra_body={"plugins": [{"id": "file-parser"}]})
    assert body["plugins"] == [{"id": "file-parser"}, {"id": "web", "max_results": 3}]
    extra = {"plugins": [{"id": "file-parser"}, {"id": "web", "engine": "exa"}]}
    body = body_of("openrouter", form, **SEARCH, extra_body=extra)
    assert body["plugins"] == [{"id": "file-parser"}, {"id": "web", "engine": "exa", "max_results": 3}]


@pytest.mark.parametrize("model", ["openai/gpt-5", "~openai/gpt-5"])
def test_c041_openais_own_models_search_at_the_top(form: str, model: str) -> None:
    options = {"search_context_size": "high"}
    body = body_of("openrouter", form, model_id=model, web_search_options=options)
    assert body["web_search_options"] == options
    assert "plugins" not in body


def test_c042_a_vendor_is_not_a_part_of_a_name(form: str) -> None:
    body = body_of("openrouter", form, model_id="gpt-openai-like/x", web_search_options={})
    assert body["plugins"] == [{"id": "web"}]


def test_c043_the_location_is_flat_in_the_plugin(form: str) -> None:
    place = {"city": "Bern", "country": "CH"}
    options = {"search_context_size": "high", "user_location": {"type": "approximate", "approximate": place}}
    body = body_of("openrouter", form, model_id="anthropic/x", web_search_options=options)
    assert body["plugins"] == [{"id": "web", "user_location": {"type": "approximate", **place}}]


def test_c044_attribution_headers_can_be_set(form: str) -> None:
    transport = FakeTransport()
    ask(model_of("openrouter", transport), form)
    ask(
        model_of("openrouter", transport, extra_headers={"http-referer": "https://mine.example", "X-Title": "mine"}),
        form,
    )
    first, second = (request.headers for request in transport.requests)
    assert first["HTTP-Referer"].startswith("https://")
    assert first["X-OpenRouter-Title"]
    assert (second["http-referer"], second["X-Title"]) == ("https://mine.example", "mine")
    assert "HTTP-Referer" not in second


def test_c045_routing_goes_to_the_top(form: str) -> None:
    extra = {"provider": {"order": ["a"]}, "models": ["b"]}
    assert body_of("openrouter", form, extra_body=extra).items() >= extra.items()


def test_d012_thinking_at_openrouter(form: str) -> None:
    assert body_of("openrouter", form, enable_thinking=True)["reasoning"] == {"enabled": True}
