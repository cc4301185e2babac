"""Inputs and results in an object store: what is read from one, and what is never replaced in one."""

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
from media_files import image
from object_stores import ObjectServer, object_server
from stack import Stack, headrace, started

from headrace import Headrace
from headrace.errors import InputError
from headrace.storage.object_store import ObjectFileStore

BOTH_WAYS = True
MODEL = "rehearsal/small"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    with object_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def stack(server: ObjectServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)  # of the clients in this process
        with started(tmp_path_factory.mktemp("service"), "--no-flower") as stack:
            yield stack


@pytest.fixture(scope="module")
def bucket(stack: Stack, server: ObjectServer) -> str:
    """A bucket with inputs; `stack` has told this process how to reach it."""
    url = f"s3://{server.bucket}"
    store = ObjectFileStore(url)
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
            ("in/**", ["A1", "A2", "B1", "B2", "C1"]),
        ],
    )
    def test_files_and_patterns_are_read(self, client: Headrace, bucket: str, name: str, ids: list[str]) -> None:
        batch = client.extract(f"{bucket}/{name}", "Rate: {text}", id="sku", keep="sku", model=MODEL, on_bad_row="skip")
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
        with pytest.raises(InputError, match="cannot be read: there is no such bucket"):
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
        store = ObjectFileStore(bucket)
        table = pq.read_table(io.BytesIO(store.read("out/rows.parquet")))
        assert table.column("custom_id").to_pylist() == ["A1", "A2", "B1", "B2"]
        assert [file.name for file in store.files("out")] == ["out/rows.parquet"]
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
        names = sorted(file.name for file in ObjectFileStore(bucket).files("beside"))
        assert names == ["beside/rows.csv.gz", "beside/rows.errors.csv.gz"]

    def test_what_appears_meanwhile_is_left_alone(self, stack: Stack, bucket: str) -> None:
        batch_id = stack.extract([{"text": "a"}])
        store = ObjectFileStore(bucket)
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
        store = ObjectFileStore(bucket)
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
        assert again.returncode == 0, again.stderr
        assert "has the results of batch_" in again.stderr
        assert "nothing is left to do" in again.stderr

    @pytest.mark.parametrize("written", ["{}/own/x.parquet", "{}/own//x.parquet", "s3a{}/own/x.parquet"])
    @pytest.mark.parametrize("name", ["x.parquet", "x.errors.parquet"])
    def test_an_input_is_never_replaced(
        self, stack: Stack, client: Headrace, bucket: str, name: str, written: str
    ) -> None:
        store = ObjectFileStore(bucket)
        if not store.exists(f"own/{name}"):
            store.link("in/a.parquet", f"own/{name}")
        before = store.read(f"own/{name}")
        out = written.format(bucket.removeprefix("s3") if written.startswith("s3a") else bucket)
        done = stack.run("extract", f"{bucket}/own/{name}", *self.WORDS, "--out", out, "--force")
        assert done.returncode == 2, done.stderr
        assert f"own/{name}: is the same object as {bucket}/own/{name}, which is read" in done.stderr
        batch = client.extract(f"{bucket}/own/{name}", "Rate: {text}", id="sku", model=MODEL)
        batch.wait(60)
        with pytest.raises(InputError, match="is the same object as"):
            batch.save(out)
        assert store.read(f"own/{name}") == before

    def test_a_missing_bucket_is_told_before_anything_is_paid(self, stack: Stack, bucket: str) -> None:
        calls = len(stack.calls())
        words = (*self.WORDS, "--new", "--no-cache", "--out", "s3://no-such-bucket-there/rows.csv")
        done = stack.run("extract", f"{bucket}/in/a.parquet", *words)
        assert done.returncode == 2
        assert "--out s3://no-such-bucket-there/rows.csv: there is no such bucket" in done.stderr
        assert len(stack.calls()) == calls

    def test_errors_do_not_outlive_the_results_that_they_lay_beside(self, stack: Stack, bucket: str) -> None:
        out = f"{bucket}/mended/rows.csv"
        done = stack.run("extract", f"{bucket}/in/deep/c.csv", *self.WORDS, "--on-bad-row", "error", "--out", out)
        assert done.returncode == 1, done.stderr
        done = stack.run("extract", f"{bucket}/in/a.parquet", *self.WORDS, "--out", out, "--force")
        assert done.returncode == 0, done.stderr
        assert [file.name for file in ObjectFileStore(bucket).files("mended")] == ["mended/rows.csv"]

    def test_the_same_command_again_goes_on(self, stack: Stack, bucket: str) -> None:
        store = ObjectFileStore(bucket)
        store.commit("again/in.jsonl", [b'{"id": "a", "text": "A"}\n{"id": "b", "text": "[[rehearsal fault=400]]"}\n'])
        command = ("extract", f"{bucket}/again/in.jsonl", "--model", MODEL, "--out", f"{bucket}/again/rows.csv")
        assert stack.run(*command).returncode == 1
        calls = len(stack.calls())
        done = stack.run(*command)
        assert done.returncode == 1, done.stderr
        assert "has done the same but for 1 of 2 items" in done.stderr
        assert len(stack.calls()) == calls + 1, "only what failed is paid"
        store.remove("again/rows.csv")
        store.commit("again/rows.csv", [b"of somebody else"])
        done = stack.run(*command)
        assert done.returncode == 2
        assert "exists already" in done.stderr
        assert store.read("again/rows.csv") == b"of somebody else"

    def test_python_writes_to_an_object(self, client: Headrace, bucket: str) -> None:
        batch = client.extract(f"{bucket}/in/deep/c.csv", "Rate: {text}", id="sku", model=MODEL, on_bad_row="error")
        batch.wait(60)
        out = f"{bucket}/python/rows.csv"
        assert batch.save(out) == f"{bucket}/python/rows.errors.csv"
        rows = ObjectFileStore(bucket).read("python/rows.csv").decode().splitlines()
        assert [row.partition(",")[0] for row in rows] == ["custom_id", "C1"]
        with pytest.raises(InputError, match=rf"^{bucket}/python/rows.csv: exists already; give results another name"):
            batch.save(out, overwrite=False)
        with pytest.raises(InputError, match=rf"^{bucket}/python/rows.xlsx: .xlsx is not written"):
            batch.save(f"{bucket}/python/rows.xlsx")
