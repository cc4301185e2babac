"""From the text of an answer to a value valid under the caller's schema, and what had to be forgiven on the way."""

from __future__ import annotations

import json
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
FENCED_WIDE = re.compile(r"```(?:json|JSON)?\s*\n(.*)```", re.DOTALL)
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
    """The object or list that was probably meant by what is not JSON; None where there is none.

    Whole JSON in a code fence or between words comes first, then what can be mended: cut off, single quotes and the like.
    """
    text = THOUGHT.sub("", text)
    if len(text) > MOST_REPAIRED or text.count("[") + text.count("{") > 20_000:
        return None
    for fenced in (FENCED_WIDE.search(text), FENCED.search(text)):
        if fenced and (found := whole_in(fenced[1])) is not None:
            return found
    found = whole_in(text)
    return found if found is not None else mended(text)


def whole_in(text: str) -> Any:
    """The longest JSON object in a text, else the longest list, that is no part of something larger; None where there is
    none. Some tries are enough."""
    found: list[tuple[bool, int, Any]] = []
    failed: list[int] = []
    end, tries = 0, 0
    for start in re.finditer(r"[{\[]", text):
        at = start.start()
        if at < end or tries >= 50 or any(is_open(text[before:at]) for before in failed):
            continue
        tries += 1
        try:
            value, end = WHOLE.raw_decode(text, at)
            found.append((isinstance(value, dict), end - at, value))
        except (ValueError, RecursionError):
            failed.append(at)
    return max(found, key=lambda each: each[:2])[2] if found else None


def is_open(text: str) -> bool:
    """Whether more brackets are opened than closed in it."""
    return text.count("{") + text.count("[") > text.count("}") + text.count("]")


def mended(text: str) -> Any:
    fenced = FENCED_WIDE.search(text)
    text = fenced[1] if fenced else text
    starts = [at for at in (text.find("{"), text.find("[")) if at >= 0]
    if not starts or NO_NUMBER.search(text):
        return None
    from json_repair import repair_json

    try:
        found = msgspec.json.decode(repair_json(text[min(starts) :], skip_json_loads=True, ensure_ascii=False))
    except (ValueError, RecursionError, TypeError):
        return None
    return found if isinstance(found, dict | list) else None


def no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


WHOLE = json.JSONDecoder(parse_constant=no_constant)


def fitted(wire: Any, form: Form, schema: dict[str, Any], *, repaired: bool, lax: bool) -> Answer:
    if form.lowered and not isinstance(wire, dict):
        raise InvalidOutput([Misfit("", "shape", "it must be an object")])
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
    what = (
        first.message
        if first.keyword in ("json", TWICE)
        else f"the answer does not fit the schema at {first.pointer or '/'}"
    )
    return CallError("invalid_output", what, partial=text, details={"errors": [str(each) for each in error.errors]})
