"""Aliases, fallbacks and `/v1/models` through a gateway, as the official client sees them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from gateways import Sse, another_gateway, ask
from node_clients import Node, installed
from openai import OpenAI
from openai.types import Model
from openai_types import check
from stack import Stack, headrace

ALIASES = {
    "small": "rehearsal/small",
    # An alias for each test: a provider that failed a moment ago is asked last.
    "careful": ["rehearsal/first", "rehearsal/second"],
    "streamed": ["rehearsal/third", "rehearsal/fourth"],
    "shown": ["rehearsal/fifth", "rehearsal/sixth"],
    "strict": ["rehearsal/seventh", "rehearsal/eighth"],
    "bulk": ["rehearsal/ninth", "rehearsal/tenth"],
    "llama3.1:8b": ["vllm/llama", "openrouter/llama/8b"],
}
PROFILES = {"vllm/llama": {"input": 0.25, "output": 1, "context_length": 8192}}
BESIDE_OPENAI = frozenset({"context_length", "pricing"})


@pytest.fixture(scope="module")
def named(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway with aliases and profiles."""
    profiles = tmp_path_factory.mktemp("profiles") / "profiles.json"
    profiles.write_text(json.dumps(PROFILES))
    profiles.chmod(0o600)
    variables = {"HEADRACE_MODELS": json.dumps(ALIASES), "HEADRACE_PROFILES": str(profiles)}
    with another_gateway(stack, "named", **variables) as (base, _):
        yield base


