"""Whatever stands in a log is refused when it is decoded, or a fold takes it: nothing fails half-way."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, get_args

import pytest
from headrace_api.views import VIEWS, Replay, Subject
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import Damaged
from headrace.events.fold import Fold
from headrace.events.ids import Event, EventId
from headrace.events.types import KnownJobEvent, name_of

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
ANY = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


def mostly(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with some of these fields, now and then of another type than they have."""
    return st.fixed_dictionaries({}, optional={name: right | right | right | ANY for name, right in fields.items()})


TEXT, WHOLE = st.text(max_size=5), st.integers(0, 3)
BODY = mostly({"name": TEXT, "arguments": TEXT, "input": TEXT})
CALL = mostly(
    {"id": TEXT, "type": st.sampled_from(["function", "custom"]), "index": WHOLE, "function": BODY, "custom": BODY}
)
SOUND = mostly({"data": st.sampled_from(["", "YWI=", "YW", "é"]), "transcript": TEXT, "id": TEXT})
LISTS = st.lists(ANY, max_size=2)
MESSAGE = mostly(
    {"content": TEXT, "reasoning": TEXT, "refusal": TEXT, "tool_calls": st.lists(CALL, max_size=3), "audio": SOUND}
    | dict.fromkeys(("annotations", "images", "citations", "reasoning_details"), LISTS)
)
LOGPROBS = st.dictionaries(TEXT, LISTS, max_size=2)
LEVELS = st.dictionaries(
    st.sampled_from(["answer", "message", "details"]), st.dictionaries(TEXT, ANY, max_size=2), max_size=2
)
RIGHT = {
    "message": MESSAGE,
    "others": st.lists(mostly({"c": WHOLE, "message": MESSAGE, "logprobs": LOGPROBS, "extra": LEVELS}), max_size=2),
    "attempt": mostly({"n": WHOLE, "reset": st.booleans(), "reason": TEXT}),
    "route": mostly({"provider": TEXT, "model": TEXT, "deployment": TEXT}),
    "end": mostly({"status": TEXT, "finish": LISTS, "error": mostly({"code": TEXT, "message": TEXT})}),
    "error": mostly({"code": TEXT, "message": TEXT}),
    "extra": LEVELS,
    "logprobs": LOGPROBS,
    "o": LEVELS,
    "u": st.dictionaries(TEXT, ANY, max_size=2),
    "d": TEXT | st.just("YWI="),
} | dict.fromkeys(("c", "i", "n", "p", "upto"), WHOLE)


def events_of(type: Any) -> st.SearchStrategy[dict[str, Any]]:
    fields = mostly({name: RIGHT.get(name, TEXT) for name in type.__struct_fields__})
    return fields.map(lambda found: {**found, "t": name_of(type)})


EVENTS = st.one_of([events_of(type) for type in get_args(KnownJobEvent)])


@given(st.lists(EVENTS, max_size=6))
def test_fold_accepts_every_event_that_decodes(events: list[dict[str, Any]]) -> None:
    fold = Fold()
    for event in events:
        try:
            decoded = Event(EventId(1, 1), json.dumps(event).encode()).decode("job_x")
        except Damaged:
            continue
        fold.add(decoded)
    for index in list(fold.choices):
        fold.choice(index).message()
    again = Fold.of(fold.snapshot())
    assert again.message == fold.message


@given(st.sampled_from(sorted(VIEWS)), st.lists(EVENTS, max_size=6))
def test_views_accept_every_event_that_decodes(view: str, events: list[dict[str, Any]]) -> None:
    replay = Replay(VIEWS[view], Subject(job="job_x", model="p/m"))
    for number, event in enumerate(events, 1):
        with suppress(Damaged):
            replay.add(Event(EventId(1, number), json.dumps(event).encode()))


@pytest.mark.parametrize("view", sorted(VIEWS))
def test_a_tool_call_without_an_id_is_shown(view: str) -> None:
    call = {"type": "function", "function": {"name": "find", "arguments": "{}"}}
    line = json.dumps({"t": "snapshot", "message": {"tool_calls": [call]}}).encode()
    frames = Replay(VIEWS[view], Subject(job="job_x")).add(Event(EventId(1, 1), line))
    assert b"find" in b"".join(frame.data for frame in frames)


@pytest.mark.parametrize(
    "event",
    [
        {"t": "raw", "o": {"message": 5}},
        {"t": "raw", "o": {"details": 5}},
        {"t": "audio.delta", "d": "x"},
        {"t": "audio.delta", "d": "é"},
        {"t": "snapshot", "message": {"tool_calls": None}},
        {"t": "snapshot", "message": {"tool_calls": [5]}},
        {"t": "snapshot", "message": {"content": 5}},
        {"t": "snapshot", "message": {"audio": {"data": "x"}}},
        {"t": "snapshot", "others": [{"c": 1, "message": {"audio": 5}}]},
        {"t": "snapshot", "attempt": {"n": "x"}},
        {"t": "snapshot", "end": {"status": 5}},
        {"t": "end", "status": "failed", "error": {"code": [[]]}},
        {"t": "end", "status": "failed", "error": {"message": 5}},
        {"t": "snapshot", "end": {"status": "failed", "error": {"code": {}}}},
    ],
    ids=json.dumps,
)
def test_events_that_no_fold_accepts_are_damaged(event: dict[str, Any]) -> None:
    with pytest.raises(Damaged, match="cannot be read"):
        Event(EventId(1, 1), json.dumps(event).encode()).decode("job_x")


@pytest.mark.parametrize(
    "event",
    [
        {"t": "raw", "i": 0, "o": {"extra_content": "", "details": 5}},
        {"t": "raw", "o": {"message": {"a": None}, "details": [None]}},
        {"t": "snapshot", "message": {"content": None, "tool_calls": [{"index": 0, "extra_content": 5}], "new": [1]}},
    ],
    ids=json.dumps,
)
def test_fields_without_a_name_may_be_anything(event: dict[str, Any]) -> None:
    Event(EventId(1, 1), json.dumps(event).encode()).decode("job_x")
