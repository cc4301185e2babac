"""The AI SDK's UI message stream. The message id is the job's, the same for all attempts: a client that resumes in a new
attempt replaces its message. The client asks for the whole stream again, so there is no cursor."""

from __future__ import annotations

import json
import re
from typing import Any

from headrace.events.ids import EventId
from headrace.events.types import (
    LISTS,
    Annotation,
    AttemptStart,
    ChoiceEvent,
    Citation,
    End,
    Image,
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

DONE = b"[DONE]"
MEDIA_TYPE = re.compile(r"data:([a-z]+/[a-z0-9.+-]+)[;,]")
REASONS = {"stop": "stop", "length": "length", "content_filter": "content-filter", "tool_calls": "tool-calls"}


class UiMessage(View):
    name = "ui-message-stream"
    resumable = False
    headers = {"x-vercel-ai-ui-message-stream": "v1"}  # noqa: RUF012 (a ClassVar of the parent)

    def __init__(self, subject: Subject):
        super().__init__(subject)
        self._open = OpenParts()
        self._started = False
        self._said = False
        self._sources = 0

    def add(self, id: EventId, event: JobEvent) -> list[bytes]:
        return [chunk if chunk == DONE else encode(chunk) for chunk in self._chunks(event)]

    def _chunks(self, event: JobEvent) -> list[Any]:
        if isinstance(event, ChoiceEvent):
            if event.c != 0:
                return []
        elif isinstance(event, AttemptStart) and self._said:
            return self._superseded()
        chunks: list[Any] = []
        if not self._started:
            self._started = True
            chunks += [{"type": "start", "messageId": self.subject.job}, {"type": "start-step"}]
        match event:
            case TextEvent():
                chunks += self._said_text(event)
            case ToolStart(i=i, call_id=call_id, name=name):
                self._said = True
                chunks += ending(self._open.close())
                self._open.tools[i] = OpenToolCall(call_id, name)
                chunks.append({"type": "tool-input-start", "toolCallId": call_id, "toolName": name})
            case ToolDelta(i=i, d=d) if i in self._open.tools:
                call = self._open.tools[i]
                call.pieces.append(d)
                chunks.append({"type": "tool-input-delta", "toolCallId": call.id, "inputTextDelta": d})
            case ToolEnd(i=i) if i in self._open.tools:
                chunks.append(whole(self._open.tools.pop(i)))
            case Annotation(a=annotation):
                chunks += self._source(annotation)
            case Citation(a=cited):
                chunks += self._source({"url_citation": cited if isinstance(cited, dict) else {"url": cited}})
            case Image(a=image):
                chunks += self._file(image)
            case Status(phase=phase, detail=detail):
                data = {"phase": phase, "detail": detail}
                chunks.append({"type": "data-status", "data": data, "transient": True})
            case Snapshot(message=message) if not self._said:
                chunks += self._snapshot(message)
            case End():
                chunks += self._end(event)
            case _:
                pass
        return chunks

    def superseded(self) -> list[bytes]:
        return [encode(chunk) for chunk in self._superseded()]

    def interrupted(self, why: str) -> list[bytes]:
        # A stream that only stops would look finished.
        return [encode({"type": "error", "errorText": f"{why}: resume the stream"})]

    def _superseded(self) -> list[Any]:
        self.closed = True
        return [{"type": "error", "errorText": "attempt superseded: resume the stream"}]

    def _said_text(self, event: TextEvent) -> list[Any]:
        self._said = True
        closed, opened = self._open.turn_to(event)
        part = self._open.part
        assert part
        chunks = ending(closed)
        chunks += [{"type": f"{opened.kind}-start", "id": opened.id}] if opened else []
        return [*chunks, {"type": f"{part.kind}-delta", "id": part.id, "delta": event.d}]

    def _file(self, image: Any) -> list[Any]:
        inner = image.get("image_url") if isinstance(image, dict) else None
        url = inner.get("url") if isinstance(inner, dict) else None
        if not isinstance(url, str):
            return []
        self._said = True
        found = MEDIA_TYPE.match(url)
        closed = ending(self._open.close())
        return [*closed, {"type": "file", "url": url, "mediaType": found[1] if found else "image/png"}]

    def _source(self, annotation: Any) -> list[Any]:
        cited = annotation.get("url_citation") if isinstance(annotation, dict) else None
        if not isinstance(cited, dict) or not isinstance(cited.get("url"), str):
            return []
        self._said = True
        self._sources += 1
        title = {"title": cited["title"]} if isinstance(cited.get("title"), str) else {}
        return [{"type": "source-url", "sourceId": f"source-{self._sources}", "url": cited["url"]} | title]

    def _snapshot(self, message: JsonObject) -> list[Any]:
        chunks: list[Any] = []
        for name, kind in (("reasoning", ReasoningDelta), ("content", TextDelta), ("refusal", RefusalDelta)):
            if message.get(name):
                chunks += self._chunks(kind(d=message[name]))
        for listed, name in LISTS.items():
            for one in message.get(name, ()):
                chunks += self._chunks(listed(a=one))
        for place, call in enumerate(message.get("tool_calls") or ()):
            function = call.get("function") or {}
            chunks += self._chunks(ToolStart(i=place, call_id=call.get("id", ""), name=function.get("name", "")))
            chunks += self._chunks(ToolDelta(i=place, d=function.get("arguments", "")))
        return chunks

    def _end(self, event: End) -> list[Any]:
        self.closed = True
        chunks = ending(self._open.close()) + [whole(call) for call in self._open.tools.values()]
        failed = failure_of(event)
        if failed is None:
            reason = REASONS.get(finish_reasons(event)[0][1], "other")
            return [*chunks, {"type": "finish-step"}, {"type": "finish", "finishReason": reason}, DONE]
        if failed[0] == "cancelled":
            return [*chunks, {"type": "abort", "reason": failed[1]}, DONE]
        return [*chunks, {"type": "error", "errorText": f"{failed[0]}: {failed[1]}"}, DONE]


def ending(part: Part | None) -> list[Any]:
    return [{"type": f"{part.kind}-end", "id": part.id}] if part else []


def whole(call: OpenToolCall) -> JsonObject:
    """Return the chunk of a call whose arguments are complete."""
    head, arguments = {"toolCallId": call.id, "toolName": call.name}, "".join(call.pieces)
    try:
        return {"type": "tool-input-available", **head, "input": json.loads(arguments or "{}")}
    except (ValueError, RecursionError):
        return {"type": "tool-input-error", **head, "input": arguments, "errorText": "the arguments are no JSON"}
