"""`--ready-file` takes away a ready file, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headrace.cli.ready import checked_ready_file, clear_ready_file
from headrace.errors import InputError


@pytest.mark.parametrize(
    "data", [b"", json.dumps({"pid": 5, "role": "bulk"}).encode(), b'{"url": "http://127.0.0.1:1"}']
)
def test_a_ready_file_from_before_is_taken_away(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "ready.json").write_bytes(data)
    clear_ready_file(tmp_path / "ready.json")
    clear_ready_file(tmp_path / "ready.json")
    assert not (tmp_path / "ready.json").exists()


@pytest.mark.parametrize("data", [b"text", b"[]", b'"pid"', b"5", b"{}", b"\xff", b"[" * 100_000, b'{"text": "pid"}\n'])
def test_any_other_file_is_somebodys(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "mine.jsonl").write_bytes(data)
    with pytest.raises(InputError, match=r"mine\.jsonl: is there, and is no ready file"):
        clear_ready_file(tmp_path / "mine.jsonl")
    assert (tmp_path / "mine.jsonl").read_bytes() == data


def test_a_folder_and_a_link_to_nothing_are_none(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for path in (tmp_path, tmp_path / "link"):
        with pytest.raises(InputError, match="is no ready file"):
            checked_ready_file(path)
