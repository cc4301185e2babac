"""From the text of an answer to a value valid under the caller's schema, and what had to be forgiven on the way."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from headrace.errors import CallError, InvalidOutput, Misfit
from headrace.schema.lax import coerce
from headrace.schema.modes import Form, Mode, form_of
from headrace.schema.source import Source
from headrace.schema.validate import TWICE, compiled, json_value

THOUGHT = re.compile(r"^\s*<think>.*?</think>\s*", re.DOTALL)
FENCED = re.compile(r"```(?:json|JSON)?\s*\n(.*?)\n?\s*```", re.DOTALL)
NO_NUMBER = re.compile(r"[\[:,]\s*-?(?:NaN|Infinity)\b")  # mending would make a text of it
MOST_REPAIRED = 1 << 20
"""Characters: repairing is slow, and an answer that long is not almost JSON."""


class Answer(NamedTuple):
    """`value` is valid under the caller's schema. `repaired`: it was JSON only after mending. `coerced`: lax reading."""

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
) -> Answer:
    """The value that `text` means, asked for in `mode`. `decode` reads what is not JSON (`typed_xml`).

    JSON is decoded strictly first; only what fails is repaired. Raises `CallError("invalid_output")`, the text in
    `partial` and every misfit in `details["errors"]`.
    """
    form = form_of(schema, mode, target)
    try:
        if decode is not None:
            wire, repaired = coerce(decode(text), wire_source(form)), False
        else:
            wire, repaired = decoded(text)
        return fitted(wire, form, schema, repaired=repaired, lax=lax)
    except InvalidOutput as error:
        raise misfit(text, error) from None


def parse_json(text: str) -> Any:
    """The value in `text`. Raises `CallError("invalid_output")`."""
    try:
        return json_value(text)
    except InvalidOutput as error:
        raise misfit(text, error) from None


def decoded(text: str) -> tuple[Any, bool]:
    """The JSON value of a text, and whether it had to be repaired. Raises `InvalidOutput`."""
    try:
        return json_value(text), False
    except InvalidOutput as error:
        found = None if error.errors[0].keyword == TWICE else repaired(text)
        if found is None:
            raise error from None
        return found, True


def repaired(text: str) -> Any:
    """The object or list that was probably meant by what is not JSON: in a fence, with words around it, cut off, with single
    quotes; None where there is none."""
    text = THOUGHT.sub("", text)
    fenced = FENCED.search(text)
    text = fenced[1] if fenced else text
    starts = [at for at in (text.find("{"), text.find("[")) if at >= 0]
    if not starts or NO_NUMBER.search(text) or len(text) > MOST_REPAIRED or text.count("[") + text.count("{") > 20_000:
        return None
    from json_repair import repair_json

    try:
        found = msgspec.json.decode(repair_json(text[min(starts) :], skip_json_loads=True, ensure_ascii=False))
    except (ValueError, RecursionError, TypeError):
        return None
    return found if isinstance(found, dict | list) else None


def fitted(wire: Any, form: Form, schema: dict[str, Any], *, repaired: bool, lax: bool) -> Answer:
    validator = form.lowered.validator if form.lowered else compiled(msgspec.json.encode(schema))
    try:
        value = form.lowered.restore(wire) if form.lowered else wire
        validator.validate(value)
        return Answer(value, repaired)
    except InvalidOutput:
        if not lax:
            raise
    value = coerce(wire, wire_source(form))
    value = coerce(form.lowered.restore(value) if form.lowered else value, validator.source)
    validator.validate(value)
    return Answer(value, repaired, coerced=True)


def wire_source(form: Form) -> Source:
    return compiled(msgspec.json.encode(form.schema)).source


def misfit(text: str, error: InvalidOutput) -> CallError:
    first: Misfit = error.errors[0]
    what = first.message if first.keyword == "json" else f"the answer does not fit the schema at {first.pointer or '/'}"
    return CallError("invalid_output", what, partial=text, details={"errors": [str(each) for each in error.errors]})
