"""AG-UI events. A frame's id names the job too, because a client resumes by posting the same request again."""

from __future__ import annotations

from headrace.events.ids import EventId
from headrace.events.types import (
    AttemptStart,
    ChoiceEvent,
    End,
    JobEvent,
    JsonObject,
    ReasoningDelta,
    RefusalDelta,
    Snapshot,
    Status,
    TextDelta,
    TextEvent,
    ToolDelta,
    ToolEnd,
    ToolStart,
)
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

    def add(self, id: EventId, event: JobEvent) -> list[bytes]:
        return [encode(one) for one in self._events(event)]

    def _events(self, event: JobEvent) -> list[JsonObject]:
        if isinstance(event, ChoiceEvent):
            if event.c != 0:
                return []
        elif isinstance(event, AttemptStart) and self._said:
            return self._superseded()
        events: list[JsonObject] = []
        if not self._started:
            self._started = True
            events.append({"type": "RUN_STARTED", **self._run})
        match event:
            case TextEvent():
                events += self._said_text(event)
            case ToolStart(i=i, call_id=call_id, name=name):
                self._said = True
                events += self._ending(self._open.close())
                self._open.tools[i] = OpenToolCall(call_id, name)
                names = {"toolCallId": call_id, "toolCallName": name}
                events.append({"type": "TOOL_CALL_START", **names, "parentMessageId": self.subject.job})
            case ToolDelta(i=i, d=d) if i in self._open.tools:
                events.append({"type": "TOOL_CALL_ARGS", "toolCallId": self._open.tools[i].id, "delta": d})
            case ToolEnd(i=i) if i in self._open.tools:
                events.append({"type": "TOOL_CALL_END", "toolCallId": self._open.tools.pop(i).id})
            case Status(phase=phase, detail=detail):
                value = {"phase": phase, "detail": detail}
                events.append({"type": "CUSTOM", "name": "headrace.status", "value": value})
            case Snapshot(message=message) if not self._said:
                events += self._snapshot(message)
            case End():
                events += self._end(event)
            case _:
                pass
        return events

    def superseded(self) -> list[bytes]:
        return [encode(one) for one in self._superseded()]

    def lost(self, why: str) -> list[bytes]:
        self.closed = True
        return [encode({"type": "RUN_ERROR", "message": why, "code": "gone", **self._run})]

    def _superseded(self) -> list[JsonObject]:
        self.closed = True
        message = "a new attempt began after part of the answer had been sent; run it again to see it"
        return [{"type": "RUN_ERROR", "message": message, "code": "superseded", **self._run}]

    def _said_text(self, event: TextEvent) -> list[JsonObject]:
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
        if event.d:  # an empty delta is against the format
            name = "REASONING_MESSAGE_CONTENT" if part.kind == "reasoning" else "TEXT_MESSAGE_CONTENT"
            events.append({"type": name, "messageId": self._id(part), "delta": event.d})
        return events

    def _id(self, part: Part) -> str:
        """Return the id of the job's message, to which all text belongs."""
        return self.subject.job if part.kind == "text" else f"{self.subject.job}-{part.id}"

    def _ending(self, part: Part | None) -> list[JsonObject]:
        if part is None:
            return []
        if part.kind == "text":
            return [{"type": "TEXT_MESSAGE_END", "messageId": self._id(part)}]
        names = ("REASONING_MESSAGE_END", "REASONING_END")
        return [{"type": name, "messageId": self._id(part)} for name in names]

    def _snapshot(self, message: JsonObject) -> list[JsonObject]:
        events: list[JsonObject] = []
        for name, kind in (("reasoning", ReasoningDelta), ("content", TextDelta), ("refusal", RefusalDelta)):
            if message.get(name):
                events += self._events(kind(d=message[name]))
        for place, call in enumerate(message.get("tool_calls") or ()):
            function = call.get("function") or {}
            events += self._events(ToolStart(i=place, call_id=call.get("id", ""), name=function.get("name", "")))
            events += self._events(ToolDelta(i=place, d=function.get("arguments", "")))
        return events

    def _end(self, event: End) -> list[JsonObject]:
        self.closed = True
        events = self._ending(self._open.close())
        events += [{"type": "TOOL_CALL_END", "toolCallId": call.id} for call in self._open.tools.values()]
        failed = failure_of(event)
        if failed is not None:
            return [*events, {"type": "RUN_ERROR", "message": failed[1], "code": failed[0], **self._run}]
        reason = finish_reasons(event)[0][1]
        return [*events, {"type": "RUN_FINISHED", **self._run, "finishReason": reason}]
