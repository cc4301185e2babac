"""What stands in a table of results: digits as the model wrote them, no formulas, and every value in a column of its own."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.batches.outputs.export import flat, write_results
from headrace.batches.outputs.output_lines import outcome_of, simple, success_line
from headrace.chat.completion import Completion, Usage
from headrace.text.digits import as_written


def line(content: str, value: Any, custom_id: str = "a", **more: Any) -> bytes:
    usage = Usage(1, 1)
    completion = Completion(
        id="c", model="m", created=0, content=content, finish_reason="stop", usage=usage, value=value
    )
    return success_line(custom_id, "r", msgspec.structs.replace(completion, **more))


def cells(folder: Path, *lines: bytes) -> list[dict[str, str]]:
    write_results(lambda: iter(lines), folder / "out.csv", structured=True, whole=False)
    return list(csv.DictReader(io.StringIO((folder / "out.csv").read_bytes().decode(), newline="")))


NUMBERS = ["1.10", "0.1234567890123456789012345", "1e5", "-2.50", "1E-7", "123456789.123456789", "4.0"]


@pytest.mark.parametrize("digits", NUMBERS)
def test_digits_come_out_as_the_model_wrote_them(tmp_path: Path, digits: str) -> None:
    content = f'{{"n": {digits}, "deep": {{"list": [1, {digits}]}}}}'
    answered = line(content, json.loads(content))
    row = simple(answered, structured=True).decode()
    assert row == f'{{"custom_id":"a","value":{{"n":{digits},"deep":{{"list":[1,{digits}]}}}}}}'
    assert cells(tmp_path, answered) == [{"custom_id": "a", "n": digits, "deep.list": f"[1,{digits}]"}]
    _, completion, _ = outcome_of(answered, structured=True)
    assert completion
    assert completion.value == json.loads(content)


@pytest.mark.parametrize(
    ("content", "value", "right"),
    [
        ('{"a": 1.10, "b": null}', {"a": 1.1}, '{"a":1.10}'),  # a key that the schema does not know went
        ('{"a": 1.10}', {"a": 1.1, "b": 2.5}, '{"a":1.10,"b":2.5}'),
        ('{"a": 1.10}', {"a": 2.5}, '{"a":2.5}'),  # another number than was written
        ('{"a": [1.10]}', {"a": [1.1, 1.1]}, '{"a":[1.1,1.1]}'),
        ('{"a": "1.10"}', {"a": 1.1}, '{"a":1.1}'),
        ("```json\n1.10\n```", 1.1, "1.1"),
        ('Here it is:\n```json\n{"a": 1.10}\n```', {"a": 1.1}, '{"a":1.10}'),
        ("[1.10", [1.1], "[1.1]"),
        ("", 1.1, "1.1"),
    ],
)
def test_where_another_value_was_read_it_stands(content: str, value: Any, right: str) -> None:
    assert msgspec.json.encode(as_written(value, content)).decode() == right
    assert msgspec.json.encode(as_written(value, None)) == msgspec.json.encode(value)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_the_value_is_the_same_whatever_its_digits(value: Any) -> None:
    text = json.dumps(value)
    assert json.loads(msgspec.json.encode(as_written(value, text))) == value


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＠"])
def test_a_cell_is_no_formula(tmp_path: Path, sign: str) -> None:
    text = f"{sign}HYPERLINK(1)"
    value = {"a": text, text: "x", "deep": {"b": text}}
    (row,) = cells(tmp_path, line("", value, custom_id=text))
    assert row == {"custom_id": f"'{text}", "a": f"'{text}", f"'{text}": "x", "deep.b": f"'{text}"}
    assert json.loads(simple(line("", value), structured=True))["value"] == value, "JSON lines are exact"


@pytest.mark.parametrize("text", ["-5", "+4.50", "-1,000.5", "-1e5", "-3%", "5-3", "a=b", "", "'=x"])
def test_leaves_cells_that_are_no_formulas_alone(text: str) -> None:
    assert flat({"custom_id": "a", "value": {"t": text}})["t"] == text


def test_numbers_below_zero_stay_numbers() -> None:
    assert flat({"custom_id": "a", "value": {"n": -5, "f": -1.5}}) == {"custom_id": "a", "n": -5, "f": -1.5}


def test_a_key_with_a_dot_loses_nothing(tmp_path: Path) -> None:
    value = {"a.b": 1, "a": {"b": 2, "c.d": {"e": 3}}, "a\\": {"b": 4}, "custom_id": 5, "value": {"custom_id": 6}}
    (row,) = cells(tmp_path, line("", value))
    assert row == {
        "custom_id": "a",
        "a\\.b": "1",
        "a.b": "2",
        "a.c\\.d.e": "3",
        "a\\\\.b": "4",
        "value.custom_id": "5",
        "value.value.custom_id": "6",
    }


KEYS = st.text("ab.\\'=e", max_size=4) | st.sampled_from(["custom_id", "value", "text", "error", "tool_calls"])
DEEP = st.recursive(st.integers(), lambda inner: st.dictionaries(KEYS, inner, min_size=1, max_size=4), max_leaves=12)
NESTED = st.dictionaries(KEYS, DEEP, max_size=4)


def leaves(value: Any) -> list[Any]:
    return [leaf for inner in value.values() for leaf in leaves(inner)] if isinstance(value, dict) else [value]


@given(NESTED)
def test_every_value_has_a_column_of_its_own(value: dict[str, Any]) -> None:
    row = flat({"custom_id": "a", "value": value})
    del row["custom_id"]
    assert sorted(row.values(), key=str) == sorted(leaves(value) if value else ["{}"], key=str)


def test_tables_have_the_text_beside_tool_calls(tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    (row,) = cells(tmp_path, line("Let me look", None, tool_calls=[call]))
    assert row["text"] == "Let me look"
    assert json.loads(row["tool_calls"]) == [call]
