"""Tables that are damaged, hostile or not what they are called: each is refused by name, and takes no memory."""

from __future__ import annotations

import builtins
import contextlib
import gzip
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from table_forms import as_arrow, csv_text, json_lines, written

from headrace.batches import arrow_library
from headrace.batches.ingest import read_items
from headrace.batches.inputs import page_sizes
from headrace.batches.inputs.column_choice import ColumnChoice
from headrace.batches.inputs.complaints import Complaints
from headrace.batches.inputs.sources import kept_columns, records
from headrace.batches.template import Template
from headrace.errors import InputError


def read(source: Any, choice: ColumnChoice | None = None, **options: Any) -> list[Any]:
    return list(records(source, choice=choice, **options))


def gz_bomb(path: Path) -> Path:
    with gzip.open(path, "wb", compresslevel=9) as file:
        for _ in range(200):
            file.write(b"\0" * (1 << 20))
    return path


def zst_bomb(path: Path) -> Path:
    with pa.OSFile(str(path), "wb") as file, pa.CompressedOutputStream(file, "zstd") as stream:
        for _ in range(200):
            stream.write(b'{"text": "%b"}\n' % (b"x" * 10_000) * 105)
    return path


@pytest.mark.parametrize("name", ["in.jsonl.gz", "in.csv.gz", "in.json.gz"])
def test_a_bomb_is_refused_before_it_has_expanded(tmp_path: Path, name: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"expands to more than 250 times its size|longer than 1048576|broken JSON"):
        read(gz_bomb(tmp_path / name), complaints=Complaints("x", "refuse") if name == "in.jsonl.gz" else None)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024, "KiB"


def test_a_bomb_of_good_lines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"expands to more than 250 times its size .* unpack it and give the unpacked file"
    ):
        read(zst_bomb(tmp_path / "in.jsonl.zst"))


def test_a_line_without_an_end_is_not_taken_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    with path.open("wb") as file:
        file.write(b"text\n")
        file.truncate(2 << 30)  # a cell of two gigabytes
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"in\.csv, line 2: longer than 1048576 characters"):
        read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024, "KiB"


