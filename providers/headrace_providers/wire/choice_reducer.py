"""One choice of an answer as far as it has come: deltas of a stream, or a whole message, or both."""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

from headrace.chat.completion import Choice
from headrace.chat.messages import as_json
from headrace.chat.tool_calls import ToolCalls
from headrace.errors import CallError
from headrace.text.reasoning import HIDDEN_PART, KEPT_PARTS, REASONING_FIELDS, THINKING_PART
from headrace_providers.credentials import kept
from headrace_providers.wire.answer_fields import (
    finish_of,
    is_bare_json,
    is_empty,
    is_empty_call,
    is_number,
    list_of,
    object_of,
    parts_of,
    sound_of,
    text_of,
)
from headrace_providers.wire.provider_errors import contradiction
from headrace_providers.wire.reasoning_details import ReasoningDetails
from headrace_providers.wire.unnamed_fields import IN_CHOICE, IN_MESSAGE, bounded, gather

CUT_SHORT = frozenset({"length", "content_filter", "error"})


class Delta(NamedTuple):
    """The piece that a chunk adds to the first choice: `kind` is text, reasoning, refusal, audio (bytes), image or tool (OpenAI's
    deltas)."""

    kind: str
    value: Any


class ChoiceReducer:
    """`add` takes what a chunk has of the choice. `raw` keeps the side fields that could not be read, as they came."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.refusal: list[str] = []
        self.reasoning: list[str] = []
        self.details = ReasoningDetails()
        self.thoughts: list[dict[str, Any]] = []  # parts of the content, as they go back
        self.calls = ToolCalls()
        self.audio: dict[str, Any] = {}
        self.transcript: list[str] = []
        self.sound: list[bytes] = []
        self.lost_sound = False
        self.annotations: list[Any] = []
        self.images: list[Any] = []
        self.citations: list[Any] = []
        self.extra: dict[str, dict[str, Any]] = {}
        self.reasoning_field = ""
        self.logprobs: dict[str, list[Any]] = {}
        self.finish_reason: str | None = None
        self.finished_late = False  # it came after what it ends, not along with the first piece
        self.has_role = self.begun_again = False
        self.stop_reason: str | int | None = None
        self.native_finish_reason: str | None = None
        self.message: dict[str, Any] | None = None  # a whole message beside the deltas of a stream
        self.message_text = ""
        self.is_message = False
        self.raw: dict[str, Any] = {}

    def add(self, choice: dict[str, Any], deltas: list[Delta]) -> None:
        """Add a delta or a message. Raises `TypeError`, or `InputError` of tool calls, for what is read strictly and is of
        another type, and `CallError` for what contradicts itself."""
        delta, whole = choice.get("delta"), choice.get("message")
        said = delta if isinstance(delta, dict) else object_of(delta, "delta")
        if whole is not None:
            whole = object_of(whole, "message")
            if said or self.has_begun:
                self.add_copy(whole)
            else:
                said, self.is_message = whole, True
        elif not said and choice.get("text"):
            said = {"content": choice["text"]}  # the older API's
        finish = choice.get("finish_reason")
        if not choice.keys() <= IN_CHOICE:
            gather(self.extra.setdefault("choice", {}), choice, IN_CHOICE)
        if choice.get("citations"):
            self.add_citations(choice["citations"])
        if said:
            if self.finish_reason is not None:
                self.check_end(said)
            elif said.get("role"):
                self.has_role = True
            self.add_parts(said, deltas)
        if finish is not None and (reason := finish_of(finish)):
            if reason != finish and self.native_finish_reason is None:
                self.native_finish_reason = finish
            alone = (not said.get("content") and self.has_begun) or len(self.text) > 1
            self.finished_late = self.finished_late or (self.finish_reason is None and alone)
            if self.finish_reason not in CUT_SHORT:  # what ended early is not made whole by a later "stop"
                self.finish_reason = reason
            if self.message is not None:
                self.add_message(deltas)
        if choice.get("logprobs"):
            self.add_logprobs(choice["logprobs"])
        if choice.get("stop_reason") is not None:
            self.add_stop_reason(choice["stop_reason"])
        native = choice.get("native_finish_reason")
        if native is not None:
            if isinstance(native, str):
                self.native_finish_reason = native or self.native_finish_reason
            else:
                self.keep("native_finish_reason", native)

    @property
    def has_begun(self) -> bool:
        said = self.text or self.calls or self.refusal or self.reasoning or self.sound or self.images
        return bool(self.is_message or self.message or said)

    def add_parts(self, said: dict[str, Any], deltas: list[Delta]) -> None:
        if not said.keys() <= IN_MESSAGE:
            gather(self.extra.setdefault("message", {}), said, IN_MESSAGE)
        for name in REASONING_FIELDS:
            if said.get(name):
                self.add_reasoning(name, said[name], deltas)
                break
        if said.get("reasoning_details"):
            self.add_details(said["reasoning_details"])
        content = said.get("content")
        if isinstance(content, str):
            if content:
                self.text.append(content)
                deltas.append(Delta("text", content))
        elif content is not None and not is_empty(content):
            self.add_content(content, deltas)
        refusal = said.get("refusal")
        if refusal is not None and refusal is not False and not is_empty(refusal):
            refusal = text_of(refusal)
            self.refusal.append(refusal)
            deltas.append(Delta("refusal", refusal))
        if said.get("audio"):
            self.add_audio(said["audio"], deltas)
        if said.get("annotations"):
            self.add_annotations(said["annotations"])
        if said.get("images"):
            self.add_images(said["images"], deltas)
        if said.get("citations"):
            self.add_citations(said["citations"])
        calls, function = said.get("tool_calls"), said.get("function_call")
        if calls is not None or function is not None:
            self.add_calls(calls, function, deltas)

    def add_reasoning(self, name: str, value: Any, deltas: list[Delta]) -> None:
        try:
            thought = "".join(text for _, text in parts_of(value) if isinstance(text, str))
        except TypeError:
            self.keep(name, value)
            return
        if thought:
            self.reasoning_field = name
            self.reasoning.append(thought)
            deltas.append(Delta("reasoning", thought))

    def add_content(self, content: Any, deltas: list[Delta]) -> None:
        if is_bare_json(content):  # the answer itself, not as a text
            self.text.append(as_json(content))
            deltas.append(Delta("text", self.text[-1]))
            return
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict):
                self.add_beside(part)
        for kind, said in parts_of(content):
            if kind == "other":
                self.add_other(said, deltas)
            elif said:
                if kind == "reasoning":
                    self.reasoning_field = "content"
                getattr(self, kind).append(said)
                deltas.append(Delta(kind, said))

    def add_beside(self, part: dict[str, Any]) -> None:
        """Take what a part of a content has beside its text: the signature of a thought, sources."""
        if part.get("type") in (THINKING_PART, HIDDEN_PART):
            last = self.thoughts[-1] if self.thoughts else {}
            have: Any = last.get(THINKING_PART)
            more, open_ended = part.get(THINKING_PART), last.keys() <= {"type", THINKING_PART}
            if have and type(have) in (str, list) and type(have) is type(more) and open_ended:
                self.thoughts[-1] = last | part | {THINKING_PART: have + more}
            else:
                self.thoughts.append(dict(part))
        if part.get("annotations"):
            self.add_annotations(part["annotations"])
        if part.get("citations"):
            self.add_citations(part["citations"])

    def add_other(self, part: dict[str, Any], deltas: list[Delta]) -> None:
        """Add a part of a content without a text."""
        kind = part.get("type")
        if "image_url" in part:
            self.add_images([{"type": "image_url"} | part], deltas)
        elif kind == HIDDEN_PART:
            pass  # it is among the thoughts
        elif kind == "tool_use":  # Anthropic's form
            self.add_calls([part], None, deltas)
        else:
            self.keep("content", part, several=True)

    def add_calls(self, calls: Any, function: Any, deltas: list[Delta]) -> None:
        calls = [call for call in list_of(calls, "tool_calls") if call is not None]
        function = object_of(function, "function_call")
        if self.is_message:
            self.calls.add_message({"tool_calls": calls, "function_call": function})
            return
        if any(function.values()):
            calls = [call for call in calls if not is_empty_call(call)]
            names = [object_of(call.get("function"), "function").get("name") for call in calls]
            if calls and function.get("name") and function["name"] not in names:
                raise contradiction("other calls in tool_calls than in function_call", "".join(self.text))
            calls = calls or [{"index": 0, "function": function}]
        if calls and self.calls.add_delta(calls):
            deltas.append(Delta("tool", calls))

    def add_details(self, details: Any) -> None:
        if isinstance(details, list):
            for detail in details:
                self.details.add(detail, merge=not self.is_message)
        else:
            self.keep("reasoning_details", details)

    def add_audio(self, audio: Any, deltas: list[Delta]) -> None:
        if not isinstance(audio, dict):
            self.lost_sound = True
            self.keep("audio", audio)
            return
        for name, value in audio.items():
            if name == "data":
                # Each piece of a stream is encoded for itself.
                sound = b"" if is_empty(value) else sound_of(value)
                if sound is None:
                    self.lost_sound = True
                    self.keep("audio", {"data": value})
                elif sound:
                    self.sound.append(sound)
                    deltas.append(Delta("audio", sound))
            elif name == "transcript":
                if isinstance(value, str):
                    self.transcript += [value] if value else []
                elif value is not None:
                    self.keep("audio.transcript", value)
            elif (name == "id" and isinstance(value, str)) or (name == "expires_at" and is_number(value)):
                if value != "":
                    self.audio[name] = value
            elif value is not None:
                self.keep(f"audio.{name}", value)

    def add_annotations(self, annotations: Any) -> None:
        if isinstance(annotations, list):
            self.annotations.extend(annotations)
        else:
            self.keep("annotations", annotations)

    def add_images(self, images: Any, deltas: list[Delta]) -> None:
        if not isinstance(images, list):
            self.keep("images", images)
            return
        for image in images:
            if image not in self.images:  # some servers say them again in their last chunk
                self.images.append(image)
                deltas.append(Delta("image", image))

    def add_citations(self, citations: Any) -> None:
        """Add citations, of which growing lists come with every chunk."""
        if not isinstance(citations, list):
            self.keep("citations", citations)
            return
        self.citations.extend(one for one in citations if one not in self.citations)

    def add_logprobs(self, logprobs: Any) -> None:
        for name, tokens in logprobs.items() if isinstance(logprobs, dict) else [("logprobs", logprobs)]:
            if isinstance(tokens, list) and isinstance(logprobs, dict):
                if tokens:
                    self.logprobs.setdefault(name, []).extend(tokens)
            elif tokens is not None:
                self.keep("logprobs", logprobs)

    def add_stop_reason(self, reason: Any) -> None:
        if isinstance(reason, str | int) and not isinstance(reason, bool):
            self.stop_reason = reason
        else:
            self.keep("stop_reason", reason)

    def keep(self, name: str, value: Any, *, several: bool = False) -> None:
        """Keep a side field that cannot be read, as it came."""
        if several:
            self.raw.setdefault(name, []).append(value)
        else:
            self.raw[name] = value

    # Whole messages in a stream

    def add_copy(self, message: dict[str, Any]) -> None:
        """Add a `message` beside the deltas, which repeats all of them (Perplexity): it is read at the end. It can only
        grow. Raises `CallError` when it does not."""
        content = message.get("content")
        text = "" if is_empty(content) else text_of(content)
        if self.message is not None and not text.startswith(self.message_text) and text:
            raise contradiction("one message, and then another", "".join(self.text) or text)
        self.message, self.message_text = message, text or self.message_text

    def add_message(self, deltas: list[Delta]) -> None:
        """Take what the whole message has and no delta told. Raises `CallError` when they say different things."""
        message, self.message = self.message or {}, None
        have, text = "".join(self.text), self.message_text
        if not text.startswith(have) and not have.startswith(text) and have.strip() != text.strip():
            raise contradiction("one text in its deltas, another in its message", have)
        missing: dict[str, Any] = {name: value for name, value in message.items() if name not in ("content", "role")}
        if len(text) > len(have) and text.startswith(have):
            missing["content"] = text[len(have) :]
        told = {"refusal": self.refusal, "annotations": self.annotations, "reasoning_details": self.details.parts}
        told |= {
            "images": self.images,
            "audio": self.sound or self.audio or self.transcript,
            **dict.fromkeys(REASONING_FIELDS, self.reasoning),
        }
        if self.calls:
            self.check_calls(message)
            missing |= {"tool_calls": None, "function_call": None}
        self.add_parts({name: value for name, value in missing.items() if not told.get(name)}, deltas)

    def check_calls(self, message: dict[str, Any]) -> None:
        """Raise `CallError` when a whole message makes other calls than the deltas did."""
        again = ToolCalls()
        again.add_message(message | {"content": None, **dict.fromkeys(REASONING_FIELDS)})
        told, said = (
            [(call.name, call.arguments, call.error) for call in each.get_calls()] for each in (self.calls, again)
        )
        if again and told != said:
            raise contradiction("some tool calls in its deltas, others in its message", "".join(self.text))

    def check_end(self, said: dict[str, Any]) -> None:
        """Raise `CallError` for another answer in the same choice: one that begins, with its role, after the first had
        ended."""
        if said.get("role") and self.has_role:
            self.begun_again = True
        if self.begun_again and said.get("content"):
            raise contradiction("two answers in one choice", "".join(self.text))

    # The end

    def choice(self, *, inferred: str | None = None) -> Choice:
        """Return the choice; `inferred` is the finish reason where none came. Raises `CallError` when it ended before it
        was complete, or with an error."""
        if self.message is not None:
            self.add_message([])
        said = "".join(self.text)
        self.details.settle()
        calls, refusal = self.calls.wire(), "".join(self.refusal) or None
        raw, notes = kept(self.raw) if self.raw else ({}, [])
        reason = self.finish_reason
        if reason is None:
            if inferred is None:
                raise CallError("incomplete_stream", "the answer ended before it was complete", partial=said)
            reason = "tool_calls" if calls and inferred == "stop" else inferred
            notes.append(f"finish_reason: {reason} is inferred")
        if reason == "error":  # or what vLLM and SGLang say when the engine drops a request: it is no end of an answer
            why = f" ({self.native_finish_reason})" if self.native_finish_reason else ""
            raise CallError("provider_error", f"the provider ended its answer with an error{why}", partial=said)
        audio = self.audio | ({"transcript": "".join(self.transcript)} if self.transcript else {})
        audio |= {"data": base64.b64encode(b"".join(self.sound)).decode()} if self.sound else {}
        if any(part.keys() - {"type", THINKING_PART} for part in self.thoughts):
            self.extra.setdefault("message", {})[KEPT_PARTS] = self.thoughts
        extra = bounded(self.extra, notes) if self.extra else {}
        if self.lost_sound and not (said or calls or refusal or self.sound):
            message = "the provider's audio cannot be read, and there is nothing else"
            raise CallError("provider_error", message, retryable=False)
        if reason == "tool_calls" and not (said or calls or refusal or audio or self.images or self.raw.get("content")):
            message = "the provider's answer contradicts itself: it calls tools, and there is no call"
            raise CallError("provider_error", message, retryable=False)
        thought = "".join(self.reasoning) or self.details.text()
        return Choice(
            content=said if self.text or not (calls or refusal or audio or self.images) else None,
            finish_reason=reason,
            refusal=refusal,
            tool_calls=calls,
            reasoning=thought or None,
            reasoning_details=self.details.parts or None,
            audio=audio or None,
            annotations=self.annotations,
            images=self.images,
            citations=self.citations,
            extra=extra,
            reasoning_field=(self.reasoning_field or "reasoning") if self.reasoning or not thought else "",
            logprobs=self.logprobs or None,
            stop_reason=self.stop_reason,
            native_finish_reason=self.native_finish_reason,
            raw=raw,
            notes=notes,
        )
