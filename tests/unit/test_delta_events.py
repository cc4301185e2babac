"""Deltas and completions as events: what is told folds into the completion, however the chunks were cut and merged."""

from __future__ import annotations

import base64
from itertools import pairwise
from typing import Any

import msgspec
from headrace_providers.wire.choice_reducer import Delta
from headrace_providers.wire.reducer import Reducer
from headrace_worker.publishing.delta_events import DeltaEvents, merged, rest
from hypothesis import given
from hypothesis import strategies as st
from transcript import deltas, typed

from headrace.chat.completion import Choice, Completion, Usage
from headrace.errors import CallError
from headrace.events.fold import Fold, fold
from headrace.events.types import ToolDelta, encode
from headrace.jobs.job import Job

JOB = Job(model="rehearsal/small", messages=[])


def plain(events: list[Any]) -> list[dict[str, Any]]:
    return msgspec.json.decode(encode(events))


def place(event: dict[str, Any]) -> tuple[Any, ...]:
    return event["t"], event.get("c"), event.get("p", event.get("i"))


def concatenated(events: list[dict[str, Any]]) -> dict[Any, tuple[str, int]]:
    found: dict[Any, tuple[str, int]] = {}
    for event in events:
        if "d" in event and event["t"] != "audio.delta":
            text, tokens = found.get(place(event), ("", 0))
            found[place(event)] = text + event["d"], tokens + len(event.get("lp", ()))
    return found


@given(st.lists(deltas, max_size=40), st.sets(st.integers(0, 40)))
def test_merging_changes_no_text_and_no_order(events: list[dict[str, Any]], flushes: set[int]) -> None:
    cuts = [0, *sorted(cut for cut in flushes if cut < len(events)), len(events)]
    before: Any = [typed(event) for event in events]
    merges = [event for a, b in pairwise(cuts) for event in merged(before[a:b])]
    assert before == [typed(event) for event in events]
    flushed = plain(merges)
    assert concatenated(flushed) == concatenated(events)
    assert list(dict.fromkeys(map(place, flushed))) == list(dict.fromkeys(map(place, events)))
    assert fold(merges).snapshot() == fold(before).snapshot()
    others = [event for event in events if event["t"] not in {e["t"] for e in flushed if "d" in e}]
    assert [event for event in flushed if event in others] == others


def test_parallel_tools_never_mix() -> None:
    sent: Any = [ToolDelta(c=0, i=i, d=d) for i, d in [(0, "a"), (0, "b"), (1, "c"), (0, "d"), (1, "e")]]
    assert [(event.i, event.d) for event in merged(sent) if isinstance(event, ToolDelta)] == [
        (0, "ab"),
        (1, "c"),
        (0, "d"),
        (1, "e"),
    ]


