"""What is kept, what is asked again, and who is asked instead (providers 7, statements 128 to 146)."""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from fake_transport import CLASSES, FakeTransport, T, answer, ask, call_of, model_of
from headrace_providers import ChatCompletion, Model
from headrace_providers.cache import MemoryCache
from headrace_providers.model_gateway import Deployment, ModelGateway, ModelRouterError
from headrace_providers.retry import Retry

from headrace.chat.completion import Usage
from headrace.chat.tools import ToolDefinitions
from headrace.errors import CallError, InputError, SettingsError
from headrace.flows.react import ReAct
from headrace.portal import run
from headrace.spend.prices import Profile, cost_of, profile_of

FORMS = ("sync", "async")
pytestmark = pytest.mark.parametrize("form", FORMS)
QUICK = Retry(first_s=0, longest_s=0)
DOWN = CallError("provider_unavailable", "500", status=500)
WRONG = CallError("invalid_request", "400", status=400)


class P(msgspec.Struct):
    a: int


def remembering(*script: Any, **words: Any) -> tuple[ChatCompletion, FakeTransport]:
    transport = FakeTransport(*script)
    return model_of("openai", transport, **{"enable_cache": True, "retry": False, **words}), transport


@pytest.mark.parametrize(
    ("content", "call"),
    [
        pytest.param("hi", {}, id="c128-text"),
        pytest.param("<a>1</a>", {"typed_parser": "typed_xml"}, id="c128-parser"),
        pytest.param("hi", {"prefilling": "p"}, id="c128-prefilling"),
        pytest.param('{"a":1}', {"generation_schema": P}, id="c129-schema"),
        pytest.param("hi", {"tool_definitions": ToolDefinitions(schemas=[T])}, id="c129-tools"),
        pytest.param(
            '{"thought":"t","actions":null,"final_answer":"a"}', {"generation_schema": ReAct}, id="c129-react"
        ),
        pytest.param("hi", {"tool_definitions": ToolDefinitions()}, id="c129-no-tools"),
    ],
)
def test_c128_c129_the_same_question_is_paid_once(form: str, content: str, call: dict[str, Any]) -> None:
    model, transport = remembering(answer(content))
    first, second = ask(model, form, **call), ask(model, form, **call)
    assert len(transport.requests) == 1
    info = model.cache_info()
    assert (info.hits, info.misses, info.currsize) == (1, 1, 1)
    assert (first.data, first.cached, second.data, second.cached) == (second.data, False, first.data, True)


def test_c130_another_question_is_another(form: str) -> None:
    cache, transport = MemoryCache(), FakeTransport()
    questions: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {}),
        ({"temperature": 0}, {}),
        ({"temperature": 0.5}, {}),
        ({"extra_body": {"a": 1}}, {}),
        ({"base_url": "http://other/v1"}, {}),
        ({"tenant": "b"}, {}),
        ({"return_reasoning": False}, {}),
        ({}, {"system_prompt": "s"}),
        ({}, {"prefilling": "p"}),
    ]
    for words, call in questions:
        ask(model_of("openai", transport, cache=cache, **words), form, **call)
    assert len(transport.requests) == len(questions)
    ask(model_of("vllm", transport, cache=cache, base_url="https://api.openai.com/v1"), form)
    assert len(transport.requests) == len(questions) + 1


def test_c131_a_schema_is_more_than_its_name(form: str) -> None:
    model, transport = remembering(answer("<a>1</a>"))
    for fields in ([("a", str)], [("b", str)]):
        schema = msgspec.defstruct("Same", fields)
        ask(model, form, generation_schema=schema, typed_parser="typed_xml")
    assert len(transport.requests) == 2


def test_c132_a_hit_is_a_copy(form: str) -> None:
    model, _ = remembering(answer(None, finish="tool_calls", tool_calls=[call_of()]))
    first = ask(model, form)
    first.data.insert_results({"call_1": "changed"})
    first.metadata["usage"]["prompt_tokens"] = 99
    second = ask(model, form)
    assert second.metadata["usage"]["prompt_tokens"] == 3
    assert "no result" in second.data.get_messages()[1]["content"]


