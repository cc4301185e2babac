"""What is wrong with a key, a model or an address is no item's failure: the batch stands still with the reason."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from stack import Stack, started, until

from headrace.local.ports import free_port

ITEMS = 10_000


@contextlib.contextmanager
def second_worker(stack: Stack, **environment: str) -> Iterator[None]:
    """Another bulk worker beside the service's own."""
    ready = stack.folder / "second.ready"
    command = [sys.executable, "-m", "headrace_worker", "--role", "bulk", "--ready-file", str(ready)]
    address = {"REHEARSAL_BASE_URL": f"{stack.ready['rehearsal']}/v1"}
    with (stack.folder / "second.log").open("wb") as log:
        process = subprocess.Popen(
            command, env={**stack.client_environment, **address, **environment}, stdout=log, stderr=log
        )
    try:
        until(ready.exists, what="the second worker is ready")
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def extract(stack: Stack, count: int, text: str, model: str = "rehearsal/small") -> str:
    source = stack.folder / "input.jsonl"
    source.write_text("".join(json.dumps({"id": str(n), "text": f"{text} Item {n}."}) + "\n" for n in range(count)))
    done = stack.run("extract", str(source), "--model", model, "--detach")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def at_rest(stack: Stack, batch_id: str) -> bool:
    """Whether the batch is paused and none of its shards is at work any more."""
    batch = stack.batch(batch_id)
    return batch["state"] == "paused" and batch["running"] == "0"


@pytest.mark.parametrize(("fault", "code"), [("401", "auth"), ("404", "not_found"), ("402", "payment")])
def test_a_dead_key_costs_a_handful_of_calls(tmp_path: Path, fault: str, code: str) -> None:
    with started(tmp_path, "--no-flower", "--no-gateway") as stack, second_worker(stack):
        batch_id = extract(stack, ITEMS, f"[[rehearsal fault={fault}]]")
        until(lambda: stack.batch(batch_id)["state"] == "paused", what="the batch is paused", seconds=20)
        until(lambda: stack.calls(), what="the account is written")
        first = min(call.received_at for call in stack.calls())
        paused_s = int(stack.batch(batch_id)["paused"]) / 1000 - first
        until(lambda: at_rest(stack, batch_id), what="nobody is at work")
        calls = len(stack.calls())
        print(f"{fault}: {calls} calls, paused after {paused_s:.2f} s")
        assert calls <= 40
        assert paused_s <= 5
        shown = json.loads(stack.run("batches", "show", batch_id).stdout)
        assert (shown["state"], shown["succeeded"], shown["failed"]) == ("paused", 0, 0)
        assert shown["reason"].startswith(f"{code}: the provider answered {fault}")


def test_after_resume_every_item_runs(tmp_path: Path) -> None:
    """Nobody is at the address, then somebody is: no item is lost, written off, or out of order."""
    port = free_port()
    environment = {"VLLM_BASE_URL": f"http://127.0.0.1:{port}/v1"}
    with started(tmp_path, "--no-flower", "--no-gateway", environment=environment) as stack:
        batch_id = extract(stack, 300, "", model="vllm/small")
        until(lambda: at_rest(stack, batch_id), what="the batch is paused", seconds=60)
        batch = stack.batch(batch_id)
        assert batch["reason"].startswith("connection: the connection failed: Connection refused")
        assert (batch["succeeded"], batch["failed"]) == ("0", "0")
        provider = subprocess.Popen(
            [sys.executable, "-m", "headrace_rehearsal", "--port", str(port), "--ready-file", str(tmp_path / "late")]
        )
        try:
            until((tmp_path / "late").exists, what="the provider is there")
            done = stack.run("batches", "resume", batch_id)
            assert (done.returncode, done.stdout.strip()) == (0, "in_progress"), done.stderr
            until(lambda: stack.batch(batch_id)["state"] == "completed", what="the batch ends")
        finally:
            provider.terminate()
            provider.wait(10)
        assert [line["custom_id"] for line in stack.lines(batch_id, "output")] == [str(n) for n in range(300)]
        assert stack.lines(batch_id, "errors") == []


def test_a_refused_input_is_its_own_failure(tmp_path: Path) -> None:
    """A 403 for one item in ten, as a moderated model gives it, among others that succeed: error lines, and no pause."""
    with started(tmp_path, "--no-flower", "--no-gateway") as stack:
        texts = [f"{'[[rehearsal fault=403]]' if n % 10 == 3 else ''} Item {n}." for n in range(400)]
        batch_id = stack.extract([{"id": str(n), "text": text} for n, text in enumerate(texts)])
        until(lambda: stack.batch(batch_id)["state"] in {"completed", "paused"}, what="it ends")
        batch = stack.batch(batch_id)
        assert (batch["state"], batch["succeeded"], batch["failed"]) == ("completed", "360", "40")
        assert {line["error"]["code"] for line in stack.lines(batch_id, "errors")} == {"auth"}


def test_a_small_batch_with_a_dead_key_ends(tmp_path: Path) -> None:
    with started(tmp_path, "--no-flower", "--no-gateway") as stack:
        batch_id = stack.extract([{"id": str(n), "text": f"[[rehearsal fault=401]] {n}"} for n in range(15)])
        until(lambda: stack.batch(batch_id)["state"] == "completed", what="it ends", seconds=20)
        assert stack.batch(batch_id)["failed"] == "15"


def test_hundreds_of_paused_batches_hold_nobody_up(tmp_path: Path) -> None:
    with started(tmp_path, "--no-flower", "--no-gateway") as stack:
        paused = extract(stack, 1000, "[[rehearsal fault=401]]")
        until(lambda: at_rest(stack, paused), what="a batch is paused", seconds=20)
        with stack.client as client:
            for number in range(450):
                copy = f"batch_{number:026d}"
                client.copy(f"{{hr}}:batch:{paused}", f"{{hr}}:batch:{copy}")
                client.zadd("{hr}:open", {copy: 0})
        batch_id = extract(stack, 20, "Blue.")
        until(lambda: stack.batch(batch_id)["state"] == "completed", what="a newer one is fed", seconds=30)
        assert stack.batch(batch_id)["succeeded"] == "20"
