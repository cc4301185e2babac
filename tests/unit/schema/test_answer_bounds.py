"""Answers of 1 MB that are made to hurt: every reader of them is done in time that is in proportion to their length."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from headrace_providers.parsers import typed_xml
from resource_usage import cost_of

from headrace.errors import CallError
from headrace.schema.mend import repair
from headrace.schema.parse import WouldBlock, read_answer
from headrace.schema.partial import Partial

SIZE = 1_000_000
MAX_CPU_S = 2.0
MAX_MB = 150
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "pets": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"kind": {"type": "string"}, "m": {"type": "object", "additionalProperties": {"type": "integer"}}},
            },
        },
        "a": {},
    },
}  # fmt: skip
ITSELF: dict[str, Any] = {
    "type": "object",
    "properties": {
        "pets": {"type": "array", "items": {"$ref": "#"}},
        "a": {
            "anyOf": [
                {"$ref": "#"},
                {"type": "array", "items": {"$ref": "#/properties/a"}},
                {"type": "object", "properties": {"a": {"$ref": "#/properties/a"}, "b": {"$ref": "#"}}},
                {"type": "string"},
            ]
        },
    },
}
ROWS = [{"kind": "dog", "name": f'Rex "the {n}"', "n": n, "tags": ["a", "b"]} for n in range(15_000)]
WHOLE = json.dumps({"pets": ROWS})


def filled(piece: str, begin: str = "", end: str = "", size: int = SIZE) -> str:
    return begin + (piece * (size // len(piece) + 1))[:size] + end


PIECES = [
    "{", "[", "[]", "{}", "[a] {b} ", "{[", "[{", '{"a":', '{"a":[', '["', '{"', "{'", '{"a":{"b" ', '{"a":"b"}x', "{ so it is ",
    "```", "```json\n", "```   \n\n  ", "<?xml", "<?xml ?", "<?xml <", "<think>", " ", "\\", '"', '"a",', "[NaN", "}", "<", "&",
    "<a>", "<a/>", '<a dtype="list">', "<!--", "<![CDATA[", "&amp", "[1,2],", "word [see] ", "[" * 150 + "]" * 150 + ",",
    "{\"a\": [1, {b: 'c', } ] // x\n",
]  # fmt: skip
IN_OBJECT = [
    '"', '"a",', "'a':'b',", '"a":1,', "/* a */", "/*", "/", ":", "a:", "word ", "“a”:“b”,", "\0", "\n", '"a" "b" ', '"a":"b"c",',
    '"a":"it\'s', "}",
]  # fmt: skip
IN_LIST = ["1,", "[],", "NaN,", ": ", '"a",', "#a\n", ",", "1", "1.", "-", "true", "e"]
IN_TEXT = ["word ", "\\", '\\"', "\\u12", "it's "]
ANSWERS: dict[str, str] = {
    **{f"{piece[:20]!r}…": filled(piece) for piece in PIECES},
    **{f"{{{piece!r}…": filled(piece, "{") for piece in IN_OBJECT},
    **{f"[{piece!r}…": filled(piece, "[") for piece in IN_LIST},
    **{f'{{"a":"{piece!r}…': filled(piece, '{"a":"') for piece in IN_TEXT},
    "60 KB of braces and prose": filled("{", "", " and prose", 60_000),
    "a fence and lines": filled("\n", "```"),
    "a fence and blanks": filled(" ", "```json"),
    "an open thought": filled("a ", "<think>"),
    "a thought of blanks": filled(" ", "<think>", "</think>" + " " * SIZE),
    "cut off": WHOLE[:SIZE],
    "cut in the middle": WHOLE[: SIZE // 2],
    "cut off and prose": WHOLE[: SIZE // 2] + filled("words and } ", size=SIZE // 2),
    "whole in a fence": f"```json\n{WHOLE}\n```",
    "a name and blanks": filled(" ", '{"a"'),
    "a number": filled("9", '{"a":', "}"),
    "nested objects": '{"a":' * 180 + '"x"' + "}" * 180,
    "misfits": json.dumps({"pets": [{"kind": 1}] * 60_000}),
    "attributes": "<a " + " ".join(f'b{n}="c"' for n in range(80_000)) + "/>",
}


def grown(text: str) -> None:
    partial = Partial(SCHEMA)
    for at in range(0, len(text), 1000):
        partial.feed(text[at : at + 1000])


READERS: dict[str, Callable[[str], Any]] = {
    "json": lambda text: read_answer(text, SCHEMA, mode="json_object"),
    "lax": lambda text: read_answer(text, ITSELF, mode="json_object", lax=True),
    "xml": typed_xml.decode,
    "partial": grown,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_read_within_the_bounds(name: str) -> None:
    for reader, read in READERS.items():
        if reader == "xml" and "<" not in ANSWERS[name][:100] and "&" not in ANSWERS[name][:100]:
            continue
        cost = cost_of(lambda read=read: read(ANSWERS[name]) and None)
        assert cost.cpu_s < MAX_CPU_S, (reader, cost)
        assert cost.more_mb < MAX_MB, (reader, cost)
        assert cost.result is None or cost.result.startswith("CallError"), (reader, cost)


PROVOKED = [
    "{",
    "[{",
    "[a] {b} ",
    '{"',
    "{'",
    '"{',
    "}{",
    '{"a":"b" ',
    "{[",
    "[/*",
    '{"a":[1,',
    "'\"{",
    "[(",
    "{`",
    "“{",
]


@pytest.mark.slow
@pytest.mark.parametrize("size", [200, 2_000, 16_000, 64_000])
def test_mending_is_bounded_at_every_length(size: int) -> None:
    """json-repair takes 5 s for 8 KB of some of these."""
    for piece in PROVOKED:
        cost = cost_of(lambda piece=piece: repair(filled(piece, size=size)) and None)
        assert cost.cpu_s < 1, (piece, cost)


@pytest.mark.slow
def test_repairs_long_answers_like_short_ones() -> None:
    rows = [{"kind": "dog", "note": f'row {n}, "so" {{to}} say', "n": n, "l": [1.5, None, True]} for n in range(7_000)]
    long = json.dumps({"pets": rows})
    shown = json.dumps({"pets": rows}, indent=1)
    for text in (
        long[:-2],
        long[:-1] + ",}",
        long.replace("}, {", "},\n{", 3).replace('"pets"', "pets", 1),
        f"Here: ```json\n{long[:-1]}\n```",
        shown.replace("true\n", "True, // yes\n").replace("null", "None"),
        long.replace('"kind": "dog"', "'kind': 'dog'"),
        long.replace('"dog", "note"', '"dog" "note"'),
    ):
        assert read_answer(text, {"type": "object"}, mode="json_object").value == {"pets": rows}
    assert read_answer(long[:-12], {"type": "object"}, mode="json_object").value["pets"][:-1] == rows[:-1]


def test_half_of_a_surrogate_pair_is_no_answer() -> None:
    assert repair('{"a": "' + "x" * 400_000 + '\\ud800", }') is None


def test_defers_slow_answers_when_called_on_the_loop() -> None:
    for text in (json.dumps({"pets": ROWS[:1000]}), f"```json\n{json.dumps({'pets': ROWS[:3]})}\n```"):
        with pytest.raises(WouldBlock):
            read_answer(text, SCHEMA, mode="json_object", at_once=True)
        assert read_answer(text, SCHEMA, mode="json_object").value["pets"]
    assert read_answer('{"pets": []}', SCHEMA, mode="json_object", at_once=True).value == {"pets": []}
    with pytest.raises(CallError):
        read_answer("nonsense", SCHEMA, at_once=True)
