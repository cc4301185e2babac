"""The file store is for its user alone, whatever the umask; for a group only where its folder says so."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.errors import StorageError
from headrace.guards.service_address import find_state_folder
from headrace.storage.local import LocalFileStore


@pytest.fixture(params=[0o000, 0o002, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def modes(root: Path) -> dict[str, str]:
    paths = [root, *sorted(root.rglob("*"))]
    return {str(path.relative_to(root)): oct(stat.S_IMODE(path.stat().st_mode)) for path in paths}


def filled(root: Path) -> LocalFileStore:
    store = LocalFileStore(root)
    store.commit("batch_a/input.jsonl", [b"{}\n"])
    store.commit_once("batch_a/parts/0.1", [b"{}\n"])
    store.link("batch_a/input.jsonl", "batch_b/input.jsonl")
    return store


@pytest.mark.usefixtures("umask")
def test_nobody_else_reads_it(tmp_path: Path) -> None:
    filled(tmp_path / ".headrace" / "files")
    assert set(modes(tmp_path / ".headrace").values()) == {"0o700", "0o600"}
    assert find_state_folder(tmp_path) == tmp_path / ".headrace"


@pytest.mark.usefixtures("umask")
def test_a_group_that_may_write_shares_it(tmp_path: Path) -> None:
    root = tmp_path / "files"
    root.mkdir()
    root.chmod(0o2770)
    filled(root)
    found = modes(root)
    assert {found["batch_a"], found["batch_a/parts"], found["batch_b"]} == {"0o2770"}
    assert {found["batch_a/input.jsonl"], found["batch_a/parts/0.1"], found["batch_b/input.jsonl"]} == {"0o660"}


def test_a_named_folder_keeps_its_mode_and_what_headrace_wrote_there_is_closed(tmp_path: Path) -> None:
    root = tmp_path / "files"
    filled(root)
    (root / "theirs.txt").write_text("not headrace's")
    for path in (root, *root.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    LocalFileStore(root).take_away_from_others()
    found = modes(root)
    assert (found["."], found["theirs.txt"]) == ("0o755", "0o644")
    assert {found["batch_a"], found["batch_b"]} == {"0o700"}


def test_where_everybody_may_write_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files").chmod(0o777)
    with pytest.raises(StorageError, match="chmod o-w"):
        LocalFileStore(tmp_path / "files")
