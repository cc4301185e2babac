"""What is swept from the file store: what is past its lifetime, and what nobody will ever finish. Everything else stays."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from headrace_worker.maintenance.file_sweeper import FileSweeper

from headrace import AsyncHeadrace
from headrace.jobs.job import new_id
from headrace.ledger.create_batch import create_batch
from headrace.ledger.create_file import create_file
from headrace.ledger.creation import Creation
from headrace.ledger.file_record import content_of, files
from headrace.settings import Settings
from headrace.storage.local import LocalFileStore
from headrace.storage.upload import Upload

OLD_S = 7200
DIES = """
import os, sys
from pathlib import Path
from headrace.storage.local import LocalFileStore
from headrace.storage.upload import Upload
upload = Upload(LocalFileStore(Path(sys.argv[1])), "files/file-dead")
upload.write([b"half"])
os._exit(9)
"""


@pytest.fixture
async def client(valkey_url: str, namespace: str, tmp_path: Path) -> AsyncIterator[AsyncHeadrace]:
    settings = Settings(files=str(tmp_path / "files"), namespace=namespace)
    async with AsyncHeadrace(valkey_url, settings=settings) as client:
        yield client


@pytest.fixture
async def store(client: AsyncHeadrace) -> LocalFileStore:
    return await client.ledger_backend.store()


@pytest.fixture
async def sweeper(client: AsyncHeadrace) -> FileSweeper:
    return FileSweeper(SimpleNamespace(ledger=client.ledger, find_store=client.ledger_backend.store))  # type: ignore[arg-type]


async def made(client: AsyncHeadrace, store: LocalFileStore, name: str, **more: Any) -> str:
    store.commit(content_of(name), [b"x"])
    given: dict[str, Any] = {"purpose": "batch", "filename": "a", "size": 1, "max_bytes": 99, **more}
    return await create_file(client.ledger, name, tenant="default", creation=Creation(name), **given)


def age(store: LocalFileStore) -> None:
    """All that lies in the store was written two hours ago."""
    for path in store.root.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            os.utime(path, (time.time() - OLD_S, time.time() - OLD_S))


def names(store: LocalFileStore) -> set[str]:
    return {path.name for path in store.path("files").iterdir()}


async def test_what_is_past_its_lifetime_goes(
    client: AsyncHeadrace, store: LocalFileStore, sweeper: FileSweeper
) -> None:
    await made(client, store, "file-a", expires_s=3600)
    await made(client, store, "file-b")
    await sweeper.hints()
    assert names(store) == {"file-a", "file-b"}
    keys = client.ledger.keys
    await client.ledger.client.hset(keys.file("file-a"), "expires", 1)
    await client.ledger.client.zadd(keys.expiring, {"file-a": 1})
    await sweeper.remove_expired()
    assert names(store) == {"file-b"}
    assert [file.id async for file in files(client.ledger, "default")] == ["file-b"]
    assert not await client.ledger.client.exists(keys.file("file-a"))


async def test_what_nobody_will_finish_goes_and_what_somebody_writes_stays(
    client: AsyncHeadrace, store: LocalFileStore, sweeper: FileSweeper
) -> None:
    await made(client, store, "file-known")
    store.commit(content_of("file-orphan"), [b"whole, and never entered"])
    subprocess.run([sys.executable, "-c", DIES, str(store.root)], check=False)
    mine = Upload(store, content_of("file-mine"))
    mine.write([b"slow"])
    there = names(store)
    assert len(there) == 4
    await sweeper.remove_abandoned()
    assert names(store) == there, "none of it is old"
    age(store)
    await sweeper.remove_abandoned()
    assert {name for name in names(store) if not name.startswith(".")} == {"file-known"}
    assert len(names(store)) == 2
    mine.commit()
    assert store.read(content_of("file-mine")) == b"slow"


async def test_an_upload_that_was_linked_for_no_batch_goes(
    client: AsyncHeadrace, store: LocalFileStore, sweeper: FileSweeper
) -> None:
    await made(client, store, "file-a")
    known, unknown = new_id("batch"), new_id("batch")
    for batch in (known, unknown):
        store.link(content_of("file-a"), f"{batch}/upload.jsonl")
    await create_batch(
        client.ledger,
        known,
        template_sha="s",
        template=b"{}",
        window_ms=1,
        tenant="default",
        creation=Creation("d"),
        record={},
    )
    await sweeper.remove_abandoned()
    assert store.exists(f"{unknown}/upload.jsonl"), "it is not old"
    age(store)
    await sweeper.remove_abandoned()
    assert store.exists(f"{known}/upload.jsonl")
    assert not store.exists(unknown)


def test_an_aborted_upload_leaves_nothing(tmp_path: Path) -> None:
    store = LocalFileStore(tmp_path)
    upload = Upload(store, "files/file-a")
    upload.write([b"a", b"b"])
    upload.abort()
    upload.abort()
    assert names(store) == set()
    upload = Upload(store, "files/file-a")
    upload.write([b"ab"])
    upload.commit()
    upload.abort()
    assert store.read("files/file-a") == b"ab"
    assert (upload.size, upload.digest[:8]) == (2, "fb8e20fc")
