"""A service whose files lie in a bucket: batches, uploads and responses from machines that share no disk, over kills of workers
and while the bucket is away."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from fleet import kill_one_of_up, more_workers
from headrace_rehearsal import account
from object_stores import ObjectServer, object_server
from stack import Stack, started, until

from headrace.storage.open_store import open_store

COUNT = 300


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    with object_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, server: ObjectServer) -> Iterator[Stack]:
    environment = server.environment | {"HEADRACE_FILES": f"s3://{server.bucket}/files"}
    with started(tmp_path_factory.mktemp("service"), "--no-flower", environment=environment) as stack:
        yield stack


def lines(count: int = COUNT, directive: str = "") -> list[dict[str, Any]]:
    return [{"id": f"i{n}", "text": f"{directive}Item {n}."} for n in range(count)]


def ended(stack: Stack, batch: str) -> dict[str, Any]:
    def found() -> Any:
        shown = json.loads(stack.run("batches", "show", batch).stdout)
        return shown if shown["ended_ms"] else None

    return until(found, what="the batch has ended", seconds=120)


def test_a_batch_goes_through_the_bucket(stack: Stack) -> None:
    out = stack.folder / "out.jsonl"
    batch = stack.extract(lines())
    done = stack.run("watch", batch, "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["custom_id"] for line in out.read_text().splitlines()] == [f"i{n}" for n in range(COUNT)]
    assert len(stack.calls_of(batch)) == COUNT
    listed = [json.loads(line)["name"] for line in stack.run("files", "list", batch, "--json").stdout.splitlines()]
    assert not [name for name in listed if "/parts/" in name or "/segments/" in name], "parts are swept after the join"
    assert not (stack.folder / ".headrace" / "files").exists() or not list((stack.folder / ".headrace/files").iterdir())
    doctor = [json.loads(line) for line in stack.run("doctor", "--json").stdout.splitlines()]
    assert [each["status"] for each in doctor if each["name"] in ("file store", "disk")] == ["ok", "ok"]


def test_files_and_batches_of_the_openai_client(stack: Stack) -> None:
    with openai.OpenAI(base_url=f"{stack.ready['gateway']}/v1", api_key="k") as client:
        body = {"model": "rehearsal/small", "messages": [{"role": "user", "content": "Why?"}]}
        request = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
        file = client.files.create(file=("in.jsonl", json.dumps(request).encode()), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        batch = until(
            lambda: (found := client.batches.retrieve(batch.id)).output_file_id and found, what="it has ended"
        )
        answer = json.loads(client.files.content(batch.output_file_id).text)
        assert answer["custom_id"] == "a"
        assert answer["response"]["body"]["choices"][0]["message"]["content"]
        response = client.responses.create(model="rehearsal/small", input="Why?")
        assert client.responses.retrieve(response.id).output_text == response.output_text
        client.files.delete(file.id)


def test_two_workers_of_two_folders_share_a_batch_over_kills(
    stack: Stack, server: ObjectServer, tmp_path: Path
) -> None:
    batch = stack.extract(lines(600, "[[rehearsal latency=200]] "))
    with more_workers(stack, "bulk") as (other,):
        for done in (50, 200, 350):
            until(lambda done=done: len(stack.calls_of(batch)) > done, what="it runs")
            until(lambda: kill_one_of_up(stack, "bulk"), what="the worker of `up` is killed")
            other.kill()
        shown = ended(stack, batch)
    assert (shown["succeeded"], shown["total"]) == (600, 600)
    rows = [json.loads(line)["custom_id"] for line in stack.run("batches", "results", batch).stdout.splitlines()]
    assert rows == [f"i{n}" for n in range(600)]
    orphans = [file.name for file in files_of(stack, server, batch) if "/parts/" in file.name]
    assert orphans == []


def test_a_bucket_that_is_away_pauses_a_batch_which_goes_on(stack: Stack, server: ObjectServer) -> None:
    batch = stack.extract(lines(400, "[[rehearsal latency=300]] "))
    until(lambda: len(stack.calls_of(batch)) > 50, what="it runs")
    server.go_away()
    try:
        until(lambda: stack.batch(batch)["state"] == "paused", what="it pauses")
        assert "s3://headrace/files" in stack.batch(batch)["reason"]
        other = stack.run(
            "extract", str(stack.folder / "input.jsonl"), "--model", "rehearsal/small", "--new", "--detach"
        )
        assert other.returncode != 0
        assert "s3://headrace/files" in other.stderr
    finally:
        server.come_back()
    shown = ended(stack, batch)
    assert (shown["succeeded"], shown["total"]) == (400, 400)
    assert account.paid_twice(stack.calls_of(batch)) == 0


def files_of(stack: Stack, server: ObjectServer, folder: str) -> list[Any]:
    os.environ.update(server.environment)
    try:
        return list(open_store(stack.ready["files"]).files(folder))
    finally:
        for name in server.environment:
            os.environ.pop(name)
