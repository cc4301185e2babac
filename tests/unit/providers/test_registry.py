"""Models by name and from a configuration (statements 145 and 146): prices, providers from settings alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fake_transport import CLASSES, FakeTransport, answer, ask, model_of
from headrace_providers import Model
from headrace_providers.model_gateway import ModelGateway
from headrace_providers.retry import Retry

from headrace.chat.completion import Usage
from headrace.errors import InputError, SettingsError
from headrace.spend.prices import Profile, cost_of, profile_of

FORMS = ("sync", "async")

pytestmark = pytest.mark.parametrize("form", FORMS)


def test_c145_cached_tokens_are_paid_once(form: str) -> None:
    usage = Usage(input_tokens=1000, cached_tokens=900, output_tokens=100)
    profile = Profile(input=2, output=8, cache_read=0.5)
    assert profile.cost(usage) == pytest.approx(0.00145)
    assert cost_of(profile, usage, {"cost": 0.5}) == 0.5
    assert cost_of(None, usage, {}) is None


def test_c145_prices_of_the_catalogue_and_of_a_local_file(
    form: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": 900}}
    script = answer() | {"usage": usage}
    known = profile_of("openai", "openai", "gpt-4.1")
    assert known
    assert known.context_length
    response = ask(model_of("openai", FakeTransport(script), "gpt-4.1"), form)
    assert response.metadata["cost"] == pytest.approx(known.cost(Usage(1000, 100, 900)))
    assert "cost" not in ask(model_of("vllm", FakeTransport(script), "gpt-4.1"), form).metadata
    path = tmp_path / f"{form}.json"
    path.write_text(json.dumps({"vllm/m": {"input": 2, "output": 8, "cache_read": 0.5, "context_length": 4096}}))
    monkeypatch.setenv("HEADRACE_PROFILES", str(path))
    model = model_of("vllm", FakeTransport(script))
    assert ask(model, form).metadata["cost"] == pytest.approx(0.00145)
    assert (model.profile() or known).context_length == 4096
    bad = tmp_path / f"{form}-bad.json"
    bad.write_text('{"vllm/m": {"inptu": 2}}')
    monkeypatch.setenv("HEADRACE_PROFILES", str(bad))
    with pytest.raises(SettingsError, match="inptu"):
        model_of("vllm")


def test_c146_configuration_there_and_back(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-secret")
    for provider in CLASSES:
        model = Model.chat_completion(
            f"{provider}/vendor/m",
            temperature=0,
            stop=["a"],
            extra_body={"a": 1},
            base_url="http://h/v1",
            enable_cache=True,
            cache_size=None,
            retry=Retry(attempts=2),
            return_reasoning=False,
        )
        config = json.loads(json.dumps(model.serialize()))
        assert "sk-secret" not in json.dumps(config)
        again = Model.from_config(config)
        assert again.serialize() == model.serialize()
        assert (type(again), again.options, again.switches, again.retry) == (
            type(model),
            model.options,
            model.switches,
            model.retry,
        )
        assert again.get_model_info() == {"model_id": "vendor/m", "provider": provider}


@pytest.mark.parametrize(
    "config",
    [
        5,
        {},
        {"provider": "vllm", "model_id": "m", "model_type": "embedding"},
        {"provider": "vllm", "model_id": "m", "model_type": "chat_completion", "bogus": 1},
        {"provider": "vllm", "model_id": "m", "model_type": "chat_completion", "options": [1]},
        {"provider": "vllm", "model_id": "m", "model_type": "chat_completion", "retry": {"attempts": 0}},
        {"provider": "nobody", "model_id": "m", "model_type": "chat_completion"},
    ],
)
def test_a_configuration_that_is_none(form: str, config: Any) -> None:
    with pytest.raises(InputError):
        Model.from_config(config)
    with pytest.raises(InputError, match="gateway"):
        ModelGateway.from_config({"models": [config]})


@pytest.mark.parametrize("model", ["m", "nope/m", "openai/", ""])
def test_a_model_that_is_not_there(form: str, model: str) -> None:
    with pytest.raises(InputError, match="openai, openrouter"):
        Model.chat_completion(model)


LLAMA = {
    "llama": {
        "like": "vllm",
        "base_url": "http://llama:1/v1",
        "key_variable": "LLAMA_KEY",
        "renamed": {"max_tokens": "n_predict"},
    }
}


def test_a_provider_from_settings_alone(form: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    path = tmp_path / "providers.json"
    path.write_text(json.dumps(LLAMA))
    for given in (json.dumps(LLAMA), str(path)):
        monkeypatch.setenv("HEADRACE_PROVIDERS", given)
        monkeypatch.setenv("LLAMA_KEY", "secret")
        transport = FakeTransport()
        ask(Model.chat_completion("llama/org/m", max_tokens=5, enable_thinking=True, transport=transport), form)
        (request,) = transport.requests
        assert request.url == "http://llama:1/v1/chat/completions"
        assert request.headers == {"Authorization": "Bearer secret"}
        assert (request.body["model"], request.body["n_predict"]) == ("org/m", 5)
        assert request.body["chat_template_kwargs"] == {"enable_thinking": True}
    monkeypatch.delenv("LLAMA_KEY")
    with pytest.raises(InputError, match="LLAMA_KEY"):
        Model.chat_completion("llama/m")


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ("{", "HEADRACE_PROVIDERS"),
        ("/nowhere/at/all", "nowhere"),
        ('{"x": {}}', "base_url"),
        ('{"x": {"base_url": "http://h", "bse": 1}}', "bse"),
        ('{"x": {"base_url": "http://h", "like": "y"}}', "/x/like"),
        ('{"openai": {"base_url": "http://h"}}', "built-in"),
        ('{"X y": {"base_url": "http://h"}}', "HEADRACE_PROVIDERS"),
    ],
)
def test_a_provider_that_cannot_be_registered(
    form: str, given: str, match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_PROVIDERS", given)
    with pytest.raises(SettingsError, match=match):
        Model.chat_completion("openai/m")
