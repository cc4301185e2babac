"""Chunks become a completion. A plain answer passes through as a single chunk, so there is no second path.

`Reducer.add` takes each chunk and returns what it adds (`Delta`s, for whoever watches); `completion` is the end of it.
Every part of a chunk counts, whatever else is in it (providers 6.3).
"""

from __future__ import annotations

import base64
import binascii
import time
from typing import Any, NamedTuple

import msgspec

from headrace.errors import CallError
from headrace.job import Choice, Completion, Job, Usage
from headrace.schema.answer import MAX_AT_ONCE, Answer, parse_json, read_answer
from headrace.schema.modes import Mode
from headrace.schema.validate import Later
from headrace.tool_calls import REASONING, ToolCalls
from headrace_worker.failures import error_inside
from headrace_worker.off_loop import off_loop
from headrace_worker.parsers import PARSERS

Chunk = dict[str, Any]
UNTOUCHED = ("provider", "service_tier", "system_fingerprint")
DETAIL_TEXTS = ("text", "summary", "data")


class Delta(NamedTuple):
    """What a chunk adds to the first choice: `kind` is text, reasoning, refusal, audio (bytes) or tool (OpenAI's deltas)."""

    kind: str
    value: Any


class ChoiceParts:
    """One choice as far as it has come."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.refusal: list[str] = []
        self.reasoning: list[str] = []
        self.details: list[Any] = []
        self.longer: dict[str, list[str]] = {}  # pieces of the last detail, that is still growing
        self.calls = ToolCalls()
        self.audio: dict[str, Any] = {}
        self.transcript: list[str] = []
        self.sound: list[bytes] = []
        self.annotations: list[Any] = []
        self.logprobs: dict[str, list[Any]] = {}
        self.finish_reason: str | None = None
        self.stop_reason: str | int | None = None
        self.native_finish_reason: str | None = None

    def add(self, choice: dict[str, Any], deltas: list[Delta]) -> None:
        self.finish_reason = word(choice.get("finish_reason")) or self.finish_reason
        if choice.get("stop_reason") is not None:
            self.stop_reason = choice["stop_reason"]
        self.native_finish_reason = word(choice.get("native_finish_reason")) or self.native_finish_reason
        whole = choice.get("message")
        said = whole or choice.get("delta") or {}
        reasoning = next((said[name] for name in REASONING if said.get(name)), None)
        if reasoning:
            self.reasoning.append(text_of(reasoning))
            deltas.append(Delta("reasoning", reasoning))
        for detail in listed(said.get("reasoning_details")):
            self.add_detail(detail, merge=whole is None)
        content = said.get("content")
        if content:
            text = text_of(content)
            self.text.append(text)
            deltas.append(Delta("text", text))
        if said.get("refusal"):
            self.refusal.append(text_of(said["refusal"]))
            deltas.append(Delta("refusal", said["refusal"]))
        if said.get("audio"):
            self.add_audio(said["audio"], deltas)
        if said.get("annotations"):
            self.annotations.extend(listed(said["annotations"]))
        for name, tokens in (choice.get("logprobs") or {}).items():
            if listed(tokens):
                self.logprobs.setdefault(name, []).extend(tokens)
        calls, function = listed(said.get("tool_calls")), said.get("function_call")
        if calls or function:
            if whole:
                self.calls.add_message({"tool_calls": calls, "function_call": function})
            else:
                calls = calls or [{"index": 0, "function": function}]
                self.calls.add_delta(calls)
                deltas.append(Delta("tool", calls))

    def add_detail(self, detail: Any, *, merge: bool) -> None:
        """Details of a stream come in pieces: those of one type and index belong together, or no signature would hold."""
        last = self.details[-1] if self.details else None
        if (
            not merge
            or not isinstance(detail, dict)
            or not isinstance(last, dict)
            or detail.get("index") is None
            or (last.get("type"), last.get("index")) != (detail.get("type"), detail.get("index"))
        ):
            self.settle_detail()
            self.details.append(dict(detail) if isinstance(detail, dict) else detail)
            return
        for name, value in detail.items():
            if name in DETAIL_TEXTS and isinstance(value, str) and isinstance(last.get(name), str):
                self.longer.setdefault(name, [last[name]]).append(value)
            elif value is not None:
                last[name] = value

    def settle_detail(self) -> None:
        for name, pieces in self.longer.items():
            self.details[-1][name] = "".join(pieces)
        self.longer = {}

    def add_audio(self, audio: dict[str, Any], deltas: list[Delta]) -> None:
        for name, value in audio.items():
            if name == "data" and value:
                # Each piece of a stream is encoded for itself.
                sound = base64.b64decode(value, validate=True)
                self.sound.append(sound)
                deltas.append(Delta("audio", sound))
            elif name == "transcript":
                self.transcript.append(text_of(value or ""))
            elif value is not None:
                self.audio[name] = value

    def choice(self, *, plain: bool) -> Choice:
        """All of it. Raises `CallError` when it ended before it was complete, or with an error."""
        said = "".join(self.text)
        self.settle_detail()
        if self.finish_reason is None and not plain:
            raise CallError("incomplete_stream", "the answer ended before it was complete", partial=said)
        if self.finish_reason == "error":
            raise CallError("provider_error", "the provider ended its answer with an error", partial=said)
        if self.finish_reason == "abort":  # vLLM and SGLang, when the engine drops a request: it is no end of an answer
            raise CallError("provider_error", "the provider aborted its answer", partial=said)
        calls, refusal = wire_calls(self.calls), "".join(self.refusal) or None
        details = [part for part in self.details if isinstance(part, dict)]
        thought = "".join(self.reasoning) or "".join(
            text for part in details for name in DETAIL_TEXTS[:2] if isinstance(text := part.get(name), str)
        )
        audio = self.audio | ({"transcript": "".join(self.transcript)} if self.transcript else {})
        audio |= {"data": base64.b64encode(b"".join(self.sound)).decode()} if self.sound else {}
        return Choice(
            content=said if self.text or not (calls or refusal or audio) else None,
            finish_reason=self.finish_reason or "stop",
            refusal=refusal,
            tool_calls=calls,
            reasoning=thought or None,
            reasoning_details=self.details or None,
            audio=audio or None,
            annotations=self.annotations,
            logprobs=self.logprobs or None,
            stop_reason=self.stop_reason,
            native_finish_reason=self.native_finish_reason,
        )


class Reducer:
    """Feed it every chunk with `add`, then ask for the `completion`. `mode` is how the job's schema was put to the model:
    where it travelled as a tool, the call's arguments are the answer's text."""

    def __init__(self, mode: Mode = "strict", target: str = "openai") -> None:
        self.mode: Mode = mode
        self.target = target
        self.id = ""
        self.model = ""
        self.created = 0
        self.choices: dict[int, ChoiceParts] = {}
        self.usage = Usage()
        self.raw_usage: dict[str, Any] | None = None
        self.beside: dict[str, Any] = {}
        self.plain = False

    def add(self, chunk: Chunk) -> list[Delta]:
        """Take one chunk. Raises `CallError` for an error inside an HTTP 200, and for what has no answer's shape."""
        try:
            return self._add(chunk)
        except (AttributeError, TypeError, ValueError, KeyError, binascii.Error) as error:
            raise CallError(
                "provider_error", f"the provider's answer has not the shape of one: {error}", partial=self.said
            ) from None

    def _add(self, chunk: Chunk) -> list[Delta]:
        if chunk.get("error"):
            raise error_inside(chunk["error"], partial=self.said)
        self.id = word(chunk.get("id")) or self.id
        self.model = word(chunk.get("model")) or self.model
        self.created = count(chunk.get("created")) or self.created
        for name in UNTOUCHED:
            if isinstance(chunk.get(name), str):
                self.beside[name] = chunk[name]
        usage = chunk.get("usage") or usage_beside(chunk)
        if usage:
            self.raw_usage, self.usage = usage if isinstance(usage, dict) else None, usage_of(usage)
        deltas: list[Delta] = []
        for position, choice in enumerate(listed(chunk.get("choices"))):
            if choice.get("error"):
                raise error_inside(choice["error"], partial=self.said)
            self.plain = self.plain or "message" in choice
            index = choice.get("index")
            index = index if isinstance(index, int) else position
            if index not in self.choices:
                self.choices[index] = ChoiceParts()
            self.choices[index].add(choice, deltas if index == 0 else [])
        return [as_text(delta) for delta in deltas] if self.mode == "tool_call" else deltas

    def completion(self, job: Job, *, deployment: str = "", at_once: bool = False) -> Completion:
        """The completion, its `value` valid under the job's schema. Raises `CallError` for an answer of no use; with
        `at_once`, `Later` for one that takes long to read."""
        if not self.choices:
            if self.plain or not self.id:
                raise CallError("provider_error", "the provider's answer has no choices")
            raise CallError("incomplete_stream", "the answer ended before it began")
        first, *others = (self.choices[index].choice(plain=self.plain) for index in sorted(self.choices))
        if job.schema is not None and self.mode == "tool_call" and first.tool_calls:
            first = answered_by_call(first)
        answer = answer_of(first, job, self.mode, self.target, at_once=at_once)
        return Completion(
            **{name: getattr(first, name) for name in Choice.__struct_fields__},
            id=self.id,
            model=self.model,
            created=self.created or int(time.time()),
            usage=self.usage,
            raw_usage=self.raw_usage,
            value=answer.value if answer else None,
            mode=self.mode if answer and job.schema is not None and job.parser is None else None,
            repaired=answer is not None and answer.repaired,
            coerced=answer is not None and answer.coerced,
            deployment=deployment,
            other_choices=others,
            **self.beside,
        )

    async def completed(self, job: Job, *, deployment: str = "") -> Completion:
        """`completion`, off the event loop when it takes long."""
        try:
            return self.completion(job, deployment=deployment, at_once=True)
        except Later:
            return await off_loop(self.completion, job, deployment=deployment)

    def keep_what_came(self, error: CallError) -> None:
        """An answer of no use was paid for all the same: put what had come of it into the error."""
        error.partial = error.partial or self.said or None
        error.details.setdefault("counters", self.usage.counters())
        error.details.setdefault("usage", self.usage)
        first = self.choices.get(0)
        if self.id or self.raw_usage:
            known: dict[str, Any] = {"id": self.id, "model": self.model, "usage": self.raw_usage}
            known["finish_reason"] = first.finish_reason if first else None
            error.details.setdefault("metadata", {name: value for name, value in known.items() if value})
        if first and first.calls:
            error.details.setdefault("tool_calls", wire_calls(first.calls))

    @property
    def tier(self) -> str | None:
        """The service tier that the provider says it answered with."""
        return self.beside.get("service_tier")

    @property
    def said(self) -> str:
        """The text that has come so far."""
        first = self.choices.get(0)
        return "".join(first.text) if first else ""


