"""The output items of a response that is streamed: each begins, grows and ends with events of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headrace.chat.responses_object import (
    annotation_of,
    call_item,
    message_item,
    reasoning_item,
    refusal_part,
    text_part,
    token_of,
)
from headrace.events.types import JsonObject

Emit = Callable[..., None]
"""Called with the type of an event and its fields."""


class OutputItem:
    """An item at `index` of the output. `begin` it, let it grow, `end` it."""

    item: JsonObject

    def __init__(self, emit: Emit, index: int, item: JsonObject):
        self._emit = emit
        self.index = index
        self.item = item
        self.is_open = True
        emit("response.output_item.added", output_index=index, item=self.begun())

    @property
    def id(self) -> str:
        return self.item["id"]

    def begun(self) -> JsonObject:
        """Return the item as it is when it begins."""
        return self.item

    def end(self, status: str, **final: Any) -> None:
        """End it with the last of its events. `final` are fields that its deltas did not tell."""
        if self.is_open:
            self.is_open = False
            self._finish(status)
            if "status" in self.item:
                self.item["status"] = status
            self.item |= final
            self.tell("response.output_item.done", item=self.item, item_id=None)

    def _finish(self, status: str) -> None:
        raise NotImplementedError

    def tell(self, type: str, **fields: Any) -> None:
        """Emit an event about this item."""
        places = {"item_id": self.id, "output_index": self.index} | fields
        self._emit(type, **{name: value for name, value in places.items() if value is not None})


class ReasoningItem(OutputItem):
    """Reasoning: as a summary where one was asked for, else as its text."""

    def __init__(self, emit: Emit, index: int, letters: str, number: int, *, summarized: bool):
        item = reasoning_item(letters, "", status="in_progress")
        super().__init__(emit, index, item | {"id": numbered(item["id"], number)})
        self.summarized = summarized
        self.text = ""
        self._place = {"summary_index" if summarized else "content_index": 0}
        self._stem = f"response.reasoning_{'summary_text' if summarized else 'text'}"
        self._part_stem = "response.reasoning_summary_part" if summarized else "response.content_part"

    def begun(self) -> JsonObject:
        return self.item | {"content": [], "summary": []}

    def add(self, text: str) -> None:
        if not self.text:
            self.tell(f"{self._part_stem}.added", **self._place, part=self._part(""))
        self.text += text
        self.tell(f"{self._stem}.delta", **self._place, delta=text)

    def _part(self, text: str) -> JsonObject:
        return {"type": "summary_text" if self.summarized else "reasoning_text", "text": text}

    def _finish(self, status: str) -> None:
        if self.text:
            self.tell(f"{self._stem}.done", **self._place, text=self.text)
            self.tell(f"{self._part_stem}.done", **self._place, part=self._part(self.text))
            self.item["summary" if self.summarized else "content"] = [self._part(self.text)]


class MessageItem(OutputItem):
    """The message: a text, a refusal, or both, each a part that begins with its first piece."""

    def __init__(self, emit: Emit, index: int, letters: str, number: int):
        item = message_item(letters, [], "in_progress")
        super().__init__(emit, index, item | {"id": numbered(item["id"], number)})
        self._kinds: list[str] = []  # of its parts
        self.text = ""
        self.refusal = ""
        self.annotations: list[JsonObject] = []
        self.logprobs: list[JsonObject] = []

    def begun(self) -> JsonObject:
        return self.item | {"content": []}

    def add_text(self, text: str, tokens: list[JsonObject]) -> None:
        """Append `text`, with the logprobs of its tokens as a chat has them."""
        place = self._place("text")
        self.text += text
        told = [token_of(token) for token in tokens]
        self.logprobs += told
        self.tell("response.output_text.delta", content_index=place, delta=text, logprobs=brief(told))

    def add_refusal(self, text: str) -> None:
        place = self._place("refusal")
        self.refusal += text
        self.tell("response.refusal.delta", content_index=place, delta=text)

    def annotate(self, annotation: Any) -> None:
        """Append a chat's annotation, if it is one that responses have."""
        known = annotation_of(annotation)
        if known is None:
            return
        place = self._place("text")
        self.tell(
            "response.output_text.annotation.added",
            content_index=place,
            annotation_index=len(self.annotations),
            annotation=known,
        )
        self.annotations.append(known)

    def _place(self, kind: str) -> int:
        """Return the place of the part of that kind, which begins now if it is not there yet."""
        if kind not in self._kinds:
            self._kinds.append(kind)
            part = text_part("") if kind == "text" else refusal_part("")
            self.tell("response.content_part.added", content_index=len(self._kinds) - 1, part=part)
        return self._kinds.index(kind)

    def _finish(self, status: str) -> None:
        if not self._kinds:
            self._place("text")
        for place, kind in enumerate(self._kinds):
            if kind == "text":
                part = text_part(self.text) | {"annotations": self.annotations, "logprobs": self.logprobs}
                done = {"text": self.text, "logprobs": brief(self.logprobs)}
            else:
                part, done = refusal_part(self.refusal), {"refusal": self.refusal}
            self.tell(f"response.{'output_text' if kind == 'text' else kind}.done", content_index=place, **done)
            self.tell("response.content_part.done", content_index=place, part=part)
            self.item["content"].append(part)


class CallItem(OutputItem):
    """A call of a function, or of a custom tool."""

    def __init__(self, emit: Emit, index: int, letters: str, place: int, call_id: str, name: str, type: str):
        self.is_custom = type == "custom"
        self._field = "input" if self.is_custom else "arguments"
        inside = {"name": name, self._field: ""}
        call = {"id": call_id, "type": type, "custom" if self.is_custom else "function": inside}
        super().__init__(emit, index, call_item(letters, place, call, "in_progress"))
        self.said = ""
        self._stem = "response.custom_tool_call_input" if self.is_custom else "response.function_call_arguments"

    def begun(self) -> JsonObject:
        return self.item | {self._field: ""}

    def add(self, piece: str) -> None:
        self.said += piece
        self.tell(f"{self._stem}.delta", delta=piece)

    def _finish(self, status: str) -> None:
        self.item[self._field] = self.said
        self.tell(f"{self._stem}.done", **{self._field: self.said})


def numbered(id: str, number: int) -> str:
    """Return the id of the `number`-th item of its kind, from 0."""
    return f"{id}_{number}" if number else id


def brief(tokens: list[JsonObject]) -> list[JsonObject]:
    """Return the logprobs of tokens as the events of a text have them: without the bytes."""
    return [
        {
            "token": token["token"],
            "logprob": token["logprob"],
            "top_logprobs": [{"token": top["token"], "logprob": top["logprob"]} for top in token["top_logprobs"]],
        }
        for token in tokens
    ]
