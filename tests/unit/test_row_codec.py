"""The row of an item as its shard keeps it, and files merged back into the order of a batch's input."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.batches.outputs.merge_by_custom_id import merge_by_custom_id
from headrace.batches.outputs.output_lines import error_line
from headrace.batches.row_codec import LinePointer, is_row, kind_of, line_of
from headrace.errors import Failure, StorageError
from headrace.storage.local import LocalFileStore

ERROR = error_line("a", "r", Failure("timeout", "late"))


@given(
    file=st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1),
    offset=st.integers(0, 10**15 - 1),
    length=st.integers(0, 10**15 - 1),
)
def test_a_pointer_round_trips(file, offset, length):
    pointer = LinePointer(file, offset, length)
    assert LinePointer.decode(pointer.encode()) == pointer


@pytest.mark.parametrize(
    "damaged", [b"", b"file", b"file 1", b"file 1 x", b"file -1 2", b"file 1 " + b"9" * 16, b"\xff 1 2"]
)
def test_a_damaged_pointer_is_refused(damaged):
    with pytest.raises(StorageError):
        LinePointer.decode(damaged)
    assert not is_row(b"S" + damaged)


@pytest.mark.parametrize("row", [b"", b"x" + ERROR, b"s" + ERROR, b"f", b"f" + ERROR + b"\n", b"f{}", b"\xff"])
def test_recognises_malformed_rows(row):
    assert not is_row(row)


def test_a_row_is_told():
    assert is_row(b"f" + ERROR)
    assert is_row(b"F file 1 2")
    assert kind_of(b"F file 1 2") == "F"
    assert kind_of(b"x") is None


def test_the_line_of_a_row_is_fetched_from_its_file(tmp_path):
    store = LocalFileStore(tmp_path)
    store.commit("b/segment", [b"before\n", ERROR + b"\n"])
    assert line_of(b"f" + ERROR, store) == ERROR
    assert line_of(b"F" + LinePointer("b/segment", 7, len(ERROR) + 1).encode(), store) == ERROR


@given(st.data())
def test_files_merge_into_the_order_of_the_input(data):
    names = data.draw(st.lists(st.text(max_size=3), unique=True, max_size=12))
    homes = [data.draw(st.sampled_from([None, 0, 1, 2])) for _ in names]
    files = [[(name, name.upper()) for name, home in zip(names, homes, strict=True) if home == at] for at in range(3)]
    inputs = [msgspec.json.encode({"custom_id": name}) for name in names]
    found = [(number, item) for _, number, item in merge_by_custom_id(inputs, *files)]
    assert found == [(home, None if home is None else name.upper()) for name, home in zip(names, homes, strict=True)]
