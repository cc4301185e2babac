"""Fold the events of a log into a message. Pure: no I/O, no clock.

A fold can be resumed anywhere: `Fold.of(snapshot)` continues like the fold that gave the snapshot.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from typing import Any

from headrace.chat.completion import CALL
from headrace.events.types import (
    LISTS,
    Annotation,
    AttemptRoute,
    AttemptStart,
    AudioDelta,
    Citation,
    End,
    FinishReason,
    Image,
    JobEvent,
    JsonObject,
    Raw,
    ReasoningDelta,
    RefusalDelta,
    Snapshot,
    SnapshotChoice,
    TextDelta,
    TextEvent,
    ToolDelta,
    ToolStart,
    UsageEvent,
    fields_of,
    of_fields,
)


class ToolParts:
    """The state of one tool call."""

    def __init__(self, id: str, name: str, type: str):
        self.id = id
        self.name = name
        self.type = type
        self.pieces: list[str] = []
        self.extra: dict[str, Any] = {}

    def message(self) -> dict[str, Any]:
        """Return the message in OpenAI's shape."""
        said = "".join(self.pieces)
        if self.type == "custom":
            call = {"id": self.id, "type": "custom", "custom": {"name": self.name, "input": said}}
        else:
            call = {"id": self.id, "type": self.type, "function": {"name": self.name, "arguments": said}}
        return call | self.extra


class ChoiceParts:
    """The state of one choice."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.tools: dict[int, ToolParts] = {}
        self.audio: dict[str, Any] = {}
        self.sound: list[bytes] = []
        self.details: list[Any] = []
        self.lists: dict[str, list[Any]] = {name: [] for name in LISTS.values()}
        self.logprobs: dict[str, list[Any]] = {}
        self.extra: dict[str, dict[str, Any]] = {}

    def message(self) -> dict[str, Any]:
        """Return the assistant's message in OpenAI's shape; what is not there is left out, but for `content`."""
        text, refusal = "".join(self.text), "".join(self.refusal)
        sound = {"data": base64.b64encode(b"".join(self.sound)).decode()} if self.sound else {}
        parts = {
            "reasoning": "".join(self.reasoning),
            "reasoning_details": list(self.details),
            "refusal": refusal,
            "tool_calls": [self.tools[i].message() for i in sorted(self.tools)],
            "audio": self.audio | sound,
            **{name: list(found) for name, found in self.lists.items()},
        }
        silent = parts["refusal"] or parts["tool_calls"] or parts["audio"] or parts["images"]
        message: dict[str, Any] = {"role": "assistant", "content": text if text or not silent else None}
        return message | {name: part for name, part in parts.items() if part}

    def take(
        self,
        message: dict[str, Any],
        logprobs: dict[str, list[Any]] | None,
        extra: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        """Replace the state by a snapshot's `message`, whose tool calls carry their `index`."""
        for name in ("text", "reasoning", "refusal"):
            said = message.get("content" if name == "text" else name)
            setattr(self, name, [said] if said else [])
        self.tools = {}
        for position, call in enumerate(message.get("tool_calls", ())):
            body = call.get("custom") or call.get("function") or {}
            tool = ToolParts(call.get("id", ""), body.get("name", ""), call.get("type", "function"))
            tool.extra = {name: value for name, value in call.items() if name not in CALL}
            tool.pieces = [body.get("input", "") if tool.type == "custom" else body.get("arguments", "")]
            self.tools[call.get("index", position)] = tool
        audio = dict(message.get("audio", {}))
        data = audio.pop("data", "")
        sound = base64.b64decode(data)
        self.audio, self.sound = audio, [sound] if sound else []
        self.details = list(message.get("reasoning_details", ()))
        self.lists = {name: list(message.get(name, ())) for name in LISTS.values()}
        self.extra = {level: dict(fields) for level, fields in (extra or {}).items()}
        self.logprobs = {name: list(tokens) for name, tokens in (logprobs or {}).items()}


