"""A batch's input goes in and comes out again: whole, in order, in ranges that cover it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.batches.ingest import MAX_SHARD_ITEMS, commit_input, read_index, read_items, shard_items
from headrace.batches.inputs.sources import records
from headrace.batches.prompt import prompt_fields, render
from headrace.batches.template import Item, Template
from headrace.errors import InputError, StorageError
from headrace.storage.local import LocalFileStore

TEXTS = st.text(max_size=40)


@settings(max_examples=40, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=300))
def test_committed_items_are_read_back_in_order(texts: list[str]) -> None:
    items = [Item(custom_id=str(number), fields={"text": text}) for number, text in enumerate(texts)]
    with tempfile.TemporaryDirectory() as folder:
        store = LocalFileStore(Path(folder))
        committed = commit_input(store, "batch_x", iter(items))
        shards = read_index(store, "batch_x/index", 0, committed.shards)
        assert committed.total == len(items) == sum(shard.count for shard in shards)
        assert len(shards) == committed.shards
        read = [
            msgspec.json.decode(line, type=Item)
            for shard in shards
            for line in store.read("batch_x/input.jsonl", shard.offset, shard.length).splitlines()
        ]
        assert read == items
        assert all(0 < shard.count <= MAX_SHARD_ITEMS for shard in shards)
        assert [shard.line for shard in shards] == [sum(s.count for s in shards[:n]) for n in range(len(shards))]


@pytest.mark.parametrize(
    ("total", "size"), [(1, 8), (64, 8), (100, 13), (512, 64), (4096, 64), (8192, 128), (16_384, 256), (10**6, 256)]
)
def test_shards_grow_once_there_are_enough_for_many_workers(total: int, size: int) -> None:
    assert shard_items(total) == size


@given(TEXTS, st.lists(st.integers()))
def test_a_prompt_is_filled_with_text_as_it_is_and_the_rest_as_json(text: str, numbers: list[int]) -> None:
    prompt = "{{{a}}} and {b}"
    assert prompt_fields(prompt) == ["a", "b"]
    assert render(prompt, {"a": text, "b": numbers}) == f"{{{text}}} and {msgspec.json.encode(numbers).decode()}"


def test_an_item_is_called_by_its_custom_id_its_id_or_its_line(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"custom_id": "x", "id": 1, "text": "a"}\n\n{"id": 2, "text": "b"}\r\n{"text": "no line feed"}')
    ids = [item.custom_id for item in read_items(records(source), Template(model="rehearsal/x"))]
    assert ids == ["x", "2", "line-4"]


def test_an_input_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    store = LocalFileStore(tmp_path / "files")
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "a"}\n{"text":')
    with pytest.raises(InputError, match="line 2"):
        commit_input(store, "batch_x", read_items(records(source), Template(model="rehearsal/x")))
    assert [path.name for path in store.root.rglob("*") if path.is_file()] == [".store-id"]


def test_never_overwrites_committed_files(tmp_path: Path) -> None:
    store = LocalFileStore(tmp_path)
    store.commit("a/b", [b"one"])
    with pytest.raises(FileExistsError):
        store.commit("a/b", [b"two"])
    store.commit_once("a/b", [b"two"])
    assert store.read("a/b") == b"one"


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x"])
def test_a_name_does_not_lead_out_of_the_store(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageError, match="not a name"):
        LocalFileStore(tmp_path).path(name)


def test_a_missing_file_is_a_problem_of_the_store(tmp_path: Path) -> None:
    store = LocalFileStore(tmp_path)
    with pytest.raises(StorageError, match="a/b is missing"):
        store.read("a/b")
    with pytest.raises(StorageError, match="a/b is missing"):
        list(store.lines("a/b"))
