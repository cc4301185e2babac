"""An answer in a hundred thousand pieces: what gathers them costs what their length says, and no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from headrace_providers.wire.reducer import Reducer
from headrace_worker.publishing.delta_events import DeltaEvents
from resource_usage import cost_of

from headrace.chat.tool_calls import MAX_CALLS, ToolCalls
from headrace.errors import CallError

MAX_CPU_S = 3.0
MAX_MB = 150


def call(arguments: str, name: str = "f", **more: Any) -> dict[str, Any]:
    return {"tool_calls": [{**more, "function": {"name": name, "arguments": arguments}}]}


DELTAS: dict[str, Callable[[int], dict[str, Any]]] = {
    "text": lambda n: {"content": "0123456789"},
    "arguments": lambda n: call("0123456789", index=0, id="a"),
    "arguments, named each time": lambda n: call('{"a":"' if n == 0 else "012345678}"),
    "a name": lambda n: call("", f"01234567{n}", index=0),
    "many calls": lambda n: call("{}", index=n % MAX_CALLS, id=f"a{n % MAX_CALLS}"),
    "reasoning": lambda n: {"reasoning_details": [{"type": "t", "index": 0, "text": "0123456789"}]},
    "a transcript": lambda n: {"audio": {"transcript": "0123456789"}},
}


def streamed(deltas: Callable[[int], dict[str, Any]], count: int = 100_000) -> Reducer:
    reducer, events = Reducer(), DeltaEvents()
    for n in range(count):
        for delta in reducer.add({"id": "x", "choices": [{"index": 0, "delta": deltas(n)}]}):
            events.of(delta)
    return reducer


@pytest.mark.slow
@pytest.mark.parametrize("name", DELTAS)
def test_gathering_is_linear(name: str) -> None:
    cost = cost_of(lambda: streamed(DELTAS[name]) and None)
    assert cost.result is None
    assert cost.cpu_s < MAX_CPU_S, cost
    assert cost.more_mb < MAX_MB, cost


def test_the_pieces_come_together() -> None:
    choice = streamed(DELTAS["reasoning"], 3).choices[0].choice(inferred="stop")
    assert choice.reasoning_details == [{"type": "t", "index": 0, "text": "0123456789" * 3}]
    choice = streamed(DELTAS["a transcript"], 3).choices[0].choice(inferred="stop")
    assert (choice.audio or {})["transcript"] == "0123456789" * 3
    choice = streamed(DELTAS["arguments"], 3).choices[0].choice(inferred="stop")
    assert choice.tool_calls[0]["function"]["arguments"] == "0123456789" * 3


def test_an_answer_of_too_many_calls_is_none() -> None:
    with pytest.raises(CallError, match="tool calls") as failed:
        streamed(lambda n: call("{}", index=n, id=f"a{n}"), MAX_CALLS + 1)
    assert failed.value.code == "provider_error"


def test_stored_calls_have_all_their_pieces() -> None:
    calls = ToolCalls()
    for piece in ('{"a":', "1}"):
        calls.add_delta([{"index": 0, "id": "a", "function": {"name": "f", "arguments": piece}}])
    again = ToolCalls.from_dict(calls.to_dict())
    assert [made.arguments for made in again.get_calls()] == [{"a": 1}]
