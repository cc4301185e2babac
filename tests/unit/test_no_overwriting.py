"""Nothing is overwritten that was not named: the input, what is there already, a name that promises another format."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headrace.batches.outputs.export import check_is_no_input, check_suffix, holds, write_results
from headrace.cli.out import checked_out
from headrace.errors import InputError


def wanted(out: Path, *inputs: Path | str | None, force: bool = False, whole: bool = False) -> None:
    checked_out(out, whole=whole, force=force, inputs=inputs)


@pytest.mark.parametrize("how", ["itself", "a link", "a hard link", "through a folder", "a link to a link"])
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.errors.jsonl"])
def test_the_input_is_never_replaced_not_even_by_force(tmp_path: Path, how: str, name: str) -> None:
    source = tmp_path / "input.jsonl"
    source.write_text('{"text": "x"}\n')
    out, place = tmp_path / "rows.jsonl", tmp_path / name
    if how == "itself":
        source = source.rename(place)
    elif how == "a link":
        place.symlink_to(source)
    elif how == "a hard link":
        os.link(source, place)
    elif how == "through a folder":
        source.rename(place)
        (tmp_path / "same").symlink_to(tmp_path)
        source = tmp_path / "same" / name
    else:
        (tmp_path / "between").symlink_to(source)
        place.symlink_to(tmp_path / "between")
    for force in (True, False):
        with pytest.raises(InputError, match=r"--out .*is the same file as"):
            wanted(out, source, force=force)


def test_a_file_that_is_there_needs_force(tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    wanted(out)
    (tmp_path / "rows.errors.csv").write_text("mine")
    with pytest.raises(InputError, match=r"rows\.errors\.csv: exists already; give --force"):
        wanted(out)
    out.write_text("mine")
    with pytest.raises(InputError, match=r"rows\.csv: exists already; give --force"):
        wanted(out)
    wanted(out, force=True)


def test_force_without_out_is_told() -> None:
    with pytest.raises(InputError, match="--force"):
        checked_out(None, whole=False, force=True)


@pytest.mark.parametrize("name", ["rows.xlsx", "rows.jsonl.bz2", "rows.csv.zip", "rows.json", "rows.txt"])
def test_a_format_that_is_not_written_is_refused_with_those_that_are(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"is not written; the name ends in \.jsonl or \.ndjson \(JSON lines\), \.csv"):
        wanted(tmp_path / name)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.ndjson", "rows.CSV", "rows.tsv", "rows"])
def test_a_format_that_is_written_is_taken(tmp_path: Path, name: str) -> None:
    wanted(tmp_path / name)


def test_whole_completions_are_never_called_a_table() -> None:
    with pytest.raises(InputError, match="whole completions are JSON lines"):
        check_suffix(Path("rows.csv"), whole=True)


def test_keeps_a_file_that_appears_while_rows_are_written(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    out.write_text("mine")
    with pytest.raises(InputError, match="was left alone"):
        write_results(lambda: iter([b"{}"]), out, structured=False, whole=True, overwrite=False)
    assert out.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [out]


def test_results_that_were_written_before_are_known_again(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    write_results(lambda: iter([b"{}\n"]), out, structured=False, whole=True, overwrite=False)
    assert holds(lambda: iter([b"{}\n"]), out, structured=False, whole=True)
    assert not holds(lambda: iter([b"[]\n"]), out, structured=False, whole=True)


def test_an_input_that_is_not_there_is_no_output(tmp_path: Path) -> None:
    check_is_no_input(tmp_path / "rows.jsonl", tmp_path / "nowhere.jsonl")
