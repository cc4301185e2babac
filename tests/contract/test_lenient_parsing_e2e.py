"""Odd answers of real servers on every path: those that can be used are, validated, readable, and paid once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from fake_transport import answer, call_of
from gateways import ask
from stack import Stack, started
from stub_provider import StubProvider, stub_provider

from headrace import Headrace
from headrace.errors import JobFailed
from headrace.settings import Settings

MODEL = "openai/m"
SCHEMA = {"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"], "additionalProperties": False}
FOREIGN = [call_of("nobody_offered_it", "{}")]
ODD = {
    "service_tier": 3,
    "system_fingerprint": {},
    "provider": 7,
    "id": 7,
    "created": "now",
    "usage": {"prompt_tokens": "5"},
}


def odd(script: dict[str, Any]) -> dict[str, Any]:
    script["choices"][0] |= {"stop_reason": 1.5, "logprobs": 5}
    return script | ODD


GOOD = {
    "plain": answer('{"a":1}'),
    "foreign-beside": answer('{"a":1}', finish="tool_calls", tool_calls=FOREIGN),
    "zero-call": answer('{"a":1}', function_call={"name": "", "arguments": ""}),
    "odd": odd(answer('{"a":1}', annotations={"x": 1})),
}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
SIGNED = call_of("look") | {"extra_content": {"google": {"thought_signature": "c2ln"}}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
RICH = {
    "rich": answer(
        "So.", images=[IMAGE], reasoning_content="why", reasoning_details=[{"type": "reasoning.encrypted", "data": "x"}]
    )
    | {"citations": ["https://a.example"], "search_results": [{"url": "https://a.example"}]},
    "turn": answer("Let me look.", finish="tool_calls", tool_calls=[SIGNED]),
}
BAD = {
    "words": answer("Let me check", finish="tool_calls", tool_calls=FOREIGN),
    "words-zero": answer("Let me check", function_call={"name": "", "arguments": ""}),
    "foreign-alone": answer(None, finish="tool_calls", tool_calls=FOREIGN),
    "no-number": answer('{"a":1e400}'),
}


@pytest.fixture(scope="module")
def provider() -> Iterator[StubProvider]:
    with stub_provider(GOOD | BAD | RICH) as provider:
        yield provider


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, provider: StubProvider) -> Iterator[Stack]:
    environment = {"OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": "none-such-key"}
    with started(tmp_path_factory.mktemp("odd"), "--no-flower", environment=environment) as stack:
        (stack.folder / "schema.json").write_text(json.dumps(SCHEMA))
        yield stack


@pytest.fixture
def client(stack: Stack) -> Iterator[Headrace]:
    with Headrace(stack.ready["redis"], settings=Settings(files=stack.ready["files"])) as client:
        yield client


def rows(path: Path) -> dict[str, dict[str, Any]]:
    return {row["custom_id"]: row for row in map(json.loads, path.read_text().splitlines())}


def test_a_batch(stack: Stack, client: Headrace, provider: StubProvider) -> None:
    lines = [{"id": key, "text": f"<{key}>"} for key in GOOD | BAD]
    (stack.folder / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = stack.run("extract", "in.jsonl", "--schema", "schema.json", "--model", MODEL, "--out", "out.jsonl")
    assert done.returncode == 1, done.stderr
    good, bad = rows(stack.folder / "out.jsonl"), rows(stack.folder / "out.errors.jsonl")
    assert {key: row["value"] for key, row in good.items()} == {key: {"a": 1} for key in GOOD}
    assert {key: row["error"]["code"] for key, row in bad.items()} == dict.fromkeys(BAD, "invalid_output")
    assert all(provider.calls[key] == 1 for key in GOOD)
    batch = client.batch(done.stderr.split(":")[0].split()[-1])
    found = {row.custom_id: row for row in batch.results()}
    assert {key for key, row in found.items() if row.ok} == {*GOOD}
    assert all(found[key].completion.value == {"a": 1} for key in GOOD)
    assert (batch.progress().succeeded, batch.progress().failed) == (len(GOOD), len(BAD))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("key", GOOD)
def test_a_job_and_what_is_kept_of_it(key: str, stream: bool, client: Headrace, provider: StubProvider) -> None:
    before = provider.calls[key]
    prompt = f"<{key}> as {'a stream' if stream else 'a whole'}"
    first, second = (client.submit(MODEL, prompt, schema=SCHEMA, stream=stream, cache=True) for _ in range(2))
    for job in (first, second):
        completion = job.completion(timeout=60)
        assert (completion.value, completion.structured) == ({"a": 1}, True)
    assert provider.calls[key] == before + 1, "kept, and read again"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("key", BAD)
def test_a_job_that_has_no_answer(key: str, stream: bool, client: Headrace, provider: StubProvider) -> None:
    before = provider.calls[key]
    with pytest.raises(JobFailed) as failed:
        client.submit(MODEL, f"<{key}>", schema=SCHEMA, stream=stream).completion(timeout=60)
    assert failed.value.code == "invalid_output"
    assert provider.calls[key] == before + 1


@pytest.mark.parametrize("key", [*GOOD, *BAD])
def test_through_the_gateway(key: str, stack: Stack) -> None:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": f"<{key}>"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}},
    }
    said = ask(f"{stack.ready['gateway']}/v1/chat/completions", "POST", body)
    if key in GOOD:
        assert said.status == 200
        assert json.loads(said.json["choices"][0]["message"]["content"]) == {"a": 1}
    else:
        assert said.status == 422
        assert said.json["error"]["code"] == "invalid_output"


@pytest.mark.parametrize("stream", [False, True])
def test_a_turn_that_calls_a_tool_has_no_value(stream: bool, client: Headrace) -> None:
    job = client.submit(MODEL, "<turn>", schema=SCHEMA, tools=[TOOL], stream=stream)
    assert job.result(timeout=60) is None
    completion = job.completion()
    assert (completion.structured, completion.content) == (False, "Let me look.")
    assert completion.tool_calls == [SIGNED]


@pytest.mark.parametrize("stream", [False, True])
def test_passes_unknown_fields_on_to_the_official_client(stream: bool, stack: Stack) -> None:
    """Through OpenAI's own client, which keeps the fields that it does not know."""
    with openai.OpenAI(base_url=f"{stack.ready['gateway']}/v1", api_key="none", max_retries=0) as official:
        talk: Any = [{"role": "user", "content": "<rich>"}]
        if not stream:
            made = official.chat.completions.create(model=MODEL, messages=talk).model_dump()
            message, beside = made["choices"][0]["message"], made
        else:
            chunks = [
                chunk.model_dump()
                for chunk in official.chat.completions.create(model=MODEL, messages=talk, stream=True)
            ]
            message = {}
            for delta in (choice["delta"] for chunk in chunks for choice in chunk["choices"]):
                message |= {name: said for name, said in delta.items() if said}
            beside = next(chunk for chunk in chunks if chunk.get("citations"))
    assert message["images"] == [IMAGE]
    assert message["reasoning_content"] == "why"
    assert message["reasoning_details"] == [{"type": "reasoning.encrypted", "data": "x"}]
    assert beside["citations"] == ["https://a.example"]
    assert beside["search_results"] == [{"url": "https://a.example"}]
