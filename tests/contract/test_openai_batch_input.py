"""OpenAI's batch form as INPUT: each line's own messages, tools, options and images reach the provider as they were written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from stack import Stack, started
from stub_provider import StubProvider, stub_provider

LOOK = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}


def answer(content: str | None, **message: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": content} | message
    finish = "tool_calls" if "tool_calls" in message else "stop"
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-5-mini",
        "choices": [{"index": 0, "message": said, "finish_reason": finish}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


ANSWERS = {
    "plain": answer("Hello"),
    "tool": answer(None, tool_calls=[CALL]),
    "image": answer("A dot"),
    "digits": answer("{}"),
}
LINES: list[dict[str, Any]] = [
    {
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "<plain>"}],
        "temperature": 0.5,
    },
    {"messages": [{"role": "user", "content": "<tool>"}], "tools": [LOOK], "tool_choice": "required"},
    {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "<image>"}, IMAGE]}],
        "max_completion_tokens": 9,
    },
    {"messages": [{"role": "user", "content": "<digits>"}], "response_format": {"type": "json_object"}, "seed": 4},
]


@pytest.fixture(scope="module")
def provider() -> Iterator[StubProvider]:
    with stub_provider(ANSWERS) as provider:
        yield provider


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, provider: StubProvider) -> Iterator[Stack]:
    environment = {"OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": "none-such-key"}
    with started(tmp_path_factory.mktemp("form"), "--no-flower", environment=environment) as stack:
        yield stack


def test_every_lines_own_body_reaches_the_provider(stack: Stack, provider: StubProvider) -> None:
    lines = [
        {"custom_id": f"r{n}", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-5-mini", **body}}
        for n, body in enumerate(LINES)
    ]
    (stack.folder / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = stack.run("extract", "in.jsonl", "--model", "openai/gpt-5-mini", "-o", "top_p=0.5", "--out", "out.jsonl")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (stack.folder / "out.jsonl").read_text().splitlines()]
    assert [row["custom_id"] for row in rows] == ["r0", "r1", "r2", "r3"]
    assert [row["value"] for row in rows] == ["Hello", None, "A dot", "{}"]
    assert rows[1]["tool_calls"] == [CALL]
    sent = {json.dumps(body["messages"]): body for body in provider.bodies}
    assert len(sent) == len(provider.bodies) == 4
    for body in LINES:
        asked = sent[json.dumps(body["messages"])]
        assert asked["model"] == "gpt-5-mini"
        assert asked["top_p"] == 0.5
        for name in set(body) - {"max_completion_tokens", "tools"}:
            assert asked[name] == body[name]
        assert asked.get("max_completion_tokens", asked.get("max_tokens")) == body.get("max_completion_tokens")
        assert [tool["function"]["name"] for tool in asked.get("tools", [])] == (["look"] if "tools" in body else [])


def test_a_dry_run_shows_the_first_conversation(stack: Stack) -> None:
    called = {"role": "assistant", "tool_calls": [CALL]}
    talk = [{"role": "user", "content": "<plain>"}, called, {"role": "tool", "tool_call_id": "c1", "content": "none"}]
    (stack.folder / "one.jsonl").write_text(json.dumps({"custom_id": "a", "body": {"messages": talk}}) + "\n")
    done = stack.run("extract", "one.jsonl", "--model", "openai/gpt-5-mini", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["first_messages"] == talk