def answer_of(choice: Choice, job: Job, mode: Mode, target: str, *, at_once: bool = False) -> Answer | None:
    """What the answer means under the job's schema or parser; None for a plain answer and for tool calls.

    Raises `CallError` for an answer of no use (providers 5.4); it carries the text that was paid.
    """
    if (job.schema is None and job.parser is None and job.response_format is None) or choice.tool_calls:
        return None
    if choice.refusal is not None:
        raise CallError("refusal", f"the model declined to answer: {choice.refusal[:300]}", partial=choice.refusal)
    if choice.finish_reason == "length":
        raise CallError("truncated", "the answer was cut at max_tokens", partial=choice.content)
    if choice.finish_reason == "content_filter":
        raise CallError("content_filter", "the provider's filter stopped the answer", partial=choice.content)
    if not choice.content:
        raise CallError("empty_output", "the provider sent no text")
    if at_once and len(choice.content) > MAX_AT_ONCE:
        raise Later
    if job.parser is not None:
        return Answer(PARSERS[job.parser]((job.prefilling or "") + choice.content))
    if job.schema is None:
        return Answer(parse_json(choice.content))
    decode = PARSERS.get(mode)
    return read_answer(
        choice.content, job.schema, mode=mode, target=target, lax=job.lax, decode=decode, at_once=at_once
    )


