"""The Responses API with clients for Node, unmodified: OpenAI's, and the AI SDK in its default mode."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from gateways import SLOW, another_gateway, ask
from node_clients import Node
from stack import Stack

MODEL = "rehearsal/small"


def text_of(base: str, id: str) -> str:
    shown = ask(f"{base}/v1/responses/{id}").json
    return "".join(part["text"] for item in shown["output"] for part in item["content"])


class TestOpenAIForNode:
    def test_a_conversation(self, base: str, packages: Path) -> None:
        found = Node(packages, "responses.mjs", base, MODEL, "Why?", "plain", base).result()
        assert found["error"] is None
        assert found["text"] == text_of(base, found["id"])
        assert (found["status"], found["items"]) == ("completed", ["message"])

    def test_a_stream(self, base: str, packages: Path) -> None:
        found = Node(packages, "responses.mjs", base, MODEL, "Why?", "streamed", base).result()
        assert found["error"] is None
        assert found["numbers"] == list(range(len(found["numbers"])))
        assert found["text"] == text_of(base, found["id"])

    @pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGKILL])
    def test_cut_and_resumed(self, stack: Stack, base: str, packages: Path, sig: signal.Signals) -> None:
        with another_gateway(stack, "old") as (old, process):
            node = Node(packages, "responses.mjs", old, MODEL, f"{sig} {SLOW}", "background", base)
            node.word("middle")
            os.kill(process.pid, sig)
            found = node.result()
        assert found["error"] is None
        assert found["cut"]
        assert found["numbers"] == list(range(len(found["numbers"])))
        assert found["status"] == "completed"
        assert found["text"] == text_of(base, found["id"])


class TestAiSdk:
    def test_two_turns_and_a_tool(self, base: str, packages: Path) -> None:
        found = Node(packages, "ai_responses.mjs", base, MODEL).result()
        assert found["error"] is None
        assert all(found["texts"])
        assert found["finish"] == "stop"
        assert (found["calls"], found["steps"]) == (2, 2)