@pytest.fixture
def official(named: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{named}/v1", api_key="none", max_retries=0) as client:
        yield client


def question(text: str = "Why?", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **more}


class TestModels:
    def test_the_list_has_aliases_and_what_is_known(self, named: str, official: OpenAI) -> None:
        body = ask(f"{named}/v1/models").json
        for model in body["data"]:
            check(Model, model, BESIDE_OPENAI)
        ids = [model.id for model in official.models.list()]
        assert ids[: len(ALIASES)] == sorted(ALIASES)
        assert {"rehearsal/small", "rehearsal/second", "openrouter/llama/8b"} <= set(ids)
        facts = {"context_length": 8192, "pricing": {"prompt": "0.00000025", "completion": "0.000001"}}
        known = {model["id"]: {name: model.get(name) for name in BESIDE_OPENAI} for model in body["data"]}
        assert known["vllm/llama"] == known["llama3.1:8b"] == facts
        assert known["small"] == {"context_length": None, "pricing": None}

    @pytest.mark.parametrize("name", ["small", "llama3.1:8b", "rehearsal/small", "rehearsal/never-heard-of"])
    def test_one_is_retrieved_by_its_name(self, name: str, named: str, official: OpenAI) -> None:
        assert official.models.retrieve(name).id == name
        body = ask(f"{named}/v1/models/{name}").json
        check(Model, body, BESIDE_OPENAI)
        assert ask(f"{named}/v1/models/{name.replace('/', '%2F')}").json == body

    @pytest.mark.parametrize("name", ["gpt-9", "nobody/x", "rehearsal/", "/x"])
    def test_an_unknown_one_is_not_found(self, name: str, named: str, official: OpenAI) -> None:
        with pytest.raises(openai.NotFoundError) as caught:
            official.chat.completions.create(model=name, **question())
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
        answer = ask(f"{named}/v1/models/{name}")
        assert (answer.status, answer.json["error"]["code"]) == (404, "model_not_found")

    @pytest.mark.parametrize("path", ["/v1/jobs", "/v1/chat/completions", "/v1/ui/chat", "/v1/ag-ui"])
    def test_on_every_route_that_takes_a_model(self, path: str, named: str) -> None:
        body = question(model="gpt-9") | {"id": "c1", "threadId": "t", "runId": "r", "tools": [], "context": []}
        body |= {"forwardedProps": {"model": "gpt-9"}, "state": {}}
        if path == "/v1/ui/chat":
            body["messages"] = [{"id": "1", "role": "user", "parts": [{"type": "text", "text": "Why?"}]}]
        if path == "/v1/ag-ui":
            body["messages"] = [{"id": "1", "role": "user", "content": "Why?"}]
        answer = ask(f"{named}{path}", "POST", body)
        assert (answer.status, answer.json["error"]["code"]) == (404, "model_not_found"), answer.body

    def test_openais_client_for_node_finds_them_as_well(self, named: str) -> None:
        names = ["small", "llama3.1:8b", "rehearsal/small"]
        found = Node(installed(), "models.mjs", named, *names).result()
        assert found["retrieved"] == names
        assert found["listed"][: len(ALIASES)] == sorted(ALIASES)
        assert found["refused"] == {"status": 404, "code": "model_not_found", "kind": "NotFoundError"}


class TestAliases:
    def test_an_alias_answers_as_its_model(self, official: OpenAI) -> None:
        assert official.chat.completions.create(model="small", **question()).model == "rehearsal-small"

    def test_a_fault_of_the_first_is_answered_by_the_second(self, stack: Stack, official: OpenAI, named: str) -> None:
        raw = official.chat.completions.with_raw_response.create(
            model="careful", **question("[[rehearsal fault=503; times=1]] Why?")
        )
        assert raw.parse().model == "rehearsal-second"
        job = raw.headers["x-headrace-job"]
        assert [call.status for call in stack.calls_of(job)] == [503, 200]
        events = [json.loads(data) for _, data in Sse(f"{named}/v1/jobs/{job}/events").all()]
        routes = [event["model"] for event in events if event["t"] == "attempt.route"]
        assert routes == ["rehearsal/first", "rehearsal/second"]

    def test_a_streamed_answer_falls_back_before_its_first_token_only(self, stack: Stack, official: OpenAI) -> None:
        chunks = list(
            official.chat.completions.create(
                model="streamed", stream=True, **question("[[rehearsal fault=503; times=1]] Why?")
            )
        )
        assert chunks[-1].model.endswith("fourth")
        assert chunks[-1].choices[0].finish_reason == "stop"
        with pytest.raises(openai.APIError):
            list(
                official.chat.completions.create(
                    model="shown", stream=True, **question("[[rehearsal fault=stream_error; after=3; times=1]] Why?")
                )
            )

    def test_a_request_that_is_refused_is_not_sent_to_the_second(self, stack: Stack, official: OpenAI) -> None:
        before = len(stack.calls())
        with pytest.raises(openai.BadRequestError):
            official.chat.completions.create(model="strict", **question("[[rehearsal fault=400]] Why?"))
        assert [call.status for call in stack.calls()[before:]] == [400]

    def test_items_of_a_batch_fall_back(self, stack: Stack, tmp_path: Path) -> None:
        source = tmp_path / "input.jsonl"
        source.write_text(
            "".join(json.dumps({"text": f"[[rehearsal fault=503; times=1]] {n}"}) + "\n" for n in range(5))
        )
        environment = stack.client_environment | {"HEADRACE_MODELS": json.dumps(ALIASES)}
        done = run(stack, environment, "extract", str(source), "--model", "bulk", "--out", str(tmp_path / "out.jsonl"))
        assert done.returncode == 0, done.stderr
        assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 5


class TestCommandLine:
    def test_models_are_listed(self, stack: Stack) -> None:
        environment = stack.client_environment | {"HEADRACE_MODELS": json.dumps(ALIASES)}
        done = run(stack, environment, "models", "--json")
        listed = [json.loads(line) for line in done.stdout.splitlines()]
        assert listed[0] == {"id": "bulk", "provider": "rehearsal", "models": ALIASES["bulk"]}
        done = run(stack, environment, "run", "Why?", "--model", "small")
        assert done.returncode == 0, done.stderr

    def test_bad_aliases_are_told_at_the_start_of_every_program(self, stack: Stack) -> None:
        environment = stack.client_environment | {"HEADRACE_MODELS": '{"a/b": "rehearsal/small"}'}
        for words in (("run", "Why?", "--model", "rehearsal/small"), ("models",), ("gateway", "--port", "0"), ("up",)):
            done = run(stack, environment, *words)
            assert done.returncode == 2, words
            assert "HEADRACE_MODELS: /a/b" in done.stderr, words
            assert "Traceback" not in done.stderr


def run(stack: Stack, environment: dict[str, str], *words: str) -> Any:
    return headrace(*words, env=environment, cwd=stack.folder)
