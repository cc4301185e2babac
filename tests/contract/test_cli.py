"""The command line as a user meets it, on one running service."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from headrace_rehearsal import account
from stack import Stack, headrace, started, until

GOOD = [{"id": f"r{n}", "text": f"The kettle number {n} boils."} for n in range(10)]
SCHEMA = {
    "type": "object",
    "properties": {"summary": {"type": "string"}},
    "required": ["summary"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with started(tmp_path_factory.mktemp("cli"), "--no-flower") as running:
        (running.folder / "schema.json").write_text(json.dumps(SCHEMA))
        yield running


def write(stack: Stack, lines: list[dict[str, Any]], name: str = "lines.jsonl") -> str:
    (stack.folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return name


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def extract(stack: Stack, lines: list[dict[str, Any]], *arguments: str) -> subprocess.CompletedProcess[str]:
    return stack.run("extract", write(stack, lines), "--model", "rehearsal/small", *arguments)


def test_rows_come_in_input_order(stack: Stack) -> None:
    done = extract(stack, GOOD, "--schema", "schema.json", "--out", "rows.jsonl")
    assert done.returncode == 0, done.stderr
    rows = read(stack.folder / "rows.jsonl")
    assert [row["custom_id"] for row in rows] == [line["id"] for line in GOOD]
    assert all(set(row["value"]) == {"summary"} for row in rows)
    assert not (stack.folder / "rows.errors.jsonl").exists()
    assert "completed: 10/10 items" in done.stderr


def test_extract_writes_failed_rows_to_the_errors_file_and_retry_calls_for_them_alone(stack: Stack) -> None:
    lines = [*GOOD[:4], {"id": "bad", "text": "[[rehearsal fault=400 times=1]] The lid is loose."}, *GOOD[4:]]
    done = extract(stack, lines, "--out", "some.jsonl")
    assert done.returncode == 1
    assert [row["custom_id"] for row in read(stack.folder / "some.errors.jsonl")] == ["bad"]
    assert len(read(stack.folder / "some.jsonl")) == 10
    batch_id = done.stderr.split(":")[0].split()[-1]
    before = len(stack.calls())
    again = stack.run("batches", "retry", batch_id, "--out", "all.jsonl")
    # The provider counts its faults by the call's identity, which is new in a retry: so it fails there once more.
    assert len(stack.calls()) - before == 1
    assert again.returncode == 1
    assert read(stack.folder / "all.jsonl") == read(stack.folder / "some.jsonl")


def test_whole_completions_are_openais_batch_lines(stack: Stack) -> None:
    extract(stack, GOOD[:1], "--out", "whole.jsonl", "--whole")
    (line,) = read(stack.folder / "whole.jsonl")
    assert line["response"]["status_code"] == 200
    assert line["response"]["body"]["choices"][0]["message"]["role"] == "assistant"
    assert line["error"] is None


def test_detach_list_show_and_watch(stack: Stack) -> None:
    batch_id = extract(stack, GOOD, "--detach").stdout.strip()
    assert batch_id.startswith("batch_")
    watched = stack.run("watch", batch_id, "--out", "watched.jsonl")
    assert watched.returncode == 0
    assert len(read(stack.folder / "watched.jsonl")) == 10
    listed = [json.loads(line) for line in stack.run("batches", "list", "--json").stdout.splitlines()]
    assert listed[0]["id"] == batch_id
    shown = json.loads(stack.run("batches", "show", batch_id).stdout)
    assert (shown["state"], shown["succeeded"], shown["total"]) == ("completed", 10, 10)


def test_a_cancelled_batch_has_every_item_once(stack: Stack) -> None:
    lines = [{"id": str(n), "text": f"[[rehearsal latency={100 if n < 40 else 20000}]] Item {n}."} for n in range(80)]
    batch_id = extract(stack, lines, "--detach").stdout.strip()
    until(lambda: int(stack.batch(batch_id)["succeeded"]) >= 20, what="some are done")
    assert stack.run("batches", "cancel", batch_id).stdout.strip() == "cancelling"
    until(lambda: stack.batch(batch_id)["state"] == "cancelled", what="it is cancelled", seconds=15)
    good, bad = stack.lines(batch_id, "output"), stack.lines(batch_id, "errors")
    assert sorted(int(line["custom_id"]) for line in [*good, *bad]) == list(range(80))
    assert {line["error"]["code"] for line in bad} == {"batch_cancelled"}
    until(
        lambda: all(call.ended_at for call in stack.calls() if batch_id in (call.request_id or "")),
        what="the provider's connections are closed",
        seconds=5,
    )
    assert stack.run("batches", "cancel", batch_id).returncode == 0, "twice is no error"


def test_ctrl_c_detaches(stack: Stack) -> None:
    name = write(
        stack, [{"id": str(n), "text": f"[[rehearsal latency=700]] Item {n}."} for n in range(600)], "slow.jsonl"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "headrace", "extract", name, "--model", "rehearsal/small"],
        cwd=stack.folder,
        env=stack.client_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    batch_id = process.stderr.readline().split(":")[0]
    until(lambda: stack.batch(batch_id).get("state") == "in_progress", what="it runs")
    process.stderr.readline()  # the first line of progress: it watches
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130, said
    assert f"headrace watch {batch_id}" in said
    assert "Traceback" not in said
    until(lambda: stack.batch(batch_id)["state"] == "completed", what="the batch goes on")


def test_one_prompt(stack: Stack) -> None:
    done = stack.run("run", "Why is the sky blue?", "--model", "rehearsal/small")
    assert done.returncode == 0
    assert "Why is the sky blue?" in done.stdout
    whole = json.loads(stack.run("run", "-", "--model", "rehearsal/small", "--json", input="Why?").stdout)
    assert whole["finish_reason"] == "stop"
    assert whole["usage"]["input_tokens"] > 0
    failed = stack.run("run", "[[rehearsal fault=404]] No.", "--model", "rehearsal/small")
    assert failed.returncode == 1
    assert "not_found" in failed.stderr
    assert stack.run("run", " ", "--model", "rehearsal/small").returncode == 2


def test_names_an_unknown_batch(stack: Stack) -> None:
    for command in (["batches", "show"], ["batches", "cancel"], ["batches", "retry"], ["watch"]):
        done = stack.run(*command, "batch_nothing")
        assert done.returncode == 1
        assert "batch_nothing" in done.stderr
        assert "Traceback" not in done.stderr


def test_nothing_was_paid_twice_in_all_of_this(stack: Stack) -> None:
    assert account.paid_twice(stack.calls()) == 0


@pytest.mark.parametrize(
    "command",
    [
        *("completion", "doctor", "extract", "run", "up", "version", "watch", "worker"),
        *(f"batches{word}" for word in ("", " list", " show", " results", " cancel", " retry")),
        *(f"jobs{word}" for word in ("", " list", " show", " result", " cancel")),
        *(f"files{word}" for word in ("", " list", " show", " delete")),
    ],
)
def test_every_help_has_an_example(command: str) -> None:
    done = headrace(*command.split(), "--help")
    assert done.returncode == 0
    assert f"headrace {command}" in done.stdout.partition("Example:")[2]


def test_without_a_service_one_is_started_for_the_command(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "The sky is blue."}\n')
    unset = {"HEADRACE_REDIS_URL", "HEADRACE_FILES", "OPENAI_API_KEY"}
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    done = headrace(
        *("extract", "in.jsonl", "--model", "rehearsal/small", "--out", "out.jsonl"), cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "starting it" in done.stderr
    assert len(read(tmp_path / "out.jsonl")) == 1
    assert not (tmp_path / ".headrace" / "up.json").exists()
    assert str(tmp_path) not in subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_output_that_cannot_be_written_is_told_in_a_line(stack: Stack) -> None:
    command = [sys.executable, "-m", "headrace", "run", "Why?", "--model", "rehearsal/small"]
    for more in ([], ["--stream"], ["--stream", "--json"]):
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [*command, *more], env=stack.client_environment, cwd=stack.folder, stdout=full, stderr=subprocess.PIPE
            )
        assert done.returncode == 1
        told = done.stderr.decode().splitlines()
        assert told[-1] == "headrace: No space left on device"
        assert len(told) <= 2
