"""The meaning of an answer under the job's schema, parser or response format.

`structured` is what was validated, never what was asked for. The model's text is the answer, or in the mode `tool_call` the
arguments of the call of the schema's own name. A call of a tool that the job offers is a turn of its own, without a value. A
call that nobody offered is none: with a text beside it the text decides, without one the answer is of no use.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.chat.completion import Choice, Completion
from headrace.errors import CallError, InputError
from headrace.jobs.job import Job
from headrace.schema.modes import Mode
from headrace.schema.parse import MAX_AT_ONCE, ParsedAnswer, parse_json, read_answer
from headrace.schema.validate import WouldBlock
from headrace.text.readable import UNWRITABLE
from headrace_providers.off_loop import off_loop
from headrace_providers.parsers import PARSERS
from headrace_providers.wire.choice_reducer import Delta
from headrace_providers.wire.request import schema_name

WHOLE = frozenset({"stop", "tool_calls", "function_call"})
"""Finish reasons of an answer that its model has ended. After any other, what is not whole is not mended."""
ANY_OBJECT: dict[str, Any] = {"type": "object"}
FOREIGN = "tool_calls: nobody offered them"


def is_structured(job: Job) -> bool:
    return job.schema is not None or job.parser is not None or job.response_format is not None


def without_foreign_calls(choice: Choice, job: Job, mode: Mode) -> Choice:
    """Return the choice of a structured job with no other calls than of tools that the job offers. What is taken out is
    kept in `raw`. Raises `CallError("invalid_output")` when nothing else was said."""
    if not choice.tool_calls or not is_structured(job):
        return choice
    if job.schema is not None and mode == "tool_call" and job.parser is None and job.response_format is None:
        own = [call for call in choice.tool_calls if name_of(call) == schema_name(job.schema_name)]
        if own:
            return answered_by(own, choice)
    if any(name_of(call) in offered(job) for call in choice.tool_calls):
        return choice
    if not choice.content and choice.refusal is None and not choice.audio:
        names = ", ".join(repr(name_of(call))[:80] for call in choice.tool_calls[:5])
        raise CallError("invalid_output", f"the model called what nobody offered ({names}) instead of answering")
    return msgspec.structs.replace(
        choice,
        tool_calls=[],
        finish_reason="stop" if choice.finish_reason in ("tool_calls", "function_call") else choice.finish_reason,
        raw=choice.raw | {"tool_calls": choice.tool_calls},
        notes=[*choice.notes, FOREIGN],
    )


def answered_by(calls: list[dict[str, Any]], choice: Choice) -> Choice:
    """Return the choice as if the arguments of its call had been its text. Raises `CallError` when several calls say
    different things."""
    said = {call.get("function", {}).get("arguments") or "" for call in calls}
    if len(said) > 1:
        raise CallError("invalid_output", "the model gave several answers that differ", partial="\n".join(sorted(said)))
    reason = "stop" if choice.finish_reason in ("tool_calls", "function_call") else choice.finish_reason
    return msgspec.structs.replace(choice, content=said.pop(), tool_calls=[], finish_reason=reason)


def offered(job: Job) -> set[str]:
    """Return the names of the job's tools."""
    return {name for tool in job.tools or () if (name := name_of(tool))}


def name_of(tool: Any) -> str:
    """Return the name in a tool or in a call of one."""
    for kind in ("function", "custom"):
        body = tool.get(kind) if isinstance(tool, dict) else None
        if isinstance(body, dict) and isinstance(body.get("name"), str):
            return body["name"]
    name = tool.get("name") if isinstance(tool, dict) else None
    return name if isinstance(name, str) else ""


def answer_of(choice: Choice, job: Job, mode: Mode, target: str, *, at_once: bool = False) -> ParsedAnswer | None:
    """Return what the answer means under the job's schema or parser; None for a plain answer and for tool calls.

    Raises `CallError` for an answer of no use; it carries the text that was paid.
    """
    if not is_structured(job) or choice.tool_calls:
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
        raise WouldBlock
    if job.parser is not None:
        answer = ParsedAnswer(PARSERS[job.parser]((job.prefilling or "") + choice.content))
    elif job.envelope:
        answer = ParsedAnswer(parse_json(choice.content))
    else:
        schema, decode = job.schema, PARSERS.get(mode)
        if schema is None:
            schema, mode, decode = schema_of_format(job.response_format), "json_schema", None
        answer = read_answer(
            choice.content, schema, mode=mode, target=target, lax=job.lax, decode=decode, at_once=at_once
        )
    if answer.repaired and choice.finish_reason not in WHOLE:
        why = f"the answer ended for a reason that is not known ({choice.finish_reason!r:.40}), and is not whole"
        raise CallError("truncated", why, partial=choice.content)
    if not comes_back(answer.value):
        raise CallError("invalid_output", "the answer holds a number that JSON does not have", partial=choice.content)
    return answer


def schema_of_format(response_format: dict[str, Any] | None) -> dict[str, Any]:
    """Return the schema of a `response_format` as it is posted; that of an object where it has none (`json_object`)."""
    described = (response_format or {}).get("json_schema")
    schema = described.get("schema") if isinstance(described, dict) else None
    return schema if isinstance(schema, dict) else ANY_OBJECT


async def fits(completion: Completion, job: Job, mode: Mode, target: str) -> bool:
    """Return True if a completion that was kept somewhere is an answer to `job`: its text is read again, and its value is that of
    it."""
    if not is_structured(job):
        return not completion.structured
    if completion.tool_calls:
        return not completion.structured and any(name_of(call) in offered(job) for call in completion.tool_calls)
    mode = completion.mode or mode
    try:
        try:
            answer = answer_of(completion, job, mode, target, at_once=True)
        except WouldBlock:
            answer = await off_loop(answer_of, completion, job, mode, target)
    except (CallError, InputError):
        return False
    return answer is not None and bool(answer.value == completion.value)


def comes_back(value: Any) -> bool:
    """Return True if what is written of a value is read again as the same: a number without end would become null."""
    try:
        return bool(msgspec.json.decode(msgspec.json.encode(value)) == value)
    except UNWRITABLE:
        return False


def as_text(delta: Delta) -> Delta:
    """Return the delta of a tool call as that of a text: its piece of the arguments."""
    if delta.kind != "tool":
        return delta
    pieces = (call.get("function") or {} for call in delta.value if isinstance(call, dict))
    said = (piece.get("arguments") for piece in pieces)
    return Delta("text", "".join(each for each in said if isinstance(each, str)))
