"""What a model said goes back to it as it came: reasoning, signatures and encrypted parts, and nothing that is refused there."""

from __future__ import annotations

from typing import Any

import pytest
from fake_transport import FakeTransport, answer, as_chunks, call_of, model_of, piece
from headrace_providers import OpenAIChatCompletion
from headrace_providers.wire.reducer import Reducer

from headrace.chat.completion import Completion
from headrace.chat.messages import conversation
from headrace.chat.provider_table import PROVIDERS, Registration
from headrace.jobs.job import Job

DETAILS = [
    {"type": "reasoning.text", "text": "Let me see.", "signature": "c2ln", "format": "anthropic-claude-v1", "index": 0},
    {"type": "reasoning.encrypted", "data": "ZW5j", "id": "r1", "format": "google-gemini-v1", "index": 1},
]
SIGNED = call_of() | {"extra_content": {"google": {"thought_signature": "c2ln"}}}
THOUGHT = [{"type": "thinking", "thinking": [{"type": "text", "text": "why"}]}, {"type": "text", "text": "So."}]
OTHER = Registration(base_url="https://models.example/v1").row("other")
ANSWERS: dict[str, dict[str, Any]] = {
    "openrouter": {"reasoning": "Let me see.", "reasoning_details": DETAILS, "tool_calls": [call_of()]},
    "deepseek": {"reasoning_content": "why", "tool_calls": [call_of()]},
    "vllm": {"reasoning": "why"},
    "google": {"tool_calls": [SIGNED], "extra_content": {"google": {"thought_signature": "bWVzc2FnZQ"}}},
    "mistral": {"content": THOUGHT},
    "an image": {"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]},
}


async def said(name: str, form: str) -> Completion:
    fields = dict(ANSWERS[name])
    script = answer(fields.pop("content", "So."), finish="stop", **fields)
    transport = FakeTransport(as_chunks(script) if form == "stream" else script)
    model = model_of("openrouter" if name == "openrouter" else "vllm", transport, retry=False)
    return await model.complete(Job(model="x/y", messages=[{"role": "user", "content": "q"}], stream=form == "stream"))


def sent_on(provider: str, turn: dict[str, Any]) -> dict[str, Any]:
    """The turn in the body of the next request."""
    talk = conversation([{"role": "user", "content": "q"}, turn, {"role": "user", "content": "And then?"}])
    more: dict[str, Any] = {"facts": OTHER} if provider == "other" else {}
    model = (
        OpenAIChatCompletion("m", api_key="k", **more) if provider in ("other", "openai") else model_of(provider, None)
    )
    body = model.body(Job(model="x/y", messages=talk))
    assert "<think>" not in str(body)
    return body["messages"][1]


WANTED: dict[tuple[str, str], dict[str, Any]] = {
    ("openrouter", "openrouter"): {"reasoning": "Let me see.", "reasoning_details": DETAILS, "tool_calls": [call_of()]},
    ("openrouter", "openai"): {"tool_calls": [call_of()]},
    ("deepseek", "other"): {"reasoning_content": "why", "tool_calls": [call_of()]},
    ("deepseek", "openai"): {"tool_calls": [call_of()]},
    ("deepseek", "openrouter"): {"reasoning": "why", "tool_calls": [call_of()]},
    ("vllm", "vllm"): {"reasoning": "why", "reasoning_content": "why"},
    ("deepseek", "vllm"): {"reasoning": "why", "reasoning_content": "why", "tool_calls": [call_of()]},
    ("google", "other"): {"tool_calls": [SIGNED], "extra_content": {"google": {"thought_signature": "bWVzc2FnZQ"}}},
    ("google", "openai"): {"tool_calls": [call_of()]},
    ("mistral", "other"): {"content": THOUGHT},
    ("mistral", "openai"): {"content": "So."},
    ("mistral", "vllm"): {"content": "So.", "reasoning": "why", "reasoning_content": "why"},
    ("an image", "openrouter"): {"images": ANSWERS["an image"]["images"]},
    ("an image", "openai"): {},
}


@pytest.mark.parametrize("form", ["plain", "stream"])
@pytest.mark.parametrize(("made_by", "to"), WANTED)
async def test_a_turn_goes_back_in_the_form_that_is_wanted(made_by: str, to: str, form: str) -> None:
    completion = await said(made_by, form)
    assert sent_on(to, completion.history) == {"role": "assistant", "content": "So."} | WANTED[made_by, to]


async def test_a_turn_that_is_kept_as_tool_calls_goes_back_with_its_signatures() -> None:
    model = model_of(
        "vllm", FakeTransport(answer(None, finish="tool_calls", reasoning_details=DETAILS, **ANSWERS["google"]))
    )
    response = await model.acall("q")
    turn = type(response.data).from_dict(response.data.to_dict()).get_messages()[0]
    assert turn["tool_calls"] == [SIGNED]
    assert turn["reasoning_details"] == DETAILS
    assert turn["extra_content"] == ANSWERS["google"]["extra_content"]


def test_a_turn_without_anything_of_its_own_is_not_copied() -> None:
    turn = {"role": "assistant", "content": "So.", "tool_calls": [call_of()]}
    talk = [{"role": "user", "content": "q"}, turn]
    for name in PROVIDERS:
        model = OpenAIChatCompletion("m", api_key="k", facts=PROVIDERS[name], base_url="https://api.openai.com/v1")
        assert model.body(Job(model="x/y", messages=talk))["messages"][1] is turn


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://api.openai.com/v1", False),
        ("https://x.openai.azure.com/openai", False),
        ("http://localhost:1/v1", True),
    ],
)
def test_another_server_behind_openais_class_gets_what_it_gave(url: str, kept: bool) -> None:
    turn = {"role": "assistant", "content": "So.", "reasoning_content": "why"}
    body = OpenAIChatCompletion("m", api_key="k", base_url=url).body(Job(model="x/y", messages=[turn]))
    assert ("reasoning_content" in body["messages"][0]) is kept


