"""Odd prompts, encodings, names and places are refused in words, never with a traceback, and before anything is paid."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from headrace.batches.build import make_template
from headrace.batches.inputs.sources import records
from headrace.batches.outputs.export import writable
from headrace.cli.extract import parse_pairs
from headrace.errors import InputError


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"prompt": "caf\udce9 {text}"}, "prompt: character 4 is half of one"),
        ({"system": "caf\udce9"}, "system: character 4"),
        ({"model": "rehearsal/\udce9"}, "model: character 11"),
        ({"stop": "\udce9"}, "the options cannot be written as JSON"),
        ({"extra_body": {"a": ["\ud83d"]}}, "the options cannot be written as JSON"),
    ],
)
def test_half_a_character_in_what_all_items_share_is_named(words: dict[str, Any], said: str) -> None:
    given = {"model": "rehearsal/small", "prompt": "{text}"} | words
    with pytest.raises(InputError, match=said):
        make_template(**given)


def test_half_a_character_in_an_option_of_the_command_line_is_named() -> None:
    for pair in ("stop=\udce9", 'extra_headers={"a":"\udce9"}'):
        with pytest.raises(InputError, match=r"--option '.*: no UTF-8"):
            parse_pairs((pair,))


@pytest.mark.parametrize("encoding", ["klingon", "rot13", "hex", "undefined", "\udce9", "utf-8\0", ""])
def test_an_encoding_that_is_none_of_texts_is_refused(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "in.csv").write_text("text\nx\n")
    with pytest.raises(InputError, match="is not one that Python knows"):
        records(tmp_path / "in.csv", encoding=encoding)


def test_a_folder_with_odd_names_is_read(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xe9.txt")).write_text("x")
    (tmp_path / "folder.txt").mkdir()
    os.mkfifo(tmp_path / "pipe.txt")  # it would be waited for
    (row,) = records(tmp_path)
    assert row.fields == {"custom_id": "a\ufffd.txt", "text": "x", "path": "a\ufffd.txt", "name": "a\ufffd"}
    (tmp_path / "broken.md").symlink_to("nowhere")
    with pytest.raises(InputError, match=r"broken\.md: No such file"):
        list(records(tmp_path))


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/urandom"])
def test_a_device_is_no_input(device: str) -> None:
    with pytest.raises(InputError, match=f"^{device}: is a device"):
        list(records(device))


def test_a_name_that_is_too_long_is_told_before_anything_is_paid(tmp_path: Path) -> None:
    assert writable(tmp_path / ("x" * 242 + ".jsonl")).name
    with pytest.raises(InputError, match="too long"):
        writable(tmp_path / ("x" * 243 + ".jsonl"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_told_before_anything_is_paid(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="nothing may be written"):
        writable(tmp_path / "rows.jsonl")
