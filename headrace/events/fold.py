"""Folds the events of a log into the message that they tell. Pure: no I/O, no clock.

What a fold has seen can be cut anywhere: `Fold.of(snapshot)` goes on as the fold did that gave the snapshot.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from headrace.chat.completion import CALL

Event = dict[str, Any]

LISTS = {"annotation": "annotations", "image": "images", "citation": "citations"}
"""Events that add one to a list of the message."""


class ToolParts:
    """One tool call as far as it has come."""

    def __init__(self, id: str, name: str, type: str):
        self.id = id
        self.name = name
        self.type = type
        self.pieces: list[str] = []
        self.extra: dict[str, Any] = {}

    def message(self) -> dict[str, Any]:
        """In OpenAI's shape."""
        said = "".join(self.pieces)
        if self.type == "custom":
            call = {"id": self.id, "type": "custom", "custom": {"name": self.name, "input": said}}
        else:
            call = {"id": self.id, "type": self.type, "function": {"name": self.name, "arguments": said}}
        return call | self.extra


class ChoiceParts:
    """One choice as far as it has come."""

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
        """The assistant's message in OpenAI's shape; what is not there is left out, but for `content`."""
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
        """Be what `message` says, as it stands in a snapshot: its tool calls carry their `index`."""
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
        self.audio, self.sound = audio, [base64.b64decode(data)] if data else []
        self.details = list(message.get("reasoning_details", ()))
        self.lists = {name: list(message.get(name, ())) for name in LISTS.values()}
        self.extra = {level: dict(fields) for level, fields in (extra or {}).items()}
        self.logprobs = {name: list(tokens) for name, tokens in (logprobs or {}).items()}


class Fold:
    """The state of a log after the events that were added, in their order.

    `attempt`, `route` and `end` are those events without their type (`end` is None before it), `finish` the reasons of the
    choices, `usage` what was said of tokens last. A new attempt clears all that was before.
    """

    def __init__(self) -> None:
        self.attempt: dict[str, Any] = {}
        self.route: dict[str, Any] = {}
        self.usage: dict[str, Any] | None = None
        self.finish: list[dict[str, Any]] = []
        self.end: dict[str, Any] | None = None
        self.choices: dict[int, ChoiceParts] = {}

    @property
    def message(self) -> dict[str, Any]:
        """Return what the first choice says, in OpenAI's shape: `role`, `content`, and, where there is any, `reasoning`,
        `reasoning_details`, `refusal`, `tool_calls`, `audio`, `annotations`, `images`, `citations`."""
        return self.choice(0).message()

    def choice(self, index: int) -> ChoiceParts:
        if index not in self.choices:
            self.choices[index] = ChoiceParts()
        return self.choices[index]

    def add(self, event: Event) -> None:
        """Take in the next event. What is of an unknown type changes nothing: a newer writer may know more types."""
        take = TAKES.get(event.get("t", ""))
        if take is not None:
            take(self, event)

    def snapshot(self) -> dict[str, Any]:
        """All of it, as the fields of a `snapshot` event: `message` is the first choice's, `others` are those after it."""
        fields: dict[str, Any] = {"attempt": self.attempt, "route": self.route, **self._snapshot_of(0)}
        others = [{"c": index, **self._snapshot_of(index)} for index in sorted(self.choices) if index]
        if others:
            fields["others"] = others
        if self.usage is not None:
            fields["usage"] = self.usage
        if self.end is not None:
            fields["end"] = self.end
        return fields

    @staticmethod
    def of(snapshot: dict[str, Any]) -> Fold:
        """The fold that gave `snapshot`."""
        fold = Fold()
        fold.add({"t": "snapshot", **snapshot})
        return fold

    def _snapshot_of(self, index: int) -> dict[str, Any]:
        parts = self.choice(index)
        message = parts.message()
        beside = {"logprobs": parts.logprobs, "extra": parts.extra}
        for i, call in zip(sorted(parts.tools), message.get("tool_calls", ()), strict=True):
            call["index"] = i
        return {"message": message} | {name: said for name, said in beside.items() if said}

    def _start(self, event: Event) -> None:
        self.__init__()
        self.attempt = untyped(event)

    def _route(self, event: Event) -> None:
        self.route = untyped(event)

    def _text(self, event: Event) -> None:
        kind = event["t"].partition(".")[0]
        parts = self.choice(event.get("c", 0))
        if event.get("d"):
            getattr(parts, kind).append(event["d"])
        if event.get("lp"):
            parts.logprobs.setdefault("content" if kind == "text" else kind, []).extend(event["lp"])

    def _tool_start(self, event: Event) -> None:
        tool = ToolParts(event.get("call_id", ""), event.get("name", ""), event.get("type", "function"))
        self.choice(event.get("c", 0)).tools[event.get("i", 0)] = tool

    def _tool_delta(self, event: Event) -> None:
        tool = self.choice(event.get("c", 0)).tools.get(event.get("i", 0))
        if tool is not None:
            tool.pieces.append(event.get("d", ""))

    def _audio(self, event: Event) -> None:
        parts = self.choice(event.get("c", 0))
        if event.get("d"):
            parts.sound.append(base64.b64decode(event["d"]))
        if event.get("audio_id"):
            parts.audio["id"] = event["audio_id"]
        if event.get("tr"):
            parts.audio["transcript"] = parts.audio.get("transcript", "") + event["tr"]
        if event.get("exp") is not None:
            parts.audio["expires_at"] = event["exp"]

    def _listed(self, event: Event) -> None:
        self.choice(event.get("c", 0)).lists[LISTS[event["t"]]].append(event.get("a"))

    def _raw(self, event: Event) -> None:
        parts, said = self.choice(event.get("c", 0)), event.get("o", {})
        if "i" in event:
            if event["i"] in parts.tools:
                parts.tools[event["i"]].extra.update(said)
            return
        for level, fields in said.items():
            if level == "details":
                parts.details = list(fields)
            else:
                parts.extra.setdefault(level, {}).update(fields)

    def _usage(self, event: Event) -> None:
        self.usage = event.get("u")

    def _snapshot(self, event: Event) -> None:
        self.__init__()
        self.attempt, self.route = event.get("attempt", {}), event.get("route", {})
        for choice in ({"c": 0, **event}, *event.get("others", ())):
            self.choice(choice["c"]).take(choice.get("message", {}), choice.get("logprobs"), choice.get("extra"))
        self.usage = event.get("usage")
        if event.get("end") is not None:
            self._end(event["end"])

    def _end(self, event: Event) -> None:
        self.end = untyped(event)
        self.finish = event.get("finish", [])
        self.usage = event.get("usage", self.usage)


TAKES = {
    "attempt.start": Fold._start,
    "attempt.route": Fold._route,
    "text.delta": Fold._text,
    "reasoning.delta": Fold._text,
    "refusal.delta": Fold._text,
    "tool.start": Fold._tool_start,
    "tool.delta": Fold._tool_delta,
    "audio.delta": Fold._audio,
    **dict.fromkeys(LISTS, Fold._listed),
    "raw": Fold._raw,
    "usage": Fold._usage,
    "snapshot": Fold._snapshot,
    "end": Fold._end,
}


def fold(events: Iterable[Event]) -> Fold:
    """The fold of `events`."""
    folded = Fold()
    for event in events:
        folded.add(event)
    return folded


def untyped(event: Event) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name != "t"}
