"""OpenAI's chat completion chunks. The format cannot take back what was said: a viewer that was shown something of an
attempt which was given up gets an error. A chunk with an id always shows something, so a resumed viewer is known by its id."""

from __future__ import annotations

from typing import Any

from headrace.errors import CODES
from headrace.events.ids import EventId
from headrace_api.views.view import Subject, View, encode, failure_of, finish_reasons, usage_of

DONE = b"[DONE]"
SUPERSEDED = "a new attempt began after part of the answer had been sent; ask for the job's result"


class OpenAI(View):
    name = "openai"
    holds = True

    def __init__(self, subject: Subject):
        super().__init__(subject)
        self._model = subject.model
        self._created = 0
        self._begun: set[int] = set()  # choices whose role was sent
        self._beside: dict[str, Any] = {}  # what goes with the last chunks: of the answer, and of its choices
        self._choices_beside: dict[int, dict[str, Any]] = {}

    def add(self, id: EventId, event: dict[str, Any]) -> list[bytes]:
        kind = event["t"]
        if kind == "attempt.start":
            if self._begun:
                return self.superseded()
            self._created = id.epoch // 1000
            self._model = event.get("model") or self._model
        elif kind == "attempt.route":
            self._model = event.get("model") or self._model
        elif kind == "snapshot":
            return [] if self._begun else self._whole(event["message"], event.get("extra", {}))
        elif kind == "end":
            return self._end(event)
        else:
            delta = delta_of(event)
            if kind == "citation":
                self._beside.setdefault("citations", []).append(event["a"])
            elif kind == "raw" and "i" not in event:
                self._beside |= event["o"].get("answer", {})
                self._choices_beside.setdefault(event.get("c", 0), {}).update(event["o"].get("choice", {}))
            if delta is not None:
                choice, logprobs = event.get("c", 0), event.get("lp")
                # The official client for Python counts the logprobs of a choice's first chunk twice.
                opening = [self._chunk(choice, {"content": ""})] if logprobs and choice not in self._begun else []
                return [*opening, self._chunk(choice, delta, logprobs, kind)]
        return []

    def superseded(self) -> list[bytes]:
        self.closed = True
        return [error("superseded", SUPERSEDED, "server_error")]

    def interrupted(self, why: str) -> list[bytes]:
        return [error("interrupted", f"{why}; {self.subject.job} goes on, ask for its result", "server_error")]

    def _chunk(self, choice: int, delta: dict[str, Any], logprobs: Any = None, kind: str = "") -> bytes:
        if choice not in self._begun:
            self._begun.add(choice)
            delta = {"role": "assistant"} | delta
        part = "refusal" if kind == "refusal.delta" else "content"
        probabilities = {part: logprobs} if logprobs else None
        return self._shared([{"index": choice, "delta": delta, "logprobs": probabilities, "finish_reason": None}], {})

    def _shared(self, choices: list[dict[str, Any]], more: dict[str, Any]) -> bytes:
        head = {"id": f"chatcmpl-{self.subject.job}", "object": "chat.completion.chunk", "created": self._created}
        return encode(head | {"model": self._model, "choices": choices} | more)

    def _whole(self, message: dict[str, Any], extra: dict[str, dict[str, Any]]) -> list[bytes]:
        beside = {"citations": message["citations"]} if message.get("citations") else {}
        self._beside, self._choices_beside = extra.get("answer", {}) | beside, {0: extra.get("choice", {})}
        apart = ("role", "tool_calls", "reasoning", "citations")
        delta = extra.get("message", {}) | {
            name: value for name, value in message.items() if value and name not in apart
        }
        if message.get("reasoning"):
            delta["reasoning_content"] = message["reasoning"]
        if message.get("tool_calls"):
            delta["tool_calls"] = [{"index": place} | call for place, call in enumerate(message["tool_calls"])]
        return [self._chunk(0, delta)] if delta else []

    def _end(self, event: dict[str, Any]) -> list[bytes]:
        self.closed = True
        failed = failure_of(event)
        if failed is not None:
            code, message = failed
            sort = "invalid_request_error" if code in CODES and CODES[code].http < 500 else "server_error"
            return [error(code, message, sort)]
        frames = []
        for choice, reason in finish_reasons(event):
            delta = {} if choice in self._begun else {"role": "assistant", "content": ""}
            ended = {"index": choice, "delta": delta, "logprobs": None, "finish_reason": reason}
            beside = self._beside if choice == 0 else {}
            frames.append(self._shared([self._choices_beside.get(choice, {}) | ended], beside))
        if self.subject.include_usage:
            frames.append(self._shared([], {"usage": usage_of(event)}))
        return [*frames, DONE]


def delta_of(event: dict[str, Any]) -> dict[str, Any] | None:
    """Return what an event adds to a choice, as a `delta`; None for what the format has no place for."""
    kind, text = event["t"], event.get("d")
    if kind in ("text.delta", "reasoning.delta", "refusal.delta"):
        name = {"text.delta": "content", "reasoning.delta": "reasoning_content", "refusal.delta": "refusal"}[kind]
        return {name: text}
    if kind == "tool.start":
        place = "custom" if event.get("type") == "custom" else "function"
        inside = {"name": event["name"], "input" if place == "custom" else "arguments": ""}
        return {"tool_calls": [{"index": event["i"], "id": event["call_id"], "type": place, place: inside}]}
    if kind == "tool.delta":
        return {"tool_calls": [{"index": event["i"], "function": {"arguments": text}}]}
    if kind == "audio.delta":
        names = {"audio_id": "id", "d": "data", "tr": "transcript", "exp": "expires_at"}
        return {"audio": {name: event[key] for key, name in names.items() if event.get(key) is not None}}
    if kind == "annotation":
        return {"annotations": [event["a"]]}
    if kind == "image":
        return {"images": [event["a"]]}
    if kind == "raw":
        return raw_of(event)
    return None


def raw_of(event: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a provider says by names of its own about a message or a tool call: clients give it back to it as it came."""
    said = event["o"]
    if "i" in event:
        return {"tool_calls": [{"index": event["i"]} | said]}
    details = {"reasoning_details": said["details"]} if said.get("details") else {}
    return said.get("message", {}) | details or None


def error(code: str, message: str, sort: str) -> bytes:
    """OpenAI's error object, in the stream."""
    return encode({"error": {"message": message, "type": sort, "param": None, "code": code}})