def answered_by_call(choice: Choice) -> Choice:
    """The choice as if the arguments of its first call had been its text."""
    function = choice.tool_calls[0].get("function") or {}
    reason = "stop" if choice.finish_reason == "tool_calls" else choice.finish_reason
    return msgspec.structs.replace(choice, content=function.get("arguments") or "", tool_calls=[], finish_reason=reason)


def as_text(delta: Delta) -> Delta:
    """The delta of a tool call as that of a text: its piece of the arguments."""
    if delta.kind != "tool":
        return delta
    pieces = (call.get("function") or {} for call in delta.value if isinstance(call, dict))
    return Delta("text", "".join(str(piece.get("arguments") or "") for piece in pieces))


def wire_calls(calls: ToolCalls) -> list[dict[str, Any]]:
    """The calls in OpenAI's shape, their ids unique."""
    return [
        {"id": id, "type": "custom", "custom": {"name": call.name, "input": call.raw}}
        if call.type == "custom"
        else {"id": id, "type": "function", "function": {"name": call.name, "arguments": call.raw}}
        for id, call in calls.identified()
    ]


def text_of(content: Any) -> str:
    """A text, or the texts of a list of parts. Raises `TypeError` for anything else."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part.get("type") == "text")
    raise TypeError(f"a text was expected, not {type(content).__name__}")


def word(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"a text was expected, not {type(value).__name__}")
    return value


def listed(value: Any) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise TypeError(f"a list was expected, not {type(value).__name__}")
    return value or []


def usage_beside(chunk: Chunk) -> Any:
    """Groq's last chunk of a stream has its usage in `x_groq`."""
    beside = chunk.get("x_groq")
    return beside.get("usage") if isinstance(beside, dict) else None


