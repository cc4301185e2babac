"""Files as people's tools write them are read; what cannot be is named, every line of it in one run."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from headrace.batches.ingest import read_items
from headrace.batches.inputs.sources import Complaints, records
from headrace.batches.template import Template
from headrace.errors import InputError

BOM = "\ufeff"


def rows(path: Path, **options: Any) -> list[dict[str, Any]]:
    return [record.fields for record in records(path, **options)]


def written(folder: Path, name: str, data: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def prompts(path: Path, prompt: str = "{text}") -> list[str]:
    template = Template(model="rehearsal/x", prompt=prompt)
    complaints = Complaints(str(path))
    found = read_items(records(path, complaints=complaints), template, str(path), complaints=complaints)
    return [template.job(item).messages[0]["content"] for item in found]


ONE = [{"id": "1", "text": "a;b, c"}]
TABLES = {
    "Excel's sep= line": ('sep=;\r\nid;text\r\n1;"a;b, c"\r\n', ONE),
    "Excel's sep= line, quoted": ('"sep=;"\r\nid;text\r\n1;"a;b, c"\r\n', ONE),
    "a sep= line after a mark": (BOM + 'SEP=|\nid|text\n1|"a;b, c"\n', ONE),
    "a sep= of a tab": ("sep=\t\nid\ttext\n1\ta;b, c\n", ONE),
    "a trailing empty column": ('id,text,\n1,"a;b, c",\n', ONE),
    "many trailing empty columns": ('id,text,,,\n1,"a;b, c",,,\n', ONE),
    "a trailing delimiter in rows alone": ('id,text\n1,"a;b, c",\n', ONE),
    "a trailing empty column in the header alone": ('id,text,\n1,"a;b, c"\n', ONE),
    "a byte order mark": (BOM + 'id,text\n1,"a;b, c"\n', ONE),
    "UTF-16 with a mark": ("id\ttext\n1\ta;b, c\n".encode("utf-16"), ONE),
    "line ends of an old Mac": ('id,text\r1,"a;b, c"\r', ONE),
    "blank lines": ('id,text\n\n1,"a;b, c"\n\n', ONE),
    "commas in a quoted header": ('id;"text, long, very"\n1;x\n', [{"id": "1", "text, long, very": "x"}]),
    "semicolons in a quoted header": ('"a;b;c;d",e\n1,2\n', [{"a;b;c;d": "1", "e": "2"}]),
    "a line feed in a quoted header": ('"a\n;;;;b",e\n1,2\n', [{"a\n;;;;b": "1", "e": "2"}]),
    "quotes in a quoted header": ('"a "";;"" b",e\n1,2\n', [{'a ";;" b': "1", "e": "2"}]),
}


@pytest.mark.parametrize("what", TABLES)
def test_a_table_is_read_as_tools_write_it(tmp_path: Path, what: str) -> None:
    data, right = TABLES[what]
    assert rows(written(tmp_path, "in.csv", data)) == right


def test_a_row_below_a_sep_line_is_named_by_its_own_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 4: 1 columns instead of 2"):
        rows(written(tmp_path, "in.csv", "sep=;\na;b\n1;2\n3\n"))


def test_a_value_below_a_column_without_a_name_is_not_dropped(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 3: 3 columns instead of 2: column 3 has no name"):
        rows(written(tmp_path, "in.csv", "id,text,\n1,a,\n2,b,lost\n"))


def test_a_table_says_its_encoding_with_a_mark_even_when_utf_8_is_asked_for(tmp_path: Path) -> None:
    assert rows(written(tmp_path, "in.csv", BOM + "text\nx\n"), encoding="utf-8") == [{"text": "x"}]


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (BOM + '{"text": "x"}\n', None),
        (BOM + '{"text": "x"}\n', "utf-8"),
        (BOM + '\n{"text": "x"}\n', None),
        ('{"text": "x"}\r\n'.encode("utf-16"), None),
        ('{"text": "x"}\r\n'.encode("utf-16"), "utf-16"),
        ('{"text": "x"}\n'.encode("utf-16-le"), "utf-16-le"),
        ('{"text": "x"}\n'.encode("utf-32"), "utf-32"),
    ],
)
def test_json_lines_are_read_with_a_mark_and_in_wide_encodings(tmp_path: Path, data: Any, encoding: str | None) -> None:
    assert rows(written(tmp_path, "in.jsonl", data), encoding=encoding) == [{"text": "x"}]


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (r"a\ud83d", "a\ufffd"),
        (r"\ude00 b", "\ufffd b"),
        (r"\ud83d\ud83d\ude00", "\ufffd😀"),
        (r"\ud83d\ude00", "😀"),
        (r"\\ud83d \ud83d", "\\ud83d \ufffd"),
        (r"\uD83D\n", "\ufffd\n"),
    ],
)
def test_half_of_a_surrogate_pair_is_a_replacement_character(tmp_path: Path, text: str, right: str) -> None:
    assert rows(written(tmp_path, "in.jsonl", f'{{"text": "{text}"}}\n')) == [{"text": right}]


def test_half_of_a_surrogate_pair_in_python(tmp_path: Path) -> None:
    assert [row.fields for row in records(["a\ud83d", {"t\udc00": ["\ude00"]}])] == [
        {"text": "a\ufffd"},
        {"t\ufffd": ["\ufffd"]},
    ]


@pytest.mark.parametrize(
    "digits", ["1.10", "0.1234567890123456789012345", "1e5", "1E400", "-0.0", "100000000000000000000000000001", "2.50"]
)
def test_digits_stay_as_written_into_the_prompt(tmp_path: Path, digits: str) -> None:
    path = written(tmp_path, "in.jsonl", f'{{"n": {digits}, "deep": {{"list": [{digits}]}}}}\n')
    assert prompts(path, "{n} {deep}") == [f'{digits} {{"list":[{digits}]}}']
    assert prompts(written(tmp_path, "in.csv", f"n\n{digits}\n"), "{n}") == [digits]


@pytest.mark.parametrize("end", ["broken", "short"])
def test_every_bad_line_is_named_in_one_run(tmp_path: Path, end: str) -> None:
    bad = ['{"text":', '{"txet": "x"}', "[1]", '{"text": null}', '{"id": "a", "text": "x"}', '{"id": [], "text": "x"}']
    good = '{"id": "a", "text": "x"}'
    path = written(tmp_path, "in.jsonl", "\n".join([good, *bad, good.replace('"a"', '"b"')]))
    with pytest.raises(InputError) as raised:
        prompts(path)
    said = str(raised.value).splitlines()
    assert said[0] == f"{path}: 6 of its lines cannot be used:"
    assert [f"line {number}:" in line for number, line in enumerate(said[1:], 2)] == [True] * 6


def test_the_first_hundred_are_named_and_all_are_counted(tmp_path: Path) -> None:
    path = written(tmp_path, "in.jsonl", "nonsense\n" * 1234)
    with pytest.raises(InputError) as raised:
        prompts(path)
    said = str(raised.value).splitlines()
    assert (len(said), said[0], said[-1]) == (102, f"{path}: 1234 of its lines cannot be used:", "  … and 1134 more")


def test_bad_rows_of_a_table_texts_of_a_folder_and_objects_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"(?s)2 of its.*line 2: 1 col.*line 4: 3 col"):
        prompts(written(tmp_path, "in.csv", "id,text\n1\n2,b\n3,c,d\n"))
    folder = tmp_path / "texts"
    folder.mkdir()
    for name in ("a.txt", "b.md"):
        written(folder, name, b"\xff")
    with pytest.raises(InputError, match=r"(?s)2 of its.*a\.txt: not UTF-8.*b\.md: not UTF-8"):
        prompts(folder)
    complaints = Complaints()
    with pytest.raises(InputError, match=r"(?s)2 of its.*item 1.*item 3"):
        list(read_items(records([1, "x", 2], complaints=complaints), Template(model="a/b"), complaints=complaints))


def test_a_line_that_is_too_long_does_not_hide_the_next(tmp_path: Path) -> None:
    path = written(tmp_path, "in.jsonl", b'{"text": "' + b"a" * 3_000_000 + b'"}\nbroken\n{"text": "x"}\n')
    with pytest.raises(InputError, match=r"(?s)2 of its.*line 1: longer.*line 2: broken"):
        prompts(path)


@pytest.mark.parametrize("name", ["in.jsonl", "in.csv", "in.parquet"])
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"PK\x03\x04xx", "Excel workbook"),
        (b"PAR1xx", "Parquet"),
        (b"\x1f\x8b\x08xx", "gzip"),
        (b"\xd0\xcf\x11\xe0xx", "Excel workbook"),
    ],
)
def test_a_format_that_is_not_read_is_called_by_its_name(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    path = written(tmp_path, name, data)
    with pytest.raises(InputError, match=said) as raised:
        rows(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(("name", "data"), [("in.csv", "id;text\n1;x\n"), ("in.jsonl", '{"id": "1", "text": "x"}\n')])
def test_a_pipe_is_read(tmp_path: Path, name: str, data: str) -> None:
    os.mkfifo(tmp_path / name)
    writer = threading.Thread(target=(tmp_path / name).write_text, args=(data,))
    writer.start()
    try:
        assert rows(tmp_path / name) == [{"id": "1", "text": "x"}]
    finally:
        writer.join(10)
