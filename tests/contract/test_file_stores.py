"""What holds for a file store, whether it is a folder or a bucket of an object store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from object_storage import ObjectStorage, object_storage

from headrace.batches.retention import prune_blobs
from headrace.errors import StorageError
from headrace.storage.batch_folders import batch_folders, top_folders, usage_below
from headrace.storage.blobs import keep_blob, link_blobs
from headrace.storage.local import FileStore
from headrace.storage.object_store import SINGLE_PUT, ObjectStore
from headrace.storage.response_store import ResponseStore, folders, sweep
from headrace.storage.upload import Upload

LETTERS = "a" * 26


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStorage]:
    with object_storage(tmp_path_factory.mktemp("s3")) as storage:
        yield storage


@pytest.fixture(params=["folder", "bucket"])
def opened(
    request: pytest.FixtureRequest, tmp_path: Path, s3: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], FileStore]:
    """Open the same store, as often as one likes."""
    if request.param == "folder":
        return lambda: FileStore(tmp_path / "files")
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    url = f"{s3.bucket()}/some/prefix"
    return lambda: ObjectStore(url)


@pytest.fixture
def store(opened: Callable[[], FileStore]) -> FileStore:
    return opened()


def test_a_store_is_the_same_whoever_opens_it(store: FileStore, opened: Callable[[], FileStore]) -> None:
    again = opened()
    assert again.name == store.name
    store.commit("batch_x/input.jsonl", [b"a\n", b"b"])
    assert again.read("batch_x/input.jsonl") == b"a\nb"


def test_what_was_committed_is_never_replaced(store: FileStore) -> None:
    assert store.commit("a/b", [b"1", b"23"]) == 3
    with pytest.raises(FileExistsError):
        store.commit("a/b", [b"other"])
    store.commit_once("a/b", [b"other"])
    assert store.read("a/b") == b"123"
    assert (store.exists("a/b"), store.exists("a/c"), store.size("a/b")) == (True, False, 3)
    with pytest.raises(FileNotFoundError):
        store.size("a/c")


def test_a_writer_that_raises_leaves_nothing(store: FileStore) -> None:
    def parts() -> Iterator[bytes]:
        yield b"half"
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        store.commit("a/b", parts())
    assert not store.exists("a/b")
    assert list(store.below("a")) == []


def test_ranges_and_lines(store: FileStore) -> None:
    lines = [b"x" * size + b"\r\n" for size in (0, 1, 700_000, 3)] + [b"\r last\xe2\x80\xa8"]
    store.commit("a", lines)
    assert list(store.lines("a")) == lines
    data = b"".join(lines)
    for offset, length in ((0, 2), (5, 700_000), (len(data) - 3, 100), (len(data), 5), (7, 0)):
        assert store.read("a", offset, length) == data[offset : offset + length]
    assert store.read("a", 4) == data[4:]
    with store.open("a") as file:
        file.seek(3)
        assert file.read(9) == data[3:12]
    store.commit("empty", [])
    assert (store.read("empty"), list(store.lines("empty")), store.size("empty")) == (b"", [], 0)


def test_what_is_missing_is_a_storage_error(store: FileStore) -> None:
    for read in (lambda: store.read("a/no"), lambda: list(store.lines("a/no")), lambda: store.read("a/no", 3, 4)):
        with pytest.raises(StorageError, match="a/no is missing from the file store"):
            read()
    for name in ("../x", "/etc/passwd", "a/../../x"):
        with pytest.raises(StorageError, match="is not a name in the file store"):
            store.read(name)


def test_a_file_is_linked_or_copied(store: FileStore) -> None:
    store.commit("batch_a/input.jsonl", [b"x\n"])
    store.link("batch_a/input.jsonl", "batch_b/input.jsonl")
    store.remove("batch_a")
    assert store.read("batch_b/input.jsonl") == b"x\n"
    with pytest.raises(StorageError, match="missing"):
        store.link("batch_a/input.jsonl", "batch_c/input.jsonl")


def test_a_folder_is_removed_with_all_below_it_and_no_other(store: FileStore) -> None:
    for name in ("batch_a/input", "batch_a/parts/1", "batch_a/parts/deep/2", "batch_ab/input"):
        store.commit(name, [b"x"])
    store.remove("batch_a")
    store.remove("batch_a")
    assert [file.name for file in store.below("")] == ["batch_ab/input"]
    store.remove("batch_ab/input")
    assert list(store.below("")) == []


def test_listings(store: FileStore) -> None:
    before = time.time() - 5
    for name in ("batch_a/input", "batch_a/output.1.jsonl", "batch_a/parts/1", "batch_b/input", "files/f"):
        store.commit(name, [b"xy"])
    assert sorted(file.name for file in store.listing("batch_a")) == ["batch_a/input", "batch_a/output.1.jsonl"]
    assert store.folders() == ["batch_a", "batch_b", "files"]
    assert store.folders("batch_a") == ["batch_a/parts"]
    assert (store.listing("nowhere"), store.folders("nowhere"), list(store.below("nowhere"))) == ([], [], [])
    assert [(folder.batch_id, folder.has_output) for folder in batch_folders(store)] == [
        ("batch_a", True),
        ("batch_b", False),
    ]
    assert all(folder.written_s > before for folder in batch_folders(store))
    assert list(batch_folders(store, before)) == []
    assert top_folders(store) == ["files"]
    assert usage_below(store, "batch_a") == (3, 6)
    assert sorted(store.abandoned("files", -60)) == ["files/f"]
    assert list(store.abandoned("files", 60)) == []


def test_blobs_of_batches(store: FileStore) -> None:
    sha = "ab" * 32
    for _ in range(2):
        keep_blob(store, "batch_a", sha, b"data")
    link_blobs(store, "batch_a", "batch_b")
    store.remove("batch_a")
    assert store.read(f"batch_b/media/{sha}") == b"data"
    assert prune_blobs(store, -60) is None
    store.remove("batch_b")
    prune_blobs(store, -60)
    assert list(store.below("")) == []


def test_uploads_and_responses(store: FileStore) -> None:
    upload = Upload(store, "files/file-a")
    upload.write([b"ab", b"c"])
    assert not store.exists("files/file-a")
    upload.commit()
    assert store.read("files/file-a") == b"abc"
    aborted = Upload(store, "files/file-b")
    aborted.write([b"ab"])
    aborted.abort()
    assert not store.exists("files/file-b")
    responses = ResponseStore(store, "default", 60)
    responses.save(LETTERS, b'{"request": {}, "created_s": 1}', is_kept=True, durable=True)
    ((folder, _),) = folders(store)
    assert sweep(store, folder, 60, now_s=time.time()) == 0
    assert sweep(store, folder, 60, now_s=time.time() + 120) == 1
    assert list(folders(store)) == [] or list(store.below("responses")) == []


def test_a_large_file_goes_in_parts(store: FileStore) -> None:
    piece = bytes(range(256)) * 4096
    count = SINGLE_PUT // len(piece) + 3
    assert store.commit("big", (piece for _ in range(count))) == count * len(piece)
    assert store.read("big", (count - 1) * len(piece)) == piece
    with pytest.raises(FileExistsError):
        store.commit("big", (piece for _ in range(count)))


def test_a_bucket_that_cannot_be_used_is_told(s3: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StorageError, match="is its bucket there"):
        ObjectStore("s3://no-such-bucket/x")
    with pytest.raises(StorageError, match="HEADRACE_FILES=nonsense"):
        ObjectStore("nonsense://x/y")


def test_a_commit_whose_answer_was_lost_is_a_commit(s3: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    store = ObjectStore(s3.bucket())
    put = store._obstore.put

    def sent_twice(*arguments: object, **words: object) -> None:
        put(*arguments, **words)
        put(*arguments, **words)

    monkeypatch.setattr(store._obstore, "put", sent_twice)
    store.commit("a", [b"x"])
    with pytest.raises(FileExistsError):
        store.commit("a", [b"y"])
    assert store.read("a") == b"x"
