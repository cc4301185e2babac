"""The service with its files in a bucket of an object store: no process shares a folder with another."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fleet import more_workers
from media_files import image
from object_storage import Link, ObjectStorage, object_storage
from stack import Stack, headrace, started, until

from headrace import Headrace
from headrace.errors import InputError
from headrace.storage.object_store import ObjectStore

BOTH_WAYS = True
MODEL = "rehearsal/small"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStorage]:
    with object_storage(tmp_path_factory.mktemp("s3")) as storage:
        yield storage


@pytest.fixture(scope="module")
def stack(s3: ObjectStorage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    environment = {**s3.environment, "HEADRACE_FILES": f"{s3.bucket()}/jobs"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.environment.items():
            patch.setenv(name, value)  # of the clients in this process
        with started(tmp_path_factory.mktemp("bucket"), "--no-flower", environment=environment) as stack:
            # `started` takes the variable of the caller away, so that no test writes into his files.
            assert stack.ready["files"].startswith("s3://")
            yield stack


@pytest.fixture(scope="module")
def bucket(stack: Stack, s3: ObjectStorage) -> str:
    """A bucket with inputs; `stack` has told this process how to reach it."""
    url = s3.bucket()
    store = ObjectStore(url)
    table = pa.table({"sku": ["A1", "A2"], "text": ["Good.", "Bad."]})
    for name, rows in (
        ("in/a.parquet", table),
        ("in/b.parquet", table.set_column(0, "sku", pa.array(["B1", "B2"]))),
    ):
        file = io.BytesIO()
        pq.write_table(rows, file)
        store.commit(name, [file.getvalue()])
    store.commit("in/deep/c.csv", [b"sku,text\nC1,Fine.\nC2\n"])
    for number in range(3):
        store.commit(f"scans/{number}.png", [image()])
    return url


def test_rows_come_back_in_order(client: Headrace, tmp_path: Path, stack: Stack) -> None:
    rows = [{"text": f"[[rehearsal fault=miss times=9]] {n}" if n == 5 else f"Review {n}"} for n in range(60)]
    schema = {
        "type": "object",
        "additionalProperties": False,
        "required": ["n"],
        "properties": {"n": {"type": "integer"}},
    }
    batch = client.extract(rows, schema=schema, model=MODEL, keep="all", cache=False)
    done = batch.wait(120)
    assert (done.succeeded, done.failed) == (59, 1)
    assert [row.custom_id for row in batch.results()] == [f"line-{n + 1}" for n in range(60)]
    errors = batch.save(tmp_path / "rows.jsonl")
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 59
    assert errors is not None
    again = batch.retry()
    assert again.wait(120).succeeded >= 59
    assert not list(stack.folder.rglob("input.jsonl")), "nothing lies on the disk"


def test_images_lie_in_the_bucket(client: Headrace, stack: Stack) -> None:
    batch = client.extract([{"scan": image()} for _ in range(4)], "Read it.", images="scan", model=MODEL)
    assert batch.wait(60).succeeded == 4
    calls = stack.calls_of(batch.id)
    assert len({call.key for call in calls}) == 4
    assert all(call.request_bytes > 3000 for call in calls)


def test_openais_files_and_batches(stack: Stack, base: str) -> None:
    from openai import OpenAI

    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions"}
    line["body"] = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
    with OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0) as official:
        file = official.files.create(file=("in.jsonl", json.dumps(line).encode()), purpose="batch")
        assert json.loads(official.files.content(file.id).read())["custom_id"] == "a"
        batch = official.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        ended = until(
            lambda: (found := official.batches.retrieve(batch.id)).status in ("completed", "failed") and found,
            what="the batch ends",
        )
        assert ended.status == "completed"
        assert json.loads(official.files.content(ended.output_file_id).read())["custom_id"] == "a"


def test_workers_that_are_killed_lose_nothing(stack: Stack) -> None:
    count = 1500
    lines = [{"text": f"[[rehearsal latency=400]] {n}"} for n in range(count)]
    with more_workers(stack, "bulk", "bulk") as workers:
        batch_id = stack.extract(lines)
        for part, worker in enumerate(workers, 1):
            enough = count * part // 5
            until(lambda enough=enough: int(stack.batch(batch_id).get("succeeded", 0)) >= enough, what="it goes on")
            worker.kill()
        done = stack.run("watch", batch_id)
    assert done.returncode == 0, done.stderr
    rows = stack.run("batches", "show", batch_id, "--out", str(stack.folder / "killed.jsonl"))
    assert rows.returncode == 0, rows.stderr
    found = [json.loads(line)["custom_id"] for line in (stack.folder / "killed.jsonl").read_text().splitlines()]
    assert found == [f"line-{n + 1}" for n in range(count)]


def test_a_batch_waits_for_a_bucket_that_vanishes_and_goes_on(
    s3: ObjectStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, count = Link(s3.url), 400
    environment = {**s3.environment, "AWS_ENDPOINT_URL": link.url, "HEADRACE_FILES": s3.bucket()}
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    try:
        with started(tmp_path, "--no-flower", environment=environment) as stack:
            batch_id = stack.extract([{"text": f"[[rehearsal latency=1500]] {n}"} for n in range(count)])
            until(lambda: int(stack.batch(batch_id).get("succeeded", 0)) > 0, what="it runs")
            link.cut()
            until(lambda: stack.batch(batch_id)["state"] == "paused", what="it is paused", seconds=120)
            assert "cannot be used" in stack.batch(batch_id)["reason"]
            link.mend()
            until(lambda: stack.batch(batch_id)["state"] == "completed", what="it goes on", seconds=120)
            assert int(stack.batch(batch_id)["succeeded"]) == count
            calls = [call.request_id for call in stack.calls_of(batch_id)]
            assert len(calls) == count, "no answer is paid twice"
    finally:
        link.close()


def test_the_command_line_and_the_doctor(stack: Stack) -> None:
    assert stack.run("watch", stack.extract([{"text": "a"}])).returncode == 0
    done = stack.run("files", "usage")
    assert done.returncode == 0, done.stderr
    kinds = {each["kind"]: each for each in map(json.loads, done.stdout.splitlines())}
    assert kinds["batches that have ended"]["batches"] >= 1
    found = [json.loads(line) for line in stack.run("doctor", "--json").stdout.splitlines()]
    told = {each["name"]: each for each in found}
    assert told["file store"]["status"] == "ok", told
    assert told["file store"]["what"].startswith("s3://")
    env = {**stack.client_environment, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    lost = headrace("files", "usage", env=env, cwd=stack.folder)
    assert lost.returncode != 0
    assert "cannot be used" in lost.stderr
    assert "Traceback" not in lost.stderr


def own_tmp(stack: Stack, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `headrace …` with temporary files in a folder of its own."""
    return headrace(*arguments, env={**stack.client_environment, "TMPDIR": str(folder)}, cwd=stack.folder)


