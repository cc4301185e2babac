"""A call as events of its log: deltas as they come, and from the whole completion whatever they did not tell.

Without I/O. Once `rest` is in the log, its fold is the completion's message: of a plain call and of a cached answer `rest` is
all there is.
"""

from __future__ import annotations

import base64
from collections.abc import Container
from itertools import chain, pairwise
from typing import Any

import msgspec
from headrace_providers.wire.choice_reducer import Delta

from headrace.chat.completion import CALL, Choice, Completion
from headrace.chat.tool_calls import ToolCalls
from headrace.events.fold import ChoiceParts, Fold
from headrace.events.types import (
    LISTS,
    AudioDelta,
    Image,
    KnownJobEvent,
    Raw,
    ReasoningDelta,
    RefusalDelta,
    Snapshot,
    TextDelta,
    TextEvent,
    ToolDelta,
    ToolEnd,
    ToolStart,
    UsageEvent,
)

TEXTS: dict[str, type[TextDelta | ReasoningDelta | RefusalDelta]] = {
    "text": TextDelta,
    "reasoning": ReasoningDelta,
    "refusal": RefusalDelta,
}
NOTHING = ("", "{}")
"""Arguments before the first piece: servers also send `{}` for them."""


class DeltaEvents:
    """Converts the deltas of one call to events. Tool calls are numbered in the order of their beginnings, and published in
    it. A name may come in pieces: a call is published when its arguments begin, or when the next call does. The arguments
    of tools that are `reshaped` on the wire are published at the end, in the caller's shape."""

    def __init__(self, reshaped: Container[str] = ()) -> None:
        self._reshaped = reshaped
        self._calls = ToolCalls()
        self._told: set[int] = set()  # the calls whose start was told
        self._begun: set[int] = set()  # those of which arguments were told

    def of(self, delta: Delta) -> list[KnownJobEvent]:
        text = TEXTS.get(delta.kind)
        if text is not None:
            return [text(c=0, p=0, d=delta.value)] if delta.value else []
        if delta.kind == "audio":
            return [AudioDelta(c=0, d=base64.b64encode(delta.value).decode())]
        if delta.kind == "image":
            return [Image(c=0, p=0, a=delta.value)]
        if delta.kind == "tool":
            return self._tool(delta.value)
        return []

    def _tool(self, deltas: list[dict[str, Any]]) -> list[KnownJobEvent]:
        events: list[KnownJobEvent] = []
        begun = set(self._begun)
        for i, said in self._calls.add_delta(deltas):
            call = self._calls.calls[i]
            events += [self._start(earlier) for earlier in range(i) if self._is_known(earlier)]
            if i in self._begun:
                if i not in begun:
                    continue  # what began with this chunk is told already, with all that the chunk has of it
            else:
                said = call.argument_text()
                if said in NOTHING or not (i in self._told or self._is_known(i)):
                    continue
                self._begun.add(i)
            if i not in self._told:
                events.append(self._start(i))
            if said and call.name not in self._reshaped:
                events.append(ToolDelta(c=0, i=i, d=said))
        return events

    def _is_known(self, i: int) -> bool:
        call = self._calls.calls[i]
        return i not in self._told and bool(call.id and call.name)

    def _start(self, i: int) -> ToolStart:
        call = self._calls.calls[i]
        self._told.add(i)
        return ToolStart(c=0, i=i, call_id=call.id, name=call.name, type=call.type)


def rest(told: Fold, completion: Completion) -> list[KnownJobEvent]:
    """Return the events that complete the fold `told` to `completion`; a `snapshot`, which replaces everything, if the fold
    is no prefix of it."""
    events: list[KnownJobEvent] = []
    for c, choice in enumerate([completion, *completion.other_choices]):
        more = rest_of_choice(told, c, choice)
        if more is None:
            return [snapshot_of(told, completion)]
        events += more
    return [*events, UsageEvent(msgspec.to_builtins(completion.usage))]


def rest_of_choice(told: Fold, c: int, choice: Choice) -> list[KnownJobEvent] | None:
    """Return the events that complete one choice; None when the fold is no prefix of it."""
    have, want = told.choice(c), choice.message
    events: list[KnownJobEvent] = []
    pieces = {"reasoning": have.reasoning, "text": have.text, "refusal": have.refusal}
    for kind, said in pieces.items():
        more = after("".join(said), want.get("content" if kind == "text" else kind) or "")
        name = "content" if kind == "text" else kind
        tokens = (choice.logprobs or {}).get(name, [])[len(have.logprobs.get(name, ())) :]
        if more is None:
            return None
        if more or tokens:
            events.append(TEXTS[kind](c=c, p=0, d=more, lp=tokens or None))
    calls: list[dict[str, Any]] = want.get("tool_calls", [])
    if any(i >= len(calls) for i in have.tools):
        return None
    for i, call in enumerate(calls):
        more = rest_of_call(told, c, i, call)
        if more is None:
            return None
        events += more
    sound, listed = rest_of_audio(told, c, want.get("audio", {})), rest_of_lists(have, c, want)
    if sound is None or listed is None:
        return None
    raw: dict[str, Any] = choice.extra | ({"details": choice.reasoning_details} if choice.reasoning_details else {})
    if have.details and not choice.reasoning_details:
        return None
    if any(fields.keys() - choice.extra.get(level, {}).keys() for level, fields in have.extra.items()):
        return None
    return events + sound + listed + ([Raw(c=c, o=raw)] if raw else [])


