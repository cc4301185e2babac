"""Whoever is killed: every item ends exactly once, none is dead, and what is paid again was in flight.

The provider's own account is the judge. A call is in flight in a process until its row is in the ledger, so an answer that
the provider finished in the last moment before a kill is in flight too: `LAST_MOMENT_S` bounds that moment.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import redis
from headrace_rehearsal import account
from hooked import hooked
from stack import Stack, started, until

LAST_MOMENT_S = 0.25
BATCH = 250
PACE = ("--no-flower", "--rehearsal-flag=--latency=100", "--rehearsal-flag=--jitter=100")
SLOW = {"HEADRACE_CALLS": "16"}


def items(count: int) -> list[dict[str, Any]]:
    return [{"id": f"item-{n}", "text": f"Review {n}: the kettle boils fast and holds {n} cups."} for n in range(count)]


def kill(pid: int | None, kills: list[float]) -> None:
    assert pid is not None
    kills.append(time.time())
    os.kill(pid, signal.SIGKILL)


def completed(stack: Stack, batch_id: str) -> bool:
    try:
        return stack.batch(batch_id).get("state") == "completed"
    except (OSError, redis.RedisError):
        return False


def assert_each_item_once(stack: Stack, batch_id: str, count: int) -> None:
    succeeded = [line["custom_id"] for line in stack.lines(batch_id, "output")]
    failed = [line["custom_id"] for line in stack.lines(batch_id, "errors")]
    assert failed == []
    assert succeeded == [f"item-{n}" for n in range(count)]
    batch = stack.batch(batch_id)
    assert (batch["succeeded"], batch["failed"], batch["dead"]) == (str(count), "0", "0")


def assert_paid_twice_was_in_flight(stack: Stack, kills: list[float]) -> None:
    """Call by call: whatever was paid again had not ended, or had ended in the last moment, when something was killed."""
    calls = stack.calls()
    paid: dict[Any, list[account.AccountedCall]] = {}
    for call in calls:
        if account.paid(call):
            paid.setdefault(call.job_and_call, []).append(call)
    again = {key: several for key, several in paid.items() if len(several) > 1}
    for key, several in again.items():
        for call in sorted(several, key=lambda each: each.received_at)[:-1]:
            assert any(
                call.received_at <= at + LAST_MOMENT_S and (call.ended_at or at) >= at - LAST_MOMENT_S for at in kills
            ), f"{key} was paid again though it was not in flight at a kill"
    in_flight = sum(len(account.in_flight_at(calls, at)) for at in kills)
    last_moment = sum(
        1 for call in calls for at in kills if call.ended_at and at - LAST_MOMENT_S <= call.ended_at <= at
    )
    print(
        f"kills {len(kills)}, paid twice {account.paid_twice(calls)}, in flight {in_flight}, last moment {last_moment}"
    )
    assert account.paid_twice(calls) <= in_flight + last_moment
    assert max(Counter(call.job_and_call for call in calls if account.paid(call)).values()) <= len(kills) + 1


def test_the_bulk_worker_killed_ten_times(tmp_path: Path) -> None:
    seed = int(os.environ.get("SEED", time.time()))
    print(f"SEED={seed}")
    chance = random.Random(seed)
    kills: list[float] = []
    with started(tmp_path, *PACE, environment=SLOW) as stack:
        # Several batches: while the shards of a killed worker wait for their leases, the next one finds others.
        batches = [stack.extract(items(BATCH)) for _ in range(6)]
        for _ in range(10):
            dead = stack.ready["workers"]["bulk"] if kills else None
            pid = until(
                lambda dead=dead: (pid := stack.ready["workers"]["bulk"]) != dead and pid,
                what="the bulk worker is back",
            )
            calls = len(stack.calls())

            def works(calls: int = calls) -> bool:
                if all(completed(stack, batch_id) for batch_id in batches):  # on a slow machine, between two kills
                    batches.append(stack.extract(items(BATCH)))
                return len(stack.calls()) > calls + 2

            until(works, what="it works again", seconds=40)
            moment = time.monotonic() + chance.uniform(0, 2)
            until(lambda moment=moment: time.monotonic() > moment, what="a random moment")
            kill(pid, kills)
        until(lambda: all(completed(stack, batch_id) for batch_id in batches), what="the batches end", seconds=120)
        for batch_id in batches:
            assert_each_item_once(stack, batch_id, BATCH)
        assert_paid_twice_was_in_flight(stack, kills)


def test_the_leader_killed(tmp_path: Path) -> None:
    kills: list[float] = []
    with started(tmp_path, *PACE, environment=SLOW) as stack:
        batch_id = stack.extract(items(150))
        until(lambda: len(stack.calls()) > 30, what="it runs")
        leader = until(lambda: stack.client.get("{hr}:leader"), what="somebody leads").decode()
        role, pid = leader.split("-")[0], int(leader.rsplit("-", 2)[1])
        assert stack.ready["workers"][role] == pid
        kill(pid, kills)
        until(lambda: (stack.client.get("{hr}:leader") or leader.encode()).decode() != leader, what="another leads")
        until(lambda: completed(stack, batch_id), what="the batch ends")
        assert_each_item_once(stack, batch_id, 150)
        assert_paid_twice_was_in_flight(stack, kills)


def test_the_joiner_killed(tmp_path: Path) -> None:
    """The join waits at a gate until it is killed; the next one goes through."""
    kills: list[float] = []
    gate = tmp_path / "gate"
    gate.touch()
    environment = {**hooked("join_gate"), "JOIN_GATE": str(gate)}
    with started(tmp_path, "--no-flower", environment=environment) as stack:
        batch_id = stack.extract(items(60))
        pid = until(lambda: gate.read_text(), what="a join is at the gate")
        assert stack.batch(batch_id)["state"] == "finalizing"
        kill(int(pid), kills)
        gate.unlink()
        until(lambda: completed(stack, batch_id), what="the batch ends")
        assert_each_item_once(stack, batch_id, 60)
        assert account.paid_twice(stack.calls()) == 0


def test_valkey_killed(tmp_path: Path) -> None:
    """The server comes back on its append-only file; calls went on meanwhile and nothing is paid again."""
    with started(tmp_path, *PACE, environment=SLOW) as stack:
        batch_id = stack.extract(items(200))
        until(lambda: len(stack.calls()) > 50, what="it runs")
        server = int((tmp_path / ".headrace" / "valkey" / "valkey.pid").read_text())
        os.kill(server, signal.SIGKILL)
        until(lambda: completed(stack, batch_id), what="the batch ends")
        assert_each_item_once(stack, batch_id, 200)
        assert account.paid_twice(stack.calls()) == 0