def test_a_page_that_unpacks_to_gigabytes_is_not_read(tmp_path: Path) -> None:
    """In a process of its own: the file is made there, which takes memory."""
    program = f"""
import pyarrow as pa, pyarrow.parquet as pq
cell = pa.py_buffer(bytes(600 << 20))
offsets = pa.py_buffer(b"".join(n.to_bytes(8, "little") for n in (0, 600 << 20)))
column = pa.Array.from_buffers(pa.large_string(), 1, [None, offsets, cell])
pq.write_table(pa.table({{"text": column}}), {str(tmp_path / "in.parquet")!r}, compression="zstd", write_statistics=False)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
    assert (tmp_path / "in.parquet").stat().st_size < 1 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"column 'text' has a page of 600 MiB: a cell that large is not read"):
        read(tmp_path / "in.parquet")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024, "KiB"


def test_every_page_of_a_file_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_sizes, "MAX_PAGE_BYTES", 100_000)
    small = pa.table({"n": list(range(40_000)), "text": [f"text {n}" for n in range(40_000)]})
    for version in ("1.0", "2.0"):
        for compression in ("none", "snappy", "zstd"):
            words = {"data_page_size": 20_000, "data_page_version": version, "compression": compression}
            pq.write_table(
                small, tmp_path / "in.parquet", use_dictionary=["n"], dictionary_pagesize_limit=50_000, **words
            )
            assert len(read(tmp_path / "in.parquet")) == 40_000
    large = pa.table({"text": [*["x"] * 10_000, "y" * 150_000, *["z"] * 10_000]})
    pq.write_table(large, tmp_path / "in.parquet", data_page_size=1000, use_dictionary=False)
    with pytest.raises(InputError, match="column 'text' has a page of"):
        read(tmp_path / "in.parquet")


def test_a_cell_over_the_bound_is_one_bad_row(tmp_path: Path) -> None:
    table = pa.table({"text": ["a", "x" * (2 << 20), "b"], "n": [1, 2, 3]})
    pq.write_table(table, tmp_path / "in.parquet")
    for source in (tmp_path / "in.parquet", table):
        with pytest.raises(InputError, match="row 2: a cell has more than 1048576 bytes"):
            read(source)
        found = read(source, complaints=Complaints("it", "skip"))
        assert [record.fields["n"] for record in found] == [1, 3]


def cut(path: Path, at: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * at)])
    return path


def parquet_of(folder: Path) -> Path:
    pq.write_table(as_arrow(5000), folder / "in.parquet")
    return folder / "in.parquet"


def feather_of(folder: Path) -> Path:
    feather.write_feather(as_arrow(5000), str(folder / "in.feather"))
    return folder / "in.feather"


CUT: dict[str, Callable[[Path], Path]] = {
    "Parquet": parquet_of,
    "Feather": feather_of,
    "gzip": lambda folder: written(folder / "in.csv.gz", csv_text(5000)),
    "zstd": lambda folder: written(folder / "in.jsonl.zst", "\n".join(json_lines(5000))),
}


@pytest.mark.parametrize("what", CUT)
def test_a_file_that_is_cut_off_is_named(tmp_path: Path, what: str) -> None:
    for at in (0.9, 0.5, 0.02):
        path = cut(CUT[what](tmp_path), at)
        with pytest.raises(InputError, match=f"{path.name}: .*cut off") as raised:
            read(path)
        assert "Traceback" not in str(raised.value)


@pytest.mark.parametrize("what", CUT)
def test_a_file_that_is_damaged_is_named_or_read(tmp_path: Path, what: str) -> None:
    path = CUT[what](tmp_path)
    data = path.read_bytes()
    for at in range(40, len(data), max(1, len(data) // 60)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
        with contextlib.suppress(InputError):
            read(path)


def test_an_empty_file_and_a_wrong_name_are_told(tmp_path: Path) -> None:
    (tmp_path / "in.parquet").write_bytes(b"")
    with pytest.raises(InputError, match=r"in\.parquet: is empty"):
        read(tmp_path / "in.parquet")
    (tmp_path / "in.parquet").write_text('{"text": "x"}\n')
    with pytest.raises(InputError, match="is no file of Parquet, whatever its name says"):
        read(tmp_path / "in.parquet")
    pq.write_table(as_arrow(3), tmp_path / "in.jsonl")
    assert len(read(tmp_path / "in.jsonl")) == 3, "what it begins with decides"


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    twice = pa.table([pa.array(["x"]), pa.array(["y"])], names=["text", "text"])
    pq.write_table(twice, tmp_path / "in.parquet")
    feather.write_feather(twice, str(tmp_path / "in.feather"))
    for source in (tmp_path / "in.parquet", tmp_path / "in.feather", twice):
        with pytest.raises(InputError, match="has two columns of the name 'text'"):
            read(source)
    (tmp_path / "in.csv").write_text("text,text\nx,y\n")
    with pytest.raises(InputError, match="names 'text' twice"):
        read(tmp_path / "in.csv")


def test_a_column_that_is_named_and_not_there_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("sku,text\n" + "a,b\n" * 500)
    pq.write_table(as_arrow(3), tmp_path / "in.parquet")
    sources: list[Any] = [tmp_path / "in.csv", tmp_path / "in.parquet", as_arrow(3), as_arrow(3).to_pydict()]
    for source in sources:
        for choice, who in (
            (ColumnChoice.of(["texts"]), "the prompt"),
            (ColumnChoice.of(["text"], "texts"), "--id"),
            (ColumnChoice.of(["text"], None, "sku,texts"), "--keep"),
        ):
            with pytest.raises(
                InputError, match=rf"has no column 'texts', which {who}.* names\. Columns there: sku, text"
            ):
                read(source, choice)
    with pytest.raises(InputError, match="has no column 'texts'"):
        kept_columns(tmp_path / "in.parquet", ColumnChoice.of(["text"], None, ["texts"]))
    template = Template(model="rehearsal/x", prompt="{text}")
    choice = ColumnChoice.of(["text"], "sku", ["note"])
    rows = [{"sku": "a", "text": "b"}]
    with pytest.raises(InputError, match=r"item 1: field `note`, which --keep .* is missing"):
        list(read_items(records(rows), template, choice=choice))


def test_bytes_make_no_prompt_and_unions_no_rows() -> None:
    with pytest.raises(InputError, match="column 'text' has bytes and no text"):
        read(pa.table({"text": [b"\xff"]}), ColumnChoice.of(["text"]))
    union = pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array(["a", "b"]), pa.array([1, 2])])
    with pytest.raises(InputError, match="column 'it' is of the Arrow type sparse_union"):
        read(pa.table({"it": union}))


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(InputError, match="'a' has 2 values, 'b' 1"):
        read({"a": ["x", "y"], "b": ["z"]})


def test_without_its_library_a_table_is_refused_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(as_arrow(3), tmp_path / "in.parquet")
    imported = builtins.__import__

    def importing(name: str, *args: Any, **words: Any) -> Any:
        if name.partition(".")[0] == "pyarrow":
            raise ImportError("No module named 'pyarrow'")
        return imported(name, *args, **words)

    monkeypatch.setattr(builtins, "__import__", importing)
    monkeypatch.delitem(sys.modules, "pyarrow")
    with pytest.raises(InputError, match=r"in\.parquet: is a file of Parquet: this needs pyarrow .*headrace\[data\]"):
        read(tmp_path / "in.parquet")
    assert arrow_library.POOL not in __import__("os").environ


@pytest.mark.parametrize("keep", [5, "", "a,,b", ["a", "a"], [""]], ids=str)
def test_a_choice_of_columns_that_is_none_is_refused(keep: Any) -> None:
    with pytest.raises(InputError, match="keep"):
        ColumnChoice.of(["text"], None, keep)


@pytest.mark.parametrize("what", ["Parquet", "Arrow"])
def test_a_table_that_is_compressed_once_more_says_so(tmp_path: Path, what: str) -> None:
    table = pa.table({"text": ["a"]})
    path = tmp_path / "t.table"
    (pq.write_table if what == "Parquet" else feather.write_feather)(table, path)
    packed = tmp_path / f"t.{what.lower()}.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(InputError, match=rf"gz: is a file of {what} within gzip or zstd.*unpack it"):
        read(packed)
