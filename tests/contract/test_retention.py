"""What of batches is swept from the file store, and when: never what an open batch needs."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from headrace_worker.maintenance.retention_sweeper import RetentionSweeper
from media_files import image
from stack import Stack

from headrace import AsyncHeadrace
from headrace.batches.retention import MAX_UNFINISHED_S, past_retention, usage
from headrace.local.account_retention import drop_old_lines
from headrace.settings import Settings
from headrace.storage.blobs import keep_blob
from headrace.storage.local import LocalFileStore

KEEP_S = 3600.0
OLD_S = 2 * KEEP_S
MODEL = "rehearsal/small"


@pytest.fixture
async def client(valkey_url: str, namespace: str, tmp_path: Path) -> AsyncIterator[AsyncHeadrace]:
    settings = Settings(files=str(tmp_path / "files"), namespace=namespace)
    async with AsyncHeadrace(valkey_url, settings=settings) as client:
        yield client


@pytest.fixture
async def store(client: AsyncHeadrace) -> LocalFileStore:
    return await client.ledger_backend.store()


@pytest.fixture
async def sweeper(client: AsyncHeadrace) -> RetentionSweeper:
    settings = Settings(retention_s=KEEP_S)
    process = SimpleNamespace(ledger=client.ledger, find_store=client.ledger_backend.store, settings=settings)
    return RetentionSweeper(process)  # type: ignore[arg-type]


def age(store: LocalFileStore, seconds: float = OLD_S) -> None:
    for path in store.root.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            os.utime(path, (time.time() - seconds, time.time() - seconds))


async def ended(client: AsyncHeadrace, batch_id: str, seconds_ago: float) -> None:
    """The batch ended so long ago, as far as the ledger says."""
    fields = {"state": "completed", "ended": int((time.time() - seconds_ago) * 1000)}
    await client.ledger.client.hset(client.ledger.keys.batch(batch_id), mapping=fields)


async def opened(client: AsyncHeadrace, *images: bytes) -> str:
    rows = [{"scan": data} for data in images or (image(),)]
    return (await client.extract(rows, "Read it.", images="scan", model=MODEL)).id


def batches(store: LocalFileStore) -> set[str]:
    return {path.name for path in store.root.glob("batch_*")}


def blobs(store: LocalFileStore) -> int:
    return sum(1 for _ in store.root.glob("media/*/*"))


async def test_files_go_when_their_batch_has_ended_long_enough_ago(
    client: AsyncHeadrace, store: LocalFileStore, sweeper: RetentionSweeper
) -> None:
    still_open, recent, old = [await opened(client) for _ in range(3)]
    await ended(client, recent, KEEP_S / 2)
    await ended(client, old, OLD_S)
    age(store)
    await sweeper.sweep()
    assert batches(store) == {still_open, recent}
    assert blobs(store) == 2, "and what it alone referred to"


async def test_a_blob_stays_as_long_as_any_batch_refers_to_it(
    client: AsyncHeadrace, store: LocalFileStore, sweeper: RetentionSweeper
) -> None:
    shared, own = image(), image()
    first, second = await opened(client, shared, own), await opened(client, shared)
    await ended(client, first, OLD_S)
    age(store)
    await sweeper.sweep()
    assert batches(store) == {second}
    assert blobs(store) == 1
    assert len(list(store.path(f"{second}/media").iterdir())) == 1


async def test_a_young_blob_of_nobody_stays_for_the_batch_that_is_being_opened(
    store: LocalFileStore, sweeper: RetentionSweeper
) -> None:
    store.commit("media/ab/ab", [b"x"])
    await sweeper.sweep()
    assert blobs(store) == 1
    age(store)
    await sweeper.sweep()
    assert blobs(store) == 0


async def test_a_batch_that_is_opened_while_its_blob_is_swept_has_it(
    store: LocalFileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = LocalFileStore.link

    def swept_first(self: LocalFileStore, source: str, name: str) -> None:
        self.remove(source)
        link(self, source, name)

    monkeypatch.setattr(LocalFileStore, "link", swept_first)
    keep_blob(store, "batch_x", "ab" * 32, b"data")
    assert store.read(f"batch_x/media/{'ab' * 32}") == b"data"


async def test_files_without_a_record_go_later_where_they_may_be_an_open_batchs(
    client: AsyncHeadrace, store: LocalFileStore, sweeper: RetentionSweeper
) -> None:
    with_results, without, new = [await opened(client) for _ in range(3)]
    for batch_id in (with_results, without, new):
        await client.ledger.client.delete(client.ledger.keys.batch(batch_id))
    store.commit(f"{with_results}/output.1.jsonl", [b""])
    for batch_id in (with_results, without):
        os.utime(store.path(batch_id), (time.time() - OLD_S, time.time() - OLD_S))
    await sweeper.sweep()
    assert batches(store) == {without, new}
    age(store, MAX_UNFINISHED_S + 60)
    await sweeper.sweep()
    assert batches(store) == set()


async def test_a_record_that_cannot_be_read_is_taken_for_open(
    client: AsyncHeadrace, store: LocalFileStore, sweeper: RetentionSweeper
) -> None:
    first, second = await opened(client), await opened(client)
    await client.ledger.client.hset(client.ledger.keys.batch(first), mapping={"state": "completed", "ended": "soon"})
    await client.ledger.client.delete(client.ledger.keys.batch(second))
    await client.ledger.client.set(client.ledger.keys.batch(second), "text", ex=60)
    age(store, MAX_UNFINISHED_S + 60)
    await sweeper.sweep()
    assert batches(store) == {first, second}


async def test_usage_counts_each_file_once(client: AsyncHeadrace, store: LocalFileStore) -> None:
    data = image()
    first, _ = await opened(client, data), await opened(client, data)
    await ended(client, first, OLD_S)
    found = {each.kind: each for each in await usage(client.ledger, store)}
    assert (found["open batches"].batches, found["batches that have ended"].batches) == (1, 1)
    assert found["open batches"].files == 3, "input, index, a link to the image"
    size = sum(
        path.stat().st_size
        for path in {path.stat().st_ino: path for path in store.root.rglob("*")}.values()
        if path.is_file()
    )
    assert abs(sum(each.bytes for each in found.values()) + 32 - size) < 10
    age(store)
    (old,) = await past_retention(client.ledger, store, KEEP_S)
    assert (old.name, old.why, old.files) == (first, "ended", 3)


def test_prune_shows_first_what_it_deletes(stack: Stack, tmp_path: Path) -> None:
    batch_id = stack.extract([{"text": "a"}])
    stack.run("watch", batch_id)
    shown = stack.run("batches", "show", batch_id, "--out", str(tmp_path / "rows.jsonl"))
    assert shown.returncode == 0, shown.stderr
    folder = Path(stack.ready["files"]) / batch_id
    done = stack.run("files", "usage")
    assert done.returncode == 0, done.stderr
    kinds = [json.loads(line)["kind"] for line in done.stdout.splitlines()]
    assert kinds[:3] == ["open batches", "batches that have ended", "batches without a record"]
    done = stack.run("files", "prune", "--older-than", "1d")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "nothing is that old\n")
    done = stack.run("files", "prune", "--older-than", "0s")
    assert json.loads(done.stdout)["name"] == batch_id
    assert "Nothing was deleted" in done.stderr
    assert folder.exists()
    done = stack.run("files", "prune", "--older-than", "0s", "--yes")
    assert "deleted: the files of 1 batches" in done.stderr
    assert not folder.exists()
    for wrong in ("x", "1", "-1d", "nand", "infd", ""):
        done = stack.run("files", "prune", "--older-than", wrong)
        assert done.returncode == 2
        assert "--older-than" in done.stderr


def test_the_account_keeps_the_calls_of_a_while(tmp_path: Path) -> None:
    account, now = tmp_path / "account.jsonl", time.time()
    lines = [f'{{"event":"received","n":{n},"at":{now - age}}}\n' for n, age in enumerate((9000, 8000, 100, 50))]
    account.write_text("".join([lines[0], '{"half', "\n", *lines[1:]]))
    account.chmod(0o600)
    assert drop_old_lines(account, KEEP_S) == 3
    assert account.read_text() == "".join(lines[2:])
    assert account.stat().st_mode & 0o777 == 0o600
    assert drop_old_lines(account, KEEP_S) == 0
    assert drop_old_lines(tmp_path / "none", KEEP_S) == 0
    assert drop_old_lines(account, 1) == 2
    assert account.read_text() == ""
