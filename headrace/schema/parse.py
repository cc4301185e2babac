"""Decode the text of an answer to a value that is valid under the caller's schema, and record the repairs it needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from headrace.errors import CallError, InvalidOutput, Violation
from headrace.schema.coerce import coerce
from headrace.schema.document import Source
from headrace.schema.embedded_json import FENCE, fenced, find_json
from headrace.schema.mend import repair
from headrace.schema.modes import Form, Mode, form_of
from headrace.schema.validate import TWICE, WouldBlock, compiled, json_value
from headrace.text.reasoning import without_reasoning

MAX_REPAIRED = 1 << 20
"""Maximal characters of a text that is repaired."""
MAX_BRACKETS = 200_000
"""Maximal number of opening brackets in a text that is repaired."""

SEVERAL = "several"
MAX_FENCES = 2
"""Fences around one block of code: with more of them there are several, and one may take back what another says."""

MAX_AT_ONCE = 1 << 16
MAX_MENDED_AT_ONCE = 200
"""Maximal characters that are processed on the event loop, within a few milliseconds: as they are, and when they have to be
repaired."""


class ParsedAnswer(NamedTuple):
    """A decoded answer. `value` is valid under the caller's schema. `repaired`: it was JSON only after a repair. `coerced`:
    it was valid only after coercion."""

    value: Any
    repaired: bool = False
    coerced: bool = False


def read_answer(
    text: str,
    schema: dict[str, Any],
    *,
    mode: Mode = "strict",
    target: str = "openai",
    lax: bool = False,
    decode: Callable[[str], Any] | None = None,
    at_once: bool = False,
) -> ParsedAnswer:
    """Decode the value in `text`, which was requested in `mode`. `decode` decodes other formats than JSON (`typed_xml`).

    JSON is decoded strictly first; only on failure it is repaired. Raises `CallError("invalid_output")`, with the text in
    `partial` and every violation in `details["errors"]`. With `at_once`, raises `WouldBlock` instead of blocking for more than
    some milliseconds: call it again in a thread, where two seconds of work are the limit.
    """
    if at_once and len(text) > MAX_AT_ONCE:
        raise WouldBlock
    form = form_of(schema, mode, target)
    try:
        if decode is not None:
            wires, repaired = [coerce(decode(text), wire_source(form))], False
        else:
            wires, repaired = decoded(text, at_once=at_once)
        return only_fitting(wires, form, schema, repaired=repaired, lax=lax, at_once=at_once)
    except InvalidOutput as error:
        raise violation(text, error) from None


def parse_json(text: str) -> Any:
    """Return the value in `text`. Raises `CallError("invalid_output")`."""
    try:
        return json_value(text)
    except InvalidOutput as error:
        raise violation(text, error) from None


def decoded(text: str, *, at_once: bool = False) -> tuple[list[Any], bool]:
    """Return the JSON value of a text, and True if it had to be repaired; then there may be several. Raises `InvalidOutput`, or
    `WouldBlock`."""
    try:
        return [json_value(text)], False
    except InvalidOutput as error:
        if at_once and len(text) > MAX_MENDED_AT_ONCE and error.errors[0].keyword != TWICE:
            raise WouldBlock from None
        found = [] if error.errors[0].keyword == TWICE else repaired(text)
        if not found or not all(map(is_encodable, found)):
            raise error from None
        return found, True


def is_encodable(value: Any) -> bool:
    """Return True if it can be encoded as JSON again: a lone surrogate cannot, nor can an infinite number."""
    try:
        msgspec.json.encode(value)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return False
    return True


def repaired(text: str) -> list[Any]:
    """Return the objects or lists that malformed JSON was probably meant to be, the most likely first.

    Complete JSON in a code fence or between words is tried first, then a repair: truncation, single quotes and the like.
    """
    text = without_reasoning(text)
    if len(text) > MAX_REPAIRED:
        return []
    inner = list(fenced(text))
    for each in (text, *inner) if text.count(FENCE) > MAX_FENCES else (*inner, text):
        if found := find_json(each):
            return found
    text = inner[0] if inner else text
    found = repair(text) if text.count("[") + text.count("{") <= MAX_BRACKETS else None
    return [] if found is None else [found]


def only_fitting(wires: list[Any], form: Form, schema: dict[str, Any], **reading: bool) -> ParsedAnswer:
    """Return the answer that fits the schema. Raises `InvalidOutput` where none does, and where several do that differ: which
    of them is meant would be a guess."""
    answers: dict[bytes, ParsedAnswer] = {}
    refused: InvalidOutput | None = None
    for wire in wires:
        try:
            answer = fitted(wire, form, schema, **reading)
            answers.setdefault(msgspec.json.encode(answer.value, order="sorted"), answer)
        except InvalidOutput as error:
            refused = refused or error
    if len(answers) > 1:
        raise InvalidOutput([Violation("", SEVERAL, "the model gave several answers that differ")])
    if not answers:
        raise refused or InvalidOutput([Violation("", "json", "there is no JSON in it")])
    return next(iter(answers.values()))


def fitted(wire: Any, form: Form, schema: dict[str, Any], *, repaired: bool, lax: bool, at_once: bool) -> ParsedAnswer:
    if form.lowered and not isinstance(wire, dict):
        raise InvalidOutput([Violation("", "shape", "it must be an object")])
    validator = form.lowered.validator if form.lowered else compiled(msgspec.json.encode(schema))
    try:
        value = form.lowered.restore(wire) if form.lowered else wire
        validator.validate(value, at_once=at_once)
        return ParsedAnswer(value, repaired)
    except InvalidOutput:
        if not lax:
            raise
    value = coerce(wire, wire_source(form))
    value = coerce(form.lowered.restore(value) if form.lowered else value, validator.source)
    validator.validate(value, at_once=at_once)
    return ParsedAnswer(value, repaired, coerced=True)


def wire_source(form: Form) -> Source:
    return compiled(msgspec.json.encode(form.schema)).source


def violation(text: str, error: InvalidOutput) -> CallError:
    first: Violation = error.errors[0]
    what = (
        first.message
        if first.keyword in ("json", TWICE, SEVERAL)
        else f"the answer does not fit the schema at {first.pointer or '/'}"
    )
    return CallError("invalid_output", what, partial=text, details={"errors": [str(each) for each in error.errors]})
