"""Assert what every viewer of every log must have seen, whatever happened, and make logs for any test.

U1: no event is missing (but for those that a snapshot stands for). U2: ids grow. U3: the fold of all is the job's result. U4:
one `end`, which is the last. U5: another attempt begins with its `attempt.start`. U6: no event comes late.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import strategies as st
from time_scaling import scaled_s

from headrace.events.fold import Fold, fold
from headrace.events.ids import Event, EventId
from headrace.events.types import JobEvent, decode_job_event


def typed(event: dict[str, Any]) -> JobEvent:
    """The event that a worker would have written as this object."""
    return decode_job_event(msgspec.json.encode(event))


class Transcript:
    """The events that one viewer was given, in their order, over all its connections."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._waited_s: list[tuple[float, float]] = []  # of each: since when its connection was there, when it came

    def add(self, event: Event, at_s: float = 0.0, since_s: float = 0.0) -> None:
        """`event` came `at_s`, on a connection that was there `since_s`."""
        self.events.append(event)
        self._waited_s.append((since_s, at_s))

    @property
    def ids(self) -> list[EventId]:
        return [event.id for event in self.events]

    @property
    def decoded(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(event.data) for event in self.events]

    def fold(self) -> Fold:
        return fold(event.decode("job") for event in self.events)

    def check(self, outcome: bytes | None = None) -> Fold:
        """Assert U1 to U5 of a whole transcript; `outcome` is the job's stored result (`{job}:result`). Returns the fold."""
        decoded = self.decoded
        for (earlier, _), (later, what) in pairwise(zip(self.ids, decoded, strict=True)):
            assert later > earlier, f"U2: {later} after {earlier}"
            assert later.follows(earlier) or what["t"] == "snapshot", f"U1: {later} does not follow {earlier}"
        assert [event["t"] for event in decoded].count("end") == 1, "U4: one end"
        assert decoded[-1]["t"] == "end", "U4: the end is last"
        assert decoded[0]["t"] in ("attempt.start", "snapshot"), "it begins with an attempt"
        for (id, earlier), (later_id, later) in pairwise(zip(self.ids, decoded, strict=True)):
            if later_id.epoch != id.epoch:
                assert later["t"] in ("attempt.start", "snapshot"), f"U5: {earlier} goes on as {later}"
        folded = self.fold()
        if outcome is not None:
            stored = msgspec.json.decode(outcome)
            completion = stored.get("completion")
            if completion is not None:
                assert folded.message == message_of(completion), "U3: the fold is the result"
        return folded

    def check_never_stalled(
        self, written_s: dict[EventId, float], away_s: Sequence[tuple[float, float]] = (), *, most_s: float = 0.5
    ) -> None:
        """U6: no event came later than `most_s` after it was in the log and its viewer connected. The times `away_s`, from
        and to, in which nobody was answered, do not count."""
        most_s = scaled_s(most_s)
        for event, (since_s, at_s) in zip(self.events, self._waited_s, strict=True):
            if event.id in written_s:
                from_s = max(written_s[event.id], since_s)
                excused_s = overlap_s(from_s, at_s, away_s)
                late_s = at_s - from_s - excused_s
                assert late_s <= most_s, f"U6: {event.id} came {late_s:.2f} s late, not counting {excused_s:.2f} s"


def overlap_s(from_s: float, to_s: float, spans_s: Sequence[tuple[float, float]]) -> float:
    """How much of the time between `from_s` and `to_s` lies in any of `spans_s`."""
    total_s = 0.0
    for start_s, end_s in sorted(spans_s):
        start_s = max(start_s, from_s)
        if (end_s := min(end_s, to_s)) > start_s:
            total_s += end_s - start_s
            from_s = end_s
    return total_s


def message_of(choice: dict[str, Any]) -> dict[str, Any]:
    """A choice of a stored completion as OpenAI's message, what is empty left out: said here anew, not by the product."""
    message = {"role": "assistant", "content": choice["content"]}
    names = ("reasoning", "reasoning_details", "refusal", "tool_calls", "audio", "annotations", "images", "citations")
    return message | {name: choice[name] for name in names if choice.get(name)}


_words = st.text(max_size=6)
_choices = st.integers(0, 1)
_kinds_of_tools = st.sampled_from(["function", "custom"])
_tokens = st.lists(st.fixed_dictionaries({"token": _words, "logprob": st.just(-1.5)}), max_size=2)

_fields = st.dictionaries(st.sampled_from(["extra_content", "other"]), _words, max_size=2)


def _event(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"t": st.just(kind), **fields})


deltas = st.one_of(
    _event("text.delta", c=_choices, p=st.just(0), d=_words, lp=_tokens),
    _event("text.delta", c=_choices, p=st.just(0), d=_words),
    _event("reasoning.delta", c=_choices, p=st.just(0), d=_words),
    _event("refusal.delta", c=_choices, p=st.just(0), d=_words, lp=_tokens),
    _event("tool.start", c=_choices, i=st.integers(0, 4), call_id=_words, name=_words, type=_kinds_of_tools),
    _event("tool.delta", c=_choices, i=st.integers(0, 4), d=_words),
    _event("tool.end", c=_choices, i=st.integers(0, 4)),
    _event("audio.delta", c=_choices, audio_id=_words, d=st.sampled_from(["", "AAEC", "Aw=="]), tr=_words, exp=st.integers(0, 9)),
    _event("annotation", c=_choices, p=st.just(0), a=st.fixed_dictionaries({"url": _words})),
    _event("usage", u=st.fixed_dictionaries({"input_tokens": st.integers(0, 9)})),
    _event("status", phase=st.just("retrying"), detail=_words),
    _event("image", c=_choices, p=st.just(0), a=st.fixed_dictionaries({"image_url": _words})),
    _event("citation", c=_choices, p=st.just(0), a=_words),
    _event("raw", c=_choices, o=st.fixed_dictionaries({"choice": _fields, "details": st.lists(_words, max_size=2)})),
    _event("raw", c=_choices, i=st.integers(0, 4), o=_fields),
)  # fmt: skip
starts = _event("attempt.start", n=st.integers(1, 3), reset=st.booleans(), reason=_words)
routes = _event("attempt.route", provider=_words, model=_words, deployment=_words, cached=st.booleans())
ends = _event("end", status=st.just("succeeded"), finish=st.just([{"c": 0, "reason": "stop"}]), usage=st.just({}))
logs = st.builds(
    lambda start, parts, end: [start, *parts, *end],
    starts,
    st.lists(st.one_of(deltas, deltas, deltas, deltas, routes, starts), max_size=30),
    st.lists(ends, max_size=1),
)
"""Any log, of one attempt or several, ended or not."""
