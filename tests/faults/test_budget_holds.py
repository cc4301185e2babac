"""A budget of 1.00 USD, met by hundreds of calls at once over four workers, with retries, cut answers and a killed worker: the
provider's account never shows more."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator

import pytest
from fleet import Worker, more_workers
from headrace_rehearsal.account import AccountedCall
from headrace_rehearsal.charges import Price, total_charged
from stack import Stack, started, until

BUDGET = 1_000_000_000
PRICES = {("small", ""): Price(input="2", output="8", cached="2")}
PROFILE = {"rehearsal/small": {"input": 2, "output": 8, "context_length": 4000}}
OPTIONS = ("--budget", "1.00", "-o", "max_tokens=20")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("budget")
    (folder / "profiles.json").write_text(json.dumps(PROFILE))
    (folder / "profiles.json").chmod(0o600)
    environment = {"HEADRACE_PROFILES": str(folder / "profiles.json")}
    flag = "--rehearsal-flag=--latency=300"
    with started(folder / "service", "--no-flower", flag, environment=environment) as stack:
        yield stack


LONG = "is blue, " * 200
"""Some 600 tokens; in the worst case, of a token a byte, four times as many: 200 calls fit into the budget together."""


def lines(order: str) -> list[dict[str, object]]:
    """More items than the budget allows, every tenth with an order to the provider."""
    own = secrets.token_hex(4)
    return [{"id": str(n), "text": f"{'' if n % 10 else order}Item {n} of {own} {LONG}"} for n in range(1500)]


def most_at_once(calls: list[AccountedCall]) -> int:
    """How many calls were in flight together at most."""
    steps = sorted([(call.received_at, 1) for call in calls] + [(call.ended_at or 0.0, -1) for call in calls])
    level = highest = 0
    for _, step in steps:
        level += step
        highest = max(highest, level)
    return highest


def bounds(stack: Stack, batch: str) -> tuple[int, int, int]:
    """What the ledger knows was spent, the account's sum, and the ledger's with what nobody knows."""
    stored = stack.batch(batch)
    known = int(stored.get("cost_nano_usd", 0))
    return known, total_charged(stack.calls_of(batch), PRICES), known + int(stored.get("unaccounted_nano_usd", 0))


def settled(stack: Stack, batch: str) -> None:
    until(lambda: stack.batch(batch)["state"] == "paused", what="the budget is met", seconds=120)
    until(lambda: int(stack.batch(batch)["reserved_nano_usd"]) == 0, what="calls under way are settled")
    until(lambda: all(call.ended_at for call in stack.calls_of(batch)), what="the provider has ended them")


def in_calls(stack: Stack, batch: str, workers: list[Worker]) -> Worker | None:
    """One of the workers for whose calls something is reserved."""
    with stack.client as redis:
        for key in redis.scan_iter(f"{{hr}}:shard:{batch}.s*", count=1000):
            if redis.type(key) != b"hash":
                continue
            owner, reserved = redis.hmget(key, "owner", "reserved_nano_usd")
            for worker in workers:
                if int(reserved or 0) and f"-{worker.pid}-" in (owner or b"").decode():
                    return worker
    return None


def test_no_call_too_many_over_four_workers(stack: Stack) -> None:
    with more_workers(stack, "bulk", "bulk", "bulk"):
        batch = stack.extract(lines("[[rehearsal fault=500 times=1]] "), *OPTIONS)
        settled(stack, batch)
    known, account, _ = bounds(stack, batch)
    calls = stack.calls_of(batch)
    print(f"{len(calls)} calls, {most_at_once(calls)} at once, {account / 1e9} USD")
    assert known == account <= BUDGET
    assert account > 0.9 * BUDGET, "the budget was not used"
    assert most_at_once(calls) >= 100
    assert stack.run("batches", "cancel", batch).returncode == 0


def test_cut_answers_count_with_their_worst_case(stack: Stack) -> None:
    batch = stack.extract(lines("[[rehearsal fault=cut times=1]] "), *OPTIONS)
    settled(stack, batch)
    known, account, at_most = bounds(stack, batch)
    assert int(stack.batch(batch)["unaccounted_calls"]) > 0
    assert known <= account <= at_most <= BUDGET
    assert stack.run("batches", "cancel", batch).returncode == 0


def test_a_killed_worker_spends_what_it_had_reserved(stack: Stack) -> None:
    with more_workers(stack, "bulk", "bulk", "bulk") as workers:
        batch = stack.extract(lines(""), *OPTIONS)
        until(lambda: in_calls(stack, batch, workers), what="one of the workers has calls under way").kill()
        settled(stack, batch)
    known, account, at_most = bounds(stack, batch)
    print(f"{known / 1e9} <= {account / 1e9} <= {at_most / 1e9} USD")
    assert known < at_most, "nobody was killed in a call"
    assert known <= account <= at_most <= BUDGET
    assert stack.run("batches", "cancel", batch).returncode == 0
