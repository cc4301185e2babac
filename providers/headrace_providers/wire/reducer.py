"""Chunks become a completion. A plain answer passes through as a single chunk, so there is no second path.

`Reducer.add` takes each chunk and returns what it adds (`Delta`s, for whoever watches); `completion` is the end of it.
Every part of a chunk counts, whatever else is in it. What a choice holds is read in `choice_reducer.py`, what the
answer means under a schema in `structured_value.py`; here is what stands around the choices.
"""

from __future__ import annotations

import time
from operator import attrgetter
from typing import Any

from headrace.chat.completion import Choice, Completion, Usage
from headrace.chat.tool_schemas import reshaped_tools
from headrace.errors import CallError, InputError
from headrace.jobs.job import Job
from headrace.schema.modes import Mode
from headrace.schema.validate import WouldBlock
from headrace_providers.credentials import kept, without_keys
from headrace_providers.off_loop import off_loop
from headrace_providers.wire.answer_fields import is_empty, list_of, says_nothing
from headrace_providers.wire.choice_reducer import ChoiceReducer, Delta
from headrace_providers.wire.provider_errors import error_in, error_inside
from headrace_providers.wire.structured_value import answer_of, as_text, without_foreign_calls
from headrace_providers.wire.tool_arguments import with_own_arguments
from headrace_providers.wire.unnamed_fields import IN_ANSWER, gather
from headrace_providers.wire.usage import count, usage_beside, usage_of

Chunk = dict[str, Any]
UNTOUCHED = ("provider", "service_tier", "system_fingerprint")
TAKEN = tuple(name for name in Choice.__struct_fields__ if name not in ("raw", "notes"))
taken = attrgetter(*TAKEN)
"""The fields that a completion has of its first choice."""


