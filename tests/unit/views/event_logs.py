"""Event logs of any shape that a worker could write, for Hypothesis."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

from headrace.events.ids import Event, EventId

TEXT = st.text(min_size=1, max_size=8)
DELTAS = st.one_of(
    st.builds(lambda p, d: {"t": "text.delta", "c": 0, "p": p, "d": d}, st.integers(0, 1), TEXT),
    st.builds(lambda d: {"t": "reasoning.delta", "c": 0, "p": 0, "d": d}, TEXT),
    st.builds(lambda d: {"t": "refusal.delta", "c": 0, "p": 0, "d": d}, TEXT),
    st.builds(lambda u: {"t": "annotation", "c": 0, "p": 0, "a": {"url_citation": {"url": u, "title": "x"}}}, TEXT),
    st.builds(lambda p: {"t": "status", "phase": p, "detail": "x"}, st.sampled_from(["waiting", "retrying"])),
    st.builds(
        lambda i, n: {"t": "tool.start", "c": 0, "i": i, "call_id": f"call_{i}", "name": n}, st.integers(0, 2), TEXT
    ),
    st.builds(lambda i, d: {"t": "tool.delta", "c": 0, "i": i, "d": d}, st.integers(0, 2), TEXT),
    st.builds(lambda i: {"t": "tool.end", "c": 0, "i": i}, st.integers(0, 2)),
)
ENDS = st.sampled_from(
    [
        {"t": "end", "status": "succeeded", "finish": [{"c": 0, "reason": "stop"}], "usage": {"input_tokens": 3}},
        {"t": "end", "status": "failed", "error": {"code": "timeout", "message": "too slow"}},
        {"t": "end", "status": "cancelled", "error": {"code": "cancelled"}},
        {"t": "end", "status": "cancelled"},
    ]
)


@st.composite
def attempts(draw: Any, epoch: int = 17, n: int = 1, ended: bool = True) -> list[Event]:
    """One attempt: its start, its route, anything, and its end."""
    bodies = [{"t": "attempt.start", "n": n, "reset": n > 1, "reason": "claim"}]
    bodies += [{"t": "attempt.route", "provider": "p", "model": "p/m", "deployment": "p", "cached": False}]
    bodies += once(draw(st.lists(DELTAS, max_size=20)))
    bodies += [draw(ENDS)] if ended else []
    return [Event(EventId(epoch, seq), msgspec.json.encode(body)) for seq, body in enumerate(bodies, 1)]


def once(bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A tool call begins once, before anything else is said of it, and ends once."""
    kept, begun, ended = [], set(), set()
    for body in bodies:
        place = body.get("i")
        if body["t"] == "tool.start":
            if place in begun:
                continue
            begun.add(place)
        elif place is not None and (place not in begun or place in ended):
            continue
        if body["t"] == "tool.end":
            ended.add(place)
        kept.append(body)
    return kept


def said(log: list[Event], kind: str, place: int | None = None) -> str:
    """All deltas of one kind (and of one tool call), put together."""
    decoded = [msgspec.json.decode(event.data) for event in log]
    return "".join(one["d"] for one in decoded if one["t"] == kind and one.get("i") == place)