def chunk(delta: dict[str, Any], finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": finish, **more}
    return {"id": "x", "model": "m", "choices": [choice]}


CHUNKS = [
    chunk({"role": "assistant", "content": "", "reasoning": "let me "}),
    chunk({"reasoning": "see"}),
    chunk({"content": "Calling"}, logprobs={"content": [{"token": "Calling", "logprob": -0.5}]}),
    *(
        chunk({"tool_calls": [{"index": i, "id": f"call_{i}", "type": "function", "function": {"name": f"tool_{i}"}}]})
        for i in range(4)
    ),
    *(
        chunk({"tool_calls": [{"index": i, "function": {"arguments": piece}}]})
        for piece in ('{"n"', ":", "1}")
        for i in (2, 0, 3, 1)
    ),
    chunk({"content": "other"}, index=1, logprobs={"content": [{"token": "other", "logprob": -1}]}),
    *(
        chunk({"tool_calls": [{"index": i, "id": f"other_{i}", "function": {"name": "t", "arguments": "{}"}}]}, index=1)
        for i in range(4)
    ),
    chunk({"content": " them", "annotations": [{"type": "url_citation", "url": "u"}]}),
    chunk({"refusal": "but not that"}),
    chunk({"audio": {"id": "audio_1", "data": base64.b64encode(b"\x00\x01\x02\x03").decode()}}),
    chunk({"audio": {"data": base64.b64encode(b"\x04").decode(), "transcript": "beep", "expires_at": 99}}),
    chunk({}, "tool_calls"),
    chunk({}, "tool_calls", index=1),
    {"id": "x", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
]


def run(chunks: list[dict[str, Any]]) -> tuple[Fold, list[dict[str, Any]], Completion]:
    reducer, events, told = Reducer(), DeltaEvents(), Fold()
    log: list[Any] = []
    for each in chunks:
        for delta in reducer.add(each):
            log += events.of(delta)
    for event in log:
        told.add(event)
    completion = reducer.completion(JOB)
    log += rest(told, completion)
    return fold(merged(log)), plain(log), completion


def test_four_tools_two_choices_logprobs_refusal_audio_and_annotations_are_rebuilt() -> None:
    folded, log, completion = run(CHUNKS)
    assert folded.message == completion.message
    assert folded.choice(1).message() == completion.other_choices[0].message
    for c, choice in enumerate([completion, *completion.other_choices]):
        assert folded.choice(c).logprobs == (choice.logprobs or {})
    assert len(completion.tool_calls) == 4
    assert [event["i"] for event in log if event["t"] == "tool.delta" and event["c"] == 0][:4] == [2, 0, 3, 1]
    assert "snapshot" not in {event["t"] for event in log}
    assert folded.usage == msgspec.to_builtins(completion.usage)


@given(st.lists(st.sampled_from(CHUNKS), max_size=25))
def test_fold_equals_the_completion_for_chunks_in_any_order(chunks: list[dict[str, Any]]) -> None:
    try:
        folded, log, completion = run([*chunks, chunk({}, "stop"), chunk({}, "stop", index=1)])
    except CallError as error:  # a second answer that begins after the end of the first
        if "two answers in one choice" in str(error):
            return
        raise
    assert folded.message == completion.message
    taken = {"v", "job", "id"}  # by the frame around it: on a WebSocket, and where `job.stream()` gives it out
    assert not any(taken & event.keys() for event in log)


def test_ids_that_come_late_or_never_are_told_at_the_end() -> None:
    calls = [{"index": 0, "function": {"name": "a", "arguments": "{"}}, {"index": 0, "function": {"arguments": "}"}}]
    folded, log, completion = run([*(chunk({"tool_calls": [call]}) for call in calls), chunk({}, "tool_calls")])
    assert folded.message == completion.message
    assert [event["t"] for event in log][:3] == ["tool.start", "tool.delta", "tool.end"]


texts = st.one_of(st.none(), st.text(max_size=5))
calls = st.lists(
    st.builds(
        lambda n, said: {"id": f"call_{n}", "type": "function", "function": {"name": "f", "arguments": said}},
        st.integers(0, 2),
        st.text(max_size=4),
    ),
    max_size=3,
)
choices: dict[str, st.SearchStrategy[Any]] = {
    "reasoning": texts,
    "refusal": texts,
    "tool_calls": calls,
    "audio": st.sampled_from([None, {"id": "a", "data": "AAEC", "transcript": "x"}]),
    "annotations": st.lists(st.integers(0, 2), max_size=2),
    "finish_reason": st.just("stop"),
}


def normal(choice: dict[str, Any]) -> dict[str, Any]:
    """As the reducer makes it: no content only beside something else, nothing empty but the content."""
    silent = choice["refusal"] or choice["tool_calls"] or choice["audio"]
    content = choice["content"] or (None if silent else "")
    return {
        **choice,
        "content": content,
        "reasoning": choice["reasoning"] or None,
        "refusal": choice["refusal"] or None,
    }


completions = st.builds(
    lambda choice, others: Completion(
        id="x", model="m", created=1, usage=Usage(1, 2), other_choices=[Choice(**normal(o)) for o in others], **normal(choice)
    ),
    st.fixed_dictionaries({"content": texts, **choices}),
    st.lists(st.fixed_dictionaries({"content": texts, **choices}), max_size=1),
)  # fmt: skip


@given(st.lists(deltas, max_size=10), completions)
def test_after_the_rest_the_fold_is_the_completion_whatever_was_told(
    told: list[dict[str, Any]], completion: Completion
) -> None:
    folded = fold(map(typed, told))
    for event in rest(folded, completion):
        folded.add(typed(msgspec.to_builtins(event)))
    assert folded.message == completion.message
    for c, choice in enumerate(completion.other_choices):
        assert folded.choice(c + 1).message() == choice.message


def test_an_unknown_kind_of_delta_is_left_to_the_end() -> None:
    assert DeltaEvents().of(Delta("hologram", "x")) == []


def tool_pieces(*functions: dict[str, str]) -> list[Delta]:
    first, *others = functions
    begun = {"index": 0, "id": "c", "type": "function", "function": first}
    return [Delta("tool", [piece]) for piece in (begun, *({"index": 0, "function": function} for function in others))]


def said_by(*pieces: Delta) -> tuple[list[dict[str, Any]], Fold]:
    """The events of the pieces, and what they fold into."""
    events, told = DeltaEvents(), Fold()
    seen = [event for piece in pieces for event in events.of(piece)]
    for event in seen:
        told.add(event)
    return plain(seen), told


def test_a_tools_name_in_pieces_is_told_whole() -> None:
    seen, told = said_by(*tool_pieces({"name": "get_", "arguments": ""}, {"name": "weather"}, {"arguments": "{}"}))
    assert [(event["t"], event.get("name")) for event in seen] == []
    seen, told = said_by(*tool_pieces({"name": "get_", "arguments": ""}, {"name": "weather"}, {"arguments": '{"a"'}))
    assert [(event["t"], event.get("name")) for event in seen] == [("tool.start", "get_weather"), ("tool.delta", None)]
    assert told.message["tool_calls"][0]["function"] == {"name": "get_weather", "arguments": '{"a"'}


def test_pieces_of_one_call_in_one_chunk_are_told_once() -> None:
    (first,) = tool_pieces({"name": "f", "arguments": '{"a"'})
    more = [{"index": 0, "function": {"arguments": piece}} for piece in (": 1", "}")]
    seen, told = said_by(Delta("tool", [*first.value, more[0]]), Delta("tool", [more[1]]))
    assert [event["t"] for event in seen] == ["tool.start", "tool.delta", "tool.delta"]
    assert told.message["tool_calls"][0]["function"]["arguments"] == '{"a": 1}'


def test_calls_are_told_in_their_order() -> None:
    calls = [{"index": n, "id": f"c{n}", "type": "function", "function": {"name": f"f{n}"}} for n in range(3)]
    arguments = {"index": 2, "function": {"arguments": '{"a": 1}'}}
    seen, _ = said_by(Delta("tool", calls[:2]), Delta("tool", [calls[2]]), Delta("tool", [arguments]))
    assert [(event["t"], event["i"]) for event in seen] == [
        ("tool.start", 0),
        ("tool.start", 1),
        ("tool.start", 2),
        ("tool.delta", 2),
    ]
