"""Every file store keeps the same promises: a local folder, and a prefix of a bucket on a real S3 server."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from object_stores import ObjectServer, object_server

from headrace.errors import SettingsError, StorageError
from headrace.storage.file_store import FileStore
from headrace.storage.object_store import ONE_PUT
from headrace.storage.open_store import open_store


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    with object_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(params=["folder", "s3"])
def address(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    server: ObjectServer,
    monkeypatch: pytest.MonkeyPatch,
    namespace: str,
) -> str:
    if request.param == "folder":
        return str(tmp_path / "a folder")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{server.bucket}/{namespace}/files"


@pytest.fixture
def store(address: str) -> FileStore:
    return open_store(address)


def test_what_is_committed_is_read(store: FileStore) -> None:
    assert store.commit("batch_x/in.jsonl", [b"one\n", b"two\n"]) == 8
    assert store.exists("batch_x/in.jsonl")
    assert store.size("batch_x/in.jsonl") == 8
    assert store.read("batch_x/in.jsonl") == b"one\ntwo\n"
    assert store.read("batch_x/in.jsonl", 4) == b"two\n"
    assert store.read("batch_x/in.jsonl", 1, 2) == b"ne"
    assert store.read("batch_x/in.jsonl", 4, 100) == b"two\n"
    assert list(store.lines("batch_x/in.jsonl")) == [b"one\n", b"two\n"]
    with store.open("batch_x/in.jsonl") as file:
        assert file.seek(-4, 2) == 4
        assert (file.read(3), file.tell(), file.seek(0), file.read()) == (b"two", 7, 0, b"one\ntwo\n")


def test_an_empty_file_is_a_file(store: FileStore) -> None:
    assert store.commit("empty", []) == 0
    assert (store.exists("empty"), store.size("empty"), store.read("empty"), list(store.lines("empty"))) == (
        True,
        0,
        b"",
        [],
    )


@pytest.mark.parametrize("size", [8, ONE_PUT + 1], ids=["one request", "in parts"])
def test_nothing_committed_is_ever_replaced(store: FileStore, size: int) -> None:
    store.commit("a", [b"first"])
    with pytest.raises(FileExistsError):
        store.commit("a", [b"x" * size])
    with pytest.raises(FileExistsError), store.writer("a") as file:
        file.write(b"x" * size)
    store.commit_once("a", [b"second"])
    assert store.read("a") == b"first"


def test_a_large_file_comes_back_whole(store: FileStore) -> None:
    line = b"%07d " + b"x" * 2040 + b"\n"
    count = 3 * ONE_PUT // 2048
    store.commit("large", (line % n for n in range(count)))
    assert [row[:7] for row in store.lines("large")] == [b"%07d" % n for n in range(count)]
    assert store.read("large", 2049 * (count - 1), 7) == b"%07d" % (count - 1)


def test_a_block_that_raises_leaves_nothing(store: FileStore) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"x" * (ONE_PUT + 1)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.commit("folder/a", pieces())
    assert not store.exists("folder/a")
    assert list(store.files("folder")) == []


def test_what_is_missing_is_told(store: FileStore) -> None:
    for read in (store.read, store.size, lambda name: list(store.lines(name)), store.open):
        with pytest.raises(StorageError, match="nowhere is missing from the file store"):
            read("nowhere")
    assert not store.exists("nowhere")
    assert list(store.files("nowhere")) == list(store.folders("nowhere")) == list(store.abandoned("nowhere", 0)) == []
    assert store.changed_s("nowhere") == 0
    assert store.remove_old("nowhere", age_s=0, unfinished_s=0) == 0
    store.remove("nowhere")


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/etc/passwd"])
def test_no_name_leads_out(store: FileStore, name: str) -> None:
    for use in (store.read, store.exists, store.remove, lambda name: store.commit(name, [b"x"])):
        with pytest.raises(StorageError, match="is not a name"):
            use(name)


def test_a_link_is_a_file_of_its_own(store: FileStore) -> None:
    store.commit("files/a", [b"content"])
    store.link("files/a", "batch_x/upload.jsonl")
    store.remove("files/a")
    assert store.read("batch_x/upload.jsonl") == b"content"


def test_folders_are_listed_and_removed(store: FileStore) -> None:
    began_ms = (time.time() - 5) * 1000
    for name in ("batch_a/parts/0", "batch_a/in", "batch_ab/in", "files/x"):
        store.commit(name, [b"12"])
    assert [(file.name, file.bytes) for file in store.files("batch_a")] == [("batch_a/in", 2), ("batch_a/parts/0", 2)]
    assert all(file.modified_ms > began_ms for file in store.files())
    assert list(store.folders()) == ["batch_a", "batch_ab", "files"]
    assert list(store.folders("batch_a")) == ["parts"]
    assert store.changed_s("batch_a") * 1000 > began_ms
    store.remove("batch_a/parts")
    assert [file.name for file in store.files("batch_a")] == ["batch_a/in"]
    store.remove("batch_a")
    assert [file.name for file in store.files()] == ["batch_ab/in", "files/x"], "a name that only begins alike stays"


def test_files_are_listed_while_their_folder_is_removed(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("batch_a/in", "batch_a/parts/0", "files/x"):
        store.commit(name, [b"12"])
    scandir = os.scandir

    def removing(path: Any) -> Any:
        if str(path).endswith("parts"):
            store.remove("batch_a")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", removing)
    names = [file.name for file in store.files()]
    assert names[-1] == "files/x"


def test_old_files_are_found_and_removed(store: FileStore) -> None:
    store.commit("files/a", [b"1"])
    store.commit("files/deep/b", [b"1"])
    assert list(store.abandoned("files", 3600)) == []
    assert store.remove_old("files", age_s=3600, unfinished_s=3600) == 0
    assert list(store.abandoned("files", -5)) == ["files/a"]
    assert store.remove_old("files", age_s=-5, unfinished_s=3600) == 1
    assert [file.name for file in store.files()] == ["files/deep/b"]


def test_two_processes_see_one_store(address: str) -> None:
    assert open_store(address).name == open_store(address).name


def test_a_bucket_that_is_not_there_is_told(server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StorageError, match=r"s3://nobucket/x: there is no such bucket"):
        open_store("s3://nobucket/x")


class Forbidding(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_error(403)

    do_GET = do_PUT = do_HEAD

    def log_message(self, *_: object) -> None:
        pass


def test_a_bucket_without_permission_is_told(server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Forbidding) as forbidding:
        Thread(target=forbidding.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{forbidding.server_port}"
        for name, value in (server.environment | {"AWS_ENDPOINT_URL": endpoint}).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(StorageError, match=r"s3://bucket/x: no permission .*credentials") as raised:
            open_store("s3://bucket/x")
        assert "test" not in str(raised.value), "nothing of the credentials"
        forbidding.shutdown()


@pytest.mark.parametrize(
    ("url", "said"), [("ftp://host/x", "ftp://host/x"), ("s3://", "s3:"), ("bucket://x", "bucket://x")]
)
def test_a_url_that_is_none_is_told(url: str, said: str) -> None:
    with pytest.raises(SettingsError, match=f"HEADRACE_FILES {said}"):
        open_store(url)