def test_c133_the_least_recently_used_goes_first(form: str) -> None:
    model, transport = remembering(cache_size=2)
    for question in ("a", "b", "a", "c", "a"):
        ask(model, form, question)
    assert len(transport.requests) == 3
    ask(model, form, "b")
    assert len(transport.requests) == 4

    async def overwrite() -> list[bytes | None]:
        cache = MemoryCache(2)
        for key in ("a", "b", "b"):
            await cache.set(key, key.encode())
        return [await cache.get("a"), await cache.get("b")]

    assert run(overwrite()) == [b"a", b"b"]


@pytest.mark.parametrize(("size", "asked"), [(0, 3), (None, 1)])
def test_c134_no_size_is_no_cache_and_none_is_no_bound(form: str, size: int | None, asked: int) -> None:
    model, transport = remembering(cache_size=size)
    for _ in range(3):
        assert ask(model, form).data == "hi"
    assert len(transport.requests) == asked


@pytest.mark.parametrize(
    "script",
    [
        answer("half", finish="length"),
        answer("half", finish="content_filter"),
        answer(None, refusal="No."),
        answer(None),
        DOWN,
    ],
)
def test_c135_what_is_no_whole_answer_is_not_kept(form: str, script: Any) -> None:
    model, transport = remembering(script)
    for _ in range(2):
        try:
            ask(model, form)
        except CallError:
            assert script is DOWN
    assert len(transport.requests) == 2
    assert model.cache_info().currsize == 0


def test_c136_clear_forgets_everything(form: str) -> None:
    model, transport = remembering()
    ask(model, form)
    model.cache_clear()
    assert model.cache_info()[:2] + model.cache_info()[3:] == (0, 0, 0)
    ask(model, form)
    assert len(transport.requests) == 2