def rest_of_lists(have: ChoiceParts, c: int, want: dict[str, Any]) -> list[KnownJobEvent] | None:
    events: list[KnownJobEvent] = []
    for kind, name in LISTS.items():
        told, listed = have.lists[name], want.get(name, [])
        if told != listed[: len(told)]:
            return None
        events += [kind(c=c, p=0, a=one) for one in listed[len(told) :]]
    return events


def rest_of_call(told: Fold, c: int, i: int, call: dict[str, Any]) -> list[KnownJobEvent] | None:
    have, body = told.choice(c).tools.get(i), call.get("custom") or call["function"]
    said = body["input"] if call["type"] == "custom" else body["arguments"]
    events: list[KnownJobEvent] = []
    if have is None:
        events.append(ToolStart(c=c, i=i, call_id=call["id"], name=body["name"], type=call["type"]))
    elif (have.id, have.name, have.type) != (call["id"], body["name"], call["type"]):
        return None
    more = after("".join(have.pieces) if have else "", said)
    if more is None:
        return None
    if more:
        events.append(ToolDelta(c=c, i=i, d=more))
    extra = {name: value for name, value in call.items() if name not in CALL}
    if have is not None and have.extra.keys() - extra.keys():
        return None
    if extra:
        events.append(Raw(c=c, i=i, o=extra))
    return [*events, ToolEnd(c=c, i=i)]


def rest_of_audio(told: Fold, c: int, audio: dict[str, Any]) -> list[KnownJobEvent] | None:
    have = told.choice(c)
    if not audio:
        return None if have.sound or have.audio else []
    sound = base64.b64decode(audio.get("data", ""))
    came = b"".join(have.sound)
    script = after(have.audio.get("transcript", ""), audio.get("transcript", ""))
    if sound[: len(came)] != came or script is None or have.audio.keys() - audio.keys():
        return None
    return [
        AudioDelta(
            c=c,
            d=base64.b64encode(sound[len(came) :]).decode(),
            audio_id=audio.get("id") or None,
            tr=script or None,
            exp=audio.get("expires_at"),
        )
    ]


def snapshot_of(told: Fold, completion: Completion) -> Snapshot:
    """Return a `snapshot` of `completion`, independent of earlier events."""
    fresh = Fold()
    fresh.attempt, fresh.route = told.attempt, told.route
    for c, choice in enumerate([completion, *completion.other_choices]):
        fresh.choice(c).take(choice.message, choice.logprobs, choice.extra)
    return fresh.snapshot(usage=msgspec.to_builtins(completion.usage))


def merged(events: list[KnownJobEvent]) -> list[KnownJobEvent]:
    """Merge adjacent events that append to the same text; the order is kept, and tools are not mixed."""
    if not any(same_place(earlier, later) for earlier, later in pairwise(events)):
        return events
    runs: list[list[KnownJobEvent]] = []
    for event in events:
        if runs and same_place(runs[-1][0], event):
            runs[-1].append(event)
        else:
            runs.append([event])
    return [run[0] if len(run) == 1 else joined(run) for run in runs]


def same_place(one: KnownJobEvent, other: KnownJobEvent) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, TextEvent) and isinstance(other, TextEvent):
        return one.c == other.c and one.p == other.p
    return isinstance(one, ToolDelta) and isinstance(other, ToolDelta) and one.c == other.c and one.i == other.i


def joined(run: list[KnownJobEvent]) -> KnownJobEvent:
    """Return one event that adds what the events of `run` add, all of the same place."""
    first = run[0]
    if isinstance(first, ToolDelta):
        return ToolDelta(c=first.c, i=first.i, d="".join(event.d for event in run if isinstance(event, ToolDelta)))
    assert isinstance(first, TextEvent)
    texts = [event for event in run if isinstance(event, TextEvent)]
    tokens = [event.lp for event in texts if event.lp is not None]
    d = "".join(event.d for event in texts)
    return type(first)(c=first.c, p=first.p, d=d, lp=list(chain(*tokens)) if tokens else None)


def after(told: str, whole: str) -> str | None:
    """Return the suffix of `whole` after `told`; None when `told` is no prefix of it."""
    return whole[len(told) :] if whole.startswith(told) else None
