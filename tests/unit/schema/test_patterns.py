"""Regular expressions: ordinary counts run, and mean what they say; what is too large is refused by its place and reason."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from resource_usage import cost_of

from headrace.errors import InvalidOutput, SchemaError
from headrace.schema import TARGETS, lower
from headrace.schema.patterns import as_lengths, options
from headrace.schema.validate import WouldBlock, compiled, encoded


def text(pattern: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"v": {"type": "string", "pattern": pattern, **more}},
        "required": ["v"],
        "additionalProperties": False,
    }


def fits(schema: dict[str, Any], value: str) -> bool:
    try:
        lower(schema).validate({"v": value})
    except InvalidOutput:
        return False
    return True


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"^.{1,255}$", ["a", "é" * 255], ["", "a" * 256, "a\nb"]),
        (r"^\S{1,200}$", ["a" * 200], ["", "a b", "a" * 201]),
        (r"^[\s\S]{1,500}$", ["a\nb", "é" * 500], ["", "a" * 501]),
        (r"^[\s\S]{0,4000}$", ["", "a" * 4000], ["a" * 4001]),
        (r"^(?:\S+\s+){0,99}\S+$", ["one", "one two", "a " * 99 + "b"], ["", "a " * 100 + "b"]),
        (r"^[\p{L} ]{1,1000}$", ["é b", "a" * 1000], ["1", "", "a" * 1001]),
        (r"^.{1,65535}$", ["a" * 65_535], ["a" * 65_536]),
        (r"^[A-Z]\S{0,999}x\.$", ["Ax.", "A" + "b" * 999 + "x."], ["Ax", "ax.", "A" + "b" * 1000 + "x."]),
        (r"^(?:.{1,40}\n){0,40}.{1,40}$", ["a", "a\nb"], ["", "\na"]),
        (r"^(?![\s.]{1,255}$).{1,255}$", ["a."], ["..", ""]),
        (r"^\w{1,63}(?:\.\S{1,63}){1,3}$", ["a.b", "a.b.c"], ["a"]),
        (r"^https?://[^\s/$.?#].[^\s]{0,2000}$", ["http://a.b/c"], ["http:// a", "ftp://a.b"]),
        (r"^(?:\S+\s+){0,499}\S+$", ["a", "a " * 499 + "b"], ["a " * 500 + "b"]),
        (r"^(?:[^.!?]{1,200}[.!?]\s*){1,5}$", ["One. Two!"], ["One"]),
        (r"^(?:\p{L}|\p{N}|[ _-]){1,64}$", ["a1 _"], ["a" * 65, "."]),
        (r"^(?:.|\s){1,500}$", ["a\n"], [""]),
    ],
)
def test_an_ordinary_count_runs(pattern: str, good: list[str], bad: list[str]) -> None:
    for target in TARGETS:
        assert lower(text(pattern), target).wire["properties"]["v"]["type"] == "string"
    assert [fits(text(pattern), value) for value in good] == [True] * len(good)
    assert [fits(text(pattern), value) for value in bad] == [False] * len(bad)


def test_a_count_beside_lengths_keeps_both() -> None:
    schema = text(r"^.{5,1000}$", minLength=7, maxLength=2000)
    assert [fits(schema, "a" * n) for n in (6, 7, 1000, 1001)] == [False, True, True, False]
    schema = text(r"^.{5,1000}$", minLength=2, maxLength=9)
    assert [fits(schema, "a" * n) for n in (4, 5, 9, 10)] == [False, True, True, False]


def test_names_of_properties_may_have_them_too() -> None:
    names = {
        "type": "object",
        "patternProperties": {r"^[\s\S]{1,500}$": {"type": "integer"}},
        "additionalProperties": False,
    }
    lowered = lower(names)
    assert lowered.restore(lowered.lift({"a" * 500: 1})) == {"a" * 500: 1}
    with pytest.raises(InvalidOutput):
        lowered.validate({"a" * 501: 1})
    lower({"type": "object", "propertyNames": {"pattern": r"^.{1,255}$"}, "additionalProperties": {"type": "integer"}})


def test_forty_different_counts_in_one_schema() -> None:
    schema = {
        "type": "object",
        "properties": {f"p{n}": {"type": "string", "pattern": f"^.{{1,{200 + n}}}$"} for n in range(40)},
    }
    cost = cost_of(lambda: lower(schema).wire and None)
    assert cost.cpu_s < 2, cost
    assert cost.more_mb < 150, cost
    with pytest.raises(InvalidOutput):
        lower(schema).validate({"p3": "a" * 204})


ATOMS = st.sampled_from([".", r"\S", r"[\s\S]", "[a-c]", "a", r"\.", r"\d", "[^b]", r"\n"])
COUNTS = st.sampled_from(["", "{2}", "{0,3}", "{1,2}", "{2,4}", "{1,}", "*", "?", "{0,3}?"])


@given(st.lists(st.tuples(ATOMS, COUNTS), max_size=4), st.lists(st.text("ab.1\n", max_size=8), max_size=20))
def test_a_count_as_a_length_means_the_same(parts: list[tuple[str, str]], texts: list[str]) -> None:
    pattern = "^" + "".join(atom + count for atom, count in parts) + "$"
    found = as_lengths(pattern)
    if found is None:
        return
    said = {"pattern": found.pattern, "minLength": found.least, "maxLength": found.most}
    one, other = (
        jsonschema_rs.Draft202012Validator(schema, pattern_options=options(1 << 20))
        for schema in ({"pattern": pattern}, said)
    )
    for each in texts:
        assert one.is_valid(each) == other.is_valid(each), (pattern, found, each)


@pytest.mark.parametrize(
    ("pattern", "said", "remedy"),
    [
        ("(a{1,1000}){1,1000}", "too large", "maxLength"),
        (r"^(?:[\s\S]{1,1000},){1,1000}$", "too large", "maxLength"),
        ("(", "no regular expression", "ECMA"),
        (r"\p{Foo}", "no regular expression", "ECMA"),
        ("^a{5,2}$", "no regular expression", "ECMA"),
        ("(?!x)(a*)*b", "looks around", "begin it with"),
    ],
)
@pytest.mark.parametrize("place", ["pattern", "patternProperties"])
def test_refuses_patterns_that_cannot_be_run(place: str, pattern: str, said: str, remedy: str) -> None:
    inner = {"pattern": pattern} if place == "pattern" else {place: {pattern: {"type": "string"}}}
    with pytest.raises(SchemaError, match=said) as refused:
        lower({"type": "object", "properties": {"a": inner}})
    step = "pattern" if place == "pattern" else f"patternProperties/{pattern.replace('~', '~0').replace('/', '~1')}"
    assert refused.value.pointer == f"/properties/a/{step}"
    assert refused.value.keyword == "pattern"
    assert remedy in refused.value.remedy


def test_large_patterns_are_refused_together_before_they_cost_much() -> None:
    def refused() -> str:
        shape = r"^(?:[\s\S]{1,%d},){1,19}$"
        properties = {f"p{n}": {"type": "string", "pattern": shape % (180 + n)} for n in range(150)}
        try:
            lower({"type": "object", "properties": properties})
        except SchemaError as error:
            return f"{error.pointer} {error}"
        return ""

    cost = cost_of(refused)
    assert cost.cpu_s < 2, cost
    assert cost.more_mb < 150, cost
    assert "too large together" in str(cost.result)


SLOW = r"[a-m](?:.{1,50}){1,40}[n-z]{2}"


@pytest.mark.slow
@pytest.mark.parametrize("value", ["a" * 100_000, "abcaadbb" * 12_500, "é" * 30_000 + "a" * 50_000])
def test_a_large_pattern_never_holds_the_interpreter_for_long(value: str) -> None:
    def checked() -> str:
        try:
            lower(text(SLOW)).validate({"v": value})
        except InvalidOutput as error:
            return str(error)
        return ""

    cost = cost_of(checked)
    assert cost.cpu_s < 3, cost  # with the beginning of the process that checks it, and ends
    assert "it takes" in str(cost.result), cost


def test_a_large_pattern_is_not_tried_on_a_loop() -> None:
    with pytest.raises(WouldBlock):
        compiled(encoded(text(SLOW))).validate({"v": "a" * 100_000}, at_once=True)
    compiled(encoded(text(SLOW))).validate({"v": "abczz"}, at_once=True)