class Reducer:
    """Feed it every chunk with `add`, then ask for the `completion`. `mode` is how the job's schema was put to the model:
    where it travelled as a tool, the call's arguments are the answer's text. `n` choices were asked for."""

    def __init__(self, mode: Mode = "strict", target: str = "openai", n: int = 1) -> None:
        self.mode: Mode = mode
        self.target = target
        self.n = n
        self.id = ""
        self.model = ""
        self.created = 0
        self.choices: dict[int, ChoiceReducer] = {}
        self.first: int | None = 0 if n > 1 else None  # a single choice is the first, whatever its number
        self.usage = Usage()
        self.raw_usage: dict[str, Any] | None = None
        self.has_usage = False
        self.usage_alone = False
        self.beside: dict[str, Any] = {}
        self.raw: dict[str, Any] = {}
        self.extra: dict[str, Any] = {}
        self.citations: Any = None
        self.plain = False
        self.said_done = False  # the stream said so: `[DONE]`
        self.has_begun = False  # a chunk has come, whatever is in it
        self.is_free = False  # refused with an error status
        self.cost: tuple[float | None] | None = None  # once it is worked out (`call_cost.py`)

    def add(self, chunk: Chunk | None) -> list[Delta]:
        """Take one chunk; None says that nothing follows. Raises `CallError` for an error inside an HTTP 200, and for what has
        no answer's shape."""
        self.has_begun = True
        if chunk is None:
            self.said_done = True
            return []
        try:
            return self._add(chunk)
        except InputError as error:  # of tool calls: a message of ours
            raise CallError(
                "provider_error", f"the provider's answer cannot be used: {error}", partial=self.said, retryable=False
            ) from None
        except (AttributeError, TypeError, ValueError, KeyError) as error:
            # It was paid, and who answers so will do so again.
            raise CallError(
                "provider_error",
                f"the provider's answer has not the shape of one: {error}",
                partial=self.said,
                retryable=False,
            ) from None

    def _add(self, chunk: Chunk) -> list[Delta]:
        choices = chunk.get("choices")
        may_fail = not choices or "error" in chunk or "base_resp" in chunk or chunk.get("success") is False
        if may_fail and (error := error_in(chunk)) is not None:
            raise error_inside(error, partial=self.said)
        self._add_beside(chunk)
        usage = chunk.get("usage")
        if usage is None or is_empty(usage):
            usage = usage_beside(chunk)
        if usage is not None and not is_empty(usage):
            self.usage_alone = not choices and self.has_finished
            self._add_usage(usage)
        deltas: list[Delta] = []
        choices = choices if isinstance(choices, list) else list_of(choices, "choices")
        places: set[int] | None = set() if len(choices) > 1 else None
        for position, choice in enumerate(choices):
            error = choice.get("error")
            if error is not None and not says_nothing(error):
                raise error_inside(error, partial=self.said)
            index = self._index_of(choice, position, places)
            if index not in self.choices:
                self.choices[index] = ChoiceReducer()
            parts = self.choices[index]
            parts.add(choice, deltas if index == self.first else [])
            self.plain = self.plain or parts.is_message
        if not chunk.keys() <= IN_ANSWER:
            gather(self.extra, chunk, IN_ANSWER)
        if chunk.get("citations"):
            self.citations = chunk["citations"]
        return [as_text(delta) for delta in deltas] if self.mode == "tool_call" else deltas

    def _add_beside(self, chunk: Chunk) -> None:
        """Add the fields around the choices, which are never a reason to lose them: what cannot be read is kept in `raw`."""
        id, model, created = chunk.get("id"), chunk.get("model"), chunk.get("created")
        if isinstance(id, str):
            self.id = id or self.id
        elif id is not None:
            self.raw["id"] = id
        if isinstance(model, str):
            self.model = model or self.model
        elif model is not None:
            self.raw["model"] = model
        if isinstance(created, int) and created > 1:
            self.created = created or self.created
        elif created is not None:
            try:
                self.created = count(created) or self.created
            except (TypeError, ValueError, OverflowError):
                self.raw["created"] = created
        for name in UNTOUCHED:
            value = chunk.get(name)
            if isinstance(value, str):
                self.beside[name] = value
            elif value is not None:
                self.raw[name] = value

    def _add_usage(self, usage: Any) -> None:
        self.has_usage = True
        self.raw_usage, self.usage = usage if isinstance(usage, dict) else None, usage_of(usage)
        if not isinstance(usage, dict):
            self.raw["usage"] = usage

    def _index_of(self, choice: dict[str, Any], position: int, places: set[int] | None) -> int:
        """Return the index of a choice. Raises `CallError` when one chunk has two pieces of the same, and `TypeError` when
        several were asked for and this one has no number."""
        index = choice.get("index")
        if not isinstance(index, int) or index < 0 or isinstance(index, bool):
            if index is not None:
                self.raw["index"] = index
                if self.n > 1:
                    raise TypeError("a choice's index must be a number")
            index = position if self.first is None or places is not None else self.first
        if places is not None:
            if index in places:
                if not choice.get("message"):
                    raise CallError(
                        "provider_error",
                        f"the provider's answer contradicts itself: two pieces of choice {index} in one chunk",
                        partial=self.said,
                        retryable=False,
                    )
                index = position if position not in places else max(places) + 1  # whole ones: their order says it
            places.add(index)
        if self.first is None:
            self.first = index
        return index

    @property
    def may_be_over(self) -> bool:
        """A cheap look before `is_over`: whether the first choice of a stream has its finish reason."""
        parts = self.choices.get(self.first or 0)
        return parts is not None and parts.finish_reason is not None and not self.plain

    @property
    def has_finished(self) -> bool:
        """Return True if every choice has its finish reason."""
        return len(self.choices) >= self.n and all(parts.finish_reason for parts in self.choices.values())

    @property
    def is_over(self) -> bool:
        """Return True if nothing but the usage can follow. A reason that came with the first piece is not enough: there are
        servers that write one into every chunk."""
        return self.has_finished and (self.has_usage or self.is_surely_over)

    @property
    def is_surely_over(self) -> bool:
        """Return True if the end was said by itself: after what it ends, or by a usage that stands alone."""
        late = self.usage_alone or all(parts.finished_late for parts in self.choices.values())
        return self.has_finished and (late or self.said_done)

    def completion(self, job: Job, *, deployment: str = "", at_once: bool = False) -> Completion:
        """Return the completion, its `value` valid under the job's schema. Raises `CallError` for an answer of no use; with
        `at_once`, `WouldBlock` for one that takes long to read."""
        if not self.choices:
            if self.plain or not self.id:
                raise CallError("provider_error", "the provider's answer has no choices")
            raise CallError("incomplete_stream", "the answer ended before it began")
        parts = self.choices[self._order()[0]]
        if self.extra:
            parts.extra["answer"] = self.extra
        if self.citations is not None:
            parts.add_citations(self.citations)
        inferred = "stop" if self.plain or (self.said_done and self.has_usage) else None
        try:
            first, *others = (self.choices[index].choice(inferred=inferred) for index in self._order())
        except (InputError, TypeError) as error:
            message = f"the provider's answer cannot be used: {error}"
            raise CallError("provider_error", message, partial=self.said, retryable=False) from None
        if others and self.n == 1 and not self.has_finished:
            message = "the provider's answer contradicts itself: pieces of several choices where one was asked for"
            raise CallError("provider_error", message, partial=self.said, retryable=False)
        if job.tools and (reshaped := reshaped_tools(job.tools, self.target)):
            first, *others = (with_own_arguments(choice, reshaped) for choice in (first, *others))
        first = without_foreign_calls(first, job, self.mode)
        raw, notes = kept(self.raw) if self.raw else ({}, [])
        answer = answer_of(first, job, self.mode, self.target, at_once=at_once)
        made = Completion(
            **dict(zip(TAKEN, taken(first), strict=True)),
            id=self.id,
            model=self.model,
            created=self.created or int(time.time()),
            usage=self.known_usage,
            raw_usage=self.raw_usage,
            value=answer.value if answer else None,
            mode=self.mode if answer and job.schema is not None and job.parser is None else None,
            repaired=answer is not None and answer.repaired,
            coerced=answer is not None and answer.coerced,
            deployment=deployment,
            other_choices=others,
            raw=raw | first.raw,
            notes=[*notes, *first.notes],
            **self.beside,
        )
        return without_keys(made)

    async def completed(self, job: Job, *, deployment: str = "") -> Completion:
        """Return `completion`, off the event loop when it takes long."""
        try:
            return self.completion(job, deployment=deployment, at_once=True)
        except WouldBlock:
            return await off_loop(self.completion, job, deployment=deployment)

    def keep_what_came(self, error: CallError) -> None:
        """Put what had come of a useless answer into the error: it was paid for all the same."""
        self.is_free = error.status is not None and not self.has_begun
        error.partial = error.partial or self.said or None
        error.details.setdefault("counters", self.known_usage.counters())
        error.details.setdefault("usage", self.known_usage)
        first = self._first_parts
        if first and error.code == "empty_output":  # a server's parser may have taken the answer for a thought
            error.partial = error.partial or "".join(first.reasoning) or None
        if self.id or self.raw_usage:
            known: dict[str, Any] = {"id": self.id, "model": self.model, "usage": self.raw_usage}
            known["finish_reason"] = first.finish_reason if first else None
            error.details.setdefault("metadata", {name: value for name, value in known.items() if value})
        if first and first.calls:
            error.details.setdefault("tool_calls", first.calls.wire())

    @property
    def known_usage(self) -> Usage:
        """Return what was paid: unknown, not nothing, where an answer has come and its tokens have not."""
        return self.usage if self.has_usage or not self.choices else Usage(unknown=True)

    @property
    def tier(self) -> str | None:
        """The service tier that the provider says it answered with."""
        return self.beside.get("service_tier")

    @property
    def said(self) -> str:
        """The text that has come so far."""
        first = self._first_parts
        return "".join(first.text) if first else ""

    @property
    def _first_parts(self) -> ChoiceReducer | None:
        return self.choices[self._order()[0]] if self.choices else None

    def _order(self) -> list[int]:
        """Return the choices by priority: the one that was streamed is the first."""
        return sorted(self.choices, key=lambda index: (index != self.first, index))


def asked_choices(body: dict[str, Any]) -> int:
    """Return how many choices a request asks for."""
    n = body.get("n")
    return n if isinstance(n, int) and n > 0 else 1
