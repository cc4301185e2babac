"""Schemas and types as people write them, through every mode and dialect: what fits comes back as it was, whatever it was put
to the model as, and what does not fit is no answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import jsonschema_rs
import pytest
from headrace_providers.parsers import typed_xml
from realistic import commerce, systems, texts
from realistic.models import TYPES
from realistic.words import Case, Schema, wordings
from strict_subset import complaints

from headrace.errors import CallError, InvalidOutput
from headrace.schema import TARGETS, lower
from headrace.schema.modes import MODES, Form, form_of
from headrace.schema.parse import read_answer
from headrace.schema.python_types import answer_type

CASES: list[Case] = [*commerce.CASES, *texts.CASES, *systems.CASES]
WORDED = [(f"{case.name}: {name}", schema, case) for case in CASES for name, schema in wordings(case.schema).items()]
NAMES = [name for name, _, _ in WORDED]


def test_there_are_enough_of_them() -> None:
    assert len(WORDED) + len(TYPES) >= 200


class Said(NamedTuple):
    """An answer in one mode, and how it is read."""

    form: Form
    target: str
    schema: Schema
    text: str

    def read(self) -> Any:
        decode = typed_xml.decode if self.form.mode == "typed_xml" else None
        return read_answer(self.text, self.schema, mode=self.form.mode, target=self.target, decode=decode).value


def said(schema: Schema, value: Any) -> Iterator[Said]:
    """`value` as a model would say it, in every mode and dialect in which it has the shape that was asked for."""
    for target in TARGETS:
        for mode in MODES:
            form = form_of(schema, mode, target)
            try:
                wire = form.lowered.lift(value) if form.lowered else value
            except InvalidOutput:
                continue
            text = typed_xml.encode({"answer": wire}) if mode == "typed_xml" else json.dumps(wire)
            yield Said(form, target, schema, text)


def without_null(value: Any) -> Any:
    """Read as it is meant, null of an optional property that may be null is as good as nothing."""
    if isinstance(value, dict):
        return {name: without_null(inner) for name, inner in value.items() if inner is not None}
    return [without_null(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("name", "schema", "case"), WORDED, ids=NAMES)
def test_valid_values_round_trip_in_every_mode_and_dialect(name: str, schema: Schema, case: Case) -> None:
    for value in case.valid:
        found = list(said(schema, value))
        assert len(found) == len(MODES) * len(TARGETS), value
        for each in found:
            back = each.read()
            assert without_null(back) == without_null(value), (each, back)
            lower(schema).validate(back)


@pytest.mark.parametrize(("name", "schema", "case"), WORDED, ids=NAMES)
def test_refuses_invalid_values_in_every_mode_and_dialect(name: str, schema: Schema, case: Case) -> None:
    for value in case.invalid:
        for each in said(schema, value):
            with pytest.raises(CallError):
                each.read()
        with pytest.raises(InvalidOutput):
            lower(schema, reading="intended").validate(value)


@pytest.mark.parametrize(("name", "schema", "case"), WORDED, ids=NAMES)
def test_to_the_letter_it_is_the_same_value(name: str, schema: Schema, case: Case) -> None:
    for target in TARGETS:
        lowered = lower(schema, target)
        assert complaints(lowered.wire, target) == []
        judge = jsonschema_rs.Draft202012Validator(lowered.wire, validate_formats=True)
        for value in case.valid:
            lowered.validate(value)
            answer = json.dumps(lowered.lift(value))
            assert judge.is_valid(json.loads(answer))
            assert lowered.restore(answer) == value


@pytest.mark.parametrize(("kind", "valid", "invalid"), TYPES, ids=[str(kind) for kind, _, _ in TYPES])
def test_a_type_comes_back_in_every_mode_and_dialect(kind: Any, valid: list[Any], invalid: list[Any]) -> None:
    expected = answer_type(kind)
    assert expected.schema is not None
    for value in valid:
        plain = lower(kind).restore(lower(kind).lift(value), plain=True)
        found = list(said(expected.schema, plain))
        assert len(found) == len(MODES) * len(TARGETS), value
        for each in found:
            assert expected.read(each.read()) == value, each
        for target in TARGETS:
            lowered = lower(kind, target)
            assert complaints(lowered.wire, target) == []
            assert lowered.restore(json.dumps(lowered.lift(value))) == value
    for value in invalid:
        for each in said(expected.schema, value):
            with pytest.raises((CallError, ValueError, TypeError)):
                expected.read(each.read())
