"""A provider's limit is met once for all: few calls, no slot held, nobody else delayed, and the reason is shown."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

from stack import Stack, started, until

from headrace.client.sync_client import Headrace
from headrace.settings import Settings

LIMITED = "[[rehearsal fault=429 retry_after=1]]"
OTHERS = 640
PACED = "[[rehearsal latency=400]]"
"""With 32 calls in flight their batch takes 8 s of waiting and little else: a busy machine hardly makes it longer."""


def extract(stack: Stack, count: int, model: str, text: str) -> str:
    source = stack.folder / "input.jsonl"
    source.write_text(
        "".join(json.dumps({"id": str(n), "text": f"{text} Item {n} is blue."}) + "\n" for n in range(count))
    )
    done = stack.run("extract", str(source), "--model", model, "--detach")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def ended_after(stack: Stack, batch_id: str) -> float:
    """Seconds between the opening and the end of a batch, by the server's clock."""
    until(lambda: stack.batch(batch_id)["state"] == "completed", what=f"{batch_id} ends", seconds=90)
    fields = stack.batch(batch_id)
    assert fields["succeeded"] == fields["total"]
    return (int(fields["ended"]) - int(fields["created"])) / 1000


def test_an_endless_limit_costs_few_calls_and_nobody_else(tmp_path: Path) -> None:
    with started(tmp_path, "--no-flower", "--no-gateway", environment={"HEADRACE_CALLS": "32"}) as stack:
        extract(stack, 50, "vllm/small", "Warm.")
        alone_s = ended_after(stack, extract(stack, OTHERS, "vllm/small", PACED))
        limited = extract(stack, 200, "rehearsal/small", LIMITED)
        until(lambda: stack.batch(limited).get("waiting"), what="the reason is in the record", seconds=10)
        beside_s = ended_after(stack, extract(stack, OTHERS, "vllm/small", PACED))
        assert beside_s < alone_s * 1.3 + 1

        first = min(call.received_at for call in stack.calls_of(limited))
        until(lambda: time.time() > first + 20, what="20 s have passed", seconds=30)
        calls = [call for call in stack.calls_of(limited) if call.received_at < first + 20]
        refused_at = min(call.ended_at for call in calls if call.ended_at is not None)
        in_flight = sum(call.received_at <= refused_at for call in calls)
        print(f"alone {alone_s:.1f} s, beside {beside_s:.1f} s, {len(calls)} calls, {in_flight} in flight")
        assert len(calls) <= in_flight + 25
        shown = json.loads(stack.run("batches", "show", limited).stdout)
        assert shown["state"] == "in_progress"
        assert shown["waiting"].startswith("rate_limited: rehearsal says wait 1 s")
        assert shown["succeeded"] + shown["failed"] == 0


def test_the_reason_is_gone_when_calls_succeed_again(tmp_path: Path) -> None:
    with started(tmp_path, "--no-flower", "--no-gateway") as stack:
        batch_id = extract(stack, 100, "rehearsal/small", "[[rehearsal fault=429 retry_after=1 times=1]]")
        seen = until(lambda: stack.batch(batch_id).get("waiting"), what="the reason is shown")
        assert seen.startswith("rate_limited: rehearsal says wait 1 s")
        until(lambda: stack.batch(batch_id)["state"] == "completed", what="the batch ends", seconds=120)
        batch = stack.batch(batch_id)
        assert (batch["succeeded"], batch["failed"]) == ("100", "0")
        assert "waiting" not in batch


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_deploy_does_not_wait_for_those_who_wait(tmp_path: Path) -> None:
    """Jobs that are held, jobs between two tries, and a held batch: SIGTERM ends both workers within 3 s."""
    with started(tmp_path, "--no-flower", "--no-gateway", environment={"HEADRACE_DRAIN_S": "30"}) as stack:
        extract(stack, 100, "rehearsal/small", LIMITED)
        client = Headrace(settings=Settings.load(stack.client_environment))
        with client:
            held = client.submit_many("rehearsal/small", [f"{LIMITED} {n}" for n in range(40)])
            client.submit_many("vllm/small", [f"[[rehearsal fault=500]] {n}" for n in range(40)])
            until(lambda: len(stack.calls()) > 45, what="they are tried")
            status = until(
                lambda: [
                    event
                    for event in map(json.loads, log_of(stack, held[0].id))
                    if event["t"] == "status" and event["phase"] == "rate_limited"
                ],
                what="the reason is in the job's log",
            )
            assert status[0]["detail"].startswith("rehearsal says wait 1 s")
            for role in ("interactive", "bulk"):
                pid = stack.ready["workers"][role]
                began = time.monotonic()
                os.kill(pid, signal.SIGTERM)
                until(lambda pid=pid: not alive(pid), what=f"the {role} worker ends", seconds=10)
                took_s = time.monotonic() - began
                print(f"{role}: {took_s:.2f} s")
                assert took_s <= 3
            until(lambda: stack.ready["workers"]["interactive"] != pid, what="the next ones are up")
            for job in held:
                job.cancel()


def log_of(stack: Stack, job_id: str) -> list[bytes]:
    return [fields[b"d"] for _, fields in stack.client.xrange(f"{{hr}}:job:{job_id}:log")]