ANTHROPIC = [
    {"type": "thinking", "thinking": "why", "signature": "c2ln"},
    {"type": "redacted_thinking", "data": "ZW5j"},
    {"type": "text", "text": "So."},
]


@pytest.mark.parametrize("stream", [False, True])
async def test_thoughts_that_are_signed_or_hidden_go_back_as_they_came(stream: bool) -> None:
    script: Any = answer(ANTHROPIC)  # type: ignore[arg-type]
    if stream:
        parts = [
            {"type": "thinking", "thinking": "w"},
            {"type": "thinking", "thinking": "hy", "signature": "c2ln"},
            *ANTHROPIC[1:],
        ]
        script = [*(piece(content=[part]) for part in parts), piece("stop")]
    model = model_of("vllm", FakeTransport(script), retry=False)
    completion = await model.complete(Job(model="x/y", messages=[{"role": "user", "content": "q"}], stream=stream))
    assert (completion.content, completion.reasoning) == ("So.", "why")
    assert sent_on("other", completion.history)["content"] == ANTHROPIC
    assert sent_on("openai", completion.history) == {"role": "assistant", "content": "So."}


async def test_tool_calls_keep_the_parts_of_their_turn() -> None:
    script = answer(ANTHROPIC, finish="tool_calls", tool_calls=[call_of()], images=ANSWERS["an image"]["images"])  # type: ignore[arg-type]
    response = await model_of("vllm", FakeTransport(script), retry=False).acall("q")
    turn = response.data.get_messages()[0]
    assert (turn["content"], turn["images"]) == (ANTHROPIC, ANSWERS["an image"]["images"])


@pytest.mark.parametrize("to", ["other", "openai", "vllm", "openrouter"])
def test_drops_empty_fields_that_a_client_writes(to: str) -> None:
    dumped = {
        "role": "assistant",
        "content": "So.",
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
    }
    assert sent_on(to, dumped | {"tool_calls": None}) == {"role": "assistant", "content": "So."}
    sound = {
        "role": "assistant",
        "content": None,
        "audio": {"id": "a", "data": "AA==", "transcript": "hi", "expires_at": 9},
    }
    assert sent_on(to, sound)["audio"] == {"id": "a"}


def test_thoughts_that_a_client_of_the_gateway_gives_back_are_parts_again() -> None:
    turn = {"role": "assistant", "content": "So.", "thinking_parts": ANTHROPIC[:2], "reasoning": "why"}
    assert sent_on("other", turn)["content"] == ANTHROPIC
    assert sent_on("openai", turn) == {"role": "assistant", "content": "So."}
    for to in ("other", "openai", "vllm", "openrouter"):
        assert "thinking_parts" not in sent_on(to, turn)
    hidden = {"role": "assistant", "content": "So.", "thinking_parts": ANTHROPIC[1:2]}
    assert sent_on("vllm", hidden) == {"role": "assistant", "content": "So."}


def detail(**fields: Any) -> dict[str, Any]:
    return {"type": "reasoning.encrypted", "index": 0, **fields}


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        ([detail(data="ENC", id="1"), detail(data="ENC", id="1")], [detail(data="ENC", id="1")]),
        (
            [detail(data="E1", id="1"), detail(data="E2", id="2")],
            [detail(data="E1", id="1"), detail(data="E2", id="2")],
        ),
        ([detail(data="E1", id="1"), detail(data="E2")], [detail(data="E1E2", id="1")]),
        ([detail(data="E1"), detail(data="E2", id="2")], [detail(data="E1E2", id="2")]),
    ],
)
def test_sealed_thoughts_go_back_as_they_came(pieces: list[Any], whole: list[Any]) -> None:
    reducer = Reducer()
    for one in pieces:
        reducer.add({"id": "a", "choices": [{"delta": {"reasoning_details": [one]}}]})
    reducer.add({"id": "a", "choices": [{"delta": {"content": "So."}, "finish_reason": "stop"}]})
    assert reducer.completion(Job(model="x/y", messages=[])).history["reasoning_details"] == whole


@pytest.mark.parametrize(
    ("said", "to", "turn"),
    [
        ({"images": ANSWERS["an image"]["images"]}, "openai", {"content": ""}),
        ({"images": ANSWERS["an image"]["images"]}, "openrouter", {"content": None, **ANSWERS["an image"]}),
        ({"audio": {"data": "AA==", "transcript": "Hm."}}, "openai", {"content": "Hm."}),
        ({"audio": {"data": "AA=="}}, "openai", {"content": ""}),
        ({"audio": {"id": "a", "data": "AA=="}}, "openai", {"content": None, "audio": {"id": "a"}}),
        ({"refusal": "No."}, "openai", {"content": None, "refusal": "No."}),
    ],
)
async def test_a_turn_without_a_text_is_one_that_is_taken(said: dict[str, Any], to: str, turn: dict[str, Any]) -> None:
    model = model_of("vllm", FakeTransport(answer(None, **said)), retry=False)
    completion = await model.complete(Job(model="x/y", messages=[{"role": "user", "content": "q"}]))
    assert sent_on(to, completion.history) == {"role": "assistant", **turn}
