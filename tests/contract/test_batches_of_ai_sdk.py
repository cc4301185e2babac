"""The AI SDK's batch (`experimental_startBatch`), unmodified: started, listed, followed to its end, its results read."""

from __future__ import annotations

from node_clients import Node, installed


def test_a_batch_of_the_ai_sdk(base: str) -> None:
    told = Node(installed(), "ai_batch.mjs", base, "rehearsal/small").result()
    assert (told["first"], told["status"]) == ("pending", "completed")
    assert told["listed"] == 1
    results = told["results"]
    assert {name: each["status"] for name, each in results.items()} == {
        "plain": "succeeded",
        "talk": "succeeded",
        "tool": "succeeded",
        "fails": "failed",
    }
    assert results["plain"]["text"]
    (call,) = results["tool"]["content"]
    assert call["toolName"] == "look"
    assert isinstance(call["input"]["a"], int)
    assert results["fails"]["error"]["statusCode"] == 400
