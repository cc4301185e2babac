"""The fold: cut anywhere, through a snapshot or not, it is the fold of the whole."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from transcript import logs, typed

from headrace.events.fold import Fold
from headrace.events.fold import fold as fold_of
from headrace.events.types import End, FinishReason, decode_job_event, encode


def fold(events: list[dict[str, Any]]) -> Fold:
    return fold_of(map(typed, events))


def all_of(folded: Fold) -> dict[str, Any]:
    return {"snapshot": encode(folded.snapshot()), "finish": folded.finish, "first": folded.message}


@given(logs, st.integers(0, 32))
def test_a_fold_cut_anywhere_is_the_fold_of_the_whole(events: list[dict[str, Any]], cut: int) -> None:
    cut_off = fold_of([decode_job_event(encode(fold(events[:cut]).snapshot()))])
    assert all_of(cut_off) == all_of(fold(events[:cut]))
    for event in events[cut:]:
        cut_off.add(typed(event))
    assert all_of(cut_off) == all_of(fold(events))


@given(logs)
def test_a_new_attempt_clears_everything(events: list[dict[str, Any]]) -> None:
    start = {"t": "attempt.start", "n": 9, "reset": True, "reason": "retry"}
    assert all_of(fold([*events, start])) == all_of(fold([start]))


@given(logs)
def test_ignores_events_of_unknown_types(events: list[dict[str, Any]]) -> None:
    assert all_of(fold([*events, {"t": "of.the.future", "d": "x"}])) == all_of(fold(events))


def test_the_message_is_openais() -> None:
    events = [
        {"t": "attempt.start", "n": 1, "reset": False, "reason": "claim"},
        {"t": "attempt.route", "provider": "rehearsal", "model": "rehearsal/small", "deployment": "rehearsal"},
        {"t": "reasoning.delta", "c": 0, "p": 0, "d": "hm"},
        {"t": "text.delta", "c": 0, "p": 0, "d": "It is "},
        {"t": "tool.start", "c": 0, "i": 1, "call_id": "call_2", "name": "time", "type": "custom"},
        {"t": "tool.start", "c": 0, "i": 0, "call_id": "call_1", "name": "weather", "type": "function"},
        {"t": "tool.delta", "c": 0, "i": 0, "d": '{"a":'},
        {"t": "tool.delta", "c": 0, "i": 1, "d": "now"},
        {"t": "text.delta", "c": 0, "p": 0, "d": "noon"},
        {"t": "tool.delta", "c": 0, "i": 0, "d": "1}"},
        {"t": "end", "status": "succeeded", "finish": [{"c": 0, "reason": "tool_calls"}], "usage": {"input_tokens": 3}},
    ]
    folded = fold(events)
    assert folded.message == {
        "role": "assistant",
        "content": "It is noon",
        "reasoning": "hm",
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"a":1}'}},
            {"id": "call_2", "type": "custom", "custom": {"name": "time", "input": "now"}},
        ],
    }
    assert folded.finish == [FinishReason(0, "tool_calls")]
    assert folded.usage == {"input_tokens": 3}
    assert folded.attempt is not None
    assert folded.route is not None
    assert (folded.attempt.n, folded.route.provider) == (1, "rehearsal")
    assert isinstance(folded.end, End)
    assert folded.end.status == "succeeded"


def test_fields_of_a_newer_release_are_kept_with_the_event_that_a_fold_keeps() -> None:
    newer = {"t": "attempt.start", "n": 1, "reset": False, "reason": "claim", "region": {"name": "eu"}}
    folded = fold([newer, {"t": "text.delta", "c": 0, "p": 0, "d": "Hi", "mood": "calm"}])
    assert vars(folded.attempt) == {"region": {"name": "eu"}}
    again = fold_of([decode_job_event(encode(folded.snapshot(2)))])
    assert encode(again.snapshot(2)) == encode(folded.snapshot(2))
    assert b'"attempt":{"n":1,"reset":false,"reason":"claim","region":{"name":"eu"}}' in encode(again.snapshot(2))


def test_content_is_none_only_when_something_else_was_said() -> None:
    assert fold([]).message == {"role": "assistant", "content": ""}
    assert fold([{"t": "refusal.delta", "c": 0, "p": 0, "d": "no"}]).message["content"] is None