class Fold:
    """The reduced state of a log: a reducer that events are added to in order.

    `attempt`, `route` and `end` are those events (None before they came), `finish` the finish reasons of the choices,
    `usage` the latest token counts. A new attempt clears the state of the one before.
    """

    def __init__(self) -> None:
        self.attempt: AttemptStart | None = None
        self.route: AttemptRoute | None = None
        self.usage: JsonObject | None = None
        self.finish: list[FinishReason] = []
        self.end: End | None = None
        self.choices: dict[int, ChoiceParts] = {}

    @property
    def message(self) -> dict[str, Any]:
        """Return the first choice's message in OpenAI's shape: `role`, `content`, and, where present, `reasoning`,
        `reasoning_details`, `refusal`, `tool_calls`, `audio`, `annotations`, `images`, `citations`."""
        return self.choice(0).message()

    def choice(self, index: int) -> ChoiceParts:
        if index not in self.choices:
            self.choices[index] = ChoiceParts()
        return self.choices[index]

    def add(self, event: JobEvent) -> None:
        """Apply the next event. One of an unknown type is ignored: a newer writer may know more types."""
        take = TAKES.get(type(event))
        if take is not None:
            take(self, event)

    def snapshot(self, upto: int = 0, *, usage: JsonObject | None = None) -> Snapshot:
        """Return the state as a snapshot that replaces the events up to number `upto`; with `usage`, those token counts."""
        first, *others = (self._snapshot_of(index) for index in (0, *sorted(index for index in self.choices if index)))
        return Snapshot(
            upto=upto,
            attempt=fields_of(self.attempt) if self.attempt else {},
            route=fields_of(self.route) if self.route else {},
            message=first.message,
            logprobs=first.logprobs,
            extra=first.extra,
            others=others or None,
            usage=self.usage if usage is None else usage,
            end=fields_of(self.end) if self.end else None,
        )

    @staticmethod
    def of(snapshot: Snapshot) -> Fold:
        """Return the fold that `snapshot` was taken of."""
        fold = Fold()
        fold.add(snapshot)
        return fold

    def _snapshot_of(self, index: int) -> SnapshotChoice:
        parts = self.choice(index)
        message = parts.message()
        for i, call in zip(sorted(parts.tools), message.get("tool_calls", ()), strict=True):
            call["index"] = i
        return SnapshotChoice(index, message, parts.logprobs or None, parts.extra or None)

    def _start(self, event: AttemptStart) -> None:
        self.__init__()
        self.attempt = event

    def _route(self, event: AttemptRoute) -> None:
        self.route = event

    def _text(self, event: TextDelta) -> None:
        self._piece(event, self.choice(event.c).text, "content")

    def _reasoning(self, event: ReasoningDelta) -> None:
        self._piece(event, self.choice(event.c).reasoning, "reasoning")

    def _refusal(self, event: RefusalDelta) -> None:
        self._piece(event, self.choice(event.c).refusal, "refusal")

    def _piece(self, event: TextEvent, pieces: list[str], name: str) -> None:
        if event.d:
            pieces.append(event.d)
        if event.lp:
            self.choice(event.c).logprobs.setdefault(name, []).extend(event.lp)

    def _tool_start(self, event: ToolStart) -> None:
        self.choice(event.c).tools[event.i] = ToolParts(event.call_id, event.name, event.type)

    def _tool_delta(self, event: ToolDelta) -> None:
        tool = self.choice(event.c).tools.get(event.i)
        if tool is not None:
            tool.pieces.append(event.d)

    def _audio(self, event: AudioDelta) -> None:
        parts = self.choice(event.c)
        if sound := base64.b64decode(event.d):
            parts.sound.append(sound)
        if event.audio_id:
            parts.audio["id"] = event.audio_id
        if event.tr:
            parts.audio["transcript"] = parts.audio.get("transcript", "") + event.tr
        if event.exp is not None:
            parts.audio["expires_at"] = event.exp

    def _listed(self, event: Annotation | Image | Citation) -> None:
        self.choice(event.c).lists[LISTS[type(event)]].append(event.a)

    def _raw(self, event: Raw) -> None:
        parts = self.choice(event.c)
        if event.i is not None:
            if event.i in parts.tools:
                parts.tools[event.i].extra.update(event.o)
            return
        for level, fields in event.o.items():
            if level == "details":
                parts.details = list(fields)
            else:
                parts.extra.setdefault(level, {}).update(fields)

    def _usage(self, event: UsageEvent) -> None:
        self.usage = event.u

    def _snapshot(self, event: Snapshot) -> None:
        self.__init__()
        self.attempt = of_fields(AttemptStart, event.attempt) if event.attempt else None
        self.route = of_fields(AttemptRoute, event.route) if event.route else None
        self.choice(0).take(event.message, event.logprobs, event.extra)
        for choice in event.others or ():
            self.choice(choice.c).take(choice.message, choice.logprobs, choice.extra)
        self.usage = event.usage
        if event.end is not None:
            self._end(of_fields(End, event.end))

    def _end(self, event: End) -> None:
        self.end = event
        self.finish = event.finish or []
        if event.usage is not None:
            self.usage = event.usage


TAKES: dict[type, Callable[[Fold, Any], None]] = {
    AttemptStart: Fold._start,
    AttemptRoute: Fold._route,
    TextDelta: Fold._text,
    ReasoningDelta: Fold._reasoning,
    RefusalDelta: Fold._refusal,
    ToolStart: Fold._tool_start,
    ToolDelta: Fold._tool_delta,
    AudioDelta: Fold._audio,
    **dict.fromkeys(LISTS, Fold._listed),
    Raw: Fold._raw,
    UsageEvent: Fold._usage,
    Snapshot: Fold._snapshot,
    End: Fold._end,
}


def fold(events: Iterable[JobEvent]) -> Fold:
    """Return the fold of `events`."""
    folded = Fold()
    for event in events:
        folded.add(event)
    return folded