class TestInputs:
    @pytest.mark.parametrize(
        ("name", "ids"),
        [
            ("in/a.parquet", ["A1", "A2"]),
            ("in/*.parquet", ["A1", "A2", "B1", "B2"]),
            ("in/**/*.parquet", ["A1", "A2", "B1", "B2"]),
            ("i?/[ab].parquet", ["A1", "A2", "B1", "B2"]),
        ],
    )
    def test_files_and_patterns_are_read(self, client: Headrace, bucket: str, name: str, ids: list[str]) -> None:
        batch = client.extract(f"{bucket}/{name}", "Rate: {text}", id="sku", keep="sku", model=MODEL)
        batch.wait(60)
        assert [row.custom_id for row in batch.results()] == ids
        assert [row.kept for row in batch.results()] == [{"sku": each} for each in ids]

    def test_a_folder_of_images_is_read(self, client: Headrace, bucket: str) -> None:
        batch = client.extract(f"{bucket}/scans/", "Read it.", model=MODEL)
        batch.wait(60)
        assert [(row.custom_id, row.ok) for row in batch.results()] == [(f"{n}.png", True) for n in range(3)]

    def test_complaints_name_the_object(self, client: Headrace, bucket: str) -> None:
        with pytest.raises(InputError, match=rf"^{bucket}/in/deep/c.csv, line 3: "):
            client.extract(f"{bucket}/in/deep/c.csv", model=MODEL)
        batch = client.extract(f"{bucket}/in/deep/c.csv", model=MODEL, on_bad_row="error")
        batch.wait(60)
        first, second = batch.results()
        assert first.ok
        assert second.error is not None
        assert second.error.message.startswith(f"{bucket}/in/deep/c.csv, line 3: ")
        for name in ("nothing.csv", "in/*.csv"):
            with pytest.raises(InputError, match="there is no such file"):
                client.extract(f"{bucket}/{name}", model=MODEL)
        with pytest.raises(InputError, match="cannot be read"):
            client.extract("s3://no-such-bucket-there/a.csv", model=MODEL)
        with pytest.raises(InputError, match="names no object"):
            client.extract("s3:///a.csv", model=MODEL)

    def test_from_the_command_line(self, stack: Stack, bucket: str, tmp_path: Path) -> None:
        folder = tmp_path / "tmp"
        folder.mkdir()
        words = ("--id", "sku", "--model", MODEL, "--out", str(tmp_path / "rows.csv"))
        done = own_tmp(stack, folder, "extract", f"{bucket}/in/a.parquet", f"{bucket}/in/b.parquet", *words)
        assert done.returncode == 0, done.stderr
        assert [row.split(",")[0] for row in (tmp_path / "rows.csv").read_text().splitlines()[1:]] == [
            "A1",
            "A2",
            "B1",
            "B2",
        ]
        done = stack.run("extract", f"{bucket}/in/a.parquet", str(tmp_path / "rows.csv"), "--model", MODEL)
        assert done.returncode == 2
        assert "give those of one kind" in done.stderr
        assert not list(folder.glob("headrace-*")), "no copy is left"