def test_d087_those_who_ask_at_once_pay_once(form: str) -> None:
    model, transport = remembering([0.2, answer()])
    if form == "sync":
        threads = [threading.Thread(target=model, args=("x",)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    else:

        async def together() -> None:
            await asyncio.gather(*(model.acall("x") for _ in range(8)))

        run(together())
    assert len(transport.requests) == 1


def test_d087_a_kept_answer_ends(form: str) -> None:
    async def late() -> bytes | None:
        cache = MemoryCache(ttl_s=0)
        await cache.set("a", b"a")
        await asyncio.sleep(0.01)
        return await cache.get("a")

    assert run(late()) is None


@pytest.mark.parametrize("provider", CLASSES)
def test_c137_the_default_asks_again(form: str, provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Retry, "backoff_s", lambda self, attempt: 0)
    transport = FakeTransport(DOWN, DOWN, answer("ok"))
    assert ask(model_of(provider, transport), form).data == "ok"
    assert len(transport.requests) == 3


def test_d090_five_attempts_in_all(form: str) -> None:
    transport = FakeTransport(DOWN)
    with pytest.raises(CallError):
        ask(model_of("openai", transport, retry=QUICK), form)
    assert len(transport.requests) == 5


def test_c138_no_retry(form: str) -> None:
    transport = FakeTransport(DOWN)
    with pytest.raises(CallError):
        ask(model_of("openai", transport, retry=False), form)
    assert len(transport.requests) == 1


@pytest.mark.parametrize("code", ["invalid_request", "auth", "payment", "not_found"])
def test_c139_what_will_not_change_is_not_asked_again(form: str, code: str) -> None:
    transport = FakeTransport(CallError(code, code))
    with pytest.raises(CallError):
        ask(model_of("openai", transport, retry=Retry(attempts=3, first_s=0)), form)
    assert len(transport.requests) == 1


def test_c139_a_policy_of_ones_own(form: str) -> None:
    transport = FakeTransport(DOWN)
    with pytest.raises(CallError):
        ask(model_of("openai", transport, retry=Retry(attempts=3, first_s=0)), form)
    assert len(transport.requests) == 3


def test_c140_retry_after_is_waited_out(form: str) -> None:
    transport = FakeTransport(CallError("rate_limited", "429", status=429, retry_after_s=1.0), answer("ok"))
    assert ask(model_of("openai", transport, retry=QUICK), form).data == "ok"
    assert transport.times[1] - transport.times[0] >= 1.0


def test_a_retry_after_of_an_hour_is_not_waited_out(form: str) -> None:
    transport = FakeTransport(CallError("rate_limited", "429", status=429, retry_after_s=3600.0), answer("ok"))
    with pytest.raises(CallError) as raised:
        ask(model_of("openai", transport), form)
    assert raised.value.retry_after_s == 3600


def test_the_provider_knows_better_whether_to_ask_again(form: str) -> None:
    transport = FakeTransport(CallError("provider_unavailable", "500", status=500, retryable=False), answer("ok"))
    with pytest.raises(CallError):
        ask(model_of("openai", transport, retry=QUICK), form)
    assert len(transport.requests) == 1


def gateway(a: Any, b: Any, **of_a: Any) -> tuple[ModelGateway, FakeTransport, FakeTransport]:
    first, second = FakeTransport(a), FakeTransport(b)
    deployments = [
        {"model_name": "A", "model": model_of("openai", first, retry=False), **of_a},
        Deployment(model_name="B", model=model_of("vllm", second, retry=False)),
    ]
    return ModelGateway(deployments, now=lambda: datetime(2026, 1, 1, 12, 0, tzinfo=UTC)), first, second


def through(form: str, made: ModelGateway, messages: Any = "x", **words: Any) -> Any:
    return made(messages, **words) if form == "sync" else run(made.acall(messages, **words))


def test_c141_the_next_one_answers(form: str) -> None:
    made, first, second = gateway(DOWN, answer("b"))
    response = through(form, made)
    assert (response.data, response.metadata["deployment"]) == ("b", "B")
    assert (len(first.requests), len(second.requests)) == (1, 1)
    made, *_ = gateway(DOWN, CallError("timeout", "late"))
    with pytest.raises(ModelRouterError, match=r"A \(openai\).*B \(vllm\)") as raised:
        through(form, made)
    assert [(name, provider) for name, provider, _ in raised.value.failures] == [("A", "openai"), ("B", "vllm")]


WINDOWS = [
    (("11:00", "13:00"), False),
    (("12:00", "12:00"), False),
    (("11:00", "12:00"), True),
    (("13:00", "12:00"), True),
    (("22:00", "13:00"), False),
]
"""Windows in which a deployment rests, and whether it is asked at 12:00."""


def test_c142_preference_and_windows(form: str) -> None:
    made, first, _ = gateway(answer("a"), answer("b"))
    assert through(form, made, model_preference="B").data == "b"
    assert first.requests == []
    with pytest.raises(InputError, match="A, B"):
        through(form, made, model_preference="C")
    for window, asked in WINDOWS:
        made, first, _ = gateway(answer("a"), answer("b"), time_constraints=[window])
        assert through(form, made, model_preference="A").data == ("a" if asked else "b")
    first = FakeTransport()
    resting = [{"model_name": "A", "model": model_of("openai", first), "time_constraints": [("00:00", "00:00")]}]
    with pytest.raises(ModelRouterError, match="time constraints"):
        through(form, ModelGateway(resting))
    assert first.requests == []


@pytest.mark.parametrize("words", [{"messages": None}, {"top_logprobs": 2}])
def test_c143_the_callers_mistake_is_not_another_deployments(form: str, words: dict[str, Any]) -> None:
    made, first, second = gateway(answer("a"), answer("b"))
    with pytest.raises(InputError):
        through(form, made, **words)
    made, first, second = gateway(WRONG, answer("b"))
    with pytest.raises(CallError, match="400"):
        through(form, made)
    assert (len(first.requests), second.requests) == (1, [])


def test_c144_streams_fall_back_before_the_first_chunk(form: str) -> None:
    made, first, _ = gateway(DOWN, answer("b"))
    stream = through(form, made, stream=True)
    assert list(stream.consume()) == ["b"]
    assert len(first.requests) == 1


@pytest.mark.parametrize(
    "deployments",
    [
        [],
        None,
        [5],
        [{"model_name": "A"}],
        [{"model_name": "", "model": None}],
        [{"model_name": "A", "model": 5}],
        [{"model_name": "A", "model": None, "time_constraints": ["x"]}],
    ],
)
def test_d097_a_gateway_of_nothing(form: str, deployments: Any) -> None:
    with pytest.raises(InputError, match="deployments"):
        ModelGateway(deployments)
    model = model_of("openai")
    with pytest.raises(InputError, match="twice"):
        ModelGateway([{"model_name": "A", "model": model}] * 2)
    with pytest.raises(InputError, match="25:00"):
        ModelGateway([{"model_name": "A", "model": model, "time_constraints": [("25:00", "1:00")]}])


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
    made, *_ = gateway(answer(), answer(), time_constraints=[["22:00", "06:00"]])
    config = json.loads(json.dumps(made.serialize()))
    assert ModelGateway.from_config(config, api_key="k").serialize() == config


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
