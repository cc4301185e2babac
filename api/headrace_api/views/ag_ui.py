"""AG-UI events. A frame's id names the job too, for the format resumes by posting the same request again."""

from __future__ import annotations

from typing import Any

from headrace.events.ids import EventId
from headrace_api.views.open_parts import OpenParts, OpenToolCall, Part
from headrace_api.views.view import Subject, View, encode, failure_of, finish_reasons


class AgUi(View):
    name = "ag-ui"
    id_names_job = True

    def __init__(self, subject: Subject):
        super().__init__(subject)
        self._open = OpenParts()
        self._run = {"threadId": subject.thread or subject.job, "runId": subject.run or subject.job}
        self._started = False
        self._said = False

    def add(self, id: EventId, event: dict[str, Any]) -> list[bytes]:
        return [encode(one) for one in self._events(event)]

    def _events(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        kind = event["t"]
        if kind == "attempt.start" and self._said:
            return self._superseded()
        if event.get("c", 0) != 0:
            return []
        events: list[dict[str, Any]] = []
        if not self._started:
            self._started = True
            events.append({"type": "RUN_STARTED", **self._run})
        if kind.endswith(".delta") and kind.partition(".")[0] in ("text", "reasoning", "refusal"):
            events += self._said_text(event)
        elif kind == "part.end" and self._open.ends(event):
            events += self._ending(self._open.close())
        elif kind == "tool.start":
            self._said = True
            events += self._ending(self._open.close())
            self._open.tools[event["i"]] = OpenToolCall(event["call_id"], event["name"])
            names = {"toolCallId": event["call_id"], "toolCallName": event["name"]}
            events.append({"type": "TOOL_CALL_START", **names, "parentMessageId": self.subject.job})
        elif kind == "tool.delta" and event["i"] in self._open.tools:
            call = self._open.tools[event["i"]]
            events.append({"type": "TOOL_CALL_ARGS", "toolCallId": call.id, "delta": event["d"]})
        elif kind == "tool.end" and event["i"] in self._open.tools:
            events.append({"type": "TOOL_CALL_END", "toolCallId": self._open.tools.pop(event["i"]).id})
        elif kind == "status":
            value = {"phase": event.get("phase"), "detail": event.get("detail")}
            events.append({"type": "CUSTOM", "name": "headrace.status", "value": value})
        elif kind == "snapshot" and not self._said:
            events += self._snapshot(event["message"])
        elif kind == "end":
            events += self._end(event)
        return events

    def superseded(self) -> list[bytes]:
        return [encode(one) for one in self._superseded()]

    def lost(self, why: str) -> list[bytes]:
        self.closed = True
        return [encode({"type": "RUN_ERROR", "message": why, "code": "gone", **self._run})]

    def _superseded(self) -> list[dict[str, Any]]:
        self.closed = True
        message = "a new attempt began after part of the answer had been sent; run it again to see it"
        return [{"type": "RUN_ERROR", "message": message, "code": "superseded", **self._run}]

    def _said_text(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        self._said = True
        closed, opened = self._open.turn_to(event)
        part = self._open.part
        assert part
        events = self._ending(closed)
        if opened and opened.kind == "reasoning":
            events.append({"type": "REASONING_START", "messageId": self._id(part)})
            events.append({"type": "REASONING_MESSAGE_START", "messageId": self._id(part), "role": "reasoning"})
        elif opened:
            events.append({"type": "TEXT_MESSAGE_START", "messageId": self._id(part), "role": "assistant"})
        if event["d"]:  # an empty delta is against the format
            name = "REASONING_MESSAGE_CONTENT" if part.kind == "reasoning" else "TEXT_MESSAGE_CONTENT"
            events.append({"type": name, "messageId": self._id(part), "delta": event["d"]})
        return events

    def _id(self, part: Part) -> str:
        """All text belongs to one message, the job's."""
        return self.subject.job if part.kind == "text" else f"{self.subject.job}-{part.id}"

    def _ending(self, part: Part | None) -> list[dict[str, Any]]:
        if part is None:
            return []
        if part.kind == "text":
            return [{"type": "TEXT_MESSAGE_END", "messageId": self._id(part)}]
        names = ("REASONING_MESSAGE_END", "REASONING_END")
        return [{"type": name, "messageId": self._id(part)} for name in names]

    def _snapshot(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        for name, kind in (("reasoning", "reasoning.delta"), ("content", "text.delta"), ("refusal", "refusal.delta")):
            if message.get(name):
                events += self._events({"t": kind, "d": message[name]})
        for place, call in enumerate(message.get("tool_calls") or ()):
            function = call.get("function") or {}
            events += self._events(
                {"t": "tool.start", "i": place, "call_id": call["id"], "name": function.get("name", "")}
            )
            events += self._events({"t": "tool.delta", "i": place, "d": function.get("arguments", "")})
        return events

    def _end(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        self.closed = True
        events = self._ending(self._open.close())
        events += [{"type": "TOOL_CALL_END", "toolCallId": call.id} for call in self._open.tools.values()]
        failed = failure_of(event)
        if failed is not None:
            return [*events, {"type": "RUN_ERROR", "message": failed[1], "code": failed[0], **self._run}]
        reason = finish_reasons(event)[0][1]
        return [*events, {"type": "RUN_FINISHED", **self._run, "finishReason": reason}]