class TestOutputs:
    WORDS = ("--id", "sku", "--prompt", "Rate: {text}", "--model", MODEL)

    def test_results_go_to_an_object(self, stack: Stack, bucket: str, tmp_path: Path) -> None:
        folder = tmp_path / "tmp"
        folder.mkdir()
        out = f"{bucket}/out/rows.parquet"
        done = own_tmp(stack, folder, "extract", f"{bucket}/in/*.parquet", *self.WORDS, "--keep", "text", "--out", out)
        assert done.returncode == 0, done.stderr
        store = ObjectStore(bucket)
        table = pq.read_table(io.BytesIO(store.read("out/rows.parquet")))
        assert table.column("custom_id").to_pylist() == ["A1", "A2", "B1", "B2"]
        assert [file.name for file in store.below("out")] == ["out/rows.parquet"]
        calls = len(stack.calls())
        done = stack.run("extract", f"{bucket}/in/*.parquet", *self.WORDS, "--new", "--no-cache", "--out", out)
        assert done.returncode == 2
        assert f"--out {out}: exists already; give --force" in done.stderr
        assert len(stack.calls()) == calls, "nothing is paid"
        done = stack.run("extract", f"{bucket}/in/a.parquet", *self.WORDS, "--out", out, "--force")
        assert done.returncode == 0, done.stderr
        assert pq.read_table(io.BytesIO(store.read("out/rows.parquet"))).num_rows == 2
        assert not list(folder.glob("headrace-*")), "no file is left"

    def test_errors_lie_beside(self, stack: Stack, bucket: str) -> None:
        out = f"{bucket}/beside/rows.csv.gz"
        done = stack.run("extract", f"{bucket}/in/deep/c.csv", *self.WORDS, "--on-bad-row", "error", "--out", out)
        assert done.returncode == 1, done.stderr
        names = sorted(file.name for file in ObjectStore(bucket).below("beside"))
        assert names == ["beside/rows.csv.gz", "beside/rows.errors.csv.gz"]

    def test_what_appears_meanwhile_is_left_alone(self, stack: Stack, bucket: str) -> None:
        batch_id = stack.extract([{"text": "a"}])
        store = ObjectStore(bucket)
        store.commit("late/rows.jsonl", [b"of somebody else"])
        stack.run("watch", batch_id)
        done = stack.run("batches", "show", batch_id, "--out", f"{bucket}/late/rows.jsonl")
        assert done.returncode == 2
        assert f"{bucket}/late/rows.jsonl: exists already" in done.stderr
        assert store.read("late/rows.jsonl") == b"of somebody else"
        done = stack.run("batches", "show", batch_id, "--out", f"{bucket}/late/rows.jsonl", "--force")
        assert done.returncode == 0, done.stderr
        assert json.loads(store.read("late/rows.jsonl"))["custom_id"] == "line-1"

    @pytest.mark.parametrize("out", ["s3://", "s3://bucket", "s3://bucket/", "s3://bucket/a/../../../x.csv"])
    def test_addresses_that_name_no_object_are_refused(self, stack: Stack, bucket: str, out: str) -> None:
        done = stack.run("extract", f"{bucket}/in/a.parquet", *self.WORDS, "--out", out)
        assert done.returncode == 2
        assert "--out s3://" in done.stderr
        assert "Traceback" not in done.stderr

    def test_the_nightly_job(self, stack: Stack, bucket: str) -> None:
        store = ObjectStore(bucket)
        store.link("in/a.parquet", "reviews/2026-11-27/a.parquet")
        program = [str(Path(__file__).parents[2] / "examples" / "nightly_s3_job.sh"), f"{bucket}/reviews", "2026-11-27"]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = {**stack.client_environment, "PATH": path}
        done = subprocess.run(
            program, env=env, cwd=stack.folder, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        table = pq.read_table(io.BytesIO(store.read("reviews/ratings-2026-11-27.parquet")))
        assert table.schema.names == ["custom_id", "sku", "text", "stars", "defects"]
        again = subprocess.run(
            program, env=env, cwd=stack.folder, capture_output=True, text=True, timeout=120, check=False
        )
        assert "exists already" in again.stderr
