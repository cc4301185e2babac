"""OpenAI's chat completion chunks. The format cannot take back what was said: a viewer that was shown something of an
attempt which was given up gets an error. A chunk with an id always shows something, so a resumed viewer is known by its id."""

from __future__ import annotations

from typing import Any

from headrace.chat.chat_object import beside, completion_id, finish_reason, logprobs_object
from headrace.chat.error_object import status_and_code, type_of
from headrace.events.ids import EventId
from headrace.events.types import (
    Annotation,
    AttemptRoute,
    AttemptStart,
    AudioDelta,
    Citation,
    End,
    Image,
    JobEvent,
    JsonObject,
    Raw,
    ReasoningDelta,
    RefusalDelta,
    Snapshot,
    TextDelta,
    TextEvent,
    ToolDelta,
    ToolStart,
)
from headrace_api.views.view import Subject, View, encode, failure_of, finish_reasons, usage_of

DONE = b"[DONE]"
TEXTS: dict[type[TextEvent], str] = {
    TextDelta: "content",
    ReasoningDelta: "reasoning_content",
    RefusalDelta: "refusal",
}
SUPERSEDED = "a new attempt began after part of the answer had been sent; ask for the job's result"


class OpenAI(View):
    name = "openai"
    holds = True

    def __init__(self, subject: Subject):
        super().__init__(subject)
        self._model = subject.model
        self._created = 0
        self._begun: set[int] = set()  # choices whose role was sent
        self._beside: JsonObject = {}  # what goes with the last chunks: of the answer, and of its choices
        self._choices_beside: dict[int, JsonObject] = {}
        self._custom: set[tuple[int, int]] = set()  # choices and calls of tools that take a text

    def add(self, id: EventId, event: JobEvent) -> list[bytes]:
        match event:
            case TextEvent():
                return self._said_text(event)
            case AttemptStart():
                if self._begun:
                    return self.superseded()
                self._created = id.epoch // 1000
            case AttemptRoute(model=model):
                self._model = model or self._model
            case Snapshot():
                return [] if self._begun else self._snapshot(event)
            case End():
                return self._end(event)
            case Citation(a=cited):
                self._beside.setdefault("citations", []).append(cited)
            case ToolStart() | ToolDelta():
                return [self._chunk(event.c, {"tool_calls": [self._call(event)]})]
            case AudioDelta() | Annotation() | Image():
                return [self._chunk(event.c, delta_of(event))]
            case Raw(c=choice, i=i, o=fields):
                if i is None:
                    self._beside |= fields.get("answer", {})
                    self._choices_beside.setdefault(choice, {}).update(fields.get("choice", {}))
                delta = raw_of(event)
                return [] if delta is None else [self._chunk(choice, delta)]
            case _:
                pass
        return []

    def superseded(self) -> list[bytes]:
        self.closed = True
        return [error("superseded", SUPERSEDED, "server_error")]

    def interrupted(self, why: str) -> list[bytes]:
        return [error("interrupted", f"{why}; {self.subject.job} goes on, ask for its result", "server_error")]

    def _said_text(self, event: TextEvent) -> list[bytes]:
        kind = type(event)
        chunk = self._chunk
        delta = {TEXTS[kind]: event.d}
        if not event.lp:
            return [chunk(event.c, delta)]
        # The official client for Python counts the logprobs of a choice's first chunk twice.
        opening = [] if event.c in self._begun else [chunk(event.c, {"content": ""})]
        logprobs = logprobs_object({"refusal" if kind is RefusalDelta else "content": event.lp})
        return [*opening, chunk(event.c, delta, logprobs)]

    def _call(self, event: ToolStart | ToolDelta) -> JsonObject:
        """Return an event of a tool call as its delta: a custom tool's text goes where the client puts it together."""
        if isinstance(event, ToolStart):
            if event.type == "custom":
                self._custom.add((event.c, event.i))
            place = "custom" if event.type == "custom" else "function"
            inside = {"name": event.name, "input" if place == "custom" else "arguments": ""}
            return {"index": event.i, "id": event.call_id, "type": place, place: inside}
        if (event.c, event.i) in self._custom:
            return {"index": event.i, "custom": {"input": event.d}}
        return {"index": event.i, "function": {"arguments": event.d}}

    def _chunk(self, choice: int, delta: JsonObject, logprobs: JsonObject | None = None) -> bytes:
        if choice not in self._begun:
            delta = {"role": "assistant"} | delta
        # The official client for Python finds a choice by its place among those that have begun.
        before = [self._piece(each, {"role": "assistant"}) for each in range(choice) if each not in self._begun]
        self._begun |= {*range(choice + 1)}
        return self._shared([*before, self._piece(choice, delta, logprobs)], {})

    def _piece(self, choice: int, delta: JsonObject, logprobs: JsonObject | None = None) -> JsonObject:
        return {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": None}

    def _shared(self, choices: list[JsonObject], more: JsonObject) -> bytes:
        head = {"id": completion_id(self.subject.job), "object": "chat.completion.chunk", "created": self._created}
        return encode(head | {"model": self._model, "choices": choices} | more)

    def _snapshot(self, event: Snapshot) -> list[bytes]:
        extra = event.extra or {}
        citations = {"citations": event.message["citations"]} if event.message.get("citations") else {}
        self._beside = extra.get("answer", {}) | citations
        frames = self._whole(0, event.message, extra, event.logprobs)
        for other in event.others or ():
            frames += self._whole(other.c, other.message, other.extra or {}, other.logprobs)
        return frames

    def _whole(
        self, choice: int, message: JsonObject, extra: dict[str, JsonObject], logprobs: dict[str, Any] | None
    ) -> list[bytes]:
        self._choices_beside[choice] = extra.get("choice", {})
        apart = ("role", "tool_calls", "reasoning", "citations")
        delta = extra.get("message", {}) | {
            name: value for name, value in message.items() if value and name not in apart
        }
        if message.get("reasoning"):
            delta["reasoning_content"] = message["reasoning"]
        if message.get("tool_calls"):
            delta["tool_calls"] = [{"index": place} | call for place, call in enumerate(message["tool_calls"])]
        if not delta:
            return []
        opening = [self._chunk(choice, {"content": ""})] if logprobs and choice not in self._begun else []
        return [*opening, self._chunk(choice, delta, logprobs_object(logprobs))]

    def _end(self, event: End) -> list[bytes]:
        self.closed = True
        failed = failure_of(event)
        if failed is not None:
            self.failure = None if self._begun else failed
            status, code = status_and_code(failed[0])
            return [error(code, failed[1], type_of(status))]
        frames = []
        said = beside(event.service_tier, event.system_fingerprint)
        for choice, reason in finish_reasons(event):
            delta = {} if choice in self._begun else {"role": "assistant", "content": ""}
            ended = {"index": choice, "delta": delta, "logprobs": None, "finish_reason": finish_reason(reason)}
            around = (self._beside if choice == 0 else {}) | said
            frames.append(self._shared([self._choices_beside.get(choice, {}) | ended], around))
        if self.subject.include_usage:
            frames.append(self._shared([], {"usage": usage_of(event)} | said))
        return [*frames, DONE]


def delta_of(event: AudioDelta | Annotation | Image) -> JsonObject:
    """Return an event's `delta` to a choice."""
    match event:
        case AudioDelta():
            parts = {"id": event.audio_id, "data": event.d, "transcript": event.tr, "expires_at": event.exp}
            return {"audio": {name: part for name, part in parts.items() if part is not None}}
        case Annotation():
            return {"annotations": [event.a]}
        case Image():
            return {"images": [event.a]}


def raw_of(event: Raw) -> JsonObject | None:
    """Return a provider's own fields of a message or a tool call: clients send them back unchanged."""
    said = event.o
    if event.i is not None:
        return {"tool_calls": [{"index": event.i} | said]}
    details = {"reasoning_details": said["details"]} if said.get("details") else {}
    return said.get("message", {}) | details or None


def error(code: str, message: str, sort: str) -> bytes:
    """Return OpenAI's error object as a frame."""
    return encode({"error": {"message": message, "type": sort, "param": None, "code": code}})