MAX_TOKENS = 10**12
"""More than that of one answer is no count, and would not fit the ledger's sums."""
CACHED = (("prompt_tokens_details", "cached_tokens"), ("prompt_cache_hit_tokens",), ("cached_tokens",))
"""Where providers say how much of the prompt came out of their cache: OpenAI and most others, DeepSeek, Moonshot."""


def usage_of(usage: Any) -> Usage:
    """A provider's `usage` object, in our terms. What of it cannot be read is `unknown`: the answer is paid all the same."""
    unknown = False

    def number(*path: str) -> int | None:
        nonlocal unknown
        value = usage
        try:
            for name in path:
                value = value.get(name) if value is not None else None
            found = None if value is None else count(value)
            unknown = unknown or (found or 0) > MAX_TOKENS
            return found if (found or 0) <= MAX_TOKENS else None
        except (AttributeError, TypeError, ValueError, OverflowError):
            unknown = True
            return None

    cached = [found for path in CACHED if (found := number(*path)) is not None]
    counts = {
        "input_tokens": number("prompt_tokens") or 0,
        "output_tokens": number("completion_tokens") or 0,
        "cached_tokens": cached[0] if cached else 0,
        "reasoning_tokens": number("completion_tokens_details", "reasoning_tokens") or 0,
    }
    return Usage(**counts, unknown=unknown)


def count(tokens: Any) -> int:
    if tokens is None:
        return 0
    if isinstance(tokens, bool) or not isinstance(tokens, int | float) or tokens < 0:
        raise TypeError(f"a count of tokens was expected, not {type(tokens).__name__}")
    return int(tokens)
