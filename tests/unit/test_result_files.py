"""Results as files: JSON lines as they are, and tables with nested values in dotted columns."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.batches.outputs.export import errors_beside, flat, writable, write_results
from headrace.batches.outputs.output_lines import error_line, outcome_of, success_line
from headrace.chat.completion import Completion, Usage
from headrace.errors import CallError, Failure, InputError


def line(custom_id: str, value: Any) -> bytes:
    completion = Completion(
        id="c", model="m", created=0, content=None, finish_reason="stop", usage=Usage(1, 1), value=value
    )
    return success_line(custom_id, f"r.{custom_id}", completion)


def saved(path: Path, *lines: bytes, **options: bool) -> int:
    return write_results(lambda: iter(lines), path, **{"structured": True, "whole": False, **options})


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_json_lines_hold_id_and_value(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert saved(out, line("a", {"n": [1, None]}), line("b", {"n": {"x": "ü"}})) == 2
    assert [json.loads(row) for row in out.read_text().splitlines()] == [
        {"custom_id": "a", "value": {"n": [1, None]}},
        {"custom_id": "b", "value": {"n": {"x": "ü"}}},
    ]


def test_whole_lines_stay_as_they_are(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    saved(out, line("a", {"n": 1}) + b"\n", whole=True)
    assert out.read_bytes() == line("a", {"n": 1}) + b"\n"


def test_a_table_has_the_columns_of_all_rows_together(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    saved(out, line("a", {"who": {"name": "Ann", "tags": ["x", "y"]}}), line("b", {"who": {"name": None}, "ok": True}))
    assert table(out) == [
        {"custom_id": "a", "who.name": "Ann", "who.tags": '["x","y"]', "ok": ""},
        {"custom_id": "b", "who.name": "", "who.tags": "", "ok": "true"},
    ]


def test_a_tsv_is_split_by_tabs(tmp_path: Path) -> None:
    saved(tmp_path / "out.tsv", line("a", {"n": "one\ttwo"}))
    assert (tmp_path / "out.tsv").read_text() == 'custom_id\tn\na\t"one\ttwo"\n'


def test_errors_have_columns_of_their_own(tmp_path: Path) -> None:
    saved(tmp_path / "e.csv", error_line("a", "r", Failure("refusal", "it declined", partial="No.")))
    assert table(tmp_path / "e.csv") == [
        {"custom_id": "a", "error.code": "refusal", "error.message": "it declined", "error.partial": "No."}
    ]


def test_an_answer_with_a_field_named_custom_id_does_not_hide_the_items() -> None:
    assert flat({"custom_id": "a", "value": {"custom_id": "b"}}) == {"custom_id": "a", "value.custom_id": "b"}


def test_a_text_is_the_column_value(tmp_path: Path) -> None:
    completion = Completion(id="c", model="m", created=0, content="Hi", finish_reason="stop", usage=Usage(1, 1))
    saved(tmp_path / "out.csv", success_line("a", "r", completion), structured=False)
    assert table(tmp_path / "out.csv") == [{"custom_id": "a", "value": "Hi"}]


def test_an_interrupted_write_keeps_the_old_file(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("old")

    def broken() -> Iterator[bytes]:
        yield line("a", {})
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        write_results(broken, out, structured=True, whole=False)
    assert out.read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


def test_errors_lie_beside_the_results() -> None:
    assert errors_beside(Path("a/rows.csv")) == Path("a/rows.errors.csv")
    assert errors_beside(Path("rows")) == Path("rows.errors.jsonl")


def test_a_pipe_without_a_name_is_no_file() -> None:
    reader, writer = os.pipe()
    try:
        with pytest.raises(InputError, match="no ordinary file"):
            writable(Path(f"/dev/fd/{writer}"))
    finally:
        os.close(reader)
        os.close(writer)


def test_a_device_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(InputError, match="no ordinary file"):
            writable(path)
    with pytest.raises(InputError, match="is a folder"):
        writable(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        writable(tmp_path / "nowhere" / "out.csv")


def test_a_link_leads_to_the_file_that_is_written(tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    assert writable(tmp_path / "link.csv") == tmp_path / "real.csv"


def test_lines_have_the_fields_beside_the_content() -> None:
    completion = Completion(
        id="c",
        model="m",
        created=1,
        content="Hi",
        finish_reason="stop",
        usage=Usage(5, 4, 3, 2),
        cost=0.5,
        reasoning="why",
        reasoning_details=[{"type": "reasoning.text"}],
        annotations=[{"type": "url_citation"}],
        audio={"id": "a"},
        logprobs={"content": []},
        tool_calls=[{"id": "t"}],
    )
    assert outcome_of(success_line("a", "r", completion), structured=False) == ("a", completion, None)


def test_error_lines_keep_the_failures_metadata() -> None:
    error = CallError(
        "truncated",
        "cut",
        partial="half",
        details={"metadata": {"id": "c", "usage": {"prompt_tokens": 3}}, "errors": ["/a: b"]},
    )
    failure = Failure.of(error)
    assert outcome_of(error_line("a", "r", failure), structured=True) == ("a", None, failure)
    assert failure.metadata["usage"] == {"prompt_tokens": 3}


@pytest.mark.parametrize(
    "said",
    [
        {"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]},
        {"refusal": "No."},
        {"audio": {"id": "a", "data": "AA==", "transcript": "Hm"}},
        {"content": "As they say.", "citations": ["http://a.b/"], "annotations": [{"type": "url_citation"}]},
    ],
)
def test_rows_have_the_fields_beside_the_text(tmp_path: Path, said: dict[str, Any]) -> None:
    words = {"content": None, "finish_reason": "stop", **said}
    completion = Completion(id="c", model="m", created=0, usage=Usage(1, 1), **words)
    lines = success_line("a", "r.a", completion)
    out = tmp_path / "out.jsonl"
    saved(out, lines, structured=False)
    beside = {name: value for name, value in said.items() if name != "content"}
    assert json.loads(out.read_text()) == {"custom_id": "a", "value": said.get("content"), **beside}
    sheet = tmp_path / "out.csv"
    saved(sheet, lines, structured=False)
    (row,) = table(sheet)
    assert all(any(column == name or column.startswith(f"{name}.") for column in row) for name in beside)
