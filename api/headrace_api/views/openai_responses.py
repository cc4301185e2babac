"""The events of OpenAI's Responses API, numbered from 0 without a gap.

A viewer comes back with the number of the last event that it has seen: the log is folded from its start, and what was seen is
left out. The format cannot take back what was said. So before a part of an answer is shown, the ledger is told
(`headrace/ledger/show.py`), and no other attempt follows: whoever comes, at whatever time, is given the same events.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.chat.completion import Completion, Outcome, Usage
from headrace.chat.responses_messages import seal
from headrace.chat.responses_object import (
    INCOMPLETE,
    ending,
    failed,
    failed_usage,
    is_summarized,
    is_text_of,
    letters_of,
    response_head,
    response_id,
    response_usage,
    sealable,
    text_of,
)
from headrace.chat.responses_request import LOGPROBS, SEALED_REASONING, TIERS
from headrace.errors import Failure, Gone
from headrace.events.ids import EventId
from headrace.events.types import (
    Annotation,
    AttemptStart,
    ChoiceEvent,
    End,
    JobEvent,
    JsonObject,
    ReasoningDelta,
    RefusalDelta,
    Snapshot,
    TextDelta,
    ToolDelta,
    ToolEnd,
    ToolStart,
)
from headrace.storage.response_store import ResponseEnd
from headrace_api.views.response_items import CallItem, MessageItem, OutputItem, ReasoningItem
from headrace_api.views.view import Subject, View, encode, failure_of, finish_reasons

SUPERSEDED = "a new attempt began after part of the answer had been sent"


class OpenAIResponses(View):
    """The subject's `request` is the one of the response, `starting_after` the number of the last event that was seen."""

    name = "openai-responses"
    holds = True
    has_ids = False
    named = True
    irrevocable = True
    settles = True

    def __init__(self, subject: Subject):
        super().__init__(subject)
        self._request: JsonObject = subject.request or {"model": subject.model}
        self._letters = letters_of(subject.job)
        self._include = self._request.get("include") or ()
        self._seen = -1 if subject.starting_after is None else subject.starting_after
        self._next = 0
        self._frames: list[bytes] = []
        self._began = False
        self._items: list[OutputItem] = []
        self._reasoning: list[ReasoningItem] = []
        self._messages: list[MessageItem] = []
        self._calls: dict[int, CallItem] = {}
        self._completion: Completion | None = None
        self._failure: Failure | None = None
        self._ended_s: int | None = None
        self._response: JsonObject = {}

    @property
    def end(self) -> ResponseEnd | None:
        """The end of the response, once its last event was told."""
        if not self.closed or self._response.get("status") in ("queued", "in_progress"):
            return None
        return ResponseEnd(self._response, self._sealed())

    @property
    def last_number(self) -> int:
        """The number of the last event so far."""
        return self._next - 1

    def opening(self) -> list[bytes]:
        is_background = bool(self._request.get("background"))
        self._tell_response("response.created", "queued" if is_background else "in_progress")
        if is_background:
            self._tell_response("response.queued", "queued")
        else:
            self._began = True
            self._tell_response("response.in_progress", "in_progress")
        return self._taken()

    def check_first(self, event: JobEvent) -> None:
        first = 3 if self._request.get("background") else 2  # the number of the first event about the answer
        if isinstance(event, Snapshot) and self._seen >= first:
            # How many events were made of what it replaces is not known.
            raise Gone(response_id(self.subject.job), None)

    def settle(self, outcome: Outcome | None, ended_ms: int | None) -> None:
        self._completion = outcome.completion if outcome else None
        self._failure = outcome.error if outcome else None
        self._ended_s = None if ended_ms is None else ended_ms // 1000

    def add(self, id: EventId, event: JobEvent) -> list[bytes]:
        if self.closed or (isinstance(event, ChoiceEvent) and event.c != 0):
            return []
        if isinstance(event, AttemptStart) and self._items:
            return self.superseded()
        if not self._began:
            self._began = True
            self._tell_response("response.in_progress", "in_progress")
        match event:
            case TextDelta(d=text, lp=tokens):
                tokens = (tokens or []) if LOGPROBS in self._include else []
                if text or tokens:
                    self._message().add_text(text, tokens)
            case RefusalDelta(d=text) if text:
                self._message().add_refusal(text)
            case ReasoningDelta(d=text) if text:
                self._thought().add(text)
            case ToolStart(i=i, call_id=call_id, name=name, type=type):
                self._call(i, call_id, name, type)
            case ToolDelta(i=i, d=piece) if i in self._calls and piece:
                self._calls[i].add(piece)
            case ToolEnd(i=i) if i in self._calls:
                self._calls[i].end("completed")
            case Annotation(a=annotation):
                self._message().annotate(annotation)
            case Snapshot(message=message):
                self._catch_up(message)
            case End():
                self._end(event)
            case _:
                pass
        return self._taken()

    def superseded(self) -> list[bytes]:
        self._fail("server_error", SUPERSEDED)
        return self._taken()

    def interrupted(self, why: str) -> list[bytes]:
        # The number of the last event: whoever comes back with it misses nothing.
        shown = response_id(self.subject.job)
        error = {"type": "error", "code": "interrupted", "message": f"{why}; {shown} goes on", "param": None}
        return [encode(error | {"sequence_number": max(self._seen, self.last_number, 0)})]

    # The items

    def _thought(self) -> ReasoningItem:
        if not self._reasoning or not self._reasoning[-1].is_open:
            self._close(self._messages)
            summarized = is_summarized(self._request)
            self._reasoning.append(
                ReasoningItem(self._tell, len(self._items), self._letters, len(self._reasoning), summarized=summarized)
            )
            self._items.append(self._reasoning[-1])
        return self._reasoning[-1]

    def _message(self) -> MessageItem:
        if not self._messages or not self._messages[-1].is_open:
            self._close_thought()
            self._messages.append(MessageItem(self._tell, len(self._items), self._letters, len(self._messages)))
            self._items.append(self._messages[-1])
        return self._messages[-1]

    def _call(self, i: int, call_id: str, name: str, type: str) -> CallItem:
        self._close_thought()
        self._close(self._messages)
        self._calls[i] = call = CallItem(self._tell, len(self._items), self._letters, i, call_id, name, type)
        self._items.append(call)
        return call

    def _close_thought(self) -> None:
        if SEALED_REASONING not in self._include:  # the seal is known at the end
            self._close(self._reasoning)

    @staticmethod
    def _close(items: list[Any]) -> None:
        for item in items[-1:]:
            item.end("completed")

    def _catch_up(self, message: JsonObject) -> None:
        """Tell what is more in `message`, a chat's, than was told."""
        said = "".join(item.text for item in self._reasoning)
        if more := after(said, message.get("reasoning")):
            self._thought().add(more)
        if more := after("".join(item.text for item in self._messages), message.get("content")):
            self._message().add_text(more, [])
        if more := after("".join(item.refusal for item in self._messages), message.get("refusal")):
            self._message().add_refusal(more)
        for place, called in enumerate(message.get("tool_calls") or ()):
            i, inside = called.get("index", place), called.get("custom") or called.get("function") or {}
            call = self._calls.get(i)
            if call is None:
                sort = "custom" if called.get("custom") else "function"
                call = self._call(i, called.get("id", ""), inside.get("name", ""), sort)
            if call.is_open and (more := after(call.said, inside.get("input" if call.is_custom else "arguments"))):
                call.add(more)
        told = sum(len(item.annotations) for item in self._messages)
        for annotation in (message.get("annotations") or ())[told:]:
            self._message().annotate(annotation)

    # The end

    def _end(self, event: End) -> None:
        failure, completion = failure_of(event), self._completion
        if failure is not None and failure[0] == "refusal":  # of a schema's answer: here it is an answer of its own
            self._catch_up({"refusal": self._failure.partial if self._failure else None})
            failure = None
        if failure is not None:
            is_unseen = not self._items
            self._fail(*failure, event=event)
            if is_unseen and self._response["status"] == "failed":
                self.failure = failure
            return
        reason = INCOMPLETE.get(completion.finish_reason if completion else finish_reasons(event)[0][1])
        status = "incomplete" if reason else "completed"
        if completion is not None:
            self._correct(completion)
        sealed = self._sealed() if SEALED_REASONING in self._include else None
        if sealed:
            self._thought()
        if not self._items:
            self._message()
        for item in self._items:
            is_thought = isinstance(item, ReasoningItem)
            item.end(
                "completed" if is_thought else status,
                **({"encrypted_content": sealed} if is_thought and sealed else {}),
            )
        fields = ending(self._output(), self._ended_s, reason=reason) | self._counted(event)
        if completion is not None:
            tier = completion.service_tier
            fields |= {"model": completion.model or self._request["model"]}
            fields |= {"service_tier": tier} if tier in TIERS else {}
        self.closed = True
        self._tell_response(f"response.{status}", status, fields)

    def _correct(self, completion: Completion) -> None:
        """Let the text in the end be the answer where its pieces were not: one that was mended, say."""
        if len(self._messages) == 1 and self._messages[0].is_open:
            message = self._messages[0]
            if message.has_text and not is_text_of(message.text, completion):
                message.text = text_of(completion) or ""

    def _fail(self, code: str, message: str, event: End | None = None) -> None:
        self.closed = True
        for item in self._items:
            item.end("incomplete")
        fields = failed(code, message) | {"output": self._output()} | (self._counted(event) if event else {})
        kind = "incomplete" if fields["status"] == "incomplete" else "failed"
        self._tell_response(f"response.{kind}", str(fields["status"]), fields)

    def _sealed(self) -> str | None:
        return seal(sealable(self._completion)) if self._completion else None

    def _output(self) -> list[JsonObject]:
        return [item.item for item in self._items]

    def _counted(self, event: End) -> JsonObject:
        if self._completion is not None:
            return {"usage": response_usage(self._completion.usage, self._completion.raw_usage)}
        if self._failure is not None:
            return {"usage": failed_usage(self._failure)}
        try:
            return {"usage": response_usage(msgspec.convert(event.usage, Usage))} if event.usage else {}
        except msgspec.ValidationError:
            return {}

    # The events

    def _tell_response(self, type: str, status: str, fields: JsonObject | None = None) -> None:
        head = response_head(
            self._request, response_id(self.subject.job), created_at=self.subject.created_s, status=status
        )
        self._response = head | (fields or {})
        self._tell(type, response=self._response)

    def _tell(self, type: str, **fields: Any) -> None:
        number = self._next
        self._next += 1
        if number > self._seen:
            self._frames.append(encode({"type": type, **fields, "sequence_number": number}))

    def _taken(self) -> list[bytes]:
        frames, self._frames = self._frames, []
        return frames


def after(told: str, whole: str | None) -> str:
    """Return what follows `told` in `whole`; nothing where that does not begin so."""
    return whole[len(told) :] if whole and whole.startswith(told) else ""
