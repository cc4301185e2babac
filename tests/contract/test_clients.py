"""Clients of other projects, unmodified: the official OpenAI clients, the AI SDK, TanStack AI; each cut in the middle."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from gateways import SLOW, Sse, another_gateway, ask, submit
from headrace_api.streaming.sse import HEARTBEAT, Encoder
from headrace_api.views import Frame
from node_clients import JS, Node
from openai import OpenAI
from stack import Stack, until

from headrace.local.ports import free_port


def completion(base: str, job: str) -> Any:
    def ended() -> Any:
        return ask(f"{base}/v1/jobs/{job}").json.get("completion")

    return until(ended, what="the job has succeeded")


@contextlib.contextmanager
def official(base: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{base}/v1", api_key="none") as client:
        yield client


def said(chunks: Any) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


class TestOpenAIForPython:
    def test_plain(self, base: str) -> None:
        with official(base) as client:
            answer = client.chat.completions.create(
                model="rehearsal/small", messages=[{"role": "user", "content": "Why?"}], temperature=0
            )
        assert answer.choices[0].message.content
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage
        assert answer.usage.total_tokens > 0

    def test_streamed_with_heartbeats(self, stack: Stack) -> None:
        """A comment anywhere, an id on every event: nothing of it may disturb this client."""
        with another_gateway(stack, "beats", HEADRACE_HEARTBEAT_S="0.02") as (base, _), official(base) as client:
            raw = client.chat.completions.with_raw_response.create(
                model="rehearsal/small",
                messages=[{"role": "user", "content": SLOW}],
                stream=True,
                stream_options={"include_usage": True},
            )
            chunks = list(raw.parse())
            assert said(chunks) == completion(base, raw.headers["x-headrace-job"])["content"]
            assert chunks[-1].usage
            assert len({chunk.id for chunk in chunks}) == 1

    def test_a_tool_call_and_a_schema(self, base: str) -> None:
        schema = {
            "type": "object",
            "properties": {"a": {"type": "integer"}},
            "required": ["a"],
            "additionalProperties": False,
        }
        with official(base) as client:
            with client.chat.completions.stream(
                model="rehearsal/small",
                messages=[{"role": "user", "content": "x"}],
                tools=[{"type": "function", "function": {"name": "f", "strict": True, "parameters": schema}}],
                tool_choice="required",
            ) as stream:
                message = stream.get_final_completion().choices[0].message
            assert message.tool_calls
            assert set(json.loads(message.tool_calls[0].function.arguments)) == {"a"}
            answer = client.chat.completions.create(
                model="rehearsal/small",
                messages=[{"role": "user", "content": "x"}],
                response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}},
            )
        assert isinstance(json.loads(answer.choices[0].message.content or "")["a"], int)

    def test_errors_are_its_own(self, base: str) -> None:
        with official(base) as client:
            with pytest.raises(openai.NotFoundError, match="provider"):
                client.chat.completions.create(model="nobody/x", messages=[{"role": "user", "content": "x"}])
            with pytest.raises(openai.APIError, match="400"):
                list(
                    client.chat.completions.create(
                        model="rehearsal/small",
                        messages=[{"role": "user", "content": "[[rehearsal fault=400]] x"}],
                        stream=True,
                    )
                )

    def test_cut_by_a_deploy(self, stack: Stack, base: str) -> None:
        """It cannot resume, so it is told; the job goes on, and the view may be read on from the last id."""
        with another_gateway(stack, "old") as (old, process), official(old) as client:
            raw = client.chat.completions.with_raw_response.create(
                model="rehearsal/small", messages=[{"role": "user", "content": SLOW}], stream=True
            )
            chunks: list[Any] = []

            def read() -> None:
                for chunk in raw.parse():
                    chunks.append(chunk)
                    if len(chunks) == 5:
                        process.send_signal(signal.SIGTERM)

            with pytest.raises(openai.APIError, match="restarting"):
                read()
        stored = completion(base, raw.headers["x-headrace-job"])["content"]
        assert len(said(chunks)) > 10
        assert stored.startswith(said(chunks))


class TestOpenAIForNode:
    def test_plain_and_streamed(self, base: str, packages: Path) -> None:
        for mode in ("plain", "streamed"):
            found = Node(packages, "openai.mjs", base, "rehearsal/small", "Why?", mode).result()
            assert found["error"] is None
            assert found["text"] == completion(base, found["job"])["content"]
            assert found["usage"]["total_tokens"] > 0

    def test_cut_by_a_deploy(self, stack: Stack, base: str, packages: Path) -> None:
        with another_gateway(stack, "old") as (old, process):
            node = Node(packages, "openai.mjs", old, "rehearsal/small", SLOW, "streamed")
            node.word("five")
            process.send_signal(signal.SIGTERM)
            found = node.result()
        assert "restarting" in found["error"]
        assert completion(base, found["job"])["content"].startswith(found["text"])


ODD = "a\x00b\rc\nd\u2028e\u2029f\x85g\x0bh\x0ci\x1cj\ufeffk\U0001f600: data: id: "


class TestParsersForNode:
    def test_every_text_comes_back(self, packages: Path) -> None:
        chance = random.Random(5)
        texts = [ODD, *("".join(chance.choices(ODD, k=chance.randrange(40))) for _ in range(500)), "", " ", "\ufeff"]
        texts += [chr(code) for code in range(0x3000) if code < 0x100 or code >= 0x2000]
        encoder = Encoder()
        body = b""
        for n, said in enumerate(texts):
            frame = Frame(f"17-{n}", json.dumps({"d": said}, ensure_ascii=False).encode())
            body += HEARTBEAT * (n % 3) + encoder.encode([frame])
        command = ["node", str(packages / "sse.mjs")]
        done = subprocess.run(command, input=body, capture_output=True, check=True, timeout=60)
        found = json.loads(done.stdout)
        assert [json.loads(data)["d"] for _, data in found["events"]] == texts
        assert [id for id, _ in found["events"]] == [f"17-{n}" for n in range(len(texts))]
        assert [event["d"] for event in found["openai"]] == texts


class TestAiSdk:
    @pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGKILL])
    def test_cut_and_resumed(self, stack: Stack, base: str, packages: Path, sig: signal.Signals) -> None:
        with another_gateway(stack, "old") as (old, process):
            node = Node(packages, "ai.mjs", old, "rehearsal/small", f"{sig} {SLOW}", base)
            node.word("middle")
            os.kill(process.pid, sig)
            found = node.result()
        job = found["after"]["ids"][-1]
        assert found["broken"]["status"] == "error", "a stream that was cut does not look finished"
        assert found["after"]["text"][1] == f"assistant: {completion(base, job)['content']}"
        assert len(found["after"]["text"]) == 2, "the answer is there once"
        assert found["after"]["status"] == "ready"
        assert found["same"]


class TestTanStackAi:
    def test_cut_and_resumed_by_itself(self, stack: Stack, packages: Path) -> None:
        port = str(free_port())
        paid = len(stack.calls())
        with another_gateway(stack, "old", "--port", port) as (old, process):
            node = Node(packages, "tanstack.mjs", old, "rehearsal/small", SLOW)
            node.word("middle")
            process.kill()
            process.wait()
            with another_gateway(stack, "new", "--port", port) as (new, _):
                found = node.result()
                (job,) = {str(one).partition(":")[0] for one in found["requests"] if one}
                assert found["messages"][-1]["text"] == completion(new, job)["content"]
        assert found["errors"] == []
        assert len(found["requests"]) > 1
        assert len(stack.calls()) == paid + 1, "posted again, it joins"


class TestHeadraceJs:
    @pytest.mark.parametrize("transport", ["sse", "ws"])
    def test_from_every_kind_of_cursor(self, stack: Stack, base: str, packages: Path, transport: str) -> None:
        job = submit(base, "[[rehearsal tps=30]] Say some words, one after the other, and no more than ten of them.")
        url = f"{base}/v1/jobs/{job}/events"
        live = follow(packages, base, job, "now", transport)
        ids = [id for id, _ in Sse(url).all()]
        assert live
        assert live == ids[len(ids) - len(live) :]
        for after, want in (
            ("", ids),
            ("0", ids),
            (ids[2], ids[3:]),
            (f"{job}:{ids[2]}", ids[3:]),
            ("999999999999999-9", ids),
        ):
            assert follow(packages, base, job, after, transport) == want, after


def follow(packages: Path, base: str, job: str, after: str, transport: str) -> list[str]:
    client = JS.parents[2] / "api/headrace_api/page/headrace.js"
    command = [
        "node",
        "--experimental-websocket",
        str(packages / "follow.mjs"),
        client.as_uri(),
        base,
        job,
        after,
        transport,
    ]
    return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=30).stdout)
