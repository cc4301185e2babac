"""What a call says comes over what its model says, whichever name either of them uses."""

from __future__ import annotations

from typing import Any

import pytest
from fake_transport import FakeTransport, ask, model_of


@pytest.mark.parametrize(
    ("provider", "own", "call", "sent"),
    [
        ("vllm", {"enable_thinking": True}, {"chat_template_kwargs": {"enable_thinking": False}},
         {"chat_template_kwargs": {"enable_thinking": False}}),
        ("vllm", {"enable_thinking": False}, {"extra_body": {"enable_thinking": True}}, {"enable_thinking": True}),
        ("vllm", {"reasoning_effort": "high"}, {"reasoning": {"effort": "low"}}, {"reasoning_effort": "low"}),
        ("openrouter", {"reasoning_effort": "high"}, {"reasoning": {"effort": "low"}}, {"reasoning": {"effort": "low"}}),
        ("openrouter", {"reasoning_effort": "high"}, {"extra_body": {"reasoning_effort": "low"}},
         {"reasoning_effort": "low"}),
        ("openrouter", {"reasoning": {"effort": "high"}}, {"extra_body": {"reasoning_effort": "low"}},
         {"reasoning_effort": "low"}),
        ("openrouter", {"reasoning": {"effort": "high"}}, {"reasoning_effort": "low"}, {"reasoning": {"effort": "low"}}),
        ("openrouter", {"reasoning_effort": "high"}, {"extra_body": {"reasoning": {"effort": None}}},
         {"reasoning": {"effort": None}}),
        ("openrouter", {"web_search_options": {"max_results": 3, "engine": "exa"}},
         {"plugins": [{"id": "web", "max_results": 5}]}, {"plugins": [{"id": "web", "max_results": 5, "engine": "exa"}]}),
        ("openrouter", {"extra_body": {"plugins": [{"id": "web", "max_results": 1}, {"id": "a"}]}},
         {"extra_body": {"plugins": [{"id": "web", "engine": "exa"}]}},
         {"plugins": [{"id": "web", "max_results": 1, "engine": "exa"}, {"id": "a"}]}),
        ("vllm", {"structured_outputs": {"json": {}}}, {"extra_body": {"structured_outputs": {"regex": "x"}}},
         {"structured_outputs": {"regex": "x"}}),
        ("openrouter", {"plugins": [{"id": "a", "x": 1}]},
         {"extra_body": {"plugins": [{"id": "a", "y": 1}, {"id": "a", "z": 1}]}},
         {"plugins": [{"id": "a", "x": 1, "y": 1, "z": 1}]}),
    ],
)  # fmt: skip
def test_a_call_says_by_any_name_what_its_model_said_by_another(
    provider: str, own: dict[str, Any], call: dict[str, Any], sent: dict[str, Any]
) -> None:
    transport = FakeTransport()
    model = model_of(provider, transport, **own)
    ask(model, "async", **call)
    names = (
        "reasoning",
        "reasoning_effort",
        "enable_thinking",
        "chat_template_kwargs",
        "plugins",
        "structured_outputs",
    )
    assert {name: transport.body[name] for name in names if name in transport.body} == sent
