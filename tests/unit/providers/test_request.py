"""What reaches the wire: parameters, addresses, headers, each provider's own form (statements 1 to 32)."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import pytest
from fake_transport import CLASSES, FORMS, FakeTransport, T, answer, ask, body_of, model_of, refused
from headrace_providers import OpenAIChatCompletion, OpenRouterChatCompletion, VLLMChatCompletion

from headrace.chat.tools import ToolDefinitions
from headrace.errors import InputError, SettingsError

pytestmark = [pytest.mark.parametrize("form", FORMS), pytest.mark.usefixtures("no_provider_variables")]

TOOLS = {"tool_definitions": ToolDefinitions(schemas=[T])}


def nulls(value: Any) -> bool:
    if isinstance(value, dict):
        return any(nulls(inner) for inner in value.values())
    return value is None or (isinstance(value, list) and any(map(nulls, value)))


def test_c001_nothing_but_the_model_and_the_messages(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-one")
    transport = FakeTransport()
    ask(OpenAIChatCompletion("m", transport=transport), form)
    (request,) = transport.requests
    assert request.url == "https://api.openai.com/v1/chat/completions"
    assert request.headers["Authorization"] == "Bearer sk-one"
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    assert request.body == (
        body | {"stream": True, "stream_options": {"include_usage": True}} if form == "stream" else body
    )


@pytest.mark.parametrize(
    ("provider", "name", "other", "more"),
    [
        pytest.param("openai", "max_completion_tokens", "max_tokens", {}, id="c002"),
        pytest.param("vllm", "max_tokens", "max_completion_tokens", {}, id="c003"),
        pytest.param("openrouter", "max_tokens", "max_completion_tokens", TOOLS, id="c004"),
    ],
)
def test_c002_c003_c004_the_cap_has_the_providers_name(
    form: str, provider: str, name: str, other: str, more: dict[str, Any]
) -> None:
    body = body_of(provider, form, max_tokens=5, call=more)
    assert body[name] == 5
    assert other not in body


@pytest.mark.parametrize("provider", CLASSES)
@pytest.mark.parametrize("call", [{}, TOOLS])
def test_c005_without_a_cap_no_token_key_and_no_null(form: str, provider: str, call: dict[str, Any]) -> None:
    body = body_of(provider, form, call=call)
    assert not body.keys() & {"max_tokens", "max_completion_tokens"}
    assert not nulls(body)


@pytest.mark.parametrize("provider", CLASSES)
def test_c006_zero_is_a_value(form: str, provider: str) -> None:
    body = body_of(provider, form, temperature=0, top_p=0)
    assert (body["temperature"], body["top_p"]) == (0, 0)


def test_c007_options_keep_their_names_and_values(form: str) -> None:
    options = {"temperature": 0.7, "top_p": 0.9, "stop": ["a", "b"], "verbosity": "low"}
    assert body_of("openai", form, **options).items() >= options.items()


@pytest.mark.parametrize("stop", ["", []])
def test_c008_an_empty_stop_is_none(form: str, stop: Any) -> None:
    assert "stop" not in body_of("openai", form, stop=stop)


def test_c009_an_empty_object_is_a_value(form: str) -> None:
    assert body_of("openai", form, web_search_options={})["web_search_options"] == {}


def test_c010_logprobs_of_the_constructor(form: str) -> None:
    assert (
        body_of("openai", form, logprobs=True, top_logprobs=3).items() >= {"logprobs": True, "top_logprobs": 3}.items()
    )


@pytest.mark.parametrize("provider", ["vllm", "openrouter"])
def test_c011_logprobs_of_the_constructor_elsewhere(form: str, provider: str) -> None:
    assert body_of(provider, form, logprobs=True, call=TOOLS)["logprobs"] is True


@pytest.mark.parametrize("provider", CLASSES)
def test_c012_logprobs_of_the_call(form: str, provider: str) -> None:
    body = body_of(provider, form, call={"logprobs": True, "top_logprobs": 2})
    assert (body["logprobs"], body["top_logprobs"]) == (True, 2)


def test_c013_top_logprobs_need_logprobs(form: str) -> None:
    refused(form, InputError, "logprobs", call={"top_logprobs": 2})


def test_c014_the_constructors_logprobs_count(form: str) -> None:
    body = body_of("openai", form, logprobs=True, call={"top_logprobs": 2})
    assert (body["logprobs"], body["top_logprobs"]) == (True, 2)


def test_c015_top_logprobs_of_the_constructor_alone(form: str) -> None:
    refused(form, InputError, "logprobs", top_logprobs=2)


@pytest.mark.parametrize("provider", ["openai", "vllm"])
def test_c016_reasoning_effort_at_the_top(form: str, provider: str) -> None:
    assert body_of(provider, form, reasoning_effort="high")["reasoning_effort"] == "high"


@pytest.mark.parametrize(("provider", "sent"), [("openai", "24h"), ("vllm", None), ("openrouter", None)])
def test_c017_prompt_cache_retention_is_openais(form: str, provider: str, sent: str | None) -> None:
    assert body_of(provider, form, prompt_cache_retention="24h").get("prompt_cache_retention") == sent


def test_c018_modalities_and_audio_verbatim(form: str) -> None:
    options = {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}
    assert body_of("openai", form, **options).items() >= options.items()


def test_c019_the_extra_body_is_merged_and_not_changed(form: str) -> None:
    extra = {"reference": 1, "nested": {"a": [1]}}
    before = copy.deepcopy(extra)
    body = body_of("openai", form, extra_body=extra)
    assert (body["reference"], body["nested"]) == (1, {"a": [1]})
    body["nested"]["a"].append(2)
    assert extra == before


@pytest.mark.parametrize("key", ["model", "messages", "stream", "stream_options"])
def test_c020_reserved_keys_are_refused(form: str, key: str) -> None:
    refused(form, InputError, key, extra_body={key: "zzz"})
    refused(form, InputError, key, call={"extra_body": {key: "zzz"}})


def test_c021_drops_options_unknown_to_openai(form: str) -> None:
    body = body_of("openai", form, enable_thinking=True, reasoning_max_tokens=7, context_length=9)
    assert body.keys() == {"model", "messages"}


def test_c022_no_key_is_said_at_once(form: str) -> None:
    with pytest.raises(ValueError, match="OPENAI_API_KEY"):
        OpenAIChatCompletion("m")


def test_c023_vllm_without_any_variable(form: str) -> None:
    transport = FakeTransport()
    ask(VLLMChatCompletion("m", transport=transport), form)
    (request,) = transport.requests
    assert request.url == "http://localhost:8000/v1/chat/completions"
    assert request.headers["Authorization"] == "Bearer vllm"


def test_c024_the_argument_before_the_variable_before_the_default(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_BASE_URL", "http://h:1/v1")
    assert VLLMChatCompletion("m", base_url="http://g/v1").base_url == "http://g/v1"
    assert VLLMChatCompletion("m").base_url == "http://h:1/v1"
    monkeypatch.setenv("VLLM_BASE_URL", "")
    transport = FakeTransport()
    ask(VLLMChatCompletion("m", transport=transport), form)
    assert transport.requests[0].url == "http://localhost:8000/v1/chat/completions"


def test_c025_openrouter_without_a_key(form: str) -> None:
    with pytest.raises(ValueError, match="OPENROUTER_API_KEY"):
        OpenRouterChatCompletion("m")


def test_c026_the_retries_of_the_environment(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_MAX_RETRIES", "4")
    assert model_of("openai").retry.attempts == 5
    monkeypatch.setenv("OPENAI_MAX_RETRIES", "four")
    with pytest.raises(SettingsError, match="OPENAI_MAX_RETRIES='four'"):
        model_of("openai")


def test_c027_the_timeout_of_the_environment(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert model_of("openai").deadlines.total_s == 600
    monkeypatch.setenv("OPENAI_TIMEOUT", "30")
    assert model_of("openai").deadlines.total_s == 30
    monkeypatch.setenv("OPENAI_TIMEOUT", "-1")
    with pytest.raises(SettingsError, match="OPENAI_TIMEOUT"):
        model_of("openai")


def test_c028_tracing_is_no_requirement(form: str) -> None:
    hide = "import sys; sys.modules['opentelemetry'] = None; import headrace_providers"
    if form == "sync":  # an import has no forms
        subprocess.run([sys.executable, "-c", hide], check=True, timeout=60)


def test_c029_thinking_is_an_argument_of_the_template(form: str) -> None:
    assert body_of("vllm", form, enable_thinking=False)["chat_template_kwargs"] == {"enable_thinking": False}


def test_c030_thinking_is_merged_with_the_callers_arguments(form: str) -> None:
    extra = {"chat_template_kwargs": {"a": 1, "enable_thinking": False}}
    body = body_of("vllm", form, enable_thinking=True, extra_body=extra)
    assert body["chat_template_kwargs"] == {"a": 1, "enable_thinking": True}
    assert extra == {"chat_template_kwargs": {"a": 1, "enable_thinking": False}}


def test_c032_vllm_goes_on_with_a_prefilling(form: str) -> None:
    body = body_of("vllm", form, call={"prefilling": "p"})
    assert body["messages"][-1] == {"role": "assistant", "content": "p"}
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)


@pytest.mark.parametrize("option", ["web_search_options", "verbosity", "modalities", "audio"])
def test_d016_vllm_is_not_sent_what_it_ignores(form: str, option: str) -> None:
    value: Any = {"verbosity": "low", "modalities": ["text"]}.get(option, {"voice": "a"})
    assert option not in body_of("vllm", form, **{option: value})


@pytest.mark.parametrize("provider", ["vllm", "openrouter"])
def test_d096_openais_account_is_not_shown_to_others(form: str, provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project")
    for name, sent in (("openai", True), (provider, False)):
        transport = FakeTransport()
        ask(model_of(name, transport), form)
        assert ("OpenAI-Organization" in transport.requests[0].headers) is sent
        assert ("OpenAI-Project" in transport.requests[0].headers) is sent


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ({"temprature": 0.1}, "temprature"),
        ({"temperature": 3}, "temperature"),
        ({"top_p": "high"}, "top_p"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"modalities": ["audio"]}, "audio"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"extra_headers": {"Authorization": "Bearer x"}}, "Authorization"),
        ({"extra_headers": {"X-A": "a\r\nB: c"}}, "X-A"),
        ({"base_url": "ftp://x"}, "base_url"),
        ({"base_url": "http://[::1"}, "base_url"),
        ({"base_url": 5}, "base_url"),
        ({"api_key": "two words"}, "key"),
        ({"api_key": 5}, "key"),
        ({"retry": 3}, "retry"),
        ({"cache_size": -1}, "cache_size"),
        ({"structured_output_mode": "x"}, "structured_output_mode"),
        ({"temperature": float("nan")}, "temperature"),
        ({"extra_body": {"a": float("nan")}}, "extra_body"),
        ({"extra_body": {"a": {1}}}, "extra_body"),
        ({"model_id": 5}, "model_id"),
        ({"call": {"temprature": 1}}, "temprature"),
        ({"call": {"logprobs": "yes"}}, "logprobs"),
        ({"call": {"extra_body": 5}}, "extra_body"),
        ({"call": {"tool_definitions": {"schemas": []}}}, "tools"),
        ({"call": {"system_prompt": 5}}, "system_prompt"),
        ({"call": {"prefilling": 5}}, "prefilling"),
    ],
)
def test_refuses_invalid_options_by_name(form: str, words: dict[str, Any], match: str) -> None:
    refused(form, InputError, match, **words)


def test_options_of_a_call_come_over_the_models_own(form: str) -> None:
    call = {"temperature": 0, "extra_body": {"b": 2}, "extra_headers": {"X-A": "1"}}
    transport = FakeTransport()
    ask(model_of("openai", transport, temperature=1, top_p=0.5, extra_body={"a": 1, "b": 1}), form, **call)
    assert transport.body.items() >= {"temperature": 0, "top_p": 0.5, "a": 1, "b": 2}.items()
    assert transport.requests[0].headers["X-A"] == "1"


def test_tools_may_be_functions(form: str) -> None:
    def f(a: int) -> int:
        """Add."""
        return a

    body = body_of("openai", form, call={"tool_definitions": [f, T | {"function": {**T["function"], "name": "g"}}]})
    assert [tool["function"]["name"] for tool in body["tools"]] == ["f", "g"]


def test_d082_any_true_value_streams(form: str) -> None:
    if form == "stream":
        transport = FakeTransport()
        model_of("openai", transport)("x", stream=1)
        assert transport.body["stream"] is True


def test_d018_an_empty_prefilling_is_none(form: str) -> None:
    body = body_of("vllm", form, call={"prefilling": ""})
    assert body.keys() == {"model", "messages"}


def test_the_answer_is_the_same_in_every_form(form: str) -> None:
    response = ask(model_of("openai", FakeTransport(answer("hello"))), form)
    assert (response.response_type, response.data) == ("text_generation", "hello")
