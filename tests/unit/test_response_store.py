"""Stored responses: found by their letters alone, written once, gone when their time is over."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest

from headrace.storage.local import LocalFileStore
from headrace.storage.response_store import BRIEF_S, ResponseEnd, ResponseStore, StoredResponse, folders, sweep

LETTERS = "ab" + "c" * 24
TTL_S = 1000.0


@pytest.fixture
def files(tmp_path: Path) -> LocalFileStore:
    return LocalFileStore(tmp_path / "files")


@pytest.fixture
def store(files: LocalFileStore) -> ResponseStore:
    return ResponseStore(files, "default", TTL_S)


def record(*, age_s: float = 0, is_kept: bool = True) -> StoredResponse:
    return StoredResponse(request={"model": "m"}, created_s=int(time.time() - age_s), is_kept=is_kept)


def save(store: ResponseStore, record: StoredResponse, letters: str = LETTERS) -> None:
    store.save(letters, msgspec.json.encode(record), is_kept=record.is_kept, durable=False)


def test_any_process_finds_it_and_its_end(files: LocalFileStore, store: ResponseStore) -> None:
    saved = record()
    save(store, saved)
    assert ResponseStore(files, "default", TTL_S).load(LETTERS) == saved
    end = ResponseEnd({"status": "completed"}, "sealed")
    store.finish(LETTERS, msgspec.json.encode(end), is_kept=True)
    store.finish(LETTERS, msgspec.json.encode(ResponseEnd({"status": "failed"})), is_kept=True)
    found = ResponseStore(files, "default", TTL_S).load(LETTERS)
    assert found is not None
    assert found.end == end, "the first stays"
    assert ResponseStore(files, "other", TTL_S).load(LETTERS) is None, "another tenant's is not there"


def test_what_is_removed_leaves_nothing(files: LocalFileStore, store: ResponseStore) -> None:
    for is_kept in (True, False):
        save(store, record(is_kept=is_kept))
        store.finish(LETTERS, msgspec.json.encode(ResponseEnd({})), is_kept=is_kept)
        store.remove(LETTERS)
        store.remove(LETTERS)
        assert [path for path in files.root.rglob("*") if LETTERS in path.name] == []
        assert store.load(LETTERS) is None
        store.finish(LETTERS, msgspec.json.encode(ResponseEnd({})), is_kept=is_kept)
        assert [path for path in files.root.rglob("*") if LETTERS in path.name] == [], (
            "who still follows it writes nothing"
        )


@pytest.mark.parametrize("letters", ["", "a", "../../etc/passwd", "A" * 26, "a" * 27, "a" * 25 + "/"])
def test_what_are_no_letters_are_unknown(store: ResponseStore, letters: str) -> None:
    assert store.load(letters) is None


def test_past_its_lifetime_it_is_unknown(store: ResponseStore) -> None:
    save(store, record(age_s=TTL_S + 2))
    assert store.load(LETTERS) is None
    brief = "b" * 26
    save(store, record(age_s=BRIEF_S - 60, is_kept=False), brief)
    assert store.load(brief) is not None
    old = "d" * 26
    save(store, record(age_s=BRIEF_S + 2, is_kept=False), old)
    assert store.load(old) is None


def test_half_a_file_is_none(files: LocalFileStore, store: ResponseStore) -> None:
    save(store, record())
    (path,) = files.root.rglob("*.json")
    path.write_bytes(path.read_bytes()[:-3])
    assert store.load(LETTERS) is None


def test_a_sweep_removes_what_is_over_and_no_other(files: LocalFileStore, store: ResponseStore) -> None:
    now_s = time.time()
    ages = {"aa" + "a" * 24: TTL_S + 5, "aa" + "b" * 24: TTL_S - 60}
    for letters in ages:
        save(store, record(), letters)
        store.finish(letters, msgspec.json.encode(ResponseEnd({})), is_kept=True)
    save(store, record(is_kept=False), "aa" + "e" * 24)
    for path in files.root.rglob("*.json"):
        age_s = ages.get(path.name.partition(".")[0], BRIEF_S + 5)
        os.utime(path, (now_s - age_s, now_s - age_s))
    (folder, lifetime_s), (brief, brief_s) = folders(files)
    assert (lifetime_s, brief_s) == (0, BRIEF_S)
    for name, age_s in (
        (".x.json.0123", 7200),
        (".y.json.0123", 60),
    ):  # one was left by a killed process, one is being written
        (files.path(folder) / name).write_bytes(b"{")
        os.utime(files.path(folder) / name, (now_s - age_s, now_s - age_s))
    assert sweep(files, folder, TTL_S) == 3
    assert sweep(files, brief, brief_s) == 1
    assert sorted(path.name for path in files.path(folder).iterdir()) == [
        ".y.json.0123",
        f"aa{'b' * 24}.end.json",
        f"aa{'b' * 24}.json",
    ]
    assert sweep(files, "nowhere", TTL_S) == 0
    assert list(folders(LocalFileStore(files.root / "empty"))) == []
