"""Budgets are hard: whatever workers and calls do, the provider's account never exceeds them."""

from __future__ import annotations

import json
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from headrace_rehearsal.charges import Price, total_charged
from stack import Stack, alive, started, until

PRICE = {"input": 10.0, "output": 40.0, "context_length": 4000}
PRICES = {("small", ""): Price(input="10", output="40", cached="10")}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("budgets")
    (folder / "profiles.json").write_text(json.dumps({"rehearsal/small": PRICE}))
    (folder / "profiles.json").chmod(0o600)
    environment = {"HEADRACE_PROFILES": str(folder / "profiles.json")}
    with started(folder / "service", "--no-flower", environment=environment) as stack:
        yield stack


def items(count: int, text: str = "An item") -> list[dict[str, object]]:
    own = secrets.token_hex(4)
    return [{"id": str(n), "text": f"{text} {own} {n}"} for n in range(count)]


def charged_nano(stack: Stack, batch: str) -> int:
    until(lambda: all(call.ended_at for call in stack.calls_of(batch)), what="the provider has ended its calls")
    return total_charged(stack.calls_of(batch), PRICES)


def test_a_batch_stops_at_its_budget_and_goes_on_when_that_is_raised(stack: Stack) -> None:
    batch = stack.extract(items(300), "--budget", "0.05", "-o", "max_tokens=40")
    until(lambda: stack.batch(batch)["state"] == "paused", what="the budget is met")
    until(lambda: int(stack.batch(batch)["reserved_nano_usd"]) == 0, what="calls under way are settled")
    stored, account = stack.batch(batch), charged_nano(stack, batch)
    assert int(stored["cost_nano_usd"]) == account <= 50_000_000
    assert 0 < int(stored["succeeded"]) < 300
    shown = json.loads(stack.run("batches", "show", batch).stdout)
    assert shown["budget_usd"] == 0.05
    assert shown["left_usd"] == pytest.approx(0.05 - shown["cost_usd"])
    assert "0.05 USD" in shown["reason"]
    assert "headrace batches budget" in shown["reason"]
    raised = stack.run("batches", "budget", batch, "10.00")
    assert raised.stdout.strip() == "in_progress", raised.stderr
    until(lambda: stack.batch(batch)["state"] == "completed", what="the batch has ended")
    assert int(stack.batch(batch)["succeeded"]) == 300
    assert int(stack.batch(batch)["cost_nano_usd"]) == charged_nano(stack, batch)


def test_a_budget_holds_for_a_batch_that_runs_already(stack: Stack) -> None:
    batch = stack.extract(items(1200, "[[rehearsal latency=4000]] An item"), "-o", "max_tokens=40", "--no-cache")
    until(lambda: len(stack.calls_of(batch)) >= 200, what="calls are under way")
    assert stack.run("batches", "budget", batch, "0.0001").returncode == 0
    begun = len(stack.calls_of(batch))
    until(lambda: stack.batch(batch)["state"] == "paused", what="the budget is met")
    until(lambda: int(stack.batch(batch)["succeeded"]) == len(stack.calls_of(batch)), what="the calls have ended")
    assert len(stack.calls_of(batch)) <= max(begun, 256), "calls began that the budget does not allow"
    assert int(stack.batch(batch)["cost_nano_usd"]) == charged_nano(stack, batch)
    assert stack.run("batches", "budget", batch, "none").stdout.strip() == "in_progress"
    assert stack.run("batches", "cancel", batch).returncode == 0


def test_a_call_that_fits_no_budget_pauses_the_batch_before_anything_is_paid(stack: Stack) -> None:
    batch = stack.extract(items(3), "--budget", "0.0001")
    until(lambda: stack.batch(batch)["state"] == "paused", what="the batch is paused")
    assert "max_tokens" in stack.batch(batch)["reason"]
    assert stack.calls_of(batch) == []
    assert stack.run("batches", "cancel", batch).returncode == 0


@pytest.mark.parametrize("budget", ["5 €", "-1", "0", "nan", "5,00"])
def test_refuses_what_is_no_budget(stack: Stack, tmp_path: Path, budget: str) -> None:
    source = tmp_path / "items.jsonl"
    source.write_text('{"text": "x"}\n')
    done = stack.run("extract", str(source), "--model", "rehearsal/small", f"--budget={budget}")
    assert done.returncode == 2
    assert "--budget=" in done.stderr
    assert stack.run("spend", "limit", f"--day={budget}").returncode == 2


def test_refuses_a_model_without_a_price_unless_it_is_told_otherwise(stack: Stack, tmp_path: Path) -> None:
    source = tmp_path / "items.jsonl"
    source.write_text(json.dumps(items(1)[0]) + "\n")
    extract = ("extract", str(source), "--model", "vllm/unknown", "--budget", "1.00")
    refused = stack.run(*extract)
    assert refused.returncode == 2
    assert "HEADRACE_PROFILES" in refused.stderr
    passed = stack.run(*extract, "--allow-unpriced")
    assert passed.returncode == 0, passed.stderr


def test_the_days_budget_holds_for_jobs_and_is_said(stack: Stack) -> None:
    spent = json.loads(stack.run("spend", "--json").stdout)["today"]
    limit = f"{spent['cost_usd'] + spent['unaccounted_usd'] + 0.0001:.9f}"
    try:
        assert stack.run("spend", "limit", "--day", limit).returncode == 0
        done = stack.run("run", "Hello", "--model", "rehearsal/small")
        assert done.returncode == 1
        assert "headrace spend limit --day" in done.stderr
        assert "day's budget" in done.stderr
    finally:
        assert stack.run("spend", "limit", "--day", "none").returncode == 0
    assert stack.run("run", "Hello", "--model", "rehearsal/small").returncode == 0


def test_a_killed_worker_leaves_its_reserve_spent(stack: Stack) -> None:
    batch = stack.extract(
        items(64, "[[rehearsal latency=60000 times=1]] A slow item"),
        "--budget",
        "5.00",
        "-o",
        "max_tokens=40",
    )
    until(lambda: len(stack.calls_of(batch)) >= 8, what="calls are under way")
    with stack.client as redis:
        owner = redis.hget(f"{{hr}}:shard:{batch}.s0", "owner").decode()
    pid = int(owner.split("-")[-2])
    import os

    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid), what="the worker is gone")
    until(lambda: int(stack.batch(batch).get("unaccounted_nano_usd", 0)) > 0, what="the crash is noticed")
    stored = stack.batch(batch)
    assert int(stored.get("cost_nano_usd", 0)) <= charged_nano(stack, batch)
    assert stack.run("batches", "cancel", batch).returncode == 0
