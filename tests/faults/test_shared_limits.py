"""Limits that all workers keep together, judged by the provider's account: nearly no 429, nearly all of what is allowed, and
nobody calls while a `Retry-After` of any worker runs."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from fleet import Worker, client_of, more_workers, submit
from headrace_rehearsal.account import AccountedCall
from hooked import hooked
from stack import Stack, started, until
from time_scaling import scaled_s

RPM, TPM = 1_200, 200_000
LIMITS = json.dumps({"rehearsal": {"requests_per_min": RPM, "tokens_per_min": TPM}})
ENFORCED = (f"--rehearsal-flag=--rpm={RPM}", f"--rehearsal-flag=--tpm={TPM}", "--rehearsal-flag=--latency=200")
LONG = "word " * 200
"""Makes a call of some 600 tokens: five a second are allowed, of 20 requests."""
RUN_S = 20.0


def calls_within(stack: Stack, seconds: float) -> tuple[float, list[AccountedCall]]:
    """When the first call came, and those of the first `seconds`, once they are over."""
    until(stack.calls, what="the first call")
    first = min(call.received_at for call in stack.calls())
    until(lambda: time.time() > first + seconds, what="the time has passed", seconds=seconds + 20)
    return first, [call for call in stack.calls() if call.received_at < first + seconds]


def check_limits(first: float, calls: Sequence[AccountedCall], allowed_per_s: float) -> None:
    later = [call for call in calls if call.received_at > first + 1]
    refused = [call for call in later if call.status == 429]
    answered = len(later) - len(refused)
    print(
        f"{len(calls)} calls, {len(refused)} refused later, {answered / (RUN_S - 1):.2f} of {allowed_per_s:.2f} a second"
    )
    assert len(refused) <= len(later) / 1000
    assert answered >= 0.95 * allowed_per_s * (RUN_S - 1)


def shifted(stack: Stack, name: str, shift_s: int) -> Worker:
    """A worker whose clock is so many seconds ahead."""
    environment = stack.environment | hooked("shifted_clock") | {"TEST_CLOCK_SHIFT_S": str(shift_s)}
    return Worker(Stack(stack.folder, stack.process, environment), "interactive", name)


def test_clocks_that_are_hours_off_change_nothing(tmp_path: Path) -> None:
    with started(tmp_path, "--no-flower", "--no-gateway", *ENFORCED, environment={"HEADRACE_LIMITS": LIMITS}) as stack:
        workers = [shifted(stack, "ahead", 7_200), shifted(stack, "behind", -7_200)]
        try:
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.wait_ready()
            asyncio.run(submit(stack, [f"Number {n}." for n in range(400)]))
            first, calls = calls_within(stack, RUN_S)
            check_limits(first, calls, RPM / 60)
            asyncio.run(submit(stack, ["[[rehearsal fault=429 retry_after=2 times=1 latency=0]]"]))
            refused = until(
                lambda: [call for call in stack.calls() if call.status == 429], what="somebody is told to wait"
            )[0]
            assert refused.ended_at is not None
            until(lambda: stack.calls()[-1].received_at > refused.ended_at + 2, what="they go on")
            begun = [call.received_at - refused.ended_at for call in stack.calls()]
            assert max(at for at in begun if at < 2) <= scaled_s(0.05)
        finally:
            for worker in workers:
                worker.stop()


@pytest.mark.parametrize("text", ["", LONG], ids=["requests", "tokens"])
def test_jobs_of_four_workers_take_what_is_allowed_and_meet_no_429(tmp_path: Path, text: str) -> None:
    flags = ("--no-flower", "--no-gateway", *ENFORCED)
    with (
        started(tmp_path, *flags, environment={"HEADRACE_LIMITS": LIMITS}) as stack,
        more_workers(stack, *["interactive"] * 3),
    ):
        asyncio.run(submit(stack, [f"Number {n}. {text}" for n in range(600)]))
        first, calls = calls_within(stack, RUN_S)
        allowed = RPM / 60
        if text:  # by the tokens of the answers that came, each beside an equal prompt
            answered = [call for call in calls if call.status == 200]
            tokens = sum(call.tokens for call in answered) / len(answered) + len(text) / 3.5 + 4
            allowed = TPM / 60 / tokens
        check_limits(first, calls, allowed)


def test_a_batch_takes_what_is_allowed_and_single_jobs_hardly_wait_beside_it(tmp_path: Path) -> None:
    flags = ("--no-flower", "--no-gateway", *ENFORCED)
    with (
        started(tmp_path, *flags, environment={"HEADRACE_LIMITS": LIMITS}) as stack,
        more_workers(stack, "interactive", "bulk"),
    ):
        batch = stack.extract([{"id": str(n), "text": f"Item {n} is blue."} for n in range(3_000)])
        until(lambda: len(stack.calls_of(batch)) > 40, what="the batch is under way")
        waits: list[float] = []

        async def ask() -> None:
            async with client_of(stack) as client:
                for number in range(40):
                    begun = time.monotonic()
                    job = await client.submit("rehearsal/small", f"Quick {number}.")
                    await job.result()
                    waits.append(time.monotonic() - begun - 0.2)
                    await asyncio.sleep(0.1)

        asyncio.run(ask())
        print(f"added waits: median {sorted(waits)[20]:.3f}, longest {max(waits):.3f} s")
        assert max(waits) <= scaled_s(1.0)
        first, calls = calls_within(stack, RUN_S)
        check_limits(first, calls, RPM / 60)


def test_calls_in_flight_are_those_of_all_workers_and_a_killed_ones_return(tmp_path: Path) -> None:
    limits = json.dumps({"rehearsal": {"in_flight": 6}})
    flags = ("--no-flower", "--no-gateway", "--rehearsal-flag=--latency=250")
    with (
        started(tmp_path, *flags, environment={"HEADRACE_LIMITS": limits}) as stack,
        more_workers(stack, "interactive") as (worker,),
    ):
        asyncio.run(submit(stack, [f"Number {n}." for n in range(150)]))
        until(lambda: len(stack.calls()) >= 30, what="they are under way")
        worker.kill()
        killed = time.time()
        until(lambda: len([call for call in stack.calls() if call.status == 200]) >= 150, what="all are answered")
        calls = stack.calls()

        def in_flight(at: float) -> int:
            return sum(call.received_at <= at and (call.ended_at is None or call.ended_at > at) for call in calls)

        before = [in_flight(call.received_at) for call in calls if call.received_at < killed]
        after = [in_flight(call.received_at) for call in calls if call.received_at > killed + 20]
        print(f"in flight before {max(before)}, after {max(after, default=0)}")
        assert max(before) == 6
        assert max([*before, *after]) <= 6


def test_who_waits_for_long_is_parked_and_says_why(tmp_path: Path) -> None:
    limits = json.dumps({"rehearsal/small": {"requests_per_min": 12}})
    flags = ("--no-flower", "--no-gateway")
    with started(tmp_path, *flags, environment={"HEADRACE_LIMITS": limits}) as stack:
        batch = stack.extract([{"id": str(n), "text": f"Item {n}."} for n in range(5)])
        jobs = asyncio.run(submit(stack, [f"Number {n}." for n in range(3)]))
        reason = "rate_limited: rehearsal is at its limit"
        waiting = until(lambda: stack.batch(batch).get("waiting"), what="the batch says why")
        assert waiting.startswith(reason)
        with stack.client as client:
            parked = until(
                lambda: [job for job in jobs if client.hget(f"{{hr}}:job:{job}", "state") == b"parked"],
                what="a job is parked",
            )
            events = [json.loads(fields[b"d"]) for _, fields in client.xrange(f"{{hr}}:job:{parked[0]}:log")]
        status = [event for event in events if event["t"] == "status"]
        assert status[0]["phase"] == "rate_limited"
        assert status[0]["detail"] == "rehearsal is at its limit of 12 requests a minute"


def test_limits_that_nobody_configured_are_learnt_from_the_answers(tmp_path: Path) -> None:
    flags = ("--no-flower", "--no-gateway", "--rehearsal-flag=--rpm=600", "--rehearsal-flag=--latency=200")
    with started(tmp_path, *flags) as stack, more_workers(stack, "interactive"):

        async def slowly() -> None:
            async with client_of(stack) as client:
                for number in range(12):
                    await (await client.submit("rehearsal/small", f"Slow {number}.")).result()

        asyncio.run(slowly())
        shown = until(lambda: stack.client.hgetall("{hr}:limits"), what="a limit is learnt")
        (scope,) = [scope.decode() for scope, name in shown.items() if name == b"rehearsal/small"]
        assert stack.client.hget(f"{{hr}}:limit:{scope}", "learnt_requests") == b"600"
        before = len(stack.calls())
        asyncio.run(submit(stack, [f"Number {n}." for n in range(200)]))
        until(lambda: len(stack.calls()) >= before + 100, what="half of them were called")
        calls = stack.calls()[before:]
        refused = [call for call in calls if call.status == 429]
        print(f"{len(calls)} calls, {len(refused)} refused")
        assert len(refused) <= 2


def test_a_retry_after_to_one_worker_stops_all(tmp_path: Path) -> None:
    """Nobody has configured a limit: the hold alone does it. What was on its way when it came may still arrive."""
    flags = ("--no-flower", "--no-gateway", "--rehearsal-flag=--latency=100")
    with (
        started(tmp_path, *flags, environment={"HEADRACE_CALLS": "4"}) as stack,
        more_workers(stack, *["interactive"] * 3),
    ):

        async def rounds() -> None:
            for number in range(3):
                await submit(stack, [f"Before {number} {n}." for n in range(100)])
                await submit(stack, [f"[[rehearsal fault=429 retry_after=2 times=1 latency=0]] {number}"])
                await submit(stack, [f"After {number} {n}." for n in range(100)])
                refused = number + 1
                await asyncio.to_thread(
                    until,
                    lambda refused=refused: len(stack.calls()) == 201 * refused + refused,
                    what="all were called",
                )

        asyncio.run(rounds())
        calls = stack.calls()
        for refused in [call for call in calls if call.status == 429]:
            assert refused.ended_at is not None
            after = [call.received_at - refused.ended_at for call in calls if call.received_at > refused.ended_at]
            held = [at for at in after if at < 2]
            print(f"{len(held)} calls after it, the last {max(held, default=0):.3f} s")
            assert len(after) > 20
            assert max(held, default=0) <= scaled_s(0.05)
