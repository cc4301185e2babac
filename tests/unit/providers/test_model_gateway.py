"""Several deployments behind one model (statements 141 to 144, 146): preference, context windows, fallback, configuration."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from fake_transport import FakeTransport, answer, model_of
from headrace_providers.model_gateway import Deployment, ModelGateway, ModelRouterError

from headrace.errors import CallError, InputError
from headrace.portal import run

FORMS = ("sync", "async")

pytestmark = pytest.mark.parametrize("form", FORMS)

DOWN = CallError("provider_unavailable", "500", status=500)

WRONG = CallError("invalid_request", "400", status=400)


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


def test_c146_a_gateways_configuration_there_and_back(form: str) -> None:
    made, *_ = gateway(answer(), answer(), time_constraints=[["22:00", "06:00"]])
    config = json.loads(json.dumps(made.serialize()))
    assert ModelGateway.from_config(config, api_key="k").serialize() == config
